# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compresses as distributions do, with other code than the one under test where there is any."""

from __future__ import annotations

import gzip
import importlib.util
import lzma
import shutil
import subprocess
from collections.abc import Callable

import pytest


def zstd(data: bytes) -> bytes:
    assert shutil.which("zstd"), "zstd is missing; apt install zstd"
    done = subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True)
    return done.stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "gz": gzip.compress,
    "zst": zstd,
}

_CAN_READ_ZSTD = any(map(importlib.util.find_spec, ("compression", "zstandard")))

# For pytest.mark.parametrize.
READABLE = [
    "xz",
    "gz",
    pytest.param(
        "zst",
        marks=pytest.mark.skipif(
            not _CAN_READ_ZSTD, reason="no library for zstd; pip install zstandard"
        ),
    ),
]
