#!/usr/bin/python
# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: livepatch_check
short_description: Ask whether a livepatch may be loaded on a board
version_added: 0.1.0
description:
  - Applies the rules of the kernel's "System State Changes", and what the kernel checks besides, to
    a livepatch file and what is installed on a board, and says which rule decided.
  - Fails when the livepatch is refused, unless told otherwise. Changes nothing.
options:
  fail_on_refusal:
    description:
      - Whether a refusal fails the task. V(false) only reports it in RV(decision).
    type: bool
    default: true
  src:
    required: true
extends_documentation_fragment:
  - orangepi.livepatch.candidate
  - orangepi.livepatch.from_controller
attributes:
  check_mode:
    support: full
author:
  - The orangepi.livepatch authors (@orangepi-livepatch)
seealso:
  - module: orangepi.livepatch.livepatch
  - module: orangepi.livepatch.livepatch_file_info
"""

EXAMPLES = r"""
- name: Fail unless the livepatch may be loaded here
  orangepi.livepatch.livepatch_check:
    src: livepatches/fixes_2.ko

- name: Only ask
  orangepi.livepatch.livepatch_check:
    src: livepatches/fixes_2.ko
    fail_on_refusal: false
  register: answer

- name: Show why not
  ansible.builtin.debug:
    msg: "{{ answer.decision.checks | rejectattr('outcome', 'eq', 'pass') }}"
"""

RETURN = r"""
decision:
  description: What the gate says, as of M(orangepi.livepatch.livepatch).
  returned: always
  type: dict
  sample:
    allowed: true
    steps: [load]
    checks: [{check: arch, outcome: pass, message: file and kernel are both for aarch64}]
    states: []
    functions: {kept: [], added: ['vmlinux/cmdline_proc_show,1'], removed: []}
states_source:
  description: Where the system states come from, as of M(orangepi.livepatch.livepatch_info).
  returned: always
  type: str
  sample: kernel
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import (
    LIVEPATCH_CHECK,
    with_controller,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import (
    files_needed,
    read_board,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import ImageError
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import from_controller
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import ShapeError


def main() -> None:
    module = AnsibleModule(supports_check_mode=True, **with_controller(LIVEPATCH_CHECK))
    params = module.params
    try:
        told = from_controller(params["_from_controller"])
        file = told.file()
    except (ImageError, ShapeError) as error:
        module.fail_json(msg=str(error))
    board = read_board(BootStore(), told.known or ())
    decision = gate(file, board, params=params["params"], options=told.options)
    result = dict(
        decision=decision.to_json(),
        states_source=board.states_source,
        **files_needed(board, told, params["src"] if params["remote_src"] else None),
    )
    if not decision.allowed and params["fail_on_refusal"]:
        module.fail_json(msg=decision.refusal(file.livepatch.name), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
