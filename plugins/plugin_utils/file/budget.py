# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be spent on one livepatch file, whatever is asked of it.

A bound for each table is not enough: a file of some kilobytes can name the same
table a thousand times, or multiply one by another.  Pure; runs on the controller.
"""

from __future__ import annotations

from dataclasses import dataclass

# A step is 0.4 microseconds, so that all of them are half a second.  A livepatch
# of the kernel's own samples takes a thousand, one of a thousand functions a tenth of these.
MAX_STEPS = 1_250_000
# What is kept besides the file itself, which may be 64 MiB as stored and as many uncompressed.
MAX_BYTES = 96 * 2**20


class SpentError(Exception):
    """More was asked for than a file may cost."""


@dataclass
class Budget:
    """What is left of the steps, and of the bytes that may be kept."""

    steps: int = MAX_STEPS
    bytes: int = MAX_BYTES

    def spend(self, steps: int, kept: int = 0) -> None:
        """Take steps, and bytes that are kept.  Raises SpentError where there are not so many."""
        self.steps -= steps
        self.bytes -= kept
        if self.steps < 0 or self.bytes < 0:
            raise SpentError
