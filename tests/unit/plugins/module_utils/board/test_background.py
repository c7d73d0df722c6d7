# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that goes on without whoever began it, and what is told of it meanwhile."""

from __future__ import annotations

import json
import os
import signal

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import background, sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.sysfs import (
    BlockingTask,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


class Store:
    """Values in files, as the board's store keeps them, in a directory of the test's own."""

    full = False

    def __init__(self, directory):
        self.directory = directory

    def get(self, name):
        path = self.directory / name
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, name, value):
        if self.full:
            return False
        (self.directory / (name + ".new")).write_text(json.dumps(value))
        os.replace(self.directory / (name + ".new"), self.directory / name)
        return True

    def remove_older(self, prefix, seconds):
        pass

    def remove(self, name):
        (self.directory / name).unlink(missing_ok=True)


class Ended(Exception):
    pass


class Module:
    """An AnsibleModule's ways to end, and its warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, warning):
        self.warnings.append(warning)

    def exit_json(self, **result):
        raise Ended(dict(result, ok=True))

    def fail_json(self, **result):
        raise Ended(dict(result, ok=False))


@pytest.fixture
def store(tmp_path, monkeypatch):
    # pytest has the child's standard output; the child must not take it away.
    monkeypatch.setattr(background, "_leave_the_connection", lambda: None)
    return Store(tmp_path)


def ended(call, *arguments):
    with pytest.raises(Ended) as raised:
        call(*arguments)
    return raised.value.args[0]


def test_the_module_ends_with_what_the_work_returns(store):
    module = Module()

    def work():
        return {"changed": True, "pid": os.getpid(), "warnings": ["look out"]}

    result = ended(background.run, module, store, work)
    assert result["ok"] and result["changed"]
    assert module.warnings == ["look out"]
    assert result["pid"] != os.getpid()
    assert list(store.directory.iterdir()) == []


def test_a_result_that_has_failed_fails_the_module(store):
    result = ended(background.run, Module(), store, lambda: {"failed": True, "msg": "no"})
    assert not result["ok"] and result["msg"] == "no"


def test_an_error_of_our_own_is_one_sentence(store):
    result = ended(background.run, Module(), store, lambda: {}["missing"])
    assert not result["ok"]
    assert result["msg"].startswith("the run on the board ended with an error of its own (KeyError")
    assert "\n" not in result["msg"]


def test_work_that_takes_long_is_asked_after_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(background, "REPORT_AFTER", 0.05)
    monkeypatch.setattr(background, "progress", lambda: "it waits")
    gate, way_in = os.pipe()
    under_way = ended(background.run, Module(), store, lambda: {"read": os.read(gate, 1).decode()})
    assert under_way["_job"].startswith("job.") and under_way["_progress"] == "it waits"
    os.write(way_in, b"x")
    monkeypatch.setattr(background, "REPORT_AFTER", 10)
    assert ended(background.resume, Module(), store, under_way["_job"]) == {"read": "x", "ok": True}


def test_the_work_is_in_a_session_of_its_own_which_no_hangup_reaches(store):
    result = ended(background.run, Module(), store, lambda: {"session": os.getsid(0)})
    assert result["session"] != os.getsid(0)


def test_a_run_that_was_killed_says_so_and_what_to_do(store):
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    result = ended(background.run, Module(), store, killed)
    assert not result["ok"]
    assert "ended without a result" in result["msg"] and "Run again" in result["msg"]


@pytest.mark.parametrize("job", ["job.0000", "../../etc/shadow", "lock", "job.1x"])
def test_only_a_jobs_name_is_looked_up(store, job):
    (store.directory / "lock").write_text('{"failed": false}')
    assert not ended(background.resume, Module(), store, job)["ok"]


def test_where_nothing_can_be_kept_the_work_is_done_here(store):
    store.full = True
    assert (
        ended(background.run, Module(), store, lambda: {"pid": os.getpid()})["pid"] == os.getpid()
    )


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
