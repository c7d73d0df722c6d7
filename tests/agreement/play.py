# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Play sequences on a kernel, and compare what it does with what was said beforehand.

The kernel is whatever has the methods of board.Board.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import FAIL, Decision, gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import spell
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    ULONG_MAX,
    Livepatch,
)

from .sequences import DISABLE, ENABLE, REMOVE, Load, Stack, Step, Steps, highest_versions, name_of

LOADED = "load: done"
OLDER = "load: EINVAL, a system state's version is older"
MISSING = "load: EINVAL, a system state is missing from a cumulative livepatch"
OLDER_AND_MISSING = "load: EINVAL, one is older and one is missing"
SAME_BUILD = "load: EEXIST, this very build is enabled"
OTHER_BUILD = "load: EEXIST, another build of the name is enabled"
LEFT_OVER = "load: EEXIST, a module of the name is left over"
OTHER_ARCH = "load: ENOEXEC, built for another architecture"
DISABLED = "disable: done"
NOT_THERE = "%s: ENOENT, no such livepatch is enabled"
ENABLED = "enable: EINVAL, it is enabled"
REMOVED = "remove: done"
IN_USE = "remove: EWOULDBLOCK, it is enabled"
NOT_LOADED = "remove: ENOENT, no such module"

# Of the loads that were done.
STACKED = "of them non-cumulative, over others"
REPLACED_STACK = "of them cumulative, over a stack of two or more"
NEWER = "of them raise a system state's version"
UNTOUCHED = "of them leave an installed system state untouched"
STATELESS = "of them without states"
DUPLICATES = "of them with an id twice"
WIDE_IDS = "of them with an id near 2^64"
WIDE_VERSIONS = "of them with a version near 2^32"

OF_LOADS = (
    *(STACKED, REPLACED_STACK, NEWER, UNTOUCHED),
    *(STATELESS, DUPLICATES, WIDE_IDS, WIDE_VERSIONS),
)
ANSWERS = (
    *(LOADED, OLDER, MISSING, OLDER_AND_MISSING, SAME_BUILD, OTHER_BUILD, LEFT_OVER, OTHER_ARCH),
    *(DISABLED, NOT_THERE % DISABLE, ENABLED, NOT_THERE % ENABLE, REMOVED, IN_USE, NOT_LOADED),
)
DEEPEST = "livepatches in the deepest stack"
MOST_STATES = "states in one installed livepatch"


class Disagreement(Exception):
    """What was said beforehand and what the kernel did are not the same."""


@dataclass(frozen=True)
class Reading:
    """The board as read_board tells it, and what sysfs alone shows.

    names: in the order that sysfs, or /proc/modules, tells; replace: None where
    sysfs does not show it.
    """

    board: Board
    names: tuple[str, ...]
    replace: dict[str, bool | None]


@dataclass(frozen=True)
class Foreseen:
    """What the kernel must say: the errno, 0 for none, and the kind of it."""

    errno: int
    kind: str


