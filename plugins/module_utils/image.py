# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module's bytes, packed for the way from the controller to a board.  Standard library only."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any, Mapping

# As much as the controller reads of a file, in bytes.
MAX_IMAGE = 64 * 2**20


class ImageError(ValueError):
    """The bytes did not arrive whole; the message is one sentence."""


def pack(image: bytes) -> dict[str, str]:
    """The module's bytes, uncompressed as the kernel takes them, packed for the way."""
    return {
        "content": base64.b64encode(zlib.compress(image)).decode("ascii"),
        "sha256": hashlib.sha256(image).hexdigest(),
    }


def unpack(packed: Mapping[str, Any]) -> bytes:
    """The module's bytes, verified to be those that were packed.  Raises ImageError."""
    try:
        content = base64.b64decode(packed["content"])
        image = zlib.decompressobj().decompress(content, MAX_IMAGE)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ImageError("the livepatch did not arrive whole: %s." % error) from None
    if hashlib.sha256(image).hexdigest() != packed.get("sha256"):
        raise ImageError("the livepatch did not arrive whole; nothing was loaded.")
    return image
