# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's directory on a board, /run/orangepi.livepatch: root's alone, for one boot.

It holds the address of klp_patches (finding it costs half a second), the key
of the opaque data tokens, what was loaded (the "record" of the design), and the
lock that keeps two runs apart.  Whatever is not root's, or is of another boot,
is ignored.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import Any, Iterator

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.compiled import (
    DIRECTORY,
    is_own,
    is_own_directory,
)

# A result with the stacks of a thousand tasks is 3 MiB.
MAX_SIZE = 64 * 1024 * 1024


class StoreError(Exception):
    """What the directory holds can't be told."""


class BoardBusyError(Exception):
    """Another run of this collection holds the board, or no lock can be had."""


class BootStore:
    """JSON values kept for the life of one boot, in a directory that only root can enter.

    Where the directory can't be had (another user's, a read-only /run) nothing is
    kept and every value is None: slower, never wrong.
    """

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory
        self.boot_id = _boot_id()
        self.usable = self.boot_id is not None and is_own_directory(directory)
        self._token_key: bytes | None = None

    def get(self, name: str) -> Any:
        """The value put under that name during this boot; None where there is none to be had."""
        try:
            return self.read(name)
        except StoreError:
            return None

    def read(self, name: str) -> Any:
        """The value put under that name during this boot, None where none was.

        Raises StoreError where it can't be told.
        """
        if not self.usable:
            raise StoreError("%s can't be used" % self.directory)
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError("%s: %s" % (self._path(name), error.strerror)) from error
        try:
            with os.fdopen(fd, "rb") as file:
                if not is_own(os.fstat(fd)):
                    raise StoreError("%s is not root's alone" % self._path(name))
                content = json.loads(file.read(MAX_SIZE).decode("utf-8"))
                if content["boot_id"] == self.boot_id:
                    return content["value"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError("%s: %s" % (self._path(name), error)) from error
        return None

    def put(self, name: str, value: Any) -> bool:
        """Keep the value, and tell whether that succeeded; a reader sees it whole or not at all."""
        if not self.usable:
            return False
        temporary = "%s.new.%d" % (self._path(name), os.getpid())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "w") as file:
                json.dump({"boot_id": self.boot_id, "value": value}, file)
            os.replace(temporary, self._path(name))
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            return False
        return True

    def mark(self, name: str) -> None:
        """Leave an empty file of that name: it fits where a value does not."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            os.close(os.open(self._path(name), flags, 0o600))

    def remove(self, name: str) -> bool:
        """Forget what was put under that name, and tell whether there was anything."""
        try:
            os.unlink(self._path(name))
        except OSError:
            return False
        return True

    def names(self) -> list[str]:
        """What there is in the directory."""
        try:
            return os.listdir(self.directory) if self.usable else []
        except OSError:
            return []

    @contextmanager
    def lock(self, timeout: float) -> Iterator[None]:
        """Hold the board for one run; BoardBusyError after `timeout` seconds of waiting.

        Where no lock can be had, neither can the board.
        """
        if not self.usable:
            raise BoardBusyError(
                "nothing was touched: %s can't be used, so that two runs could not be kept apart. "
                "It must be a directory that is root's alone (mode 0700); remove what is there, "
                "and see that /run can be written." % self.directory
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._path("lock"), flags, 0o600)
        except OSError as error:
            raise BoardBusyError(
                "nothing was touched: the lock %s can't be had: %s."
                % (self._path("lock"), error.strerror)
            ) from error
        try:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= deadline:
                        raise BoardBusyError(
                            "another run of orangepi.livepatch is at work on this board and did "
                            "not end within %g seconds" % timeout
                        ) from None
                time.sleep(0.1)
            yield
        finally:
            os.close(fd)

    def token(self, address: int) -> str | None:
        """An opaque name for a kernel address: equal for equal addresses in this boot.

        Keyed, as the kernel's own %p is, so that the address can't be found by
        trying them all.  None for NULL.
        """
        if address == 0:
            return None
        return hmac.new(self._key(), address.to_bytes(8, "big"), hashlib.sha256).hexdigest()[:16]

    def _key(self) -> bytes:
        if self._token_key is None:
            self._token_key = self._kept_key()
        return self._token_key

    def _kept_key(self) -> bytes:
        key = _key_of(self.get("token_key"))
        if key is None:
            key = os.urandom(32)
            self.put("token_key", key.hex())
            key = _key_of(self.get("token_key")) or key
        return key

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def _key_of(value: Any) -> bytes | None:
    try:
        return bytes.fromhex(value) if len(value) == 64 else None
    except (TypeError, ValueError):
        return None


def _boot_id() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(64).strip()
    except OSError:
        return None
