# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The history of this boot in the board's store."""

from __future__ import annotations

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.history_store import (
    read_history,
    remember_stack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board

A = Livepatch("a", True, (), build_id="aa" * 20)
B = Livepatch("b", False, (), build_id="bb" * 20)


def names(store):
    return [[build.name for build in stack] for stack in read_history(store)]


def test_every_run_adds_to_it(tmp_path):
    store = BootStore(str(tmp_path / "store"))
    assert read_history(store) == ()
    remember_stack(store, a_board(), a_board([A]), {"a": ""})
    remember_stack(store, a_board([A]), a_board([A, B]), {"b": "n=1"})
    assert names(store) == [["a"], ["a", "b"]]
    assert [build.params for build in read_history(store)[-1]] == ["", "n=1"]


def test_what_cannot_be_read_is_not_an_empty_history(tmp_path):
    store = BootStore(str(tmp_path / "store"))
    store.put("history", [["a"]])
    assert read_history(store) is None
    assert not remember_stack(store, a_board(), a_board([A]), {})
    assert store.get("history") == [["a"]]


def test_where_nothing_can_be_kept_the_history_is_unknown(tmp_path):
    store = BootStore(str(tmp_path / "missing" / "store"))
    assert read_history(store) is None
    remember_stack(store, a_board(), a_board([A]), {})
