#!/usr/bin/python
# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: livepatch
short_description: Load, replace, disable and remove livepatches
version_added: 0.1.0
description:
  - Brings a livepatch to the wanted state, in one execution on the board. It reads what is
    installed, applies the rules of the kernel's "System State Changes" and what the kernel checks
    besides, acts, waits for the transition to end, and verifies the result in the kernel's own
    list of livepatches.
  - What the gate refuses is never loaded.
  - Idempotent by build id, not by name. Another build of an installed name is an error.
  - A run that was begun ends on the board whatever becomes of the controller or the connection,
    and a second one waits for it.
  - The file is inspected on the controller and travels to the board only where it is to be loaded.
    It goes from memory to the kernel and is no file of ours there. Without pipelining, Ansible
    itself stores a module with its arguments in a temporary directory while it runs.
options:
  name:
    description:
      - Name of the installed livepatch, for O(state=disabled) and O(state=absent).
    type: str
  state:
    description:
      - V(enabled) loads the livepatch and waits until the transition has ended.
      - V(disabled) disables it, so that its callbacks restore the original state. Its module stays
        loaded.
      - V(absent) disables it and unloads its module.
    type: str
    choices: [enabled, disabled, absent]
    default: enabled
  timeout:
    description:
      - Seconds that a transition may take, and its reversal once more. A line tells every ten
        seconds or so what the board waits for.
      - Also how long to wait for a transition that is under way already.
    type: int
    default: 60
  on_stall:
    description:
      - What to do when the transition has not ended within O(timeout). The task fails in any case,
        and names the tasks that block, except that V(force) succeeds.
      - V(reverse) reverses the transition, so that the board is as it was before.
      - V(leave) leaves it under way; a later run waits on.
      - V(force) ends it at once, which is safe only for somebody who has read the blocking stacks.
        The modules that it takes out of use stay loaded until the next reboot; C(forced) of
        M(orangepi.livepatch.livepatch_info) lists them.
    type: str
    choices: [reverse, leave, force]
    default: reverse
  unknown_states:
    description:
      - What to do when the system states of an installed livepatch can't be told.
      - V(allow) leaves the decision to the kernel.
    type: str
    choices: [refuse, allow]
    default: refuse
  allow_downgrade:
    description:
      - Permit disabling what is installed first where the rules forbid the direct replacement. The
        callbacks of what is disabled then restore the original state.
      - Until the livepatch is loaded, the board runs without the one that was disabled. Should
        loading fail, that one is loaded again, if its file is found by its build id beside
        O(src) or among the modules on the board.
    type: bool
    default: false
extends_documentation_fragment:
  - orangepi.livepatch.candidate
  - orangepi.livepatch.from_controller
attributes:
  check_mode:
    support: full
  diff_mode:
    description: Returns what the livepatches and system states were before and are after.
    support: full
author:
  - The orangepi.livepatch authors (@orangepi-livepatch)
seealso:
  - module: orangepi.livepatch.livepatch_check
  - module: orangepi.livepatch.livepatch_info
"""

EXAMPLES = r"""
- name: Enable a livepatch, replacing what it replaces
  orangepi.livepatch.livepatch:
    src: livepatches/fixes_2.ko

- name: Go back to an older one, which disables the newer one first
  orangepi.livepatch.livepatch:
    src: livepatches/fixes_1.ko
    allow_downgrade: true

- name: Give a busy board five minutes, and leave the transition under way after that
  orangepi.livepatch.livepatch:
    src: livepatches/fixes_2.ko
    timeout: 300
    on_stall: leave

- name: Disable a livepatch and unload its module
  orangepi.livepatch.livepatch:
    name: fixes_2
    state: absent
