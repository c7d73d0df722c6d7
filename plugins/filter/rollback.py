# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback's decision as a filter, for the role; the rest is the rollout's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollback


def rollback_plan(
    answer: Mapping[str, Any], files: Sequence[Mapping[str, Any]], **options: Any
) -> dict[str, Any]:
    """What will happen to the board that gave this answer, as a dictionary."""
    return rollback.plan(answer, files, **options).to_json()


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollback_plan": rollback_plan}
