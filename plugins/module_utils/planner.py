# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way from the livepatches that are installed to those that are wanted.

Pure.  The rules are those of klp_is_patch_compatible() in
kernel/livepatch/state.c; what a step makes of the kernel's list is said in
stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import (
    FAIL,
    PASS,
    UNKNOWN,
    Check,
    Decision,
    check_transition,
    gate,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    DISABLE,
    LOAD,
    REMOVE,
    Step,
    after_all,
    conflicting,
    function_changes,
    same_stack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    StateOutcome,
    conflicts,
)


class NoWayError(ValueError):
    """What is wanted can't be reached; the message is one sentence."""


class UnknownError(NoWayError):
    """Whether it can be reached depends on what nobody knows."""


@dataclass(frozen=True)
class Wanted:
    """One livepatch of the stack that is wanted.

    file: None for one that is installed and stays, whose file nobody has; params:
    the module parameters to load it with.
    """

    patch: Livepatch
    file: LivepatchFile | None
    params: str = ""


def decide(
    wanted: Sequence[Wanted],
    board: Board,
    unknown_states: str = "refuse",
    allow_downgrade: bool = False,
    options: str = "",
) -> Decision:
    """Decide whether exactly `wanted` may be installed on the board, and by which steps.

    wanted: in stack order.  unknown_states, allow_downgrade, options: as of
    gate(), which decides over every load.  Without allow_downgrade nothing is
    disabled to make way for a load that the rules forbid; with both, where states
    are unknown, everything is disabled first.  Where nothing is loaded after a
    livepatch was disabled, its module is removed too.
    """
    transition = check_transition(board)
    patches = [want.patch for want in wanted]
    if transition.outcome == PASS and same_stack(board.patches, patches):
        message = "%s: this very stack is installed" % name_of(wanted)
        check = Check("already_enabled", PASS, message)
        return Decision(True, (), (check,), (), function_changes(board.patches, ()))
    try:
        way = _way_to(patches, board, unknown_states == "allow", allow_downgrade)
    except UnknownError as error:
        hint = "%s %sunknown_states: allow leaves the decision to the kernel." % (error, options)
        return _refused(board, [Check("stack", UNKNOWN, hint)])
    except NoWayError as error:
        return _refused(board, [Check("stack", FAIL, str(error))])

    checks: list[Check] = []
    states: list[StateOutcome] = []
    disabled: list[Step] = []
    now = board
    several = [step.action for step in way].count(LOAD) > 1
    for step in way:
        if step.action == DISABLE:
            disabled.append(step)
            continue
        want = next(want for want in wanted if want.patch is step.patch)
        if want.file is None:
            why = "%s is not installed as it would have to stay; give its file." % step.patch.name
            return _refused(board, [Check("stack", FAIL, why)])
        decision = _gate(want, want.file, now, disabled, unknown_states, allow_downgrade, options)
        prefix = "%s: " % step.patch.name if several else ""
        checks += [replace(check, message=prefix + check.message) for check in decision.checks]
        states += decision.states
        if not decision.allowed:
            return _refused(board, checks, states)
        now = replace(now, patches=after_all((*disabled, step), now.patches))
        disabled = []
    if disabled or not way:
        checks.append(transition)
        if transition.outcome != PASS:
            return _refused(board, checks, states)
        if not board.modules_disabled:
            way = (*way, *(Step(REMOVE, step.patch) for step in disabled))
    functions = function_changes(board.patches, way)
    return Decision(True, way, tuple(checks), tuple(states), functions)


def name_of(wanted: Sequence[Wanted]) -> str:
    """What is wanted, for the beginning of a sentence."""
    names = [want.patch.name for want in wanted]
    if len(names) == 1:
        return names[0]
    return "the stack %s" % ", ".join(names) if names else "the empty stack"


def _refused(
    board: Board, checks: Sequence[Check], states: Sequence[StateOutcome] = ()
) -> Decision:
    functions = function_changes(board.patches, ())
    return Decision(False, (), tuple(checks), tuple(states), functions)


def _way_to(
    wanted: Sequence[Livepatch], board: Board, leave_to_kernel: bool, allow_downgrade: bool
) -> tuple[Step, ...]:
    try:
        return shortest_way(board.patches, wanted)
    except UnknownError:
        if leave_to_kernel and allow_downgrade:
            return _way(board.patches[::-1], wanted)
        if len(wanted) == 1 and wanted[0].replace is not False:
            # The gate knows when the unknown does not matter, and has the better sentence.
            in_the_way = conflicting(wanted[0], board.patches) if allow_downgrade else []
            return _way(in_the_way, wanted)
        if leave_to_kernel:
            return _keeping(board.patches, wanted, _kept(board.patches, wanted))
        raise


