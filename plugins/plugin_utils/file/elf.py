# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A kernel module as ELF: sections, words, strings, and where pointers point.

Runs on the controller, with the numbers that pyelftools knows.  Every offset,
index and count of the file is checked before it is used, and everything that is
read is spent of one budget, so that a hostile file costs no more than an honest
one.  Tables are unpacked in bulk, once, and only where they are needed: the
relocations of the debug information are most of a module, and nothing here asks
for them.
"""

from __future__ import annotations

import bisect
import struct
import traceback
from collections.abc import Iterator, KeysView
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.budget import Budget

try:
    from elftools.elf import enums
except ImportError:
    PYELFTOOLS_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    PYELFTOOLS_IMPORT_ERROR = None

# A name is longer than this nowhere in a message.
_QUOTED = 60

# The System V ABI (gABI), chapter 4: the 64-bit structures, without the byte order.
EHDR, SHDR, SYM, RELA = "16sHHIQQQIHHHHHH", "IIQQQQIIQQ", "IBBHQQ", "QQq"
EHDR_SIZE, SHDR_SIZE, SYM_SIZE, RELA_SIZE = 64, 64, 24, 24
POINTER = 8
ET_REL = 1
SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS = 0, 2, 3, 4, 7, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 0x1, 0x2, 0x4
SHN_UNDEF, SHN_LORESERVE = 0, 0xFF00
STT_OBJECT, STT_FUNC = 1, 2

THIS_MODULE = ".gnu.linkonce.this_module"

# Far beyond any livepatch; what exceeds them is refused.
MAX_SECTIONS = 16384
MAX_SYMBOLS = 200_000
MAX_RELOCATIONS = 200_000
MAX_NOTES = 65536  # bytes, of all sections
MAX_SECTION_NAME = 1024
MAX_STRING = 512

# What is spent on one of each, in steps and bytes.
_SECTION, _ROW, _SYMBOL, _POINTER, _WORD, _STRING = 16, 1, 2, 4, 1, 4
_KEPT_ROW, _KEPT_POINTER = 250, 150


class ElfError(ValueError):
    """What is wrong with the file; a sentence that lacks its subject, and says what to do."""


class NoLivepatchError(ElfError):
    """The file is whole, and something else than a livepatch."""


def quoted(text: str) -> str:
    """A text of the file, for a message."""
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "...")


def damaged(what: str) -> ElfError:
    """An ElfError for a file whose parts contradict each other."""
    return ElfError("is damaged: %s; copy or build it again." % what)


@dataclass(frozen=True, slots=True)
class Section:
    """A section header.

    type, flags, link, info: sh_type and so on; offset, size: in bytes, inside
    the file for all but SHT_NOBITS.
    """

    index: int
    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int

    @property
    def executable(self) -> bool:
        """Whether functions live here."""
        return bool(self.flags & SHF_EXECINSTR)

    @property
    def nobits(self) -> bool:
        """Whether it is all zero when the module is loaded (.bss)."""
        return self.type == SHT_NOBITS


class Location(NamedTuple):
    """A byte of the module: the section's index, and the offset in bytes into it."""

    section: int
    offset: int

    def __add__(self, offset: int) -> Location:  # type: ignore[override]
        return Location(self.section, self.offset + offset)


class Relocation(NamedTuple):
    """What a relocation refers to.

    type: its number in the machine's ABI; target: the symbol's location plus the
    addend, None for a symbol outside of the module; symbol: the name of that one,
    empty for a symbol of the module.
    """

    type: int
    target: Location | None
    symbol: str


class _Symbols(NamedTuple):
    """What the symbols say.

    sizes: of data, in bytes; functions: by section their sizes, by offset; undefined:
    the indices of those that are defined elsewhere.
    """

    sizes: dict[Location, int]
    functions: dict[int, dict[int, int]]
    undefined: list[int]


