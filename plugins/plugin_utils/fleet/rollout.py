# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout will do: which livepatch for which board, in which waves, and the tables.

Pure; runs on the controller.  The way back shares all of it but the decision.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import yaml

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    Board,
    LivepatchFile,
    ShapeError,
    board_from_json,
    file_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.columns import columns

# What a board's row says before its steps; and after them, where they changed it or did not.
DONE = {"update": ("updated", "up to date"), "roll back": ("rolled back", "nothing to do")}


class RolloutError(ValueError):
    """The catalog or the waves make no sense; the message is one sentence."""


@dataclass(frozen=True)
class Entry:
    """What catalog.yml says of a file.

    number: its age, None where the file's name tells it; compatible: what the
    boards are that it is for, in the words of their device trees, None where it
    is for every board.
    """

    number: int | None = None
    compatible: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What will happen to one board and why.

    outcome: update, up to date, unsupported, nothing fits, refused, unreachable
    or failed; file: the livepatch's path on the controller, where one was
    picked; before, after: the names of the installed livepatches; steps: the
    options of the module livepatch, a call after the other.
    """

    outcome: str
    reason: str
    file: str | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For a playbook's variable."""
        return dict(
            asdict(self),
            before=list(self.before),
            after=list(self.after),
            steps=[dict(step) for step in self.steps],
        )


def plan(
    answer: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    index: Mapping[str, Any] | None = None,
    unknown_states: str = "refuse",
    allow_downgrade: bool = False,
) -> Plan:
    """The plan for the board that gave this answer to livepatch_info.

    files: of livepatch_file_info; index: the content of catalog.yml.
    """

    def update(board: Board, candidates: Sequence[LivepatchFile]) -> Plan:
        entries = read_index(index, candidates)
        newest = pick(candidates, board, entries)
        if newest is None:
            return Plan("nothing fits", _why_nothing_fits(candidates, board, entries))
        name = newest.livepatch.name
        decision = gate(
            newest, board, unknown_states=unknown_states, allow_downgrade=allow_downgrade
        )
        if not decision.allowed:
            return Plan("refused", decision.refusal(name), newest.path)
        if not decision.steps:
            return Plan("up to date", "%s is enabled" % name, newest.path)
        reasons = ["newest for %s" % board.kernel_release]
        if decision.steps != ("load",):
            reasons.append("steps: " + ", ".join(decision.steps))
        reasons += [
            "state %d %s" % (state.id, _version_change(state.installed, state.candidate))
            for state in decision.states
        ]
        step = {"src": newest.path, "allow_downgrade": allow_downgrade}
        return Plan("update", "; ".join(reasons), newest.path, after=(name,), steps=(step,))

    return plan_board(answer, files, update)


def plan_board(
    answer: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    decide: Callable[[Board, Sequence[LivepatchFile]], Plan],
) -> Plan:
    """The plan that `decide` makes of the board's answer and the files, where they make sense.

    decide: leaves before, and after where there is nothing to do, to us; may
    raise RolloutError.
    """
    if answer.get("unreachable"):
        return Plan("unreachable", _because("the board can't be reached", answer))
    if answer.get("failed"):
        return Plan("failed", _because("the board could not be read", answer))
    try:
        board = board_from_json(answer)
        candidates = [file_from_json(file) for file in files]
    except ShapeError as error:
        return Plan("failed", "the board's answer was not understood: %s." % error)
    before = tuple(patch.name for patch in board.patches)
    if not board.supported:
        return Plan("unsupported", "; ".join(board.reasons), before=before, after=before)
    try:
        decided = decide(_with_states_of_files(board, candidates), candidates)
    except RolloutError as error:
        decided = Plan("failed", str(error))
    return replace(decided, before=before, after=decided.after if decided.steps else before)


def pick(
    candidates: Sequence[LivepatchFile], board: Board, entries: Mapping[str, Entry]
) -> LivepatchFile | None:
    """The newest cumulative livepatch for the board: its kernel, architecture and model.

    Newest by the number that catalog.yml gives, else by the last number in the
    file's name.  Raises RolloutError where the newest can't be told.
    """
    fitting = [
        file
        for file in _built_for(board, candidates)
        if _is_for(board, _entry(file, entries).compatible)
    ]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    ranked = sorted(((_number(file, entries), file) for file in fitting), key=lambda pair: pair[0])
    (second, other), (highest, newest) = ranked[-2:]
    if second == highest:
        raise RolloutError(
            "%s and %s have the same number %d, so that the newer can't be told; give them numbers "
            "in catalog.yml." % (_file_name(other), _file_name(newest), highest)
        )
    return newest


