# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch_conformance: inspects both files, and sends them along."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import (
    BoardAction,
    packed,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    find_late_error,
)


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        _validation, args = self.validate_argument_spec(
            {
                "older": {"type": "str"},
                "newer": {"type": "str", "required": True},
                "probes": {"type": "list", "elements": "dict", "default": []},
                "timeout": {"type": "int", "default": 60},
            }
        )
        for which in ("older", "newer"):
            if args[which]:
                file, data = self.read_candidate(
                    {"src": args[which], "remote_src": False}, task_vars
                )
                args["_" + which] = file_to_json(file)
                args["_%s_image" % which] = packed(data)
                error = find_late_error(data, file.path) if which == "newer" else None
                if error is not None:
                    args["_late_error"] = asdict(error)
        return self.ask("livepatch_conformance", args, task_vars)
