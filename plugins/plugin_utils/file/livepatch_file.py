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
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import (
    SYMBOL,
    FailingCopy,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import MODULE_NAME
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.container import (
    MAX_MODULE,
    ContainerError,
    compression,
    decompress,
    split_signature,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.declaration import Declaration
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    THIS_MODULE,
    Elf,
    ElfError,
    damaged,
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


class LivepatchFileError(ValueError):
    """A file that can't be read as a livepatch: one sentence that names it, why, and what to do."""


@dataclass(frozen=True)
class Module:
    """A livepatch's file, with what it was read from: the ELF file and its declaration."""

    file: LivepatchFile
    elf: Elf
    declaration: Declaration


def read_livepatch_file(path: str | Path) -> LivepatchFile:
    """Read and inspect a livepatch file.  Raises LivepatchFileError."""
    return read_module(path).file


def read_module(path: str | Path) -> Module:
    """A livepatch file, with its ELF file and declaration.  Raises LivepatchFileError."""
    return _open(read_stored(path), str(path))


def read_stored(path: str | Path) -> bytes:
    """The bytes of a regular file of at most MAX_MODULE bytes.  Raises LivepatchFileError."""
    name = _shown(str(path))
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_MODULE + 1) if regular else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LivepatchFileError(
            "%s can't be read: %s; check the path and its permissions." % (name, reason)
        ) from error
    if not regular:
        raise LivepatchFileError("%s is not a regular file; give a livepatch module." % name)
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
            % (_shown(str(directory)), getattr(error, "strerror", None) or error)
        ) from error
    return [os.path.join(str(directory), name) for name in names if name.endswith(SUFFIXES)]


def module_image(data: bytes, path: str = "the module") -> bytes:
    """The module that the kernel is given: uncompressed, its signature trailer included.

    Raises LivepatchFileError where it can't be uncompressed within MAX_MODULE bytes.
    """
    try:
        return decompress(data)
    except ContainerError as error:
        raise LivepatchFileError("%s %s" % (_shown(path), error)) from error


def inspect(data: bytes, path: str) -> LivepatchFile:
    """What a livepatch file declares.  data: its bytes as stored; path: for messages.

    Raises LivepatchFileError where it is not a livepatch of a machine that has
    livepatching, or is damaged.
    """
    return _open(data, path).file


def find_failing_copy(data: bytes, path: str) -> FailingCopy | None:
    """Where a livepatch's image names a function of vmlinux that it patches.

    None where no such name is long enough.  data: its bytes as stored; path: for
    messages.  Raises LivepatchFileError, as inspect() does.
    """
    module = _open(data, path)
    size, _signature = split_signature(decompress(data))
    for declared in module.declaration.objects or ():
        if declared.object.name != "vmlinux":
            continue
        for function, name in zip(declared.object.functions, declared.names):
            if len(function.name) >= len(SYMBOL):
                offset = module.elf.sections[name.section].offset + name.offset
                return FailingCopy(offset, function.name, size)
    return None


def _open(data: bytes, path: str) -> Module:
    shown = _shown(path)
    try:
        return _inspect(data, path)
    except (ContainerError, ElfError) as error:
        raise LivepatchFileError("%s %s" % (shown, error)) from error
    except Exception as error:
        # Whatever a hostile file makes of a library is still a damaged file.
        raise LivepatchFileError("%s %s" % (shown, damaged(type(error).__name__))) from error


def _inspect(data: bytes, path: str) -> Module:
    image = decompress(data)
    size, signature = split_signature(image)
    elf = Elf(image, size)
    modinfo = _modinfo(elf)
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


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def _modinfo(elf: Elf) -> dict[str, str]:
    """The values of .modinfo that are used here; the first of several counts, as in the kernel."""
    section, this_module = elf.section(".modinfo"), elf.section(THIS_MODULE)
    if section is None or this_module is None:
        raise ElfError("is not a kernel module but an object file; give a livepatch module (.ko).")
    for metadata in (section, this_module):
        if metadata.size > MAX_METADATA:
            raise damaged("its %s has %d bytes" % (metadata.name, metadata.size))
    found: dict[str, str] = {}
    for entry in elf.content(section).split(b"\0"):
        key, _equals, value = entry.decode("utf-8", "replace").partition("=")
        if key in ("name", "livepatch", "vermagic", "srcversion", "depends"):
            if len(value) > 4096 or not value.isprintable():
                raise damaged("the %s in its .modinfo is not text" % key)
            found.setdefault(key, value)
    if "livepatch" not in found:
        raise ElfError(
            "is a kernel module but not a livepatch (no livepatch=Y in its .modinfo); "
            'give a module with MODULE_INFO(livepatch, "Y").'
        )
    if not found.get("vermagic", "").strip():
        raise ElfError(
            "does not say which kernel it is for (no vermagic in its .modinfo); build it again."
        )
    for name in [found.get("srcversion") or "0"] + found.get("depends", "").split(","):
        if name and not re.match(r"[A-Za-z0-9_.+-]{1,64}\Z", name):
            raise damaged("%r in its .modinfo is not a name" % name)
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
        match.group().decode("ascii")
        for match in re.finditer(rb"(?<![^\0])[A-Za-z0-9_.+-]{2,55}(?=\0)", elf.content(section))
    ]
    name = names[0] if len(names) == 1 else modinfo_name
    if name is None or not MODULE_NAME.match(name):
        raise ElfError("has no valid module name (%r); build it again." % name)
    return name


def _build_id(elf: Elf) -> str | None:
    for name, type_, content in elf.notes():
        if name == b"GNU" and type_ == NT_GNU_BUILD_ID and 0 < len(content) <= MAX_BUILD_ID:
            return content.hex()
    return None
