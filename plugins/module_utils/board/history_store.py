# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The history of this boot, kept in the board's store."""

from __future__ import annotations

from typing import Mapping

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
    StoreError,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    history_from_json,
    history_to_json,
    record,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import ShapeError


def read_history(store: BootStore) -> tuple[tuple[Build, ...], ...] | None:
    """The history of this boot; None where it can't be read, which is not an empty one."""
    try:
        return history_from_json(store.read("history") or [])
    except (ShapeError, StoreError):
        return None


def remember_stack(
    store: BootStore,
    before: Board,
    after: Board,
    params: Mapping[str, str],
    goal: tuple[Build, ...] | None = None,
) -> bool:
    """Keep what a run found and left, and tell whether that succeeded; the rest as of record().

    A history that can't be read is not written over: somebody may mend it.
    """
    history = read_history(store)
    if history is None:
        return False
    noted = record(history, before.patches, after.patches, params, goal)
    return store.put("history", history_to_json(noted))
