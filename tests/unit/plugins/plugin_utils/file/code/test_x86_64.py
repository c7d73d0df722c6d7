# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An x86_64 instruction is as long as the processor takes it to be, or unknown."""

from __future__ import annotations

import pytest

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code import x86_64
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.instruction import (
    Unfollowable,
)


@pytest.mark.parametrize(
    ("code", "length"),
    [
        ("c3", 1),
        ("e800000000", 5),
        ("66e800000000", 6),
        ("48b80000000000000000", 10),
        ("66b80000", 4),
        ("488b05000000000000", 7),
        ("48c7050000000001000000", 11),
        ("66c705000000000100", 9),
        ("ff24c500000000", 7),
        ("3effe0", 3),
        ("f60501000000ff", 7),
        ("f7d8", 2),
        ("f7c001000000", 6),
        ("0f8400000000", 6),
        ("660f1f840000000000", 9),
        ("f30f1efa", 4),
        ("0f0b", 2),
        ("660f3a0fc108", 6),
        ("65488b042500000000", 9),
    ],
)
def test_lengths(code: str, length: int) -> None:
    assert x86_64.decode(bytes.fromhex(code) + bytes(16), 0).end == length


@pytest.mark.parametrize("code", ["c5f877", "62f17c48", "06", "0f04", "67488b00", "66" * 16])
def test_what_no_kernel_has(code: str) -> None:
    with pytest.raises(Unfollowable):
        x86_64.decode(bytes.fromhex(code) + bytes(16), 0)
