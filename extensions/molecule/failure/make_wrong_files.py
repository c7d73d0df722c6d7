"""Makes files that are no livepatch, and other builds of fixes_1.

make_wrong_files.py MODULES DIRECTORY
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path


def replace_once(data: bytes, old: bytes, new: bytes) -> bytes:
    if data.count(old) != 1:
        raise SystemExit(f"{old!r} is in the module {data.count(old)} times")
    return data.replace(old, new)


def states(version: int) -> bytes:
    """An array of struct klp_state: id 1 with that version and no data, and the end."""
    return struct.pack("<QIxxxxQ", 1, version, 0) + bytes(24)


modules, directory = map(Path, sys.argv[1:])
fixes_1 = (modules / "fixes_1.ko").read_bytes()
note = struct.pack("<III4s", 4, 20, 3, b"GNU\0")
build_id = fixes_1[fixes_1.index(note) + len(note) :][:20]

for name, data in {
    "text.ko": b"This is no module.\n",
    "ordinary.ko": (modules / "blocker.ko").read_bytes(),
    "truncated.ko": fixes_1[: len(fixes_1) // 2],
    "other_build_id/fixes_1.ko": replace_once(fixes_1, build_id, build_id[::-1]),
    "other_states/fixes_1.ko": replace_once(fixes_1, states(1), states(5)),
}.items():
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
