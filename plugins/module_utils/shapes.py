# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Livepatch, livepatch file and board as JSON, and back with every bound checked.

What a board or a playbook sends is untrusted: whatever does not have the shape
raises ShapeError, whose message is one sentence.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Callable, Mapping, Sequence, TypeVar

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import (
    CALLBACKS,
    GENERATORS,
    SOURCES,
    Board,
    LivepatchFile,
    Transition,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    UINT_MAX,
    ULONG_MAX,
    Function,
    Livepatch,
    Object,
    SystemState,
    states_by_id,
)

T = TypeVar("T")

# MODULE_NAME_LEN and KSYM_NAME_LEN are 56 and 512 at most (Linux 6.1 and later);
# counts are far beyond what any real livepatch has.
MAX_NAME = 512
MAX_TEXT = 4096
MAX_ITEMS = 65536
MAX_PATCHES = 1024


class ShapeError(ValueError):
    """An answer or an argument that has not the shape it must have."""


def board_to_json(board: Board) -> dict[str, Any]:
    """What livepatch_info returns, but for the blocking tasks of a transition."""
    return {
        "kernel": {
            "release": board.kernel_release,
            "arch": board.arch,
            "build_id": board.kernel_build_id,
            "modules_disabled": board.modules_disabled,
            "signatures_enforced": board.signatures_enforced,
        },
        "support": {
            "supported": board.supported,
            "system_states": board.system_states,
            "reasons": list(board.reasons),
        },
        "board": {"model": board.model, "compatible": list(board.compatible)},
        "patches": [livepatch_to_json(patch) for patch in board.patches],
        "system_states": system_states_to_json(board.patches),
        "states_source": board.states_source,
        "leftover": list(board.leftover),
        "forced": list(board.forced),
        "transition": None if board.transition is None else asdict(board.transition),
    }


def board_from_json(value: Any) -> Board:
    """A Board out of what livepatch_info returned.  Raises ShapeError."""
    info = _mapping(value, "livepatch_info's answer")
    kernel = _mapping(info.get("kernel"), "kernel")
    support = _mapping(info.get("support"), "support")
    identity = _mapping(info.get("board"), "board")
    return Board(
        kernel_release=_word(kernel, "release"),
        arch=_name(kernel, "arch"),
        kernel_build_id=_optional(kernel, "build_id", _hex),
        supported=_bool(support, "supported"),
        system_states=_bool(support, "system_states"),
        reasons=_tuple(support, "reasons", lambda item: _text({"reasons": item}, "reasons")),
        model=_optional(identity, "model", _text),
        compatible=_tuple(
            identity, "compatible", lambda item: _word({"compatible": item}, "compatible")
        ),
        patches=tuple(
            map(livepatch_from_json, bounded_list(info.get("patches"), "patches", MAX_PATCHES))
        ),
        states_source=_one_of(info, "states_source", SOURCES),
        transition=_optional(info, "transition", _transition),
        leftover=_tuple(info, "leftover", lambda item: _name({"leftover": item}, "leftover")),
        modules_disabled=_bool(kernel, "modules_disabled"),
        signatures_enforced=_bool(kernel, "signatures_enforced"),
        forced=_tuple(info, "forced", lambda item: _name({"forced": item}, "forced")),
    )


def livepatch_to_json(patch: Livepatch) -> dict[str, Any]:
    """The patch shape that all modules return: None where something is unknown."""
    return {
        "name": patch.name,
        "replace": patch.replace,
        "enabled": patch.enabled,
        "transition": patch.transition,
        "states": None if patch.states is None else [asdict(state) for state in patch.states],
        "objects": None if patch.objects is None else [_object_to_json(o) for o in patch.objects],
        "build_id": patch.build_id,
        "srcversion": patch.srcversion,
    }


def _object_to_json(obj: Object) -> dict[str, Any]:
    return {
        "name": obj.name,
        "patched": obj.patched,
        "functions": [asdict(function) for function in obj.functions],
        "callbacks": None if obj.callbacks is None else list(obj.callbacks),
    }


def file_to_json(file: LivepatchFile) -> dict[str, Any]:
    """The patch shape with what only a file has."""
    return dict(
        livepatch_to_json(file.livepatch),
        path=file.path,
        sha256=file.sha256,
        size=file.size,
        vermagic=file.vermagic,
        kernel_release=file.kernel_release,
        arch=file.arch,
        generator=file.generator,
        signature=file.signature,
        compression=file.compression,
        depends=list(file.depends),
    )


def system_states_to_json(patches: Sequence[Livepatch]) -> list[dict[str, Any]] | None:
    """One row per state id: id, version, data, and the livepatch that owns it now.

    patches: in stack order; the latest that has an id owns it, as
    klp_get_prev_state() would find it.  None where some states are unknown.
    """
    if any(patch.states is None for patch in patches):
        return None
    owners = {
        id: (state, patch.name) for patch in patches for id, state in states_by_id(patch).items()
    }
    return [
        {"id": id, "version": state.version, "data": state.data, "patch": name}
        for id, (state, name) in sorted(owners.items(), key=lambda item: item[0])
    ]


