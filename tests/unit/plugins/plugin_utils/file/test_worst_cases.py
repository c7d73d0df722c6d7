# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of some kilobytes that once took gigabytes or hours, made by somebody who knew how.

Each names one thing a thousand times, or multiplies one table by another.
"""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.hostile import (
    MIB,
    RELA,
    SYM,
    Hostile,
    cost,
    declared,
)

SPENT = (
    "/srv/hostile.ko is damaged: it takes more to read than any livepatch does; "
    "copy or build it again."
)

PATCH = """
static struct klp_state states[] = { { .id = 1, .version = 2 }, {} };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .states = states };
ENABLE(&patch);
"""


def xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


def compiled(tmp_path: Path, source: str, patch: str = PATCH) -> bytes:
    path = tmp_path / "worst.c"
    path.write_text('#include "variant.h"\n' + source + patch)
    return Builder(tmp_path).module(path).read_bytes()


def repeated(count: int, entry: str) -> str:
    """Entries of an array, which the compiler counts from 0."""
    return "[0 ... %d] = %s, {}" % (count - 1, entry)


def test_400_executable_sections_over_the_same_20_mib(builder: Builder, tmp_path: Path) -> None:
    hostile = Hostile(builder.module("fixes_2.c").read_bytes())
    first = hostile.add(".text", b"\xc3" * (20 * MIB))
    hostile.headers += [list(hostile.headers[first]) for _copy in range(399)]
    caller = hostile.add(".text", b"\xe8\0\0\0\0" * 400 + b"\xc3")
    symbol = hostile.add_symbols([*range(first, first + 400), caller])
    calls = b"".join(RELA.pack(1 + 5 * i, 4, symbol + i, -4) for i in range(400))
    hostile.headers[hostile.add(".rela.text", calls)][7] = caller
    # Every callback starts there.
    table = hostile.index(".rela.data")
    text = hostile.index(".text")
    symbols = hostile.content(hostile.index(".symtab"))
    changed = b"".join(
        RELA.pack(at, type_, symbol + 400, 0)
        if struct.unpack_from("<H", symbols, 24 * number + 6)[0] == text
        else RELA.pack(at, type_, number, addend)
        for at, type_, number, addend in RELA.iter_unpack(hostile.content(table))
    )
    hostile.place(table, changed)
    message = cost(xz(hostile.done()), tmp_path)
    assert message.startswith("(True, (SystemState(id=1, version=2")


@pytest.mark.parametrize("count", [3000, 8000])
def test_as_many_objects_as_functions_and_one_array_for_all(tmp_path: Path, count: int) -> None:
    source = (
        "static struct klp_func funcs[] = { %s };\nstatic struct klp_object objs[] = { %s };"
        % (
            repeated(count, '{ "f", new_function }'),
            repeated(count, '{ .name = "o", .funcs = funcs }'),
        )
    )
    words = "patches more than 4096 objects" if count > 4096 else "patches more than 16384 function"
    assert words in cost(xz(compiled(tmp_path, source)), tmp_path)


@pytest.mark.parametrize("count", [20, 120, 4000])
def test_a_long_array_that_many_objects_share_is_read_once(tmp_path: Path, count: int) -> None:
    source = """
static struct { struct klp_func funcs[2]; void *more[150000]; } shared = {
    { { "f", new_function } }, { [0 ... 149999] = &shared } };
static struct klp_object objs[] = { %s };
""" % repeated(count, '{ .name = "o", .funcs = shared.funcs }')
    image = compiled(tmp_path, source)
    assert cost(xz(image), tmp_path) == declared(image, tmp_path)


@pytest.mark.parametrize("count", [300, 1000])
def test_arrays_whose_symbols_overlap(tmp_path: Path, count: int) -> None:
    source = """
struct { struct klp_func funcs[%d]; void *more[149987]; } shared = {
    { %s }, { [0 ... 149986] = &shared } };
