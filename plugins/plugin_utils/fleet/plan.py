# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What will happen to every board of a fleet, in which waves, and what has.

Pure; runs on the controller.  A rollout and a rollback differ in what they decide
for a board, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import Decision
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    builds,
    stack_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import Wanted
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    board_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import LOAD, REMOVE
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import (
    Catalog,
    CatalogError,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.outcome import (
    UNKNOWN,
    Row,
    after_run,
    because,
    message,
    names,
    result_of,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.waves import (
    WavesError,
    host_patterns,
    waves,
)

# What a board answered to a task, by the board's name; None where it did not.
Answers = Callable[[str], "Mapping[str, Any] | None"]

LOST = (
    "it dropped out of the play before it was decided what to do with it (or the play has "
    "serial: use %swaves instead, since all boards are gated before one is touched)."
)


@dataclass(frozen=True)
class Entry:
    """A livepatch of a stack: of this very file, or where src is None, installed already."""

    name: str
    src: str | None = None
    sha256: str | None = None
    params: str = ""


@dataclass(frozen=True)
class Way:
    """What livepatch_stack is asked for, and what makes it the decision that was made.

    over: what was installed when it was decided; goal: what is to be installed
    afterwards, the same builds; back: path and sha256 of the catalog's files of what is
    installed, None where a failure would leave all of that installed.
    """

    stack: tuple[Entry, ...]
    over: tuple[Build, ...]
    goal: tuple[Build, ...]
    back: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What will happen to one board and why.

    outcome: of outcome.OUTCOMES; before: what is installed; way: None where nothing
    is to be done.
    """

    outcome: str
    reason: str
    before: tuple[Build, ...] | None = None
    way: Way | None = None


def plan_board(
    answer: Mapping[str, Any], catalog: Catalog, decide: Callable[[Board], Plan]
) -> Plan:
    """The plan that `decide` makes for the board that gave this answer to livepatch_info.

    decide: gets a supported board, whose states are known if a file of the catalog
    tells them; may raise CatalogError and ShapeError.
    """
    if answer.get("unreachable"):
        return Plan("unreachable", because("the board can't be reached", answer))
    if answer.get("failed"):
        return Plan("failed", because("the board could not be read", answer))
    before = None
    try:
        board = board_from_json(answer)
        before = builds(board.patches)
        if not board.supported:
            return Plan("unsupported", "; ".join(board.reasons), before)
        return decide(catalog.with_states(board))
    except ShapeError as error:
        return Plan("failed", "the board's answer was not understood: %s." % error, before)
    except CatalogError as error:
        return Plan("failed", str(error), before)


def way(wanted: Sequence[Wanted], decision: Decision, board: Board, catalog: Catalog) -> Way:
    """The way that was decided on; what stays installed needs no file."""
    transitions = [step for step in decision.steps if step.action != REMOVE]
    over = builds(board.patches)
    back = None
    if len(transitions) > 1:
        ids = {build.build_id for build in over if build.build_id}
        files = (file for file in catalog.files if file.livepatch.build_id in ids)
        back = tuple((file.path, file.sha256) for file in files)
    loaded = {step.patch.name for step in decision.steps if step.action == LOAD}
    stack = tuple(
        Entry(want.patch.name, want.file.path, want.file.sha256, want.params)
        if want.file is not None and want.patch.name in loaded
        else Entry(want.patch.name)
        for want in wanted
    )
    return Way(stack, over, builds([want.patch for want in wanted]), back)


def answers_in(hostvars: Mapping[str, Any]) -> Answers:
    """What the boards answered to livepatch_info, out of Ansible's variables.

    Facts outrank a role's defaults, for other boards too, and are what a board says
    of itself; a board whose facts have our variables is not believed at all.
    """

    def answer_of(board: str) -> Mapping[str, Any] | None:
        variables = hostvars[board]
        ours = ("rollout_", "rollback_", "__waves_")
        facts = variables.get("ansible_facts") or {}
        taken = sorted(key for key in facts if str(key).startswith(ours))
        if taken:
            why = "its facts have %s, which would outrank the role's variables" % taken[0]
            return {"failed": True, "msg": why + "; clear the fact cache, and look at the board"}
        answer: Mapping[str, Any] | None = variables.get("__waves_answer")
        return answer

    return answer_of


@dataclass(frozen=True)
class Caller:
    """The role for which it is decided.

    prefix: what its variables' names begin with; sizes: of its waves;
    unknown_states, allow_downgrade: as of livepatch_stack; fail_on: outcomes that fail
    a board besides those that always do.
    """

    prefix: str
    sizes: Sequence[int | str] | int | str
    unknown_states: str = "refuse"
    allow_downgrade: bool = False
    fail_on: Sequence[str] = ()


def plan_fleet(
    boards: Sequence[str],
    present: Sequence[str],
    answers: Answers,
    plan: Callable[[Mapping[str, Any]], Plan],
    caller: Caller,
) -> dict[str, Any]:
    """The plan for all boards, for a playbook's variable.

    boards: of the play; present: those of them that can be asked now, in the order
    in which Ansible takes them; answers: to livepatch_info; plan: of a board's answer.

    What it has: `waves`, the boards that are to be touched; `hosts`, `serial`, the
    same as a play's keywords; `turns`, by board the
    number of its wave and of its way; `ways`, each once however many boards go it;
    `result`, as of result_of(); `refusal`, why no board must be touched, else empty.
    """
    reachable = set(present)
    rows: list[Row] = []
    ways: dict[tuple[Way, str], int] = {}
    way_of: dict[str, int] = {}
    for board in boards:
        answer = answers(board) if board in reachable else None
        decided = Plan("failed", LOST % caller.prefix) if answer is None else plan(answer)
        rows.append(_row(board, decided))
        if decided.way is not None:
            way_of[board] = ways.setdefault((decided.way, decided.outcome), len(ways))
    turn = [board for board in present if board in way_of]
    try:
        cut = waves(turn, caller.sizes, caller.prefix + "waves")
        refusal = _refusal(rows)
    except WavesError as error:
        cut, refusal = [], "%s No board was touched." % error
    return {
        "waves": cut,
        "hosts": host_patterns([board for wave in cut for board in wave]),
        "serial": [len(wave) for wave in cut] or [1],
        "turns": {b: [number, way_of[b]] for number, wave in enumerate(cut) for b in wave},
        "ways": [_call(way, outcome, caller) for way, outcome in ways],
        "result": result_of(rows, caller.fail_on),
        "refusal": refusal,
        "fail_on": list(caller.fail_on),
    }


def rows_after(plan: Mapping[str, Any], results: Answers, check_mode: bool = False) -> list[Row]:
    """The rows of all boards once the waves have ended.

    plan: of plan_fleet(); results: of livepatch_stack.
    """
    rows = {str(row["board"]): _planned(row) for row in plan["result"]["boards"]}
    stopped_by: list[str] = []
    for wave in plan["waves"]:
        ended = []
        for board in wave:
            result, before = results(board), rows[board]
            if stopped_by and (not result or result.get("skipped")):
                why = "stopped after %s" % ", ".join(stopped_by)
                rows[board] = Row(board, before.before, before.before, "not touched", why)
            else:
                way = plan["ways"][plan["turns"][board][1]]
                rows[board] = _ended(before, way, result, check_mode)
                ended.append(rows[board])
        stopped_by += [row.board for row in ended if not row.means.well]
    return list(rows.values())


def unfinished(
    wave: Sequence[str],
    turns: Mapping[str, Sequence[int]],
    ways: Sequence[Mapping[str, Any]],
    results: Answers,
    check_mode: bool = False,
) -> list[str]:
    """Those boards of a wave on which it did not go well, so that no other wave may start.

    turns, ways: of plan_fleet(); results: of livepatch_stack.
    """
    rows = []
    for board in wave:
        way = ways[turns[board][1]]
        planned = Row(board, (), (), str(way["outcome"]), "")
        rows.append(_ended(planned, way, results(board), check_mode))
    return [row.board for row in rows if not row.means.well]


def _row(board: str, plan: Plan) -> Row:
    before = UNKNOWN if plan.before is None else names(plan.before)
    after = before if plan.way is None else names(plan.way.goal)
    return Row(str(board), before, after, plan.outcome, message(plan.reason))


def _planned(row: Mapping[str, Any]) -> Row:
    return Row(
        str(row["board"]),
        tuple(map(str, row["before"])),
        tuple(map(str, row["after"])),
        str(row["outcome"]),
        str(row["reason"]),
    )


def _call(way: Way, outcome: str, caller: Caller) -> dict[str, Any]:
    """The way as the options of livepatch_stack, and what its result is measured by."""
    return {
        "outcome": outcome,
        "goal": [asdict(build) for build in way.goal],
        "decided": {
            "stack": [
                {"name": entry.name}
                if entry.src is None
                else {"src": entry.src, "params": entry.params}
                for entry in way.stack
            ],
            "unknown_states": caller.unknown_states,
            "allow_downgrade": caller.allow_downgrade,
            "over": [asdict(build) for build in way.over],
            "sha256": [entry.sha256 for entry in way.stack],
            "back": None if way.back is None else [list(one) for one in way.back],
            "options": caller.prefix,
        },
    }


def _ended(
    planned: Row, way: Mapping[str, Any], result: Mapping[str, Any] | None, check_mode: bool
) -> Row:
    over, goal = stack_from_json(way["decided"]["over"]), stack_from_json(way["goal"])
    return after_run(planned, over, goal, result, check_mode)


def _refusal(rows: Sequence[Row]) -> str:
    stopping = [row for row in rows if row.means.stops]
    if not stopping:
        return ""
    return (
        "No board was touched, because of %s: %s Mend this, or leave the board out with --limit."
        % (
            ", ".join(row.board for row in stopping),
            " ".join(dict.fromkeys(row.reason for row in stopping)),
        )
    )
