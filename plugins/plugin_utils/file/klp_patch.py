# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a livepatch declares that was written by hand: its static struct klp_patch.

No symbol has to be there, so the structure is found by what it points to; and
kernels with debugging options make struct klp_object and klp_func bigger, so
their sizes are found out as well.  What can't be told is None, unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import (
    KLP_FUNC_NEW_FUNC,
    KLP_FUNC_OLD_NAME,
    KLP_FUNC_OLD_SYMPOS,
    KLP_FUNC_SIZE,
    KLP_OBJECT_CALLBACKS,
    KLP_OBJECT_FUNCS,
    KLP_OBJECT_NAME,
    KLP_OBJECT_SIZE,
    KLP_PATCH_LIST,
    KLP_PATCH_OBJS,
    KLP_PATCH_REPLACE,
    KLP_PATCH_SIZE,
    KLP_PATCH_STATES,
    KLP_STATE_ID,
    KLP_STATE_SIZE,
    KLP_STATE_VERSION,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import MAX_ITEMS
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import SystemState
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.declaration import (
    MAX_FUNCTIONS,
    MAX_OBJECTS,
    UNKNOWN,
    Declaration,
    FunctionDeclaration,
    ObjectDeclaration,
    callbacks_at,
    function_declaration,
    object_declaration,
    object_name_or_vmlinux,
    too_many_functions,
    too_many_objects,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    POINTER,
    SHF_ALLOC,
    SHF_WRITE,
    THIS_MODULE,
    Elf,
    Location,
    damaged,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.struct_sizes import (
    struct_size,
)


def source_declaration(elf: Elf) -> Declaration:
    """What the module's static struct klp_patch declares.

    UNKNOWN where there is none, or where the code has to decide which of several
    is enabled.  Raises ElfError.
    """
    patches = list(_patches(elf))
    if len(patches) > 1:
        # The kernel refuses a klp_patch without objects, so that one must be something else.
        patches = [patch for patch in patches if not _has_no_objects(elf, patch)]
    return _declaration(elf, patches[0]) if len(patches) == 1 else UNKNOWN


def _has_no_objects(elf: Elf, patch: Location) -> bool:
    objs = elf.pointer(patch + KLP_PATCH_OBJS)
    return objs is None or elf.null(objs + KLP_OBJECT_NAME) and elf.null(objs + KLP_OBJECT_FUNCS)


def _patches(elf: Elf) -> Iterator[Location]:
    """Where a static struct klp_patch can be.

    Other structures point to their module too, as `owner`, next to pointers to
    functions or strings; only klp_patch goes on with an array of structures.
    """
    this_module = elf.required_section(THIS_MODULE)
    module = Location(this_module.index, 0)
    for section in elf.sections:
        if section.flags & (SHF_ALLOC | SHF_WRITE) != SHF_ALLOC | SHF_WRITE or section.executable:
            continue
        if section.nobits or section == this_module:
            continue
        for offset, target in elf.pointers(Location(section.index, 0), section.size):
            location = Location(section.index, offset)
            if target == module and _is_patch(elf, location):
                yield location


def _is_patch(elf: Elf, patch: Location) -> bool:
    if patch.offset + KLP_PATCH_LIST > elf.sections[patch.section].size:
        return False
    objs = elf.pointer(patch + KLP_PATCH_OBJS)
    if objs is None or not _is_data(elf, objs):
        return False
    states = patch + KLP_PATCH_STATES
    if elf.relocated(states):
        target = elf.pointer(states)
        if target is not None and not _is_data(elf, target):
            return False
    elif elf.unsigned(states):
        return False
    # `replace` is a bool, and the padding behind it is zero.
    tail, true = elf.unsigned(patch + KLP_PATCH_REPLACE), 1 if elf.order == "<" else 1 << 56
    if tail not in (0, true) or elf.relocated(patch + KLP_PATCH_REPLACE):
        return False
    return _is_object(elf, objs)


def _is_data(elf: Elf, location: Location) -> bool:
    section = elf.sections[location.section]
    return (
        bool(section.flags & SHF_ALLOC)
        and not section.executable
        and 0 <= location.offset < section.size
    )


def _is_object(elf: Elf, location: Location) -> bool:
    """Whether a struct klp_object, or the empty one that ends an array, can start here."""
    if not _null_or_data(elf, location + KLP_OBJECT_NAME):
        return False
    if not _null_or_data(elf, location + KLP_OBJECT_FUNCS):
        return False
    func = elf.pointer(location + KLP_OBJECT_FUNCS)
    if func is None:
        return True
    if not _null_or_data(elf, func + KLP_FUNC_OLD_NAME):
        return False
    new_func = func + KLP_FUNC_NEW_FUNC
    return elf.relocated(new_func) != _null_or_data(elf, new_func)


def _null_or_data(elf: Elf, word: Location) -> bool:
    if not 0 <= word.offset <= elf.sections[word.section].size - POINTER:
        return False
    target = elf.pointer(word)
    return elf.null(word) if target is None else _is_data(elf, target)


def _declaration(elf: Elf, patch: Location) -> Declaration:
    objs = elf.pointer(patch + KLP_PATCH_OBJS)
    if objs is None:
        return UNKNOWN
    states: tuple[SystemState, ...] | None = ()
    if not elf.null(patch + KLP_PATCH_STATES):
        start = elf.pointer(patch + KLP_PATCH_STATES)
        states = None if start is None else _states(elf, start)
    return Declaration(
        "source",
        bool(elf.unsigned(patch + KLP_PATCH_REPLACE, 1)),
        states,
        _objects(elf, objs, patch),
        patch,
    )


def _states(elf: Elf, start: Location) -> tuple[SystemState, ...] | None:
    """An array of struct klp_state; None where the module's code has to fill it."""
    section = elf.sections[start.section]
    size = elf.object_size(start)
    if section.nobits:
        return () if size == KLP_STATE_SIZE else None
    states: list[SystemState] = []
    entry = start
    while not elf.null(entry + KLP_STATE_ID):
        # Past the array's end, the kernel takes for an entry whatever follows.
        if size is not None and entry.offset >= start.offset + size or len(states) == MAX_ITEMS:
            raise damaged("its array of system states has no end (an entry with id 0)")
        if elf.relocated(entry + KLP_STATE_ID) or elf.relocated(entry + KLP_STATE_VERSION):
            return None
        states.append(
            SystemState(
                elf.unsigned(entry + KLP_STATE_ID), elf.unsigned(entry + KLP_STATE_VERSION, 4)
            )
        )
        entry += KLP_STATE_SIZE
    return tuple(states)


@dataclass(frozen=True)
class _Layout:
    """How an array of structures is laid out.

    what: the entries' name in messages.  ends: the offsets of the words that are
    all zero in the empty entry, which ends the array.  data: the offset of the
    word that points to data in every other entry; only a name, in the word before
    it, may point to data as well.  size: an entry's size in bytes, None where the
    file does not tell it.  usual: its size where the kernel's kobject has no
    debugging options; no kernel has a smaller one.
    """

    what: str
    ends: tuple[int, ...]
    data: int
    size: int | None
    usual: int


def _layouts(elf: Elf, patch: Location) -> tuple[_Layout, _Layout]:
    """The layouts of arrays of klp_object and of klp_func.

    The size of an entry comes from type information, else it is the usual one
    where the klp_patch's own symbol has the usual size.
    """
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


def _entries(elf: Elf, start: Location, layout: _Layout, patch: Location) -> list[Location] | None:
    """The entries of an array; None where their size can't be told.

    None also where the module's code has to fill it.
    """
    length = elf.object_size(start)
    if elf.sections[start.section].nobits:
        return [] if length == (layout.size or layout.usual) else None
    size = _entry_size(elf, start, layout, patch)
    if size is None:
        return None
    entries: list[Location] = []
    entry = start
    while not all(elf.null(entry + end) for end in layout.ends):
        past = length is not None and entry.offset >= start.offset + length
        if past or len(entries) == MAX_ITEMS:
            raise damaged("its array of %s has no end (an empty entry)" % layout.what)
        entries.append(entry)
        entry += size
    return entries


def _entry_size(elf: Elf, start: Location, layout: _Layout, patch: Location) -> int | None:
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
        # There is one entry at most, and the empty one follows it, whatever its size.
        return layout.usual
    size = gaps.pop()
    told = not gaps and distances[0] == 0 and size >= layout.usual and (length or 0) % size == 0
    return size if told else None


def _objects(elf: Elf, objs: Location, patch: Location) -> tuple[ObjectDeclaration, ...] | None:
    object_layout, func_layout = _layouts(elf, patch)
    entries = _entries(elf, objs, object_layout, patch)
    if entries is None:
        return None
    if len(entries) > MAX_OBJECTS:
        raise too_many_objects()
    objects: list[ObjectDeclaration] = []
    arrays: dict[Location, tuple[FunctionDeclaration, ...] | None] = {}
    count = 0
    for entry in entries:
        funcs = elf.pointer(entry + KLP_OBJECT_FUNCS)
        functions: tuple[FunctionDeclaration, ...] | None = ()
        if funcs is not None:
            if funcs not in arrays:
                arrays[funcs] = _functions(elf, funcs, func_layout, patch)
            functions = arrays[funcs]
        elif not elf.null(entry + KLP_OBJECT_FUNCS):
            functions = None
        if functions is None:
            return None
        count += len(functions)
        if count > MAX_FUNCTIONS:
            raise too_many_functions()
        name = object_name_or_vmlinux(elf, entry + KLP_OBJECT_NAME)
        found = callbacks_at(elf, entry + KLP_OBJECT_CALLBACKS)
        objects.append(object_declaration(name, functions, found))
    return tuple(objects)


def _functions(
    elf: Elf, funcs: Location, layout: _Layout, patch: Location
) -> tuple[FunctionDeclaration, ...] | None:
    """The functions of an array of struct klp_func; None where they can't be told."""
    entries = _entries(elf, funcs, layout, patch)
    if entries is None:
        return None
    return tuple(
        function_declaration(elf, func + KLP_FUNC_OLD_NAME, func + KLP_FUNC_OLD_SYMPOS)
        for func in entries
    )
