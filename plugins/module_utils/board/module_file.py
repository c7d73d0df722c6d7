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

MAX_LINKS = 40


class ModuleFileError(Exception):
    """The file is not read; the message is one sentence."""


def read_module_file(path: str, trusted: bool) -> bytes:
    """The bytes of a regular file.

    trusted: whether nobody but root may have been able to write it: neither it, nor a
    directory above it, nor one over which a link leads there.  Raises
    ModuleFileError.
    """
    real = _roots_own(path) if trusted else path
    # O_NONBLOCK: a pipe would have us wait.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(real, flags | (os.O_NOFOLLOW if trusted else 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModuleFileError("%s is not a regular file." % path)
            if status.st_size > MAX_IMAGE:
                raise ModuleFileError("%s is larger than %d MiB." % (path, MAX_IMAGE >> 20))
            return file.read(MAX_IMAGE)
    except OSError as error:
        raise ModuleFileError("%s can't be read: %s." % (path, error.strerror)) from error


def _roots_own(path: str) -> str:
    """The path without links, where nobody but root can have made it lead elsewhere."""
    for _link in range(MAX_LINKS):
        part = os.sep
        _check_owner(part)
        names = [name for name in os.path.abspath(path).split(os.sep) if name]
        for number, name in enumerate(names):
            part = os.path.join(part, name)
            if _check_owner(part):
                path = os.path.join(os.path.dirname(part), os.readlink(part), *names[number + 1 :])
                break
        else:
            return part
    raise ModuleFileError("%s is reached over too many links." % path)


def _check_owner(part: str) -> bool:
    """Whether it is a link.  Raises ModuleFileError where others than root can change it."""
    try:
        status = os.lstat(part)
    except OSError as error:
        raise ModuleFileError("%s can't be read: %s." % (part, error.strerror)) from error
    link = stat.S_ISLNK(status.st_mode)
    if status.st_uid != 0 or not link and status.st_mode & 0o022:
        raise ModuleFileError("%s can be written by others than root." % part)
    return link
