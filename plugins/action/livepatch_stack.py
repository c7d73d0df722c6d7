# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller's half of livepatch_stack: inspects the files, and sends those that are loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.orangepi.livepatch.plugins.module_utils.arguments import LIVEPATCH_STACK
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import stack_from_json
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
    FromController,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import ShapeError
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import (
    BoardAction,
    Stored,
    files_at,
)


class ActionModule(BoardAction):
    """A role gives `_decided` alone, which is not for playbooks: the options, and what was decided.

    over: the stack that it was decided over, as of the history; sha256: of the file
    of every livepatch of the stack, None for one that stays; back: files for the way
    back, None where none is needed; options: what the names of the role's variables
    begin with.
    """

    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        args = self._arguments()
        decided = args.pop("_decided")
        stack = self._task.args["stack"] if decided is None else args["stack"]
        given = [entry.get("src") for entry in stack]
        args["stack"] = [
            {key: value for key, value in entry.items() if value is not None}
            for entry in args["stack"]
        ]
        candidates = [
            None if src is None else self.stored(str(src), args["remote_src"], task_vars)
            for src in given
        ]
        paths = [one.file.path for one in candidates if one is not None]
        catalog = os.path.dirname(paths[0]) if paths and not args["remote_src"] else None
        told = None if decided is None else self._told(decided, candidates)
        return self.ask("livepatch_stack", args, task_vars, told, candidates, catalog)

    def _arguments(self) -> dict[str, Any]:
        """The task's arguments; those that a role has decided the module checks again."""
        decided = self._task.args.get("_decided")
        if not isinstance(decided, Mapping):
            _validation, args = self.validate_argument_spec(**LIVEPATCH_STACK)
            return dict(args, _decided=None)
        options = ("stack", "timeout", "on_stall", "unknown_states", "allow_downgrade")
        return {
            **{key: decided[key] for key in options if key in decided},
            "remote_src": False,
            "_decided": decided,
        }

    def _told(self, decided: Mapping[str, Any], candidates: list[Stored | None]) -> FromController:
        """What is told along with the first question, so that one remote call is enough.

        Raises AnsibleActionFail where a file is not the one that was decided on.
        """
        for stored, sha256 in zip(candidates, decided["sha256"]):
            if stored is not None and stored.file.sha256 != sha256:
                raise AnsibleActionFail(
                    "%s has been changed since it was decided to load it; run again."
                    % stored.file.path
                )
        try:
            over = stack_from_json(decided["over"])
        except ShapeError as error:
            raise AnsibleActionFail(str(error)) from None
        told = FromController(over=over, options=decided["options"])
        if self._task.check_mode:
            return told
        back = None if decided["back"] is None else files_at(decided["back"])
        sent = tuple(None if one is None else one.candidate(True) for one in candidates)
        return replace(told, candidates=sent, back=back)
