# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A board that answers at once: no process, no network, one small file read for an answer.

What is left of a run's processor time is the controller's.  The answers are those
that tests/benchmarks/answers.py wrote; the inventory says which a board gives.
A board does not change: after an update it still says what was installed before,
so nothing measured here may read a board again that it has updated.
"""

from __future__ import annotations

import ast
import json
import os
import re
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: replayed
short_description: Boards that answer at once, for the benchmark
description: Gives every module the answer of a real board out of a file.
options:
  answers:
    description: The directory with the answers.
    required: true
    vars: [{name: replayed_answers}]
  installed:
    description: The one livepatch that is installed, or nothing.
    default: nothing
    vars: [{name: replayed_installed}]
"""

# How a payload says which module it is and what it is asked: as ansible-core 2.19 and later writes
# it, and as 2.17 and 2.18 do.  Both are Python literals.
MODULE = re.compile(rb"^ansible_module='([\w.]+)',$|'ansible_' \+ '([\w.]+)' \+ '_payload_'", re.M)
ARGUMENTS = re.compile(rb"^(?:params=(.+),|\s*ANSIBALLZ_PARAMS = (.+))$", re.M)


class Connection(ConnectionBase):
    transport = "replayed"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """What the module in the payload would have printed."""
        module = MODULE.search(in_data or b"")
        if module is None:
            raise AnsibleError("a replayed board can't run %.200s; it only knows modules." % cmd)
        name = (module[1] or module[2]).decode("ascii").rpartition(".")[2]
        arguments = self._arguments(in_data or b"")
        answer = self._answer(name, arguments)
        # As every AnsibleModule does.
        answer["invocation"] = {"module_args": _shown(arguments)}
        return 0, json.dumps(answer).encode(), b""

    def put_file(self, in_path: str, out_path: str) -> None:
        raise AnsibleError("a replayed board takes no files; set ANSIBLE_PIPELINING.")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        raise AnsibleError("a replayed board has no files.")

    def close(self) -> None:
        self._connected = False

    def _arguments(self, payload: bytes) -> dict[str, Any]:
        found = ARGUMENTS.search(payload)
        if found is None:
            raise AnsibleError("no arguments were found in the module's payload.")
        literal = (found[1] or found[2]).decode()
        arguments: dict[str, Any] = json.loads(ast.literal_eval(literal))["ANSIBLE_MODULE_ARGS"]
        return arguments

    def _answer(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        installed = self.get_option("installed")
        if module == "ping":
            return {"ping": arguments.get("data", "pong")}
        if module == "livepatch_info":
            return self._read("info.%s" % installed)
        if module == "livepatch_check":
            return self._read("check.%s.%s" % (installed, _asked_for(arguments)))
        if module in ("livepatch", "livepatch_stack"):
            answer = self._read("run.%s.%s" % (installed, _asked_for(arguments)))
            return self._read("needs") if answer["changed"] and _lacks(arguments) else answer
        raise AnsibleError("a replayed board does not know the module %s." % module)

    def _read(self, answer: str) -> dict[str, Any]:
        path = os.path.join(self.get_option("answers"), answer + ".json")
        try:
            with open(path, encoding="utf-8") as file:
                content: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            raise AnsibleError("a replayed board has no answer %s." % answer) from None
        return content


def _asked_for(arguments: dict[str, Any]) -> str:
    """The livepatch that is to be installed afterwards, and nothing else."""
    wanted = arguments.get("stack")
    if wanted is None:
        wanted = [arguments] if arguments.get("state", "enabled") == "enabled" else []
    # All that the catalog has is cumulative, so that the last one replaces the others.
    last = wanted[-1] if wanted else {"name": "nothing"}
    return os.path.basename(last.get("src") or last["name"]).partition(".ko")[0]


def _lacks(arguments: dict[str, Any]) -> bool:
    """Whether a livepatch that is to be loaded came without its bytes."""
    candidates = json.loads(arguments.get("_from_controller") or "{}").get("candidates") or []
    return not arguments.get("_ansible_check_mode") and any(
        "file" in candidate and not candidate.get("image") for candidate in candidates
    )


def _shown(value: Any) -> Any:
    """The arguments as a module repeats them: neither Ansible's own nor a livepatch's bytes."""
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {
            key: "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" if key == "content" else _shown(item)
            for key, item in value.items()
            if not key.startswith("_ansible_")
        }
    return value
