# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is installed on this board, each answer from the best source that it offers.

Runs on the board, standard library only.  The sources, best first: the kernel's
own list (kernel), what this collection loaded (record), the file of the loaded
build as inspected on the controller (file), else unknown.
"""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Iterable, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import kernel_memory, sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.kernel_memory import (
    KernelLivepatch,
    KernelMemory,
    KernelMemoryError,
    LayoutError,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.records import records
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.wait import wait_until
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import (
    SOURCES,
    Board,
    transition_of,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
    MAX_FILES,
    FromController,
    Needs,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch

MODULE_FILE = re.compile(r"(.+)\.ko(\.(xz|zst|gz))?\Z")


def read_board(store: BootStore, known: Iterable[Livepatch] = ()) -> Board:
    """Everything that the gate and livepatch_info need to know of this board.

    known: livepatches out of files that may be builds of what is loaded, used
    where neither the kernel's list nor the record tells.
    """
    uname = os.uname()
    names = sysfs.livepatch_names()
    reasons = () if names is not None else tuple(_why_unsupported(uname.release, uname.machine))
    patches, source, why = _installed(store, known) if names is not None else ((), "kernel", None)
    leftover = tuple(sysfs.leftover_livepatches(names or []))
    return Board(
        kernel_release=uname.release,
        arch=uname.machine,
        kernel_build_id=sysfs.kernel_build_id(),
        supported=names is not None,
        system_states=names is not None and _tracks_system_states(),
        reasons=reasons if why is None else (*reasons, why),
        model=sysfs.read_text("/proc/device-tree/model"),
        compatible=tuple(
            (sysfs.read_text("/proc/device-tree/compatible") or "").split("\0")
            if os.path.exists("/proc/device-tree/compatible")
            else ()
        ),
        patches=tuple(patches),
        states_source=source,
        transition=transition_of(patches),
        leftover=leftover,
        modules_disabled=sysfs.read_text("/proc/sys/kernel/modules_disabled") == "1",
        signatures_enforced=_signatures_enforced(),
        forced=tuple(name for name in leftover if not _can_be_removed(name)),
    )


def files_needed(board: Board, told: FromController, beside: str | None) -> dict[str, Any]:
    """`_needs`, where states are unknown and the controller has not looked for the files yet."""
    unknown = [patch for patch in board.patches if patch.states is None]
    if not unknown or told.known is not None:
        return {}
    needs = Needs(
        known=True,
        builds=tuple(patch.build_id for patch in unknown if patch.build_id),
        paths=tuple(module_files([patch.name for patch in unknown], beside)),
    )
    return {"_needs": needs.to_json()}


def module_files(names: Iterable[str], beside: str | None = None) -> list[str]:
    """The files on this board that may be modules of those names, 16 at most.

    Among the running kernel's modules, and then in the directory of the file
    `beside`, where others may have put files in the way.
    """
    wanted = set(names)
    trees = islice(os.walk(os.path.dirname(beside)), 1) if beside is not None else iter(())
    found = (
        os.path.join(directory, file)
        for directory, _directories, files in chain(
            os.walk("/lib/modules/%s" % os.uname().release), trees
        )
        for file in files
        if _is_module_of(wanted, file) and _is_regular(os.path.join(directory, file))
    )
    return list(islice(found, MAX_FILES))


def _is_module_of(wanted: set[str], file: str) -> bool:
    match = MODULE_FILE.match(file)
    return match is not None and match.group(1).replace("-", "_") in wanted


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _installed(
    store: BootStore, files: Iterable[Livepatch]
) -> tuple[Sequence[Livepatch], str, str | None]:
    """The livepatches in stack order, the source of their states, and why it isn't the kernel."""
    shown = _shown_in_sysfs()
    if not shown:
        return (), "kernel", None
    if not _tracks_system_states():
        patches = [replace(shown[name], states=()) for name in sysfs.stack_order(list(shown))]
        return patches, "kernel", None
    try:
        return _listed_by_the_kernel(store), "kernel", None
    except KernelMemoryError as error:
        why = "the kernel's own list of livepatches can't be read: %s" % error
        # What was read from a file of such a kernel's was read wrong as well.
        trusted = not isinstance(error, LayoutError)
    recorded, files = (list(records(store)), list(files)) if trusted else ([], [])
    known = [
        _from_other_sources(shown[name], recorded, files) for name in sysfs.stack_order(list(shown))
    ]
    least = max((source for _patch, source in known), key=SOURCES.index)
    return [patch for patch, _source in known], least, why


