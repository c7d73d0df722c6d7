# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A structure's size is what the module's BTF says, and unknown where it does not."""

from __future__ import annotations

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import (
    KLP_FUNC_SIZE,
    KLP_OBJECT_SIZE,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import Elf
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.struct_sizes import (
    struct_size,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import (
    MACHINES,
    Builder,
)

USUAL_KOBJECT = 64


def elf_of(builder: Builder, *options: str, machine: str = "x86_64") -> Elf:
    image = builder.module("objects.c", *options, machine=machine).read_bytes()
    return Elf(image, len(image))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kobject", [USUAL_KOBJECT, 72, 240])
def test_btf_says_it(builder: Builder, kobject: int, machine: str) -> None:
    elf = elf_of(builder, "-gbtf", "-DKOBJECT_SIZE=%d" % kobject, machine=machine)
    assert struct_size(elf, "klp_object") == KLP_OBJECT_SIZE + kobject - USUAL_KOBJECT
    assert struct_size(elf, "klp_func") == KLP_FUNC_SIZE + kobject - USUAL_KOBJECT


def test_a_structure_that_btf_does_not_mention(builder: Builder) -> None:
    assert struct_size(elf_of(builder, "-gbtf"), "klp_unheard_of") is None


@pytest.mark.parametrize("options", [(), ("-g",)], ids=["", "-g"])
def test_a_file_without_btf(builder: Builder, options: tuple[str, ...]) -> None:
    assert struct_size(elf_of(builder, *options), "klp_object") is None


@pytest.mark.parametrize("replaced", [b"\x9f\xeb\x02", b"\x9e\xeb\x01"], ids=["version", "magic"])
def test_btf_of_another_format(builder: Builder, replaced: bytes) -> None:
    image = builder.module("objects.c", "-gbtf").read_bytes()
    btf = Elf(image, len(image)).required_section(".BTF").offset
    damaged = image[:btf] + replaced + image[btf + len(replaced) :]
    assert struct_size(Elf(damaged, len(damaged)), "klp_object") is None