class Elf:
    """A relocatable 64-bit ELF file for a machine that has livepatching.

    arch: as uname -m says; sections: all headers; size: where the module proper
    ends in the file, in bytes; budget: of what is read of it.  Raises ElfError
    where the data is anything else; its methods do where a part that is asked
    for makes no sense, and SpentError where too much is asked for.
    """

    def __init__(self, data: bytes, size: int, budget: Budget | None = None) -> None:
        """data: the whole file; size: where the module proper ends in it, in bytes."""
        self._data = data
        self.size = size
        self.budget = budget or Budget()
        self.order = self._byte_order()
        self._long = struct.Struct(self.order + "Q")
        self._int = struct.Struct(self.order + "I")
        self._rela = struct.Struct(self.order + RELA)
        self._sym = struct.Struct(self.order + SYM)
        header = struct.unpack_from(self.order + EHDR, data)
        self.arch, self._abs64 = self._machine(type_=header[1], number=header[2])
        self.sections = self._read_sections(
            start=header[6], entry_size=header[11], count=header[12], strings=header[13]
        )
        self._by_name: dict[str, Section] = {}
        self._tables: dict[int, list[Section]] = {}
        self._symtab: Section | None = None
        for section in self.sections:
            self._by_name.setdefault(section.name, section)
            if section.type == SHT_RELA:
                self._tables.setdefault(section.info, []).append(section)
            elif section.type == SHT_SYMTAB and self._symtab is None:
                self._symtab = section
        if self._symtab and self._symtab.size > MAX_SYMBOLS * SYM_SIZE:
            raise ElfError("has more than %d symbols; no livepatch has." % MAX_SYMBOLS)
        self._relocations: dict[int, dict[int, tuple[int, int]]] = {}
        self._relocation_count = 0
        self._pointers: dict[int, tuple[list[int], list[Location]]] = {}

    def _byte_order(self) -> str:
        """That of struct's formats."""
        ident = self._data[:16]
        if not ident.startswith(b"\x7fELF"):
            raise ElfError(
                "is not an ELF file; give a livepatch module (.ko, .ko.xz, .ko.zst or .ko.gz)."
            )
        if self.size < EHDR_SIZE:
            raise damaged("it ends within its ELF header")
        elfclass, encoding = ident[4], ident[5]
        if elfclass == 1:
            raise NoLivepatchError(
                "is a 32-bit ELF file, and livepatching exists on 64-bit kernels only; "
                "build it for the board's kernel."
            )
        if elfclass != 2 or encoding not in (1, 2):
            raise damaged("its ELF header has an unknown class or byte order")
        return "<" if encoding == 1 else ">"

    def _machine(self, type_: int, number: int) -> tuple[str, int]:
        """What uname -m says, and the type of relocation that makes a pointer in data."""
        if type_ != ET_REL:
            raise NoLivepatchError(
                "is an ELF file but not a kernel module (%s instead of ET_REL); "
                "give a livepatch module (.ko)." % _called(enums.ENUM_E_TYPE, type_)
            )
        name = _called(enums.ENUM_E_MACHINE, number)
        aarch64 = enums.ENUM_RELOC_TYPE_AARCH64["R_AARCH64_ABS64"]
        ppc64 = enums.ENUM_RELOC_TYPE_PPC64["R_PPC64_ADDR64"]
        machine = {
            ("EM_X86_64", "<"): ("x86_64", enums.ENUM_RELOC_TYPE_x64["R_X86_64_64"]),
            ("EM_AARCH64", "<"): ("aarch64", aarch64),
            ("EM_AARCH64", ">"): ("aarch64_be", aarch64),
            ("EM_S390", ">"): ("s390x", enums.ENUM_RELOC_TYPE_S390X["R_390_64"]),
            ("EM_PPC64", "<"): ("ppc64le", ppc64),
            ("EM_PPC64", ">"): ("ppc64", ppc64),
            ("EM_LOONGARCH", "<"): ("loongarch64", enums.ENUM_RELOC_TYPE_LOONGARCH["R_LARCH_64"]),
        }.get((name, self.order))
        if machine is None:
            raise NoLivepatchError(
                "is for a machine without livepatching (%s, %s-endian); "
                "build it for the board's machine."
                % (name, "little" if self.order == "<" else "big")
            )
        return machine

    def _read_sections(
        self, start: int, entry_size: int, count: int, strings: int
    ) -> tuple[Section, ...]:
        if entry_size != SHDR_SIZE or not 0 < strings < count:
            raise damaged("its ELF header describes no sections")
        if count > MAX_SECTIONS:
            raise ElfError("has %d sections; no livepatch has that many." % count)
        if not EHDR_SIZE <= start <= self.size - count * SHDR_SIZE:
            raise damaged("its section headers lie beyond its end")
        table = memoryview(self._data)[start : start + count * SHDR_SIZE]
        headers = list(struct.iter_unpack(self.order + SHDR, table))
        for index, header in enumerate(headers):
            if header[1] not in (SHT_NULL, SHT_NOBITS) and header[4] + header[5] > self.size:
                raise damaged("section %d lies beyond its end" % index)
        if headers[strings][1] != SHT_STRTAB:
            raise damaged("its ELF header describes no section names")
        first = headers[strings][4]
        last = first + headers[strings][5]
        sections = []
        for index, header in enumerate(headers):
            name, type_, flags, _address, offset, size, link, info, _align, _entry_size = header
            text = self._text(first + name, last, MAX_SECTION_NAME, "section name")
            self.budget.spend(_SECTION, _KEPT_ROW + len(text))
            sections.append(Section(index, text, type_, flags, offset, size, link, info))
        return tuple(sections)

    def _text(self, start: int, end: int, limit: int, what: str) -> str:
        """The string at that offset of the file, which ends before `end`."""
        nul = self._data.find(b"\0", start, min(end, start + limit + 1)) if start < end else -1
        if nul < 0:
            raise damaged("a %s has no end" % what)
        text = self._data[start:nul].decode("ascii", "replace")
        if not text.isascii() or not text.isprintable():
            raise damaged("a %s is not text" % what)
        return text

    def section(self, name: str) -> Section | None:
        """The first section with that name, None where there is none."""
        return self._by_name.get(name)

    def required_section(self, name: str) -> Section:
        """The first section with that name.  Raises ElfError where there is none."""
        section = self.section(name)
        if section is None:
            raise damaged("it has no section %s" % name)
        return section

    def content(self, section: Section) -> memoryview:
        """A section's bytes as stored, no copy of them; empty for SHT_NOBITS."""
        stored = section.type not in (SHT_NULL, SHT_NOBITS)
        size = section.size if stored else 0
        return memoryview(self._data)[section.offset : section.offset + size]

    def unsigned(self, location: Location, size: int = 8) -> int:
        """The unsigned number of 1, 4 or 8 bytes at a location, relocations left out."""
        self.budget.spend(_WORD)
        section = self.sections[location.section]
        if not 0 <= location.offset <= section.size - size:
            raise damaged("data is missing at the end of section %s" % section.name)
        if section.type in (SHT_NULL, SHT_NOBITS):
            return 0
        if size == 1:
            return self._data[section.offset + location.offset]
        form = self._long if size == 8 else self._int
        number: int = form.unpack_from(self._data, section.offset + location.offset)[0]
        return number

    def string(self, location: Location) -> str:
        """The NUL-terminated printable ASCII at a location, at most MAX_STRING characters."""
        self.budget.spend(_STRING)
        section = self.sections[location.section]
        if section.type in (SHT_NULL, SHT_NOBITS) or not 0 <= location.offset < section.size:
            raise damaged("a name lies outside of section %s" % section.name)
        start = section.offset + location.offset
        return self._text(start, section.offset + section.size, MAX_STRING, "name")

    def relocated(self, location: Location) -> bool:
        """Whether a relocation changes the location's content when the module is loaded."""
        self.budget.spend(_WORD)
        return location.offset in self._relocations_of(location.section)

    def relocated_offsets(self, section: int) -> KeysView[int]:
        """The offsets of a section at which a relocation changes something."""
        return self._relocations_of(section).keys()

    def null(self, location: Location) -> bool:
        """Whether the 64-bit word at a location is zero when the module is loaded."""
        return not self.relocated(location) and self.unsigned(location) == 0

    def pointer(self, location: Location) -> Location | None:
        """Where the pointer at a location points inside the module.

        None where there is no pointer, or where it points outside of the module
        (an undefined symbol).
        """
        self.budget.spend(_POINTER)
        relocation = self._relocations_of(location.section).get(location.offset)
        return None if relocation is None else self._target(*relocation)

    def _target(self, info: int, addend: int) -> Location | None:
        if info & 0xFFFFFFFF != self._abs64:
            return None
        return self._symbol_location(info >> 32, addend)

    def relocation(self, location: Location) -> Relocation | None:
        """The relocation of a location, of any type, None where there is none."""
        self.budget.spend(_POINTER)
        found = self._relocations_of(location.section).get(location.offset)
        if found is None:
            return None
        info, addend = found
        target = self._symbol_location(info >> 32, addend)
        name = self._symbol_name(info >> 32) if target is None else ""
        return Relocation(info & 0xFFFFFFFF, target, name)

    def pointers(self, start: Location, end: int) -> Iterator[tuple[int, Location]]:
        """Every offset from a location to `end` with a pointer into the module, and its target."""
        offsets, targets = self._pointers_of(start.section)
        first, last = bisect.bisect_left(offsets, start.offset), bisect.bisect_left(offsets, end)
        self.budget.spend(_ROW * max(0, last - first))
        return zip(offsets[first:last], targets[first:last])

    def _pointers_of(self, index: int) -> tuple[list[int], list[Location]]:
        """The offsets of a section with a pointer into the module, in their order; the targets."""
        found = self._pointers.get(index)
        if found is None:
            relocations, size = self._relocations_of(index), self.sections[index].size
            self.budget.spend(_POINTER * len(relocations), _KEPT_POINTER * len(relocations))
            found = ([], [])
            for offset in sorted(relocations):
                target = self._target(*relocations[offset]) if offset < size else None
                if target is not None:
                    found[0].append(offset)
                    found[1].append(target)
            self._pointers[index] = found
        return found

    def object_size(self, location: Location) -> int | None:
        """The size in bytes of the data symbol that starts at a location, None without one.

        Modules without local symbols (strip --strip-unneeded) have none for
        static variables.
        """
        return self._symbols.sizes.get(location)

    @property
    def functions(self) -> dict[int, dict[int, int]]:
        """By section: the size in bytes of every function that has a symbol, by its offset."""
        return self._symbols.functions

    @cached_property
    def undefined(self) -> frozenset[str]:
        """The names that the module leaves to the kernel, or to other modules, to define."""
        return frozenset(map(self._symbol_name, self._symbols.undefined))

    @cached_property
    def _symbols(self) -> _Symbols:
        found = _Symbols({}, {}, [])
        if self._symtab is None:
            return found
        count = self._symtab.size // SYM_SIZE
        self.budget.spend(_SYMBOL * count, _KEPT_ROW * count)
        table = self.content(self._symtab)[: count * SYM_SIZE]
        sections = len(self.sections)
        for index, row in enumerate(self._sym.iter_unpack(table)):
            name, info, _other, section, value, size = row
            if 0 < section < sections:
                if info & 0xF == STT_OBJECT and size:
                    found.sizes[Location(section, value)] = size
                elif info & 0xF == STT_FUNC:
                    found.functions.setdefault(section, {})[value] = size
            elif name and (section == SHN_UNDEF or section >= SHN_LORESERVE):
                found.undefined.append(index)
        return found

    def end_of(self, location: Location) -> int:
        """The offset in its section at which the variable at a location ends at the latest."""
        return self.variable(location)[1]

    def variable(self, location: Location) -> tuple[int, int]:
        """The offsets in its section at which the variable at a location starts and ends.

        A variable is taken to start where a symbol of data is or a pointer in data
        points to, and to end where the next one starts, else with the section.
        """
        starts = self._starts.get(location.section) or [self.sections[location.section].size]
        after = bisect.bisect_right(starts, location.offset)
        return (
            starts[after - 1] if after else 0,
            starts[after] if after < len(starts) else location.offset,
        )

    @cached_property
    def _starts(self) -> dict[int, list[int]]:
        """By section: where its variables start, in order."""
        found: dict[int, set[int]] = {}
        for location in self._symbols.sizes:
            found.setdefault(location.section, set()).add(location.offset)
        for section in self.sections:
            if section.flags & SHF_WRITE and not section.executable:
                for _offset, target in self.pointers(Location(section.index, 0), section.size):
                    found.setdefault(target.section, set()).add(target.offset)
        kept = sum(map(len, found.values()))
        self.budget.spend(_ROW * kept, _KEPT_POINTER * kept)
        return {
            index: sorted({*starts, self.sections[index].size}) for index, starts in found.items()
        }

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Name, type and content of every ELF note (gABI, chapter 5, "Note Section")."""
        left = MAX_NOTES
        for section in self.sections:
            if section.type != SHT_NOTE or section.size > left:
                continue
            content = bytes(self.content(section))
            left -= len(content)
            offset = 0
            while offset + 12 <= len(content):
                namesz, descsz, type_ = struct.unpack_from(self.order + "III", content, offset)
                name, desc = offset + 12, offset + 12 + (namesz + 3 & ~3)
                yield (
                    content[name : name + namesz].rstrip(b"\0"),
                    type_,
                    content[desc : desc + descsz],
                )
                offset = desc + (descsz + 3 & ~3)

    def _relocations_of(self, index: int) -> dict[int, tuple[int, int]]:
        """r_info and r_addend by r_offset, of one section."""
        found = self._relocations.get(index)
        if found is None:
            found = {}
            for table in self._tables.get(index, ()):
                count = table.size // RELA_SIZE
                self._relocation_count += count
                if self._relocation_count > MAX_RELOCATIONS:
                    raise ElfError(
                        "has more than %d relocations of data; no livepatch has." % MAX_RELOCATIONS
                    )
                self.budget.spend(_ROW * count, _KEPT_ROW * count)
                view = self.content(table)[: count * RELA_SIZE]
                for offset, info, addend in self._rela.iter_unpack(view):
                    found[offset] = (info, addend)
            self._relocations[index] = found
        return found

    def _symbol_name(self, index: int) -> str:
        symtab = self._symtab
        if symtab is None or not 0 < symtab.link < len(self.sections):
            raise damaged("its symbols have no names")
        strings = self.sections[symtab.link]
        if strings.nobits:
            raise damaged("its symbols have no names")
        name = self._sym.unpack_from(self._data, symtab.offset + index * SYM_SIZE)[0]
        end = strings.offset + strings.size
        text = self._text(strings.offset + name, end, MAX_STRING, "symbol's name")
        self.budget.spend(_STRING, len(text) + _KEPT_POINTER)
        return text

    def _symbol_location(self, index: int, addend: int) -> Location | None:
        symtab = self._symtab
        if symtab is None or index >= symtab.size // SYM_SIZE:
            raise damaged("a relocation names symbol %d, which it does not have" % index)
        fields = self._sym.unpack_from(self._data, symtab.offset + index * SYM_SIZE)
        shndx, value = fields[3], fields[4]
        if shndx == SHN_UNDEF or shndx >= SHN_LORESERVE:
            return None
        if shndx >= len(self.sections):
            raise damaged("symbol %d is in section %d, which it does not have" % (index, shndx))
        return Location(shndx, value + addend)


def _called(names: dict[str, int], number: int) -> str:
    """What pyelftools calls a number of the ABI; its digits where it knows no name."""
    return next((name for name, value in names.items() if value == number), str(number))