def _listed_by_the_kernel(store: BootStore) -> list[Livepatch]:
    # A livepatch may come or go between the two readings.
    for attempt in range(5):
        time.sleep(0.02 * attempt)
        listed = _kernel_list(store)
        shown = _shown_in_sysfs()
        if {patch.name for patch in listed} == set(shown) and all(
            shown[patch.name].replace in (None, patch.replace) for patch in listed
        ):
            return [_merge(shown[patch.name], patch) for patch in listed]
    raise KernelMemoryError("the kernel's list of livepatches and sysfs do not agree")


def _shown_in_sysfs() -> dict[str, Livepatch]:
    shown = (sysfs.read_livepatch(name) for name in sysfs.livepatch_names() or [])
    return {patch.name: patch for patch in shown if patch and (patch.enabled or patch.transition)}


def _kernel_list(store: BootStore) -> list[KernelLivepatch]:
    layout = kernel_memory.find_layout(store, _kernel_version(os.uname().release))
    for name in sysfs.livepatch_names() or []:
        if os.path.exists(os.path.join(sysfs.LIVEPATCH, name, "replace_set")):
            raise LayoutError("in this kernel a livepatch has replace_set instead of replace")
    address = store.get("klp_patches")
    with KernelMemory() as memory:
        if not isinstance(address, int):
            address = kernel_memory.find_klp_patches()
            store.put("klp_patches", address)
        return kernel_memory.read_livepatches(memory, address, store.token, layout)


def _merge(shown: Livepatch, listed: KernelLivepatch) -> Livepatch:
    # An object that only the transition added (the kernel's nops) has no callbacks.
    objects = tuple(
        replace(
            obj, callbacks=None if listed.callbacks is None else listed.callbacks.get(obj.name, ())
        )
        for obj in shown.objects or ()
    )
    return replace(shown, replace=listed.replace, states=listed.states, objects=objects)


def _from_other_sources(
    shown: Livepatch, recorded: Sequence[Livepatch], files: Sequence[Livepatch]
) -> tuple[Livepatch, str]:
    for source, known in (("record", recorded), ("file", files)):
        for patch in known:
            if patch.name == shown.name and patch.build_id and patch.build_id == shown.build_id:
                is_cumulative = patch.replace if shown.replace is None else shown.replace
                merged = replace(shown, replace=is_cumulative, states=patch.states)
                if merged.states is not None:
                    return merged, source
    return shown, "unknown"


def _why_unsupported(release: str, arch: str) -> Iterable[str]:
    yield (
        "there is no /sys/kernel/livepatch: the running kernel %s (%s) was built without "
        "CONFIG_LIVEPATCH" % (release, arch)
    )
    if arch == "aarch64":
        # Debian's have all that LIVEPATCH needs, and leave it unset.
        old = _kernel_version(release) < (6, 17)
        yield (
            "arm64 kernels have livepatching from Linux 6.17"
            if old
            else "this one could have it: build it with CONFIG_LIVEPATCH=y"
        )
    elif not arch.endswith("64") and not arch.startswith(("ppc64", "s390x")):
        yield "32-bit kernels have no livepatching"


def _tracks_system_states() -> bool:
    """struct klp_state came with Linux 5.5; an older struct klp_patch has no states."""
    return _kernel_version(os.uname().release) >= (5, 5)


def _kernel_version(release: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def _can_be_removed(leftover: str) -> bool:
    # The last reference is put a moment after the livepatch has left sysfs.
    return wait_until(lambda: not sysfs.held_by_livepatching(leftover), 1.0)


def _signatures_enforced() -> bool:
    """Lockdown of either level takes signed modules only (security/lockdown, 5.4 and later)."""
    enforced = sysfs.read_text("/sys/module/module/parameters/sig_enforce") == "Y"
    return enforced or sysfs.lockdown() not in (None, "none")
