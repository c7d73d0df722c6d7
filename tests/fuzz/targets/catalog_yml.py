# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog.yml: what it says, or one error that says where."""

from __future__ import annotations

import json
from random import Random

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import (
    CatalogError,
    read_catalog,
    read_index,
)
from ansible_collections.orangepi.livepatch.tests.fuzz.mutators import damage
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board, a_file

BOARD = a_board()
FILES = [
    file_to_json(a_file(Livepatch(name, True, (SystemState(1, 1),), build_id=digit * 40)))
    for name, digit in (("fixes_1", "1"), ("fixes_2", "2"))
]

# Each costs more than it looks like, or means something else than it looks like.
_TOKENS = (
    "&a ", "*a", "[", "]", "{", "}", "? ", ": ", "- ", ", ", "<<: ", "| ", "> ", "'", '"', "%", "#",
    "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!python/tuple ",
    "!x ", "\n", "\n  ", "\t", "---\n", "...\n", "=", "~", ".inf", "0x", "1:", "2027-03-01", "\0",
    "\ufeff",
    "fixes_1.ko", "number", "compatible", "livepatches", "1", "9" * 40, "xunlong,orangepi-5",
)  # fmt: skip


def seeds() -> list[bytes]:
    """What operators write."""
    return [
        text.encode()
        for text in (
            "",
            "livepatches:\n  fixes_1.ko: {number: 11}\n",
            "livepatches:\n  fixes_2.ko:\n    number: 12\n    compatible:\n"
            "      - xunlong,orangepi-5\n      - xunlong,orangepi-5b\n",
            "---\n# a comment\nlivepatches: {fixes_1.ko: {compatible: 'xunlong,orangepi-5'}}\n",
        )
    ]


def check(data: bytes) -> None:
    """It is read and survives JSON, as a playbook's variable; or one sentence says why not."""
    try:
        index = read_index(data.decode("utf-8", "surrogateescape"))
        catalog = read_catalog(FILES, index)
        assert json.loads(json.dumps(index)) == index
        catalog.why_nothing_fits(BOARD)
        catalog.newest(BOARD)
    except CatalogError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 1000, message
        assert message.startswith(("catalog.yml", "fixes_")), message


def mutate(random: Random, data: bytes, seeds: list[bytes]) -> bytes:
    """Mostly tokens of YAML put in, some of them very often."""
    if random.random() < 0.2:
        return damage(random, data)
    at = random.randrange(len(data) + 1)
    if random.random() < 0.1:
        return data[:at] + random.choice(seeds) + data[at:]
    times = random.choice((1, 1, 1, 2, 9, 1000))
    return data[:at] + random.choice(_TOKENS).encode() * times + data[at:]
