# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a word in the outcome's column means, and which word a board has earned.

Pure; runs on the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    stack_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    bounded_list,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.columns import columns

# Of what somebody else wrote, no more is shown.
MAX_MESSAGE = 2000
# Of a cell of the table, which makes all others as wide.
MAX_NAMES = 8
MAX_NAME = 64


@dataclass(frozen=True)
class Outcome:
    """What a board's outcome means for the others, and for the board in the end.

    stops: where a board has it before the first wave, no board is touched; well:
    the next wave may start; fails: the board fails in the end.
    """

    stops: bool = False
    well: bool = False
    fails: bool = False


# update and roll back are what will happen; only check mode ends with them.
OUTCOMES = {
    "update": Outcome(well=True),
    "updated": Outcome(well=True),
    "up to date": Outcome(well=True),
    "roll back": Outcome(well=True),
    "rolled back": Outcome(well=True),
    "nothing to do": Outcome(well=True),
    "unsupported": Outcome(well=True),
    "nothing fits": Outcome(well=True),
    "refused": Outcome(stops=True, fails=True),
    "unreachable": Outcome(stops=True, fails=True),
    "failed": Outcome(stops=True, fails=True),
    "reversed": Outcome(fails=True),
    "stalled": Outcome(fails=True),
    "not touched": Outcome(),
}

# What will happen, and what is said once it has: of a board that it changed, and of another.
DONE = {"update": ("updated", "up to date"), "roll back": ("rolled back", "nothing to do")}


@dataclass(frozen=True)
class Row:
    """A board's line in the table.

    before, after: the names of the installed livepatches, in stack order; "?"
    where they are unknown; outcome: one of OUTCOMES; reason: why, where there is
    something to say.
    """

    board: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    outcome: str
    reason: str

    @property
    def means(self) -> Outcome:
        return OUTCOMES[self.outcome]


UNKNOWN = ("?",)


def after_run(
    before: Row,
    over: Sequence[Build],
    goal: Sequence[Build],
    result: Mapping[str, Any] | None,
    check_mode: bool = False,
) -> Row:
    """The board's row once it was the board's turn.

    before: its row in the plan; over, goal: what was installed when it was
    decided, and what should be now; result: what livepatch_stack returned, None
    where it was not asked.  An answer that can't be understood is a failure, and
    so is one that leaves something undone, whatever the board says of it.
    """

    def ended(outcome: str, after: tuple[str, ...], reason: str) -> Row:
        return Row(before.board, before.before, after, outcome, reason)

    if result is not None and result.get("unreachable"):
        lost = because("the board can't be reached any more", result)
        return ended("unreachable", UNKNOWN, lost)
    try:
        if not result or result.get("skipped"):
            raise ShapeError("nothing was done on the board")
        found = _builds(result["after"]["patches"])
        transition = result["transition"]["outcome"]
    except (KeyError, TypeError, ShapeError):
        said = result.get("msg") if result else None
        why = message(said) if said else "nothing was done on the board, and nothing says why."
        return ended("failed", UNKNOWN, why)
    after = names(found)
    if result.get("failed"):
        reason = message(result.get("msg"))
        if transition == "reversed" and found == tuple(over):
            return ended("reversed", after, reason)
        return ended("stalled" if transition == "stalled" else "failed", after, reason)
    if not _is(found, goal):
        builds = after == names(goal)
        reason = "%s is installed where %s was decided." % (
            _spell(found, builds),
            _spell(goal, builds),
        )
        return ended("failed", after, reason)
    if check_mode:
        return ended(before.outcome, after, before.reason)
    changed, unchanged = DONE[before.outcome]
    return ended(changed if result.get("changed") else unchanged, after, "")


def result_of(rows: Sequence[Row], fail_on: Sequence[str] = ()) -> dict[str, Any]:
    """What a role leaves as a fact: the boards' rows, why which of them failed, and the table.

    fail_on: outcomes that fail a board besides those that always do.
    """
    return {
        "boards": [
            dict(asdict(row), before=list(row.before), after=list(row.after)) for row in rows
        ],
        "failed": {
            row.board: row.reason for row in rows if row.means.fails or row.outcome in fail_on
        },
        "table": table(rows),
    }


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of aligned columns: board, before, after, outcome, and why where there is a reason."""
    cells = [("board", "before", "after", "outcome", "why")] + [
        (row.board, _list(row.before), _list(row.after), row.outcome, row.reason) for row in rows
    ]
    return columns(cells)


def because(what: str, answer: Mapping[str, Any]) -> str:
    """One sentence: what is the matter, and what Ansible says of it."""
    return "%s: %s." % (what, message(answer.get("msg")).rstrip("."))


def message(text: Any) -> str:
    """What a board or Ansible says, on one line of the table and with no control characters."""
    line = " ".join(str(text)[:MAX_MESSAGE].split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def names(builds: Sequence[Build]) -> tuple[str, ...]:
    """The livepatches' names, in stack order."""
    return tuple(build.name for build in builds)


def _builds(patches: Any) -> tuple[Build, ...]:
    """What is installed, of what the module says of it.  Raises ShapeError."""
    found = bounded_list(patches, "patches")
    if not all(isinstance(patch, Mapping) for patch in found):
        raise ShapeError("a livepatch must be a dictionary")
    keys = ("name", "build_id", "srcversion")
    return stack_from_json([{key: patch.get(key) for key in keys} for patch in found])


def _is(found: Sequence[Build], goal: Sequence[Build]) -> bool:
    return len(found) == len(goal) and all(map(_is_build, found, goal))


def _is_build(found: Build, goal: Build) -> bool:
    """Whether it is the build that was meant; one that neither identifies is judged by its name."""
    if found.build_id is not None and goal.build_id is not None:
        return (found.name, found.build_id) == (goal.name, goal.build_id)
    if found.srcversion is not None and goal.srcversion is not None:
        return (found.name, found.srcversion) == (goal.name, goal.srcversion)
    return found.name == goal.name


def _spell(stack: Sequence[Build], builds: bool) -> str:
    if builds:
        return ", ".join("%s (build id %s)" % (build.name, build.build_id) for build in stack)
    return ", ".join(names(stack)) or "nothing"


def _list(values: Sequence[str]) -> str:
    shown = [value[:MAX_NAME] for value in values[:MAX_NAMES]]
    more = " and %d more" % (len(values) - MAX_NAMES) if len(values) > MAX_NAMES else ""
    return (", ".join(shown) or "-") + more