def livepatch_from_json(value: Any) -> Livepatch:
    """A Livepatch out of JSON.  Raises ShapeError."""
    patch = _mapping(value, "a livepatch")
    return Livepatch(
        name=_name(patch, "name"),
        replace=_optional(patch, "replace", _bool),
        enabled=_optional(patch, "enabled", _bool),
        transition=_optional(patch, "transition", _bool),
        states=_optional(patch, "states", lambda p, k: _tuple(p, k, _state)),
        objects=_optional(patch, "objects", lambda p, k: _tuple(p, k, _object)),
        build_id=_optional(patch, "build_id", _hex),
        srcversion=_optional(patch, "srcversion", _name),
    )


def file_from_json(value: Any) -> LivepatchFile:
    """A LivepatchFile out of JSON.  Raises ShapeError."""
    file = _mapping(value, "a livepatch file")
    return LivepatchFile(
        livepatch=livepatch_from_json(file),
        path=_text(file, "path"),
        sha256=_hex(file, "sha256"),
        size=_int(file, "size", 0, 2**40),
        vermagic=_text(file, "vermagic"),
        kernel_release=_text(file, "kernel_release"),
        arch=_name(file, "arch"),
        generator=_one_of(file, "generator", GENERATORS),
        signature=_optional(file, "signature", _signature),
        compression=_optional(file, "compression", lambda f, k: _one_of(f, k, ("xz", "zst", "gz"))),
        depends=_tuple(file, "depends", lambda item: _name({"depends": item}, "depends")),
    )


def _state(value: Any) -> SystemState:
    state = _mapping(value, "a system state")
    return SystemState(
        id=_int(state, "id", 1, ULONG_MAX),
        version=_int(state, "version", 0, UINT_MAX),
        data=_optional(state, "data", _hex),
    )


def _object(value: Any) -> Object:
    obj = _mapping(value, "an object")
    return Object(
        name=_name(obj, "name"),
        patched=_optional(obj, "patched", _bool),
        functions=_tuple(obj, "functions", _function),
        callbacks=_optional(
            obj,
            "callbacks",
            lambda o, k: _tuple(o, k, lambda item: _one_of({k: item}, k, CALLBACKS)),
        ),
    )


def _transition(value: Mapping[str, Any], key: str) -> Transition:
    transition = _mapping(value[key], key)
    return Transition(
        patch=_name(transition, "patch"),
        direction=_one_of(transition, "direction", ("patching", "unpatching")),
    )


def _function(value: Any) -> Function:
    function = _mapping(value, "a function")
    return Function(_name(function, "name"), _int(function, "position", 1, ULONG_MAX))


def _signature(value: Mapping[str, Any], key: str) -> dict[str, str | None]:
    signature = _mapping(value[key], key)
    return {field: _optional(signature, field, _text) for field in ("signer", "hash")}


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ShapeError("%s must be a dictionary, not %s" % (what, type(value).__name__))
    return value


def _optional(value: Mapping[str, Any], key: str, read: Callable[..., T]) -> T | None:
    return None if value.get(key) is None else read(value, key)


def _tuple(value: Mapping[str, Any], key: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(read(item) for item in bounded_list(value.get(key), key))


def bounded_list(value: Any, what: str, limit: int = MAX_ITEMS) -> Sequence[Any]:
    """The list as it is.  Raises ShapeError where it is none, or is longer than the limit."""
    if not isinstance(value, (list, tuple)) or len(value) > limit:
        raise ShapeError("%s must be a list of at most %d items" % (what, limit))
    return value


def _int(value: Mapping[str, Any], key: str, low: int, high: int) -> int:
    number = value.get(key)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ShapeError("%s must be a whole number from %d to %d" % (key, low, high))
    return int(number)


def _bool(value: Mapping[str, Any], key: str) -> bool:
    if not isinstance(value.get(key), bool):
        raise ShapeError("%s must be true or false" % key)
    return bool(value[key])


def _text(value: Mapping[str, Any], key: str, limit: int = MAX_TEXT) -> str:
    text = value.get(key)
    if not isinstance(text, str) or len(text) > limit or not text.isprintable():
        raise ShapeError("%s must be printable text of at most %d characters" % (key, limit))
    return str(text)


def _word(value: Mapping[str, Any], key: str) -> str:
    """What goes into groups' names and fact caches, where a template would be one."""
    word = _text(value, key, 128)
    if set(word) & set(" {}%#'\"`$\\"):
        raise ShapeError("%s must be a word, not %r" % (key, word))
    return word


def is_name(text: str) -> bool:
    """Whether a module, an object, a function or a source version can be called that."""
    return (
        0 < len(text) <= MAX_NAME
        and text.isprintable()
        and "/" not in text
        and text not in (".", "..")
    )


def _name(value: Mapping[str, Any], key: str) -> str:
    name = _text(value, key, MAX_NAME)
    if not is_name(name):
        raise ShapeError("%s must be a name, not %r" % (key, name))
    return name


def _hex(value: Mapping[str, Any], key: str) -> str:
    text = _text(value, key, 256)
    if not text or set(text) - set("0123456789abcdef"):
        raise ShapeError("%s must be lower-case hexadecimal digits" % key)
    return text


def _one_of(value: Mapping[str, Any], key: str, choices: Sequence[str]) -> str:
    text = _text(value, key)
    if text not in choices:
        raise ShapeError("%s must be one of %s" % (key, ", ".join(choices)))
    return text
