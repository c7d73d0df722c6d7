# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a livepatch from the moments in which sysfs and /proc show half of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs


@pytest.mark.parametrize(
    ("files", "leaves"),
    [
        ({"enabled": "1", "transition": "0"}, False),
        ({"enabled": "0", "transition": "1"}, False),
        ({"enabled": "1", "transition": "1"}, False),
        ({"enabled": "0", "transition": "0"}, True),
        ({"transition": "0"}, True),
        ({}, True),
    ],
)
def test_what_is_neither_enabled_nor_in_transition_leaves_until_its_directory_is_gone(
    files: dict[str, str], leaves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "LIVEPATCH", str(tmp_path))
    (tmp_path / "fixes_1").mkdir()
    for name, content in files.items():
        (tmp_path / "fixes_1" / name).write_text(content + "\n")
    assert sysfs.leaving() == (["fixes_1"] if leaves else [])
    shutil.rmtree(tmp_path / "fixes_1")
    assert sysfs.leaving() == []


def test_what_is_left_over_are_the_livepatch_modules_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modules = (
        "fixes_2 16384 1 - Live 0xffffffffc0000000 (OEK)\n"
        "fixes_1 16384 0 - Live 0x0000000000000000 (OEK)\n"
        "going 16384 0 - Unloading 0x0000000000000000 (OEK-)\n"
        "KVM_like 16384 1 fixes_1,fixes_2, Live 0x0000000000000000 (OE)\n"
        "virtio_blk 28672 1 [permanent],K, Live 0x0000000000000000\n"
    )
    monkeypatch.setattr(sysfs, "read_text", {"/proc/modules": modules}.get)
    assert sysfs.leftover_livepatches(["fixes_2"]) == ["fixes_1", "going"]
