# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A livepatch file with its containers and findings: an answer, or one error that names it."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import struct
from pathlib import Path
from random import Random

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    file_from_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    findings_to_json,
    inspect_with_findings,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    find_failing_copy,
)
from ansible_collections.orangepi.livepatch.tests.fuzz.mutators import damage, number

CORPUS = Path(__file__).parents[1] / "corpus" / "livepatch_file"
PATH = "/srv/fuzz.ko"

# The ELF header's fields and a section header's: their offsets and formats.
_EHDR = tuple(zip((16, 18, 20, 24, 32, 40, 48, 52, 54, 56, 58, 60, 62), "HHIQQQIHHHHHH"))
_SHDR = tuple(zip((0, 4, 8, 16, 24, 32, 40, 44, 48, 56), "IIQQQQIIQQ"))
_TEXTS = re.compile(rb"(?<=\0)[ -~]{1,60}(?=\0)")
_NAMES = (b"", b".", b"..", b"/", b"a/b", b"vmlinux", b"klp_get_state", b"livepatch=Y", b"\xff")
_SIGNATURE = b"~Module signature appended~\n"

# The net under the reader catches what nobody foresaw; here, it is to be known.
_UNFORESEEN = re.compile(r"is damaged: (\w*Error|error|\w*Exception);")


def seeds() -> list[bytes]:
    """Modules of several machines and generators, uncompressed."""
    return [lzma.decompress(path.read_bytes()) for path in sorted(CORPUS.glob("*.ko.xz"))]


def check(data: bytes) -> None:
    """It is read and survives JSON, or is refused by one sentence that names it."""
    try:
        file, findings = inspect_with_findings(data, PATH)
        find_failing_copy(data, PATH)
    except LivepatchFileError as error:
        _is_a_sentence(str(error))
        return
    told = json.loads(json.dumps(file_to_json(file)))
    assert file_from_json(told) == file
    json.dumps(findings_to_json(findings))


def _is_a_sentence(message: str) -> None:
    assert message.startswith(PATH + " "), message
    assert message.isprintable() and len(message) < 1000, message
    assert not _UNFORESEEN.search(message), message


def mutate(random: Random, data: bytes, seeds: list[bytes]) -> bytes:
    """Mostly fields and tables at their extremes, sometimes wrapped or plainly damaged."""
    kind = random.random()
    if not data.startswith(b"\x7fELF\x02") or len(data) < 64 or kind < 0.08:
        return damage(random, data)
    if kind < 0.11:
        return random.choice((lzma.compress, gzip.compress))(data)
    if kind < 0.13:
        der = random.randbytes(random.randrange(40))
        trailer = struct.pack(">5B3xI", *(0, 0, random.choice((2, 2, 1)), 0, 0), number(random, 1))
        return data + der + trailer + _SIGNATURE
    if kind < 0.15:
        other = random.choice(seeds)
        at = random.randrange(64, len(data))
        return data[:at] + other[at:]
    return _structured(random, bytearray(data))


def _structured(random: Random, image: bytearray) -> bytes:
    order = ">" if image[5] == 2 else "<"
    start = struct.unpack_from(order + "Q", image, 40)[0]
    count = struct.unpack_from(order + "H", image, 60)[0]
    headers = [at for at in range(start, start + 64 * count, 64) if at + 64 <= len(image)]
    kind = random.random()
    if kind < 0.05 or not headers:
        _set(random, image, 0, order, random.choice(_EHDR))
    elif kind < 0.2:
        _set(random, image, random.choice(headers), order, random.choice(_SHDR))
    elif kind < 0.3:
        _add_headers(random, image, headers, order)
    elif kind < 0.45:
        texts = list(_TEXTS.finditer(image))
        if texts:
            _replace_text(random, image, random.choice(texts))
    else:
        _set_word(random, image, random.choice(headers), order)
    return bytes(image)


def _set(random: Random, image: bytearray, at: int, order: str, field: tuple[int, str]) -> None:
    offset, form = field
    struct.pack_into(order + form, image, at + offset, number(random, struct.calcsize(form)))


def _set_word(random: Random, image: bytearray, header: int, order: str) -> None:
    """Change a number in a section: of a table, of data, of code."""
    offset, size = struct.unpack_from(order + "QQ", image, header + 24)
    size = min(size, len(image) - offset)
    width = random.choice((1, 4, 8))
    if size < width:
        return
    at = offset + random.randrange(size - width + 1) // width * width
    if random.random() < 0.5:
        # What stands elsewhere in the section makes more sense than any number.
        other = offset + random.randrange(size - width + 1) // width * width
        image[at : at + width] = image[other : other + width]
    else:
        image[at : at + width] = number(random, width).to_bytes(width, "little")


def _replace_text(random: Random, image: bytearray, text: re.Match[bytes]) -> None:
    new = random.choice((random.choice(_NAMES), random.randbytes(3)))
    length = len(text.group())
    image[text.start() : text.end()] = new[:length].ljust(length, b"\0")


def _add_headers(random: Random, image: bytearray, headers: list[int], order: str) -> None:
    """The section headers anew at the end, with some of them more than once."""
    chosen = [bytes(image[at : at + 64]) for at in headers]
    for _round in range(random.choice((1, 2, 30, 400))):
        chosen.append(random.choice(chosen))
    struct.pack_into(order + "Q", image, 40, len(image))
    struct.pack_into(order + "H", image, 60, len(chosen))
    image += b"".join(chosen)
