# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch_check: inspects the candidate and hands it to the board."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        _validation, args = self.validate_argument_spec(
            {
                "src": {"type": "str", "required": True},
                "remote_src": {"type": "bool", "default": False},
                "params": {"type": "str", "default": ""},
                "fail_on_refusal": {"type": "bool", "default": True},
            }
        )
        candidate, _data = self.read_candidate(args, task_vars)
        args["_candidate"] = file_to_json(candidate)
        catalog = None if args["remote_src"] else os.path.dirname(candidate.path)
        return self.ask("livepatch_check", args, task_vars, catalog)
