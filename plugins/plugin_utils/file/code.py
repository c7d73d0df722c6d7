# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the code of a module can reach: calls followed inside the file, nothing executed.

Wrong in one direction only: something may be said to be reached that never is,
but what the code does reach is never left out.  A relocation is not enough for
that, because an assembler resolves a call inside one section by itself.  So the
instructions of x86_64 and arm64 are decoded as far as it takes to know where
each one ends, where it goes on, and what it refers to; symbols are not needed
for that, and a stripped module is followed as well.  What can't be followed (a
call through a pointer, an unknown instruction, any other machine) reaches
everything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, KeysView
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    SHF_ALLOC,
    Elf,
    ElfError,
    Place,
    Relocation,
)

# Instructions of one module, and what they refer to; the callbacks of a big
# livepatch have some thousands.
MAX_STEPS = 30_000
MAX_JUMP_TABLE = 4096  # entries
MAX_EDGES = 2**17  # bytes of a section with edges

# Where code goes on that no instruction names: pairs of 32-bit relative
# addresses, from and to (struct jump_entry and struct exception_table_entry).
EDGE_SECTIONS = ("__jump_table", "__ex_table")

# The thunks that call or jump to where a register points (CONFIG_MITIGATION_RETPOLINE).
X86_INDIRECT_THUNK = "__x86_indirect_"


class Unfollowable(Exception):
    """Code that may go anywhere."""


@dataclass(frozen=True)
class Reached:
    """What code may reach.

    symbols: names outside of the module that it calls or refers to; data: places
    in the module's data that it refers to, or that these point to; kept: functions
    (names outside of the module, else places) and the variables in which it may
    keep what they returned; everything: whether it went where it could not be
    followed, so that the others are incomplete.
    """

    symbols: frozenset[str]
    data: frozenset[Place]
    kept: frozenset[tuple[Place | str, Place]]
    everything: bool


# The address in data that a register holds, how often something was added to
# it, and whether it has been the base of a load or store.
_Held = tuple[Place, int, bool]
# A function of the module, or the name of one outside of it.
_Callee = Place | str


class _State(NamedTuple):
    """What is known before an instruction.

    registers: in order of their numbers (arm64); called: the functions whose
    values may be at hand; table: where a pointer to code was just loaded from
    (x86_64).
    """

    registers: tuple[tuple[int, _Held], ...] = ()
    called: tuple[_Callee, ...] = ()
    table: Place | None = None


_NOTHING = _State()


@dataclass
class _Found:
    """What the instructions of one function say.

    kept: functions, or their names outside of the module, and the variables in
    which what they returned may be kept.
    """

    symbols: set[str] = field(default_factory=set)
    data: set[Place] = field(default_factory=set)
    code: set[Place] = field(default_factory=set)
    kept: set[tuple[_Callee, Place]] = field(default_factory=set)


class _Step(NamedTuple):
    """Where an instruction goes on: to the next one, and by branches; and with what."""

    next: Place | None
    state: _State = _NOTHING
    branches: Iterable[Place] = ()


