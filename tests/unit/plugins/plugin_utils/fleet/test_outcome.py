# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which outcome a board has earned, and what it means."""

from __future__ import annotations

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.history import Build
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.outcome import (
    DONE,
    OUTCOMES,
    Row,
    after_run,
    result_of,
    table,
)

FIXES_1, FIXES_2 = Build("fixes_1", "01" * 20, None), Build("fixes_2", "02" * 20, None)
UPDATE = Row("a", ("fixes_1",), ("fixes_2",), "update", "newest")


def an_end(*builds, outcome="completed", **result):
    """What the module returns where these are installed afterwards."""
    patches = [{"name": build.name, "build_id": build.build_id} for build in builds]
    return {"after": {"patches": patches}, "transition": {"outcome": outcome}, **result}


def after(result, check_mode=False, row=UPDATE, goal=(FIXES_2,)):
    return after_run(row, (FIXES_1,), goal, result, check_mode)


def test_a_board_that_was_changed_is_updated_and_one_that_was_not_is_up_to_date():
    assert after(an_end(FIXES_2, changed=True)).outcome == "updated"
    assert after(an_end(FIXES_2, changed=False)).outcome == "up to date"


def test_the_same_of_a_rollback():
    row = Row("a", ("fixes_1",), (), "roll back", "")
    assert after(an_end(changed=True), row=row, goal=()).outcome == "rolled back"
    assert after(an_end(changed=False), row=row, goal=()).outcome == "nothing to do"


def test_in_check_mode_nothing_is_called_updated():
    row = after(an_end(FIXES_2, outcome="none", changed=True), check_mode=True)
    assert (row.outcome, row.after, row.reason) == ("update", ("fixes_2",), "newest")


def test_a_transition_that_was_reversed_is_told_from_other_failures():
    reversed_ = an_end(FIXES_1, outcome="reversed", failed=True, msg="stalled")
    assert after(reversed_).outcome == "reversed"
    half = an_end(FIXES_2, outcome="reversed", failed=True, msg="stalled")
    assert after(half).outcome == "failed"
    assert after(an_end(FIXES_1, outcome="stalled", failed=True)).outcome == "stalled"
    assert after(an_end(FIXES_1, failed=True, msg="it broke")).reason == "it broke"


def test_another_end_than_the_one_decided_on_is_a_failure():
    row = after(an_end(FIXES_1, changed=True))
    assert (row.outcome, row.after) == ("failed", ("fixes_1",))
    assert row.reason == "fixes_1 is installed where fixes_2 was decided."


def test_another_build_of_the_name_is_another_end():
    row = after(an_end(Build("fixes_2", "03" * 20, None), changed=True))
    assert row.outcome == "failed"
    assert "build id 0303" in row.reason and "build id 0202" in row.reason


def test_a_build_that_nothing_identifies_is_judged_by_its_name():
    assert after(an_end(Build("fixes_2", None, None), changed=True)).outcome == "updated"


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"skipped": True},
        an_end(FIXES_2, skipped=True),
        {"after": "garbage"},
        {"after": {"patches": [1]}, "transition": {}},
        {"after": {"patches": [{"name": ".."}]}, "transition": {"outcome": "none"}},
        {"failed": True, "msg": "gone"},
    ],
)
def test_what_leaves_something_undone_or_is_not_understood_is_a_failure(result):
    row = after(result)
    assert (row.outcome, row.after) == ("failed", ("?",))
    assert row.reason


def test_a_board_that_is_gone_is_unreachable():
    row = after({"unreachable": True, "msg": "no route"})
    assert (row.outcome, row.after) == ("unreachable", ("?",))
    assert row.reason == "the board can't be reached any more: no route."


def test_what_a_board_says_makes_no_line_of_its_own_and_moves_no_cursor():
    row = after({"failed": True, "msg": "a\nb\x1b[2Jc" + "d" * 9999})
    assert row.reason.startswith("a b?[2Jcd") and len(row.reason) < 3000


def test_every_outcome_that_stops_a_wave_fails_its_board_but_for_one_that_was_not_touched():
    assert [word for word, means in OUTCOMES.items() if not means.well and not means.fails] == [
        "not touched"
    ]
    assert all(means.fails for means in OUTCOMES.values() if means.stops)
    assert all(OUTCOMES[word].well for words in DONE.items() for word in (words[0], *words[1]))


def test_the_result_tells_which_boards_failed_and_why():
    rows = [UPDATE, Row("b", (), ("?",), "failed", "it broke")]
    result = result_of(rows)
    assert result["failed"] == {"b": "it broke"}
    assert result["boards"][0] == {
        "board": "a",
        "before": ["fixes_1"],
        "after": ["fixes_2"],
        "outcome": "update",
        "reason": "newest",
    }
    assert result["table"] == table(rows)


def test_the_table_has_a_line_per_board_in_aligned_columns():
    lines = table(
        [
            Row("orangepi5-1", ("fixes_1",), ("fixes_2",), "updated", ""),
            Row("orangepi5b-1", (), (), "refused", "no"),
        ]
    )
    assert len(lines) == 3
    assert len({line.index(word) for line, word in zip(lines[1:], ("updated", "refused"))}) == 1


def test_a_board_that_is_left_without_a_livepatch_can_be_a_failure():
    rows = [Row("b1", (), (), "nothing fits", "no file"), Row("b2", (), (), "up to date", "")]
    assert result_of(rows)["failed"] == {}
    assert result_of(rows, ["nothing fits"])["failed"] == {"b1": "no file"}


def test_no_board_makes_the_others_lines_as_long_as_it_likes():
    row = Row("b1", ("x" * 500,) * 1000, (), "up to date", "")
    (_header, line) = result_of([row])["table"]
    assert len(line) < 1000 and "and 992 more" in line
