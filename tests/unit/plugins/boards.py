# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A board, and a file that fits it, for the tests."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile

RELEASE = "6.1.0-56-amd64"


def a_board(patches=(), **changes):
    """A board on which these livepatches are enabled, and nothing is in the way of others."""
    board = Board(
        kernel_release=RELEASE,
        arch="x86_64",
        kernel_build_id=None,
        supported=True,
        system_states=True,
        reasons=(),
        model=None,
        compatible=(),
        patches=tuple(replace(patch, enabled=True, transition=False) for patch in patches),
        states_source="kernel",
        transition=None,
        leftover=(),
        modules_disabled=False,
        signatures_enforced=False,
    )
    return replace(board, **changes)


def a_file(patch, **changes):
    """The file of the livepatch, built for that board."""
    path = "/catalog/%s.ko" % patch.name
    file = LivepatchFile(patch, path, "00" * 32, 1, RELEASE, RELEASE, "x86_64")
    return replace(file, **changes)
