# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollback will do to a board: back to which livepatches, by which calls.

Pure; runs on the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import (
    FAIL,
    check_transition,
    gate,
    same_build,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    history_from_json,
    previous,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import (
    NoWayError,
    Step,
    UnknownError,
    after_step,
    shortest_way,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    Board,
    LivepatchFile,
    ShapeError,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.rollout import (
    Plan,
    plan_board,
)


class Refused(Exception):
    """The board can't go back; the message is one sentence."""


def plan(
    answer: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    to: str = "previous",
    unknown_states: str = "refuse",
) -> Plan:
    """The plan for the board that gave this answer to livepatch_info.

    files: of livepatch_file_info; to: "previous", what was installed before, or
    "none"; unknown_states: "refuse", or "allow" to disable everything first.
    """

    def go_back(board: Board, candidates: Sequence[LivepatchFile]) -> Plan:
        try:
            wanted = _previous(answer, board) if to == "previous" else ()
            if not (wanted or board.patches):
                return Plan("nothing to do", "no livepatch is installed")
            way = _way(board, candidates, wanted, unknown_states)
            return Plan(
                "roll back",
                _reason(wanted, way, to),
                after=tuple(build.name for build in wanted),
                steps=_calls(way, board, candidates, wanted, unknown_states),
            )
        except ShapeError as error:
            return Plan("failed", "the board's answer was not understood: %s." % error)
        except Refused as error:
            return Plan("refused", str(error))

    return plan_board(answer, files, go_back)


def _previous(answer: Mapping[str, Any], board: Board) -> tuple[Build, ...]:
    if answer.get("history") is None:
        raise Refused(
            "its history can't be read (the modules need root, and /run/orangepi.livepatch must be "
            "root's alone), and unknown is not none. Go back to none with rollback_to: none."
        )
    return previous(history_from_json(answer["history"]), board.patches)


def _way(
    board: Board,
    candidates: Sequence[LivepatchFile],
    wanted: Sequence[Build],
    unknown_states: str,
) -> tuple[Step, ...]:
    check = check_transition(board)
    if check.outcome == FAIL:
        raise Refused(check.message)
    patches = [
        next((patch for patch in board.patches if _is_of(patch, build)), None)
        or _file(build, candidates).livepatch
        for build in wanted
    ]
    try:
        return shortest_way(board.patches, patches)
    except UnknownError as error:
        if unknown_states == "allow":
            to_none = shortest_way(board.patches, ())
            return (*to_none, *(Step("load", patch) for patch in patches))
        raise Refused(
            "%s rollback_unknown_states: allow disables everything first, and leaves the rest to "
            "the kernel." % error
        ) from error
    except NoWayError as error:
        raise Refused(
            "%s Go back to none with rollback_to: none, and load by hand." % error
        ) from error


def _calls(
    way: Sequence[Step],
    board: Board,
    candidates: Sequence[LivepatchFile],
    wanted: Sequence[Build],
    unknown_states: str,
) -> tuple[dict[str, Any], ...]:
    """The way as calls of the module livepatch, which disables what is in the way by itself."""
    calls: list[dict[str, Any]] = []
    removed = "disabled" if board.modules_disabled else "absent"
    builds = {build.name: build for build in wanted}
    disabled: list[str] = []
    patches = board.patches
    for step in way:
        name = step.patch.name
        if step.action == "disable":
            disabled.append(name)
            patches = after_step(step, patches)
            continue
        file, params = _file(builds[name], candidates), builds[name].params or ""
        decision = gate(file, board, params, unknown_states, allow_downgrade=True)
        if decision.steps != (*("disable %s" % name for name in disabled), "load"):
            calls += _removals(disabled, removed)
            disabled = []
            decision = gate(file, replace(board, patches=patches), params, unknown_states)
            if not decision.allowed:
                raise Refused(decision.refusal(name))
        calls.append({"src": file.path, "params": params, "allow_downgrade": bool(disabled)})
        disabled = []
        patches = after_step(step, patches)
        board = replace(board, patches=patches)
    calls += _removals(disabled, removed)
    goal = [asdict(build) for build in wanted]
    return tuple(dict(call, _goal=goal) for call in calls)


def _removals(names: Sequence[str], state: str) -> list[dict[str, Any]]:
    return [{"name": name, "state": state} for name in names]


def _file(build: Build, candidates: Sequence[LivepatchFile]) -> LivepatchFile:
    for file in candidates:
        if _is_of(file.livepatch, build):
            return file
    raise Refused(
        "%s (build id %s) was installed before, and the catalog has no file of that build. Put it "
        "there, or go back to none with rollback_to: none." % (build.name, build.build_id)
    )


def _is_of(patch: Livepatch, build: Build) -> bool:
    known = Livepatch(build.name, None, None, build_id=build.build_id, srcversion=build.srcversion)
    return patch.name == build.name and bool(same_build(patch, known))


def _reason(wanted: Sequence[Build], way: Sequence[Step], to: str) -> str:
    reasons = ["steps: " + ", ".join(map(str, way))]
    if not wanted and to == "previous":
        reasons.append("no earlier livepatch is known")
    loaded = [step.patch.name for step in way if step.action == "load"]
    reasons += [
        "the parameters of %s are not known, since somebody else loaded it" % build.name
        for build in wanted
        if build.name in loaded and build.params is None
    ]
    return "; ".join(reasons)
