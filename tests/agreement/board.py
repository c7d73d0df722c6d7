# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board's half: play random sequences on this kernel, and compare what it does with the gate.

Standard library and the collection's module_utils only.  Reads a Batch as JSON
on standard input, and writes one line of JSON for every disagreement and one
for the totals.
"""

from __future__ import annotations

import base64
import errno
import json
import random
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils import sysfs, transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.board import read_board
from ansible_collections.orangepi.livepatch.plugins.module_utils.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    LivepatchFile,
    file_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    UINT_MAX,
    ULONG_MAX,
    Livepatch,
    SystemState,
)

MAX_STEPS = 8
MAX_STATES = 16
IDS = (1, 2, 3, 4, 2**32, ULONG_MAX - 1, ULONG_MAX)
VERSIONS = (0, 1, 1, 2, 2, 3, UINT_MAX - 1, UINT_MAX)


class Template:
    """A built livepatch, and where in its file the name, the states and replace stand."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self.image = base64.b64decode(batch["image"])
        self.file = file_from_json(batch["file"])
        self.states_at: int = batch["states_at"]
        self.replace_at: int = batch["replace_at"]
        self.byte_order: str = batch["byte_order"]

    def make(
        self, name: str, states: tuple[SystemState, ...], cumulative: bool
    ) -> tuple[LivepatchFile, bytes]:
        """A livepatch of that name (as long as the template's), as file and as bytes."""
        template = self.file.livepatch
        image = bytearray(self.image.replace(template.name.encode(), name.encode()))
        array = b"".join(
            struct.pack(self.byte_order + "QIxxxxQ", state.id, state.version, 0) for state in states
        )
        size = (MAX_STATES + 1) * 24
        image[self.states_at : self.states_at + size] = array.ljust(size, b"\0")
        image[self.replace_at] = cumulative
        patch = replace(template, name=name, states=states, replace=cumulative)
        return replace(self.file, livepatch=patch), bytes(image)


def steps(generator: random.Random) -> Iterator[tuple[str, Any]]:
    """A random sequence: load something new, disable something, remove what is left over."""
    for _step in range(generator.randint(1, MAX_STEPS)):
        kind = generator.choices(("load", "disable", "remove"), (6, 3, 1))[0]
        if kind == "load":
            few = generator.random() < 0.8
            count = generator.randint(0, 3 if few else MAX_STATES)
            states = tuple(
                SystemState(generator.choice(IDS), generator.choice(VERSIONS))
                for _state in range(count)
            )
            yield kind, (states, generator.random() < 0.6)
        else:
            yield kind, generator.random()


class Disagreement(Exception):
    """What was said beforehand and what the kernel did are not the same."""


class Sequence:
    """One sequence on this kernel; `installed` is what the rules say must be on its list."""

    def __init__(self, template: Template, number: int) -> None:
        self.template = template
        self.store = BootStore()
        self.number = number
        self.loads = 0
        self.refusals = 0
        self.installed: list[Livepatch] = []
        self.leftover: list[str] = []

    def play(self, kind: str, what: Any) -> None:
        if kind == "load":
            self._load(*what)
        elif kind == "disable" and self.installed:
            self._disable(self.installed[int(what * len(self.installed))])
        elif kind == "remove" and self.leftover:
            self._remove(self.leftover[int(what * len(self.leftover))])
        self._compare()

    def end(self) -> None:
        for patch in reversed(list(self.installed)):
            self._disable(patch)
        for name in list(self.leftover):
            self._remove(name)
        self._compare()

    def _load(self, states: tuple[SystemState, ...], cumulative: bool) -> None:
        self.loads += 1
        width = len(self.template.file.livepatch.name)
        name = "lp%0*d" % (width - 2, self.number * 100 + self.loads)
        file, image = self.template.make(name, states, cumulative)
        decision = gate(file, read_board(self.store))
        try:
            transition.load(image, "")
            verdict = 0
        except OSError as error:
            verdict = error.errno or -1
        expected = 0 if decision.allowed else errno.EINVAL
        if verdict != expected:
            raise Disagreement(
                "load %s: the gate said %s and the kernel said %s"
                % (
                    file.livepatch,
                    "allowed" if decision.allowed else decision.refusal(name),
                    errno.errorcode.get(verdict, "allowed"),
                )
            )
        if verdict:
            self.refusals += 1
            return
        self._finish(name, "patching")
        if cumulative:
            self.leftover += [patch.name for patch in self.installed]
            self.installed = []
        self.installed.append(file.livepatch)

    def _disable(self, patch: Livepatch) -> None:
        transition.set_enabled(patch.name, False)
        self._finish(patch.name, "unpatching")
        self.installed.remove(patch)
        self.leftover.append(patch.name)

    def _remove(self, name: str) -> None:
        transition.remove(name)
        self.leftover.remove(name)

    def _finish(self, name: str, direction: str) -> None:
        result = transition.finish(name, direction, 60, "reverse")
        if result.outcome != "completed":
            raise Disagreement("the transition of %s was %s" % (name, result.outcome))

    def _compare(self) -> None:
        board = read_board(self.store)
        expected = [(p.name, p.replace, _numbers(p)) for p in self.installed]
        shown = [(p.name, p.replace, _numbers(p)) for p in board.patches]
        if board.states_source != "kernel" or shown != expected:
            raise Disagreement(
                "the kernel's list (%s) is %s and must be %s"
                % (board.states_source, shown, expected)
            )
        if sorted(board.leftover) != sorted(self.leftover):
            raise Disagreement("left over is %s, not %s" % (board.leftover, self.leftover))
        if sorted(sysfs.livepatch_names() or []) != sorted(p.name for p in self.installed):
            raise Disagreement("sysfs shows %s" % sysfs.livepatch_names())


def _numbers(patch: Livepatch) -> list[tuple[int, int]]:
    return [(state.id, state.version) for state in patch.states or ()]


def main() -> int:
    """Play the batch.  Exit status 1 after a disagreement."""
    batch = json.load(sys.stdin)
    template = Template(batch)
    played = loads = refusals = 0
    for number in range(batch["first"], batch["first"] + batch["sequences"]):
        generator = random.Random(batch["seed"] * 1000003 + number)
        sequence = Sequence(template, number)
        history = list(steps(generator))
        if batch.get("only") is not None:
            history = [history[index] for index in batch["only"]]
        try:
            for kind, what in history:
                sequence.play(kind, what)
            sequence.end()
        except Disagreement as error:
            print(json.dumps({"sequence": number, "steps": len(history), "why": str(error)}))
            return 1
        played += 1
        loads += sequence.loads
        refusals += sequence.refusals
    print(json.dumps({"played": played, "loads": loads, "refusals": refusals}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