def _gate(
    want: Wanted,
    file: LivepatchFile,
    board: Board,
    disabled: Sequence[Step],
    unknown_states: str,
    allow_downgrade: bool,
    options: str,
) -> Decision:
    """The gate's decision over a load, after what the way disables right before it."""
    direct = gate(file, board, want.params, unknown_states, allow_downgrade, options)
    if direct.steps == (*disabled, Step(LOAD, want.patch)):
        return direct
    others = [step.patch for step in disabled]
    in_the_way = conflicting(want.patch, others) or want.patch.name in [p.name for p in others]
    if in_the_way and not allow_downgrade and not direct.allowed:
        return direct
    left = replace(board, patches=after_all(disabled, board.patches))
    return gate(file, left, want.params, unknown_states, False, options)


def shortest_way(installed: Sequence[Livepatch], wanted: Sequence[Livepatch]) -> tuple[Step, ...]:
    """The fewest steps after which exactly `wanted` is installed, the same builds in this order.

    installed, wanted: in stack order.  Nothing but what is wanted is ever
    loaded; what must go is disabled first, the youngest first.  Of two ways of
    one length it is the one that disables least.  Raises NoWayError.
    """
    _check_names(wanted)
    kept = _kept(installed, wanted)
    way = _keeping(installed, wanted, kept)
    try:
        _check_known(installed, wanted)
        _check_stack(wanted)
    except NoWayError:
        if len(kept) < len(wanted):
            raise
    else:
        if wanted and wanted[0].replace:
            way = min(way, _way(_in_the_way(wanted[0], installed), wanted), key=len)
    return way


def _keeping(
    installed: Sequence[Livepatch], wanted: Sequence[Livepatch], kept: set[str]
) -> tuple[Step, ...]:
    """The way on which so many of the first that are wanted stay installed."""
    return _way(
        [patch for patch in reversed(installed) if patch.name not in kept], wanted[len(kept) :]
    )


def _way(disabled: Sequence[Livepatch], loaded: Sequence[Livepatch]) -> tuple[Step, ...]:
    return (
        *(Step(DISABLE, patch) for patch in disabled),
        *(Step(LOAD, patch) for patch in loaded),
    )


def _kept(installed: Sequence[Livepatch], wanted: Sequence[Livepatch]) -> set[str]:
    """The names of as many of the first that are wanted as are installed already, in this order."""
    kept: set[str] = set()
    for patch in installed:
        if len(kept) == len(wanted):
            break
        if same_stack([patch], [wanted[len(kept)]]):
            kept.add(patch.name)
    return kept


def _in_the_way(first: Livepatch, installed: Sequence[Livepatch]) -> list[Livepatch]:
    conflicts_with = conflicting(first, installed)
    return [p for p in reversed(installed) if p.name == first.name or p in conflicts_with]


def _check_names(wanted: Sequence[Livepatch]) -> None:
    names: set[str] = set()
    for patch in wanted:
        if patch.name in names:
            raise NoWayError("%s is wanted twice; a kernel holds one of a name." % patch.name)
        names.add(patch.name)


def _check_known(installed: Sequence[Livepatch], wanted: Sequence[Livepatch]) -> None:
    for patch in (*installed, *wanted):
        if patch.states is None:
            raise UnknownError(
                "the system states of %s are unknown, so that it can't be told which livepatches "
                "the kernel takes beside it." % patch.name
            )
    for patch in wanted:
        if patch.replace is None:
            raise UnknownError(
                "it is unknown whether %s is cumulative, so that it can't be told what it replaces."
                % patch.name
            )


def _check_stack(wanted: Sequence[Livepatch]) -> None:
    """Whether the livepatches can be loaded one after the other, each staying."""
    for index, patch in enumerate(wanted):
        for below in wanted[:index]:
            if patch.replace:
                raise NoWayError(
                    "%s is cumulative and would replace %s, above which it is wanted."
                    % (patch.name, below.name)
                )
            if conflicts(patch, below):
                raise NoWayError(
                    "%s would lower the version of a system state of %s, above which it is wanted."
                    % (patch.name, below.name)
                )
