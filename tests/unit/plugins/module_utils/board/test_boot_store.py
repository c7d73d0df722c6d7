# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The board's store: what it keeps for a boot, whom it trusts, and its lock."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BoardBusyError,
    BootStore,
    StoreError,
)


@pytest.fixture
def store(tmp_path):
    return BootStore(str(tmp_path / "store"))


def path(store, name):
    return os.path.join(store.directory, name)


def test_the_directory_and_what_is_in_it_are_their_owners_alone(store):
    store.put("value", 1)
    assert os.stat(store.directory).st_mode & 0o777 == 0o700
    assert os.stat(path(store, "value")).st_mode & 0o777 == 0o600


def test_what_was_put_is_read_by_another_run(store):
    assert store.put("value", {"a": [1, None]})
    assert BootStore(store.directory).read("value") == {"a": [1, None]}


def test_what_was_never_put_is_none_and_no_error(store):
    assert store.read("value") is None


def test_what_was_put_in_another_boot_is_not_there(store):
    store.put("value", 1)
    store.boot_id = "another"
    assert store.read("value") is None


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o707])
def test_a_directory_that_others_can_enter_is_not_used(tmp_path, mode):
    directory = tmp_path / "store"
    directory.mkdir()
    directory.chmod(mode)
    store = BootStore(str(directory))
    assert not store.put("value", 1)
    with pytest.raises(StoreError):
        store.read("value")
    assert list(directory.iterdir()) == []


def test_a_link_to_a_directory_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
    assert not BootStore(str(tmp_path / "store")).usable


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_user_owns_is_not_used(store):
    store.put("value", 1)
    os.chown(path(store, "value"), 65534, 65534)
    with pytest.raises(StoreError, match="is not root's alone"):
        store.read("value")
    os.chown(store.directory, 65534, 65534)
    assert not BootStore(store.directory).usable


def test_a_link_to_a_value_is_not_followed(store, tmp_path):
    store.put("value", 1)
    os.rename(path(store, "value"), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path(store, "value"))
    with pytest.raises(StoreError):
        store.read("value")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff"])
def test_a_value_that_is_damaged_is_an_error_and_never_none(store, content):
    store.put("value", 1)
    with open(path(store, "value"), "w", encoding="latin-1") as file:
        file.write(content)
    with pytest.raises(StoreError):
        store.read("value")
    assert store.get("value") is None


def test_a_value_that_cannot_be_kept_leaves_the_one_before(store):
    store.put("value", 1)
    os.mkdir("%s.new.%d" % (path(store, "value"), os.getpid()))
    assert not store.put("value", 2)
    assert store.read("value") == 1


def test_the_lock_keeps_a_second_run_out_until_the_first_has_ended(store):
    with (
        store.lock(0),
        pytest.raises(BoardBusyError, match="another run"),
        BootStore(store.directory).lock(0.01),
    ):
        pass
    with BootStore(store.directory).lock(0):
        pass


def test_where_there_is_no_lock_there_is_no_run(store, tmp_path):
    os.chmod(store.directory, 0o755)
    with (
        pytest.raises(BoardBusyError, match="nothing was touched.*root's alone"),
        BootStore(store.directory).lock(0),
    ):
        pass


@pytest.mark.parametrize("key", [7, "g" * 64, "ab", None, []])
def test_a_key_that_is_damaged_is_made_anew(store, key):
    store.put("token_key", key)
    assert store.token(8) == store.token(8) != store.token(16)


def test_what_is_nested_without_end_is_an_error(store):
    store.put("value", 1)
    with open(path(store, "value"), "w") as file:
        file.write("[" * 100000)
    with pytest.raises(StoreError):
        store.read("value")


def test_a_link_in_the_locks_place_locks_nothing_else(store, tmp_path):
    (tmp_path / "elsewhere").write_text("precious")
    os.symlink(tmp_path / "elsewhere", path(store, "lock"))
    with pytest.raises(BoardBusyError, match="can't be had"), store.lock(0):
        pass
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_equal_addresses_have_equal_tokens_that_do_not_tell_them(store):
    address = 0xFFFFFFFFC0A01234
    token = store.token(address)
    assert token == BootStore(store.directory).token(address)
    assert token != store.token(address + 8)
    assert "%x" % address not in token
    assert store.token(0) is None


def test_what_is_kept_is_json(store):
    store.put("value", 1)
    with open(path(store, "value")) as file:
        assert json.load(file) == {"boot_id": store.boot_id, "value": 1}
