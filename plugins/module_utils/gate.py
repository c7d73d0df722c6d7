# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""May this livepatch be loaded on this board?  Candidate and board in, decision out.

Pure: the rules of the seed document come from system_state, and each thing that
the kernel checks besides is one small function here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    DISABLE,
    LOAD,
    Step,
    conflicting,
    function_changes,
    same_build,
    spell,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    StateOutcome,
    compare_states,
)

PASS = "pass"
FAIL = "fail"
UNKNOWN = "unknown"

# A message is read; the others are in the decision's states.
NAMED_STATES = 8


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: its name, pass, fail or unknown, and one sentence."""

    check: str
    outcome: str
    message: str


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    steps: what to do in order; empty where there is nothing to do or nothing is
    allowed.  functions: kept, added and removed by the steps, each spelled as
    sysfs does (OBJECT/FUNCTION,POSITION) or None where it is unknown.
    """

    allowed: bool
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    states: tuple[StateOutcome, ...]
    functions: dict[str, list[str] | None]

    def to_json(self) -> dict[str, Any]:
        """The `decision` that the modules return."""
        return {
            "allowed": self.allowed,
            "steps": spell(self.steps),
            "checks": [asdict(check) for check in self.checks],
            "states": [dict(vars(state)) for state in self.states],
            "functions": self.functions,
        }

    def refusal(self, name: str) -> str:
        """Why the livepatch of that name was refused, in one line for a tired person."""
        reasons = [check.message for check in self.checks if check.outcome == FAIL] or [
            check.message for check in self.checks if check.outcome == UNKNOWN
        ]
        return "%s refused: %s" % (name, " Also: ".join(reasons))


def gate(
    candidate: LivepatchFile,
    board: Board,
    params: str = "",
    unknown_states: str = "refuse",
    allow_downgrade: bool = False,
    options: str = "",
) -> Decision:
    """Decide whether the candidate may be loaded on the board, and by which steps.

    params: the module parameters it would be loaded with; unknown_states:
    "refuse" or "allow"; allow_downgrade: permit disabling what is in the way
    first.  Unknown refuses, unless unknown_states allows it.  options: what the
    names of the caller's options begin with, "rollout_" say, for the messages.
    """
    patch = candidate.livepatch
    if already_enabled(patch, board):
        message = "%s is enabled, this very build" % patch.name
        return Decision(
            True,
            (),
            (Check("already_enabled", PASS, message),),
            _state_outcomes(patch, board.patches),
            function_changes(board.patches, ()),
        )
    in_the_way = conflicting(patch, board.patches) if allow_downgrade else []
    states = _state_outcomes(patch, board.patches)
    checks = [
        check_support(board),
        _check_arch(candidate, board),
        _check_kernel_release(candidate, board),
        _check_modules_disabled(board),
        _check_signature(candidate, board),
        _check_name(patch, board),
        check_transition(board),
        _check_states_known(patch, board, options),
        _check_system_states(patch, board, in_the_way, states, options),
    ]
    if params:
        checks.append(_check_parameters(patch, params))
    steps = (*(Step(DISABLE, other) for other in in_the_way), Step(LOAD, patch))
    tolerated = (PASS, UNKNOWN) if unknown_states == "allow" else (PASS,)
    allowed = all(check.outcome in tolerated for check in checks)
    return Decision(
        allowed,
        steps if allowed else (),
        tuple(checks),
        states,
        function_changes(board.patches, steps),
    )


def already_enabled(patch: Livepatch, board: Board) -> bool:
    """Whether this very build is enabled, and no transition under way will change that."""
    replaced_by = next(
        (
            other.name
            for other in board.patches
            if other.transition and other.enabled and other.replace is not False
        ),
        patch.name,
    )
    return replaced_by == patch.name and any(
        installed.name == patch.name
        and installed.enabled
        and not installed.transition
        and same_build(installed, patch)
        for installed in board.patches
    )


