# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A damaged or hostile file ends in an answer or one error, within its budget."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    file_from_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    inspect,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.compress import (
    COMPRESSORS,
    READABLE,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.hostile import (
    MIB,
    Hostile,
    cost,
    declared,
)

EXTREMES = (0, 1, 0x7FFF, 0xFFFF, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def check(data: bytes) -> str | None:
    """The error, None where there is an answer of the right shape."""
    try:
        file = inspect(data, "/srv/hostile.ko")
    except LivepatchFileError as error:
        message = str(error)
        assert message.startswith("/srv/hostile.ko ")
        assert message.isprintable()
        assert len(message) < 1000
        return message
    assert file_from_json(file_to_json(file)) == file
    return None


def fields(image: bytes) -> Iterator[tuple[int, str]]:
    """Where every field of the ELF header and of the section headers is, and its format."""
    for at, form in zip((16, 18, 20, 24, 32, 40, 48), "HHIQQQI", strict=True):
        yield at, form
    for at in range(52, 64, 2):
        yield at, "H"
    (start,) = struct.unpack_from("<Q", image, 40)
    (count,) = struct.unpack_from("<H", image, 60)
    for header in range(start, start + 64 * count, 64):
        for at, form in zip((0, 4, 8, 16, 24, 32, 40, 44, 48, 56), "IIQQQQIIQQ", strict=True):
            yield header + at, form


@pytest.mark.parametrize("source", ["objects.c", "kpatch.c", "klp_build.c"])
def test_every_header_field_at_every_extreme(builder: Builder, source: str) -> None:
    image = builder.module(source).read_bytes()
    for at, form in fields(image):
        for value in EXTREMES:
            changed = bytearray(image)
            struct.pack_into("<" + form, changed, at, value % 2 ** (8 * struct.calcsize(form)))
            check(bytes(changed))


def table(image: bytes, name: str) -> tuple[int, int]:
    """Offset and size of a section."""
    (start,) = struct.unpack_from("<Q", image, 40)
    count, strings = struct.unpack_from("<HH", image, 60)
    headers = [struct.unpack_from("<IIQQQQ", image, start + 64 * i) for i in range(count)]
    for header in headers:
        text = headers[strings][4] + header[0]
        if image[text : image.index(b"\0", text)].decode() == name:
            return header[4], header[5]
    raise AssertionError(name)


@pytest.mark.parametrize("name", [".rela.data", ".symtab", ".data", ".BTF"])
def test_every_word_of_a_table_at_every_extreme(builder: Builder, name: str) -> None:
    image = builder.module("objects.c", "-gbtf").read_bytes()
    offset, size = table(image, name)
    for at in range(offset, offset + min(size, 2048) // 8 * 8, 8):
        for value in (0, 8, 2**32, 2**63, 2**64 - 1):
            changed = bytearray(image)
            struct.pack_into("<Q", changed, at, value)
            check(bytes(changed))


def test_every_truncation(builder: Builder) -> None:
    image = builder.module("fixes_2.c").read_bytes()
    for length in range(0, len(image), 37):
        assert check(image[:length]) is not None


@pytest.mark.parametrize("machine", ["x86_64", "s390x"])
@pytest.mark.parametrize("source", ["objects.c", "fixes_2.c", "kpatch.c", "klp_build.c"])
def test_random_damage(builder: Builder, source: str, machine: str) -> None:
    image = builder.module(source, "-gbtf", machine=machine).read_bytes()
    generator = random.Random(1)
    for _round in range(150):
        changed = bytearray(image)
        for _round in range(generator.choice((1, 4, 32))):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        check(bytes(changed))


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_that_hypothesis_finds(builder: Builder, data: st.DataObject) -> None:
    image = bytearray(builder.module("objects.c").read_bytes())
    for _round in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(image) - 1))
        image[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8))
    check(bytes(image))


@given(data=st.binary(max_size=400))
def test_anything_that_starts_like_an_elf_file(data: bytes) -> None:
    assert check(b"\x7fELF\2\1\1" + data) is not None


def many_sections(hostile: Hostile) -> None:
    hostile.headers += [hostile.headers[1]] * (65000 - len(hostile.headers))


def allowed_sections(hostile: Hostile) -> None:
    hostile.headers += [hostile.headers[1]] * (16384 - len(hostile.headers))


def symbols(hostile: Hostile) -> None:
    hostile.place(hostile.index(".symtab"), bytes(60 * MIB))


def allowed_symbols(hostile: Hostile) -> None:
    index = hostile.index(".symtab")
    start, size = hostile.headers[index][4:6]
    content = bytes(hostile.image[start : start + size])
    data = hostile.index(".data")
    extra = b"".join(struct.pack("<IBBHQQ", 0, 1, 0, data, i, 8) for i in range(199_000))
    hostile.place(index, content + extra)


def relocations(hostile: Hostile) -> None:
    hostile.place(hostile.index(".rela.data"), bytes(60 * MIB))


def allowed_relocations(hostile: Hostile) -> None:
    index = hostile.index(".rela.data")
    start, size = hostile.headers[index][4:6]
    content = bytes(hostile.image[start : start + size])
    symbol = struct.unpack_from("<I", content, 12)[0]
    extra = b"".join(struct.pack("<QIIq", 2**20 + 8 * i, 1, symbol, 8 * i) for i in range(199_000))
    hostile.place(index, content + extra)