@dataclass
class Tally:
    """How often each kind of thing was seen, and the largest of each."""

    counts: dict[str, int] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        for kind, count in other.counts.items():
            self.count(kind, count)
        for kind, size in other.largest.items():
            self.size(kind, size)

    def count(self, kind: str, times: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + times

    def size(self, kind: str, size: int) -> None:
        self.largest[kind] = max(size, self.largest.get(kind, 0))


def play(kernel: Any, sequences: Sequence[Steps], tally: Tally) -> tuple[int, str] | None:
    """Play them in turn; which one disagreed first, and why, or None.

    Whatever happened, the kernel is left without livepatches.  Raises
    Disagreement where it can't be.
    """
    reading = kernel.read()
    compare(kernel, reading, Stack())
    for index, sequence in enumerate(sequences):
        try:
            reading = _play(kernel, sequence, reading, tally)
        except Disagreement as error:
            kernel.clear()
            compare(kernel, kernel.read(), Stack())
            return index, str(error)
    return None


def _play(kernel: Any, sequence: Steps, reading: Reading, tally: Tally) -> Reading:
    stack = Stack()
    for number, step in enumerate(sequence, 1):
        try:
            stack = _step(kernel, step, stack, reading.board, tally)
            reading = kernel.read()
            compare(kernel, reading, stack)
        except Disagreement as error:
            raise Disagreement("step %d: %s" % (number, error)) from None
    kernel.clear()
    reading = kernel.read()
    compare(kernel, reading, Stack())
    return reading


def _step(kernel: Any, step: Step, stack: Stack, board: Board, tally: Tally) -> Stack:
    foreseen = foresee(kernel, step, board)
    verdict = kernel.do(step)
    if verdict != foreseen.errno:
        raise Disagreement(
            'the kernel said %s, and foreseen was "%s"'
            % (errno.errorcode.get(verdict, "yes"), foreseen.kind)
        )
    tally.count(foreseen.kind)
    if verdict:
        return stack
    if isinstance(step, Load):
        _count_load(step, stack, tally)
    after = stack.after(step)
    tally.size(DEEPEST, len(after.installed))
    return after


def foresee(kernel: Any, step: Step, board: Board) -> Foreseen:
    """What the gate, or what was read of the board, says of the step."""
    name = name_of(step.patch)
    installed = any(patch.name == name for patch in board.patches)
    if isinstance(step, Load):
        return _foresee_load(kernel.file(step), board, installed)
    if step.action == REMOVE:
        if installed:
            return Foreseen(errno.EWOULDBLOCK, IN_USE)
        if name in board.leftover:
            return Foreseen(0, REMOVED)
        return Foreseen(errno.ENOENT, NOT_LOADED)
    if not installed:
        return Foreseen(errno.ENOENT, NOT_THERE % step.action)
    return Foreseen(0, DISABLED) if step.action == DISABLE else Foreseen(errno.EINVAL, ENABLED)


def _foresee_load(file: LivepatchFile, board: Board, installed: bool) -> Foreseen:
    # In the order in which the kernel looks at them.
    decision = gate(file, board)
    failed = {check.check for check in decision.checks if check.outcome == FAIL}
    if "arch" in failed:
        return Foreseen(errno.ENOEXEC, OTHER_ARCH)
    if "name" in failed:
        return Foreseen(errno.EEXIST, OTHER_BUILD)
    if decision.allowed and not decision.steps:
        return Foreseen(errno.EEXIST, SAME_BUILD)
    # Nothing to refuse for the gate: what goes by its decision removes what is left over first.
    if file.livepatch.name in board.leftover:
        return Foreseen(errno.EEXIST, LEFT_OVER)
    if failed == {"system_states"}:
        return Foreseen(errno.EINVAL, _why_incompatible(decision))
    if spell(decision.steps) == ["load"]:
        return Foreseen(0, LOADED)
    raise Disagreement("the gate said %s" % decision.refusal(file.livepatch.name))


def _why_incompatible(decision: Decision) -> str:
    refused = {outcome.outcome for outcome in decision.states if not outcome.allowed}
    if len(refused) == 2:
        return OLDER_AND_MISSING
    return OLDER if refused == {"older"} else MISSING


def compare(kernel: Any, reading: Reading, stack: Stack) -> None:
    """Raises Disagreement unless what was read is this stack."""
    board = reading.board
    installed = [kernel.file(load).livepatch for load in stack.installed]
    names = [patch.name for patch in installed]
    _same("the source of the board's states", board.states_source, "kernel")
    _same("the kernel's list", _rows(board.patches), _rows(installed))
    _same("what is in transition", board.transition, None)
    _same("what is left over", set(board.leftover), {name_of(p.patch) for p in stack.leftover})
    _same("what was forced", board.forced, ())
    _same(
        "what is enabled or in transition",
        [(patch.name, patch.enabled, patch.transition) for patch in board.patches],
        [(name, True, False) for name in names],
    )
    _same("the order in sysfs", list(reading.names), names)
    shown = {name: flag for name, flag in reading.replace.items() if flag is not None}
    _same(
        "replace in sysfs",
        shown,
        {patch.name: patch.replace for patch in installed if patch.name in shown},
    )


def _rows(patches: Sequence[Livepatch]) -> list[tuple[Any, ...]]:
    return [
        (
            patch.name,
            patch.replace,
            [(state.id, state.version, state.data) for state in patch.states or ()],
            patch.build_id,
        )
        for patch in patches
    ]


def _same(what: str, shown: Any, expected: Any) -> None:
    if shown != expected:
        raise Disagreement("%s is %s and must be %s" % (what, shown, expected))


def _count_load(load: Load, stack: Stack, tally: Tally) -> None:
    tally.size(MOST_STATES, len(load.states))
    for kind in _kinds(load, stack):
        tally.count(kind)


def _kinds(load: Load, stack: Stack) -> Iterator[str]:
    ids = {state.id for state in load.states}
    highest = highest_versions(stack)
    if stack.installed and not load.cumulative:
        yield STACKED
    if len(stack.installed) > 1 and load.cumulative:
        yield REPLACED_STACK
    if any(s.id in highest and s.version > highest[s.id] for s in load.states):
        yield NEWER
    if set(highest) - ids:
        yield UNTOUCHED
    if not load.states:
        yield STATELESS
    if len(ids) < len(load.states):
        yield DUPLICATES
    if any(id > ULONG_MAX - 16 for id in ids):
        yield WIDE_IDS
    if any(state.version > 2**32 - 16 for state in load.states):
        yield WIDE_VERSIONS
