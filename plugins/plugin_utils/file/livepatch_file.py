# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A livepatch module's file (.ko, .ko.xz, .ko.zst, .ko.gz) as a LivepatchFile.

Runs on the controller, with pyelftools.  Nothing of the module is executed: what
its data says is read from sections and relocations, and what its code decides
at run time is None, unknown.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import (
    SYMBOL,
    FailingCopy,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import MODULE_NAME
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import MAX_TEXT, is_name
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.budget import SpentError
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.container import (
    MAX_MODULE,
    ContainerError,
    compression,
    decompress,
    split_signature,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.declaration import Declaration
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    PYELFTOOLS_IMPORT_ERROR,
    THIS_MODULE,
    Elf,
    ElfError,
    NoLivepatchError,
    damaged,
    quoted,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.generated import (
    generated_declaration,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.klp_patch import (
    source_declaration,
)

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")

MAX_METADATA = 2**18  # bytes, of .modinfo and of struct module
MAX_BUILD_ID = 64
NT_GNU_BUILD_ID = 3

_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}\Z")
_MODULE_NAMES = re.compile(rb"(?<![^\0])[A-Za-z0-9_.+-]{2,55}(?=\0)")

# What every livepatch has: in .modinfo, and the name of the function that it is enabled with.
_MARKS = (b"livepatch=", b"klp_enable_patch")


class LivepatchFileError(ValueError):
    """A file that can't be read as a livepatch: one sentence that names it, why, and what to do.

    may_be_livepatch: False where it is certain that it is something else; a file
    that is damaged, or can't be read here, may be the livepatch that somebody needs.
    """

    def __init__(self, message: str, may_be_livepatch: bool = True) -> None:
        super().__init__(message)
        self.may_be_livepatch = may_be_livepatch


class MissingLibraryError(LivepatchFileError):
    """No file can be read, since the controller's Python lacks a library.

    library: its name, for missing_required_lib(); traceback: of the attempt to import it.
    """

    def __init__(self, library: str, traceback: str) -> None:
        super().__init__(
            "%s is required on the controller; pip install %s there." % (library, library)
        )
        self.library = library
        self.traceback = traceback


def require_elftools() -> None:
    """Raises MissingLibraryError where the controller has no pyelftools."""
    if PYELFTOOLS_IMPORT_ERROR is not None:
        raise MissingLibraryError("pyelftools", PYELFTOOLS_IMPORT_ERROR)


@dataclass(frozen=True)
class Module:
    """A livepatch's file, with what it was read from: the ELF file and its declaration."""

    file: LivepatchFile
    elf: Elf
    declaration: Declaration


def read_livepatch_file(path: str | Path) -> LivepatchFile:
    """Read and inspect a livepatch file.  Raises LivepatchFileError."""
    return inspect(read_stored(path), str(path))


def read_stored(path: str | Path) -> bytes:
    """The bytes of a regular file of at most MAX_MODULE bytes.  Raises LivepatchFileError."""
    name = shown_path(str(path))
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_MODULE + 1) if regular else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LivepatchFileError(
            "%s can't be read: %s; check the path and its permissions." % (name, reason),
            may_be_livepatch=not isinstance(error, IsADirectoryError),
        ) from error
    if not regular:
        raise LivepatchFileError(
            "%s is not a regular file; give a livepatch module." % name, may_be_livepatch=False
        )
    if len(data) > MAX_MODULE:
        raise LivepatchFileError(
            "%s is more than %d MiB; no livepatch is that big." % (name, MAX_MODULE // 2**20)
        )
    return data


def _open_nonblocking(path: str, flags: int) -> int:
    # A FIFO without a writer would block the open for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def catalog_paths(directory: str | Path) -> list[str]:
    """Every *.ko, *.ko.xz, *.ko.zst and *.ko.gz in a directory, by name.

    Raises LivepatchFileError where the directory can't be read.
    """
    try:
        names = sorted(os.listdir(directory))
    except (OSError, ValueError) as error:
        raise LivepatchFileError(
            "%s can't be read: %s; give a directory of livepatch modules."
            % (shown_path(str(directory)), getattr(error, "strerror", None) or error)
        ) from error
    return [os.path.join(str(directory), name) for name in names if name.endswith(SUFFIXES)]


def module_image(data: bytes, path: str = "the module") -> bytes:
    """The module that the kernel is given: uncompressed, its signature trailer included.

    Raises LivepatchFileError where it can't be uncompressed within MAX_MODULE bytes.
    """
    try:
        return decompress(data)
    except ContainerError as error:
        raise LivepatchFileError("%s %s" % (shown_path(path), error)) from error


def inspect(data: bytes, path: str) -> LivepatchFile:
    """What a livepatch file declares.  data: its bytes as stored; path: for messages.

    Raises LivepatchFileError where it is not a livepatch of a machine that has
    livepatching, or is damaged.
    """
    return module_of(data, path).file


def find_failing_copy(data: bytes, path: str) -> FailingCopy | None:
    """Where a livepatch's image names a function of vmlinux that it patches.

    None where no such name is long enough.  data: its bytes as stored; path: for
    messages.  Raises LivepatchFileError, as inspect() does.
    """
    module = module_of(data, path)
    for declared in module.declaration.objects or ():
        if declared.object.name != "vmlinux":
            continue
        for function, name in zip(declared.object.functions, declared.names):
            if len(function.name) >= len(SYMBOL):
                offset = module.elf.sections[name.section].offset + name.offset
                return FailingCopy(offset, function.name, module.elf.size)
    return None


@contextmanager
def only_livepatch_file_errors(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong inside is a LivepatchFileError that names the file."""
    shown = shown_path(str(path))
    try:
        yield
    except LivepatchFileError:
        raise
    except (ContainerError, ElfError) as error:
        may_be_livepatch = not isinstance(error, NoLivepatchError)
        raise LivepatchFileError("%s %s" % (shown, error), may_be_livepatch) from error
    except SpentError as error:
        what = "it takes more to read than any livepatch does"
        raise LivepatchFileError("%s %s" % (shown, damaged(what))) from error
    except Exception as error:
        # Whatever a hostile file makes of a library is still a damaged file.
        raise LivepatchFileError("%s %s" % (shown, damaged(type(error).__name__))) from error


def module_of(data: bytes, path: str) -> Module:
    """What inspect() says, with the ELF file and the declaration.  Raises LivepatchFileError."""
    require_elftools()
    with only_livepatch_file_errors(path):
        image = decompress(data)
        try:
            return _inspect(data, image, path)
        except NoLivepatchError as error:
            if not any(mark in image for mark in _MARKS):
                raise
            # Damage can make a livepatch look like something else.
            raise ElfError(str(error)) from error


def _inspect(data: bytes, image: bytes, path: str) -> Module:
    size, signature = split_signature(image)
    elf = Elf(image, size)
    modinfo = _modinfo(elf)
    if not path.isprintable() or len(path) > MAX_TEXT:
        raise ElfError(
            "can't be used: its path is longer than %d characters, or has some that can't be "
            "printed; rename it." % MAX_TEXT
        )
    declaration = generated_declaration(elf) or source_declaration(elf)
    vermagic = modinfo["vermagic"]
    objects = declaration.objects
    file = LivepatchFile(
        livepatch=Livepatch(
            name=_name(elf, modinfo.get("name")),
            replace=declaration.replace,
            states=declaration.states,
            objects=None if objects is None else tuple(o.object for o in objects),
            build_id=_build_id(elf),
            srcversion=modinfo.get("srcversion") or None,
        ),
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        vermagic=vermagic,
        kernel_release=vermagic.split()[0],
        arch=elf.arch,
        generator=declaration.generator,
        signature=None
        if signature is None
        else {"signer": signature.signer, "hash": signature.hash},
        compression=compression(data),
        depends=tuple(name for name in modinfo.get("depends", "").split(",") if name),
    )
    return Module(file, elf, declaration)


def shown_path(path: str) -> str:
    """The path for a message, or an answer: printable, and not too long for one."""
    shown = path if path.isprintable() else ascii(path)
    return shown if len(shown) <= MAX_TEXT else "%s..." % shown[:MAX_TEXT]


def _modinfo(elf: Elf) -> dict[str, str]:
    """The values of .modinfo that are used here; the first of several counts, as in the kernel."""
    section, this_module = elf.section(".modinfo"), elf.section(THIS_MODULE)
    if section is None or this_module is None:
        raise NoLivepatchError(
            "is not a kernel module but an object file; give a livepatch module (.ko)."
        )
    for metadata in (section, this_module):
        if metadata.size > MAX_METADATA:
            raise damaged("its %s has %d bytes" % (metadata.name, metadata.size))
    found: dict[str, str] = {}
    for entry in bytes(elf.content(section)).split(b"\0"):
        key, _equals, value = entry.decode("utf-8", "replace").partition("=")
        if key in ("name", "livepatch", "vermagic", "srcversion", "depends"):
            if len(value) > 4096 or not value.isprintable():
                raise damaged("the %s in its .modinfo is not text" % key)
            found.setdefault(key, value)
    if "livepatch" not in found:
        raise NoLivepatchError(
            "is a kernel module but not a livepatch (no livepatch=Y in its .modinfo); "
            'give a module with MODULE_INFO(livepatch, "Y").'
        )
    if not found.get("vermagic", "").strip():
        raise ElfError(
            "does not say which kernel it is for (no vermagic in its .modinfo); build it again."
        )
    for name in [found.get("srcversion") or "0"] + found.get("depends", "").split(","):
        if name and not (_WORD.match(name) and is_name(name)):
            raise damaged("%s in its .modinfo is not a name" % quoted(name))
    return found


def _name(elf: Elf, modinfo_name: str | None) -> str:
    """The module's name, which becomes the livepatch's.

    sysfs shows klp_patch.mod->name, the array in struct module
    (klp_init_patch_early() and klp_init_patch(), kernel/livepatch/core.c);
    .modinfo's name= (Linux 4.13, 3e2e857f9c3a) serves the kernel's messages only
    (setup_load_info(), kernel/module/main.c).  The array's offset in struct
    module can be randomised, and it is the only text there.
    """
    section = elf.required_section(THIS_MODULE)
    names = [
        match.group().decode("ascii") for match in _MODULE_NAMES.finditer(elf.content(section))
    ]
    name = names[0] if len(names) == 1 else modinfo_name
    if name is None or not MODULE_NAME.match(name) or not is_name(name):
        raise ElfError("has no valid module name (%s); build it again." % quoted(name or ""))
    return name


def _build_id(elf: Elf) -> str | None:
    for name, type_, content in elf.notes():
        if name == b"GNU" and type_ == NT_GNU_BUILD_ID and 0 < len(content) <= MAX_BUILD_ID:
            return content.hex()
    return None
