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
    It is never stored there.
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
  _image:
    description:
      - The module's bytes, packed. Given by the action plugin, not for playbooks.
    type: dict
    suboptions: &image
      content:
        description: The bytes, compressed and in base64.
        type: str
      sha256:
        description: Of the bytes, in hex.
        type: str
  _images:
    description:
      - The modules of what is installed, to load them again where loading fails after they were
        disabled. Given by the action plugin, not for playbooks.
    type: list
    elements: dict
    suboptions:
      <<: *image
      build_id:
        description: Of the livepatch.
        type: str
  _job:
    description:
      - A run on the board to wait on for. Given by the action plugin, not for playbooks.
    type: str
  _goal:
    description:
      - The livepatches that several tasks together go back to. Given by the role
        C(orangepi.livepatch.rollback), not for playbooks.
    type: list
    elements: dict
  _update_expected:
    description:
      - Whether to send the file along with the first call. Given by the role
        C(orangepi.livepatch.rollout), which has just gated it, not for playbooks.
    type: bool
    default: false
extends_documentation_fragment:
  - orangepi.livepatch.candidate
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
import re
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import background
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BoardBusyError,
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import (
    files_wanted,
    module_files,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.run import (
    Failure,
    ImagesNeeded,
    Options,
    Refused,
    Run,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import stack_from_json
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import (
    IMAGE,
    ImageError,
    unpack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    file_from_json,
    livepatch_from_json,
)

MODULE_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,63}\Z")


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            src=dict(type="path"),
            remote_src=dict(type="bool", default=False),
            name=dict(type="str"),
            state=dict(type="str", default="enabled", choices=["enabled", "disabled", "absent"]),
            params=dict(type="str", default=""),
            timeout=dict(type="int", default=60),
            on_stall=dict(type="str", default="reverse", choices=["reverse", "leave", "force"]),
            unknown_states=dict(type="str", default="refuse", choices=["refuse", "allow"]),
            allow_downgrade=dict(type="bool", default=False),
            _candidate=dict(type="dict"),
            _files=dict(type="list", elements="dict"),
            _image=dict(type="dict", options=IMAGE),
            _images=dict(
                type="list", elements="dict", options=dict(IMAGE, build_id=dict(type="str"))
            ),
            _job=dict(type="str"),
            _goal=dict(type="list", elements="dict"),
            _update_expected=dict(type="bool", default=False),
        ),
        mutually_exclusive=[("src", "name")],
        required_one_of=[("src", "name")],
        required_if=[("state", "enabled", ("src",))],
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="livepatches can be changed by root only; use become: true.")
    store = BootStore()
    if module.params["_job"] is not None:
        background.resume(module, store, module.params["_job"])
    else:
        background.run(module, store, _work(module, store))


def _work(module: AnsibleModule, store: BootStore) -> Callable[[], dict[str, Any]]:
    """The work that the arguments ask for; those that make no sense fail the module."""
    params = module.params
    if params["timeout"] < 1:
        module.fail_json(msg="timeout must be at least 1 second, not %d." % params["timeout"])
    try:
        candidate = file_from_json(params["_candidate"]) if params["_candidate"] else None
        files = [livepatch_from_json(file) for file in params["_files"] or ()]
        goal = None if params["_goal"] is None else stack_from_json(params["_goal"])
        image = None if params["_image"] is None else unpack(params["_image"])
        images = None
        if params["_images"] is not None:
            images = {packed["build_id"]: unpack(packed) for packed in params["_images"]}
    except (ImageError, ShapeError) as error:
        module.fail_json(msg=str(error))
    name = candidate.livepatch.name if candidate is not None else params["name"]
    if candidate is None and name is not None:
        # As modprobe does: no module's name has a dash.
        name = name.replace("-", "_")
    if name is None or not MODULE_NAME.match(name):
        module.fail_json(msg="%r is not the name of a livepatch." % name)
    options = Options(
        params=params["params"],
        timeout=params["timeout"],
        on_stall=params["on_stall"],
        unknown_states=params["unknown_states"],
        allow_downgrade=params["allow_downgrade"],
        check_mode=module.check_mode,
        goal=goal,
    )

    beside = params["src"] if params["remote_src"] else None

    def work() -> dict[str, Any]:
        try:
            with store.lock(options.timeout):
                run = Run(store, options, files)
                try:
                    if params["state"] == "enabled" and candidate is not None:
                        run.enable(candidate, image, images)
                    else:
                        build = None if candidate is None else candidate.livepatch
                        run.disable(name, params["state"] == "absent", build)
                except ImagesNeeded as needed:
                    paths = module_files([patch.name for patch in run.before.patches], beside)
                    return {"_images_needed": {"builds": needed.builds, "paths": paths}}
                except Refused as error:
                    failed = {"failed": True, "msg": str(error)}
                    return dict(run.to_json(), **failed, **files_wanted(run.before, beside))
                except Failure as error:
                    run.remember(failed=True)
                    return dict(run.to_json(), failed=True, msg=str(error))
                run.remember(failed=False)
                return run.to_json()
        except BoardBusyError as error:
            return {"failed": True, "msg": str(error)}

    return work


if __name__ == "__main__":
    main()
