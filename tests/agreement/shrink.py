# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The smallest sequence that still disagrees.

The kernel can't be asked one sequence at a time without waiting for each, so a
whole round of simpler ones is one batch, and the first that disagrees is the
next to be made simpler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import TypeVar

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import SystemState

from .sequences import Load, Steps

T = TypeVar("T")

# The first sequence that disagrees, and why; None where all agree.
Disagreeing = Callable[[list[Steps]], "tuple[Steps, str] | None"]


def shrink(sequence: Steps, why: str, disagreeing: Disagreeing) -> tuple[Steps, str]:
    """The smallest sequence that was found to disagree, and why it does."""
    while True:
        simpler = disagreeing(list(simplifications(sequence)))
        if simpler is None:
            return sequence, why
        sequence, why = simpler


def simplifications(sequence: Steps) -> Iterator[Steps]:
    """Sequences that are simpler by one change, the greatest changes first."""
    yield from _parts(sequence)
    for index, step in enumerate(sequence):
        if isinstance(step, Load):
            for simpler in _simpler_loads(step):
                yield (*sequence[:index], simpler, *sequence[index + 1 :])
    yield from _lower_ids(sequence)
    yield from _lower_versions(sequence)
    yield from _lower_patches(sequence)


def _parts(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    size = len(items)
    while size:
        for start in range(0, len(items), size):
            yield items[:start] + items[start + size :]
        size //= 2


def _simpler_loads(load: Load) -> Iterator[Load]:
    for states in _parts(load.states):
        yield replace(load, states=states)
    if load.foreign:
        yield replace(load, foreign=False)
    if load.cumulative:
        yield replace(load, cumulative=False)
    for index, state in enumerate(load.states):
        for version in _lower(state.version, 0):
            lowered = (*load.states[:index], SystemState(state.id, version))
            yield replace(load, states=lowered + load.states[index + 1 :])


def _lower_ids(sequence: Steps) -> Iterator[Steps]:
    for id in sorted({state.id for state in _states(sequence)}):
        for lower in _lower(id, 1):
            yield _with_other_states(sequence, {"id": id}, {"id": lower})


def _lower_versions(sequence: Steps) -> Iterator[Steps]:
    for version in sorted({state.version for state in _states(sequence)}):
        for lower in _lower(version, 0):
            yield _with_other_states(sequence, {"version": version}, {"version": lower})


def _lower_patches(sequence: Steps) -> Iterator[Steps]:
    for patch in sorted({step.patch for step in sequence}):
        for lower in _lower(patch, 1):
            yield tuple(
                replace(step, patch=lower) if step.patch == patch else step for step in sequence
            )


def _lower(number: int, least: int) -> Iterator[int]:
    """The least first, then closer and closer."""
    yield from range(least, min(number, least + 3))
    if number > least + 3:
        yield from (number // 2, number - 1)


def _states(sequence: Steps) -> Iterator[SystemState]:
    for step in sequence:
        if isinstance(step, Load):
            yield from step.states


def _with_other_states(sequence: Steps, old: dict[str, int], new: dict[str, int]) -> Steps:
    def other(state: SystemState) -> SystemState:
        return replace(state, **new) if old.items() <= asdict(state).items() else state

    return tuple(
        replace(step, states=tuple(map(other, step.states))) if isinstance(step, Load) else step
        for step in sequence
    )
