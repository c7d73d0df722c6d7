# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that goes on without whoever began it, and what is told of it meanwhile."""

from __future__ import annotations

import os
import signal

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import background, sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.sysfs import (
    BlockingTask,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


@pytest.fixture
def store(tmp_path, monkeypatch):
    # pytest has the child's standard output; the child must not take it away.
    monkeypatch.setattr(background, "_leave_the_connection", lambda: None)
    return BootStore(str(tmp_path / "store"))


def kept(store):
    return sorted(os.listdir(store.directory))


def test_the_result_is_what_the_work_returns_in_a_process_of_its_own(store):
    result = background.run(store, lambda: {"changed": True, "pid": os.getpid()})
    assert result["changed"] and result["pid"] != os.getpid()
    assert kept(store) == []


def test_an_error_of_our_own_is_one_sentence(store):
    result = background.run(store, lambda: {}["missing"])
    assert result["failed"]
    assert result["msg"].startswith("the run on the board ended with an error of its own (KeyError")
    assert "\n" not in result["msg"]


def test_work_that_takes_long_is_asked_after_again(store, monkeypatch):
    monkeypatch.setattr(background, "REPORT_AFTER", 0.05)
    monkeypatch.setattr(background, "progress", lambda: "it waits")
    gate, way_in = os.pipe()
    needs = background.run(store, lambda: {"read": os.read(gate, 1).decode()})["_needs"]
    assert needs["job"].startswith("job.") and needs["progress"] == "it waits"
    os.write(way_in, b"x")
    monkeypatch.setattr(background, "REPORT_AFTER", 10)
    assert background.resume(store, needs["job"]) == {"read": "x"}


def test_the_work_is_in_a_session_of_its_own_which_no_hangup_reaches(store):
    result = background.run(store, lambda: {"session": os.getsid(0)})
    assert result["session"] != os.getsid(0)


def test_a_run_that_was_killed_says_so_and_what_to_do(store):
    result = background.run(store, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert result["failed"]
    assert "ended without a result" in result["msg"] and "Run again" in result["msg"]


@pytest.mark.parametrize(
    "job", ["job.0000", "../../etc/shadow", "lock", "job.1x", "job.00000000.1.1"]
)
def test_only_a_jobs_name_is_looked_up(store, job):
    store.put("lock", {"failed": False})
    assert background.resume(store, job)["failed"]


def test_a_process_that_has_a_jobs_number_by_now_is_not_the_job(store):
    boot = store.boot_id[:8]
    job = "job.%s.%d.%d" % (boot, os.getppid(), 1)
    assert "ended without a result" in background.resume(store, job)["msg"]


def test_a_job_of_another_boot_has_ended(store, monkeypatch):
    monkeypatch.setattr(background, "REPORT_AFTER", 0.05)
    monkeypatch.setattr(background, "progress", lambda: "it waits")
    gate, way_in = os.pipe()
    job = background.run(store, lambda: {"read": os.read(gate, 1).decode()})["_needs"]["job"]
    store.boot_id = "another-boot"
    assert "the board was rebooted" in background.resume(store, job)["msg"]
    os.write(way_in, b"x")


def test_a_result_that_does_not_fit_is_told_as_that(store, monkeypatch):
    put = store.put
    monkeypatch.setattr(
        store, "put", lambda name, value: not name.startswith("job") and put(name, value)
    )
    result = background.run(store, lambda: {"changed": True})
    assert result["failed"] and "what it did could not be kept" in result["msg"]
    assert kept(store) == []


def test_results_that_nobody_asked_for_are_forgotten_by_the_clock_of_the_boot(store, monkeypatch):
    boot = store.boot_id[:8]
    store.put("job.%s.4194303.1" % boot, {"changed": True})
    monkeypatch.setattr(background, "FORGET_AFTER", 0)
    background.run(store, dict)
    assert kept(store) == []


def test_where_nothing_can_be_kept_the_work_is_done_here(tmp_path):
    nowhere = BootStore(str(tmp_path / "missing" / "store"))
    assert background.run(nowhere, lambda: {"pid": os.getpid()}) == {"pid": os.getpid()}


def test_progress_names_the_livepatch_the_direction_and_the_tasks(monkeypatch):
    patch = Livepatch("fixes_2", True, None, enabled=False, transition=True)
    tasks = [BlockingTask(7, number, "kworker", ()) for number in range(7)]
    monkeypatch.setattr(sysfs, "livepatch_names", lambda: ["fixes_2"])
    monkeypatch.setattr(sysfs, "read_livepatch", lambda _name: patch)
    monkeypatch.setattr(sysfs, "blocking_tasks", lambda _direction: tasks)
    assert background.progress() == (
        "fixes_2 is in transition (unpatching) and waits for kworker[0], kworker[1], kworker[2], "
        "kworker[3], kworker[4] and 2 tasks more"
    )
