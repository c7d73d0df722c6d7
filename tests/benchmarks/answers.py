# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a real board answers, for boards that answer at once.

Made from livepatch files by the collection's own reader, gate and shapes, so that
names, build ids and sizes are those of a board on which these files are loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    history_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import Needs
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    board_to_json,
    livepatch_to_json,
    system_states_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import inspect

NOTHING = "nothing"


def write_answers(files: Sequence[Path], directory: Path) -> None:
    """One file for everything that the connection plugin `replayed` may have to say.

    files: cumulative livepatches for one kernel; a board has none or one of them.
    """
    candidates = [inspect(path.read_bytes(), str(path)) for path in files]
    boards = {NOTHING: _board(candidates[0], ())}
    for file in candidates:
        boards[file.livepatch.name] = _board(file, (_loaded(file.livepatch),))
    # Of a run that is to load something, and was not given the module's bytes.
    needs = Needs(candidates=True).to_json()
    _write(directory, "needs", {"changed": False, "_needs": needs})
    for name, board in boards.items():
        history = history_to_json([_stack(board.patches)] if board.patches else [])
        info = board_to_json(board)
        _write(directory, "info.%s" % name, dict(info, changed=False, history=history))
        _write(directory, "run.%s.%s" % (name, NOTHING), _run(board, boards[NOTHING], None))
        for file in candidates:
            wanted = file.livepatch.name
            decision = gate(file, board).to_json()
            source = {"states_source": "kernel"}
            _write(
                directory,
                "check.%s.%s" % (name, wanted),
                dict(source, changed=False, decision=decision),
            )
            _write(
                directory,
                "run.%s.%s" % (name, wanted),
                _run(board, boards[wanted], decision),
            )


def _board(file: LivepatchFile, patches: tuple[Livepatch, ...]) -> Board:
    return Board(
        kernel_release=file.kernel_release,
        arch=file.arch,
        kernel_build_id="8ab1b0c4b4e3b2a4a9a54ae04a5cbe3d9a3f0d2c",
        supported=True,
        system_states=True,
        reasons=(),
        model="Xunlong Orange Pi 5",
        compatible=("xunlong,orangepi-5", "rockchip,rk3588s"),
        patches=patches,
        states_source="kernel",
        transition=None,
        leftover=(),
        modules_disabled=False,
        signatures_enforced=False,
    )


def _loaded(patch: Livepatch) -> Livepatch:
    """What the kernel shows of a livepatch whose transition has ended."""
    return replace(
        patch,
        enabled=True,
        transition=False,
        states=tuple(
            replace(state, data=sha256(b"%d" % state.id).hexdigest()[:16])
            for state in patch.states or ()
        ),
        objects=tuple(replace(one, patched=True) for one in patch.objects or ()),
    )


def _stack(patches: Sequence[Livepatch]) -> tuple[Build, ...]:
    return tuple(Build(one.name, one.build_id, one.srcversion, "") for one in patches)


def _run(before: Board, after: Board, decision: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the module livepatch says that took a board from one to the other."""
    changed = before != after
    direction = "patching" if after.patches else "unpatching"
    name = (after.patches or before.patches)[0].name if changed else None
    return {
        "changed": changed,
        "decision": decision,
        "transition": {
            "outcome": "completed" if changed else "none",
            "direction": direction if changed else None,
            "seconds": 1.532 if changed else 0.0,
            "blocking": [],
        },
        "restored": False,
        "before": _snapshot(before),
        "after": _snapshot(after),
        "states_source": "kernel",
        "kernel_log": [
            "livepatch: %s patch '%s'" % ("enabling" if after.patches else "disabling", name),
            "livepatch: '%s': starting %s transition" % (name, direction),
            "livepatch: '%s': completing %s transition" % (name, direction),
            "livepatch: '%s': %s complete" % (name, direction),
        ]
        if changed
        else [],
    }


def _snapshot(board: Board) -> dict[str, Any]:
    return {
        "patches": [livepatch_to_json(patch) for patch in board.patches],
        "system_states": system_states_to_json(board.patches),
    }


def _write(directory: Path, name: str, answer: Mapping[str, Any]) -> None:
    (directory / (name + ".json")).write_text(json.dumps(answer), encoding="utf-8")
