#!/usr/bin/python
# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: livepatch_conformance
short_description: Run the scenarios that every livepatch has to support
version_added: 0.2.0
description:
  - Takes a board through the scenarios of section 3 of the kernel's "System State Changes" with a
    livepatch, and with an older one that it replaces, and says of each whether it passed, with the
    evidence.
  - Loads and unloads both livepatches several times, reverses transitions, and lets a load fail.
    Use a board that is set aside for that. A livepatch that breaks a scenario may leave the system
    state changed.
  - The load that fails is of a changed copy of O(newer), in which one function of the kernel that
    it patches has the name of a variable. It can't be signed, so that a kernel that takes signed
    modules only refuses it too early.
  - Refuses to start while a livepatch is installed. Disables and unloads whatever it loaded,
    whatever happens.
  - A scenario that failed does not fail the task. The role C(orangepi.livepatch.conformance) does.
options:
  older:
    description:
      - Path on the controller of a livepatch that O(newer) is to replace.
      - Without it, the scenarios that need it are not applicable.
    type: path
  newer:
    description:
      - Path on the controller of the livepatch to be judged.
    type: path
    required: true
  probes:
    description:
      - Commands whose output on the board is the system state that the livepatches modify, and
        nothing else.
      - Without them, only what the kernel shows of the livepatches is compared.
      - Each may take 10 seconds and print 64 KiB.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What to call it in the evidence.
        type: str
        required: true
      command:
        description: The command, a list of arguments or a string to be split. There is no shell.
        type: raw
        required: true
  timeout:
    description: Seconds that each transition may take, and its reversal once more.
    type: int
    default: 60
extends_documentation_fragment:
  - orangepi.livepatch.from_controller
requirements:
  - pyelftools on the controller; on the board nothing but Python
  - root on the board
attributes:
  check_mode:
    description: It can't be told without doing it, so that the task is skipped.
    support: none
author:
  - The orangepi.livepatch authors (@orangepi-livepatch)
seealso:
  - module: orangepi.livepatch.livepatch_file_info
  - name: System State Changes
    description: The scenarios in the kernel's documentation.
    link: https://docs.kernel.org/livepatch/system-state.html
"""

EXAMPLES = r"""
- name: Judge a livepatch and its replacing an older one
  orangepi.livepatch.livepatch_conformance:
    older: livepatches/fixes_1.ko
    newer: livepatches/fixes_2.ko
    probes:
      - name: printk
        command: cat /proc/sys/kernel/printk
  register: conformance

- name: Show the table
  ansible.builtin.debug:
    msg: "{{ conformance.rows | orangepi.livepatch.conformance_table }}"
"""

RETURN = r"""
rows:
  description: One row a scenario, in the order of the document.
  returned: when the scenarios were begun
  type: list
  elements: dict
  contains:
    scenario:
      description:
        - V(modified when enabled), V(taken over when replacing), V(restored when disabled),
          V(restored when reversed, nothing before), V(restored when reversed, replacing) or
          V(removed after an error).
      type: str
      sample: taken over when replacing
    outcome:
      description: V(passed), V(failed) or V(not applicable).
      type: str
      sample: passed
    reason:
      description: Why, one sentence.
      type: str
      sample: state 1 stays at version 1 with its data.
    evidence:
      description:
        - What was done, what the probes, the kernel's list (C(name states id vVERSION data TOKEN),
          equal tokens being the same address) and sysfs showed, and what the kernel printed.
      type: list
      elements: str
      sample: ["enable fixes_1: done", "  probe printk: 4 4 1 7 -> 8 4 1 7"]
passed:
  description:
    - Whether no scenario failed and no probe shows that the system state was left changed. Look at
      RV(rows) for those that are not applicable.
  returned: success
  type: bool
  sample: true
changed:
  description: Whether a probe shows that the system state was left changed.
  returned: always
  type: bool
  sample: false
states_source:
  description: Where the system states come from, as of M(orangepi.livepatch.livepatch_info).
  returned: when the scenarios were begun
  type: str
  sample: kernel
"""

import os
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import (
    LIVEPATCH_CONFORMANCE,
    with_controller,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BoardBusyError,
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.conformance_run import (
    ConformanceError,
    ConformanceRun,
    Subject,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.probe import (
    ProbeError,
    probes_from_arguments,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import Kernel
from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance import FAILED, judge
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import ImageError
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
    Candidate,
    FromController,
    from_controller,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import ShapeError


def main() -> None:
    module = AnsibleModule(supports_check_mode=False, **with_controller(LIVEPATCH_CONFORMANCE))
    params = module.params
    if os.geteuid() != 0:
        module.fail_json(msg="livepatches can be changed by root only; use become: true.")
    if params["timeout"] < 1:
        module.fail_json(msg="timeout must be at least 1 second, not %d." % params["timeout"])
    try:
        told = from_controller(params["_from_controller"])
        newer, older = _subjects(told, bool(params["older"]))
        probes = probes_from_arguments(params["probes"])
    except (ImageError, ProbeError, ShapeError) as error:
        module.fail_json(msg=str(error))
    store = BootStore()
    begun: dict[str, Any] = {}
    try:
        with store.lock(params["timeout"]):
            run = ConformanceRun(Kernel(store), newer, older, probes, params["timeout"])
            try:
                run.run()
            finally:
                rows = judge(
                    newer.file.livepatch, None if older is None else older.file.livepatch, run.seen
                )
                if run.seen.enabled is not None:
                    begun = dict(
                        rows=[row.to_json() for row in rows],
                        changed=run.changed,
                        states_source=run.states_source,
                    )
    except (BoardBusyError, ConformanceError) as error:
        module.fail_json(msg=str(error), **begun)
    # A state that was left changed without a row to blame is no proof of anything.
    passed = all(row.outcome != FAILED for row in rows) and not run.changed
    module.exit_json(passed=passed, **begun)


def _subjects(told: FromController, with_older: bool) -> tuple[Subject, Subject | None]:
    """The newer livepatch, and the older one where the user named one.  Raises ShapeError."""
    newer, older = (*told.candidates, None, None)[:2]
    subject = _subject(newer)
    if told.failing_copy is not None:
        subject = replace(subject, failing_copy=told.failing_copy.apply(subject.image))
    return subject, _subject(older) if with_older else None


def _subject(candidate: Candidate | None) -> Subject:
    if candidate is None or candidate.image is None:
        raise ShapeError("the file was not inspected; run the module by its action plugin.")
    return Subject(candidate.file, candidate.image)


if __name__ == "__main__":
    main()
