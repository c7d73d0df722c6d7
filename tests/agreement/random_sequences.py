# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random sequences, each made from the seed and its number alone.

Purely random livepatches would nearly all be refused, so most fit what would be
installed, and some of those are spoilt by one small change: the rules are
decided at their edges.
"""

from __future__ import annotations

from random import Random

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    UINT_MAX,
    ULONG_MAX,
    Livepatch,
    SystemState,
    conflicts,
)

from .sequences import (
    DISABLE,
    ENABLE,
    MAX_STATES,
    MAX_STEPS,
    REMOVE,
    Act,
    Load,
    Stack,
    Step,
    Steps,
    highest_versions,
    name_of,
)

# More than a livepatch has room for.  Some are equal in their lower 32 bits, or as signed numbers
# of the wrong size.
IDS = (
    *range(1, 9),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**32 + 2),
    *(2**63 - 1, 2**63, 2**63 + 1),
    *range(ULONG_MAX - 3, ULONG_MAX + 1),
)
VERSIONS = (0, 0, 1, 1, 2, 3, 2**16, 2**31 - 1, 2**31, UINT_MAX - 1, UINT_MAX)


def random_sequence(seed: int, number: int) -> Steps:
    """The sequence of that number."""
    random = Random("%d/%d" % (seed, number))
    ids = random.sample(IDS, random.choice((2, 3, 5, len(IDS))))
    cumulative = random.choice((0.1, 0.2, 0.3, 0.7))
    steps: list[Step] = []
    stack = Stack()
    for _step in range(random.randint(1, MAX_STEPS)):
        step = _random_step(random, ids, cumulative, stack)
        steps.append(step)
        if _is_done(step, stack):
            stack = stack.after(step)
    return tuple(steps)


def _is_done(step: Step, stack: Stack) -> bool:
    installed = any(load.patch == step.patch for load in stack.installed)
    leftover = any(load.patch == step.patch for load in stack.leftover)
    if isinstance(step, Load):
        candidate = _livepatch(step)
        return not (installed or leftover or step.foreign) and not any(
            conflicts(candidate, _livepatch(load)) for load in stack.installed
        )
    return {DISABLE: installed, ENABLE: False, REMOVE: leftover}[step.action]


def _livepatch(load: Load) -> Livepatch:
    return Livepatch(name_of(load.patch), load.cumulative, load.states)


def _random_step(random: Random, ids: list[int], cumulative: float, stack: Stack) -> Step:
    loaded = stack.installed + stack.leftover
    kind = random.choices(("load", DISABLE, REMOVE, ENABLE), (68, 15, 12, 5))[0]
    if kind == "load" or not loaded:
        return _random_load(random, ids, random.random() < cumulative, stack)
    fitting = stack.leftover if kind == REMOVE else stack.installed
    if not fitting or random.random() < 0.15:
        return Act(kind, random.randint(1, MAX_STEPS))
    return Act(kind, random.choice(fitting).patch)


def _random_load(random: Random, ids: list[int], cumulative: bool, stack: Stack) -> Load:
    loaded = stack.installed + stack.leftover
    if loaded and random.random() < 0.05:
        return random.choice(loaded)
    taken = {load.patch for load in loaded}
    number = min(set(range(1, MAX_STEPS + 1)) - taken)
    if loaded and random.random() < 0.08:
        number = random.choice(loaded).patch
    states = _random_states(random, ids, cumulative, stack)
    return Load(number, states, cumulative, foreign=random.random() < 0.02)


def _random_states(
    random: Random, ids: list[int], cumulative: bool, stack: Stack
) -> tuple[SystemState, ...]:
    if random.random() < 0.1:
        count = random.choice((0, 1, 2, 3, MAX_STATES))
        return tuple(
            SystemState(random.choice(ids), random.choice(VERSIONS)) for _state in range(count)
        )
    highest = highest_versions(stack)
    states = _fitting_states(random, ids, cumulative, highest)
    if random.random() < 0.5:
        _spoil(random, states, highest)
    return tuple(states[:MAX_STATES])


def _fitting_states(
    random: Random, ids: list[int], cumulative: bool, highest: dict[int, int]
) -> list[SystemState]:
    own = [id for id in highest if cumulative or random.random() < 0.6]
    own += [id for id in ids if id not in highest and random.random() < 0.4]
    random.shuffle(own)
    states = [_fitting_state(random, id, highest.get(id, 0)) for id in own]
    if states and random.random() < 0.2:
        # Behind the first entries of their ids, where any version will do.
        for _again in range(random.choice((1, 2, MAX_STATES - min(MAX_STATES, len(states))))):
            states.append(SystemState(random.choice(own), random.choice(VERSIONS)))
    return states


def _fitting_state(random: Random, id: int, least: int) -> SystemState:
    if random.random() < 0.4:
        return SystemState(id, random.choice([v for v in VERSIONS if v >= least]))
    return SystemState(id, min(UINT_MAX, least + random.choice((0, 0, 1))))


def _spoil(random: Random, states: list[SystemState], highest: dict[int, int]) -> None:
    known = [index for index, state in enumerate(states) if highest.get(state.id)]
    if not known:
        return
    index = random.choice(known)
    older = SystemState(states[index].id, highest[states[index].id] - 1)
    change = random.choice(("drop", "lower", "repeat"))
    if change == "drop":
        states[:] = [state for state in states if state.id != older.id]
    elif change == "lower":
        states[index] = older
    else:
        states.insert(0, older)
