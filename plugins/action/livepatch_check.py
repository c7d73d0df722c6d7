# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch_check: inspects the candidate and hands it to the board."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import LIVEPATCH_CHECK
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        _validation, args = self.validate_argument_spec(**LIVEPATCH_CHECK)
        candidate = self.stored(self._task.args["src"], args["remote_src"], task_vars)
        catalog = None if args["remote_src"] else os.path.dirname(candidate.file.path)
        return self.ask("livepatch_check", args, task_vars, candidates=[candidate], catalog=catalog)
