# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files of a board are read for the controller, and which never are."""

from __future__ import annotations

import os

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import module_file
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.module_file import (
    ModuleFileError,
    read_module_file,
)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "fixes_1.ko"
    file.write_bytes(b"bytes")
    return file


def test_a_regular_file_is_read(path):
    assert read_module_file(str(path), trusted=False) == b"bytes"


def test_a_link_that_the_user_named_is_followed(path, tmp_path):
    (tmp_path / "current.ko").symlink_to(path)
    assert read_module_file(str(tmp_path / "current.ko"), trusted=False) == b"bytes"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_pipe_does_not_make_us_wait(tmp_path, trusted):
    os.mkfifo(tmp_path / "fixes_1.ko")
    with pytest.raises(ModuleFileError):
        read_module_file(str(tmp_path / "fixes_1.ko"), trusted)


@pytest.mark.parametrize("name", ["/dev/zero", "/proc", "/nowhere/fixes_1.ko"])
def test_a_device_a_directory_and_nothing_at_all_are_refused(name):
    with pytest.raises(ModuleFileError):
        read_module_file(name, trusted=False)


def test_a_file_that_is_too_large_is_refused(path, monkeypatch):
    monkeypatch.setattr(module_file, "MAX_IMAGE", 4)
    with pytest.raises(ModuleFileError, match="is larger than"):
        read_module_file(str(path), trusted=False)


def test_what_others_could_have_written_is_not_trusted(path):
    with pytest.raises(ModuleFileError, match="/tmp can be written by others than root"):
        read_module_file(str(path), trusted=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has such files")
class TestTrusted:
    @pytest.fixture
    def own(self):
        directory = "/run/test_module_file.%d" % os.getpid()
        os.mkdir(directory, 0o755)
        path = os.path.join(directory, "fixes_1.ko")
        with open(path, "wb") as file:
            file.write(b"bytes")
        yield path
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)

    def test_what_only_root_can_have_written_is_read(self, own):
        assert read_module_file(own, trusted=True) == b"bytes"

    def test_so_it_is_over_a_link_that_only_root_can_have_made(self, own):
        link = own.replace("fixes_1", "link")
        os.symlink(os.path.basename(own), link)
        assert read_module_file(link, trusted=True) == b"bytes"

    def test_a_link_that_leads_through_others_hands_is_not_followed(self, own, tmp_path):
        link = own.replace("fixes_1", "link")
        (tmp_path / "middle.ko").symlink_to(own)
        os.symlink(str(tmp_path / "middle.ko"), link)
        with pytest.raises(ModuleFileError, match="/tmp can be written by others than root"):
            read_module_file(link, trusted=True)

    def test_links_in_a_circle_end(self, own):
        link = own.replace("fixes_1", "link")
        os.symlink(link, link)
        with pytest.raises(ModuleFileError, match="too many links"):
            read_module_file(link, trusted=True)

    @pytest.mark.parametrize("change", ["owner", "mode", "directory"])
    def test_what_another_user_could_write_is_not(self, own, change):
        if change == "owner":
            os.chown(own, 65534, 0)
        elif change == "mode":
            os.chmod(own, 0o666)
        else:
            os.chmod(os.path.dirname(own), 0o777)
        with pytest.raises(ModuleFileError, match="can be written by others than root"):
            read_module_file(own, trusted=True)
