# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table: one row a scenario, and the evidence below."""

from __future__ import annotations

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.conformance_table import (
    table,
)


def test_the_rows_are_aligned_and_the_evidence_follows():
    rows = [
        {"scenario": "one", "outcome": "passed", "reason": "as before.", "evidence": ["a: done"]},
        {"scenario": "second", "outcome": "not applicable", "reason": "why.", "evidence": []},
    ]
    assert table(rows) == [
        "scenario  outcome         why",
        "one       passed          as before.",
        "second    not applicable  why.",
        "",
        "one: passed",
        "  a: done",
    ]
