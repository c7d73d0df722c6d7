# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a step makes of the kernel's list, and when two livepatches are one build."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    DISABLE,
    LOAD,
    REMOVE,
    Step,
    after_all,
    board_after,
    conflicting,
    function_changes,
    same_build,
    same_stack,
    spell,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Livepatch,
    Object,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board


def a_livepatch(name, cumulative=True, states=(), functions=(), **changes):
    patch = Livepatch(
        name,
        cumulative,
        tuple(SystemState(*state) for state in states),
        (Object("vmlinux", tuple(map(Function, functions))),),
        build_id="%02x" % len(name) * 20,
    )
    return replace(patch, **changes)


V1 = a_livepatch("fixes_1", states=[(1, 1)], functions=["open"])
V2 = a_livepatch("fixes__2", states=[(1, 2)], functions=["open", "read"])
EXTRA = a_livepatch("extra", cumulative=False, states=[(7, 1)], functions=["write"])


def load(patch):
    return Step(LOAD, patch)


def test_a_load_puts_a_livepatch_at_the_end_and_a_cumulative_one_takes_all_others_off():
    assert after_all([load(V1), load(EXTRA)], ()) == (V1, EXTRA)
    assert after_all([load(V2)], (V1, EXTRA)) == (V2,)


def test_one_of_unknown_kind_is_taken_for_cumulative():
    unknown = replace(V2, replace=None)
    assert after_all([load(unknown)], (V1, EXTRA)) == (unknown,)


def test_a_disable_takes_it_off_and_a_removal_finds_it_off():
    assert after_all([Step(DISABLE, V1), Step(REMOVE, V1)], (V1, EXTRA)) == (EXTRA,)


def test_a_module_stays_loaded_until_it_is_removed():
    board = a_board([V1, EXTRA], leftover=("old",))
    assert board_after([load(V2)], board).leftover == ("extra", "fixes_1", "old")
    removed = board_after([Step(DISABLE, EXTRA), Step(REMOVE, EXTRA)], board)
    assert removed.leftover == ("old",)
    assert board_after([load(replace(V1, name="old"))], board).leftover == ("extra", "fixes_1")


def test_what_is_predicted_is_enabled():
    (patch,) = board_after([load(V2)], a_board([V1])).patches
    assert (patch.enabled, patch.transition) == (True, False)


def test_a_load_is_named_only_among_others():
    assert spell([Step(DISABLE, V2), load(V1)]) == ["disable fixes__2", "load"]
    assert spell([load(V1), load(EXTRA)]) == ["load fixes_1", "load extra"]


def test_what_conflicts_is_named_the_youngest_first():
    old = a_livepatch("old", states=[(1, 1)])
    assert conflicting(old, (V1, EXTRA, V2)) == [V2, EXTRA]
    assert conflicting(V2, (V1,)) == []


def test_of_what_is_unknown_no_conflict_is_known():
    assert conflicting(V1, (replace(V2, states=None),)) == []
    assert conflicting(replace(V1, replace=None), (V2, EXTRA)) == [V2]


def test_functions_are_compared_before_and_after():
    assert function_changes((V1,), [load(V2)]) == {
        "kept": ["vmlinux/open,1"],
        "added": ["vmlinux/read,1"],
        "removed": [],
    }
    assert function_changes((V2, EXTRA), [Step(DISABLE, V2)])["removed"] == [
        "vmlinux/open,1",
        "vmlinux/read,1",
    ]


def test_functions_that_nobody_knows_are_unknown_and_not_none():
    nobody_knows = {"kept": None, "added": None, "removed": None}
    assert function_changes((replace(V1, objects=None),), [load(V2)]) == nobody_knows
    assert function_changes((V1,), [load(replace(V2, objects=None))]) == nobody_knows


def test_of_a_livepatch_of_unknown_kind_only_what_it_adds_is_known():
    unknown = replace(V1, replace=None)
    assert function_changes((EXTRA,), [load(unknown)]) == {
        "kept": None,
        "added": ["vmlinux/open,1"],
        "removed": None,
    }


def test_a_rewritten_file_with_an_old_build_id_is_another_build():
    rewritten = replace(V1, states=(SystemState(1, 7),))
    assert same_build(V1, rewritten) is False


def test_srcversion_decides_where_there_is_no_build_id():
    one = replace(V1, build_id=None, srcversion="533BB7E5866E52F63B9ACCB")
    assert same_build(one, one) is True
    assert same_build(one, replace(one, srcversion="0")) is False
    assert same_build(one, replace(one, srcversion=None)) is None


def test_a_stack_is_the_same_by_builds_and_order():
    assert same_stack((V1, EXTRA), (V1, EXTRA))
    assert not same_stack((EXTRA, V1), (V1, EXTRA))
    assert not same_stack((V1,), (replace(V1, build_id="ff" * 20),))
    assert not same_stack((V1,), (replace(V1, build_id=None),))
