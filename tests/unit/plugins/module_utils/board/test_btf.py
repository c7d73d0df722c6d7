# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Structures out of BTF: found among what looks like them, damaged data refused, differences named.

The BTF here is made by a small builder; the running kernel's own is read as
well, and compared with what pahole reads there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import btf
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import (
    EXPECTED,
    Layout,
    Member,
    Struct,
    difference,
    layout_of,
)

BPFTOOL = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")
BOOL, UNSIGNED, LONG, POINTER = 1, 2, 3, 4

# name, size, and members: name, byte, type.
PATCH = [
    ("mod", 0, POINTER),
    ("objs", 8, POINTER),
    ("states", 16, POINTER),
    ("replace", 24, BOOL),
    ("list", 32, 9),
    ("kobj", 48, 9),
    ("obj_list", 112, 9),
    ("enabled", 128, BOOL),
    ("forced", 129, BOOL),
    ("free_work", 136, 9),
]
STATE = [("id", 0, LONG), ("version", 8, UNSIGNED), ("data", 16, POINTER)]
OBJECT = [
    ("name", 0, POINTER),
    ("funcs", 8, POINTER),
    ("callbacks", 16, 9),
    ("kobj", 56, 9),
    ("func_list", 120, 9),
    ("patched", 161, BOOL),
]
FUNC = [
    ("old_name", 0, POINTER),
    ("new_func", 8, POINTER),
    ("old_sympos", 16, LONG),
    ("kobj", 32, 9),
]
CALLBACKS = [
    ("pre_patch", 0, POINTER),
    ("post_patch", 8, POINTER),
    ("pre_unpatch", 16, POINTER),
    ("post_unpatch", 24, POINTER),
    ("post_unpatch_enabled", 32, BOOL),
]
TODAY = {
    "klp_patch": (200, PATCH),
    "klp_state": (24, STATE),
    "klp_object": (168, OBJECT),
    "klp_func": (152, FUNC),
    "klp_callbacks": (40, CALLBACKS),
}
REPLACE_SET = {
    **TODAY,
    "klp_patch": (200, [*PATCH[:3], ("replace_set", 24, UNSIGNED), *PATCH[4:]]),
}
STATE_CALLBACKS = {
    **TODAY,
    "klp_state": (
        64,
        [
            ("id", 0, LONG),
            ("callbacks", 8, 9),
            ("block_disable", 56, BOOL),
            ("is_shadow", 57, BOOL),
        ],
    ),
    "klp_object": (
        128,
        [*OBJECT[:2], ("kobj", 16, 9), ("func_list", 80, 9), ("patched", 121, BOOL)],
    ),
}
del STATE_CALLBACKS["klp_callbacks"]


class Builder:
    """BTF to be."""

    def __init__(self, order="<", kind_flag=0):
        self.order, self.kind_flag = order, kind_flag
        self.types, self.strings = b"", b"\0"

    def string(self, text):
        if not text:
            return 0
        where = self.strings.find(b"\0%s\0" % text.encode()) + 1
        if not where:
            where = len(self.strings)
            self.strings += text.encode() + b"\0"
        return where

    def words(self, *words):
        self.types += struct.pack("%s%dI" % (self.order, len(words)), *words)

    def int(self, name, size):
        self.words(self.string(name), 1 << 24, size, 8 * size)

    def struct(self, name, size, members, kind=4):
        info = self.kind_flag << 31 | kind << 24 | len(members)
        self.words(self.string(name), info, size)
        for member, byte, type, *width in members:
            self.words(self.string(member), type, 8 * byte | (width[0] << 24 if width else 0))

    def structs(self, structs):
        for name, (size, members) in structs.items():
            self.struct(name, size, members)
        return self

    def blob(self, length=24):
        header = struct.pack(
            self.order + "HBBIIIII",
            0xEB9F,
            1,
            0,
            length,
            0,
            len(self.types),
            len(self.types),
            len(self.strings),
        )
        return header.ljust(length, b"\0") + self.types + self.strings


def read(structs, **how):
    return btf.find_structs(Builder(**how).structs(structs).blob(), EXPECTED)


