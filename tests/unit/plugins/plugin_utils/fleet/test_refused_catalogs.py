# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollout that can't know which livepatch is the newest asks no board."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.fleet.test_playbooks import (  # noqa: E501
    GOOD,
    ROLLOUT,
    Fleet,
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, builder: Builder) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"), builder)


@pytest.fixture
def catalog(fleet: Fleet) -> Iterator[Path]:
    """The fleet's catalog, in which there may be one more file: extra.ko."""
    yield fleet.catalog
    (fleet.catalog / "extra_3.ko").unlink(missing_ok=True)


def test_a_damaged_file_is_named_and_no_board_is_asked(fleet, catalog):
    (catalog / "extra_3.ko").write_bytes((catalog / "fixes_2.ko").read_bytes()[:6000])
    ran = fleet.run(ROLLOUT, GOOD)
    assert ran.status != 0 and ran.asked == []
    output = " ".join(ran.output.split())
    assert "extra_3.ko is damaged" in output and "No board was touched" in output


def test_an_ordinary_module_is_passed_over(fleet, catalog, builder):
    shutil.copy(builder.module("blocker.c"), catalog / "extra_3.ko")
    assert fleet.run(ROLLOUT, GOOD).status == 0


def test_without_pyelftools_the_missing_library_is_named_and_no_board_is_asked(
    fleet, tmp_path, monkeypatch
):
    (tmp_path / "elftools.py").write_text("raise ImportError('hidden')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    ran = fleet.run(ROLLOUT, GOOD)
    assert ran.status != 0 and ran.asked == []
    assert "Failed to import the required Python library (pyelftools)" in " ".join(
        ran.output.split()
    )
