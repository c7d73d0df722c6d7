# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""livepatch_file_info: runs on the controller alone, with no call to the board."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import BoardAction
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    findings_to_json,
    read_with_findings,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    catalog_paths,
    shown_path,
)


class ActionModule(BoardAction):
    _requires_connection = False

    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        _validation, args = self.validate_argument_spec({"src": {"type": "str", "required": True}})
        path = self.find_file(args["src"])
        files, rejected = [], []
        try:
            directory = os.path.isdir(path)
            for name in catalog_paths(path) if directory else [path]:
                try:
                    file, findings = read_with_findings(name)
                except LivepatchFileError as error:
                    if not directory:
                        raise
                    rejected.append(
                        {
                            "path": shown_path(name),
                            "reason": str(error),
                            "may_be_livepatch": error.may_be_livepatch,
                        }
                    )
                else:
                    files.append(dict(file_to_json(file), findings=findings_to_json(findings)))
        except LivepatchFileError as error:
            raise AnsibleActionFail(str(error)) from None
        return {"changed": False, "path": path, "files": files, "rejected": rejected}
