# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/agreement on kernels that are made up: one that keeps the rules, and some that don't."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import replace

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.agreement import sequences
from ansible_collections.orangepi.livepatch.tests.agreement.play import (
    ANSWERS,
    OF_LOADS,
    Reading,
    Tally,
    play,
)
from ansible_collections.orangepi.livepatch.tests.agreement.random_sequences import random_sequence
from ansible_collections.orangepi.livepatch.tests.agreement.sequences import (
    DISABLE,
    MAX_STATES,
    REMOVE,
    Act,
    Load,
    Stack,
    name_of,
)
from ansible_collections.orangepi.livepatch.tests.agreement.shrink import shrink
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board, a_file

SEQUENCES = [random_sequence(seed=1, number=number) for number in range(500)]


class MadeUpKernel:
    """A kernel in memory; kernel/livepatch/state.c in a few words."""

    def __init__(self):
        self.stack = Stack()

    def file(self, load):
        build_id = hashlib.sha1(repr(load).encode()).hexdigest()
        patch = Livepatch(
            name_of(load.patch), load.cumulative, load.states, objects=(), build_id=build_id
        )
        return a_file(patch, arch="aarch64" if load.foreign else "x86_64")

    def do(self, step):
        verdict = self.load(step) if isinstance(step, Load) else self.act(step)
        if verdict == 0:
            self.stack = self.stack.after(step)
        return verdict

    def load(self, load):
        if load.foreign:
            return errno.ENOEXEC
        if load.patch in {other.patch for other in self.stack.installed + self.stack.leftover}:
            return errno.EEXIST
        for other in self.stack.installed:
            for old in other.states:
                if not self.accepts(load, old):
                    return errno.EINVAL
        return 0

    def accepts(self, load, old):
        new = next((state for state in load.states if state.id == old.id), None)
        return new.version >= old.version if new else not load.cumulative

    def act(self, act):
        installed = act.patch in {load.patch for load in self.stack.installed}
        leftover = act.patch in {load.patch for load in self.stack.leftover}
        if act.action == REMOVE:
            return errno.EWOULDBLOCK if installed else 0 if leftover else errno.ENOENT
        if not installed:
            return errno.ENOENT
        return 0 if act.action == DISABLE else errno.EINVAL

    def read(self):
        patches = [self.file(load).livepatch for load in self.stack.installed]
        leftover = tuple(sorted(name_of(load.patch) for load in self.stack.leftover))
        return Reading(
            a_board(patches, leftover=leftover),
            tuple(patch.name for patch in patches),
            {patch.name: patch.replace for patch in patches},
        )

    def clear(self):
        self.stack = Stack()


class RefusesEqualVersions(MadeUpKernel):
    def accepts(self, load, old):
        new = next((state for state in load.states if state.id == old.id), None)
        return new.version > old.version if new else not load.cumulative


class ForgivesMissingStates(MadeUpKernel):
    def accepts(self, load, old):
        return super().accepts(replace(load, cumulative=False), old)


class LooksAtTheLastEntryOfAnId(MadeUpKernel):
    def accepts(self, load, old):
        return super().accepts(replace(load, states=load.states[::-1]), old)


class TruncatesIds(MadeUpKernel):
    def accepts(self, load, old):
        states = [SystemState(state.id % 2**32 or 1, state.version) for state in load.states]
        old = SystemState(old.id % 2**32 or 1, old.version)
        return super().accepts(replace(load, states=tuple(states)), old)


class ComparesSignedVersions(MadeUpKernel):
    def accepts(self, load, old):
        new = next((state for state in load.states if state.id == old.id), None)
        both_small = new is None or max(new.version, old.version) < 2**31
        return super().accepts(load, old) if both_small else new.version < old.version


class LoadsOneNameTwice(MadeUpKernel):
    def load(self, load):
        verdict = super().load(load)
        return 0 if verdict == errno.EEXIST else verdict


class RemovesWhatIsEnabled(MadeUpKernel):
    def act(self, act):
        verdict = super().act(act)
        return 0 if verdict == errno.EWOULDBLOCK else verdict


class ListsTheYoungestFirst(MadeUpKernel):
    def read(self):
        reading = super().read()
        board = replace(reading.board, patches=reading.board.patches[::-1])
        return replace(reading, board=board)


class ShowsAnotherOrderInSysfs(MadeUpKernel):
    def read(self):
        reading = super().read()
        return replace(reading, names=reading.names[::-1])


class ShowsAllAsCumulative(MadeUpKernel):
    def read(self):
        reading = super().read()
        return replace(reading, replace=dict.fromkeys(reading.names, True))


class ForgetsWhatIsLeftOver(MadeUpKernel):
    def read(self):
        reading = super().read()
        return replace(reading, board=replace(reading.board, leftover=()))


WRONG_KERNELS = [
    RefusesEqualVersions,
    ForgivesMissingStates,
    LooksAtTheLastEntryOfAnId,
    TruncatesIds,
    ComparesSignedVersions,
    LoadsOneNameTwice,
    RemovesWhatIsEnabled,
    ListsTheYoungestFirst,
    ShowsAnotherOrderInSysfs,
    ShowsAllAsCumulative,
    ForgetsWhatIsLeftOver,
]


def test_a_kernel_that_keeps_the_rules_agrees_and_every_kind_of_answer_is_seen():
    tally = Tally()
    assert play(MadeUpKernel(), SEQUENCES, tally) is None
    assert set(tally.counts) == {*ANSWERS, *OF_LOADS}
    assert tally.largest["states in one installed livepatch"] == MAX_STATES
    assert tally.largest["livepatches in the deepest stack"] >= 6


@pytest.mark.parametrize("wrong", WRONG_KERNELS)
def test_a_wrong_kernel_is_found_and_left_clean(wrong):
    kernel = wrong()
    assert play(kernel, SEQUENCES, Tally()) is not None
    assert kernel.stack == Stack()


def smallest(kernel):
    def disagreeing(batch):
        found = play(kernel, batch, Tally())
        return found and (batch[found[0]], found[1])

    return shrink(*disagreeing(SEQUENCES), disagreeing)[0]


def a_load(patch, states=(), cumulative=False):
    return Load(patch, tuple(SystemState(*state) for state in states), cumulative)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (RefusesEqualVersions, (a_load(1, [(1, 0)]), a_load(2, [(1, 0)]))),
        (ForgivesMissingStates, (a_load(1, [(1, 0)]), a_load(2, cumulative=True))),
        (LooksAtTheLastEntryOfAnId, (a_load(1, [(1, 1)]), a_load(2, [(1, 0), (1, 1)]))),
        (ComparesSignedVersions, (a_load(1, [(1, 0)]), a_load(2, [(1, 2**31)]))),
        (RemovesWhatIsEnabled, (a_load(1), Act(REMOVE, 1))),
        (ListsTheYoungestFirst, (a_load(1), a_load(2))),
        (ForgetsWhatIsLeftOver, (a_load(1), Act(DISABLE, 1))),
    ],
)
def test_what_is_shown_is_the_smallest_sequence(wrong, expected):
    found = smallest(wrong())
    # Which of two livepatches has the lower number doesn't matter.
    numbers = {patch: index for index, patch in enumerate(_in_order(found), 1)}
    assert tuple(replace(step, patch=numbers[step.patch]) for step in found) == expected


def _in_order(sequence):
    return dict.fromkeys(step.patch for step in sequence)


def test_a_sequence_comes_back_from_json():
    assert [sequences.from_json(sequences.to_json(s)) for s in SEQUENCES] == SEQUENCES
