# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch: inspects the candidate, and sends it only where it is loaded."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import LIVEPATCH
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        given = self._task.args
        if not given.get("src") and given.get("state", "enabled") == "enabled":
            raise AnsibleActionFail(
                "state: enabled needs src, the livepatch's file; name alone is for disabled and "
                "absent."
            )
        _validation, args = self.validate_argument_spec(**LIVEPATCH)
        given = {key: value for key, value in args.items() if value is not None}
        if not args["src"]:
            return self.ask("livepatch", given, task_vars)
        candidate = self.stored(self._task.args["src"], args["remote_src"], task_vars)
        catalog = None if args["remote_src"] else os.path.dirname(candidate.file.path)
        return self.ask("livepatch", given, task_vars, candidates=[candidate], catalog=catalog)
