# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch_info: finds the files of builds whose states nobody else knows."""

from __future__ import annotations

from typing import Any

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        self.validate_argument_spec({})
        return self.ask("livepatch_info", {}, task_vars)
