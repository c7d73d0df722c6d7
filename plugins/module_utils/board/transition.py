# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load, disable, reverse, force and remove a livepatch, and wait for the transition's end.

Runs on the board as root, standard library only.  The kernel's side is
kernel/livepatch/transition.c and Documentation/livepatch/livepatch.rst.
"""

from __future__ import annotations

import errno
import os
import re
import time
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.sysfs import (
    BlockingTask,
)

# A module's last reference is put by a work item, shortly after its livepatch
# has left sysfs: klp_free_patch_work_fn() in kernel/livepatch/core.c.
RELEASE_TIMEOUT = 10.0
MAX_LOG_LINES = 1000


@dataclass(frozen=True)
class TransitionResult:
    """How a transition went.

    outcome: completed, reversed, forced, stalled or none; direction: patching
    or unpatching, None where there was none; seconds: how long it took;
    blocking: the tasks that held it up when the timeout was over.
    """

    outcome: str = "none"
    direction: str | None = None
    seconds: float = 0.0
    blocking: tuple[BlockingTask, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The `transition` that the module livepatch returns."""
        return {
            "outcome": self.outcome,
            "direction": self.direction,
            "seconds": round(self.seconds, 3),
            "blocking": [task.to_json() for task in self.blocking],
        }


class KernelLog:
    """What the kernel prints from now on, read from /dev/kmsg."""

    def __init__(self) -> None:
        try:
            self._fd: int | None = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self._fd = None

    def lines(self) -> list[str] | None:
        """The lines printed since the last call, at most 1000; None where they can't be read."""
        if self._fd is None:
            return None
        lines: list[str] = []
        while len(lines) < MAX_LOG_LINES:
            try:
                record = os.read(self._fd, 8192).decode("utf-8", "replace")
            except OSError as error:
                # EPIPE: the ring buffer overtook us; the next read goes on behind the gap.
                if error.errno in (errno.EPIPE, errno.EINTR):
                    continue
                break
            lines.append(record.partition(";")[2].split("\n", 1)[0])
        return lines


def why_unable() -> str | None:
    """Why this Python can neither load nor unload modules; None where it can."""
    try:
        _libc()
    except (ImportError, OSError) as error:
        return (
            "the board's Python has no usable ctypes (%s), which the system calls for modules "
            "need; install that part of Python's standard library." % error
        )
    return None


def load(image: bytes, params: str) -> None:
    """Load a module from memory: init_module(2).

    The bytes in memory are those that were gated; no file can be swapped in
    between, and a failed load is tried once only (busybox's insmod tries
    twice, which runs pre_patch() twice).  Raises OSError.
    """
    _check(_libc().init_module(image, _ulong(len(image)), params.encode("utf-8")))


def remove(name: str) -> None:
    """Unload the module of a livepatch that was disabled or replaced: delete_module(2).

    Raises OSError; EWOULDBLOCK where it is still in use, for ever after a
    forced transition.
    """
    path = os.path.join(sysfs.MODULE, name, "refcnt")
    wait_until(lambda: sysfs.read_text(path) in ("0", None), RELEASE_TIMEOUT)
    if sysfs.module_loaded(name):
        _check(_libc().delete_module(name.encode("ascii"), os.O_NONBLOCK))


def set_enabled(name: str, enabled: bool) -> None:
    """Write `enabled`: disable, or reverse the transition that is under way.  Raises OSError."""
    _write(name, "enabled", "1" if enabled else "0")


def force(name: str) -> None:
    """Write `force`: end the transition at once, whatever its tasks are doing.  Raises OSError."""
    _write(name, "force", "1")


def ended(name: str) -> bool:
    """Whether the livepatch is not, or no longer, in transition."""
    return sysfs.read_text(os.path.join(sysfs.LIVEPATCH, name, "transition")) != "1"


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether the condition came true within `timeout` seconds; polls finely at first."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not condition():
        now = time.monotonic()
        if now >= deadline:
            return False
        time.sleep(min(pause, deadline - now))
        pause = min(pause * 1.5, 0.25)
    return True


def finish(name: str, direction: str, timeout: float, on_stall: str) -> TransitionResult:
    """Wait for the end of the transition of `name`, and deal with a stall.

    direction: where it goes, patching or unpatching; timeout: seconds, for the
    transition and once more for its reversal; on_stall: reverse, leave or
    force.  Raises OSError where sysfs refuses.
    """
    start = time.monotonic()
    outcome = "completed"
    blocking: tuple[BlockingTask, ...] = ()
    if not wait_until(lambda: ended(name), timeout):
        blocking = tuple(sysfs.blocking_tasks(direction))
        if on_stall == "leave":
            outcome = "stalled"
        elif on_stall == "force":
            outcome = _end_stalled(name, lambda: force(name), "forced", timeout)
        else:
            reverse = direction == "unpatching"
            outcome = _end_stalled(name, lambda: set_enabled(name, reverse), "reversed", timeout)
    return TransitionResult(outcome, direction, time.monotonic() - start, blocking)


