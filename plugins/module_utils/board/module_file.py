# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module's file on the board, read for the controller, and never a pipe, a device or a trap.

Standard library only.
"""

from __future__ import annotations

import os
import stat

from ansible_collections.orangepi.livepatch.plugins.module_utils.image import MAX_IMAGE


class ModuleFileError(Exception):
    """The file is not read; the message is one sentence."""


def read_module_file(path: str, trusted: bool) -> bytes:
    """The bytes of a regular file.

    trusted: whether nobody but root may have been able to write it, so that it is
    no link, and neither it nor a directory above it can be written by another user.
    Raises ModuleFileError.
    """
    if trusted:
        _check_ownership(path)
    # O_NONBLOCK: a pipe would have us wait.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags | (os.O_NOFOLLOW if trusted else 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModuleFileError("%s is not a regular file." % path)
            if status.st_size > MAX_IMAGE:
                raise ModuleFileError("%s is larger than %d MiB." % (path, MAX_IMAGE >> 20))
            return file.read(MAX_IMAGE)
    except OSError as error:
        raise ModuleFileError("%s can't be read: %s." % (path, error.strerror)) from error


def _check_ownership(path: str) -> None:
    part = os.path.abspath(path)
    if part != os.path.realpath(path):
        raise ModuleFileError("%s is reached over a link." % path)
    while True:
        try:
            status = os.lstat(part)
        except OSError as error:
            raise ModuleFileError("%s can't be read: %s." % (path, error.strerror)) from error
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise ModuleFileError("%s can be written by others than root." % part)
        if part == os.path.dirname(part):
            return
        part = os.path.dirname(part)
