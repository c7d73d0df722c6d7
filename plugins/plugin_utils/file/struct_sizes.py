# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes of structures out of a module's BTF.

sizeof(struct klp_object) and sizeof(struct klp_func) depend on the kernel's
configuration, because they embed a kobject.  BTF is read no further than to the
one number that is asked for.
"""

from __future__ import annotations

import struct

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import Elf

MAX_TYPES = 100_000
MAX_BTF = 4 * 2**20

# struct btf_header and struct btf_type, include/uapi/linux/btf.h.
_BTF_MAGIC = 0xEB9F
_BTF_KIND_STRUCT = 4
# Bytes that follow a struct btf_type, by kind: fixed, and for each of vlen members.
_BTF_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_BTF_MEMBER = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_BTF_KIND_MAX = 19


def struct_size(elf: Elf, name: str) -> int | None:
    """The size in bytes of a structure, None where the file does not say.

    Damaged BTF says nothing: the kernel does not need it either.
    """
    # A module's own BTF continues its kernel's, whose types and strings are
    # elsewhere; .BTF.base (Linux 6.12) is the part of the kernel's that it needs.
    section = elf.section(".BTF.base") or elf.section(".BTF")
    if section is None or section.size > MAX_BTF:
        return None
    btf = bytes(elf.content(section))
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
