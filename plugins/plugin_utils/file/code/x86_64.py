# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one x86_64 instruction says.

Source: Intel's Software Developer's Manual, volume 2, chapter 2 and appendix A.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.instruction import (
    Callee,
    Found,
    State,
    Successors,
    Text,
    Unfollowable,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    Location,
    Relocation,
)

# Relocation types of the psABI.
_R_X86_64_64, _R_X86_64_PC32, _R_X86_64_PLT32, _R_X86_64_32, _R_X86_64_32S = 1, 2, 4, 10, 11
_R_X86_64_GOTPCREL, _R_X86_64_GOTPCRELX, _R_X86_64_REX_GOTPCRELX = 9, 41, 42
_GOT = (_R_X86_64_GOTPCREL, _R_X86_64_GOTPCRELX, _R_X86_64_REX_GOTPCRELX)
_RELATIVE = (_R_X86_64_PC32, _R_X86_64_PLT32) + _GOT
_ABSOLUTE = (_R_X86_64_64, _R_X86_64_32, _R_X86_64_32S)


# The thunks that call or jump to where a register points (CONFIG_MITIGATION_RETPOLINE).
_INDIRECT_THUNK = "__x86_indirect_"


def _map(rows: str) -> str:
    """What follows each of 256 opcodes, sixteen to a row.

    . nothing; m ModRM; b and z: an immediate of 1 byte, of 4 (2 after prefix 66);
    B and Z: ModRM and that immediate; w: 2 bytes; v: 4, or 8 with REX.W; o: an
    address of 8; e: ENTER's 3; p: a prefix; t: TEST's immediate in group 3;
    x: no such instruction, or not in a kernel.
    """
    return "".join(rows.split())


