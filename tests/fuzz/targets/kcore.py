# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's list out of a damaged /proc/kcore: livepatches, or one error."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.kernel_memory import (
    KernelMemory,
    KernelMemoryError,
    read_livepatches,
)
from ansible_collections.orangepi.livepatch.tests.fuzz.mutators import damage
from ansible_collections.orangepi.livepatch.tests.unit.plugins.module_utils.board import (
    test_kernel_memory as made_up,
)

_FILE = Path(tempfile.mkdtemp(prefix="fuzz-kcore-")) / "kcore"


def seeds() -> list[bytes]:
    """Lists of livepatches with states and callbacks, of either byte order."""
    cores = []
    for order in "<>":
        for count in (0, 1, 3):
            image = made_up.Image(order)
            objects = [(None, (1, 0, 0, 1)), ("nfs", (0, 0, 0, 0))]
            nodes = [
                image.patch(n, "fixes_%d" % n, n % 2, [(1, n, 0), (7, 1, 0xFFFF)], objects)
                for n in range(1, count + 1)
            ]
            image.link([made_up.HEAD, *nodes])
            image.core(_FILE)
            cores.append(_FILE.read_bytes())
    return cores


def check(data: bytes) -> None:
    """It is a list of livepatches, or one declared error."""
    _FILE.write_bytes(data)
    try:
        with KernelMemory(str(_FILE)) as memory:
            patches = read_livepatches(memory, made_up.HEAD, lambda data: "%x" % data or None)
    except KernelMemoryError:
        return
    for patch in patches:
        json.dumps([patch.name, patch.replace, [[s.id, s.version] for s in patch.states]])


def mutate(random: Random, data: bytes, seeds: list[bytes]) -> bytes:
    """Mostly where the list, its structures and their arrays are."""
    if random.random() < 0.2:
        return damage(random, data)
    page = random.randrange(4) * made_up.PAGE
    at = 4096 + page + random.choice((0, 0x100, 0x400, 0x500, 0x800)) + random.randrange(64) * 8
    words = (0, 1, 2**64 - 1, made_up.HEAD, made_up.BASE + random.randrange(0x8000) * 8)
    word = random.choice(words).to_bytes(8, random.choice(("little", "big")))
    return data[:at] + word + data[at + 8 :]
