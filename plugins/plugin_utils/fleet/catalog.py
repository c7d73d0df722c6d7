# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog: livepatch files, and what catalog.yml says of them.

Pure; runs on the controller.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    file_from_json,
)


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
    """The livepatch files of a directory, and the entries of its catalog.yml by file name."""

    files: tuple[LivepatchFile, ...]
    entries: Mapping[str, Entry]

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


def read_index(text: str) -> Any:
    """What catalog.yml says, whose text it is.  Raises CatalogError where it is no YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise CatalogError("catalog.yml can't be read as YAML: %s; correct it." % what) from error


def read_catalog(files: Sequence[Mapping[str, Any]], index: Any = None) -> Catalog:
    """The catalog, of what livepatch_file_info says of its files and of what catalog.yml says.

    Raises CatalogError.  What is misspelt in catalog.yml is refused, since it
    would send a file to every board.
    """
    read = []
    for file in files:
        try:
            read.append(file_from_json(file))
        except ShapeError as error:
            raise CatalogError("%s can't be used: %s." % (file.get("path"), error)) from error
    return Catalog(tuple(read), _read_entries(index, read))


def _read_entries(index: Any, files: Sequence[LivepatchFile]) -> dict[str, Entry]:
    if not index:
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
            "the name, or take the entry out." % unknown[0]
        )
    return {str(name): _read_entry(str(name), entry) for name, entry in entries.items()}


def _read_entry(name: str, entry: Any) -> Entry:
    where = "catalog.yml: %s" % name
    if not isinstance(entry, Mapping) or not entry:
        raise CatalogError("%s needs a number, or compatible, or both." % where)
    # Before unknown keys: the rest of a string that YAML has cut at its comma is one.
    compatible = _compatible(where, entry["compatible"]) if "compatible" in entry else None
    unknown = sorted(set(map(str, entry)) - {"number", "compatible"})
    if unknown:
        raise CatalogError(
            "%s has %s, which is not known; an entry has a number, or compatible, or both."
            % (where, unknown[0])
        )
    number = entry.get("number")
    if "number" in entry and (isinstance(number, bool) or not isinstance(number, int)):
        raise CatalogError("%s needs a number that is a whole one, not %r." % (where, number))
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
                "%s: %r in compatible is not of the form VENDOR,MODEL as in the device tree; "
                "inside braces or brackets, YAML wants quotes around it." % (where, string)
            )
    return tuple(map(str, strings))


def _is_for(board: Board, compatible: Sequence[str] | None) -> bool:
    return compatible is None or not set(compatible).isdisjoint(board.compatible)


def _file_name(file: LivepatchFile) -> str:
    return os.path.basename(file.path)
