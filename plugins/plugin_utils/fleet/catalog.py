# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog: livepatch files, and what catalog.yml says of them.

Pure; runs on the controller.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    file_from_json,
)

# Of catalog.yml: a thousand livepatches with all that can be said of them have a tenth of these.
MAX_INDEX = 2**20  # bytes
MAX_NODES = 100_000
MAX_DEPTH = 8
MAX_SCALAR = 1024  # characters of a key or value; Python prints no number of much more

# So many files are named in a message, and so much of a value is shown.
_NAMED = 3
_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxother = 60
_QUOTE.maxlevel = 2

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CatalogError(ValueError):
    """The catalog makes no sense; the message is one sentence."""


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
class Catalog:
    """The livepatch files of a directory, and the entries of its catalog.yml by file name.

    unread: why each file can't be read that may be a livepatch, a sentence that names it.
    """

    files: tuple[LivepatchFile, ...]
    entries: Mapping[str, Entry]
    unread: tuple[str, ...] = ()

    def newest(self, board: Board) -> LivepatchFile | None:
        """The newest cumulative livepatch for the board: its kernel, architecture and model.

        Newest by the number that catalog.yml gives, else by the last number in the
        file's name.  Raises CatalogError where the newest can't be told.
        """
        fitting = [
            file for file in self._built_for(board) if _is_for(board, self._entry(file).compatible)
        ]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        ranked = sorted(((self._number(file), file) for file in fitting), key=lambda pair: pair[0])
        (second, other), (highest, newest) = ranked[-2:]
        if second == highest:
            raise CatalogError(
                "%s and %s have the same number %d, so that the newer can't be told; give them "
                "numbers in catalog.yml." % (_file_name(other), _file_name(newest), highest)
            )
        return newest

    def why_nothing_fits(self, board: Board) -> str:
        """Why newest() has found nothing, with the files that are for other models."""
        kernel = "%s (%s)" % (board.kernel_release, board.arch)
        others = [
            "%s only for %s" % (_file_name(file), " or ".join(self._entry(file).compatible or ()))
            for file in self._built_for(board)
        ]
        if not others:
            return "no cumulative livepatch in the catalog is built for kernel %s" % kernel
        identity = " and ".join(board.compatible)
        return "what is built for kernel %s is for other boards: %s, and this board %s" % (
            kernel,
            ", ".join(others),
            "is " + identity if identity else "has no device tree that tells what it is",
        )

    def why_unread(self) -> str:
        """What is wrong with the files that can't be read; empty where there are none."""
        more = len(self.unread) - _NAMED
        return " ".join(self.unread[:_NAMED]) + (" And %d more." % more if more > 0 else "")

    def with_states(self, board: Board) -> Board:
        """The board with the states of installed builds that are in the catalog, where unknown."""
        if board.states_source != "unknown":
            return board
        known = {
            file.livepatch.build_id: file.livepatch
            for file in self.files
            if file.livepatch.build_id
        }
        patches = tuple(
            replace(patch, states=known[patch.build_id].states)
            if patch.states is None and patch.build_id in known
            else patch
            for patch in board.patches
        )
        unknown = any(patch.states is None for patch in patches)
        return replace(board, patches=patches, states_source="unknown" if unknown else "file")

    def _built_for(self, board: Board) -> list[LivepatchFile]:
        return [
            file
            for file in self.files
            if file.livepatch.replace
            and file.kernel_release == board.kernel_release
            and file.arch == board.arch
        ]

    def _entry(self, file: LivepatchFile) -> Entry:
        return self.entries.get(_file_name(file), Entry())

    def _number(self, file: LivepatchFile) -> int:
        number = self._entry(file).number
        if number is not None:
            return number
        name = _file_name(file)
        digits = re.findall(r"\d+", name.partition(".ko")[0])
        if not digits:
            raise CatalogError(
                "%s has no number in its name, so that its age can't be told; give it one in "
                "catalog.yml." % name
            )
        return int(digits[-1])


