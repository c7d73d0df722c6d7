# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which stacks the way back leads through, whoever did what in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    MAX_STACKS,
    Build,
    builds,
    history_from_json,
    history_to_json,
    previous,
    record,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import ShapeError
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


def livepatches(names):
    """A stack of livepatches whose names are single letters."""
    return [Livepatch(name, True, (), build_id="%02x" % ord(name) * 20) for name in names]


def names(stacks):
    return ["".join(build.name for build in stack) for stack in stacks]


def runs(*stacks):
    """The history after runs that left these stacks, each having found the one before it."""
    found, past = "", ()
    for left in stacks:
        past = record(past, livepatches(found), livepatches(left), dict.fromkeys(left, ""))
        found = left
    return past


def back(past, installed):
    return "".join(build.name for build in previous(past, livepatches(installed)))


def test_every_run_adds_what_it_left():
    assert names(runs("a", "b", "bc")) == ["a", "b", "bc"]


def test_before_the_first_livepatch_there_was_none():
    assert back(runs("a"), "a") == ""
    assert back((), "") == ""


def test_going_back_twice_goes_back_two_steps():
    past = runs("a", "b", "c")
    assert back(past, "c") == "b"
    past = record(past, livepatches("c"), livepatches("b"), {})
    assert names(past) == ["a", "b"]
    assert back(past, "b") == "a"


def test_a_board_without_a_livepatch_has_no_history():
    assert runs("a", "b", "") == ()


def test_what_somebody_else_loaded_is_noted_and_its_parameters_are_not_known():
    past = record(runs("a"), livepatches("x"), livepatches("b"), {"b": "n=1"})
    assert names(past) == ["a", "x", "b"]
    assert [build.params for stack in past for build in stack] == ["", None, "n=1"]


def test_where_somebody_else_is_at_work_the_way_back_leads_to_what_we_left():
    assert back(runs("a", "b"), "x") == "b"


def test_somebody_else_can_go_back_too():
    past = record(runs("a", "b"), livepatches("a"), livepatches("c"), {})
    assert names(past) == ["a", "c"]


def test_what_stays_installed_keeps_the_parameters_it_was_loaded_with():
    past = record((), (), livepatches("a"), {"a": "n=1"})
    past = record(past, livepatches("a"), livepatches("ab"), {"b": "n=2"})
    assert [build.params for build in past[-1]] == ["n=1", "n=2"]


def test_a_build_that_is_loaded_again_has_its_new_parameters():
    past = record((), (), livepatches("a"), {"a": "n=1"})
    past = record(past, livepatches("b"), livepatches("a"), {"a": "n=2"})
    assert [build.params for build in past[-1]] == ["n=2"]


def test_another_build_of_a_name_is_another_stack():
    rebuilt = [Livepatch("a", True, (), build_id="ff" * 20)]
    past = record(runs("a"), livepatches("a"), rebuilt, {})
    assert names(past) == ["a", "a"]
    assert previous(past, rebuilt) == past[0]


@given(st.lists(st.text("abcd", max_size=3), max_size=20))
def test_no_stack_stands_twice_and_the_last_is_what_is_installed(stacks):
    past = runs(*stacks)
    assert len(set(names(past))) == len(past)
    assert names(past)[-1:] == [stack for stack in stacks[-1:] if stack]


def test_only_the_latest_are_kept():
    past = runs(*(chr(0x100 + number) for number in range(MAX_STACKS + 5)))
    assert len(past) == MAX_STACKS
    assert names(past)[-1] == chr(0x100 + MAX_STACKS + 4)


def went(past, found, left, goal):
    """The history after a run that should have left the goal."""
    params = dict.fromkeys(left, "")
    return record(past, livepatches(found), livepatches(left), params, builds(livepatches(goal)))


def test_a_way_back_leaves_no_trace_but_its_goal():
    assert names(went(runs("a", "bc", "d"), "d", "bc", "bc")) == ["a", "bc"]


@pytest.mark.parametrize("stopped", ["", "b", "db"])
def test_whoever_stops_on_a_way_back_goes_on_to_its_goal(stopped):
    assert back(went(runs("a", "bc", "d"), "d", stopped, "bc"), stopped) == "bc"


def test_whoever_stops_on_the_way_to_none_goes_on_to_none():
    assert back(went(runs("a", "ab"), "ab", "a", ""), "a") == ""


def test_whoever_stops_on_the_way_to_something_new_goes_back_to_what_was_there():
    past = went(runs("a", "b"), "b", "x", "xy")
    assert names(past) == ["a", "b", "x"]
    assert back(past, "x") == "b"


def test_it_survives_json_with_its_parameters():
    past = record(runs("a"), livepatches("x"), livepatches("b"), {"b": "n=1"})
    assert history_to_json(history_from_json(history_to_json(past))) == history_to_json(past)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "a",
        [{}],
        [["a"]],
        [[{}]],
        [[{"name": "../a"}]],
        [[{"name": "a", "build_id": "x"}]],
        [[{"name": "a", "params": ["n=1"]}]],
        [[{"name": "a", "params": "n" * 65537}]],
        [[]] * (MAX_STACKS + 1),
    ],
)
def test_what_is_not_a_history_is_refused(value):
    with pytest.raises(ShapeError):
        history_from_json(value)


def test_a_build_is_the_same_whatever_its_parameters():
    assert Build("a", "61" * 20, None, "n=1") == Build("a", "61" * 20, None)
    assert previous([(Build("a", "61" * 20, None, "n=1"),)], livepatches("a")) == ()