class Code:
    """The code of one module."""

    def __init__(
        self,
        elf: Elf,
        ignored: Iterable[tuple[Place, int]] = (),
        keep: Iterable[str] = (),
    ) -> None:
        """ignored: data that code may refer to without going where its pointers go.

        Each from a place up to an offset in the same section.  keep: functions
        outside of the module of which it matters where their values are kept.
        """
        self._elf = elf
        self._keep = frozenset(keep)
        self._ignored = tuple(ignored)
        self._found: dict[Place, _Found | None] = {}
        self._reached: dict[Place | None, Reached] = {}
        self._left = MAX_STEPS
        self._contents: dict[int, bytes] = {}
        self._edges: dict[Place, list[Place]] | None = None
        machines = {"x86_64": _x86_step, "aarch64": _arm64_step, "aarch64_be": _arm64_step}
        self._step = machines.get(elf.arch)

    def reached(self, entry: Place | None) -> Reached:
        """What a function may reach, with all that it calls; None is one outside the module."""
        reached = self._reached.get(entry)
        if reached is None:
            reached = self._reached[entry] = self._follow(entry)
        return reached

    def _follow(self, entry: Place | None) -> Reached:
        symbols: set[str] = set()
        data: set[Place] = set()
        kept: set[tuple[_Callee, Place]] = set()
        seen: set[Place] = set()
        todo = [entry]
        everything = False
        try:
            while todo:
                place = todo.pop()
                if place is None:
                    raise Unfollowable
                if place in seen:
                    continue
                seen.add(place)
                self._spend(1)
                if self.is_code(place):
                    found = self._function(place)
                    self._spend(
                        len(found.symbols) + len(found.data) + len(found.code) + len(found.kept)
                    )
                    symbols |= found.symbols
                    data |= found.data
                    kept |= found.kept
                    todo.extend(found.code)
                    todo.extend(found.data)
                else:
                    data.add(place)
                    for target in self._pointers(place):
                        self._spend(1)
                        todo.append(target)
        except (Unfollowable, ElfError):
            everything = True
        return Reached(frozenset(symbols), frozenset(data), frozenset(kept), everything)

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise Unfollowable

    def _pointers(self, place: Place) -> Iterator[Place]:
        """Where the variable that a place is in points: whoever gets it may call that."""
        if self._is_ignored(place):
            return
        start, end = self._elf.variable(place)
        for offset, target in self._elf.pointers(Place(place.section, start), end):
            if not self._is_ignored(Place(place.section, offset)):
                yield target

    def _is_ignored(self, place: Place) -> bool:
        return any(
            place.section == start.section and start.offset <= place.offset < end
            for start, end in self._ignored
        )

    def _function(self, entry: Place) -> _Found:
        """What the code from a place on refers to, calls left out.  Raises Unfollowable."""
        if entry not in self._found:
            self._found[entry] = None
            self._found[entry] = self._walk(entry)
        found = self._found[entry]
        if found is None:
            raise Unfollowable
        return found

    def _walk(self, entry: Place) -> _Found:
        if self._step is None:
            raise Unfollowable
        found = _Found()
        seen: set[tuple[Place, _State]] = set()
        todo = [(entry, _NOTHING)]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            place, state = at
            self._spend(1)
            if not self.is_code(place):
                raise Unfollowable
            if not 0 <= place.offset < self._elf.sections[place.section].size:
                raise Unfollowable
            step = self._step(self, place, state, found)
            # A call that does not return can be the last instruction of its function.
            if step.next is not None and not self._is_start(step.next):
                todo.append((step.next, step.state))
            todo.extend((target, step.state) for target in step.branches)
            todo.extend((target, step.state) for target in self._edges_of(place))
        return found

    def _is_start(self, place: Place) -> bool:
        return place.offset in self._elf.functions.get(place.section, ())

    def _edges_of(self, place: Place) -> list[Place]:
        if self._edges is None:
            self._edges = {}
            for name in EDGE_SECTIONS:
                section = self._elf.section(name)
                if section is None or section.nobits:
                    continue
                if section.size > MAX_EDGES:
                    raise Unfollowable
                before: Relocation | None = None
                for offset in range(0, section.size, 4):
                    relocation = self._elf.relocation(Place(section.index, offset))
                    if before and before.target and relocation and relocation.target:
                        target = relocation.target
                        if self.is_code(target):
                            self._edges.setdefault(before.target, []).append(target)
                    before = relocation
        return self._edges.get(place, [])

    # What the steps of both machines need.

    def content(self, section: int) -> bytes:
        """The bytes of a section."""
        content = self._contents.get(section)
        if content is None:
            content = self._contents[section] = self._elf.content(self._elf.sections[section])
        return content

    def relocation(self, place: Place) -> Relocation | None:
        """As of Elf."""
        return self._elf.relocation(place)

    def relocated_offsets(self, section: int) -> KeysView[int]:
        """As of Elf."""
        return self._elf.relocated_offsets(section)

    def is_code(self, place: Place) -> bool:
        """Whether instructions are there, not data."""
        return self._elf.sections[place.section].executable

    def refer(self, found: _Found, target: Place | None, symbol: str) -> None:
        """Note that an instruction refers to a place, or to a symbol outside the module."""
        if target is None:
            found.symbols.add(plain_name(symbol))
        elif self.is_code(target):
            found.code.add(target)
        elif self._elf.sections[target.section].flags & SHF_ALLOC:
            found.data.add(target)

    def call(
        self, found: _Found, target: Place | None, symbol: str, called: tuple[_Callee, ...] = ()
    ) -> tuple[_Callee, ...]:
        """Note a call, or a jump to another function.  Raises Unfollowable.

        What is kept from then on may be what it returned; or what those before
        it did, but for functions of the kernel like kzalloc(), of which it can
        be told that they return something else.
        """
        if target is None and symbol.startswith(X86_INDIRECT_THUNK):
            raise Unfollowable
        if target is not None and not self.is_code(target):
            raise Unfollowable
        self.refer(found, target, symbol)
        callee = plain_name(symbol) if target is None else target
        if target is None and callee not in self._keep:
            return ()
        # Of the module's own functions the last: few states, and few steps.
        names = {before for before in called if isinstance(before, str)}
        if isinstance(callee, Place):
            return (*sorted(names), callee)
        return tuple(sorted(names | {callee}))

    def keep(self, found: _Found, called: Iterable[_Callee], place: Place | None) -> None:
        """Note that a variable is given what one of these functions may have returned."""
        if place is not None:
            found.kept.update((callee, place) for callee in called)

    def resolve(self, place: Place) -> Relocation | None:
        """The pointer at a place among the instructions: a compiler's constant."""
        return self._elf.relocation(place) if self.is_code(place) else None

    def jump_table(self, start: Place) -> list[Place]:
        """Where the pointers to code lead that follow each other in an array."""
        targets: list[Place] = []
        if self.is_code(start):
            raise Unfollowable
        for index in range(MAX_JUMP_TABLE):
            place = start + 8 * index
            if index and self._elf.object_size(place) is not None:
                break
            target = self._elf.pointer(place)
            if target is None or not self.is_code(target):
                break
            self._spend(1)
            targets.append(target)
        return targets

    def whole_function(self, place: Place) -> list[Place]:
        """Every fourth byte of the function that a place is in, of its section without symbols."""
        first, end = 0, self._elf.sections[place.section].size & ~3
        functions = self._elf.functions.get(place.section, {})
        self._spend(len(functions))
        for start, size in functions.items():
            if start <= place.offset < start + size <= end:
                first, end = start, start + size
        self._spend((end - first) // 4)
        return [Place(place.section, offset) for offset in range(first, end, 4)]


def plain_name(symbol: str) -> str:
    """A function's name, also where it is a symbol for the livepatch loader.

    Those are called .klp.sym.OBJECT.NAME,POSITION; Documentation/livepatch/module-elf-format.rst.
    """
    if symbol.startswith(".klp.sym."):
        symbol = symbol[len(".klp.sym.") :].partition(".")[2].rpartition(",")[0]
    return symbol


# x86_64: Intel's Software Developer's Manual, volume 2, chapter 2 and appendix A.
# The psABI's relocation types.
_R_X86_64_64, _R_X86_64_PC32, _R_X86_64_PLT32, _R_X86_64_32, _R_X86_64_32S = 1, 2, 4, 10, 11
_R_X86_64_GOTPCREL, _R_X86_64_GOTPCRELX, _R_X86_64_REX_GOTPCRELX = 9, 41, 42
_X86_GOT = (_R_X86_64_GOTPCREL, _R_X86_64_GOTPCRELX, _R_X86_64_REX_GOTPCRELX)
_X86_RELATIVE = (_R_X86_64_PC32, _R_X86_64_PLT32) + _X86_GOT
_X86_ABSOLUTE = (_R_X86_64_64, _R_X86_64_32, _R_X86_64_32S)


def _x86_map(rows: str) -> str:
    """What follows each of 256 opcodes, a row for sixteen.

    . nothing; m ModRM; b and z: an immediate of 1 byte, of 4 (2 after prefix 66);
    B and Z: ModRM and that immediate; w: 2 bytes; v: 4, or 8 with REX.W; o: an
    address of 8; e: ENTER's 3; p: a prefix; t: TEST's immediate in group 3;
    x: no such instruction, or not in a kernel.
    """
    return "".join(rows.split())


_X86_ONE_BYTE = _x86_map(
    """
    mmmmbzxx mmmmbzxx
    mmmmbzxx mmmmbzxx
    mmmmbzpx mmmmbzpx
    mmmmbzpx mmmmbzpx
    pppppppp pppppppp
    ........ ........
    xxxmpppp zZbB....
    bbbbbbbb bbbbbbbb
    BZxBmmmm mmmmmmmm
    ........ ..x.....
    oooo.... bz......
    bbbbbbbb vvvvvvvv
    BBw.xxBZ e.w..bx.
    mmmmxxx. mmmmmmmm
    bbbbbbbb zzxb....
    p.pp..tt ......mm
    """
)
_X86_TWO_BYTE = _x86_map(
    """
    mmmmx... ..x.xm.x
    mmmmmmmm mmmmmmmm
    mmmmxxxx mmmmmmmm
    ......xx xxxxxxxx
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    BBBBmmm. mmxxmmmm
    zzzzzzzz zzzzzzzz
    mmmmmmmm mmmmmmmm
    ...mBmxx ...mBmmm
    mmmmmmmm mmBmmmmm
    mmBmBBBm ........
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    mmmmmmmm mmmmmmmm
    """
)
_X86_IMMEDIATES = {"b": 1, "B": 1, "w": 2, "z": 4, "Z": 4, "v": 4, "o": 8, "e": 3}


class _X86(NamedTuple):
    """An instruction: its opcode (0x0F.. of two bytes), and where its parts are.

    modrm: -1 without one; displacement, immediate: offset and size, 0 without one;
    index_only: whether its address is a displacement plus eight times a register.
    """

    end: int
    opcode: int
    modrm: int
    wide: bool
    displacement: tuple[int, int]
    immediate: tuple[int, int]
    index_only: bool


def _x86_decode(code: bytes, at: int) -> _X86:
    """Raises IndexError at the end, Unfollowable for what is unknown."""
    rex = 0
    short = narrow = False
    start = at
    while True:
        byte = code[at]
        if _X86_ONE_BYTE[byte] != "p" or at - start > 14:
            break
        rex = byte if byte & 0xF0 == 0x40 else 0
        short |= byte == 0x66
        narrow |= byte == 0x67
        at += 1
    opcode, form = byte, _X86_ONE_BYTE[byte]
    at += 1
    if byte == 0x0F:
        opcode, form = 0x0F00 | code[at], _X86_TWO_BYTE[code[at]]
        if opcode in (0x0F38, 0x0F3A):
            form = "m" if opcode == 0x0F38 else "B"
            at += 1
        at += 1
    if form in "xp" or narrow:
        raise Unfollowable
    modrm, displacement, index_only = -1, (0, 0), False
    if form in "mBZt":
        modrm = code[at]
        at += 1
        mod, rm = modrm >> 6, modrm & 7
        size = (0, 1, 4, 0)[mod]
        if mod != 3 and rm == 4:
            sib = code[at]
            at += 1
            if mod == 0 and sib & 7 == 5:
                size = 4
                index_only = sib >> 6 == 3
        elif mod == 0 and rm == 5:
            size = 4
        displacement = (at, size)
        at += size
    size = _X86_IMMEDIATES.get(form, 0)
    if form == "t":
        size = 0 if modrm >> 3 & 6 else (1 if opcode == 0xF6 else 4)
    if size == 4 and form == "v" and rex & 8:
        size = 8
    elif size == 4 and short and not 0xE8 <= opcode <= 0xE9 and opcode < 0x0F00:
        size = 2
    return _X86(at + size, opcode, modrm, bool(rex & 8), displacement, (at, size), index_only)


# Of eight bytes or more, of a register or of two: what keeps a pointer.
_X86_STORES = {0x89: 8, 0x0F11: 16, 0x0F29: 16, 0x0F7F: 16, 0x0FD6: 8}


def _x86_step(code: Code, place: Place, state: _State, found: _Found) -> _Step:
    section = place.section
    content = code.content(section)
    try:
        ins = _x86_decode(content, place.offset)
    except IndexError:
        raise Unfollowable from None
    if ins.end > len(content):
        raise Unfollowable
    end = Place(section, ins.end)
    relocations: dict[int, Relocation] = {}
    relocated = code.relocated_offsets(section)
    for offset in range(place.offset, ins.end):
        if offset in relocated:
            relocation = code.relocation(Place(section, offset))
            if relocation is not None:
                relocations[offset] = relocation
    fields = {at: size for at, size in (ins.displacement, ins.immediate) if size >= 4}
    for offset, relocation in relocations.items():
        # One elsewhere means that this was no instruction.
        if offset not in fields or relocation.type not in _X86_RELATIVE + _X86_ABSOLUTE:
            raise Unfollowable
    branch = _x86_branch(code, content, ins, end, state, relocations, found)
    if branch is not None:
        return branch
    if ins.opcode == 0xFF and ins.modrm >> 3 & 7 in (2, 3, 4, 5):
        return _x86_indirect(code, end, ins, state, relocations, found)
    table = relocations.get(ins.displacement[0]) if ins.index_only else None
    if table and table.target and ins.opcode == 0x8B and ins.wide:
        # What an unoptimised switch loads before it jumps.
        found.code.update(code.jump_table(table.target))
        return _Step(end, _State(called=state.called, table=table.target))
    _x86_references(code, section, content, ins, state, relocations, found)
    if ins.opcode in (0xC2, 0xC3, 0xCA, 0xCB, 0xCC, 0xCF):
        return _Step(None)
    # UD2 goes on: WARN() is one, and the kernel returns behind it.
    return _Step(end, _State(called=state.called))


def _x86_references(
    code: Code,
    section: int,
    content: bytes,
    ins: _X86,
    state: _State,
    relocations: dict[int, Relocation],
    found: _Found,
) -> None:
    """What the instruction refers to, and whether it keeps something there."""
    at, size = ins.displacement
    memory: Place | None = None
    for offset, relocation in relocations.items():
        target = relocation.target
        if target is not None and relocation.type in _X86_RELATIVE:
            target += ins.end - offset
        code.refer(found, target, relocation.symbol)
        if offset == at and relocation.type not in _X86_GOT:
            memory = target
    if size == 4 and ins.modrm & 0xC7 == 5 and at not in relocations:
        # Relative to the instruction pointer: something in this section.
        (distance,) = struct.unpack_from("<i", content, at)
        code.refer(found, Place(section, ins.end + distance), "")
    stored = _X86_STORES.get(ins.opcode, 0)
    if memory is not None and (ins.wide or stored and ins.opcode != 0x89):
        for offset in range(0, stored, 8):
            code.keep(found, state.called, memory + offset)


def _x86_branch(
    code: Code,
    content: bytes,
    ins: _X86,
    end: Place,
    state: _State,
    relocations: dict[int, Relocation],
    found: _Found,
) -> _Step | None:
    """A call or jump whose instruction says where to; None for any other instruction."""
    jump = ins.opcode in (0xE9, 0xEB)
    conditional = ins.opcode >> 4 == 0x7 or ins.opcode >> 4 == 0x0F8 or 0xE0 <= ins.opcode <= 0xE3
    if not jump and not conditional and ins.opcode != 0xE8:
        return None
    at, size = ins.immediate
    relocation = relocations.get(at)
    target: Place | None
    symbol = ""
    if relocation is None:
        (distance,) = struct.unpack_from("<b" if size == 1 else "<i", content, at)
        target = end + distance
    else:
        if relocation.type not in _X86_RELATIVE:
            raise Unfollowable
        target, symbol = relocation.target, relocation.symbol
        if target is not None:
            target += ins.end - at
    if ins.opcode == 0xE8:
        called = code.call(found, target, symbol, state.called)
        return _Step(end, _State(called=called))
    state = _State(called=state.called)
    if target is None:
        code.call(found, target, symbol)
        return _Step(None if jump else end, state)
    return _Step(None if jump else end, state, (target,))


def _x86_indirect(
    code: Code,
    end: Place,
    ins: _X86,
    state: _State,
    relocations: dict[int, Relocation],
    found: _Found,
) -> _Step:
    """A call or jump to where a register or a word in memory points."""
    jump = ins.modrm >> 3 & 7 in (4, 5)
    relocation = relocations.get(ins.displacement[0])
    if relocation is not None and relocation.type in _X86_GOT:
        target = relocation.target
        if target is not None:
            target += ins.end - ins.displacement[0]
        called = code.call(found, target, relocation.symbol, state.called)
        return _Step(None if jump else end, _State(called=called))
    table = None
    if jump and relocation is not None and ins.index_only:
        table = relocation.target
    elif jump and ins.modrm >> 6 == 3:
        table = state.table
    targets = code.jump_table(table) if table is not None else []
    if not targets:
        raise Unfollowable
    return _Step(None, _State(called=state.called), targets)


# arm64: Arm Architecture Reference Manual for A-profile, C4.1; relocation types of the AAELF64.
_R_AARCH64_ADR_PREL_LO21 = 274
_R_AARCH64_ADR_PREL_PG_HI21, _R_AARCH64_ADR_PREL_PG_HI21_NC = 275, 276
_R_AARCH64_ADD_ABS_LO12_NC = 277
_R_AARCH64_ADR_GOT_PAGE = 311
# Each comes with another that says the low bits, and so the address proper.
_ARM64_PAGES = (
    _R_AARCH64_ADR_PREL_PG_HI21,
    _R_AARCH64_ADR_PREL_PG_HI21_NC,
    _R_AARCH64_ADR_GOT_PAGE,
)
_ARM64_ADDRESSES = (_R_AARCH64_ADR_PREL_LO21, _R_AARCH64_ADD_ABS_LO12_NC)
_ARM64_BRANCHES = (279, 280, 282, 283)  # TSTBR14, CONDBR19, JUMP26, CALL26
# Beyond it, a register that a loop adds to stays where it is.
_ARM64_MAX_ADDED = 3


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


class _Arm64:
    """The registers that hold addresses in data, while one instruction is looked at.

    Compilers address several variables from one anchor, so that the address that
    a relocation says is not yet what the code refers to: only its uses tell.
    """

    def __init__(self, code: Code, found: _Found, state: _State) -> None:
        self.code = code
        self.found = found
        self.called = state.called
        self.held: dict[int, _Held] = dict(state.registers)

    def state(self) -> _State:
        """What is known behind the instruction."""
        return _State(tuple(sorted(self.held.items(), key=_number)), self.called)

    def hold(self, number: int, target: Place | None, symbol: str) -> None:
        """A register is given an address that a relocation says."""
        self.kill(number)
        if target is None or self.code.is_code(target):
            self.code.refer(self.found, target, symbol)
        else:
            self.held[number] = (target, 0, False)

    def use(self, number: int) -> None:
        """The code does something with the address that a register holds."""
        if number in self.held:
            self.code.refer(self.found, self.held[number][0], "")

    def pass_on(self, *numbers: int) -> None:
        """As use(), for registers that may be left over from something else.

        An address that was the base of a load or store is what they were for.
        """
        for number in numbers:
            if number in self.held and not self.held[number][2]:
                self.use(number)

    def access(self, number: int, offset: int) -> Place | None:
        """The code loads from, or stores to, so much beside where a register points."""
        if number not in self.held:
            return None
        place, added, _used = self.held[number]
        self.held[number] = (place, added, True)
        self.code.refer(self.found, place + offset, "")
        return place + offset

    def kill(self, *numbers: int) -> None:
        """They hold something else now."""
        for number in numbers:
            self.held.pop(number, None)

    def add(self, to: int, number: int, offset: int) -> None:
        """One register is another plus a number."""
        held = self.held.get(number)
        if held is None:
            self.kill(to)
            return
        place, added, used = held
        if added >= _ARM64_MAX_ADDED and offset:
            self.code.refer(self.found, place + offset, "")
            self.held[to] = held
        else:
            self.held[to] = (place + offset, added + bool(offset), used and not offset)


def _number(register: tuple[int, _Held]) -> int:
    return register[0]


def _arm64_step(code: Code, place: Place, state: _State, found: _Found) -> _Step:
    content = code.content(place.section)
    if place.offset & 3 or place.offset + 4 > len(content):
        raise Unfollowable
    # Instructions are little-endian on big-endian kernels, too.
    (word,) = struct.unpack_from("<I", content, place.offset)
    regs = _Arm64(code, found, state)
    relocation = code.relocation(place)
    target = _arm64_target(place, word)
    if target is not None:
        if relocation is not None and relocation.type not in _ARM64_BRANCHES:
            raise Unfollowable
        return _arm64_branch(regs, place + 4, word, target, relocation)
    if word & 0xFE000000 == 0xD6000000:
        return _arm64_register_branch(regs, place, word)
    if word >> 16 == 0:
        return _Step(None)  # UDF
    if relocation is not None:
        _arm64_relocated(regs, word, relocation)
    elif word & 0x9F000000 == 0x10000000 or word & 0x3B000000 == 0x18000000:
        _arm64_literal(regs, place, word)
    elif word & 0x0A000000 == 0x08000000:
        _arm64_memory(regs, word)
    else:
        _arm64_data(regs, word)
    return _Step(place + 4, regs.state())


def _arm64_target(place: Place, word: int) -> Place | None:
    """Where B, BL, B.cond, CBZ, CBNZ, TBZ and TBNZ go without a relocation."""
    if word & 0x7C000000 == 0x14000000:
        return place + 4 * _signed(word & 0x3FFFFFF, 26)
    if word & 0xFF000000 == 0x54000000 or word & 0x7E000000 == 0x34000000:
        return place + 4 * _signed(word >> 5 & 0x7FFFF, 19)
    if word & 0x7E000000 == 0x36000000:
        return place + 4 * _signed(word >> 5 & 0x3FFF, 14)
    return None


def _arm64_branch(
    regs: _Arm64, end: Place, word: int, direct: Place, relocation: Relocation | None
) -> _Step:
    target = direct if relocation is None else relocation.target
    symbol = "" if relocation is None else relocation.symbol
    jump = word & 0xFC000000 == 0x14000000
    call = word & 0xFC000000 == 0x94000000
    if call or target is None:
        # To another function, whose arguments these may be.
        regs.pass_on(*range(8))
        called = regs.code.call(regs.found, target, symbol, regs.called)
        if call:
            regs.kill(*range(19), 30)
            regs.called = called
        return _Step(None if jump else end, regs.state())
    return _Step(None if jump else end, regs.state(), (target,))


def _arm64_register_branch(regs: _Arm64, place: Place, word: int) -> _Step:
    """BR, BLR, RET and their like with authentication."""
    kind = word >> 21 & 0xF
    if kind in (2, 4):
        regs.pass_on(0)
        return _Step(None)
    (before,) = struct.unpack_from("<I", regs.code.content(place.section), max(0, place.offset - 4))
    # ADD of a register that is extended, or shifted by two: a switch, whose table
    # has distances from a place in this function.
    if kind == 0 and (before & 0xFFE00000 == 0x8B200000 or before & 0xFFE0FC00 == 0x8B000800):
        return _Step(None, _State(called=regs.called), regs.code.whole_function(place))
    raise Unfollowable


def _arm64_relocated(regs: _Arm64, word: int, relocation: Relocation) -> None:
    to = word & 31
    target = relocation.target
    if relocation.type in _ARM64_PAGES:
        regs.kill(to)
    elif relocation.type in _ARM64_ADDRESSES:
        regs.hold(to, target, relocation.symbol)
    elif target is not None and regs.code.is_code(target):
        _arm64_constant(regs, word, target)
    else:
        regs.code.refer(regs.found, target, relocation.symbol)
        if word & 0x0A000000 == 0x08000000 and word & 0x3B000000 != 0x18000000:
            _arm64_memory(regs, word, target)
        else:
            regs.kill(to)


def _arm64_literal(regs: _Arm64, place: Place, word: int) -> None:
    """ADR, and loads of a literal: something in this section."""
    distance = _signed(word >> 5 & 0x7FFFF, 19) * 4
    if word & 0x9F000000 == 0x10000000:
        regs.hold(word & 31, place + distance + (word >> 29 & 3), "")
    else:
        _arm64_constant(regs, word, place + distance)


def _arm64_constant(regs: _Arm64, word: int, place: Place) -> None:
    """A load of what stands among the instructions."""
    for offset in (8, 0):
        constant = regs.code.resolve(place + offset)
        if constant is not None and offset == 0 and not word >> 26 & 1:
            regs.hold(word & 31, constant.target, constant.symbol)
            return
        if constant is not None:
            regs.code.refer(regs.found, constant.target, constant.symbol)
    if not word >> 26 & 1:
        regs.kill(word & 31)


def _arm64_memory(regs: _Arm64, word: int, relocated: Place | None = None) -> None:
    """Loads and stores; `relocated` where a relocation says to where."""
    to, base, vector = word & 31, word >> 5 & 31, word >> 26 & 1
    offsets, back, pair = [0], 0, False
    load = bool(word >> 22 & (1 if vector else 3))
    size = 1 << (word >> 30)
    if word & 0x3B000000 == 0x39000000:
        scale = 4 if vector and word >> 23 & 1 else word >> 30
        offsets = [(word >> 10 & 0xFFF) << scale]
        size = 1 << scale
    elif word & 0x3B200000 == 0x38000000:
        number = _signed(word >> 12 & 0x1FF, 9)
        mode = word >> 10 & 3
        offsets = [0 if mode == 1 else number]
        back = number if mode & 1 else 0
    elif word & 0x3A000000 == 0x28000000:
        scale = 2 + (word >> 30 if vector else word >> 31)
        size = 1 << scale
        number = _signed(word >> 15 & 0x7F, 7) << scale
        mode = word >> 23 & 3
        first = 0 if mode == 1 else number
        offsets = [first, first + size]
        back = number if mode & 1 else 0
        load = bool(word >> 22 & 1)
        pair = True
    else:
        # By a register; atomic; exclusive; of several vector registers.
        regs.use(word >> 16 & 31)
        regs.use(base)
    if vector and size == 16:
        offsets += [offset + 8 for offset in offsets]
    targets = () if vector else (to, word >> 10 & 31) if pair else (to,)
    if not load:
        # What is stored can be used from there.
        regs.pass_on(*targets)
    for offset in offsets:
        place = regs.access(base, offset) if relocated is None else relocated
        if not load and size >= 8:
            regs.code.keep(regs.found, regs.called, place)
    if load:
        regs.kill(*targets)
    if back:
        regs.add(base, base, back)


def _arm64_data(regs: _Arm64, word: int) -> None:
    """Instructions on registers alone."""
    to, first, second = word & 31, word >> 5 & 31, word >> 16 & 31
    if word & 0x9F000000 == 0x91000000 and not word >> 29 & 1:
        number = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
        regs.add(to, first, -number if word >> 30 & 1 else number)
    elif word & 0xFFE0FFE0 == 0xAA0003E0:
        regs.add(to, second, 0)
    elif word & 0x1C000000 == 0x10000000:
        # With an immediate number.  MOVZ, MOVN and MOVK have it where others have a register.
        if word & 0x1F800000 != 0x12800000:
            regs.use(first)
        regs.kill(to)
    elif word & 0x0E000000 == 0x0A000000:
        regs.use(first)
        regs.use(second)
        if word & 0x1F000000 == 0x1B000000:
            regs.use(word >> 10 & 31)
        regs.kill(to)
    elif word & 0x0E000000 == 0x0E000000:
        regs.use(first)