def check_support(board: Board) -> Check:
    if board.supported:
        return Check("livepatch_support", PASS, "the running kernel has livepatching")
    reasons = "; ".join(board.reasons)
    return Check(
        "livepatch_support",
        FAIL,
        "the board does not support livepatches: %s. Boot a kernel built with CONFIG_LIVEPATCH."
        % reasons,
    )


def _check_arch(candidate: LivepatchFile, board: Board) -> Check:
    if candidate.arch == board.arch:
        return Check("arch", PASS, "file and kernel are both for %s" % board.arch)
    return Check(
        "arch",
        FAIL,
        "the file is built for %s and the board's kernel is %s; choose the file built for this "
        "architecture." % (candidate.arch, board.arch),
    )


def _check_kernel_release(candidate: LivepatchFile, board: Board) -> Check:
    if candidate.kernel_release == board.kernel_release:
        return Check(
            "kernel_release", PASS, "file and kernel are both of %s" % board.kernel_release
        )
    return Check(
        "kernel_release",
        FAIL,
        "the file is built for kernel %s and the board runs %s; a livepatch replaces functions of "
        "exactly the kernel that it was built for, so choose the file built for %s."
        % (candidate.kernel_release, board.kernel_release, board.kernel_release),
    )


def _check_modules_disabled(board: Board) -> Check:
    if not board.modules_disabled:
        return Check("modules_disabled", PASS, "the kernel still takes modules")
    return Check(
        "modules_disabled",
        FAIL,
        "kernel.modules_disabled is 1 on the board, so that no module can be loaded until it is "
        "rebooted.",
    )


def _check_signature(candidate: LivepatchFile, board: Board) -> Check:
    if not board.signatures_enforced:
        return Check("signature", PASS, "the kernel does not insist on signed modules")
    if candidate.signature is not None:
        return Check(
            "signature",
            PASS,
            "the kernel insists on signed modules and the file is signed; whether the kernel "
            "trusts the key shows when it is loaded",
        )
    return Check(
        "signature",
        FAIL,
        "the file is not signed and the board's kernel takes signed modules only "
        "(module.sig_enforce or lockdown); sign it with a key that the kernel trusts.",
    )


def _check_name(patch: Livepatch, board: Board) -> Check:
    if patch.name in board.forced:
        return Check(
            "name",
            FAIL,
            "the module %s is still loaded and can't be removed until the next reboot, because the "
            "transition that took it out of use was forced. Give the new build a name of its own, "
            "or reboot." % patch.name,
        )
    loaded = next((p for p in board.patches if p.name == patch.name), None)
    if loaded is None:
        return Check("name", PASS, "no livepatch of the name %s is installed" % patch.name)
    same = same_build(loaded, patch)
    if same:
        return Check("name", PASS, "the installed %s is this very build" % patch.name)
    if same is None:
        difference = "whether it is the same build can't be told, since there is no build id"
    elif loaded.build_id == patch.build_id:
        difference = "it is another build (with the same build id, but other system states)"
    else:
        difference = "it is another build (build id %s there, %s in the file)" % (
            loaded.build_id,
            patch.build_id,
        )
    return Check(
        "name",
        FAIL,
        "a livepatch %s is installed already and %s; the kernel can't hold two modules of one "
        "name. Give the new build a name of its own, or remove the installed one first "
        "(state: absent)." % (patch.name, difference),
    )


def check_transition(board: Board) -> Check:
    if board.transition is None:
        return Check("transition", PASS, "nothing is in transition")
    return Check(
        "transition",
        FAIL,
        "%s is in transition (%s), and the kernel allows one transition at a time. Wait until it "
        "has ended, or see what blocks it with livepatch_info."
        % (board.transition.patch, board.transition.direction),
    )


def _check_states_known(patch: Livepatch, board: Board, options: str) -> Check:
    unknown = [p.name for p in board.patches if p.states is None]
    if patch.states is None:
        return Check(
            "states_known",
            UNKNOWN,
            "the system states of the file can't be read. Unknown is not none; %sunknown_states: "
            "allow leaves the decision to the kernel." % options,
        )
    if unknown:
        return Check(
            "states_known",
            UNKNOWN,
            "the system states of the installed %s are unknown (%s). Unknown is not none; "
            "%sunknown_states: allow leaves the decision to the kernel."
            % (", ".join(unknown), "; ".join(board.reasons) or "no source tells them", options),
        )
    return Check("states_known", PASS, "all system states are known (%s)" % board.states_source)


