#!/usr/bin/python
# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: livepatch_stack
short_description: Bring the whole stack of livepatches to what is wanted
version_added: 0.2.0
description:
  - Brings a board to exactly the livepatches of O(stack), in this order, in one execution on the
    board and under one lock. M(orangepi.livepatch.livepatch) is the special case for one livepatch
    that leaves the others alone.
  - It finds the shortest way that the rules of the kernel's "System State Changes" allow, gates
    every load on it, acts, waits for each transition to end, and verifies the result in the
    kernel's own list of livepatches.
  - Where a step fails, it goes back by itself to what was installed before, as far as the files of
    that are found, and RV(restored) says whether that succeeded.
  - Idempotent by build id and order, not by name.
  - A run that was begun ends on the board whatever becomes of the controller or the connection,
    and a second one waits for it.
options:
  stack:
    description:
      - The livepatches that are to be installed, the oldest first; V([]) for none. What is not in
        it is disabled, and where nothing is loaded after that, its module is unloaded.
    type: list
    elements: dict
    required: true
    suboptions:
      src:
        description:
          - Path of the livepatch module, a C(.ko) file, which may be compressed (C(.xz), C(.zst),
            C(.gz)) and signed.
          - On the controller, a relative path is looked up as by M(ansible.builtin.copy).
        type: path
      name:
        description:
          - Instead of O(stack[].src), the name of a livepatch that is installed and stays,
            whichever build it is.
        type: str
      params:
        description:
          - Module parameters, a string as for M(community.general.modprobe). They are given when
            the livepatch is loaded; what is installed already is not loaded again for others.
          - They are shown as they are, in results, in the board's history and system log, and so
            are no place for secrets.
        type: str
        default: ''
  remote_src:
    description:
      - Whether the paths are on the board instead of the controller.
      - The files are then read from the board and inspected on the controller all the same.
    type: bool
    default: false
  timeout:
    description:
      - Seconds that each transition may take, and its reversal once more. A line tells every ten
        seconds or so what the board waits for.
      - Also how long to wait for a transition that is under way already.
    type: int
    default: 60
  on_stall:
    description:
      - What to do when a transition has not ended within O(timeout), as of
        M(orangepi.livepatch.livepatch).
    type: str
    choices: [reverse, leave, force]
    default: reverse
  unknown_states:
    description:
      - What to do when the system states of an installed livepatch can't be told.
      - V(allow) leaves the decision to the kernel; with O(allow_downgrade=true), everything is
        disabled first.
    type: str
    choices: [refuse, allow]
    default: refuse
  allow_downgrade:
    description:
      - Permit disabling what is installed first where the rules forbid the direct replacement, or
        another build of the same name is installed. The callbacks of what is disabled then restore
        the original state.
      - Until the next livepatch is loaded, the board runs without the one that was disabled.
    type: bool
    default: false
extends_documentation_fragment:
  - orangepi.livepatch.from_controller
requirements:
  - pyelftools on the controller; on the board nothing but Python
  - root on the board
attributes:
  check_mode:
    description: Whether it says in check mode what it would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns which livepatches and system states there were before and are after.
    support: full
author:
  - The orangepi.livepatch authors (@orangepi-livepatch)
seealso:
  - module: orangepi.livepatch.livepatch
  - module: orangepi.livepatch.livepatch_info
"""

EXAMPLES = r"""
- name: Have exactly these two livepatches, one upon the other
  orangepi.livepatch.livepatch_stack:
    stack:
      - src: livepatches/fixes_2.ko
      - src: livepatches/extra_state.ko
        params: verbose=1

- name: Go back to an older one, which disables the newer one first
  orangepi.livepatch.livepatch_stack:
    stack:
      - src: livepatches/fixes_1.ko
    allow_downgrade: true

- name: Take off what was put upon fixes_2
  orangepi.livepatch.livepatch_stack:
    stack:
      - name: fixes_2

- name: Have no livepatch at all
  orangepi.livepatch.livepatch_stack:
    stack: []
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
      description:
        - What was done, or would be in check mode. Empty where there is nothing to do. A load is
          spelled with its livepatch's name where several are loaded.
      type: list
      elements: str
      sample: [disable fixes_2, load]
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
    LIVEPATCH_STACK,
    with_controller,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.act import (
    ArgumentsError,
    act,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.run import Run
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import MODULE_NAME
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import Wanted
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import FromController
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


def main() -> None:
    module = AnsibleModule(supports_check_mode=True, **with_controller(LIVEPATCH_STACK))
    if os.geteuid() != 0:
        module.fail_json(msg="livepatches can be changed by root only; use become: true.")
    params = module.params
    files = [entry["src"] for entry in params["stack"] if entry["src"]]
    beside = files[0] if files and params["remote_src"] else None
    result = act(params, module.check_mode, module._diff, partial(_verb, params), beside)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    (module.fail_json if result.get("failed") else module.exit_json)(**result)


def _verb(params: dict[str, Any], told: FromController) -> Callable[[Run], None]:
    """What the arguments ask a run to do.  Raises ArgumentsError."""
    wanted, images = [], {}
    for index, entry in enumerate(params["stack"]):
        candidate = told.candidates[index] if index < len(told.candidates) else None
        if candidate is not None:
            patch = candidate.file.livepatch
            wanted.append(Wanted(patch, candidate.file, entry["params"]))
            if candidate.image is not None:
                images[patch.name] = candidate.image
            continue
        # As modprobe does: no module's name has a dash.
        name = (entry["name"] or "").replace("-", "_")
        if not MODULE_NAME.match(name):
            raise ArgumentsError("%r is not the name of a livepatch." % name)
        wanted.append(Wanted(Livepatch(name, None, None), None))
    return lambda run: run.stack(wanted, images, told.back, told.over)


if __name__ == "__main__":
    main()
