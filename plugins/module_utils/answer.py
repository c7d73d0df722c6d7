# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a board may answer: of every module the declared keys, with their types and bounds.

A board's answer is a shape, never facts, warnings with escapes or markup for
Ansible: whatever is not declared here does not pass.  Standard library only.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from ansible_collections.orangepi.livepatch.plugins.module_utils.history import history_from_json
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import SOURCES
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    MAX_PATCHES,
    ShapeError,
    board_from_json,
    bounded_list,
    livepatch_from_json,
)

MAX_NODES = 2000000
MAX_DEPTH = 12
MAX_TEXT = 65536
MAX_LINES = 2000
MAX_INT = 2**64 - 1

Check = Callable[[Any], Any]


def answer_of(module: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What passes of a module's answer.  Raises ShapeError, whose message names the key.

    module: its name without the collection's.  An answer that says that it failed
    may lack any key; no other may.
    """
    declared = dict(_EVERY, **ANSWERS[module])
    _check_bounds(answer)
    passed: dict[str, Any] = {}
    for key, check in declared.items():
        if key not in answer:
            continue
        try:
            passed[key] = check(answer[key])
        except ShapeError as error:
            raise ShapeError("%s: %s" % (key, error)) from None
    if module == "livepatch_info" and not passed.get("failed"):
        board_from_json(passed)
    return passed


def _check_bounds(value: Any) -> None:
    """Whether it is JSON of a size that an honest board may have."""
    nodes, level = 0, [value]
    for _depth in range(MAX_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                following += item.keys()
                following += item.values()
            elif isinstance(item, (list, tuple)):
                following += item
            elif isinstance(item, int) and abs(item) > MAX_INT:
                raise ShapeError("a number is beyond 64 bits")
            elif isinstance(item, str) and len(item) > MAX_TEXT * 16:
                raise ShapeError("a text is longer than %d characters" % (MAX_TEXT * 16))
        nodes += len(following)
        if nodes > MAX_NODES:
            raise ShapeError("it has more than %d parts" % MAX_NODES)
        if not following:
            return
        level = following
    raise ShapeError("it is nested deeper than %d levels" % MAX_DEPTH)


def printable(text: Any, limit: int = MAX_TEXT) -> str:
    """Text of a board that a terminal shows as it is, cut where it is too long."""
    if not isinstance(text, str):
        raise ShapeError("it must be text")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:limit])


def _joined(text: Any) -> Any:
    """On one line: a message with line breaks could pass for more than one."""
    return " ".join(text[:MAX_TEXT].split()) if isinstance(text, str) else text


def _lines(text: Any) -> str:
    if not isinstance(text, str):
        raise ShapeError("it must be text")
    return "\n".join(printable(line) for line in text[:MAX_TEXT].split("\n"))


def _true_or_false(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ShapeError("it must be true or false")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ShapeError("it must be a whole number")
    return value


def _texts(value: Any) -> list[str]:
    return [printable(text) for text in bounded_list(value, "it")[:MAX_LINES]]


def _dictionary(value: Any) -> dict[str, Any]:
    """With no control characters in any text."""
    if not isinstance(value, Mapping):
        raise ShapeError("it must be a dictionary")
    return {printable(key): _clean(item) for key, item in value.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return _dictionary(value)
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise ShapeError("it must be JSON")


def _list(value: Any) -> list[Any]:
    return [_clean(item) for item in bounded_list(value, "it")]


def _none_or(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _livepatches(value: Any) -> list[Any]:
    for patch in bounded_list(value, "patches", MAX_PATCHES):
        livepatch_from_json(patch)
    return _list(value)


def _history(value: Any) -> list[Any]:
    history_from_json(value)
    return _list(value)


def _stack(value: Any) -> dict[str, Any]:
    """The livepatches and system states at one moment."""
    stack = _dictionary(value)
    _livepatches(stack.get("patches"))
    _none_or(_list)(stack.get("system_states"))
    return stack


def _source(value: Any) -> str:
    if value not in SOURCES:
        raise ShapeError("it must be one of %s" % ", ".join(SOURCES))
    return str(value)


# What Ansible itself adds where a module could not be run, and what every module may say.
_EVERY: dict[str, Check] = {
    "changed": _true_or_false,
    "failed": _true_or_false,
    "msg": lambda value: printable(_joined(value)),
    "warnings": _texts,
    "rc": _whole,
    "exception": _lines,
    "module_stdout": _lines,
    "module_stderr": _lines,
    "_needs": _dictionary,
}

_RUN: dict[str, Check] = {
    "decision": _none_or(_dictionary),
    "transition": _dictionary,
    "restored": _true_or_false,
    "before": _stack,
    "after": _stack,
    "states_source": _source,
    "kernel_log": _none_or(_texts),
    "diff": _dictionary,
}

ANSWERS: dict[str, dict[str, Check]] = {
    "livepatch": _RUN,
    "livepatch_stack": _RUN,
    "livepatch_check": {"decision": _dictionary, "states_source": _source},
    "livepatch_info": {
        "kernel": _dictionary,
        "support": _dictionary,
        "board": _dictionary,
        "patches": _livepatches,
        "system_states": _none_or(_list),
        "states_source": _source,
        "leftover": _texts,
        "forced": _texts,
        "transition": _none_or(_dictionary),
        "history": _none_or(_history),
    },
    "livepatch_conformance": {
        "passed": _true_or_false,
        "rows": _list,
        "states_source": _source,
    },
}
