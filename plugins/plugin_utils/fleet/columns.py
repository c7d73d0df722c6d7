# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables for people.

Pure; runs on the controller.
"""

from __future__ import annotations

from collections.abc import Sequence


def columns(table: Sequence[Sequence[str]]) -> list[str]:
    """The table's lines, all but the last cell of each as wide as its column."""
    widths = [max(map(len, column)) for column in zip(*(cells[:-1] for cells in table))]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths)), cells[-1]]).rstrip()
        for cells in table
    ]
