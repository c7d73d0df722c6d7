# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sample of each fuzz target: the same inputs every time, a second or so of them."""

from __future__ import annotations

import random

import pytest

from ansible_collections.orangepi.livepatch.tests.fuzz import harness
from ansible_collections.orangepi.livepatch.tests.fuzz.__main__ import TARGETS

INPUTS = 500


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_a_sample_breaks_anything(target: str) -> None:
    found = [
        "input %d: %s" % (miss.number, miss.what)
        for miss in harness.misses(target, 1, range(INPUTS), seconds=None)
    ]
    assert found == [], "python3 -m tests.fuzz %s --seed 1 --number N plays one again" % target


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_is_whole_and_an_input_is_made_of_its_number_alone(target: str) -> None:
    loaded = harness.load(target)
    seeds = loaded.seeds()
    assert seeds
    for data in seeds:
        assert harness.what_is_wrong(loaded, data, None) == ""
    random.seed()
    assert harness.made(loaded, seeds, 7, 3) == harness.made(loaded, seeds, 7, 3)


def test_what_breaks_is_told_and_what_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Target:
        @staticmethod
        def check(data: bytes) -> None:
            if data == b"endless":
                while True:
                    pass
            raise KeyError("gone")

    monkeypatch.setattr(harness, "_AT_MOST", 0.1)
    assert harness.what_is_wrong(Target, b"") == "KeyError: 'gone'"
    assert "it took more than" in harness.what_is_wrong(Target, b"endless")
