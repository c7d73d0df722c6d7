# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Python compiles of a module's sources, kept for the boot in /run/orangepi.livepatch.

Ansible brings a module to a board as a zip of sources, its own among them.  Python
compiles them at every call, and twice, since zipimporter does so to tell a file's
name, too; a board spends most of its time on that.  Code that is kept is used for
the very bytes that it was compiled from, and only where the file that holds it is
whole and root's alone.  The action plugins put this file's text before the program
that Ansible sends, since a module itself would come too late for Ansible's sources.
"""

from __future__ import annotations

import atexit
import hashlib
import marshal
import os
import stat
import sys

# By this, Python tells code out of a .pyc its file's name.  A module's zip has another every time.
from _imp import _fix_co_filename  # type: ignore[attr-defined]
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from types import CodeType
from typing import Any
from zipimport import zipimporter

DIRECTORY = "/run/orangepi.livepatch"
MAX_SIZE = 8 * 1024 * 1024

# Part of a file's digest, so that another Python's code is no code.
_PYTHON = repr((1, sys.implementation.cache_tag, MAGIC_NUMBER, sys.version, sys.flags.optimize))


def keep(directory: str = DIRECTORY) -> None:
    """From here on, import what comes in a zip with the code that is kept.

    What had to be compiled is kept when the process ends.  Nothing changes where
    the directory can't be had.
    """
    if not is_own_directory(directory):
        return
    pack = _Pack(os.path.join(directory, "compiled"))
    sys.path_hooks.insert(0, lambda path: _Importer(path, pack))
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimporter):
            del sys.path_importer_cache[path]
    atexit.register(pack.write)


class _Pack:
    """The code of files by their names in the zip, each with the digest of its source."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.process = os.getpid()
        self.changed = False
        self.code: dict[str, tuple[bytes, bytes]] = {}
        content = _read(path)
        # A marshal that isn't whole may crash Python.
        if content[:32] == _digest(content[32:]):
            self.code = marshal.loads(content[32:])

    def compile(self, name: str, source: bytes, path: str) -> CodeType:
        """The source's code, as of a file at that path."""
        digest = hashlib.sha256(source).digest()
        kept_digest, kept = self.code.get(name, (b"", b""))
        if kept_digest == digest:
            code: CodeType = marshal.loads(kept)
            _fix_co_filename(code, path)
        else:
            code = compile(source, path, "exec", dont_inherit=True)
            self.code[name] = digest, marshal.dumps(code)
            self.changed = True
        return code

    def write(self) -> None:
        """Keep what is new; a reader sees the file whole or not at all."""
        # A child that ends as Python does comes here as well.
        if not self.changed or os.getpid() != self.process:
            return
        content = marshal.dumps(self.code)
        if len(content) > MAX_SIZE - 32:
            return
        temporary = "%s.%d" % (self.path, self.process)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(_digest(content) + content)
            os.replace(temporary, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)


class _Importer(zipimporter):
    """zipimporter, but for where the code comes from."""

    # zipimporter has them from Python 3.10 on.
    create_module: Any = SourceFileLoader.create_module
    exec_module: Any = SourceFileLoader.exec_module

    def __init__(self, path: str, pack: _Pack) -> None:
        super().__init__(path)
        self._pack = pack
        self._sources: dict[str, bytes] = {}

    def get_filename(self, fullname: str) -> str:
        path = self._path(fullname)
        try:
            self._sources[path] = self.get_data(path)  # get_code() is next
        except OSError:  # a .pyc alone
            return super().get_filename(fullname)
        return path

    def get_code(self, fullname: str) -> CodeType:
        path = self._path(fullname)
        source = self._sources.pop(path, None)
        try:
            source = self.get_data(path) if source is None else source
        except OSError:
            return super().get_code(fullname)
        return self._pack.compile(path[len(self.archive) :], source, path)

    def _path(self, fullname: str) -> str:
        path = os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2])
        return path + (os.sep + "__init__.py" if self.is_package(fullname) else ".py")


def _read(path: str) -> bytes:
    """The file's bytes, none where it isn't ours alone."""
    # O_NONBLOCK: a pipe would have us wait.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and is_own(status):
                return file.read(MAX_SIZE)
    except OSError:
        pass
    return b""


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(_PYTHON.encode() + content).digest()


def is_own_directory(directory: str) -> bool:
    """Whether the directory is ours alone; it is made where it is not there."""
    try:
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and is_own(status)


def is_own(status: os.stat_result) -> bool:
    """Whether what has this status is ours, and nobody else can enter or read it."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077
