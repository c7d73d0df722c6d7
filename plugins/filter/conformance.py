# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of the scenarios as a filter, for the role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import (
    conformance_table as conformance,
)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"conformance_table": conformance.table}
