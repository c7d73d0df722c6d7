# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One budget for all that is read of a file, and what honest files need of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file import livepatch_file
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.budget import (
    MAX_BYTES,
    MAX_STEPS,
    Budget,
    SpentError,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code import x86_64
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.follow import (
    Code,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import Elf, Location
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    module_findings,
    read_with_findings,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    module_of,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder


def test_what_is_spent_is_gone() -> None:
    left = Budget(steps=3, bytes=10)
    left.spend(2, 10)
    left.spend(1)
    with pytest.raises(SpentError):
        left.spend(1)
    with pytest.raises(SpentError):
        Budget(steps=3, bytes=10).spend(0, 11)


@pytest.mark.parametrize("source", ["fixes_2.c", "objects.c", "kpatch.c", "klp_build.c"])
def test_a_livepatch_of_the_lab_needs_a_hundredth(builder: Builder, source: str) -> None:
    module = module_of(builder.module(source, "-gbtf").read_bytes(), source)
    module_findings(module)
    assert MAX_STEPS - module.elf.budget.steps < MAX_STEPS // 100
    assert MAX_BYTES - module.elf.budget.bytes < MAX_BYTES // 100


@pytest.mark.parametrize("steps", [0, 100, 1000, 2000])
def test_wherever_it_ends_the_file_is_damaged(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    path = builder.module("fixes_2.c")
    monkeypatch.setattr(
        livepatch_file, "Elf", lambda data, size: Elf(data, size, Budget(steps=steps))
    )
    with pytest.raises(LivepatchFileError, match="it takes more to read than any livepatch"):
        read_with_findings(path)


def test_edges_that_are_too_many_are_never_taken_for_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "edges.c"
    source.write_text(
        '#include "variant.h"\n'
        'asm(".pushsection __ex_table, \\"a\\"\\n .quad 0\\n .popsection");\n'
        "static struct klp_func funcs[] = {"
        ' { "f", new_function }, { "g", other_function }, {} };\n'
        "static struct klp_object objs[] = { { .funcs = funcs }, {} };\n"
        "static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };\n"
        "ENABLE(&patch);\n"
    )
    data = Builder(tmp_path).module(source).read_bytes()
    monkeypatch.setattr("%s.follow.MAX_EDGES" % x86_64.__name__.rpartition(".")[0], 4)
    elf = Elf(data, len(data))
    code = Code(elf, x86_64.step)
    text = elf.required_section(".text").index
    starts = [Location(text, offset) for offset in elf.functions[text]]
    assert len(starts) > 1
    assert [code.reached(start).everything for start in starts] == [True] * len(starts)
