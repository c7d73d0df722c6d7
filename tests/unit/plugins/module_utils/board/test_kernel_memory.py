# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the kernel's list: what is there is found, and what can't be a list ends in an error.

The core files here are written by hand, so that they can be corrupt in ways
that no running kernel is; the lab's boards read their real /proc/kcore.
"""

from __future__ import annotations

import json
import os
import struct
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import (
    btf,
    installed,
    sysfs,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.kernel_memory import (
    MAX_STATES,
    KernelLivepatch,
    KernelMemory,
    KernelMemoryError,
    LayoutError,
    find_klp_patches,
    find_layout,
    read_livepatches,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import (
    EXPECTED,
    KLP_OBJECT_SIZE,
    KLP_PATCH_SIZE,
    KLP_STATE_SIZE,
    Layout,
    Member,
    Struct,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)

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

    def patch(self, number, name, replace, states, objects=(), stride=168):
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
            kobj_name = address + 0x1800 + 64 * index
            self.string(kobj_name, text or "vmlinux")
            func_list = address + 0x500 + stride * (index + 1) - 48
            self.put(func_list, "QQ", func_list, func_list)
            self.put(
                address + 0x500 + stride * index, "QQ4QQQ", pointer, 1, *callbacks, 0, kobj_name
            )
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

    def read(self, path, layout=None):
        with KernelMemory(self.core(path)) as memory:
            return read_livepatches(
                memory, HEAD, lambda data: "%x" % data if data else None, layout
            )


def usual():
    """What BTF says of a kernel with today's layout."""
    sizes = {
        "klp_patch": KLP_PATCH_SIZE,
        "klp_state": KLP_STATE_SIZE,
        "klp_object": KLP_OBJECT_SIZE,
        "klp_func": 152,
        "klp_callbacks": 40,
    }
    structs = {
        name: Struct(
            sizes[name],
            tuple(
                Member(member, 8 * offset, 3 if member == "replace" else 1)
                for member, offset in members.items()
            ),
        )
        for name, members in EXPECTED.items()
    }
    patch = structs["klp_patch"]
    flags = (Member("enabled", 8 * 128, 3), Member("forced", 8 * 129, 3))
    return {**structs, "klp_patch": Struct(patch.size, patch.members + flags)}


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


OBJECTS = [("", (1, 0, 0, 1)), ("blocker", (0, 1, 0, 0))]


def test_an_object_array_of_another_stride_leaves_the_callbacks_unknown(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 1, [(1, 1, 0)], OBJECTS, stride=232)])
    (patch,) = image.read(core)
    assert patch.callbacks is None
    assert patch.states == (SystemState(1, 1, None),)


def test_the_stride_of_the_layout_is_taken(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 1, [], OBJECTS, stride=232)])
    (patch,) = image.read(core, layout=Layout(object_size=232))
    assert patch.callbacks == {"vmlinux": ("pre_patch", "post_unpatch"), "blocker": ("post_patch",)}


def test_an_object_without_callbacks_means_another_layout(core):
    # Its kobject follows `funcs` at once, and where callbacks were are the kobject's pointers.
    image = Image()
    image.link([HEAD, image.patch(1, "a", 1, [])])
    objs = BASE + PAGE + 0x500
    image.string(BASE + PAGE + 0x1800, "vmlinux")
    image.put(objs, "QQQ5Q", 0, 1, BASE + PAGE + 0x1800, *[BASE + PAGE] * 5)
    with pytest.raises(LayoutError, match="klp_object has not the layout"):
        image.read(core)


def test_a_replace_longer_than_a_byte_means_another_layout(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 0, [])])
    image.put(BASE + PAGE + 24, "I", 0x100)
    with pytest.raises(LayoutError, match="klp_patch has not the layout"):
        image.read(core)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pointer_where_the_version_was_means_another_layout(core, order):
    image = Image(order)
    image.link([HEAD, image.patch(1, "a", 1, [(1, 1, 0)])])
    image.put(BASE + PAGE + 0x808, "Q", BASE + 0x10)
    with pytest.raises(LayoutError, match="klp_state has not the layout"):
        image.read(core)


def test_an_array_of_states_may_end_with_the_memory(core):
    image = Image()
    image.link([HEAD, image.patch(1, "a", 1, [(1, 1, 0)])])
    count = 200
    states = BASE + len(image.memory) - 24 * (count + 1)
    image.put(BASE + PAGE + 16, "Q", states)
    for index in range(count):
        image.put(states + 24 * index, "QI4xQ", index + 1, 2, 0)
    (patch,) = image.read(core)
    assert [state.id for state in patch.states] == list(range(1, count + 1))


def many(patches, states):
    """A corrupt kernel: that many livepatches, all of which point to one long array of states."""
    image = Image()
    image.memory = bytearray((patches + 2) * PAGE + 24 * (states + 1))
    array = BASE + (patches + 2) * PAGE
    for index in range(states):
        image.put(array + 24 * index, "QI4xQ", index + 1, 1, index)
    nodes = [
        image.patch(number, "p%d" % number, 1, [(1, 1, 0)]) for number in range(1, patches + 1)
    ]
    for node in nodes:
        image.put(node - 16, "Q", array)
    image.link([HEAD, *nodes])
    return image


