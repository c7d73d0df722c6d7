"""The lab as Ansible sees it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .board import MODELS, Board, ssh_options


def inventory(boards: Iterable[Board], modules: Path, directory: Path) -> str:
    groups: dict[str, Any] = {name: {"hosts": {}} for name in MODELS}
    for board in boards:
        groups[board.model]["hosts"][board.name] = {
            "ansible_port": board.port,
            "ansible_ssh_private_key_file": board.identity,
        }
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
        "ansible_ssh_common_args": shlex.join(ssh_options(directory)),
        "lab_modules": str(modules),
    }
    return "---\n" + _yaml(
        {"all": {"children": {"boards": {"vars": variables, "children": groups}}}}
    )


def _yaml(mapping: Mapping[str, Any], indent: str = "") -> str:
    # Every JSON scalar is a YAML scalar, so that nothing needs PyYAML.
    lines = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            lines.append(f"{indent}{key}:\n{_yaml(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)
