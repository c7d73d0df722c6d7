# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board's half of files: load each module that comes in, and answer what the kernel shows.

A line of JSON in for every module, {name, image}, and one out: {error}, or
{patch, eyes}: as livepatch_info and as drgn read it.  What is no livepatch stays
loaded; the others are disabled and removed.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import Kernel
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import livepatch_to_json

from . import second_eyes

SECONDS = 60


def main() -> None:
    """Answer until no more comes in."""
    kernel = Kernel(BootStore())
    for line in sys.stdin:
        module = json.loads(line)
        try:
            kernel.init_module(base64.b64decode(module["image"]), "")
        except OSError as error:
            answer = {"error": error.errno}
        else:
            answer = _seen(kernel, module["name"])
        print(json.dumps(answer), flush=True)


def _seen(kernel: Kernel, name: str) -> dict[str, Any]:
    if sysfs.read_livepatch(name) is None:
        return {}
    # A transition that stalls changes nothing of what is compared.
    kernel.finish(name, "patching", 2, "leave")
    board = kernel.read()
    answer = {
        "source": board.states_source,
        "patches": [livepatch_to_json(patch) for patch in board.patches],
        "eyes": second_eyes.livepatches(),
    }
    kernel.set_enabled(name, False)
    kernel.finish(name, "unpatching", SECONDS, "leave")
    kernel.remove(name)
    return answer


if __name__ == "__main__":
    main()
