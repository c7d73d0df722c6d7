# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of the scenarios, for people.

Pure; runs on the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.columns import columns


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of aligned columns, scenario, outcome and why, and then every row's evidence."""
    cells = [("scenario", "outcome", "why")] + [
        (str(row["scenario"]), str(row["outcome"]), str(row["reason"])) for row in rows
    ]
    lines = columns(cells)
    for row in rows:
        if row["evidence"]:
            lines += ["", "%s: %s" % (row["scenario"], row["outcome"])]
            lines += ["  %s" % line for line in row["evidence"]]
    return lines
