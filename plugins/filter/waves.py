# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has happened to the boards, as filters for the role waves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.outcome import result_of
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Answers,
    rows_after,
    unfinished,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.waves import host_patterns


def waves_result(
    plan: Mapping[str, Any], hostvars: Mapping[str, Any], check_mode: bool
) -> dict[str, Any]:
    """`result`, the role's own, and the boards that failed as `hosts` of a play."""
    rows = rows_after(plan, _results(hostvars), check_mode)
    result = result_of(rows, plan["fail_on"])
    found = {"result": result, "hosts": host_patterns(list(result["failed"]))}
    # What boards say is in it: ansible-core 2.17 would take it for a template.
    return dict(wrap_var(found))


def waves_unfinished(
    wave: Sequence[str],
    hostvars: Mapping[str, Any],
    turns: Mapping[str, Any],
    ways: Sequence[Any],
    check_mode: bool,
) -> list[str]:
    """The boards after which no other wave must start."""
    return unfinished(wave, turns, ways, _results(hostvars), check_mode)


def _results(hostvars: Mapping[str, Any]) -> Answers:
    return lambda board: hostvars[board].get("__waves_update")


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "waves_result": waves_result,
            "waves_unfinished": waves_unfinished,
        }
