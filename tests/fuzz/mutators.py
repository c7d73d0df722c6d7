# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the targets' mutators share: changes that know nothing of a format."""

from __future__ import annotations

from random import Random

EXTREMES = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def number(random: Random, size: int) -> int:
    """An unsigned number of so many bytes: an extreme, something near one, or anything."""
    if random.random() < 0.2:
        return random.randrange(256**size)
    return (random.choice(EXTREMES) + random.choice((0, 0, 0, -1, 1, 8, -8))) % 256**size


def damage(random: Random, data: bytes) -> bytes:
    """Some bytes changed, taken out, repeated or put elsewhere."""
    if not data:
        return random.randbytes(8)
    changed = bytearray(data)
    at = random.randrange(len(changed))
    length = random.choice((1, 1, 2, 4, 8, 64))
    kind = random.randrange(6)
    if kind == 0:
        changed[at] = random.randrange(256)
    elif kind == 1:
        changed[at : at + length] = random.randbytes(length)
    elif kind == 2:
        del changed[at : at + length]
    elif kind == 3:
        changed[at:at] = changed[at : at + length] * random.choice((1, 2, 100))
    elif kind == 4:
        start = random.randrange(len(changed))
        changed[at : at + length] = changed[start : start + length]
    else:
        del changed[at:]
    return bytes(changed)