"""

RETURN = r"""
decision:
  description: What the gate said.
  returned: when the board could be read
  type: dict
  contains:
    allowed:
      description: Whether the steps may be made.
      type: bool
      sample: true
    steps:
      description: What was done, or would be in check mode. Empty where there is nothing to do.
      type: list
      elements: str
      sample: [load]
    checks:
      description:
        - Every C(check) with its C(outcome), V(pass), V(fail) or V(unknown), and a C(message).
      type: list
      elements: dict
      sample: [{check: arch, outcome: pass, message: file and kernel are both for aarch64}]
    states:
      description:
        - For every state id the version C(installed), the version of the C(candidate), the
          C(outcome) (V(new), V(same), V(newer), V(older), V(missing) or V(untouched)), and the
          C(rule) that decided.
      type: list
      elements: dict
      sample:
        - id: 1
          installed: 1
          candidate: 2
          outcome: newer
          rule: >-
            System state modifications with the same or higher version are allowed for already
            modified system states.
    functions:
      description: Which functions are C(kept), C(added) and C(removed), spelled as in sysfs.
      type: dict
      sample: {kept: ['vmlinux/cmdline_proc_show,1'], added: [], removed: []}
transition:
  description: How the last transition of this run went.
  returned: when the board could be read
  type: dict
  contains:
    outcome:
      description: V(completed), V(reversed), V(forced), V(stalled) or V(none).
      type: str
      sample: completed
    direction:
      description: V(patching) or V(unpatching), V(null) where there was none.
      type: str
      sample: patching
    seconds:
      description: How long it took.
      type: float
      sample: 1.532
    blocking:
      description: The tasks that held it up, each with C(pid), C(tid), C(comm) and C(stack).
      type: list
      elements: dict
      sample: []
restored:
  description:
    - Whether what was disabled first was loaded again, because loading failed after that.
  returned: when the board could be read
  type: bool
  sample: false
before:
  description:
    - The C(patches) and C(system_states) before, as of M(orangepi.livepatch.livepatch_info).
  returned: when the board could be read
  type: dict
  sample: {patches: [], system_states: []}
after:
  description: The same after. In check mode, what they would be.
  returned: when the board could be read
  type: dict
  sample: {patches: [], system_states: []}
states_source:
  description: Where the system states come from, as of M(orangepi.livepatch.livepatch_info).
  returned: when the board could be read
  type: str
  sample: kernel
kernel_log:
  description: What the kernel printed meanwhile. V(null) where its log can't be read.
  returned: when the board could be read
  type: list
  elements: str
  sample: ["livepatch: enabling patch 'fixes_2'", "livepatch: 'fixes_2': patching complete"]
"""

import os
from functools import partial
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import (
    LIVEPATCH,
    with_controller,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.act import (
    ArgumentsError,
    act,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.run import Run
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import MODULE_NAME
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import FromController


def main() -> None:
    module = AnsibleModule(supports_check_mode=True, **with_controller(LIVEPATCH))
    if os.geteuid() != 0:
        module.fail_json(msg="livepatches can be changed by root only; use become: true.")
    params = module.params
    beside = params["src"] if params["remote_src"] else None
    result = act(params, module.check_mode, module._diff, partial(_verb, params), beside)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    (module.fail_json if result.get("failed") else module.exit_json)(**result)


def _verb(params: dict[str, Any], told: FromController) -> Callable[[Run], None]:
    """What the arguments ask a run to do.  Raises ArgumentsError."""
    candidate = told.candidates[0] if told.candidates else None
    if candidate is not None and params["state"] == "enabled":
        file, image = candidate.file, candidate.image
        return lambda run: run.enable(file, params["params"], image, told.back)
    patch = None if candidate is None else candidate.file.livepatch
    # As modprobe does: no module's name has a dash.
    name = (params["name"] or "").replace("-", "_") if patch is None else patch.name
    if params["state"] == "enabled" or not MODULE_NAME.match(name):
        raise ArgumentsError("%r is not the name of a livepatch." % name)
    return lambda run: run.disable(name, params["state"] == "absent", patch)


if __name__ == "__main__":
    main()