def tables_again_and_again(hostile: Hostile) -> None:
    header = hostile.headers[hostile.index(".rela.data")]
    hostile.headers += [header] * 16000


def names_without_end(hostile: Hostile) -> None:
    hostile.place(hostile.strings, b"A" * (50 * MIB))


def states_without_end(hostile: Hostile) -> None:
    index = hostile.index(".data")
    start, size = hostile.headers[index][4:6]
    content = bytes(hostile.image[start : start + size])
    hostile.place(index, content + struct.pack("<QIIQ", 1, 1, 0, 0) * (2 * MIB))
    rela = hostile.index(".rela.data")
    start, size = hostile.headers[rela][4:6]
    entries = bytearray(hostile.image[start : start + size])
    # The last relocation is that of klp_patch.states.
    struct.pack_into("<q", entries, size - 8, len(content))
    hostile.place(rela, bytes(entries))


def notes(hostile: Hostile) -> None:
    index = hostile.index(".note.gnu.build-id")
    hostile.place(index, struct.pack("<III", 0, 0, 0) * (4 * MIB))
    hostile.headers += [hostile.headers[index]] * 16000


def notes_of_any_length(hostile: Hostile) -> None:
    index = hostile.index(".note.gnu.build-id")
    hostile.place(index, struct.pack("<III", 0, 2**32 - 4, 0) * MIB)


def modinfo(hostile: Hostile) -> None:
    hostile.place(hostile.index(".modinfo"), bytes(60 * MIB))


def this_module(hostile: Hostile) -> None:
    hostile.place(hostile.index(".gnu.linkonce.this_module"), b"\0ab" * (20 * MIB))


def btf(types: bytes, strings: bytes) -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + (
        types + strings
    )


def too_much_btf(hostile: Hostile) -> None:
    hostile.place(hostile.index(".BTF"), btf(bytes(5 * MIB), b"\0klp_object\0klp_func\0"))


def btf_types(hostile: Hostile) -> None:
    forward = struct.pack("<III", 0, 7 << 24, 0)
    types = forward * (4 * MIB // len(forward) - 8)
    hostile.place(hostile.index(".BTF"), btf(types, b"\0klp_object\0klp_func\0"))


def btf_names(hostile: Hostile) -> None:
    forward = struct.pack("<III", 0, 7 << 24, 0)
    hostile.place(hostile.index(".BTF"), btf(forward, b"\0klp_objec" * (3 * MIB // 10)))


# The error that each ends in, READ where it says what it said before.
READ = "read"
EXPENSIVE = {
    many_sections: "has 65000 sections; no livepatch has that many.",
    allowed_sections: READ,
    symbols: "has more than 200000 symbols; no livepatch has.",
    allowed_symbols: READ,
    relocations: "has more than 200000 relocations of data; no livepatch has.",
    allowed_relocations: READ,
    tables_again_and_again: READ,
    names_without_end: "is damaged: a section name has no end; copy or build it again.",
    states_without_end: "is damaged: its array of system states has no end (an entry with id 0); "
    "copy or build it again.",
    notes: READ,
    notes_of_any_length: READ,
    modinfo: "is damaged: its .modinfo has 62914560 bytes; copy or build it again.",
    this_module: "is damaged: its .gnu.linkonce.this_module has 62914560 bytes; "
    "copy or build it again.",
    too_much_btf: READ,
    btf_types: READ,
    btf_names: READ,
}


@pytest.mark.parametrize(
    ("expensive", "answer"), EXPENSIVE.items(), ids=[function.__name__ for function in EXPENSIVE]
)
def test_an_expensive_file_is_read_or_refused_within_256_mib(
    builder: Builder, tmp_path: Path, expensive: Callable[[Hostile], None], answer: str
) -> None:
    image = builder.module("fixes_1.c", "-gbtf").read_bytes()
    hostile = Hostile(image)
    expensive(hostile)
    message = cost(hostile.done(), tmp_path)
    assert message == (declared(image, tmp_path) if answer == READ else "/srv/hostile.ko " + answer)


def test_objects_that_share_a_long_array_are_counted_once_each(
    builder: Builder, tmp_path: Path
) -> None:
    source = tmp_path / "shared.c"
    source.write_text(
        """
#include "variant.h"
#define FOUR(...) __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__
#define SIXTEEN(...) FOUR(FOUR(__VA_ARGS__))
#define MANY(...) SIXTEEN(SIXTEEN(FOUR(__VA_ARGS__)))
#define F { "f", new_function }
#define O { .name = "o", .funcs = funcs }
static struct klp_func funcs[] = { MANY(F), {} };
static struct klp_object objs[] = { MANY(O), {} };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };
ENABLE(&patch);
"""
    )
    data = builder.module(source).read_bytes()
    assert "patches more than 16384 functions" in cost(data, tmp_path)


@pytest.mark.parametrize("name", READABLE)
def test_the_biggest_file(builder: Builder, tmp_path: Path, name: str) -> None:
    module = builder.module("fixes_1.c").read_bytes()
    image = module + random.Random(1).randbytes(8 * MIB) + bytes(55 * MIB)
    assert cost(COMPRESSORS[name](image), tmp_path) == declared(module, tmp_path)


@pytest.mark.parametrize("name", READABLE)
def test_a_bomb(tmp_path: Path, name: str) -> None:
    message = cost(COMPRESSORS[name](bytes(200 * MIB)), tmp_path)
    assert message == "/srv/hostile.ko is more than 64 MiB uncompressed; no livepatch is that big."
