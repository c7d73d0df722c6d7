# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollback will do to a board: back to which livepatches, by which steps.

Pure; runs on the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import FAIL, Decision
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    builds,
    history_from_json,
    previous,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import Wanted, decide
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    LOAD,
    same_build,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import Catalog
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Plan,
    plan_board,
    way,
)

PREFIX = "rollback_"


class NoWayBackError(Exception):
    """The board can't go back; the message is one sentence."""


def plan(
    answer: Mapping[str, Any],
    catalog: Catalog,
    to: str = "previous",
    unknown_states: str = "refuse",
) -> Plan:
    """The plan for the board that gave this answer to livepatch_info.

    to: "previous", what was installed before, or "none"; unknown_states: "refuse",
    or "allow" to disable everything first.
    """

    def go_back(board: Board) -> Plan:
        before = builds(board.patches)
        try:
            earlier = _previous(answer, board) if to == "previous" else ()
            wanted = [_wanted(build, board, catalog) for build in earlier]
        except NoWayBackError as error:
            return Plan("refused", str(error), before)
        if not (wanted or board.patches):
            return Plan("nothing to do", "no livepatch is installed", before)
        decision = decide(wanted, board, unknown_states, allow_downgrade=True, options=PREFIX)
        if not decision.allowed:
            return Plan("refused", _refusal(wanted, decision), before)
        if not decision.steps:
            return Plan("nothing to do", "what was installed before is installed", before)
        reason = _reason(earlier, decision, to)
        return Plan("roll back", reason, before, way(wanted, decision, board, catalog))

    return plan_board(answer, catalog, go_back)


def _previous(answer: Mapping[str, Any], board: Board) -> tuple[Build, ...]:
    if answer.get("history") is None:
        raise NoWayBackError(
            "its history can't be read (the modules need root, and /run/orangepi.livepatch must be "
            "root's alone), and unknown is not none. Go back to none with rollback_to: none."
        )
    return previous(history_from_json(answer["history"]), board.patches)


def _wanted(build: Build, board: Board, catalog: Catalog) -> Wanted:
    known = Livepatch(build.name, None, None, build_id=build.build_id, srcversion=build.srcversion)

    def is_it(patch: Livepatch) -> bool:
        return patch.name == build.name and bool(same_build(patch, known))

    file = next((file for file in catalog.files if is_it(file.livepatch)), None)
    installed = next((patch for patch in board.patches if is_it(patch)), None)
    patch = installed if file is None else file.livepatch
    if patch is None:
        unread = catalog.why_unread()
        raise NoWayBackError(
            "%s (build id %s) was installed before, and the catalog has no file of that build%s "
            "Put it there, or go back to none with rollback_to: none."
            % (build.name, build.build_id, " that can be read: %s" % unread if unread else ".")
        )
    return Wanted(patch, file, build.params or "")


def _refusal(wanted: Sequence[Wanted], decision: Decision) -> str:
    goal = ", ".join(want.patch.name for want in wanted) or "none"
    reason = decision.refusal("going back to %s" % goal)
    if any((check.check, check.outcome) == ("stack", FAIL) for check in decision.checks):
        reason += " Go back to none with rollback_to: none, and load by hand."
    return reason


def _reason(earlier: Sequence[Build], decision: Decision, to: str) -> str:
    reasons = ["steps: " + ", ".join(map(str, decision.steps))]
    if not earlier and to == "previous":
        reasons.append("no earlier livepatch is known")
    loaded = {step.patch.name for step in decision.steps if step.action == LOAD}
    reasons += [
        "the parameters of %s are not known, since somebody else loaded it" % build.name
        for build in earlier
        if build.name in loaded and build.params is None
    ]
    return "; ".join(reasons)
