# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board's half: play the sequences that come in on this kernel, and answer.

Standard library and the collection's module_utils only.  A line of JSON each:
the template comes in and the kernel's release goes out, then batches of
sequences come in and what was seen of them goes out.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import Kernel
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.wait import wait_until
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile

from . import sequences, template
from .play import Disagreement, Reading, Tally, play
from .sequences import DISABLE, REMOVE, Load, Step, name_of
from .template import Template

SECONDS = 60


class Board:
    """The board that this runs on."""

    def __init__(self, made_from: Template) -> None:
        self._template = made_from
        self._kernel = Kernel(BootStore())
        self._made: dict[Load, tuple[LivepatchFile, bytes]] = {}

    def file(self, load: Load) -> LivepatchFile:
        """The file that a load stands for."""
        return self._make(load)[0]

    def do(self, step: Step) -> int:
        """Do it, and wait until its transition is over.  The errno, 0 for none."""
        name = name_of(step.patch)
        try:
            if isinstance(step, Load):
                self._kernel.init_module(self._make(step)[1], "")
                self._finish(name, "patching")
            elif step.action == REMOVE:
                # Kernel.remove() would wait for an enabled livepatch to let go of its module.
                self._kernel.delete_module(name)
            else:
                self._kernel.set_enabled(name, step.action != DISABLE)
                self._finish(name, "unpatching")
        except OSError as error:
            return error.errno or -1
        return 0

    def read(self) -> Reading:
        """What the product reads of the board, and what it does not use of sysfs."""
        wait_until(lambda: not sysfs.leaving(), SECONDS)
        names = sysfs.livepatch_names() or []
        return Reading(
            board=self._kernel.read(),
            names=tuple(sysfs.stack_order(names)),
            replace={name: _replace(name) for name in names},
        )

    def clear(self) -> None:
        """Disable and remove every livepatch, whatever state they are in."""
        self._made.clear()
        for name in sysfs.livepatch_names() or []:
            with suppress(OSError, Disagreement):
                self._kernel.set_enabled(name, False)
                self._finish(name, "unpatching")
        wait_until(lambda: not sysfs.leaving(), SECONDS)
        for name in sysfs.leftover_livepatches([]):
            with suppress(OSError):
                self._kernel.remove(name)

    def _make(self, load: Load) -> tuple[LivepatchFile, bytes]:
        if load not in self._made:
            self._made[load] = self._template.make(load)
        return self._made[load]

    def _finish(self, name: str, direction: str) -> None:
        result = self._kernel.finish(name, direction, SECONDS, "leave")
        if result.outcome != "completed":
            raise Disagreement("the transition of %s was %s" % (name, result.outcome))


def _replace(name: str) -> bool | None:
    text = sysfs.read_text(os.path.join(sysfs.LIVEPATCH, name, "replace"))
    return None if text is None else text == "1"


def quicken() -> None:
    """Loading and removing a module waits for grace periods: half of an amd64 board's time."""
    with suppress(OSError), open("/sys/kernel/rcu_expedited", "w") as file:
        file.write("1")


def main() -> None:
    """Answer until no more comes in."""
    board = Board(template.from_json(json.loads(sys.stdin.readline())))
    quicken()
    _say({"release": os.uname().release})
    for line in sys.stdin:
        tally = Tally()
        batch = [sequences.from_json(sequence) for sequence in json.loads(line)]
        disagreement = play(board, batch, tally)
        _say(dict(asdict(tally), disagreement=disagreement))


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
