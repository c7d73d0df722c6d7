# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the kernel's list: what is there is found, and what can't be a list ends in an error.

The core files here are written by hand, so that they can be corrupt in ways
that no running kernel is; the lab's boards read their real /proc/kcore.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.kernel_memory import (
    KernelMemory,
    KernelMemoryError,
    find_klp_patches,
    read_livepatches,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import SystemState

BASE = 0xFFFF800080000000
HEAD = BASE + 0x100
PAGE = 0x2000


class Image:
    """Kernel memory to be, from BASE on."""

    def __init__(self, order="<"):
        self.order = order
        self.memory = bytearray(64 * 1024)
        self.link([HEAD])

    def put(self, address, layout, *values):
        struct.pack_into(self.order + layout, self.memory, address - BASE, *values)

    def string(self, address, text):
        self.memory[address - BASE : address - BASE + len(text) + 1] = text.encode() + b"\0"

    def link(self, nodes):
        for node, following in zip(nodes, [*nodes[1:], nodes[0]]):
            self.put(node, "Q", following)
            self.put(following + 8, "Q", node)

    def patch(self, number, name, replace, states, objects=()):
        address = BASE + number * PAGE
        self.string(address + 0x400, name)
        self.put(address, "QQQB", 1, address + 0x500, address + 0x800 if states else 0, replace)
        self.put(address + 48, "Q", address + 0x400)
        for index, (id, version, data) in enumerate(states):
            self.put(address + 0x800 + 24 * index, "QI4xQ", id, version, data)
        for index, (text, callbacks) in enumerate(objects):
            pointer = address + 0x1000 + 64 * index if text else 0
            if text:
                self.string(pointer, text)
            self.put(address + 0x500 + 168 * index, "QQ4Q", pointer, 1, *callbacks)
        return address + 32

    def core(self, path, segments=None):
        header = bytearray(64)
        header[:7] = b"\x7fELF\x02" + (b"\x01" if self.order == "<" else b"\x02") + b"\x01"
        segments = segments or [(1, 4096, BASE, len(self.memory))]
        struct.pack_into(
            self.order + "HHIQQQIHHHHHH",
            header,
            16,
            4,
            183,
            1,
            0,
            64,
            0,
            0,
            64,
            56,
            len(segments),
            0,
            0,
            0,
        )
        for p_type, p_offset, p_vaddr, p_filesz in segments:
            header += struct.pack(
                self.order + "IIQQQQQQ", p_type, 6, p_offset, p_vaddr, 0, p_filesz, p_filesz, 4096
            )
        path.write_bytes(bytes(header).ljust(4096, b"\0") + self.memory)
        return str(path)

    def read(self, path):
        with KernelMemory(self.core(path)) as memory:
            return read_livepatches(memory, HEAD, lambda data: "%x" % data if data else None)


@pytest.fixture
def core(tmp_path):
    return tmp_path / "kcore"


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_list_is_read_in_stack_order_with_states_replace_and_callbacks(core, order):
    image = Image(order)
    first = image.patch(1, "fixes_1", 1, [(1, 1, 0xABC), (2**64 - 1, 2**32 - 1, 0)])
    second = image.patch(2, "extra", 0, [], [("", (1, 0, 0, 1)), ("blocker", (0, 0, 0, 0))])
    image.link([HEAD, first, second])
    one, two = image.read(core)
    assert (one.name, one.replace) == ("fixes_1", True)
    assert one.states == (SystemState(1, 1, "abc"), SystemState(2**64 - 1, 2**32 - 1, None))
    assert (two.name, two.replace, two.states) == ("extra", False, ())
    assert two.callbacks == {"vmlinux": ("pre_patch", "post_unpatch"), "blocker": ()}


def test_an_empty_list_is_empty(core):
    assert Image().read(core) == []


def test_a_list_that_bites_its_tail_ends_in_an_error(core):
    image = Image()
    first, second = image.patch(1, "a", 1, []), image.patch(2, "b", 1, [])
    image.link([HEAD, first, second])
    image.put(second, "Q", first)
    with pytest.raises(KernelMemoryError, match="corrupt or changing"):
        image.read(core)


def test_a_list_without_end_ends_in_an_error(core):
    image = Image()
    nodes = [BASE + 0x2000 + 16 * index for index in range(1100)]
    image.link([HEAD, *nodes])
    with pytest.raises(KernelMemoryError, match="does not end within 1024"):
        image.read(core)


def test_an_array_of_states_without_end_ends_in_an_error(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 1, [(1, 1, 0)])])
    image.memory[PAGE + 0x800 :] = b"\x01" * (len(image.memory) - PAGE - 0x800)
    with pytest.raises(KernelMemoryError):
        image.read(core)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 70, "naïve"])
def test_what_has_no_module_name_is_no_livepatch(core, name):
    image = Image()
    image.link([HEAD, image.patch(1, name, 1, [])])
    with pytest.raises(KernelMemoryError):
        image.read(core)


def test_a_replace_that_is_no_bool_means_another_layout(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 7, [])])
    with pytest.raises(KernelMemoryError, match="layout"):
        image.read(core)


def test_an_object_array_of_another_stride_leaves_the_callbacks_unknown(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 1, [])])
    image.put(BASE + PAGE + 0x500 + 168, "Q", 0xDEAD)
    image.put(BASE + PAGE + 0x500, "QQ", 0, 1)
    (patch,) = image.read(core)
    assert patch.callbacks is None


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_in_memory_ends_in_a_list_or_an_error(tmp_path_factory, data):
    image = Image()
    nodes = [image.patch(n, "p%d" % n, 1, [(1, n, 0)]) for n in (1, 2)]
    image.link([HEAD, *nodes])
    for _change in range(data.draw(st.integers(1, 8))):
        offset = data.draw(st.sampled_from([0x100, PAGE, PAGE + 0x800, 2 * PAGE, PAGE + 0x500]))
        offset += data.draw(st.integers(0, 199))
        image.memory[offset] = data.draw(st.integers(0, 255))
    try:
        patches = image.read(tmp_path_factory.getbasetemp() / "fuzzed")
    except KernelMemoryError:
        return
    assert len(patches) <= 2


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not a core file" * 10, b"\x7fELF\x01" * 20])
def test_what_is_no_core_file_is_refused(core, content):
    core.write_bytes(content)
    with pytest.raises(KernelMemoryError):
        KernelMemory(str(core))


def test_a_missing_core_file_is_refused_with_the_reason(core):
    with pytest.raises(KernelMemoryError, match="No such file"):
        KernelMemory(str(core))


def test_the_list_head_is_found_in_kallsyms(tmp_path):
    kallsyms = tmp_path / "kallsyms"
    lines = ["ffff80008%07x t filler_%d" % (n, n) for n in range(5000)]
    lines.insert(4000, "ffff8000819f1000 b klp_patches_other")
    lines.insert(4001, "ffff8000819f2d40 d klp_patches")
    lines.insert(4002, "ffff8000819f3000 d klp_patches\t[a_module]")
    kallsyms.write_text("\n".join(lines) + "\n")
    assert find_klp_patches(str(kallsyms)) == 0xFFFF8000819F2D40


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0000000000000000 d klp_patches\n", "kptr_restrict"),
        ("ffff8000819f2d40 d other\n", "does not name"),
        ("gibberish d klp_patches\n", "can't be read"),
    ],
)
def test_an_address_that_kallsyms_does_not_show_is_an_error(tmp_path, line, words):
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_text(line)
    with pytest.raises(KernelMemoryError, match=words):
        find_klp_patches(str(kallsyms))
