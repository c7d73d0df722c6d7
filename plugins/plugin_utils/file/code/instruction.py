# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an instruction says: where the code goes on, what it refers to, what it keeps.

follow.py walks through a function with these; x86_64.py and arm64.py decode one
instruction each time and ask Text for what both of them need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    POINTER,
    SHF_ALLOC,
    Elf,
    Location,
    Relocation,
)

# Instructions of one module, and what they refer to; the callbacks of a big
# livepatch have some thousands.
MAX_STEPS = 30_000
MAX_JUMP_TABLE = 4096  # entries

# What an instruction takes of the file's budget.
_STEPS = 24

# A function of the module, or the name of one outside of it.
Callee = Location | str


class Unfollowable(Exception):
    """Code that may go anywhere."""


class Held(NamedTuple):
    """The address in data that a register holds.

    added: how often something was added to it; used: whether it has been the base
    of a load or store.
    """

    location: Location
    added: int
    used: bool


class State(NamedTuple):
    """What is known before an instruction.

    registers: in order of their numbers (arm64); called: the functions whose
    values may be at hand; table: where a pointer to code was just loaded from
    (x86_64).
    """

    registers: tuple[tuple[int, Held], ...] = ()
    called: tuple[Callee, ...] = ()
    table: Location | None = None


NOTHING = State()


@dataclass
class Found:
    """What the instructions of one function say.

    symbols: names outside of the module; data, code: locations in it; kept: functions,
    or their names outside of the module, and the variables in which what they
    returned may be kept.
    """

    symbols: set[str] = field(default_factory=set)
    data: set[Location] = field(default_factory=set)
    code: set[Location] = field(default_factory=set)
    kept: set[tuple[Callee, Location]] = field(default_factory=set)


class Successors(NamedTuple):
    """Where the code goes on behind an instruction: to the next one, by branches; with what."""

    next: Location | None
    state: State = NOTHING
    branches: Iterable[Location] = ()


class Text:
    """The instructions of one module, with what their relocations say."""

    def __init__(self, elf: Elf, keep: Iterable[str]) -> None:
        """keep: functions outside of the module of which it matters where their values are kept."""
        self._elf = elf
        self._keep = frozenset(keep)
        self._left = MAX_STEPS
        self._contents: dict[int, memoryview] = {}

    def spend(self, steps: int) -> None:
        """Take so much of MAX_STEPS.  Raises Unfollowable where no more is left."""
        self._left -= steps
        if self._left < 0:
            raise Unfollowable
        self._elf.budget.spend(_STEPS * steps)

    def content(self, section: int) -> memoryview:
        """The bytes of a section."""
        content = self._contents.get(section)
        if content is None:
            content = self._contents[section] = self._elf.content(self._elf.sections[section])
        return content

    def relocation(self, location: Location) -> Relocation | None:
        """The relocation of a location, of any type, None where there is none."""
        return self._elf.relocation(location)

    def relocated_offsets(self, section: int) -> KeysView[int]:
        """The offsets of a section at which a relocation changes something."""
        return self._elf.relocated_offsets(section)

    def is_code(self, location: Location) -> bool:
        """Whether instructions are there, not data."""
        return self._elf.sections[location.section].executable

    def refer(self, found: Found, target: Location | None, symbol: str) -> None:
        """Note that an instruction refers to a location, or to a symbol outside the module."""
        if target is None:
            found.symbols.add(plain_name(symbol))
        elif self.is_code(target):
            found.code.add(target)
        elif self._elf.sections[target.section].flags & SHF_ALLOC:
            found.data.add(target)

    def call(
        self, found: Found, target: Location | None, symbol: str, called: tuple[Callee, ...] = ()
    ) -> tuple[Callee, ...]:
        """Note a call, or a jump to another function.  Raises Unfollowable.

        called: the functions whose values may be at hand before the call.  The
        answer is those after it: all of them stay, unless a function of the kernel
        is called, like kzalloc(), that is known to return something else.
        """
        if target is not None and not self.is_code(target):
            raise Unfollowable
        self.refer(found, target, symbol)
        callee = plain_name(symbol) if target is None else target
        if target is None and callee not in self._keep:
            return ()
        # Of the module's own functions only the last is kept: few states, and few steps.
        names = {before for before in called if isinstance(before, str)}
        if isinstance(callee, Location):
            return (*sorted(names), callee)
        return tuple(sorted(names | {callee}))

    def keep(self, found: Found, called: Iterable[Callee], variable: Location | None) -> None:
        """Note that a variable is given what one of these functions may have returned."""
        if variable is not None:
            found.kept.update((callee, variable) for callee in called)

    def constant(self, location: Location) -> Relocation | None:
        """The relocation of a constant that the compiler put among the instructions."""
        return self._elf.relocation(location) if self.is_code(location) else None

    def jump_table(self, start: Location) -> list[Location]:
        """Where the pointers to code lead that follow each other in an array."""
        targets: list[Location] = []
        if self.is_code(start):
            raise Unfollowable
        for index in range(MAX_JUMP_TABLE):
            entry = start + POINTER * index
            if index and self._elf.object_size(entry) is not None:
                break
            target = self._elf.pointer(entry)
            if target is None or not self.is_code(target):
                break
            self.spend(1)
            targets.append(target)
        return targets

    def whole_function(self, location: Location) -> list[Location]:
        """Every fourth byte of the function that a location is in.

        Without a symbol that says where the function ends, of its whole section.
        """
        first, end = 0, self._elf.sections[location.section].size & ~3
        functions = self._elf.functions.get(location.section, {})
        self.spend(len(functions))
        for start, size in functions.items():
            if start <= location.offset < start + size <= end:
                first, end = start, start + size
        self.spend((end - first) // 4)
        return [Location(location.section, offset) for offset in range(first, end, 4)]


# Decodes the instruction at a location: notes in Found what it refers to, and
# says where the code goes on.  Raises Unfollowable.
StepFunction = Callable[[Text, Location, State, Found], Successors]


def plain_name(symbol: str) -> str:
    """A function's name, also where it is a symbol for the livepatch loader.

    Those are called .klp.sym.OBJECT.NAME,POSITION; Documentation/livepatch/module-elf-format.rst.
    """
    if symbol.startswith(".klp.sym."):
        symbol = symbol[len(".klp.sym.") :].partition(".")[2].rpartition(",")[0]
    return symbol
