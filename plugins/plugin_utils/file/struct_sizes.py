# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes of structures out of a module's BTF or DWARF.

sizeof(struct klp_object) and sizeof(struct klp_func) depend on the kernel's
configuration (they embed a kobject), and type information is where the compiler
wrote them down.  Neither format is read whole: the debug information is most of
a module, and one number is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    SHF_COMPRESSED,
    Elf,
    Section,
)

MAX_TYPES = 100_000
MAX_BTF = 4 * 2**20
MAX_DEBUG_INFO = MAX_DEBUG_STR = 16 * 2**20
MAX_DEBUG_ABBREV = 65536
MAX_UNITS = 16
MAX_OCCURRENCES = 64

# struct btf_header and struct btf_type, include/uapi/linux/btf.h.
_BTF_MAGIC = 0xEB9F
_BTF_KIND_STRUCT = 4
# Bytes that follow a struct btf_type, by kind: fixed, and for each of vlen members.
_BTF_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_BTF_MEMBER = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_BTF_KIND_MAX = 19

# DWARF 5, sections 7.5.4 to 7.5.6 (the same numbers since DWARF 2).
_DW_TAG_STRUCTURE_TYPE = 0x13
_DW_AT_NAME, _DW_AT_BYTE_SIZE = 0x03, 0x0B
_DW_FORM_STRP, _DW_FORM_IMPLICIT_CONST = 0x0E, 0x21
_DW_FORM_DATA = {0x0B: 1, 0x05: 2, 0x06: 4}

# By code: the tag, and the attributes as name, form, constant (of an implicit_const).
_Abbreviations = dict[int, tuple[int, list[tuple[int, int, int]]]]


def struct_size(elf: Elf, name: str) -> int | None:
    """The size in bytes of a structure, None where the file does not say.

    Damaged type information says nothing: the kernel does not need it either.
    """
    size = _btf_struct_size(elf, name)
    return _dwarf_struct_size(elf, name) if size is None else size


def _btf_struct_size(elf: Elf, name: str) -> int | None:
    # A module's own BTF continues its kernel's, whose types and strings are
    # elsewhere; .BTF.base (Linux 6.12) is the part of the kernel's that it needs.
    section = elf.section(".BTF.base") or elf.section(".BTF")
    if section is None or section.size > MAX_BTF:
        return None
    btf = elf.content(section)
    try:
        magic, version, _flags, header, type_off, type_len, str_off, str_len = struct.unpack_from(
            elf.order + "HBBIIIII", btf
        )
        types = btf[header + type_off : header + type_off + type_len]
        strings = btf[header + str_off : header + str_off + str_len]
        if magic != _BTF_MAGIC or version != 1 or strings[:1] != b"\0":
            return None
        wanted = strings.find(b"\0%s\0" % name.encode()) + 1
        offset = 0
        for _type in range(MAX_TYPES if wanted else 0):
            name_off, info, size = struct.unpack_from(elf.order + "III", types, offset)
            kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
            if kind == _BTF_KIND_STRUCT and name_off == wanted:
                return int(size)
            if not 0 < kind <= _BTF_KIND_MAX:
                return None
            offset += 12 + _BTF_FIXED.get(kind, 0) + vlen * _BTF_MEMBER.get(kind, 0)
    except struct.error:
        pass
    return None


def _dwarf_struct_size(elf: Elf, name: str) -> int | None:
    """DW_AT_byte_size of the DW_TAG_structure_type with that name.

    The entry is found by the relocation of its name: compilers write the name
    first, so that the code of the entry's abbreviation stands right before it.
    """
    info, abbrev, strings = (elf.section(".debug_" + s) for s in ("info", "abbrev", "str"))
    if info is None or abbrev is None or strings is None:
        return None
    if info.size > MAX_DEBUG_INFO or strings.size > MAX_DEBUG_STR:
        return None
    if abbrev.size > MAX_DEBUG_ABBREV:
        return None
    if (info.flags | abbrev.flags | strings.flags) & SHF_COMPRESSED:
        return None
    content = elf.content(info)
    units = list(islice(_units(elf, info, content), MAX_UNITS))
    tables: dict[int, _Abbreviations] = {}
    for text in islice(_occurrences(elf.content(strings), name.encode() + b"\0"), MAX_OCCURRENCES):
        for place, _addend in islice(elf.find_relocations(info, addend=text), MAX_OCCURRENCES):
            for start, end, table in units:
                if start < place < end:
                    if table not in tables:
                        tables[table] = _abbreviations(elf.content(abbrev), table)
                    size = _byte_size(elf, content, place, tables[table])
                    if size is not None:
                        return size
    return None


def _occurrences(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


def _units(elf: Elf, info: Section, content: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, end, and offset into .debug_abbrev of every unit (32-bit DWARF 2 to 5)."""
    start = 0
    while start + 12 <= len(content):
        length, version = struct.unpack_from(elf.order + "IH", content, start)
        at = start + (8 if version >= 5 else 6)
        (table,) = struct.unpack_from(elf.order + "I", content, at)
        for _place, addend in elf.find_relocations(info, offset=at):
            table = addend
        yield start, start + 4 + length, table
        start += 4 + length


def _byte_size(elf: Elf, content: bytes, place: int, abbreviations: _Abbreviations) -> int | None:
    """DW_AT_byte_size of the structure whose DW_AT_name is at `place`, None for anything else."""
    # An abbreviation's code is a ULEB128 number, of two bytes above 127.
    codes = {content[place - 1]}
    if content[place - 2] & 0x80:
        codes.add(content[place - 2] & 0x7F | content[place - 1] << 7)
    found = [abbreviations[code] for code in codes if code in abbreviations]
    if len(found) != 1:
        return None
    tag, attributes = found[0]
    if tag != _DW_TAG_STRUCTURE_TYPE or attributes[:1] != [(_DW_AT_NAME, _DW_FORM_STRP, 0)]:
        return None
    attribute, form, constant = attributes[1] if len(attributes) > 1 else (0, 0, 0)
    if attribute != _DW_AT_BYTE_SIZE:
        return None
    if form == _DW_FORM_IMPLICIT_CONST:
        return constant
    length = _DW_FORM_DATA.get(form)
    if length is None:
        return None
    size = content[place + 4 : place + 4 + length]
    return int.from_bytes(size, "little" if elf.order == "<" else "big")


def _abbreviations(data: bytes, at: int) -> _Abbreviations:
    """One table of .debug_abbrev, up to its end or to that of the section."""
    found: _Abbreviations = {}
    while True:
        code, at = _uleb128(data, at)
        if code == 0:
            return found
        tag, at = _uleb128(data, at)
        at += 1  # DW_CHILDREN_yes or DW_CHILDREN_no
        attributes = []
        while True:
            name, at = _uleb128(data, at)
            form, at = _uleb128(data, at)
            constant = 0
            if form == _DW_FORM_IMPLICIT_CONST:
                constant, at = _uleb128(data, at)
            if name == 0 and form == 0:
                break
            attributes.append((name, form, constant))
        found[code] = (tag, attributes)


def _uleb128(data: bytes, at: int) -> tuple[int, int]:
    """A number below 2**70, and the offset after it; zero beyond the end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return 0, at
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return value, at