@pytest.mark.parametrize("kind_flag", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_structures_are_read_with_size_members_and_offsets(order, kind_flag):
    found = read(TODAY, order=order, kind_flag=kind_flag)
    assert found == {
        name: Struct(size, tuple(Member(member, 8 * byte, type) for member, byte, type in members))
        for name, (size, members) in TODAY.items()
    }
    assert difference(found) is None
    assert layout_of(found) == Layout()
    assert btf.from_json(btf.to_json(found)) == found


def test_a_longer_header_of_a_later_kernel_is_passed_over():
    found = btf.find_structs(Builder().structs(TODAY).blob(length=32), EXPECTED)
    assert set(found) == set(TODAY)


def test_what_only_looks_like_a_structure_is_passed_over():
    builder = Builder()
    # A type of another kind, a member, and words that happen to be the name's offset.
    builder.struct("klp_state", 4, [("a", 0, 1)], kind=6)
    builder.struct("other", 8, [("klp_state", 0, 1)])
    builder.words(builder.string("klp_state"), 0x04000004, 24)
    builder.words(0, 0, 0xFFFFFF)
    builder.structs(TODAY)
    assert btf.find_structs(builder.blob(), ["klp_state"])["klp_state"].size == 24


def test_a_structure_that_is_not_there_is_not_found():
    assert btf.find_structs(Builder().structs(TODAY).blob(), ["klp", "klp_", "list"]) == {}


def test_a_structure_that_stands_twice_must_be_the_same():
    twice = Builder().structs(TODAY).structs(TODAY)
    assert btf.find_structs(twice.blob(), ["klp_state"])["klp_state"].size == 24
    differing = Builder().structs(TODAY).structs(STATE_CALLBACKS)
    with pytest.raises(btf.BtfError, match="two different struct klp_state"):
        btf.find_structs(differing.blob(), ["klp_state"])


def changed(name, size=None, members=None):
    return {**TODAY, name: (size or TODAY[name][0], members or TODAY[name][1])}


def moved(members, name, byte):
    return [(one, byte if one == name else at, type) for one, at, type in members]


@pytest.mark.parametrize(
    ("structs", "words"),
    [
        (REPLACE_SET, "struct klp_patch has replace_set instead of replace"),
        (
            STATE_CALLBACKS,
            "struct klp_state has callbacks, block_disable and is_shadow instead of version and "
            "data and struct klp_object has no callbacks",
        ),
        (changed("klp_state", members=[STATE[0], STATE[2]]), "struct klp_state has no version"),
        (changed("klp_state", 32), "struct klp_state is 32 bytes long"),
        (
            changed("klp_state", 32, [*STATE, ("flags", 24, LONG)]),
            "struct klp_state has flags as well",
        ),
        (
            changed("klp_patch", members=moved(PATCH, "states", 40)),
            "states of struct klp_patch is at byte 40, not 16",
        ),
        (
            changed("klp_patch", members=[*PATCH[:3], ("replace", 24, UNSIGNED), *PATCH[4:]]),
            "replace of struct klp_patch is not known to be a bool",
        ),
        (
            changed("klp_patch", members=[*PATCH[:4], ("", 28, UNSIGNED), *PATCH[4:]]),
            "struct klp_patch has a nameless field as well",
        ),
        (
            changed("klp_object", members=moved(OBJECT, "kobj", 64)),
            "kobj of struct klp_object is at byte 64, not 56",
        ),
        (
            {name: TODAY[name] for name in TODAY if name != "klp_func"},
            "there is no struct klp_func",
        ),
        ({}, "there is no struct klp_patch, .* and there is no struct klp_callbacks"),
    ],
)
def test_a_difference_is_one_sentence(structs, words):
    assert re.fullmatch("in this kernel " + words, difference(read(structs)))


def test_a_bit_field_is_a_difference():
    structs = {
        **TODAY,
        "klp_patch": (200, [*PATCH[:3], ("replace", 24, BOOL, 1), *PATCH[4:]]),
    }
    found = read(structs, kind_flag=1)
    assert difference(found) == "in this kernel replace of struct klp_patch is a bit-field"


def test_debugging_options_make_the_kobject_longer_and_nothing_else():
    structs = {
        **TODAY,
        "klp_patch": (400, [*PATCH[:6], ("enabled", 300, BOOL), ("forced", 301, BOOL)]),
        "klp_object": (256, [*OBJECT[:4], ("func_list", 208, 9)]),
        "klp_func": (240, FUNC),
    }
    found = read(structs)
    assert difference(found) is None
    assert layout_of(found) == Layout(object_size=256)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x9f\xeb",
        b"\x7fELF" * 20,
        b"\x9f\xeb\x02" + bytes(60),
        b"\x9f\xeb\x01" + bytes(60),
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 0),
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 2**32 - 1, 0, 1) + b"\0",
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 2**32 - 1, 0, 0, 0, 1) + b"\0",
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"a",
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 1, 4, 5, 1) + bytes(8),
    ],
)
def test_what_is_no_btf_is_refused(data):
    with pytest.raises(btf.BtfError):
        btf.find_structs(data, EXPECTED)


