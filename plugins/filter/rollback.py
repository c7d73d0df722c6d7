# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role rollback decides with, as a filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollback
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import (
    CatalogError,
    read_catalog,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Caller,
    Plan,
    answers_in,
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

    answers = answers_in(hostvars)
    try:
        # A rollback looks for one build, whatever the others are.
        catalog = read_catalog(
            files.get("files") or (), rejected=files.get("rejected") or (), partial=True
        )
    except CatalogError as error:
        failed = Plan("failed", str(error))
        plan = plan_fleet(boards, present, answers, lambda _answer: failed, caller)
    else:
        plan = plan_fleet(
            boards,
            present,
            answers,
            lambda answer: rollback.plan(answer, catalog, to, unknown_states),
            caller,
        )
    # What boards say is in it: ansible-core 2.17 would take it for a template.
    return dict(wrap_var(plan))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollback_plan": rollback_plan}
