# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role rollback decides with, as a filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollback
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import (
    CatalogError,
    read_catalog,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Caller,
    Plan,
    plan_fleet,
)


def rollback_plan(
    boards: Sequence[str],
    hostvars: Mapping[str, Any],
    present: Sequence[str],
    files: Mapping[str, Any],
    to: str,
    waves: Any,
    unknown_states: str,
) -> dict[str, Any]:
    """What will happen to every board, in which waves."""
    caller = Caller(rollback.PREFIX, waves, unknown_states, allow_downgrade=True)

    def answer_of(board: str) -> Any:
        return hostvars[board].get("__waves_answer")

    try:
        # A rollback looks for one build, whatever the others are.
        catalog = read_catalog(
            files.get("files") or (), rejected=files.get("rejected") or (), partial=True
        )
    except CatalogError as error:
        why = str(error)
        return plan_fleet(boards, present, answer_of, lambda _answer: Plan("failed", why), caller)
    return plan_fleet(
        boards,
        present,
        answer_of,
        lambda answer: rollback.plan(answer, catalog, to, unknown_states),
        caller,
    )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollback_plan": rollback_plan}
