# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures as text: what was measured, and each goal beside its figure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """A figure that is a multiple of another; goal: what it should be at most, where there is one.

    A goal is shown and never asserted: the machine is shared.
    """

    name: str
    figure: float
    goal: float | None = None


def samples(title: str, seconds: Mapping[str, Sequence[float]]) -> str:
    """A line for everything that was measured: its median, and all rounds."""
    lines = ["%-34s %8s   %s" % (title, "median", "all rounds, seconds")]
    for name, values in seconds.items():
        rounds = " ".join("%.2f" % value for value in values)
        lines.append("%-34s %7.2fs   %s" % (name, statistics.median(values), rounds))
    return "\n".join(lines)


def goals(ratios: Sequence[Ratio]) -> str:
    """A line for every ratio: the goal, the figure, and which of both is the greater."""
    lines = ["%-60s %6s %7s" % ("", "goal", "figure")]
    for ratio in ratios:
        goal = "-" if ratio.goal is None else "%.2f" % ratio.goal
        met = "" if ratio.goal is None or ratio.figure <= ratio.goal else "  above the goal"
        lines.append("%-60s %6s %7.2f%s" % (ratio.name, goal, ratio.figure, met))
    return "\n".join(lines)
