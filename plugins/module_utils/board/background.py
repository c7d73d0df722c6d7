# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run in a process of its own: neither a lost connection nor a killed controller ends it.

A transition takes as long as its tasks do.  The module waits for the process
for a while and then returns to the controller, which shows how far it is and
asks again.  Standard library only; runs on the board.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from contextlib import suppress
from typing import Any, Callable

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.wait import wait_until
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import transition_of
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import Needs

# As long as a user waits without wondering, in seconds.
REPORT_AFTER = 10.0
FORGET_AFTER = 3600.0
JOB = re.compile(r"job\.([0-9a-f]{8})\.([0-9]{1,10})\.([0-9]{1,20})\Z")
# The mark of a job whose result did not fit.
LOST = ".lost"


def run(store: BootStore, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work returns, done in a process of its own.

    Where it takes long, an answer with `_needs`: the job, for resume(), and how
    far it is, in one line.  Where the store can't keep a result, or there can't be
    another process, the work is done here.
    """
    job = _start(store, work)
    return _result(work) if job is None else resume(store, job)


def resume(store: BootStore, job: str) -> dict[str, Any]:
    """Wait on for the job; the rest as of run()."""
    result = wait(store, job, REPORT_AFTER)
    if result is not None:
        return result
    return {"changed": False, "_needs": Needs(job=job, progress=progress()).to_json()}


def _start(store: BootStore, work: Callable[[], dict[str, Any]]) -> str | None:
    """The job's name, under which the store will have what the work returns; None without one."""
    if not store.put("trial", None):
        return None
    store.remove("trial")
    _forget(store)
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        return None
    if pid:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return pipe.read() or None
    try:
        os.close(reading)
        os.setsid()
        job = "job.%s.%d.%d" % (_boot(store), os.getpid(), _started(os.getpid()) or 0)
        os.write(writing, job.encode("ascii"))
        os.close(writing)
        _leave_the_connection()
        if not store.put(job, _result(work)):
            store.mark(job + LOST)
    finally:
        os._exit(0)


def _boot(store: BootStore) -> str:
    return str(store.boot_id)[:8]


def _forget(store: BootStore) -> None:
    """Remove results that no controller has asked for.  Told by the clock of the boot alone."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    forgotten = now - FORGET_AFTER * os.sysconf("SC_CLK_TCK")
    for name in store.names():
        match = JOB.match(name.partition(LOST)[0])
        if match is None:
            continue
        pid, started = int(match.group(2)), int(match.group(3))
        if started < forgotten and _ended(pid, started):
            store.remove(name)


def wait(store: BootStore, job: str, seconds: float) -> dict[str, Any] | None:
    """What the work returned, once; None where it has not ended within so many seconds.

    A job of which neither a result nor a process is left has failed.
    """
    match = JOB.match(job)
    result = None
    if match is not None and match.group(1) == _boot(store):
        pid, started = int(match.group(2)), int(match.group(3))

        def over() -> bool:
            return _ended(pid, started) or store.get(job) is not None

        if not wait_until(over, seconds):
            return None
        result = store.get(job)
        store.remove(job)
        if result is None and store.remove(job + LOST):
            return {
                "failed": True,
                "msg": "the run on the board has ended, and what it did could not be kept, since "
                "%s is full. Look with livepatch_info, and run again." % store.directory,
            }
    if not isinstance(result, dict):
        return {
            "failed": True,
            "msg": "the run on the board ended without a result: it was killed, or the board was "
            "rebooted. Run again; it starts from what is installed now.",
        }
    return result


def progress() -> str:
    """What the board waits for, in one line."""
    shown = map(sysfs.read_livepatch, sysfs.livepatch_names() or ())
    found = transition_of(patch for patch in shown if patch is not None)
    if found is None:
        return "no livepatch is in transition; another run may be at work on the board"
    tasks = sysfs.blocking_tasks(found.direction)
    waits = " and waits for %s" % sysfs.task_names(tasks) if tasks else ""
    return "%s is in transition (%s)%s" % (found.patch, found.direction, waits)


def _result(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except BaseException as error:
        return {
            "failed": True,
            "msg": "the run on the board ended with an error of its own (%s: %s). Run again; it "
            "starts from what is installed now." % (type(error).__name__, error),
            "exception": traceback.format_exc(),
        }


def _leave_the_connection() -> None:
    """sshd ends a connection when nobody holds its pipes any more."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _ended(pid: int, started: int) -> bool:
    """Whether that process is none any more; another may have its number by now."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return _started(pid) != started


def _started(pid: int) -> int | None:
    """When the process was started, in clock ticks after the boot: field 22 of proc(5)'s stat."""
    text = sysfs.read_text("/proc/%d/stat" % pid)
    fields = (text or "").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else None
