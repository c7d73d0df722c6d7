# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Livepatches by the thousand, out of the one that was built.

tests/lab/livepatches/states_template.c has room for 16 system states; its name,
its states, its replace and its build id are rewritten in the file.  The
controller finds where they stand, the board rewrites.
"""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    file_from_json,
    file_to_json,
)

from .sequences import MAX_STATES, Load, name_of

KLP_PATCH_STATES = 16
KLP_PATCH_REPLACE = 24
KLP_STATE = "QI4xQ"
E_MACHINE = 18
RELA_SIZE = 24
SH_SIZE = 32
BUILD_ID = 16
# The other architecture's number, and what uname calls it.
FOREIGN = {"x86_64": (183, "aarch64"), "aarch64": (62, "x86_64")}


@dataclass(frozen=True)
class Template:
    """The built file, and the offsets in it.

    states_pointer: the relocation that makes klp_patch.states point to the array,
    one of relocations, whose number of bytes stands at relocations_size.
    """

    image: bytes
    file: LivepatchFile
    byte_order: str
    names: tuple[int, ...]
    states: int
    states_pointer: int
    relocations: int
    relocations_size: int
    replace: int
    build_id: int

    def make(self, load: Load) -> tuple[LivepatchFile, bytes]:
        """The livepatch as the gate is told of it, and as the kernel gets it."""
        name = name_of(load.patch)
        image = bytearray(self.image)
        for offset in self.names:
            image[offset : offset + len(name)] = name.encode()
        array = b"".join(
            struct.pack(self.byte_order + KLP_STATE, state.id, state.version, 0)
            for state in load.states
        )
        size = (MAX_STATES + 1) * struct.calcsize("<" + KLP_STATE)
        image[self.states : self.states + size] = array.ljust(size, b"\0")
        if not load.states:
            self._drop_states_pointer(image)
        image[self.replace] = load.cumulative
        arch = self.file.arch
        if load.foreign:
            machine, arch = FOREIGN[arch]
            struct.pack_into(self.byte_order + "H", image, E_MACHINE, machine)
        build_id = hashlib.sha1(image).digest()
        image[self.build_id : self.build_id + len(build_id)] = build_id
        patch = replace(
            self.file.livepatch,
            name=name,
            replace=load.cumulative,
            states=load.states,
            build_id=build_id.hex(),
        )
        return replace(self.file, livepatch=patch, arch=arch), bytes(image)

    def _drop_states_pointer(self, image: bytearray) -> None:
        """As an author leaves it who knows of no states: NULL, and so without a relocation."""
        size = struct.Struct(self.byte_order + "Q")
        (relocations_size,) = size.unpack_from(image, self.relocations_size)
        last = self.relocations + relocations_size - RELA_SIZE
        image[self.states_pointer : self.states_pointer + RELA_SIZE] = image[last:][:RELA_SIZE]
        size.pack_into(image, self.relocations_size, relocations_size - RELA_SIZE)

    def to_json(self) -> dict[str, Any]:
        return dict(
            self.__dict__,
            image=base64.b64encode(self.image).decode(),
            file=file_to_json(self.file),
        )


def from_json(template: dict[str, Any]) -> Template:
    fields = dict(
        template,
        image=base64.b64decode(template["image"]),
        file=file_from_json(template["file"]),
        names=tuple(template["names"]),
    )
    return Template(**fields)


def find(image: bytes, file: LivepatchFile) -> Template:
    """The template out of the built file and what livepatch_file says of it."""
    # Boards have no pyelftools.
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(image))
    symbols = {symbol.name: symbol for symbol in elf.get_section_by_name(".symtab").iter_symbols()}
    patch, states = symbols["patch"], symbols["states"]
    data = elf.get_section(patch["st_shndx"])
    relocations = elf.get_section_by_name(".rela" + data.name)
    index_of_relocations = elf.get_section_index(relocations.name)
    (states_pointer,) = (
        relocations["sh_offset"] + index * RELA_SIZE
        for index, relocation in enumerate(relocations.iter_relocations())
        if relocation["r_offset"] == patch["st_value"] + KLP_PATCH_STATES
    )
    name = file.livepatch.name.encode()
    assert len(name) == len(name_of(0))
    return Template(
        image=image,
        file=file,
        byte_order="<" if elf.little_endian else ">",
        names=tuple(i for i in range(len(image)) if image.startswith(name, i)),
        states=elf.get_section(states["st_shndx"])["sh_offset"] + states["st_value"],
        states_pointer=states_pointer,
        relocations=relocations["sh_offset"],
        relocations_size=elf["e_shoff"] + index_of_relocations * elf["e_shentsize"] + SH_SIZE,
        replace=data["sh_offset"] + patch["st_value"] + KLP_PATCH_REPLACE,
        build_id=elf.get_section_by_name(".note.gnu.build-id")["sh_offset"] + BUILD_ID,
    )
