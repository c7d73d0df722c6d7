# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The running kernel's structures as it describes them itself: BTF.

The format is Documentation/bpf/btf.rst's.  A kernel has a hundred thousand
types in several MB, one after the other, each as long as its kind says; walking
them takes Python seconds on a slow board.  So a structure is looked for by the
bytes that it must begin with, which bytes.find() does in milliseconds.

Standard library only; runs on the board.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from dataclasses import dataclass
from typing import Any, Iterable, Iterator

from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import Member, Struct

PATH = "/sys/kernel/btf/vmlinux"
# Ten times what a distribution's kernel has.
MAX_SIZE = 64 * 1024 * 1024
# What sysfs gives at once.
PAGE = 4096

MAGIC = 0xEB9F
HEADER = 24
KIND_STRUCT = 4
MAX_MEMBERS = 256
MAX_STRUCT_SIZE = 1 << 16
# Of one structure's name in all the types: a few by chance, members and variables of that name.
MAX_HITS = 65536
NEAR = 1 << 16
# The compiler's identifiers; nameless members have none.
IDENTIFIER = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*\Z")
MAX_IDENTIFIER = 128


class BtfError(Exception):
    """The description can't be read, or is damaged; the message says how."""


def read_structs(names: Iterable[str], path: str = PATH) -> dict[str, Struct] | None:
    """Those structures of the running kernel; None where it has no BTF.

    A name that isn't among them is no structure's.  Raises BtfError.
    """
    try:
        data = _read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BtfError("%s can't be read: %s" % (path, error)) from error
    try:
        return find_structs(data, names)
    except BtfError as error:
        raise BtfError("%s is damaged: %s" % (path, error)) from error


def find_structs(data: bytes, names: Iterable[str]) -> dict[str, Struct]:
    """The structures of those names in BTF data of either byte order.

    Those of one header stand together, so where the first stands once, the
    others are looked for in its neighbourhood before anywhere else.  Raises
    BtfError.
    """
    btf = _split(data)
    everywhere = neighbourhood = (0, len(btf.types))
    found: dict[str, Struct] = {}
    for name in names:
        start = btf.strings.find(b"\0%s\0" % name.encode("ascii"))
        if start < 0:
            continue
        ones = list(_structs(btf, start + 1, *neighbourhood))
        if not ones and neighbourhood != everywhere:
            ones = list(_structs(btf, start + 1, *everywhere))
        # Numbers of types differ where a structure stands twice.
        if len({_shape(one) for _at, one in ones}) > 1:
            raise BtfError("there are two different struct %s" % name)
        if ones:
            at, found[name] = ones[0]
        if len(ones) == len(found) == 1:
            neighbourhood = (max(0, at - NEAR), at + NEAR)
    return found


def to_json(structs: dict[str, Struct] | None) -> Any:
    """What from_json() takes."""
    if structs is None:
        return None
    return {
        name: [one.size, [[m.name, m.bit, m.type, m.width] for m in one.members]]
        for name, one in structs.items()
    }


def from_json(value: Any) -> dict[str, Struct] | None:
    """The structures out of to_json(); ValueError for anything else."""
    if value is None:
        return None
    try:
        structs = {
            name: Struct(size, tuple(Member(*fields) for fields in members))
            for name, (size, members) in value.items()
        }
        fields = [
            field
            for one in structs.values()
            for member in one.members
            for field in (one.size, member.bit, member.type, member.width)
        ]
    except (AttributeError, TypeError) as error:
        raise ValueError(str(error)) from error
    if not all(isinstance(field, int) and not isinstance(field, bool) for field in fields):
        raise ValueError("a number is none")
    return structs


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size > MAX_SIZE:
            raise ValueError("it has %d bytes" % size)
        try:
            with mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
                return mapped[:]
        except (OSError, ValueError):
            # Not every kernel lets its BTF be mapped, and none an empty file.
            pass
        data = bytearray()
        while len(data) <= MAX_SIZE:
            chunk = os.read(fd, PAGE)
            if not chunk:
                return bytes(data)
            data += chunk
        raise ValueError("it does not end within %d bytes" % MAX_SIZE)
    finally:
        os.close(fd)


@dataclass(frozen=True)
class _Btf:
    order: str
    types: bytes
    strings: bytes


def _split(data: bytes) -> _Btf:
    if len(data) < HEADER:
        raise BtfError("it has no header")
    order = "<" if data[0] == MAGIC & 0xFF else ">"
    magic, version, _flags, length, type_off, type_len, str_off, str_len = struct.unpack_from(
        order + "HBBIIIII", data
    )
    if magic != MAGIC or version != 1:
        raise BtfError("it is not BTF of version 1")
    types, strings = length + type_off, length + str_off
    if length < HEADER or max(types + type_len, strings + str_len) > len(data):
        raise BtfError("a section does not lie within it")
    if types % 4 or type_len % 4 or data[strings : strings + 1] != b"\0":
        raise BtfError("a section is none")
    return _Btf(order, data[types : types + type_len], data[strings : strings + str_len])


def _structs(btf: _Btf, name: int, start: int, end: int) -> Iterator[tuple[int, Struct]]:
    """What begins with the name at that offset, and a word that says STRUCT; and where it does."""
    word = struct.pack(btf.order + "I", name)
    at = btf.types.find(word, start, end)
    for _hit in range(MAX_HITS):
        if at < 0:
            return
        if at % 4 == 0:
            one = _struct_at(btf, at)
            if one is not None:
                yield at, one
        at = btf.types.find(word, at + 1, end)
    raise BtfError("one name stands in more than %d places" % MAX_HITS)


def _struct_at(btf: _Btf, at: int) -> Struct | None:
    """The structure there; None where those bytes belong to something else, or make no sense."""
    if at + 12 > len(btf.types):
        return None
    info, size = struct.unpack_from(btf.order + "II", btf.types, at + 4)
    # kind_flag, the kind among bits that are zero, the number of members
    has_widths, kind, count = info >> 31, info >> 16 & 0x7FFF, info & 0xFFFF
    if kind != KIND_STRUCT << 8 or not 0 < count <= MAX_MEMBERS or not 0 < size <= MAX_STRUCT_SIZE:
        return None
    if at + 12 + 12 * count > len(btf.types):
        return None
    members = []
    for name, type, bit in struct.iter_unpack(
        btf.order + "III", btf.types[at + 12 : at + 12 + 12 * count]
    ):
        text = _identifier(btf.strings, name)
        width, bit = (bit >> 24, bit & 0xFFFFFF) if has_widths else (0, bit)
        if text is None or type == 0 or bit > 8 * size:
            return None
        members.append(Member(text, bit, type, width))
    return Struct(size, tuple(members))


def _identifier(strings: bytes, offset: int) -> str | None:
    if offset == 0:
        return ""
    end = strings.find(b"\0", offset, offset + MAX_IDENTIFIER)
    text = strings[offset:end]
    return text.decode("ascii") if end >= 0 and IDENTIFIER.match(text) else None


def _shape(one: Struct) -> tuple[Any, ...]:
    return (one.size, *((member.name, member.bit, member.width) for member in one.members))