def _end_stalled(name: str, act: Callable[[], None], outcome: str, timeout: float) -> str:
    # Finding the blocking tasks took its time.  Had the transition ended meanwhile, our writing
    # would not reverse it but start the opposite one.
    if ended(name):
        return "completed"
    try:
        act()
    except OSError:
        if ended(name):
            return "completed"
        raise
    return outcome if wait_until(lambda: ended(name), timeout) else "stalled"


def why_load_failed(error: OSError, kernel_log: Sequence[str] | None) -> str:
    """One sentence for the errno of init_module(2), with what to do.

    The kernel's log tells apart what shares an errno; its words are those of
    kernel/livepatch/core.c, the same from Linux 5.5 to 7.3.
    """
    number = error.errno or 0
    said = "the kernel said %s (%s)" % (
        errno.errorcode.get(number, str(number)),
        os.strerror(number),
    )
    for line in kernel_log or ():
        for words, explanation in _LOG_LINES:
            match = words.search(line)
            if match:
                return "%s: %s" % (said, explanation % match.groups())
    return "%s: %s" % (said, _LOAD_ERRORS.get(number, "see kernel_log for the reason."))


_LOG_LINES = (
    (
        re.compile(r"pre-patch callback failed for object '([^']+)'"),
        "its pre_patch() callback for %s failed, and the kernel undid what was done; kernel_log "
        "has what the livepatch said of it.",
    ),
    (
        re.compile(r"Livepatch patch \((\S+)\) is not compatible"),
        "%s is not compatible with the system states of the installed livepatches.",
    ),
    (
        re.compile(r"symbol '([^']+)' not found in symbol table"),
        "the function %s, which it patches, is not in this kernel; build it for exactly this one.",
    ),
    (
        re.compile(r"unresolvable ambiguity for symbol '([^']+)'"),
        "there are several functions %s in this kernel; it must say which by old_sympos.",
    ),
    (
        re.compile(r"failed to (?:register|set) ftrace (?:handler|filter) for function '([^']+)'"),
        "the function %s could not be hooked: kernel.ftrace_enabled is 0, or another tracer has "
        "it; set the sysctl to 1, or end the tracing.",
    ),
    (
        re.compile(r"failed to find location for function '([^']+)'"),
        "the function %s can't be hooked, because it is notrace or no function at all; patch its "
        "callers instead.",
    ),
    (
        re.compile(r"Loading of (.*) is rejected"),
        "the kernel takes signed modules only, and rejected this as %s; sign it with a key that "
        "the kernel trusts.",
    ),
    (
        re.compile(r"Lockdown: .*: (unsigned module loading) is restricted"),
        "%s is forbidden by lockdown; sign it with a key that the kernel trusts.",
    ),
    (
        re.compile(r"Unknown symbol (\S+)"),
        "its module needs the symbol %s, which neither this kernel nor a loaded module has.",
    ),
    (
        re.compile(r"version magic '([^']+)' should be '([^']+)'"),
        "it is built for '%s' and this kernel is '%s'.",
    ),
    (
        re.compile(r"disagrees about version of symbol (\S+)"),
        "it was built against another version of the symbol %s; build it for exactly this kernel.",
    ),
)

_LOAD_ERRORS = {
    errno.EINVAL: (
        "the livepatch is not compatible with what is installed, or its module is malformed; "
        "kernel_log says which."
    ),
    errno.EBUSY: "another transition is under way; wait until it has ended.",
    errno.ENOENT: (
        "a symbol that the module needs, or a function that it patches, is not in this kernel; "
        "build the livepatch for exactly this kernel."
    ),
    errno.ENOEXEC: (
        "the kernel does not accept the file's format, vermagic or symbol versions; build the "
        "livepatch for exactly this kernel."
    ),
    errno.EEXIST: "a module of this name is loaded already; remove it first.",
    errno.ENOMEM: (
        "there is not enough memory, or the module's init said so; nothing was changed."
    ),
    errno.EPERM: (
        "module loading is not permitted (modules_disabled, lockdown, or not root on the host)."
    ),
    errno.ENODEV: "the kernel's livepatching is not initialised, or the module's init said so.",
    getattr(errno, "ENOKEY", 126): "the kernel does not have the key that the file is signed with.",
    getattr(errno, "EKEYREJECTED", 129): (
        "the kernel takes signed modules only, and rejected this file's signature."
    ),
}


def _write(name: str, attribute: str, value: str) -> None:
    fd = os.open(os.path.join(sysfs.LIVEPATCH, name, attribute), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    finally:
        os.close(fd)


# ctypes is imported where it is needed only: a run with nothing to do has no use for it.
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _ulong(number: int) -> Any:
    import ctypes

    return ctypes.c_ulong(number)


def _check(result: int) -> None:
    import ctypes

    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
