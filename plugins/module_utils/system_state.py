# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The seed document, "System State Changes", in code.

Pure: no I/O, no Ansible, standard library only.  Read it beside
Documentation/livepatch/system-state.rst and kernel/livepatch/state.c
(the same from Linux 5.5 to 7.3); the section numbers below are the document's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Sequence

ULONG_MAX = 2**64 - 1
UINT_MAX = 2**32 - 1

# The rules of section 2, "Livepatch compatibility", in the document's order.
RULE_NEW = "Any completely new system state modification is allowed."
RULE_VERSION = (
    "System state modifications with the same or higher version are allowed "
    "for already modified system states."
)
RULE_CUMULATIVE = (
    "Cumulative livepatches must handle all system state modifications from "
    "already installed livepatches."
)
RULE_NON_CUMULATIVE = (
    "Non-cumulative livepatches are allowed to touch already modified system states."
)


@dataclass(frozen=True)
class SystemState:
    """One entry of a livepatch's array of struct klp_state (section 1).

    id: non-zero unsigned long; version: unsigned int; data: None for a NULL
    pointer or where it can't be known, else an opaque token, equal for equal
    addresses during one boot.
    """

    id: int
    version: int
    data: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.id <= ULONG_MAX:
            raise ValueError("a system state's id is a non-zero unsigned long, not %r" % self.id)
        if not 0 <= self.version <= UINT_MAX:
            raise ValueError("a system state's version is an unsigned int, not %r" % self.version)


@dataclass(frozen=True)
class Function:
    """A patched function: struct klp_func.

    position: the occurrence among equal symbol names, counted from 1 as in
    sysfs; an old_sympos of 0 ("the name is unique") is 1 there and here.
    """

    name: str
    position: int = 1


@dataclass(frozen=True)
class Object:
    """What is patched: "vmlinux" or a module's name (struct klp_object).

    patched: whether the object is loaded and patched now; None in a file.
    callbacks: which of pre_patch, post_patch, pre_unpatch and post_unpatch it
    has, in that order; None where that can't be known.
    """

    name: str
    functions: tuple[Function, ...] = ()
    callbacks: tuple[str, ...] | None = ()
    patched: bool | None = None


@dataclass(frozen=True)
class Livepatch:
    """A livepatch, the same shape in a file and in a running kernel (struct klp_patch).

    replace: whether it is cumulative; states: the array in its own order,
    duplicates included.  None means unknown, which is never the same as empty.
    enabled and transition are None in a file.
    """

    name: str
    replace: bool | None
    states: tuple[SystemState, ...] | None
    objects: tuple[Object, ...] | None = ()
    enabled: bool | None = None
    transition: bool | None = None
    build_id: str | None = None
    srcversion: str | None = None


@dataclass(frozen=True)
class StateOutcome:
    """What loading a candidate would mean for one state id.

    installed: the highest version among the installed livepatches, None where
    none has the id; candidate: the candidate's version, None where it has not.
    outcome: new, same, newer, older, missing or untouched.  rule: the sentence
    of section 2 that decided.
    """

    id: int
    installed: int | None
    candidate: int | None
    outcome: str
    rule: str

    @property
    def allowed(self) -> bool:
        """Whether the rules allow it: only "older" and "missing" are refused."""
        return self.outcome not in ("older", "missing")


def klp_get_state(patch: Livepatch, id: int) -> SystemState | None:
    """The state of the given livepatch with that id, None where it has none.

    The first entry wins where an id stands twice.  Section 1; klp_get_state()
    in kernel/livepatch/state.c.  Raises ValueError where the livepatch's states
    are unknown.
    """
    return next((state for state in _states(patch) if state.id == id), None)


def states_by_id(patch: Livepatch) -> dict[int, SystemState]:
    """What klp_get_state() finds, for every id that the livepatch has.

    The kernel searches the array each time; a comparison of two arrays asks for
    all of it.  Raises ValueError where the livepatch's states are unknown.
    """
    found: dict[int, SystemState] = {}
    for state in _states(patch):
        found.setdefault(state.id, state)
    return found


def klp_get_prev_state(
    patches: Iterable[Livepatch], patch: Livepatch | None, id: int
) -> SystemState | None:
    """The latest state with that id among the livepatches installed before `patch`.

    patches: in stack order.  patch: the one in transition, where the search
    ends; None to search them all.  Section 1; klp_get_prev_state() in
    kernel/livepatch/state.c.  Raises ValueError where the states of a livepatch
    on the way are unknown.
    """
    last_state = None
    for installed in patches:
        if patch is not None and installed.name == patch.name:
            break
        last_state = klp_get_state(installed, id) or last_state
    return last_state


def conflicts(candidate: Livepatch, installed: Livepatch) -> bool:
    """Whether this one installed livepatch makes the kernel refuse the candidate.

    Every entry of the installed array is compared, a duplicated id's later
    entries too; klp_is_patch_compatible() in kernel/livepatch/state.c.
    """
    old_states = _states(installed)
    states = states_by_id(candidate) if old_states else {}
    return not all(_can_deal_with(candidate, states.get(old.id), old) for old in old_states)


def klp_is_state_compatible(candidate: Livepatch, old_state: SystemState) -> bool:
    """Whether the candidate can deal with this one state of an installed livepatch.

    Section 2; klp_is_state_compatible() in kernel/livepatch/state.c.  A candidate
    of which it is unknown whether it is cumulative is taken for one that is not.
    """
    return _can_deal_with(candidate, klp_get_state(candidate, old_state.id), old_state)


def _can_deal_with(candidate: Livepatch, state: SystemState | None, old_state: SystemState) -> bool:
    if state is None:
        return not candidate.replace
    return state.version >= old_state.version


def compare_states(
    candidate: Livepatch, installed: Sequence[Livepatch]
) -> tuple[StateOutcome, ...]:
    """One outcome for every state id that the candidate or an installed livepatch has.

    Section 2.  installed: every livepatch on the kernel's list, those that the
    candidate would replace and one that is being unpatched included.  Ordered
    by id.  All outcomes are allowed exactly if no installed livepatch conflicts.
    Raises ValueError where states are unknown, or where `replace` is unknown and
    the outcome depends on it.
    """
    highest: dict[int, int] = {}
    for patch in installed:
        for state in _states(patch):
            highest[state.id] = max(state.version, highest.get(state.id, 0))
    states = states_by_id(candidate)
    return tuple(
        _outcome(candidate, id, states.get(id), highest.get(id))
        for id in sorted({*highest, *states})
    )


def _outcome(
    candidate: Livepatch, id: int, state: SystemState | None, installed: int | None
) -> StateOutcome:
    if state is None:
        if candidate.replace is None:
            raise ValueError("it is unknown whether %s is cumulative" % candidate.name)
        if candidate.replace:
            return StateOutcome(id, installed, None, "missing", RULE_CUMULATIVE)
        return StateOutcome(id, installed, None, "untouched", RULE_NON_CUMULATIVE)
    if installed is None:
        return StateOutcome(id, None, state.version, "new", RULE_NEW)
    if state.version < installed:
        outcome = "older"
    elif state.version > installed:
        outcome = "newer"
    else:
        outcome = "same"
    return StateOutcome(id, installed, state.version, outcome, RULE_VERSION)


def _states(patch: Livepatch) -> tuple[SystemState, ...]:
    if patch.states is None:
        raise ValueError("the system states of %s are unknown" % patch.name)
    return patch.states
