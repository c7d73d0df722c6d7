# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role rollout decides with, as filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollout
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import (
    CatalogError,
    read_catalog,
    read_index,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Caller,
    answers_in,
    plan_fleet,
)


def rollout_catalog(files: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What catalog.yml says, whose text it is, and what is wrong with it or with the files."""
    try:
        index = read_index(text)
        read_catalog(files["files"], index, files["rejected"])
    except CatalogError as error:
        return {"index": None, "error": str(error)}
    return {"index": index, "error": ""}


def rollout_plan(
    boards: Sequence[str],
    hostvars: Mapping[str, Any],
    present: Sequence[str],
    files: Mapping[str, Any],
    index: Any,
    waves: Any,
    unknown_states: str,
    allow_downgrade: bool,
    fail_on: Sequence[str] = (),
) -> dict[str, Any]:
    """What will happen to every board, in which waves."""
    catalog = read_catalog(files["files"], index, files["rejected"])
    plan = plan_fleet(
        boards,
        present,
        answers_in(hostvars),
        lambda answer: rollout.plan(answer, catalog, unknown_states, allow_downgrade),
        Caller(rollout.PREFIX, waves, unknown_states, allow_downgrade, fail_on),
    )
    # What boards say is in it: ansible-core 2.17 would take it for a template.
    return dict(wrap_var(plan))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollout_catalog": rollout_catalog, "rollout_plan": rollout_plan}
