# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one arm64 instruction says.

Source: Arm Architecture Reference Manual for A-profile, C4.1.
"""

from __future__ import annotations

import struct

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.instruction import (
    Found,
    Held,
    State,
    Successors,
    Text,
    Unfollowable,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    Location,
    Relocation,
)

# Relocation types of the AAELF64.
_R_AARCH64_ADR_PREL_LO21 = 274
_R_AARCH64_ADR_PREL_PG_HI21, _R_AARCH64_ADR_PREL_PG_HI21_NC = 275, 276
_R_AARCH64_ADD_ABS_LO12_NC = 277
_R_AARCH64_ADR_GOT_PAGE = 311
# Each comes with another relocation that says the low bits, and so the whole address.
_PAGES = (
    _R_AARCH64_ADR_PREL_PG_HI21,
    _R_AARCH64_ADR_PREL_PG_HI21_NC,
    _R_AARCH64_ADR_GOT_PAGE,
)
_ADDRESSES = (_R_AARCH64_ADR_PREL_LO21, _R_AARCH64_ADD_ABS_LO12_NC)
_BRANCHES = (279, 280, 282, 283)  # TSTBR14, CONDBR19, JUMP26, CALL26
# So many additions to one register are followed; a loop has no end of them.
_MAX_ADDED = 3


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


class _Registers:
    """The registers that hold addresses in data, while one instruction is looked at.

    Compilers address several variables from one anchor, so that the address that
    a relocation says is not yet what the code refers to: only its uses tell.
    """

    def __init__(self, text: Text, found: Found, state: State) -> None:
        self.text = text
        self.found = found
        self.called = state.called
        self.held: dict[int, Held] = dict(state.registers)

    def state(self) -> State:
        """What is known behind the instruction."""
        return State(tuple(sorted(self.held.items(), key=_number)), self.called)

    def hold(self, number: int, target: Location | None, symbol: str) -> None:
        """A register is given the address that a relocation says."""
        self.kill(number)
        if target is None or self.text.is_code(target):
            self.text.refer(self.found, target, symbol)
        else:
            self.held[number] = Held(target, 0, False)

    def use(self, number: int) -> None:
        """The code does something with the address that a register holds."""
        if number in self.held:
            self.text.refer(self.found, self.held[number].location, "")

    def pass_on(self, *numbers: int) -> None:
        """The code hands registers to others, who may do something with an address in them.

        An address that was the base of a load or store has served its purpose: the
        register has it left over.
        """
        for number in numbers:
            if number in self.held and not self.held[number].used:
                self.use(number)

    def access(self, number: int, offset: int) -> Location | None:
        """The code loads from, or stores to, a register plus an offset in bytes.

        That location; None where it is unknown what the register holds.
        """
        if number not in self.held:
            return None
        held = self.held[number]
        self.held[number] = held._replace(used=True)
        self.text.refer(self.found, held.location + offset, "")
        return held.location + offset

    def kill(self, *numbers: int) -> None:
        """These registers hold something else now."""
        for number in numbers:
            self.held.pop(number, None)

    def add(self, to: int, number: int, offset: int) -> None:
        """One register is another plus a number."""
        held = self.held.get(number)
        if held is None:
            self.kill(to)
            return
        location = held.location + offset
        if held.added >= _MAX_ADDED and offset:
            self.text.refer(self.found, location, "")
            self.held[to] = held
        else:
            self.held[to] = Held(location, held.added + bool(offset), held.used and not offset)


def _number(register: tuple[int, Held]) -> int:
    return register[0]


def step(text: Text, location: Location, state: State, found: Found) -> Successors:
    """The StepFunction of arm64."""
    content = text.content(location.section)
    if location.offset & 3 or location.offset + 4 > len(content):
        raise Unfollowable
    # Instructions are little-endian on big-endian kernels, too.
    (word,) = struct.unpack_from("<I", content, location.offset)
    regs = _Registers(text, found, state)
    relocation = text.relocation(location)
    target = _target(location, word)
    if target is not None:
        if relocation is not None and relocation.type not in _BRANCHES:
            raise Unfollowable
        return _branch(regs, location + 4, word, target, relocation)
    if word & 0xFE000000 == 0xD6000000:
        return _register_branch(regs, location, word)
    if word >> 16 == 0:
        return Successors(None)  # UDF
    if relocation is not None:
        _relocated(regs, word, relocation)
    elif word & 0x9F000000 == 0x10000000 or word & 0x3B000000 == 0x18000000:
        _literal(regs, location, word)
    elif word & 0x0A000000 == 0x08000000:
        _memory(regs, word)
    else:
        _data(regs, word)
    return Successors(location + 4, regs.state())


def _target(location: Location, word: int) -> Location | None:
    """Where B, BL, B.cond, CBZ, CBNZ, TBZ and TBNZ go without a relocation."""
    if word & 0x7C000000 == 0x14000000:
        return location + 4 * _signed(word & 0x3FFFFFF, 26)
    if word & 0xFF000000 == 0x54000000 or word & 0x7E000000 == 0x34000000:
        return location + 4 * _signed(word >> 5 & 0x7FFFF, 19)
    if word & 0x7E000000 == 0x36000000:
        return location + 4 * _signed(word >> 5 & 0x3FFF, 14)
    return None


def _branch(
    regs: _Registers, end: Location, word: int, direct: Location, relocation: Relocation | None
) -> Successors:
    target = direct if relocation is None else relocation.target
    symbol = "" if relocation is None else relocation.symbol
    jump = word & 0xFC000000 == 0x14000000
    call = word & 0xFC000000 == 0x94000000
    if call or target is None:
        # To another function, whose arguments these may be.
        regs.pass_on(*range(8))
        called = regs.text.call(regs.found, target, symbol, regs.called)
        if call:
            regs.kill(*range(19), 30)
            regs.called = called
        return Successors(None if jump else end, regs.state())
    return Successors(None if jump else end, regs.state(), (target,))


def _register_branch(regs: _Registers, location: Location, word: int) -> Successors:
    """BR, BLR, RET and their like with authentication."""
    kind = word >> 21 & 0xF
    if kind in (2, 4):
        regs.pass_on(0)
        return Successors(None)
    (before,) = struct.unpack_from(
        "<I", regs.text.content(location.section), max(0, location.offset - 4)
    )
    # ADD of a register that is extended, or shifted by two: a switch, whose table
    # has distances from a location in this function.
    if kind == 0 and (before & 0xFFE00000 == 0x8B200000 or before & 0xFFE0FC00 == 0x8B000800):
        return Successors(None, State(called=regs.called), regs.text.whole_function(location))
    raise Unfollowable


def _relocated(regs: _Registers, word: int, relocation: Relocation) -> None:
    to = word & 31
    target = relocation.target
    if relocation.type in _PAGES:
        regs.kill(to)
    elif relocation.type in _ADDRESSES:
        regs.hold(to, target, relocation.symbol)
    elif target is not None and regs.text.is_code(target):
        _constant(regs, word, target)
    else:
        regs.text.refer(regs.found, target, relocation.symbol)
        if word & 0x0A000000 == 0x08000000 and word & 0x3B000000 != 0x18000000:
            _memory(regs, word, target)
        else:
            regs.kill(to)


def _literal(regs: _Registers, location: Location, word: int) -> None:
    """ADR, and loads of a literal: something in this section."""
    distance = _signed(word >> 5 & 0x7FFFF, 19) * 4
    if word & 0x9F000000 == 0x10000000:
        regs.hold(word & 31, location + distance + (word >> 29 & 3), "")
    else:
        _constant(regs, word, location + distance)


def _constant(regs: _Registers, word: int, location: Location) -> None:
    """A load of what stands among the instructions."""
    for offset in (8, 0):
        constant = regs.text.constant(location + offset)
        if constant is not None and offset == 0 and not word >> 26 & 1:
            regs.hold(word & 31, constant.target, constant.symbol)
            return
        if constant is not None:
            regs.text.refer(regs.found, constant.target, constant.symbol)
    if not word >> 26 & 1:
        regs.kill(word & 31)


def _memory(regs: _Registers, word: int, relocated: Location | None = None) -> None:
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
        accessed = regs.access(base, offset) if relocated is None else relocated
        if not load and size >= 8:
            regs.text.keep(regs.found, regs.called, accessed)
    if load:
        regs.kill(*targets)
    if back:
        regs.add(base, base, back)


def _data(regs: _Registers, word: int) -> None:
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