def read_index(index: Mapping[str, Any] | None, files: Sequence[LivepatchFile]) -> dict[str, Entry]:
    """The entries of catalog.yml by file name.  Raises RolloutError.

    What is misspelt is refused, since it would send a file to every board.
    """
    if not index:
        return {}
    if not isinstance(index, Mapping) or set(index) != {"livepatches"}:
        raise RolloutError("catalog.yml must have livepatches and nothing else; correct it.")
    entries = index["livepatches"]
    if not isinstance(entries, Mapping):
        raise RolloutError("catalog.yml: livepatches must be a dictionary of file names.")
    unknown = sorted(set(map(str, entries)) - set(map(_file_name, files)))
    if unknown:
        raise RolloutError(
            "catalog.yml has an entry for %s, and the catalog no livepatch of that name; correct "
            "the name, or take the entry out." % unknown[0]
        )
    return {str(name): _read_entry(str(name), entry) for name, entry in entries.items()}


def index_error(text: str, files: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with catalog.yml, whose text it is, in one sentence; empty where nothing is.

    files: of livepatch_file_info.
    """
    try:
        read_index(yaml.safe_load(text), [file_from_json(file) for file in files])
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        return "catalog.yml can't be read as YAML: %s; correct it." % what
    except RolloutError as error:
        return str(error)
    return ""


def waves(boards: Sequence[str], sizes: Sequence[int | str] | int | str) -> list[list[str]]:
    """The boards cut into waves by sizes as of Ansible's `serial`.

    sizes: a list, or one, or several with commas (from a command line).  A size
    is a number of boards or a percentage of all of them, at least one board;
    the last size repeats.  Raises RolloutError.
    """
    if isinstance(sizes, (int, str)):
        sizes = str(sizes).split(",")
    counts = [_count(size, len(boards)) for size in sizes]
    if not counts:
        raise RolloutError("rollout_waves is empty; give it at least one size, like [1, 100%].")
    result: list[list[str]] = []
    start = 0
    while start < len(boards):
        count = counts[min(len(result), len(counts) - 1)]
        result.append(list(boards[start : start + count]))
        start += count
    return result


def rows(boards: Sequence[str], hostvars: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of all boards; one that has none dropped out of the play, and is a failure."""
    lost = (
        "it dropped out of the play before it was decided what to do with it (or the play has "
        "serial: use rollout_waves instead, since all boards are gated before one is touched)."
    )
    found: list[Mapping[str, Any]] = []
    for board in boards:
        row = hostvars.get(board, {}).get("rollout_row", {"outcome": "failed"})
        unknown = {"before": ["?"], "after": ["?"], "reason": lost, "steps": []}
        found.append({**unknown, **row, "board": board})
    return found


def outcome(
    row: Mapping[str, Any], result: Mapping[str, Any], check_mode: bool = False
) -> dict[str, Any]:
    """The board's row after its first step, from what the module livepatch returned.

    An answer that can't be understood is a failure, and what is installed then
    unknown.  After a failure no step is left.
    """
    failed = dict(row, outcome="failed", steps=[])
    if result.get("unreachable"):
        lost = _because("the board can't be reached any more", result)
        return dict(failed, outcome="unreachable", after=["?"], reason=lost)
    try:
        after = [str(patch["name"]) for patch in result["after"]["patches"]]
        transition = str(result["transition"]["outcome"])
    except (KeyError, TypeError):
        reason = str(result.get("msg", "the board's answer was not understood"))
        return dict(failed, after=["?"], reason=reason)
    if result.get("failed"):
        as_before = after == list(row.get("before", after))
        word = "reversed" if transition == "reversed" and as_before else "failed"
        word = "stalled" if transition == "stalled" else word
        return dict(failed, outcome=word, after=after, reason=str(result.get("msg")))
    if check_mode:
        return dict(row, after=after)
    steps = list(row.get("steps", ()))[1:]
    if steps:
        return dict(row, steps=steps)
    if after != list(row.get("after", after)):
        reason = "%s is installed where %s was decided." % (_names(after), _names(row["after"]))
        return dict(failed, after=after, reason=reason)
    changed, unchanged = DONE[row.get("outcome", "update")]
    word = changed if result.get("changed") else unchanged
    return dict(row, outcome=word, after=after, reason="", steps=[])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of aligned columns: board, before, after, outcome, and why where there is a reason."""
    cells = [("board", "before", "after", "outcome", "why")] + [
        (
            str(row["board"]),
            _names(row.get("before")),
            _names(row.get("after")),
            str(row["outcome"]),
            str(row.get("reason") or ""),
        )
        for row in rows
    ]
    return columns(cells)


def _because(what: str, answer: Mapping[str, Any]) -> str:
    return "%s: %s." % (what, str(answer.get("msg")).strip().rstrip("."))


def _with_states_of_files(board: Board, files: Sequence[LivepatchFile]) -> Board:
    """The board with the states of loaded builds that are in the catalog, where unknown."""
    if board.states_source != "unknown":
        return board
    known = {file.livepatch.build_id: file.livepatch for file in files if file.livepatch.build_id}
    patches = tuple(
        replace(patch, states=known[patch.build_id].states)
        if patch.states is None and patch.build_id in known
        else patch
        for patch in board.patches
    )
    unknown = any(patch.states is None for patch in patches)
    return replace(board, patches=patches, states_source="unknown" if unknown else "file")


def _version_change(installed: int | None, candidate: int | None) -> str:
    if installed is None:
        return "new at version %s" % candidate
    if installed == candidate:
        return "stays at version %d" % installed
    return "from version %d to %s" % (installed, candidate)


def _names(names: Any) -> str:
    return ", ".join(str(name) for name in names or ()) or "-"


def _built_for(board: Board, candidates: Sequence[LivepatchFile]) -> list[LivepatchFile]:
    return [
        file
        for file in candidates
        if file.livepatch.replace
        and file.kernel_release == board.kernel_release
        and file.arch == board.arch
    ]


def _is_for(board: Board, compatible: Sequence[str] | None) -> bool:
    return compatible is None or not set(compatible).isdisjoint(board.compatible)


def _why_nothing_fits(
    candidates: Sequence[LivepatchFile], board: Board, entries: Mapping[str, Entry]
) -> str:
    kernel = "%s (%s)" % (board.kernel_release, board.arch)
    others = [
        "%s only for %s" % (_file_name(file), " or ".join(_entry(file, entries).compatible or ()))
        for file in _built_for(board, candidates)
    ]
    if not others:
        return "no cumulative livepatch in the catalog is built for kernel %s" % kernel
    identity = " and ".join(board.compatible)
    return "what is built for kernel %s is for other boards: %s, and this board %s" % (
        kernel,
        ", ".join(others),
        "is " + identity if identity else "has no device tree that tells what it is",
    )


def _read_entry(name: str, entry: Any) -> Entry:
    where = "catalog.yml: %s" % name
    if not isinstance(entry, Mapping) or not entry:
        raise RolloutError("%s needs a number, or compatible, or both." % where)
    # Before unknown keys: the rest of a string that YAML has cut at its comma is one.
    compatible = _compatible(where, entry["compatible"]) if "compatible" in entry else None
    unknown = sorted(set(map(str, entry)) - {"number", "compatible"})
    if unknown:
        raise RolloutError(
            "%s has %s, which is not known; an entry has a number, or compatible, or both."
            % (where, unknown[0])
        )
    number = entry.get("number")
    if "number" in entry and (isinstance(number, bool) or not isinstance(number, int)):
        raise RolloutError("%s needs a number that is a whole one, not %r." % (where, number))
    return Entry(number, compatible)


def _compatible(where: str, value: Any) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, Sequence) or not strings:
        raise RolloutError(
            "%s needs a compatible that is a string, or a list of strings, as in the device tree."
            % where
        )
    for string in strings:
        if not isinstance(string, str) or not all(string.partition(",")):
            raise RolloutError(
                "%s: %r in compatible is not of the form VENDOR,MODEL as in the device tree; "
                "inside braces or brackets, YAML wants quotes around it." % (where, string)
            )
    return tuple(map(str, strings))


def _file_name(file: LivepatchFile) -> str:
    return os.path.basename(file.path)


def _entry(file: LivepatchFile, entries: Mapping[str, Entry]) -> Entry:
    return entries.get(_file_name(file), Entry())


def _number(file: LivepatchFile, entries: Mapping[str, Entry]) -> int:
    number = _entry(file, entries).number
    if number is not None:
        return number
    name = _file_name(file)
    digits = re.findall(r"\d+", name.partition(".ko")[0])
    if not digits:
        raise RolloutError(
            "%s has no number in its name, so that its age can't be told; give it one in "
            "catalog.yml." % name
        )
    return int(digits[-1])


def _count(size: int | str, total: int) -> int:
    text = str(size).strip()
    percent = text.endswith("%")
    digits = text[:-1] if percent else text
    if not digits.isdigit() or int(digits) == 0:
        raise RolloutError(
            "rollout_waves: %r is neither a number of boards nor a percentage." % size
        )
    return max(1, total * int(digits) // 100) if percent else int(digits)
