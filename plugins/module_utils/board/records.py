# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this collection loaded in this boot: the "record" among the sources of system states.

Kept in the board's store, by the livepatch's name, with the module parameters,
which no kernel shows.
"""

from __future__ import annotations

from typing import Any, Iterable

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    livepatch_from_json,
    livepatch_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


def remember(store: BootStore, patch: Livepatch, params: str, sha256: str) -> bool:
    """Record what was loaded, and tell whether that succeeded.

    params: the module parameters, which no kernel shows; sha256: of the module's
    bytes, by which the way back knows them again.
    """
    records = store.get("records")
    records = dict(records) if isinstance(records, dict) else {}
    records[patch.name] = dict(livepatch_to_json(patch), params=params, sha256=sha256)
    return store.put("records", records)


def loaded_with(store: BootStore, patch: Livepatch) -> str | None:
    """The module parameters that this build was loaded with; None where it was not by us."""
    return _recorded(store, patch, "params")


def loaded_from(store: BootStore, patch: Livepatch) -> str | None:
    """The SHA-256 of the bytes that this build was loaded from; None where it was not by us."""
    return _recorded(store, patch, "sha256")


def _recorded(store: BootStore, patch: Livepatch, key: str) -> str | None:
    known: Any = store.get("records")
    record = known.get(patch.name) if isinstance(known, dict) else None
    if (
        not isinstance(record, dict)
        or not patch.build_id
        or record.get("build_id") != patch.build_id
    ):
        return None
    value = record.get(key)
    return value if isinstance(value, str) else None


def records(store: BootStore) -> Iterable[Livepatch]:
    """The livepatches that were recorded; what can't be read is left out."""
    known: Any = store.get("records")
    for record in known.values() if isinstance(known, dict) else ():
        try:
            yield livepatch_from_json(record)
        except ShapeError:
            continue
