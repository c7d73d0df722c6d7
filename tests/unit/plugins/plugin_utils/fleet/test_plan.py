# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What will happen to all boards, in which waves, and what has."""

from __future__ import annotations

import json

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.history import Build
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Caller,
    Entry,
    Plan,
    Way,
    answers_in,
    plan_fleet,
    rows_after,
    unfinished,
)

GOAL = (Build("fixes_2", "02" * 20, None),)
WAY = Way((Entry("fixes_2", "/catalog/fixes_2.ko", "ab" * 32),), (), GOAL)
WELL = {
    "changed": True,
    "after": {"patches": [{"name": "fixes_2", "build_id": "02" * 20}]},
    "transition": {"outcome": "completed"},
}
BAD = {"failed": True, "msg": "it broke"}
SKIPPED = {"skipped": True}


def a_fleet(boards="abcd", sizes=(1, 2), present=None, outcomes=None):
    """The plan for boards that are all to be updated, but for those in `outcomes`."""
    words = outcomes or {}

    def plan(answer):
        word = words.get(answer["board"], "update")
        return Plan(word, "so", (), WAY if word == "update" else None)

    return plan_fleet(
        list(boards),
        list(boards if present is None else present),
        lambda board: {"board": board},
        plan,
        Caller("rollout_", list(sizes), allow_downgrade=True),
    )


def outcomes(plan, results, check_mode=False):
    return [row.outcome for row in rows_after(plan, results.get, check_mode)]


def test_the_boards_to_be_touched_are_put_into_waves_in_the_order_of_the_play():
    plan = a_fleet("abcd", outcomes={"b": "up to date"}, present="dcba")
    assert plan["waves"] == [["d"], ["c", "a"]]
    assert plan["turns"] == {"d": [0, 0], "c": [1, 0], "a": [1, 0]}
    assert plan["refusal"] == ""


def test_a_way_is_said_once_however_many_boards_go_it():
    (way,) = a_fleet()["ways"]
    assert way["decided"] == {
        "stack": [{"src": "/catalog/fixes_2.ko", "params": ""}],
        "unknown_states": "refuse",
        "allow_downgrade": True,
        "over": [],
        "sha256": ["ab" * 32],
        "back": None,
        "options": "rollout_",
    }


def test_the_plan_is_json():
    plan = a_fleet()
    assert json.loads(json.dumps(plan)) == plan


def test_a_board_that_dropped_out_of_the_play_stops_all():
    plan = a_fleet("abc", present="ab")
    assert [row["outcome"] for row in plan["result"]["boards"]] == ["update", "update", "failed"]
    assert plan["refusal"].startswith("No board was touched, because of c: it dropped out")
    assert "use rollout_waves instead" in plan["refusal"]


def test_the_refusal_names_every_board_and_every_reason_once():
    plan = a_fleet(outcomes={"a": "refused", "c": "refused"})
    assert plan["refusal"] == (
        "No board was touched, because of a, c: so Mend this, or leave the board out with --limit."
    )


def test_empty_waves_are_refused_in_the_words_of_the_role():
    plan = a_fleet(sizes=())
    assert plan["refusal"] == (
        "rollout_waves is empty; give it at least one size, like [1, 100%]. No board was touched."
    )
    assert plan["waves"] == []


def test_where_all_went_well_all_are_updated():
    assert outcomes(a_fleet(), dict.fromkeys("abcd", WELL)) == ["updated"] * 4


def test_boards_with_nothing_to_do_stay_what_they_were():
    plan = a_fleet(outcomes={"a": "unsupported"})
    assert outcomes(plan, dict.fromkeys("bcd", WELL)) == ["unsupported"] + ["updated"] * 3


@pytest.mark.parametrize("unstarted", [None, {}, SKIPPED])
def test_after_a_failure_no_other_wave_was_touched(unstarted):
    results = {"a": WELL, "b": BAD, "c": WELL, "d": unstarted}
    rows = rows_after(a_fleet(), results.get)
    assert [row.outcome for row in rows] == ["updated", "failed", "updated", "not touched"]
    assert (rows[3].after, rows[3].reason) == ((), "stopped after b")


@pytest.mark.parametrize("nothing", [None, {}, SKIPPED])
def test_a_wave_that_ended_with_something_undone_is_no_success(nothing):
    results = dict.fromkeys("bcd", WELL)
    results["a"] = nothing
    assert outcomes(a_fleet(), results)[0] == "failed"


def test_a_board_that_was_touched_after_a_failure_all_the_same_is_told():
    assert outcomes(a_fleet(), {"a": BAD, "b": WELL, "c": SKIPPED})[:2] == ["failed", "updated"]


def test_a_wave_goes_on_only_where_every_board_went_well():
    plan = a_fleet()

    def left(results, check_mode=False):
        return unfinished(["b", "c"], plan["turns"], plan["ways"], results.get, check_mode)

    assert left({"b": WELL, "c": WELL}) == []
    assert left({"b": WELL, "c": BAD}) == ["c"]
    assert left({"b": SKIPPED}) == ["b", "c"]
    assert left({"b": WELL, "c": WELL}, check_mode=True) == []


@pytest.mark.parametrize("fact", ["rollout_waves", "rollback_on_stall", "__waves_plan"])
def test_a_board_whose_facts_are_our_variables_is_not_believed(fact):
    hostvars = {"b1": {"ansible_facts": {fact: 1}, "__waves_answer": {"honest": True}}}
    answer = answers_in(hostvars)("b1")
    assert answer["failed"] and fact in answer["msg"]


def test_other_facts_do_no_harm():
    hostvars = {"b1": {"ansible_facts": {"kernel": "x"}, "__waves_answer": {"honest": True}}}
    assert answers_in(hostvars)("b1") == {"honest": True}
