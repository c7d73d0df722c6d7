#!/usr/bin/python
# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: livepatch_info
short_description: Read the livepatches and system states installed on a board
version_added: 0.1.0
description:
  - Reports which livepatches run, in which order, which system states they own, and whether the
    board's kernel supports livepatches at all.
  - The answer comes from the kernel's own list of livepatches where that can be read, and says
    where it comes from otherwise.
  - Changes nothing. The one thing that it writes is a cache for the life of the boot, in
    C(/run/orangepi.livepatch), which only root can enter.
extends_documentation_fragment:
  - orangepi.livepatch.from_controller
requirements:
  - root on the board; other users see no system states
attributes:
  check_mode:
    description: Whether it says in check mode what it would change, and changes nothing.
    support: full
author:
  - The orangepi.livepatch authors (@orangepi-livepatch)
seealso:
  - module: orangepi.livepatch.livepatch_file_info
  - module: orangepi.livepatch.livepatch_check
  - module: orangepi.livepatch.livepatch
"""

EXAMPLES = r"""
- name: Read what is installed
  orangepi.livepatch.livepatch_info:
  register: board

- name: Show who owns which system state
  ansible.builtin.debug:
    msg: "state {{ item.id }} version {{ item.version }} of {{ item.patch }}"
  loop: "{{ board.system_states | default([], true) }}"
"""

RETURN = r"""
kernel:
  description: The running kernel.
  returned: success
  type: dict
  contains:
    release:
      description: As C(uname -r) says.
      type: str
      sample: 7.2.13-orangepi
    arch:
      description: As C(uname -m) says.
      type: str
      sample: aarch64
    build_id:
      description: The GNU build id in hex, V(null) where the kernel has none.
      type: str
      sample: 8ab1b0c4b4e3b2a4a9a54ae04a5cbe3d9a3f0d2c
    modules_disabled:
      description: Whether C(kernel.modules_disabled) forbids loading modules until the next boot.
      type: bool
      sample: false
    signatures_enforced:
      description: Whether the kernel takes signed modules only.
      type: bool
      sample: false
support:
  description: Whether the kernel supports livepatches.
  returned: success
  type: dict
  contains:
    supported:
      description: Whether livepatches can be loaded.
      type: bool
      sample: true
    system_states:
      description: Whether the kernel tracks system states (Linux 5.5 and later).
      type: bool
      sample: true
    reasons:
      description: Why not, and why the kernel's own list can't be read where it can't.
      type: list
      elements: str
      sample: []
board:
  description: What the device tree says the board is.
  returned: success
  type: dict
  contains:
    model:
      description: The model, V(null) on a machine without a device tree.
      type: str
      sample: Xunlong Orange Pi 5 Plus
    compatible:
      description: The compatible strings, the most specific first.
      type: list
      elements: str
      sample: ["xunlong,orangepi-5-plus", "rockchip,rk3588"]
patches:
  description: The installed livepatches in stack order, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The livepatch's name, which is its module's.
      type: str
      sample: fixes_2
    replace:
      description: Whether it is cumulative. V(null) where that can't be told.
      type: bool
      sample: true
    enabled:
      description: Whether it is enabled.
      type: bool
      sample: true
    transition:
      description: Whether it is in transition.
      type: bool
      sample: false
    states:
      description: The system states that it declares, V(null) where that can't be told.
      type: list
      elements: dict
      contains:
        id:
          description: The state's id.
          type: int
          sample: 1
        version:
          description: The state's version.
          type: int
          sample: 2
        data:
          description:
            - V(null) for no data, else an opaque token. Equal tokens are the same address in
              this boot; the address itself never leaves the board.
          type: str
          sample: 5d3c1a7f9b0e2468
    objects:
      description: What is patched.
      type: list
      elements: dict
      contains:
        name:
          description: V(vmlinux) or a module's name.
          type: str
          sample: vmlinux
        patched:
          description: Whether the object is loaded and patched now.
          type: bool
          sample: true
        functions:
          description: The patched functions, each with its C(name) and C(position) as in sysfs.
          type: list
          elements: dict
          sample: [{name: cmdline_proc_show, position: 1}]
        callbacks:
          description:
            - Which of V(pre_patch), V(post_patch), V(pre_unpatch) and V(post_unpatch) it has,
              V(null) where that can't be told.
          type: list
          elements: str
          sample: [pre_patch, post_patch, pre_unpatch, post_unpatch]
    build_id:
      description: The GNU build id of the loaded module in hex, V(null) where it has none.
      type: str
      sample: 0f1e2d3c4b5a69788796a5b4c3d2e1f001234567
    srcversion:
      description: The module's srcversion, V(null) where it has none.
      type: str
      sample: 533BB7E5866E52F63B9ACCB
