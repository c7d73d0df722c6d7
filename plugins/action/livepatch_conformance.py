# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch_conformance: inspects both files, and sends them along."""

from __future__ import annotations

from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import (
    LIVEPATCH_CONFORMANCE,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import FromController
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    find_failing_copy,
)


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        _validation, args = self.validate_argument_spec(**LIVEPATCH_CONFORMANCE)
        if self._task.check_mode:
            return {
                "changed": False,
                "skipped": True,
                "msg": "whether the scenarios pass can't be told without running them.",
            }
        given = {key: value for key, value in args.items() if value is not None}
        newer = self.stored(args["newer"], False, task_vars)
        older = self.stored(args["older"], False, task_vars) if args["older"] else None
        told = FromController(
            candidates=(newer.candidate(True), None if older is None else older.candidate(True)),
            failing_copy=find_failing_copy(newer.data, newer.file.path),
        )
        return self.ask("livepatch_conformance", given, task_vars, told)
