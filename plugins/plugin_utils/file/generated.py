# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a livepatch declares that kpatch-build or klp-build made.

Such a module has no static struct klp_patch: its init function makes one of
sections that the tool wrote.  It makes no states of them, and whether the
livepatch is cumulative is in its code.
"""

from __future__ import annotations

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import CALLBACKS
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.declaration import (
    MAX_CALLBACKS,
    MAX_FUNCTIONS,
    MAX_OBJECTS,
    Callback,
    Declaration,
    FunctionDeclaration,
    ObjectDeclaration,
    callbacks_at,
    function_declaration,
    object_declaration,
    object_name,
    object_name_or_vmlinux,
    too_many_callbacks,
    too_many_functions,
    too_many_objects,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    Elf,
    Location,
    damaged,
)

# struct kpatch_patch_func and struct kpatch_pre_patch_callback (the three other
# kinds of callbacks have the same layout), kmod/patch/kpatch-patch.h in
# dynup/kpatch since 0.3.
KPATCH_FUNC_SYMPOS, KPATCH_FUNC_NAME, KPATCH_FUNC_OBJNAME, KPATCH_FUNC_SIZE = 32, 40, 48, 56
KPATCH_CALLBACK_OBJNAME, KPATCH_CALLBACK_SIZE = 8, 16

# struct klp_object_ext and struct klp_func_ext, include/linux/livepatch_external.h.
KLP_OBJECT_EXT_NAME, KLP_OBJECT_EXT_FUNCS, KLP_OBJECT_EXT_CALLBACKS = 0, 8, 16
KLP_OBJECT_EXT_NR_FUNCS, KLP_OBJECT_EXT_SIZE = 56, 64
KLP_FUNC_EXT_OLD_NAME, KLP_FUNC_EXT_SYMPOS, KLP_FUNC_EXT_SIZE = 0, 16, 24

# klp-build came with Linux 6.19, whose b525fcaf0a76 ("livepatch: Free klp_{object,func}_ext
# data after initialization") gave the section the first of these names instead of the second.
KLP_BUILD_OBJECTS = (".init.klp_objects", "__klp_objects")


def generated_declaration(elf: Elf) -> Declaration | None:
    """What the tool's sections declare; None in a module of neither tool.  Raises ElfError."""
    if elf.section(".kpatch.funcs"):
        return Declaration("kpatch-build", None, (), _kpatch_objects(elf))
    for name in KLP_BUILD_OBJECTS:
        if elf.section(name):
            return Declaration("klp-build", None, (), _klp_build_objects(elf, name))
    return None


def _kpatch_objects(elf: Elf) -> tuple[ObjectDeclaration, ...] | None:
    """The objects that kpatch-build's livepatch-patch-hook.c makes of its sections.

    They are grouped by name as there; their order, which it reverses, has no
    meaning.  None for the layout of kpatch before 0.3.
    """
    section = elf.required_section(".kpatch.funcs")
    if section.size % KPATCH_FUNC_SIZE:
        return None
    if section.size > MAX_FUNCTIONS * KPATCH_FUNC_SIZE:
        raise too_many_functions()
    functions: dict[str, list[FunctionDeclaration]] = {}
    for offset in range(0, section.size, KPATCH_FUNC_SIZE):
        func = Location(section.index, offset)
        function = function_declaration(elf, func + KPATCH_FUNC_NAME, func + KPATCH_FUNC_SYMPOS)
        functions.setdefault(object_name(elf, func + KPATCH_FUNC_OBJNAME), []).append(function)
    found: dict[str, list[Callback]] = {}
    count = 0
    for kind in CALLBACKS:
        table = elf.section(".kpatch.callbacks." + kind)
        if table is None:
            continue
        # The linker script pads each section with a word of zeros.
        for index in range(table.size // KPATCH_CALLBACK_SIZE):
            entry = Location(table.index, index * KPATCH_CALLBACK_SIZE)
            if not elf.null(entry):
                count += 1
                if count > MAX_CALLBACKS:
                    raise too_many_callbacks()
                name = object_name(elf, entry + KPATCH_CALLBACK_OBJNAME)
                functions.setdefault(name, [])
                found.setdefault(name, []).append(Callback(kind, elf.pointer(entry)))
    if len(functions) > MAX_OBJECTS:
        raise too_many_objects()
    return tuple(
        object_declaration(name, tuple(declared), tuple(found.get(name, ())))
        for name, declared in functions.items()
    )


def _klp_build_objects(elf: Elf, section_name: str) -> tuple[ObjectDeclaration, ...]:
    """The objects that klp-build's scripts/livepatch/init.c makes of its sections."""
    section = elf.required_section(section_name)
    if section.size % KLP_OBJECT_EXT_SIZE:
        raise damaged("%s is no array of struct klp_object_ext" % section_name)
    if section.size > MAX_OBJECTS * KLP_OBJECT_EXT_SIZE:
        raise too_many_objects()
    objects: list[ObjectDeclaration] = []
    count = 0
    for offset in range(0, section.size, KLP_OBJECT_EXT_SIZE):
        entry = Location(section.index, offset)
        nr_funcs = elf.unsigned(entry + KLP_OBJECT_EXT_NR_FUNCS, 4)
        count += nr_funcs
        if count > MAX_FUNCTIONS:
            raise too_many_functions()
        funcs = elf.pointer(entry + KLP_OBJECT_EXT_FUNCS)
        if funcs is None and nr_funcs:
            raise damaged("%s points to no functions" % section_name)
        functions = tuple(
            function_declaration(elf, func + KLP_FUNC_EXT_OLD_NAME, func + KLP_FUNC_EXT_SYMPOS)
            for func in (funcs + i * KLP_FUNC_EXT_SIZE for i in range(nr_funcs) if funcs)
        )
        name = object_name_or_vmlinux(elf, entry + KLP_OBJECT_EXT_NAME)
        found = callbacks_at(elf, entry + KLP_OBJECT_EXT_CALLBACKS)
        objects.append(object_declaration(name, functions, found))
    return tuple(objects)
