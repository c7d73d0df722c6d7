# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which wave a board is, and how a play names it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import waves as fleet
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.waves import (
    WavesError,
    host_patterns,
)


def waves(boards, sizes):
    return fleet.waves(boards, sizes, "rollback_waves")


def test_the_first_wave_is_the_canary_and_the_last_size_repeats():
    boards = list("abcdefg")
    assert waves(boards, [1, 2]) == [["a"], ["b", "c"], ["d", "e"], ["f", "g"]]
    assert waves(boards, [1, "100%"]) == [["a"], list("bcdefg")]


@given(
    st.lists(st.text(min_size=1), unique=True),
    st.lists(st.integers(1, 9) | st.integers(1, 100).map("{}%".format), min_size=1, max_size=4),
)
def test_every_board_is_in_exactly_one_wave_in_order(boards, sizes):
    assert [board for wave in waves(boards, sizes) for board in wave] == boards


@pytest.mark.parametrize("sizes", [[], [0], ["0%"], ["many"], [-1], ["%"], ["\u00b2"]])
def test_sizes_that_are_none_are_refused_in_the_words_of_the_role(sizes):
    with pytest.raises(WavesError, match="^rollback_waves"):
        waves(["a"], sizes)


def test_sizes_may_come_from_a_command_line():
    assert waves(list("abc"), "1,100%") == [["a"], ["b", "c"]]
    assert waves(list("abc"), 2) == [["a", "b"], ["c"]]


def test_ordinary_names_are_patterns_as_they_are():
    assert host_patterns(["orangepi5-1", "b.example.com"]) == ["orangepi5-1", "b.example.com"]


def test_no_boards_are_a_pattern_that_matches_none_without_a_warning():
    assert host_patterns([]) == ["all:!all"]


@given(st.text(min_size=1))
def test_any_name_is_matched_and_nothing_else(name):
    (pattern,) = host_patterns([name])
    if pattern == name:
        assert re.fullmatch(r"[\w.-]+", name)
        return
    assert pattern[0] == "~" and not set(pattern) & set(",:&![] ")
    assert re.match(pattern[1:], name)
    assert not re.match(pattern[1:], name + "x")
