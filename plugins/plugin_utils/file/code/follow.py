# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the code of a module can reach: calls followed inside the file, nothing executed.

Wrong in one direction only: something may be said to be reached that never is,
but what the code does reach is never left out.  A relocation is not enough for
that, because an assembler resolves a call inside one section by itself.  So
instructions are decoded as far as it takes to know where each one ends, where it
goes on, and what it refers to; symbols are not needed for that, and a stripped
module is followed as well.  What can't be followed (a call through a pointer, an
unknown instruction, a machine without a decoder) reaches everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.instruction import (
    NOTHING,
    Callee,
    Found,
    State,
    StepFunction,
    Text,
    Unfollowable,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    Elf,
    ElfError,
    Location,
    Relocation,
)

MAX_EDGES = 2**17  # bytes of a section with edges

# Where code goes on that no instruction names: pairs of 32-bit relative
# addresses, from and to (struct jump_entry and struct exception_table_entry).
EDGE_SECTIONS = ("__jump_table", "__ex_table")


@dataclass(frozen=True)
class Reached:
    """What code may reach.

    symbols: names outside of the module that it calls or refers to; data: locations
    in the module's data that it refers to, or that these point to; kept: functions
    and the variables in which it may keep what they returned; everything: whether
    it went where it could not be followed, so that the others are incomplete.
    """

    symbols: frozenset[str]
    data: frozenset[Location]
    kept: frozenset[tuple[Callee, Location]]
    everything: bool


class Code:
    """The code of one module."""

    def __init__(
        self,
        elf: Elf,
        step: StepFunction | None,
        ignored: Iterable[tuple[Location, int]] = (),
        keep: Iterable[str] = (),
    ) -> None:
        """step: of the module's machine, None where there is no decoder for it.

        ignored: data that code may refer to without going where its pointers go,
        each from a location up to an offset in the same section; keep: functions
        outside of the module of which it matters where their values are kept.
        """
        self._elf = elf
        self._step = step
        self._ignored = tuple(ignored)
        self._text = Text(elf, keep)
        self._found: dict[Location, Found | None] = {}
        self._reached: dict[Location | None, Reached] = {}
        self._edges: dict[Location, list[Location]] | None = None

    def reached(self, entry: Location | None) -> Reached:
        """What a function may reach, with all that it calls; None is one outside the module."""
        reached = self._reached.get(entry)
        if reached is None:
            reached = self._reached[entry] = self._follow(entry)
        return reached

    def _follow(self, entry: Location | None) -> Reached:
        symbols: set[str] = set()
        data: set[Location] = set()
        kept: set[tuple[Callee, Location]] = set()
        seen: set[Location] = set()
        todo = [entry]
        everything = False
        try:
            while todo:
                location = todo.pop()
                if location is None:
                    raise Unfollowable
                if location in seen:
                    continue
                seen.add(location)
                self._text.spend(1)
                if self._text.is_code(location):
                    found = self._function(location)
                    self._text.spend(
                        len(found.symbols) + len(found.data) + len(found.code) + len(found.kept)
                    )
                    symbols |= found.symbols
                    data |= found.data
                    kept |= found.kept
                    todo.extend(found.code)
                    todo.extend(found.data)
                else:
                    data.add(location)
                    for target in self._pointers(location):
                        self._text.spend(1)
                        todo.append(target)
        except (Unfollowable, ElfError):
            everything = True
        return Reached(frozenset(symbols), frozenset(data), frozenset(kept), everything)

    def _pointers(self, location: Location) -> Iterator[Location]:
        """Where the pointers in the variable at a location lead: whoever gets it may call that."""
        if self._is_ignored(location):
            return
        start, end = self._elf.variable(location)
        for offset, target in self._elf.pointers(Location(location.section, start), end):
            if not self._is_ignored(Location(location.section, offset)):
                yield target

    def _is_ignored(self, location: Location) -> bool:
        return any(
            location.section == start.section and start.offset <= location.offset < end
            for start, end in self._ignored
        )

    def _function(self, entry: Location) -> Found:
        """What a function's own code refers to, without what it calls.  Raises Unfollowable."""
        if entry not in self._found:
            self._found[entry] = None
            self._found[entry] = self._walk(entry)
        found = self._found[entry]
        if found is None:
            raise Unfollowable
        return found

    def _walk(self, entry: Location) -> Found:
        if self._step is None:
            raise Unfollowable
        if self._edges is None:
            self._edges = self._read_edges()
        found = Found()
        seen: set[tuple[Location, State]] = set()
        todo = [(entry, NOTHING)]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            location, state = at
            self._text.spend(1)
            section = self._elf.sections[location.section]
            if not section.executable or not 0 <= location.offset < section.size:
                raise Unfollowable
            after = self._step(self._text, location, state, found)
            # A call that does not return can be the last instruction of its function.
            if after.next is not None and not self._is_start(after.next):
                todo.append((after.next, after.state))
            for target in after.branches:
                todo.append((target, after.state))
            for target in self._edges.get(location, ()):
                todo.append((target, after.state))
        return found

    def _is_start(self, location: Location) -> bool:
        return location.offset in self._elf.functions.get(location.section, ())

    def _read_edges(self) -> dict[Location, list[Location]]:
        edges: dict[Location, list[Location]] = {}
        for name in EDGE_SECTIONS:
            section = self._elf.section(name)
            if section is None or section.nobits:
                continue
            if section.size > MAX_EDGES:
                raise Unfollowable
            before: Relocation | None = None
            for offset in range(0, section.size, 4):
                relocation = self._elf.relocation(Location(section.index, offset))
                if before and before.target and relocation and relocation.target:
                    target = relocation.target
                    if self._text.is_code(target):
                        edges.setdefault(before.target, []).append(target)
                before = relocation
        return edges