static struct klp_object objs[] = { %s, {} };
""" % (
        2 * count,
        ", ".join('{ "f", new_function }, {}' for _object in range(count)),
        ", ".join('{ .name = "o", .funcs = &shared.funcs[%d] }' % (2 * i) for i in range(count)),
    )
    hostile = Hostile(compiled(tmp_path, source))
    symtab, data = hostile.index(".symtab"), hostile.index(".data")
    content = hostile.content(symtab)
    (size, at) = max(
        (length, value)
        for _name, info, _other, section, value, length in SYM.iter_unpack(content)
        if section == data
    )
    symbols = [SYM.pack(0, 1, 0, data, at + 304 * i, size - 304 * i) for i in range(count)]
    hostile.place(symtab, content + b"".join(symbols))
    assert cost(xz(hostile.done()), tmp_path) == SPENT


def test_4000_sections_with_an_array_of_functions_each(tmp_path: Path) -> None:
    numbers = range(4000)
    source = "".join(
        'static struct klp_func f%d[] __attribute__((section(".f%d"))) = '
        '{ { "f%d", new_function }, {} };\n' % (i, i, i)
        for i in numbers
    )
    source += "static struct klp_object objs[] = { %s, {} };\n" % ", ".join(
        '{ .name = "o%d", .funcs = f%d }' % (i, i) for i in numbers
    )
    source += "void *more[100000] = { [0 ... 99999] = &objs };\n"
    image = compiled(tmp_path, source)
    assert cost(xz(image), tmp_path) == declared(image, tmp_path)


@pytest.mark.parametrize("of_each_its_own", [False, True])
@pytest.mark.parametrize("count", [50, 200, 16000])
def test_many_headers_of_one_table_of_relocations(
    builder: Builder, tmp_path: Path, count: int, of_each_its_own: bool
) -> None:
    hostile = Hostile(builder.module("fixes_2.c").read_bytes())
    table = hostile.index(".rela.data")
    content = hostile.content(table)
    _at, type_, symbol, _addend = RELA.unpack_from(content)
    more = b"".join(RELA.pack(2**20 + 8 * i, type_, symbol, 0) for i in range(100_000))
    hostile.place(table, content + more)
    count = min(count, 8000) if of_each_its_own else count
    for _number in range(count):
        hostile.headers.append(list(hostile.headers[table]))
        if of_each_its_own:
            hostile.headers.append(list(hostile.headers[hostile.index(".data")]))
            hostile.headers[-2][7] = len(hostile.headers) - 1
    assert "has more than 200000 relocations of data" in cost(xz(hostile.done()), tmp_path)


def test_60_mib_of_zeros_for_callbacks(builder: Builder, tmp_path: Path) -> None:
    hostile = Hostile(builder.module("kpatch.c").read_bytes())
    hostile.place(hostile.index(".kpatch.callbacks.pre_patch"), bytes(60 * MIB))
    assert cost(xz(hostile.done()), tmp_path) == SPENT


def test_more_callbacks_than_a_plan_takes(builder: Builder, tmp_path: Path) -> None:
    hostile = Hostile(builder.module("kpatch.c").read_bytes())
    table = hostile.index(".rela.kpatch.callbacks.pre_patch")
    callback, name = RELA.iter_unpack(hostile.content(table))
    rows = b"".join(
        RELA.pack(16 * i, *callback[1:]) + RELA.pack(16 * i + 8, *name[1:]) for i in range(70_000)
    )
    hostile.place(table, rows)
    hostile.place(hostile.index(".kpatch.callbacks.pre_patch"), bytes(16 * 70_000))
    assert "has more than 16384 callbacks; no livepatch has." in cost(hostile.done(), tmp_path)


def test_60000_that_may_be_the_klp_patch(tmp_path: Path) -> None:
    source = """
static struct klp_func funcs[] = { { "f", new_function }, {} };
static struct klp_object objs[] = { { .funcs = funcs }, {} };
struct nearly { void *mod, *objs, *states; unsigned char replace, rest[7]; };
struct nearly nearly[60000] = { [0 ... 59999] = { THIS_MODULE, objs, 0, 0, { [6] = 1 } } };
"""
    assert cost(xz(compiled(tmp_path, source)), tmp_path) == SPENT


@pytest.mark.parametrize("count", [200, 4000])
def test_objects_whose_callbacks_reach_everything(tmp_path: Path, count: int) -> None:
    source = """
static struct klp_func funcs[] = { { "f", new_function }, {} };
static volatile long places[9000];
static void busy(struct klp_object *obj) { %s }
static struct klp_object objs[] = { %s, {} };
""" % (
        "".join("places[%d];" % i for i in range(9000)),
        ", ".join(
            '{ .name = "o%d", .funcs = funcs, .callbacks = { callback, busy, busy, busy } }' % i
            for i in range(count)
        ),
    )
    image = compiled(tmp_path, source)
    message = cost(xz(image), tmp_path)
    assert message == declared(image, tmp_path)
    assert "post_patch_without_get_state" in message


def test_as_many_states_as_a_plan_takes(tmp_path: Path) -> None:
    source = """
static struct klp_func funcs[] = { { "f", new_function }, {} };
static struct klp_object objs[] = { { .funcs = funcs }, {} };
"""
    patch = PATCH.replace("{ .id = 1, .version = 2 }, {}", repeated(65535, "{ 1, 2 }"))
    image = compiled(tmp_path, source, patch)
    assert cost(xz(image), tmp_path) == declared(image, tmp_path)


def test_as_many_undefined_symbols_as_there_may_be_with_long_names(
    builder: Builder, tmp_path: Path
) -> None:
    hostile = Hostile(builder.module("fixes_2.c").read_bytes())
    symtab = hostile.index(".symtab")
    strings = hostile.headers[symtab][6]
    names = hostile.content(strings)
    hostile.place(strings, names + b"A" * 500 + b"\0")
    symbols = [SYM.pack(len(names) + i % 100, 16, 0, 0, 0, 0) for i in range(199_000)]
    hostile.place(symtab, hostile.content(symtab) + b"".join(symbols))
    assert cost(xz(hostile.done()), tmp_path) == SPENT
