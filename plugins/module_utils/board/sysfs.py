# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a kernel shows of itself in /sys and /proc, livepatches first.

Standard library only; runs on the board.  See
Documentation/ABI/testing/sysfs-kernel-livepatch.  Every read is bounded, and a
file that isn't there is None: which files there are depends on the kernel's
version and configuration.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Iterator, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Livepatch,
    Object,
)

LIVEPATCH = "/sys/kernel/livepatch"
MODULE = "/sys/module"
MAX_READ = 1 << 20
# What sysfs gives at once. The kernel clears as much memory as is asked for, whatever a sysctl has.
PAGE = 4096
NT_GNU_BUILD_ID = 3


@dataclass(frozen=True)
class BlockingTask:
    """A task that a transition waits for: its stack, the innermost frame first."""

    pid: int
    tid: int
    comm: str
    stack: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """pid, tid, comm and the lines of the stack."""
        return dict(asdict(self), stack=list(self.stack))


def read_text(path: str) -> str | None:
    """The file's text without the blank at its end; None where it can't be read."""
    data = read_bytes(path)
    return None if data is None else data.decode("utf-8", "replace").rstrip("\0\n ")


def read_bytes(path: str) -> bytes | None:
    """The first MiB of the file; None where it can't be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return b"".join(islice(iter(lambda: file.read(PAGE), b""), MAX_READ // PAGE))
    except OSError:
        return None


def livepatch_names() -> list[str] | None:
    """The livepatches in /sys/kernel/livepatch; None where the kernel has none of it."""
    return _subdirectories(LIVEPATCH) if os.path.isdir(LIVEPATCH) else None


def read_livepatch(name: str) -> Livepatch | None:
    """A livepatch as sysfs shows it; None where it is gone.

    replace is None where sysfs does not show it (Linux 6.1, say); states
    and callbacks are never there.
    """
    directory = os.path.join(LIVEPATCH, name)
    enabled = read_text(os.path.join(directory, "enabled"))
    transition = read_text(os.path.join(directory, "transition"))
    if enabled is None or transition is None:
        return None
    replace = read_text(os.path.join(directory, "replace"))
    return Livepatch(
        name=name,
        replace=None if replace is None else replace == "1",
        states=None,
        objects=tuple(_object(directory, obj) for obj in _subdirectories(directory)),
        enabled=enabled == "1",
        transition=transition == "1",
        build_id=module_build_id(name),
        srcversion=read_text(os.path.join(MODULE, name, "srcversion")),
    )


def _object(directory: str, name: str) -> Object:
    path = os.path.join(directory, name)
    patched = read_text(os.path.join(path, "patched"))
    return Object(
        name=name,
        functions=tuple(_functions(path)),
        callbacks=None,
        patched=None if patched is None else patched == "1",
    )


def _functions(path: str) -> Iterator[Function]:
    for entry in _subdirectories(path):
        name, _comma, position = entry.rpartition(",")
        if name and position.isdigit():
            yield Function(name, int(position))


def stack_order(names: list[str]) -> list[str]:
    """The names in the order in which the kernel stacks them.

    By stack_order where sysfs has it, else by /proc/modules, which lists the
    youngest module first: a livepatch is enabled while its module is loaded.
    """
    orders = {name: read_text(os.path.join(LIVEPATCH, name, "stack_order")) for name in names}
    if all(order is not None and order.isdigit() for order in orders.values()):
        return sorted(names, key=lambda name: int(orders[name] or 0))
    modules = [line.split(" ", 1)[0] for line in (read_text("/proc/modules") or "").splitlines()]
    age = {name: index for index, name in enumerate(modules)}
    return sorted(names, key=lambda name: (-age.get(name, 0), name))


def leaving() -> list[str]:
    """Livepatches that are neither enabled nor in transition: on their way out of sysfs.

    The kernel frees them after `transition` reads 0, so they are seen for a
    moment, at its end without their files; klp_free_replaced_patches_async() in
    kernel/livepatch/core.c.
    """
    return [
        name
        for name in livepatch_names() or []
        if read_text(os.path.join(LIVEPATCH, name, "enabled")) != "1"
        and read_text(os.path.join(LIVEPATCH, name, "transition")) != "1"
    ]


def blocking_tasks(direction: str, limit: int = 1000) -> list[BlockingTask]:
    """Every task that has not reached the transition's goal yet.

    /proc/PID/task/TID/patch_state is -1 outside a transition, else 0
    (unpatched) or 1 (patched).
    """
    goal = "1" if direction == "patching" else "0"
    tasks: list[BlockingTask] = []
    for pid in _numbers("/proc"):
        for tid in _numbers("/proc/%d/task" % pid):
            task = "/proc/%d/task/%d/" % (pid, tid)
            if read_text(task + "patch_state") not in (None, "-1", goal):
                stack = (read_text(task + "stack") or "").splitlines()
                # Any task can give itself a name that a terminal would obey.
                comm = re.sub(r"[^ -~]", "?", read_text(task + "comm") or "")
                tasks.append(BlockingTask(pid, tid, comm, tuple(stack[:64])))
                if len(tasks) == limit:
                    return tasks
    return tasks


def task_names(tasks: Sequence[BlockingTask]) -> str:
    """The tasks as `comm[tid]`, the first five of them."""
    names = ", ".join("%s[%d]" % (task.comm, task.tid) for task in tasks[:5])
    return names + (" and %d tasks more" % (len(tasks) - 5) if len(tasks) > 5 else "")


def module_loaded(name: str) -> bool:
    """Whether a module of that name is loaded (built-in ones don't count)."""
    return os.path.exists(os.path.join(MODULE, name, "initstate"))


def leftover_livepatches(installed: list[str]) -> list[str]:
    """Livepatch modules that are loaded though their livepatch is gone: disabled or replaced.

    Told by the taint flag K (TAINT_LIVEPATCH), which stands last in /proc/modules.
    """
    modules = (line.split() for line in (read_text("/proc/modules") or "").splitlines())
    return sorted(
        name
        for name, *_rest, last in modules
        if last.startswith("(") and "K" in last and name not in installed
    )


def held_by_livepatching(name: str) -> bool:
    """Whether the kernel keeps its own reference to the module.

    It keeps that of a leftover for ever where a transition was forced, since a
    task may still be in the module's code; klp_force_transition() in
    kernel/livepatch/transition.c.
    """
    module = os.path.join(MODULE, name)
    referenced = read_text(os.path.join(module, "refcnt")) not in ("0", None)
    return referenced and not _subdirectories(os.path.join(module, "holders"))


def module_build_id(name: str) -> str | None:
    """The GNU build id of a loaded module, in hex."""
    data = read_bytes(os.path.join(MODULE, name, "notes", ".note.gnu.build-id"))
    return None if data is None else build_id(data)


def kernel_build_id() -> str | None:
    """The GNU build id of the running kernel, in hex."""
    data = read_bytes("/sys/kernel/notes")
    return None if data is None else build_id(data)


def build_id(notes: bytes) -> str | None:
    """The GNU build id among ELF notes (native byte order, 4-byte alignment), in hex."""
    offset = 0
    while offset + 12 <= len(notes):
        namesz, descsz, kind = struct.unpack_from("=III", notes, offset)
        name = offset + 12
        desc = name + (namesz + 3) // 4 * 4
        if desc + descsz > len(notes):
            return None
        if kind == NT_GNU_BUILD_ID and notes[name : name + namesz] == b"GNU\0" and descsz:
            return notes[desc : desc + descsz].hex()
        offset = desc + (descsz + 3) // 4 * 4
    return None


def lockdown() -> str | None:
    """none, integrity or confidentiality; None where the kernel has no lockdown."""
    match = re.search(r"\[(\w+)\]", read_text("/sys/kernel/security/lockdown") or "")
    return match.group(1) if match else None


def _subdirectories(path: str) -> list[str]:
    try:
        return sorted(
            entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=True)
        )
    except OSError:
        return []


def _numbers(path: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(path) if name.isdigit()]
    except OSError:
        return []
