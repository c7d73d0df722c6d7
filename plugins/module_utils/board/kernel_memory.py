# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The running kernel's own list of livepatches, read from /proc/kcore.

The truth, whoever loaded them.  Standard library only; runs on the board, as
root.  Whatever does not look as klp_layout says ends in KernelMemoryError, since a
later kernel may have changed it, and nothing is read before the kernel's own
description or its release says that it has not.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Callable

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import btf
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import (
    EXPECTED,
    FIRST_CHECKED,
    KLP_OBJECT_KOBJ_NAME,
    KLP_PATCH_KOBJ_NAME,
    KLP_PATCH_LIST,
    KLP_PATCH_OBJS,
    KLP_STATE_SIZE,
    LAST_CHECKED,
    MODULE_NAME,
    MODULE_NAME_LEN,
    Layout,
    Struct,
    difference,
    layout_of,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import CALLBACKS
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import SystemState

# No bound of the kernel's own: far beyond any real list, low enough to end soon.
MAX_PATCHES = 1024
MAX_STATES = 65536
MAX_OBJECTS = 4096
MAX_SEGMENTS = 65535
# For all of it: two readings of the longest array of states.  What is short costs a call, too.
MAX_BYTES = 4 * 1024 * 1024
LEAST_BYTES = 64
PAGE = 4096

ELFCLASS64 = 2
ET_CORE = 4
PT_LOAD = 1


class KernelMemoryError(Exception):
    """The list can't be read, or does not look as it must; the message says why."""


class LayoutError(KernelMemoryError):
    """This kernel's structures are others than klp_layout's, and so are its livepatch files'."""


@dataclass(frozen=True)
class KernelLivepatch:
    """A struct klp_patch as it stands in memory.

    address: of the structure; callbacks: for every object's name the callbacks
    it has, None where struct klp_object has not the expected layout.
    """

    address: int
    name: str
    replace: bool
    states: tuple[SystemState, ...]
    callbacks: dict[str, tuple[str, ...]] | None


class KernelMemory:
    """/proc/kcore: an ELF core file whose PT_LOAD segments are the kernel's memory."""

    def __init__(self, path: str = "/proc/kcore") -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelMemoryError("%s: %s" % (path, error.strerror)) from error
        try:
            self._read_headers(path)
        except BaseException:
            os.close(self._fd)
            raise
        self._left = MAX_BYTES

    def __enter__(self) -> KernelMemory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def _read_headers(self, path: str) -> None:
        header = self._pread(0, 64)
        if len(header) < 64 or header[:4] != b"\x7fELF" or header[4] != ELFCLASS64:
            raise KernelMemoryError("%s is not a 64-bit ELF core file" % path)
        self.byte_order = "<" if header[5] == 1 else ">"
        fields = struct.unpack_from(self.byte_order + "HHIQQQIHHHHHH", header, 16)
        e_type, e_phoff, e_phentsize, e_phnum = fields[0], fields[4], fields[8], fields[9]
        if e_type != ET_CORE or e_phentsize != 56 or e_phnum > MAX_SEGMENTS:
            raise KernelMemoryError("%s has not the headers of an ELF core file" % path)
        table = self._pread(e_phoff, e_phentsize * e_phnum)
        if len(table) != e_phentsize * e_phnum:
            raise KernelMemoryError("%s is truncated" % path)
        # p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
        self._segments = [
            (entry[3], entry[5], entry[2])
            for entry in struct.iter_unpack(self.byte_order + "IIQQQQQQ", table)
            if entry[0] == PT_LOAD
        ]

    def read(self, address: int, size: int) -> bytes:
        """That many bytes at that virtual address.

        Raises KernelMemoryError, also where more has been read than any real
        list has: the arrays of a corrupt one are each within bounds, not their product.
        """
        self._left -= max(size, LEAST_BYTES)
        if self._left < 0:
            raise KernelMemoryError(
                "the kernel's list of livepatches has more than %d MiB" % (MAX_BYTES >> 20)
            )
        for start, length, offset in self._segments:
            if start <= address and address + size <= start + length:
                data = self._pread(offset + address - start, size)
                if len(data) == size:
                    return data
        raise KernelMemoryError("kernel memory at a pointer of the list can't be read")

    def read_pointers(self, address: int, count: int) -> tuple[int, ...]:
        """Consecutive unsigned longs, 8 bytes each."""
        return struct.unpack("%s%dQ" % (self.byte_order, count), self.read(address, 8 * count))

    def read_string(self, address: int, size: int) -> str:
        """A NUL-terminated string of fewer than `size` bytes; it may end before the next page."""
        first = min(size, PAGE - address % PAGE)
        data = self.read(address, first)
        if b"\0" not in data and first < size:
            data += self.read(address + first, size - first)
        if b"\0" not in data:
            raise KernelMemoryError("a name in kernel memory does not end")
        return data.split(b"\0", 1)[0].decode("ascii", "replace")

    def _pread(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, offset)
        except (OSError, OverflowError) as error:
            raise KernelMemoryError("/proc/kcore can't be read: %s" % error) from error


def find_klp_patches(path: str = "/proc/kallsyms") -> int:
    """The address of the list head klp_patches (kernel/livepatch/core.c).

    Raises KernelMemoryError where the kernel does not show it: kptr_restrict=2,
    or no CONFIG_LIVEPATCH.  Costs half a second on a slow board, so keep it.
    """
    wanted = b" klp_patches\n"
    try:
        with open(path, "rb", buffering=0) as kallsyms:
            rest = b""
            while True:
                chunk = kallsyms.read(1 << 16)
                data = rest + chunk
                end = data.find(wanted)
                if end >= 0:
                    line = data[data.rfind(b"\n", 0, end) + 1 : end]
                    address = int(line.split()[0], 16)
                    break
                if not chunk:
                    raise KernelMemoryError("%s does not name klp_patches" % path)
                rest = data[data.rfind(b"\n") + 1 :]
    except (OSError, ValueError, IndexError) as error:
        raise KernelMemoryError("%s can't be read: %s" % (path, error)) from error
    if address == 0:
        raise KernelMemoryError("%s hides the address of klp_patches (kernel.kptr_restrict)" % path)
    return address


def find_layout(store: BootStore, release: tuple[int, int]) -> Layout:
    """The layout that this kernel is known to have.

    From its BTF, which is kept for the boot; where it has none, by its release.
    Raises LayoutError where BTF tells of another layout, and KernelMemoryError
    where nothing tells of any.
    """
    try:
        structs = _described(store)
    except btf.BtfError as error:
        raise KernelMemoryError("the kernel's layout can't be proved: %s" % error) from error
    if structs is None:
        if FIRST_CHECKED <= release <= LAST_CHECKED:
            return Layout()
        raise KernelMemoryError(
            "the kernel's layout can't be proved: it has no BTF, and is not of Linux %d.%d to %d.%d"
            % (*FIRST_CHECKED, *LAST_CHECKED)
        )
    why = difference(structs)
    if why is not None:
        raise LayoutError(why)
    return layout_of(structs)


def _described(store: BootStore) -> dict[str, Struct] | None:
    kept = store.get("btf")
    if isinstance(kept, dict) and "structs" in kept:
        try:
            return btf.from_json(kept["structs"])
        except ValueError:
            pass
    structs = btf.read_structs(EXPECTED)
    store.put("btf", {"structs": btf.to_json(structs)})
    return structs


def read_livepatches(
    memory: KernelMemory,
    klp_patches: int,
    token: Callable[[int], str | None],
    layout: Layout | None = None,
) -> list[KernelLivepatch]:
    """Every livepatch on the kernel's list, in stack order.

    klp_patches: the list head's address; token: makes a data pointer opaque;
    layout: the usual one by default.  The list is walked without the kernel's
    lock, so it is read again until two readings agree.  Raises KernelMemoryError
    where it is corrupt or keeps changing, and LayoutError where a structure has
    not its layout.
    """
    layout = layout or Layout()
    error = KernelMemoryError("the kernel's list of livepatches keeps changing")
    previous = None
    for _attempt in range(5):
        try:
            current = [
                _read_livepatch(memory, address, layout) for address in _walk(memory, klp_patches)
            ]
        except KernelMemoryError as reason:
            previous, error = None, reason
            continue
        if current == previous:
            return [patch.shown(token) for patch in current]
        previous = current
    raise error


def _walk(memory: KernelMemory, head: int) -> list[int]:
    addresses: list[int] = []
    node = head
    following, last = memory.read_pointers(head, 2)
    while following != head:
        if len(addresses) == MAX_PATCHES:
            raise KernelMemoryError(
                "the kernel's list of livepatches does not end within %d entries" % MAX_PATCHES
            )
        after, before = memory.read_pointers(following, 2)
        if before != node:
            raise KernelMemoryError("the kernel's list of livepatches is corrupt or changing")
        addresses.append(following - KLP_PATCH_LIST)
        node, following = following, after
    if last != node:
        raise KernelMemoryError("the kernel's list of livepatches is corrupt or changing")
    return addresses


@dataclass(frozen=True)
class _Patch:
    address: int
    name: str
    replace: bool
    # id, version, address of the data
    states: tuple[tuple[int, int, int], ...]
    callbacks: dict[str, tuple[str, ...]] | None

    def shown(self, token: Callable[[int], str | None]) -> KernelLivepatch:
        states = (SystemState(id, version, token(data)) for id, version, data in self.states)
        return KernelLivepatch(self.address, self.name, self.replace, tuple(states), self.callbacks)


def _read_livepatch(memory: KernelMemory, address: int, layout: Layout) -> _Patch:
    patch = memory.read(address, KLP_PATCH_KOBJ_NAME + 8)
    objs, states, replace, padding = struct.unpack_from(
        memory.byte_order + "QQB7s", patch, KLP_PATCH_OBJS
    )
    (name,) = struct.unpack_from(memory.byte_order + "Q", patch, KLP_PATCH_KOBJ_NAME)
    kobj_name = memory.read_string(name, MODULE_NAME_LEN)
    if replace > 1 or any(padding) or not MODULE_NAME.match(kobj_name):
        raise _unlike("klp_patch")
    return _Patch(
        address=address,
        name=kobj_name,
        replace=bool(replace),
        states=tuple(_read_states(memory, states)) if states else (),
        callbacks=_read_callbacks(memory, objs, layout.object_size),
    )


def _read_states(memory: KernelMemory, address: int) -> list[tuple[int, int, int]]:
    states: list[tuple[int, int, int]] = []
    entries = struct.Struct(memory.byte_order + "QI4sQ")
    while len(states) < MAX_STATES:
        at = address + len(states) * KLP_STATE_SIZE
        # Nothing behind the page that the array ends in, and little behind a short array.
        fit = (PAGE - at % PAGE) // KLP_STATE_SIZE
        count = max(1, min(fit, max(4, len(states)), MAX_STATES - len(states)))
        for id, version, padding, data in entries.iter_unpack(
            memory.read(at, count * KLP_STATE_SIZE)
        ):
            if id == 0:
                return states
            # The compiler clears what lies between the fields; a longer field does not leave it so.
            if any(padding):
                raise _unlike("klp_state")
            states.append((id, version, data))
    raise KernelMemoryError("an array of system states does not end within %d" % MAX_STATES)


def _read_callbacks(
    memory: KernelMemory, address: int, stride: int
) -> dict[str, tuple[str, ...]] | None:
    """None where the array's stride is another one (CONFIG_DEBUG_KOBJECT_RELEASE, without BTF).

    Every object's kobject has the object's name, and lies behind the callbacks.
    """
    callbacks: dict[str, tuple[str, ...]] = {}
    for index in range(MAX_OBJECTS):
        try:
            words = memory.read_pointers(address + index * stride, KLP_OBJECT_KOBJ_NAME // 8 + 1)
            if not any(words):
                return callbacks
            name, funcs, *pointers, _enabled, kobj_name = words
            object_name = memory.read_string(name, MODULE_NAME_LEN) if name else "vmlinux"
            if not funcs or memory.read_string(kobj_name, MODULE_NAME_LEN) != object_name:
                raise _unlike("klp_object")
        except KernelMemoryError:
            # The first is where it must be, whatever the stride.
            if index == 0:
                raise
            return None
        callbacks[object_name] = tuple(
            kind for kind, pointer in zip(CALLBACKS, pointers) if pointer
        )
    return None


def _unlike(name: str) -> LayoutError:
    return LayoutError(
        "struct %s has not the layout known from Linux %d.%d to %d.%d"
        % (name, *FIRST_CHECKED, *LAST_CHECKED)
    )
