# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout will do to a board: the newest livepatch of the catalog, by which steps.

Pure; runs on the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import already_enabled
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import builds
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import Wanted, decide
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import spell
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import Catalog
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Plan,
    plan_board,
    way,
)

PREFIX = "rollout_"


def plan(
    answer: Mapping[str, Any],
    catalog: Catalog,
    unknown_states: str = "refuse",
    allow_downgrade: bool = False,
) -> Plan:
    """The plan for the board that gave this answer to livepatch_info.

    unknown_states, allow_downgrade: as of livepatch_stack.
    """

    def update(board: Board) -> Plan:
        before = builds(board.patches)
        newest = catalog.newest(board)
        if newest is None:
            return Plan("nothing fits", catalog.why_nothing_fits(board), before)
        name = newest.livepatch.name
        # Whatever is stacked on it is none of the rollout's business.
        if already_enabled(newest.livepatch, board):
            return Plan("up to date", "%s is enabled" % name, before)
        wanted = [Wanted(newest.livepatch, newest)]
        decision = decide(wanted, board, unknown_states, allow_downgrade, PREFIX)
        if not decision.allowed:
            return Plan("refused", decision.refusal(name), before)
        reasons = ["newest for %s" % board.kernel_release]
        if len(decision.steps) > 1:
            reasons.append("steps: " + ", ".join(spell(decision.steps)))
        reasons += [
            "state %d %s" % (state.id, _version_change(state.installed, state.candidate))
            for state in decision.states
        ]
        return Plan("update", "; ".join(reasons), before, way(wanted, decision, board, catalog))

    return plan_board(answer, catalog, update)


def _version_change(installed: int | None, candidate: int | None) -> str:
    if installed is None:
        return "new at version %s" % candidate
    if installed == candidate:
        return "stays at version %d" % installed
    return "from version %d to %s" % (installed, candidate)
