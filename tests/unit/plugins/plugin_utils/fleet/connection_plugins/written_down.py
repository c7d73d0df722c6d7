# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark's boards that answer at once, with a list of what they were asked."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.loader import connection_loader

DOCUMENTATION = r"""
name: written_down
short_description: Boards that answer at once, and whose calls are written down
description: As the connection plugin replayed.
options:
  answers:
    description: The directory with the answers.
    required: true
    vars: [{name: replayed_answers}]
  installed:
    description: The one livepatch that is installed, or nothing.
    default: nothing
    vars: [{name: replayed_installed}]
  board:
    description: What the board is called.
    vars: [{name: inventory_hostname}]
  log:
    description: A line for every call, with the board, the module and its options.
    required: true
    vars: [{name: written_down_log}]
"""


class Connection(connection_loader.get("replayed", class_only=True)):
    transport = "written_down"

    def _answer(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        options = {key: value for key, value in arguments.items() if not key.startswith("_")}
        with open(self.get_option("log"), "a", encoding="utf-8") as log:
            log.write(json.dumps([self.get_option("board"), module, options]) + "\n")
        return super()._answer(module, arguments)
