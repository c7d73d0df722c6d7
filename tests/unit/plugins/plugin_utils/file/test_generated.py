# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kpatch-build and klp-build write is read as their own init code reads it."""

from __future__ import annotations

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Livepatch,
    Object,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    read_livepatch_file,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import (
    MACHINES,
    Builder,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.declared import (
    livepatch,
)


@pytest.mark.parametrize("machine", MACHINES)
def test_kpatch_build(builder: Builder, machine: str) -> None:
    path = builder.module("kpatch.c", machine=machine)
    assert read_livepatch_file(path).generator == "kpatch-build"
    assert livepatch(path) == Livepatch(
        "kpatch",
        None,
        (),
        (
            Object(
                "vmlinux",
                (Function("schedule"), Function("cmdline_proc_show", 3)),
                ("pre_patch",),
            ),
            Object("ext4", (Function("ext4_sync_file"),), ("post_unpatch",)),
        ),
    )


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("prefix", [".init.klp_", "__klp_"])
def test_klp_build(builder: Builder, prefix: str, machine: str) -> None:
    path = builder.module("klp_build.c", '-DPREFIX="%s"' % prefix, machine=machine)
    assert read_livepatch_file(path).generator == "klp-build"
    assert livepatch(path) == Livepatch(
        "klp_build",
        None,
        (),
        (
            Object(
                "vmlinux",
                (Function("schedule"), Function("cmdline_proc_show", 2)),
                ("pre_patch",),
            ),
            Object("ext4", (Function("ext4_sync_file"),), ("post_unpatch",)),
        ),
    )
