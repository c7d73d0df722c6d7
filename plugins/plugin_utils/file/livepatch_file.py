# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A livepatch module's file (.ko, .ko.xz, .ko.zst, .ko.gz) as a LivepatchFile.

Runs on the controller, with pyelftools.  Nothing of the module is executed: what
its data says is read from sections and relocations, and what its code decides
at run time is None, unknown.  Offsets are those of include/linux/livepatch.h on
64-bit kernels, the same from Linux 5.5 to 7.3.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import (
    SYMBOL,
    LateError,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    CALLBACKS,
    MAX_ITEMS,
    LivepatchFile,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Livepatch,
    Object,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.container import (
    MAX_MODULE,
    ContainerError,
    compression,
    decompress,
    split_signature,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    SHF_ALLOC,
    SHF_WRITE,
    THIS_MODULE,
    Elf,
    ElfError,
    Place,
    damaged,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.struct_sizes import (
    struct_size,
)

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")

POINTER = 8

# struct klp_patch; its size where the kernel's kobject has no debugging options,
# and those of klp_object and klp_func in the same kernels.
KLP_PATCH_OBJS, KLP_PATCH_STATES, KLP_PATCH_REPLACE, KLP_PATCH_LIST = 8, 16, 24, 32
KLP_PATCH_SIZE, KLP_OBJECT_SIZE, KLP_FUNC_SIZE = 200, 168, 152

KLP_STATE_ID, KLP_STATE_VERSION, KLP_STATE_SIZE = 0, 8, 24
KLP_OBJECT_NAME, KLP_OBJECT_FUNCS, KLP_OBJECT_CALLBACKS = 0, 8, 16
KLP_FUNC_OLD_NAME, KLP_FUNC_NEW_FUNC, KLP_FUNC_OLD_SYMPOS = 0, 8, 16

# struct kpatch_patch_func and struct kpatch_pre_patch_callback (its like have the
# same layout), kmod/patch/kpatch-patch.h in dynup/kpatch since 0.3.
KPATCH_FUNC_SYMPOS, KPATCH_FUNC_NAME, KPATCH_FUNC_OBJNAME, KPATCH_FUNC_SIZE = 32, 40, 48, 56
KPATCH_CALLBACK_OBJNAME, KPATCH_CALLBACK_SIZE = 8, 16

# struct klp_object_ext and struct klp_func_ext, include/linux/livepatch_external.h.
# The sections lost their first names during Linux 6.19.
KLP_BUILD_OBJECTS = (".init.klp_objects", "__klp_objects")
KLP_OBJECT_EXT_NR_FUNCS, KLP_OBJECT_EXT_SIZE = 56, 64
KLP_FUNC_EXT_SIZE = 24

# MODULE_NAME_LEN is 64 - sizeof(unsigned long), the NUL included.
MODULE_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,55}\Z")
MAX_OBJECTS = 4096
MAX_FUNCTIONS = 16384
MAX_METADATA = 2**18  # bytes, of .modinfo and of struct module
MAX_BUILD_ID = 64
NT_GNU_BUILD_ID = 3


class LivepatchFileError(ValueError):
    """A file that can't be read as a livepatch: one sentence that names it, why, and what to do."""


@dataclass(frozen=True)
class Callback:
    """A callback of an object.  kind: one of CALLBACKS; code: where it starts in the module."""

    kind: str
    code: Place | None


@dataclass(frozen=True)
class FunctionDeclaration:
    """A Function, with where its name is."""

    function: Function
    name: Place


@dataclass(frozen=True)
class ObjectDeclaration:
    """An Object, with where its callbacks and the names of its functions are."""

    object: Object
    callbacks: tuple[Callback, ...]
    names: tuple[Place, ...]


@dataclass(frozen=True)
class Declaration:
    """What a module declares, None for what only its code knows.

    replace, states: as in Livepatch; generator: as in LivepatchFile; patch: where
    the static struct klp_patch is that says so, None without one.
    """

    generator: str
    replace: bool | None
    states: tuple[SystemState, ...] | None
    objects: tuple[ObjectDeclaration, ...] | None
    patch: Place | None = None


@dataclass(frozen=True)
class Module:
    """A livepatch's file, with what it was read from."""

    file: LivepatchFile
    elf: Elf
    declaration: Declaration


UNKNOWN = Declaration("source", None, None, None)


def read_livepatch_file(path: str | Path) -> LivepatchFile:
    """Read and inspect a livepatch file.  Raises LivepatchFileError."""
    return read_module(path).file


def read_module(path: str | Path) -> Module:
    """As read_livepatch_file, for who needs to look closer.  Raises LivepatchFileError."""
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
            "%s can't be read: %s; check the path and its permissions" % (name, reason)
        ) from error
    if not regular:
        raise LivepatchFileError("%s is not a regular file; give a livepatch module" % name)
    if len(data) > MAX_MODULE:
        raise LivepatchFileError(
            "%s is more than %d MiB; no livepatch is that big" % (name, MAX_MODULE // 2**20)
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
            "%s can't be read: %s; give a directory of livepatch modules"
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


def find_late_error(data: bytes, path: str) -> LateError | None:
    """Where a livepatch's image names a function of vmlinux; None where no name is long enough.

    data, path, errors: as of inspect().
    """
    module = _open(data, path)
    size, _signature = split_signature(decompress(data))
    for declared_object in module.declaration.objects or ():
        if declared_object.object.name != "vmlinux":
            continue
        for function, name in zip(declared_object.object.functions, declared_object.names):
            if len(function.name) >= len(SYMBOL):
                offset = module.elf.sections[name.section].offset + name.offset
                return LateError(offset, function.name, size)
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
    declaration = declared(elf)
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
        raise ElfError("is not a kernel module but an object file; give a livepatch module (.ko)")
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
            'give a module with MODULE_INFO(livepatch, "Y")'
        )
    if not found.get("vermagic", "").strip():
        raise ElfError(
            "does not say which kernel it is for (no vermagic in its .modinfo); build it again"
        )
    for name in [found.get("srcversion") or "0"] + found.get("depends", "").split(","):
        if name and not re.match(r"[A-Za-z0-9_.+-]{1,64}\Z", name):
            raise damaged("%r in its .modinfo is not a name" % name)
    return found


def _name(elf: Elf, modinfo_name: str | None) -> str:
    """The module's name, which becomes the livepatch's.

    sysfs shows klp_patch.mod->name, the array in struct module
    (klp_init_patch_early() and klp_init_patch(), kernel/livepatch/core.c);
    .modinfo's name= (Linux 4.13) serves the kernel's messages only
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
        raise ElfError("has no valid module name (%r); build it again" % name)
    return name


def _build_id(elf: Elf) -> str | None:
    for name, type_, content in elf.notes():
        if name == b"GNU" and type_ == NT_GNU_BUILD_ID and 0 < len(content) <= MAX_BUILD_ID:
            return content.hex()
    return None


def declared(elf: Elf) -> Declaration:
    """What the module declares, with the places of its callbacks.  Raises ElfError."""
    if elf.section(".kpatch.funcs"):
        return Declaration("kpatch-build", None, (), _kpatch_objects(elf))
    for name in KLP_BUILD_OBJECTS:
        if elf.section(name):
            return Declaration("klp-build", None, (), _klp_build_objects(elf, name))
    patches = list(_patches(elf))
    if len(patches) > 1:
        # The kernel refuses one without objects, so that it must be something else.
        patches = [patch for patch in patches if not _ends(elf, patch)]
    # Which of several is enabled is for the code to decide.
    return _source(elf, patches[0]) if len(patches) == 1 else UNKNOWN


def _ends(elf: Elf, patch: Place) -> bool:
    objs = elf.pointer(patch + KLP_PATCH_OBJS)
    return objs is None or elf.null(objs + KLP_OBJECT_NAME) and elf.null(objs + KLP_OBJECT_FUNCS)


def _patches(elf: Elf) -> Iterator[Place]:
    """Where a static struct klp_patch can be.

    Other structures point to their module too, as `owner`, next to pointers to
    functions or strings; only klp_patch goes on with an array of structures.
    """
    this_module = elf.required_section(THIS_MODULE)
    module = Place(this_module.index, 0)
    for section in elf.sections:
        if section.flags & (SHF_ALLOC | SHF_WRITE) != SHF_ALLOC | SHF_WRITE or section.executable:
            continue
        if section.nobits or section == this_module:
            continue
        for offset, target in elf.pointers(Place(section.index, 0), section.size):
            place = Place(section.index, offset)
            if target == module and _is_patch(elf, place):
                yield place


def _is_patch(elf: Elf, place: Place) -> bool:
    if place.offset + KLP_PATCH_LIST > elf.sections[place.section].size:
        return False
    objs = elf.pointer(place + KLP_PATCH_OBJS)
    if objs is None or not _is_data(elf, objs):
        return False
    states = place + KLP_PATCH_STATES
    if elf.relocated(states):
        target = elf.pointer(states)
        if target is not None and not _is_data(elf, target):
            return False
    elif elf.unsigned(states):
        return False
    # The bool, and nothing beside it.
    tail = [elf.unsigned(place + KLP_PATCH_REPLACE + i, 1) for i in range(POINTER)]
    if tail[0] > 1 or any(tail[1:]) or elf.relocated(place + KLP_PATCH_REPLACE):
        return False
    return _is_object(elf, objs)


def _is_data(elf: Elf, place: Place) -> bool:
    section = elf.sections[place.section]
    return (
        bool(section.flags & SHF_ALLOC)
        and not section.executable
        and 0 <= place.offset < section.size
    )


def _is_object(elf: Elf, place: Place) -> bool:
    """Whether a struct klp_object, or the empty one that ends an array, can start here."""
    if not _null_or_data(elf, place + KLP_OBJECT_NAME):
        return False
    if not _null_or_data(elf, place + KLP_OBJECT_FUNCS):
        return False
    func = elf.pointer(place + KLP_OBJECT_FUNCS)
    if func is None:
        return True
    if not _null_or_data(elf, func + KLP_FUNC_OLD_NAME):
        return False
    new_func = func + KLP_FUNC_NEW_FUNC
    return elf.relocated(new_func) != _null_or_data(elf, new_func)


def _null_or_data(elf: Elf, word: Place) -> bool:
    if not 0 <= word.offset <= elf.sections[word.section].size - POINTER:
        return False
    target = elf.pointer(word)
    return elf.null(word) if target is None else _is_data(elf, target)


def _source(elf: Elf, patch: Place) -> Declaration:
    """What a static struct klp_patch declares."""
    objs = elf.pointer(patch + KLP_PATCH_OBJS)
    if objs is None:
        return UNKNOWN
    states: tuple[SystemState, ...] | None = ()
    if not elf.null(patch + KLP_PATCH_STATES):
        place = elf.pointer(patch + KLP_PATCH_STATES)
        states = None if place is None else _states(elf, place)
    return Declaration(
        "source",
        bool(elf.unsigned(patch + KLP_PATCH_REPLACE, 1)),
        states,
        _objects(elf, objs, patch),
        patch,
    )


def _states(elf: Elf, start: Place) -> tuple[SystemState, ...] | None:
    """An array of struct klp_state; None where the module's code has to fill it."""
    section = elf.sections[start.section]
    size = elf.object_size(start)
    if section.nobits:
        return () if size == KLP_STATE_SIZE else None
    states: list[SystemState] = []
    place = start
    while not elf.null(place + KLP_STATE_ID):
        # Past its own end, the kernel takes for an entry whatever follows.
        if size is not None and place.offset >= start.offset + size or len(states) == MAX_ITEMS:
            raise damaged("its array of system states has no end (an entry with id 0)")
        if elf.relocated(place + KLP_STATE_ID) or elf.relocated(place + KLP_STATE_VERSION):
            return None
        states.append(
            SystemState(
                elf.unsigned(place + KLP_STATE_ID), elf.unsigned(place + KLP_STATE_VERSION, 4)
            )
        )
        place += KLP_STATE_SIZE
    return tuple(states)


@dataclass(frozen=True)
class _Layout:
    """An array of structures.

    ends: the offsets of the words that are zero in its last entry; data: that of
    the one word that points to data in every other entry, perhaps next to a name;
    size: of an entry in bytes, None where it is unknown; usual: its size where
    the kernel's kobject has no debugging options.
    """

    what: str
    ends: tuple[int, ...]
    data: int
    size: int | None
    usual: int


def _layouts(elf: Elf, patch: Place) -> tuple[_Layout, _Layout]:
    """Those of klp_object and klp_func: from type information, else from the klp_patch's symbol."""
    usual = elf.object_size(patch) == KLP_PATCH_SIZE
    return (
        _Layout(
            what="objects",
            ends=(KLP_OBJECT_NAME, KLP_OBJECT_FUNCS),
            data=KLP_OBJECT_FUNCS,
            size=struct_size(elf, "klp_object") or (KLP_OBJECT_SIZE if usual else None),
            usual=KLP_OBJECT_SIZE,
        ),
        _Layout(
            what="functions",
            ends=(KLP_FUNC_OLD_NAME, KLP_FUNC_NEW_FUNC, KLP_FUNC_OLD_SYMPOS),
            data=KLP_FUNC_OLD_NAME,
            size=struct_size(elf, "klp_func") or (KLP_FUNC_SIZE if usual else None),
            usual=KLP_FUNC_SIZE,
        ),
    )


def _entries(elf: Elf, start: Place, layout: _Layout, patch: Place) -> list[Place] | None:
    """The entries of an array; None where their size can't be told.

    None also where the module's code has to fill it.
    """
    length = elf.object_size(start)
    if elf.sections[start.section].nobits:
        return [] if length == (layout.size or layout.usual) else None
    size = _entry_size(elf, start, layout, patch)
    if size is None:
        return None
    entries: list[Place] = []
    place = start
    while not all(elf.null(place + end) for end in layout.ends):
        past = length is not None and place.offset >= start.offset + length
        if past or len(entries) == MAX_ITEMS:
            raise damaged("its array of %s has no end (an empty entry)" % layout.what)
        entries.append(place)
        place += size
    return entries


def _entry_size(elf: Elf, start: Place, layout: _Layout, patch: Place) -> int | None:
    """The size in bytes of an array's entries; None where it can't be told.

    The distance between the pointers to data in two entries is an entry's size,
    or a multiple of it where entries follow the empty one.
    """
    length = elf.object_size(start)
    if length is not None:
        end = start.offset + length
    else:
        end = elf.end_of(start)
        if patch.section == start.section and start.offset < patch.offset < end:
            end = patch.offset
    data = {offset for offset, target in elf.pointers(start, end) if _is_data(elf, target)}
    distances = sorted(
        offset - layout.data - start.offset for offset in data if offset + POINTER not in data
    )
    if layout.size is not None:
        contradicted = length is not None and any(d % layout.size for d in distances)
        return None if contradicted else layout.size
    gaps = {after - before for before, after in zip(distances, distances[1:])}
    if not gaps:
        # One entry at most: the empty one follows it, whatever its size.
        return layout.usual
    size = gaps.pop()
    told = not gaps and distances[0] == 0 and size >= layout.usual and (length or 0) % size == 0
    return size if told else None


def _objects(elf: Elf, objs: Place, patch: Place) -> tuple[ObjectDeclaration, ...] | None:
    object_layout, func_layout = _layouts(elf, patch)
    entries = _entries(elf, objs, object_layout, patch)
    if entries is None:
        return None
    if len(entries) > MAX_OBJECTS:
        raise ElfError("patches more than %d objects; no livepatch does" % MAX_OBJECTS)
    objects: list[ObjectDeclaration] = []
    count = 0
    for entry in entries:
        functions = _functions(elf, entry, func_layout, patch)
        if functions is None:
            return None
        count += len(functions)
        if count > MAX_FUNCTIONS:
            raise _too_many_functions()
        name = "vmlinux"
        if not elf.null(entry + KLP_OBJECT_NAME):
            name = _object_name(elf, entry + KLP_OBJECT_NAME)
        objects.append(_object(name, functions, _callbacks(elf, entry + KLP_OBJECT_CALLBACKS)))
    return tuple(objects)


def _functions(
    elf: Elf, entry: Place, layout: _Layout, patch: Place
) -> tuple[FunctionDeclaration, ...] | None:
    """The array that a struct klp_object points to."""
    if elf.null(entry + KLP_OBJECT_FUNCS):
        return ()
    funcs = elf.pointer(entry + KLP_OBJECT_FUNCS)
    if funcs is None:
        return None
    entries = _entries(elf, funcs, layout, patch)
    if entries is None:
        return None
    return tuple(
        _function(elf, func + KLP_FUNC_OLD_NAME, func + KLP_FUNC_OLD_SYMPOS) for func in entries
    )


def _function(elf: Elf, name: Place, sympos: Place) -> FunctionDeclaration:
    place = elf.pointer(name)
    if place is None:
        raise damaged("a patched function has no name")
    if elf.relocated(sympos):
        raise damaged("a patched function's position is no number")
    text = elf.string(place)
    if not text or "/" in text:
        raise damaged("a patched function's name is %r" % text)
    return FunctionDeclaration(Function(text, elf.unsigned(sympos) or 1), place)


def _object_name(elf: Elf, name: Place) -> str:
    place = elf.pointer(name)
    if place is None:
        raise damaged("a patched object has no name")
    text = elf.string(place)
    if not MODULE_NAME.match(text):
        raise damaged("a patched object's name is %r" % text)
    return text


def _callbacks(elf: Elf, start: Place) -> tuple[Callback, ...]:
    """Those of a struct klp_callbacks, in its order, which is that of CALLBACKS."""
    places = ((kind, start + index * POINTER) for index, kind in enumerate(CALLBACKS))
    return tuple(
        Callback(kind, elf.pointer(place)) for kind, place in places if not elf.null(place)
    )


def _object(
    name: str, functions: tuple[FunctionDeclaration, ...], callbacks: tuple[Callback, ...]
) -> ObjectDeclaration:
    kinds = tuple(callback.kind for callback in callbacks)
    declared_functions = tuple(declaration.function for declaration in functions)
    names = tuple(declaration.name for declaration in functions)
    return ObjectDeclaration(Object(name, declared_functions, kinds), callbacks, names)


def _too_many_functions() -> ElfError:
    return ElfError("patches more than %d functions; no livepatch does" % MAX_FUNCTIONS)


def _kpatch_objects(elf: Elf) -> tuple[ObjectDeclaration, ...] | None:
    """The objects that kpatch-build's livepatch-patch-hook.c makes of its sections.

    They are grouped by name as there; their order, which it reverses, has no
    meaning.  None for the layout of kpatch before 0.3.
    """
    section = elf.required_section(".kpatch.funcs")
    if section.size % KPATCH_FUNC_SIZE:
        return None
    if section.size > MAX_FUNCTIONS * KPATCH_FUNC_SIZE:
        raise _too_many_functions()
    functions: dict[str, list[FunctionDeclaration]] = {}
    for offset in range(0, section.size, KPATCH_FUNC_SIZE):
        func = Place(section.index, offset)
        function = _function(elf, func + KPATCH_FUNC_NAME, func + KPATCH_FUNC_SYMPOS)
        functions.setdefault(_object_name(elf, func + KPATCH_FUNC_OBJNAME), []).append(function)
    callbacks: dict[str, list[Callback]] = {}
    for kind in CALLBACKS:
        table = elf.section(".kpatch.callbacks." + kind)
        if table is None:
            continue
        # The linker script pads each section with a word of zeros.
        for index in range(table.size // KPATCH_CALLBACK_SIZE):
            place = Place(table.index, index * KPATCH_CALLBACK_SIZE)
            if not elf.null(place):
                name = _object_name(elf, place + KPATCH_CALLBACK_OBJNAME)
                functions.setdefault(name, [])
                callbacks.setdefault(name, []).append(Callback(kind, elf.pointer(place)))
    return tuple(
        _object(name, tuple(found), tuple(callbacks.get(name, ())))
        for name, found in functions.items()
    )


def _klp_build_objects(elf: Elf, section_name: str) -> tuple[ObjectDeclaration, ...]:
    """The objects that klp-build's scripts/livepatch/init.c makes of its sections."""
    section = elf.required_section(section_name)
    if section.size % KLP_OBJECT_EXT_SIZE:
        raise damaged("%s is no array of struct klp_object_ext" % section_name)
    if section.size > MAX_OBJECTS * KLP_OBJECT_EXT_SIZE:
        raise ElfError("patches more than %d objects; no livepatch does" % MAX_OBJECTS)
    objects: list[ObjectDeclaration] = []
    count = 0
    for offset in range(0, section.size, KLP_OBJECT_EXT_SIZE):
        entry = Place(section.index, offset)
        nr_funcs = elf.unsigned(entry + KLP_OBJECT_EXT_NR_FUNCS, 4)
        count += nr_funcs
        if count > MAX_FUNCTIONS:
            raise _too_many_functions()
        funcs = elf.pointer(entry + KLP_OBJECT_FUNCS)
        if funcs is None and nr_funcs:
            raise damaged("%s points to no functions" % section_name)
        functions = tuple(
            _function(elf, func + KLP_FUNC_OLD_NAME, func + KLP_FUNC_OLD_SYMPOS)
            for func in (funcs + i * KLP_FUNC_EXT_SIZE for i in range(nr_funcs) if funcs)
        )
        name = "vmlinux"
        if not elf.null(entry + KLP_OBJECT_NAME):
            name = _object_name(elf, entry + KLP_OBJECT_NAME)
        objects.append(_object(name, functions, _callbacks(elf, entry + KLP_OBJECT_CALLBACKS)))
    return tuple(objects)