class _Loader(_SafeLoader):  # type: ignore[misc]
    """A SafeLoader whose every error says where."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            what = "%s is no value of its kind" % _quoted(node.value)
            raise yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark) from error


def read_index(text: str) -> Any:
    """What catalog.yml says, whose text it is.  Raises CatalogError where it is no YAML.

    Neither where it is more than anybody writes: an alias multiplies what it names.
    """
    # libyaml takes no subclass of str or bytes, which Ansible's are.
    data = bytes(bytearray(text.encode("utf-8", "replace")))
    if len(data) > MAX_INDEX:
        raise CatalogError("catalog.yml has more than %d bytes; shorten it." % MAX_INDEX)
    try:
        _check_events(data)
        return yaml.load(data, Loader=_Loader)
    except CatalogError:
        raise
    except Exception as error:
        # A library that meets what nobody writes has more errors than it says.
        raise CatalogError(_not_yaml(error)) from error


def _check_events(text: bytes) -> None:
    """See that there is nothing in the text that costs more than it looks like."""
    nodes = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        what = ""
        if isinstance(event, yaml.AliasEvent):
            what = "it has an alias (*%s); write out what it stands for" % str(event.anchor)[:60]
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            what = "a value has more than %d characters; shorten it" % MAX_SCALAR
        elif nodes > MAX_NODES:
            what = "it has more than %d keys and values; shorten it" % MAX_NODES
        elif depth > MAX_DEPTH:
            what = "it is nested more than %d levels deep; nothing in it is" % MAX_DEPTH
        if what:
            raise CatalogError("catalog.yml%s: %s." % (_line(event.start_mark), what))


def _line(mark: Any) -> str:
    return ", line %d" % (mark.line + 1) if mark else ""


def _not_yaml(error: Exception) -> str:
    """One sentence, with the lines where the error says them."""
    if isinstance(error, yaml.MarkedYAMLError):
        where = _line(error.problem_mark or error.context_mark)
        parts = [error.problem]
        if error.context:
            parts.insert(0, error.context + _line(error.context_mark))
        what = ", ".join(str(part) for part in parts if part)
    else:
        where, what = "", str(error)
    what = "".join(c if c.isprintable() else "?" for c in " ".join(what.split()))
    return "catalog.yml%s can't be read as YAML: %s; correct it." % (where, what[:300])


def read_catalog(
    files: Sequence[Mapping[str, Any]],
    index: Any = None,
    rejected: Sequence[Mapping[str, Any]] = (),
    partial: bool = False,
) -> Catalog:
    """The catalog, of what livepatch_file_info says of its files and of what catalog.yml says.

    files, rejected: of livepatch_file_info; partial: whether it is of use where a
    file can't be read that may be a livepatch.  Raises CatalogError.  What is
    misspelt in catalog.yml is refused, since it would send a file to every board.
    """
    read = []
    for file in files:
        try:
            read.append(file_from_json(file))
        except ShapeError as error:
            raise CatalogError("%s can't be used: %s." % (file.get("path"), error)) from error
    unread = tuple(
        str(entry.get("reason")) for entry in rejected if entry.get("may_be_livepatch") is not False
    )
    catalog = Catalog(tuple(read), {}, unread)
    if unread and not partial:
        raise CatalogError(
            "%s %s may be the newest livepatch; mend it, or take it out of the catalog."
            % (catalog.why_unread(), "It" if len(unread) == 1 else "Each")
        )
    return replace(catalog, entries=_read_entries(index, read))


def _read_entries(index: Any, files: Sequence[LivepatchFile]) -> dict[str, Entry]:
    if index is None or index in ("", {}):
        return {}
    if not isinstance(index, Mapping) or set(index) != {"livepatches"}:
        raise CatalogError("catalog.yml must have livepatches and nothing else; correct it.")
    entries = index["livepatches"]
    if not isinstance(entries, Mapping):
        raise CatalogError("catalog.yml: livepatches must be a dictionary of file names.")
    unknown = sorted(set(map(str, entries)) - set(map(_file_name, files)))
    if unknown:
        raise CatalogError(
            "catalog.yml has an entry for %s, and the catalog no livepatch of that name; correct "
            "the name, or take the entry out." % _shown(unknown[0])
        )
    return {str(name): _read_entry(str(name), entry) for name, entry in entries.items()}


def _read_entry(name: str, entry: Any) -> Entry:
    where = "catalog.yml: %s" % _shown(name)
    if not isinstance(entry, Mapping) or not entry:
        raise CatalogError("%s needs a number, or compatible, or both." % where)
    # Before unknown keys: the rest of a string that YAML has cut at its comma is one.
    compatible = _compatible(where, entry["compatible"]) if "compatible" in entry else None
    unknown = sorted(set(map(str, entry)) - {"number", "compatible"})
    if unknown:
        raise CatalogError(
            "%s has %s, which is not known; an entry has a number, or compatible, or both."
            % (where, _shown(unknown[0]))
        )
    number = entry.get("number")
    if "number" in entry and (isinstance(number, bool) or not isinstance(number, int)):
        raise CatalogError(
            "%s needs a number that is a whole one, not %s." % (where, _quoted(number))
        )
    return Entry(number, compatible)


def _compatible(where: str, value: Any) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, Sequence) or not strings:
        raise CatalogError(
            "%s needs a compatible that is a string, or a list of strings, as in the device tree."
            % where
        )
    for string in strings:
        if not isinstance(string, str) or not all(string.partition(",")):
            raise CatalogError(
                "%s: %s in compatible is not of the form VENDOR,MODEL as in the device tree; "
                "inside braces or brackets, YAML wants quotes around it." % (where, _quoted(string))
            )
    return tuple(map(str, strings))


def _is_for(board: Board, compatible: Sequence[str] | None) -> bool:
    return compatible is None or not set(compatible).isdisjoint(board.compatible)


def _file_name(file: LivepatchFile) -> str:
    return os.path.basename(file.path)


def _shown(name: str) -> str:
    """A name out of catalog.yml for a message."""
    return name if name.isprintable() and len(name) <= 255 else _quoted(name)


def _quoted(value: Any) -> str:
    """A value for a message, no longer than a sentence can hold."""
    return _QUOTE.repr(value)
