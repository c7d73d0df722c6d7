"""Makes files that are no livepatch, other builds of fixes_1, and what only the kernel refuses.

make_wrong_files.py MODULES DIRECTORY
"""

from __future__ import annotations

import struct
import sys
from io import BytesIO
from pathlib import Path

from elftools.elf.elffile import ELFFile


def replace_once(data: bytes, old: bytes, new: bytes) -> bytes:
    if data.count(old) != 1:
        raise SystemExit(f"{old!r} is in the module {data.count(old)} times")
    return data.replace(old, new)


def rename(data: bytes, old: str, new: str) -> bytes:
    """Another name of at most that length, wherever this one stands on its own."""
    name = f"\0{old}\0".encode()
    if name not in data:
        raise SystemExit(f"{old} is not in the module")
    return data.replace(name, f"\0{new}\0".encode().ljust(len(name), b"\0"))


def states(version: int) -> bytes:
    """An array of struct klp_state: id 1 with that version and no data, and the end."""
    return struct.pack("<QIxxxxQ", 1, version, 0) + bytes(24)


def other_symbol_version(data: bytes, symbol: str) -> bytes:
    """The symbol's checksum in __versions, an array of struct modversion_info, made a wrong one."""
    versions = ELFFile(BytesIO(data)).get_section_by_name("__versions")
    at = versions["sh_offset"] + versions.data().index(f"\0{symbol}\0".encode()) + 1 - 8
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 4]) + data[at + 4 :]


def larger_than_memory(data: bytes) -> bytes:
    """Its uninitialised data made 2 GiB, in the section header alone."""
    elf = ELFFile(BytesIO(data))
    at = elf["e_shoff"] + elf.get_section_index(".bss") * elf["e_shentsize"] + 32
    return data[:at] + struct.pack("<Q", 2 << 30) + data[at + 8 :]


modules, directory = map(Path, sys.argv[1:])
fixes_1 = (modules / "fixes_1.ko").read_bytes()
cmdline = (modules / "cmdline.ko").read_bytes()
note = struct.pack("<III4s", 4, 20, 3, b"GNU\0")
build_id = fixes_1[fixes_1.index(note) + len(note) :][:20]

files = {
    "text.ko": b"This is no module.\n",
    "ordinary.ko": (modules / "blocker.ko").read_bytes(),
    "truncated.ko": fixes_1[: len(fixes_1) // 2],
    "other_build_id/fixes_1.ko": replace_once(fixes_1, build_id, build_id[::-1]),
    "other_states/fixes_1.ko": replace_once(fixes_1, states(1), states(5)),
    "unknown_symbol.ko": rename(cmdline, "klp_enable_patch", "klp_enable_petch"),
    "other_vermagic.ko": replace_once(cmdline, b" mod_unload ", b" mod_unl0ad "),
    "no_function.ko": rename(cmdline, "cmdline_proc_show", "cmdline_proc_sh0w"),
    "no_function_fixes_1.ko": rename(fixes_1, "cmdline_proc_show", "cmdline_proc_sh0w"),
    "ambiguous_function.ko": rename(cmdline, "cmdline_proc_show", "s_show"),
    "no_place_for_a_hook.ko": rename(cmdline, "cmdline_proc_show", "jiffies"),
    "larger_than_memory.ko": larger_than_memory(cmdline),
}
# The lab's own kernel does without the versions of symbols.
if b" modversions " in cmdline:
    files["other_symbol_version.ko"] = other_symbol_version(cmdline, "klp_enable_patch")
for name, data in files.items():
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