def test_a_name_that_stands_everywhere_ends_in_an_error():
    builder = Builder().structs(TODAY)
    builder.types += struct.pack("<I", builder.string("klp_patch")) * 70000
    start = time.process_time()
    with pytest.raises(btf.BtfError, match="more than 65536 places"):
        btf.find_structs(builder.blob(), EXPECTED)
    assert time.process_time() - start < 1


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_btf_ends_in_structures_or_one_error(data):
    order = data.draw(st.sampled_from("<>"))
    blob = bytearray(Builder(order, data.draw(st.integers(0, 1))).structs(TODAY).blob())
    for _change in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    blob = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    try:
        found = btf.find_structs(blob, EXPECTED)
    except btf.BtfError:
        return
    # Whatever was found can be compared, and kept.
    assert difference(found) is None or difference(found).startswith("in this kernel ")
    assert btf.from_json(btf.to_json(found)) == found


def test_a_kernel_without_btf_has_none(tmp_path):
    assert btf.read_structs(EXPECTED, str(tmp_path / "vmlinux")) is None


@pytest.mark.parametrize("content", [b"", b"\x9f\xeb", b"\0" * 100])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    with pytest.raises(btf.BtfError, match="vmlinux is damaged"):
        btf.read_structs(EXPECTED, str(path))


def test_a_file_that_is_too_long_or_none_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(btf, "MAX_SIZE", 10)
    path = tmp_path / "vmlinux"
    path.write_bytes(bytes(11))
    with pytest.raises(btf.BtfError, match="it has 11 bytes"):
        btf.read_structs(EXPECTED, str(path))
    with pytest.raises(btf.BtfError, match="can't be read"):
        btf.read_structs(EXPECTED, str(tmp_path))


def test_what_can_not_be_mapped_is_read(tmp_path, monkeypatch):
    def no_map(*_arguments, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(btf.mmap, "mmap", no_map)
    path = tmp_path / "vmlinux"
    path.write_bytes(Builder().structs(TODAY).blob())
    assert difference(btf.read_structs(EXPECTED, str(path))) is None


@pytest.mark.parametrize("far", ["klp_patch", "klp_func"])
def test_a_structure_far_from_the_others_is_found(far):
    builder = Builder().structs({far: TODAY[far]})
    builder.types += bytes(1 << 18)
    builder.structs({name: TODAY[name] for name in TODAY if name != far})
    assert difference(btf.find_structs(builder.blob(), EXPECTED)) is None


@pytest.mark.skipif(not os.path.exists(btf.PATH), reason="the running kernel has no BTF")
@pytest.mark.skipif(not BPFTOOL, reason="bpftool is not installed")
def test_the_running_kernels_structures_are_those_that_bpftool_reads():
    # Whether it has livepatching or not.
    names = [*EXPECTED, "list_head", "kobject", "completion", "module", "bpf_prog"]
    dump = subprocess.run(
        [BPFTOOL, "-j", "btf", "dump", "file", btf.PATH], capture_output=True, check=True
    )
    expected = {
        one["name"]: Struct(
            one["size"],
            tuple(
                Member(
                    # As bpftool calls what has no name.
                    member["name"].replace("(anon)", ""),
                    member["bits_offset"],
                    member["type_id"],
                    member.get("bitfield_size", 0),
                )
                for member in one["members"]
            ),
        )
        for one in json.loads(dump.stdout)["types"]
        if one["kind"] == "STRUCT" and one["name"] in names
    }
    assert {"list_head", "kobject", "completion"} <= set(expected)
    assert btf.read_structs(names) == expected
