# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch: inspects the candidate, and sends it only where it is loaded."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import (
    BoardAction,
    packed,
)


class ActionModule(BoardAction):
    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        args = dict(self._task.args)
        for name in ("remote_src", "_update_expected"):
            args[name] = boolean(args.get(name, False), strict=False)
        if not args.get("src"):
            if args.get("state", "enabled") == "enabled":
                raise AnsibleActionFail(
                    "state: enabled needs src, the livepatch's file; name alone is for disabled "
                    "and absent."
                )
            return self.ask("livepatch", args, task_vars)
        candidate, data = self.read_candidate(args, task_vars)
        args["_candidate"] = file_to_json(candidate)
        catalog = None if args["remote_src"] else os.path.dirname(candidate.path)
        if args["_update_expected"] and not self._task.check_mode:
            args["_image"] = packed(data)
        result = self.ask("livepatch", args, task_vars, catalog)
        needed = result.pop("_images_needed", None)
        if needed is not None:
            args["_image"] = packed(data)
            args["_images"] = self.images(needed, catalog, task_vars)
            result = self.ask("livepatch", args, task_vars, catalog)
            if "_images_needed" in result:
                raise AnsibleActionFail(
                    "what is installed changes while the livepatch is to be loaded; run again."
                )
        return result
