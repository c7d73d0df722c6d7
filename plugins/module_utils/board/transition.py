# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The running kernel as it is driven here: load, disable, reverse, force, remove, wait, log.

Runs on the board as root, standard library only.  The kernel's side is
kernel/livepatch/transition.c and Documentation/livepatch/livepatch.rst.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterable

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import read_board
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.load_errors import (
    why_load_failed,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.sysfs import BlockingTask
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.wait import wait_until
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch

# A module's last reference is put by a work item, shortly after its livepatch
# has left sysfs: klp_free_patch_work_fn() in kernel/livepatch/core.c.
RELEASE_TIMEOUT = 10.0
MAX_LOG_LINES = 1000


class LoadError(Exception):
    """The kernel did not load a module; the message is one sentence, errno as init_module(2)'s."""

    def __init__(self, error: OSError, kernel_log: list[str] | None) -> None:
        super().__init__(why_load_failed(error, kernel_log))
        self.errno = error.errno or 0


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


class Kernel:
    """The kernel that this runs on: what is read of it, and what is done to it.

    The tests put a made-up one in its place: what they replace is below "calls".
    log: what it has printed since this object was made, None where that can't be
    read.
    """

    def __init__(self, store: BootStore) -> None:
        self.store = store
        self.log: list[str] | None = []
        self._kmsg = self.open_log()

    def load(self, image: bytes, params: str = "") -> None:
        """Load a module from memory; its transition is then under way.  Raises LoadError.

        The bytes in memory are those that were gated; no file can be swapped in
        between, and a failed load is tried once only (busybox's insmod tries
        twice, which runs pre_patch() twice).
        """
        said_before = len(self.read_log() or ())
        try:
            self.init_module(image, params)
        except OSError as error:
            log = self.read_log()
            raise LoadError(error, None if log is None else log[said_before:]) from error

    def disable(self, name: str) -> None:
        """Begin to disable the livepatch, unless that is under way.  Raises OSError."""
        if self.enabled(name) is not False:
            self.set_enabled(name, False)

    def finish(self, name: str, direction: str, timeout: float, on_stall: str) -> TransitionResult:
        """Wait for the end of the transition of `name`, and deal with a stall.

        direction: where it goes, patching or unpatching; timeout: seconds, for the
        transition and once more for its reversal; on_stall: reverse, leave or
        force.  Raises OSError where sysfs refuses.
        """
        start = time.monotonic()
        outcome = "completed"
        blocking: tuple[BlockingTask, ...] = ()
        if not self.wait_for_end(name, timeout):
            blocking = tuple(self.blocking_tasks(direction))
            if on_stall == "leave":
                outcome = "stalled"
            elif on_stall == "force":
                outcome = self._end_stalled(name, lambda: self.force(name), "forced", timeout)
            else:
                reverse = direction == "unpatching"
                outcome = self._end_stalled(
                    name, lambda: self.set_enabled(name, reverse), "reversed", timeout
                )
        if outcome in ("completed", "forced"):
            # What was replaced or disabled leaves sysfs a moment later.
            wait_until(lambda: not self.leaving(), RELEASE_TIMEOUT)
        return TransitionResult(outcome, direction, time.monotonic() - start, blocking)

    def _end_stalled(self, name: str, act: Callable[[], None], outcome: str, timeout: float) -> str:
        # Finding the blocking tasks took its time.  Had the transition ended meanwhile, our writing
        # would not reverse it but start the opposite one.
        if self.ended(name):
            return "completed"
        try:
            act()
        except OSError:
            if self.ended(name):
                return "completed"
            raise
        return outcome if self.wait_for_end(name, timeout) else "stalled"

    def wait_for_end(self, name: str, timeout: float) -> bool:
        """Whether the livepatch is not, or no longer, in transition within so many seconds."""
        return wait_until(lambda: self.ended(name), timeout)

    def remove(self, name: str) -> None:
        """Unload the module of a livepatch that was disabled or replaced.

        Raises OSError; EWOULDBLOCK where it is still in use, for ever after a
        forced transition.
        """
        wait_until(lambda: self.unused(name), RELEASE_TIMEOUT)
        if self.module_loaded(name):
            self.delete_module(name)

    def read_log(self) -> list[str] | None:
        """`log`, with what was printed until now."""
        lines = self.new_log_lines()
        if lines is None or self.log is None:
            self.log = None
        else:
            self.log += lines
        return self.log

    # Calls: everything by which the running kernel is reached.

    def read(self, known: Iterable[Livepatch] = ()) -> Board:
        """What is installed; known: of files that may be builds of what is loaded."""
        return read_board(self.store, known)

    def why_unable(self) -> str | None:
        """Why this Python can neither load nor unload modules; None where it can."""
        try:
            _libc()
        except (ImportError, OSError) as error:
            return (
                "the board's Python has no usable ctypes (%s), which the system calls for modules "
                "need; install that part of Python's standard library." % error
            )
        return None

    def init_module(self, image: bytes, params: str) -> None:
        """init_module(2).  Raises OSError."""
        _check(_libc().init_module(image, _ulong(len(image)), params.encode("utf-8")))

    def delete_module(self, name: str) -> None:
        """delete_module(2), without waiting.  Raises OSError."""
        _check(_libc().delete_module(name.encode("ascii"), os.O_NONBLOCK))

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Write `enabled`: disable, or reverse the transition under way.  Raises OSError."""
        _write(name, "enabled", "1" if enabled else "0")

    def force(self, name: str) -> None:
        """Write `force`: end the transition, whatever its tasks are doing.  Raises OSError."""
        _write(name, "force", "1")

    def enabled(self, name: str) -> bool | None:
        """What `enabled` reads; None where the livepatch is not there."""
        text = sysfs.read_text(os.path.join(sysfs.LIVEPATCH, name, "enabled"))
        return None if text is None else text == "1"

    def ended(self, name: str) -> bool:
        """Whether the livepatch is not, or no longer, in transition."""
        return sysfs.read_text(os.path.join(sysfs.LIVEPATCH, name, "transition")) != "1"

    def leaving(self) -> list[str]:
        """Livepatches on their way out of sysfs."""
        return sysfs.leaving()

    def unused(self, name: str) -> bool:
        """Whether nothing holds the module, or it is not loaded."""
        return sysfs.read_text(os.path.join(sysfs.MODULE, name, "refcnt")) in ("0", None)

    def module_loaded(self, name: str) -> bool:
        """Whether a module of that name is loaded."""
        return sysfs.module_loaded(name)

    def build_id(self, name: str) -> str | None:
        """The GNU build id of a loaded module, in hex."""
        return sysfs.module_build_id(name)

    def ftrace_enabled(self) -> bool:
        """Whether functions can be hooked; a kernel without the sysctl always lets them."""
        return sysfs.read_text("/proc/sys/kernel/ftrace_enabled") != "0"

    def blocking_tasks(self, direction: str) -> list[BlockingTask]:
        """Every task that has not reached the transition's goal yet."""
        return sysfs.blocking_tasks(direction)

    def open_log(self) -> int | None:
        """/dev/kmsg, at its end; None where it can't be read."""
        try:
            fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(fd, 0, os.SEEK_END)
        except OSError:
            return None
        return fd

    def new_log_lines(self) -> list[str] | None:
        """The lines printed since the last call, at most 1000; None where they can't be read."""
        if self._kmsg is None:
            return None
        lines: list[str] = []
        while len(lines) < MAX_LOG_LINES:
            try:
                record = os.read(self._kmsg, 8192).decode("utf-8", "replace")
            except OSError as error:
                # EPIPE: the ring buffer overtook us; the next read goes on behind the gap.
                if error.errno in (errno.EPIPE, errno.EINTR):
                    continue
                break
            lines.append(record.partition(";")[2].split("\n", 1)[0])
        return lines


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
