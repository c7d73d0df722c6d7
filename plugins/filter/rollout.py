# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollout's decisions as filters, for the role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollout


def rollout_plan(
    answer: Mapping[str, Any], files: Sequence[Mapping[str, Any]], **options: Any
) -> dict[str, Any]:
    """What will happen to the board that gave this answer, as a dictionary."""
    return rollout.plan(answer, files, **options).to_json()


def rollout_waves(boards: Sequence[str], sizes: Sequence[int | str] | int | str) -> list[list[str]]:
    """The boards cut into waves."""
    try:
        return rollout.waves(boards, sizes)
    except rollout.RolloutError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "rollout_index_error": rollout.index_error,
            "rollout_plan": rollout_plan,
            "rollout_waves": rollout_waves,
            "rollout_outcome": rollout.outcome,
            "rollout_rows": rollout.rows,
            "rollout_table": rollout.table,
        }
