# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boards cut into waves, and what Ansible calls them as the hosts of a play.

Pure; runs on the controller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class WavesError(ValueError):
    """The sizes make no sense; the message is one sentence."""


def waves(
    boards: Sequence[str], sizes: Sequence[int | str] | int | str, variable: str
) -> list[list[str]]:
    """The boards cut into waves by sizes as of Ansible's `serial`.

    sizes: a list, or one, or several with commas (from a command line).  A size
    is a number of boards or a percentage of all of them, at least one board;
    the last size repeats.  variable: what the caller's user calls the sizes.
    Raises WavesError.
    """
    if isinstance(sizes, (int, str)):
        sizes = str(sizes).split(",")
    counts = [_count(size, len(boards), variable) for size in sizes]
    if not counts:
        raise WavesError("%s is empty; give it at least one size, like [1, 100%%]." % variable)
    result: list[list[str]] = []
    start = 0
    while start < len(boards):
        count = counts[min(len(result), len(counts) - 1)]
        result.append(list(boards[start : start + count]))
        start += count
    return result


def host_patterns(boards: Sequence[str]) -> list[str]:
    """The `hosts` of a play that has these boards, in this order, and no others.

    A name that could be a pattern is spelled as a regular expression of its
    characters' codes; an empty `hosts` is one that Ansible takes without a warning.
    """
    return [_pattern(str(board)) for board in boards] or ["all:!all"]


def _pattern(board: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", board):
        return board
    codes = (
        letter if letter.isascii() and letter.isalnum() else "\\U%08x" % ord(letter)
        for letter in board
    )
    return "~%s\\Z" % "".join(codes)


def _count(size: int | str, total: int, variable: str) -> int:
    text = str(size).strip()
    percent = text.endswith("%")
    digits = text[:-1] if percent else text
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise WavesError(
            "%s: %r is neither a number of boards nor a percentage." % (variable, size)
        )
    return max(1, total * int(digits) // 100) if percent else int(digits)