def _check_system_states(
    patch: Livepatch,
    board: Board,
    in_the_way: Sequence[Livepatch],
    states: Sequence[StateOutcome],
    options: str,
) -> Check:
    if patch.states is None:
        return Check("system_states", UNKNOWN, "the system states of the file can't be compared.")
    known = [p for p in board.patches if p.states is not None]
    if _depends_on_replace(patch, known):
        return Check(
            "system_states",
            UNKNOWN,
            "whether %s is cumulative can't be told from its file, and a cumulative livepatch "
            "without the installed system states would be refused by the kernel. "
            "%sunknown_states: allow leaves the decision to the kernel." % (patch.name, options),
        )
    if in_the_way:
        return Check(
            "system_states",
            PASS,
            "the rules forbid the direct replacement, so %s is disabled first, whose callbacks "
            "restore the original state; until %s is loaded the board runs without it."
            % (_names(in_the_way), patch.name),
        )
    refused = [outcome for outcome in states if not outcome.allowed]
    if not refused:
        return Check(
            "system_states",
            PASS,
            "%s can deal with every system state that is known to be installed" % patch.name,
        )
    message = _why_refused(patch, refused, known) + "."
    if all(installed.name != patch.name for installed in known):
        message += " To go back, use %sallow_downgrade: true, which disables %s first." % (
            options,
            _names(conflicting(patch, known)),
        )
    return Check("system_states", FAIL, message)


def _depends_on_replace(patch: Livepatch, installed: Sequence[Livepatch]) -> bool:
    if patch.replace is not None:
        return False
    as_cumulative = conflicting(replace(patch, replace=True), installed)
    return as_cumulative != conflicting(replace(patch, replace=False), installed)


def _why_refused(
    patch: Livepatch, refused: Sequence[StateOutcome], installed: Sequence[Livepatch]
) -> str:
    named = refused[:NAMED_STATES]
    highest = {outcome.id: outcome.installed for outcome in named}
    owners = {
        state.id: p.name
        for p in installed
        for state in p.states or ()
        if highest.get(state.id) == state.version
    }
    reasons = [_why(patch, outcome, owners[outcome.id]) for outcome in named]
    if len(refused) > len(named):
        reasons.append("and so for %d more system states" % (len(refused) - len(named)))
    return "; ".join(reasons)


def _why(patch: Livepatch, outcome: StateOutcome, owner: str) -> str:
    where = "system state %d is at version %s (installed by %s)" % (
        outcome.id,
        outcome.installed,
        owner,
    )
    if outcome.outcome == "older":
        return (
            "%s and %s provides version %s; a livepatch may keep or raise a state's version, "
            "never lower it" % (where, patch.name, outcome.candidate)
        )
    return (
        "%s and %s does not handle it; a cumulative livepatch must handle every system state "
        "that is installed" % (where, patch.name)
    )


def _check_parameters(patch: Livepatch, params: str) -> Check:
    return Check(
        "parameters",
        PASS,
        "%s is loaded with parameters (%s): a livepatch's code may decide by them whether it is "
        "cumulative, and then the running kernel's value counts, not the file's (%s)"
        % (patch.name, params, patch.replace),
    )


def _state_outcomes(patch: Livepatch, installed: Sequence[Livepatch]) -> tuple[StateOutcome, ...]:
    """Of the states that are known; a livepatch of unknown kind is taken as cumulative."""
    if patch.states is None:
        return ()
    if patch.replace is None:
        patch = replace(patch, replace=True)
    return compare_states(patch, [p for p in installed if p.states is not None])


def _names(patches: Sequence[Livepatch]) -> str:
    return " and ".join(patch.name for patch in patches)