_ONE_BYTE = _map(
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
_TWO_BYTE = _map(
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
_IMMEDIATES = {"b": 1, "B": 1, "w": 2, "z": 4, "Z": 4, "v": 4, "o": 8, "e": 3}


class Instruction(NamedTuple):
    """An instruction: what it does, and where its parts are.

    end: the offset behind it; opcode: 0x0F.. where it has two bytes; modrm: -1
    without one; wide: whether it has REX.W, for operands of eight bytes;
    displacement, immediate: offset and size in bytes, a size of 0 without one;
    index_only: whether its address is a displacement plus eight times a register.
    """

    end: int
    opcode: int
    modrm: int
    wide: bool
    displacement: tuple[int, int]
    immediate: tuple[int, int]
    index_only: bool


def decode(code: bytes | memoryview, at: int) -> Instruction:
    """The instruction at an offset.

    Raises IndexError where the code ends within it, Unfollowable where it is unknown.
    """
    rex = 0
    short = narrow = False
    start = at
    while True:
        byte = code[at]
        if _ONE_BYTE[byte] != "p" or at - start > 14:
            break
        rex = byte if byte & 0xF0 == 0x40 else 0
        short |= byte == 0x66
        narrow |= byte == 0x67
        at += 1
    opcode, form = byte, _ONE_BYTE[byte]
    at += 1
    if byte == 0x0F:
        opcode, form = 0x0F00 | code[at], _TWO_BYTE[code[at]]
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
    size = _IMMEDIATES.get(form, 0)
    if form == "t":
        size = 0 if modrm >> 3 & 6 else (1 if opcode == 0xF6 else 4)
    if size == 4 and form == "v" and rex & 8:
        size = 8
    elif size == 4 and short and not 0xE8 <= opcode <= 0xE9 and opcode < 0x0F00:
        size = 2
    return Instruction(
        at + size, opcode, modrm, bool(rex & 8), displacement, (at, size), index_only
    )


# The stores that can keep a pointer, by opcode: how many bytes they write.  One of
# sixteen bytes keeps two.
_STORES = {0x89: 8, 0x0F11: 16, 0x0F29: 16, 0x0F7F: 16, 0x0FD6: 8}


def step(text: Text, location: Location, state: State, found: Found) -> Successors:
    """The StepFunction of x86_64."""
    section = location.section
    content = text.content(section)
    try:
        ins = decode(content, location.offset)
    except IndexError:
        raise Unfollowable from None
    if ins.end > len(content):
        raise Unfollowable
    end = Location(section, ins.end)
    relocations: dict[int, Relocation] = {}
    relocated = text.relocated_offsets(section)
    if not relocated.isdisjoint(range(location.offset, ins.end)):
        for offset in relocated & range(location.offset, ins.end):
            relocation = text.relocation(Location(section, offset))
            if relocation is not None:
                relocations[offset] = relocation
    for offset, relocation in relocations.items():
        # A relocation elsewhere means that this is no instruction.
        fields = [at for at, size in (ins.displacement, ins.immediate) if size >= 4]
        if offset not in fields or relocation.type not in _RELATIVE + _ABSOLUTE:
            raise Unfollowable
    branch = _branch(text, content, ins, end, state, relocations, found)
    if branch is not None:
        return branch
    if ins.opcode == 0xFF and ins.modrm >> 3 & 7 in (2, 3, 4, 5):
        return _indirect(text, end, ins, state, relocations, found)
    table = relocations.get(ins.displacement[0]) if ins.index_only else None
    if table and table.target and ins.opcode == 0x8B and ins.wide:
        # An unoptimised switch loads its target before it jumps.
        found.code.update(text.jump_table(table.target))
        return Successors(end, State(called=state.called, table=table.target))
    _references(text, section, content, ins, state, relocations, found)
    if ins.opcode in (0xC2, 0xC3, 0xCA, 0xCB, 0xCC, 0xCF):
        return Successors(None)
    # UD2 goes on: WARN() is one, and the kernel returns behind it.
    return Successors(end, State(called=state.called))


def _references(
    text: Text,
    section: int,
    content: memoryview,
    ins: Instruction,
    state: State,
    relocations: dict[int, Relocation],
    found: Found,
) -> None:
    """Note what the instruction refers to, and whether it keeps something there."""
    at, size = ins.displacement
    memory: Location | None = None
    for offset, relocation in relocations.items():
        target = relocation.target
        if target is not None and relocation.type in _RELATIVE:
            target += ins.end - offset
        text.refer(found, target, relocation.symbol)
        if offset == at and relocation.type not in _GOT:
            memory = target
    if size == 4 and ins.modrm & 0xC7 == 5 and at not in relocations:
        # The address is relative to the instruction pointer: something in this section.
        (distance,) = struct.unpack_from("<i", content, at)
        text.refer(found, Location(section, ins.end + distance), "")
    stored = _STORES.get(ins.opcode, 0)
    if memory is not None and (ins.wide or stored and ins.opcode != 0x89):
        for offset in range(0, stored, 8):
            text.keep(found, state.called, memory + offset)


def _branch(
    text: Text,
    content: memoryview,
    ins: Instruction,
    end: Location,
    state: State,
    relocations: dict[int, Relocation],
    found: Found,
) -> Successors | None:
    """A call or jump whose instruction says where to; None for any other instruction."""
    jump = ins.opcode in (0xE9, 0xEB)
    conditional = ins.opcode >> 4 == 0x7 or ins.opcode >> 4 == 0x0F8 or 0xE0 <= ins.opcode <= 0xE3
    if not jump and not conditional and ins.opcode != 0xE8:
        return None
    at, size = ins.immediate
    relocation = relocations.get(at)
    target: Location | None
    symbol = ""
    if relocation is None:
        (distance,) = struct.unpack_from("<b" if size == 1 else "<i", content, at)
        target = end + distance
    else:
        if relocation.type not in _RELATIVE:
            raise Unfollowable
        target, symbol = relocation.target, relocation.symbol
        if target is not None:
            target += ins.end - at
    if ins.opcode == 0xE8:
        called = _call(text, found, target, symbol, state.called)
        return Successors(end, State(called=called))
    state = State(called=state.called)
    if target is None:
        _call(text, found, target, symbol)
        return Successors(None if jump else end, state)
    return Successors(None if jump else end, state, (target,))


def _call(
    text: Text, found: Found, target: Location | None, symbol: str, called: tuple[Callee, ...] = ()
) -> tuple[Callee, ...]:
    """As Text.call(), but a thunk may go anywhere."""
    if target is None and symbol.startswith(_INDIRECT_THUNK):
        raise Unfollowable
    return text.call(found, target, symbol, called)


def _indirect(
    text: Text,
    end: Location,
    ins: Instruction,
    state: State,
    relocations: dict[int, Relocation],
    found: Found,
) -> Successors:
    """A call or jump to where a register or a word in memory points."""
    jump = ins.modrm >> 3 & 7 in (4, 5)
    relocation = relocations.get(ins.displacement[0])
    if relocation is not None and relocation.type in _GOT:
        target = relocation.target
        if target is not None:
            target += ins.end - ins.displacement[0]
        called = _call(text, found, target, relocation.symbol, state.called)
        return Successors(None if jump else end, State(called=called))
    table = None
    if jump and relocation is not None and ins.index_only:
        table = relocation.target
    elif jump and ins.modrm >> 6 == 3:
        table = state.table
    targets = text.jump_table(table) if table is not None else []
    if not targets:
        raise Unfollowable
    return Successors(None, State(called=state.called), targets)
