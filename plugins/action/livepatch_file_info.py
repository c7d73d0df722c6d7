# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""livepatch_file_info: runs on the controller alone, with no call to the board."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.orangepi.livepatch.plugins.module_utils.livepatch_file import (
    LivepatchFileError,
    read_catalog,
    read_livepatch_file,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    LivepatchFile,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction


class ActionModule(BoardAction):
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec({"src": {"type": "str", "required": True}})
        path = self.find(args["src"])
        try:
            if os.path.isdir(path):
                entries = read_catalog(path)
            else:
                entries = [(path, read_livepatch_file(path))]
        except LivepatchFileError as error:
            raise AnsibleActionFail(str(error)) from None
        files = [file for _path, file in entries if isinstance(file, LivepatchFile)]
        rejected = [
            {"path": str(path), "reason": str(error)}
            for path, error in entries
            if not isinstance(error, LivepatchFile)
        ]
        result.update(
            changed=False, files=[file_to_json(file) for file in files], rejected=rejected
        )
        return result
