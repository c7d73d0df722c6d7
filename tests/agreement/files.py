# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What livepatch_file says of a file against what the kernel shows once it is loaded.

    python3 -m tests.lab run --boards orangepi5-1 -- python3 -m tests.agreement.files

Every livepatch that is built for the lab is loaded, and what was read from the
file is compared with what livepatch_info reads, and with what drgn reads, which
sees the callbacks as well.
"""

from __future__ import annotations

import base64
import errno
import sys
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import livepatch_to_json
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    inspect,
)

from .remote import Board, lab

# What the lab's own pre_patch() callbacks fail with, on purpose.
FAIL_TO_LOAD = {"fails_pre_patch": errno.ENOMEM, "breaks_cleanup": errno.ENOMEM}


def main() -> int:
    """Compare all of them.  Exit status 1 after a disagreement."""
    (name, *_others), modules = lab()
    disagreements = compared = 0
    with Board(name, "files_board") as board:
        for path in sorted(modules.glob("*.ko")):
            image = path.read_bytes()
            try:
                file = livepatch_to_json(inspect(image, path.name).livepatch)
            except LivepatchFileError:
                continue
            board.send({"name": file["name"], "image": base64.b64encode(image).decode()})
            wrong = _differences(file, board.answer())
            disagreements += bool(wrong)
            compared += 1
            for line in wrong:
                print("%s: %s" % (path.name, line))
    print("%s: %d files compared, %d disagree" % (name, compared, disagreements))
    return 1 if disagreements or not compared else 0


def _differences(file: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    error = FAIL_TO_LOAD.get(file["name"])
    if error or "error" in answer:
        if answer == {"error": error}:
            return []
        return ["the kernel said %s, and %s was expected" % (answer.get("error"), error)]
    if answer["source"] != "kernel":
        return ["the states are read from %s" % answer["source"]]
    wrong = []
    for who, said, seen in (
        ("livepatch_info", _as_shown(file), [_as_shown(patch) for patch in answer["patches"]]),
        ("drgn", _as_in_memory(file), answer["eyes"]),
    ):
        if seen != [said]:
            wrong.append("the file says %s, and %s reads %s" % (said, who, seen))
    return wrong


def _as_shown(patch: dict[str, Any]) -> dict[str, Any]:
    """Without the callbacks, which sysfs does not show, and whatever changes at run time."""
    return {
        **{key: patch[key] for key in ("name", "replace", "build_id", "srcversion")},
        "states": [(state["id"], state["version"]) for state in patch["states"]],
        "objects": {
            shown["name"]: sorted((f["name"], f["position"]) for f in shown["functions"])
            for shown in patch["objects"]
        },
    }


def _as_in_memory(patch: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": patch["name"],
        "replace": patch["replace"],
        "states": [[state["id"], state["version"]] for state in patch["states"]],
        "objects": [
            {
                "name": shown["name"],
                "callbacks": shown["callbacks"],
                "functions": [[f["name"], f["position"]] for f in shown["functions"]],
            }
            for shown in patch["objects"]
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