system_states:
  description:
    - One row for every state id that an installed livepatch has, with the livepatch that owns it
      now. V(null) where the states of some livepatch are unknown.
  returned: success
  type: list
  elements: dict
  sample: [{id: 1, version: 2, patch: fixes_2, data: 5d3c1a7f9b0e2468}]
states_source:
  description:
    - Where the system states come from. V(kernel) is the kernel's own list, the truth whoever
      loaded the livepatch. V(record) is what this collection wrote when it loaded that very
      build. V(file) is the file of the loaded build, found by its build id. V(unknown) is none of
      these, and is not the same as no states.
  returned: success
  type: str
  sample: kernel
leftover:
  description: Livepatch modules that are loaded though their livepatch was disabled or replaced.
  returned: success
  type: list
  elements: str
  sample: [fixes_1]
forced:
  description:
    - Those of RV(leftover) that can't be removed until the next reboot, because a transition that
      took them out of use was forced, and a task may still be in their code.
  returned: success
  type: list
  elements: str
  sample: []
history:
  description:
    - What the runs of M(orangepi.livepatch.livepatch) and
      M(orangepi.livepatch.livepatch_stack) left installed in this boot, the oldest
      first. Going back to an earlier stack drops what came after it, and a board without a
      livepatch has no history.
    - Every item is a stack, a list of livepatches in stack order, each with its C(name),
      C(build_id), C(srcversion) and the C(params) that it was loaded with, V(null) where somebody
      else loaded it.
    - V(null) where it can't be read, without root for example.
  returned: success
  type: list
  elements: list
  sample:
    - - name: fixes_1
        build_id: 0f1e2d3c4b5a69788796a5b4c3d2e1f001234567
        srcversion: 533BB7E5866E52F63B9ACCB
        params: ''
transition:
  description: The transition that is under way, V(null) where there is none.
  returned: success
  type: dict
  contains:
    patch:
      description: The livepatch in transition.
      type: str
      sample: fixes_2
    direction:
      description: V(patching) or V(unpatching).
      type: str
      sample: patching
    blocking:
      description:
        - The tasks that have not got there yet, each with C(pid), C(tid), C(comm) and C(stack).
      type: list
      elements: dict
      sample: [{pid: 77, tid: 77, comm: kworker/0:1, stack: ['[<0>] blocker_wait+0x30/0x60']}]
"""

import base64
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import FROM_CONTROLLER
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.history_store import (
    read_history,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import (
    files_needed,
    read_board,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.module_file import (
    ModuleFileError,
    read_module_file,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.sysfs import blocking_tasks
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import history_to_json
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import ImageError
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import from_controller
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    board_to_json,
)


def main() -> None:
    module = AnsibleModule(argument_spec=dict(FROM_CONTROLLER), supports_check_mode=True)
    try:
        told = from_controller(module.params["_from_controller"])
    except (ImageError, ShapeError) as error:
        module.fail_json(msg=str(error))
    if told.read is not None:
        try:
            content = read_module_file(told.read, told.trusted)
        except ModuleFileError as error:
            module.fail_json(msg=str(error))
        module.exit_json(changed=False, content=base64.b64encode(content).decode("ascii"))
    store = BootStore()
    if os.geteuid() == 0 and not store.usable:
        module.warn(
            "%s is not root's alone, or can't be written: nothing is kept there, and no livepatch "
            "can be changed until that is mended." % store.directory
        )
    board = read_board(store, told.known or ())
    history = read_history(store)
    info = dict(board_to_json(board), history=None if history is None else history_to_json(history))
    if board.transition is not None:
        tasks = blocking_tasks(board.transition.direction)
        info["transition"]["blocking"] = [task.to_json() for task in tasks]
    module.exit_json(changed=False, **info, **files_needed(board, told, None))


if __name__ == "__main__":
    main()