def test_the_longest_array_of_states_is_read(core):
    (patch,) = many(1, MAX_STATES - 1).read(core)
    assert len(patch.states) == MAX_STATES - 1


def test_what_no_real_list_has_is_not_read(core):
    image = many(8, MAX_STATES - 1)
    start = time.process_time()
    with pytest.raises(KernelMemoryError, match="more than 4 MiB"):
        image.read(core)
    assert time.process_time() - start < 1


class Store(dict):
    """A BootStore in memory."""

    def put(self, name, value):
        self[name] = json.loads(json.dumps(value))


@pytest.mark.parametrize("release", [(5, 5), (6, 1), (7, 3)])
def test_without_btf_the_releases_that_were_read_are_believed(monkeypatch, release):
    monkeypatch.setattr(btf, "read_structs", lambda names: None)
    assert find_layout(Store(), release) == Layout()


@pytest.mark.parametrize("release", [(5, 4), (7, 4), (8, 0)])
def test_without_btf_no_other_release_is_believed(monkeypatch, release):
    monkeypatch.setattr(btf, "read_structs", lambda names: None)
    with pytest.raises(KernelMemoryError, match="no BTF, and is not of Linux 5.5 to 7.3"):
        find_layout(Store(), release)


def test_btf_that_agrees_is_believed_whatever_the_release_and_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(btf, "read_structs", lambda names: read.append(1) or usual())
    store = Store()
    assert [find_layout(store, (9, 0)) for _run in range(2)] == [Layout()] * 2
    assert read == [1]


def test_that_there_is_no_btf_is_kept_too(monkeypatch):
    read = []
    monkeypatch.setattr(btf, "read_structs", lambda names: read.append(1))
    store = Store()
    assert [find_layout(store, (6, 1)) for _run in range(2)] == [Layout()] * 2
    assert read == [1]


@pytest.mark.parametrize(
    "kept", [3, {}, {"structs": 7}, {"structs": {"klp_patch": [1, [["mod"]]]}}]
)
def test_what_is_kept_and_makes_no_sense_is_read_again(monkeypatch, kept):
    monkeypatch.setattr(btf, "read_structs", lambda names: usual())
    assert find_layout(Store(btf=kept), (6, 1)) == Layout()


def test_btf_that_differs_is_another_layout(monkeypatch):
    monkeypatch.setattr(btf, "read_structs", lambda names: {**usual(), "klp_state": Struct(64, ())})
    with pytest.raises(LayoutError, match="in this kernel struct klp_state has no id, version and"):
        find_layout(Store(), (6, 1))


def test_damaged_btf_proves_nothing(monkeypatch):
    def damaged(names):
        raise btf.BtfError("it is damaged")

    monkeypatch.setattr(btf, "read_structs", damaged)
    with pytest.raises(KernelMemoryError, match="can't be proved: it is damaged") as error:
        find_layout(Store(), (6, 1))
    assert not isinstance(error.value, LayoutError)


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


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """A board with one livepatch in sysfs, whose states this collection has recorded."""
    directory = tmp_path / "livepatch" / "fixes_1"
    directory.mkdir(parents=True)
    for name, text in (("enabled", "1"), ("transition", "0")):
        (directory / name).write_text(text)
    recorded = Livepatch("fixes_1", True, (SystemState(1, 1, None),), (), build_id="aa")
    monkeypatch.setattr(sysfs, "LIVEPATCH", str(tmp_path / "livepatch"))
    monkeypatch.setattr(sysfs, "module_build_id", lambda name: "aa")
    monkeypatch.setattr(installed, "records", lambda store: [recorded])
    monkeypatch.setattr(btf, "read_structs", lambda names: None)
    return directory


def source_of_states(release="6.1.0"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
        (livepatch,), source, why = installed._installed(Store(), ())
    return livepatch.states, source, why


def test_a_release_that_nothing_is_known_of_leaves_the_record(shown):
    states, source, why = source_of_states("9.9.1")
    assert (states, source) == ((SystemState(1, 1, None),), "record")
    assert "can't be proved: it has no BTF, and is not of Linux 5.5 to 7.3" in why


def test_replace_set_in_sysfs_leaves_nothing(shown):
    (shown / "replace_set").write_text("0\n")
    states, source, why = source_of_states()
    assert (states, source) == (None, "unknown")
    assert why == (
        "the kernel's own list of livepatches can't be read: in this kernel a livepatch has "
        "replace_set instead of replace"
    )


def test_another_layout_in_btf_leaves_nothing(shown, monkeypatch):
    monkeypatch.setattr(btf, "read_structs", lambda names: {**usual(), "klp_state": Struct(64, ())})
    assert source_of_states()[:2] == (None, "unknown")


def test_a_replace_that_sysfs_shows_otherwise_is_not_believed(shown, monkeypatch):
    listed = [KernelLivepatch(BASE, "fixes_1", False, (), {})]
    monkeypatch.setattr(installed, "_kernel_list", lambda store: listed)
    assert source_of_states()[1] == "kernel"
    (shown / "replace").write_text("1\n")
    assert source_of_states()[1] == "record"
