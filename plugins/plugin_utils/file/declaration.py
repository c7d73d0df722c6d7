# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a livepatch's file declares, and where in the file each part of it stands.

The readers here are for what klp_patch.py and generated.py find alike, whatever
structure it is part of: a function's name and position, an object's name, and
struct klp_callbacks.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import MODULE_NAME
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import CALLBACKS
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import is_name
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Object,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    POINTER,
    Elf,
    ElfError,
    Location,
    damaged,
    quoted,
)

MAX_OBJECTS = 4096
MAX_FUNCTIONS = 16384
MAX_CALLBACKS = len(CALLBACKS) * MAX_OBJECTS


@dataclass(frozen=True)
class Callback:
    """A callback of an object.

    kind: one of CALLBACKS; code: where it starts in the module, None where it is
    a function outside of the module.
    """

    kind: str
    code: Location | None


@dataclass(frozen=True)
class FunctionDeclaration:
    """A Function, with where its name is."""

    function: Function
    name: Location


@dataclass(frozen=True)
class ObjectDeclaration:
    """An Object, with its callbacks, and where the names of its functions are, in their order."""

    object: Object
    callbacks: tuple[Callback, ...]
    names: tuple[Location, ...]


@dataclass(frozen=True)
class Declaration:
    """What a module declares, None for what only its code knows.

    generator: as in LivepatchFile; replace, states: as in Livepatch; patch: where
    the static struct klp_patch is that says so, None without one.
    """

    generator: str
    replace: bool | None
    states: tuple[SystemState, ...] | None
    objects: tuple[ObjectDeclaration, ...] | None
    patch: Location | None = None


UNKNOWN = Declaration("source", None, None, None)


def function_declaration(elf: Elf, name: Location, sympos: Location) -> FunctionDeclaration:
    """A patched function.

    name: of the pointer to its name; sympos: of its position among the functions
    of that name, an unsigned long.  Raises ElfError.
    """
    location = elf.pointer(name)
    if location is None:
        raise damaged("a patched function has no name")
    if elf.relocated(sympos):
        raise damaged("a patched function's position is no number")
    text = elf.string(location)
    if not is_name(text):
        raise damaged("a patched function's name is %s" % quoted(text))
    # The kernel takes position 0 for the only function of that name (struct klp_func's old_sympos).
    return FunctionDeclaration(Function(text, elf.unsigned(sympos) or 1), location)


def object_name(elf: Elf, name: Location) -> str:
    """A patched module's name.  name: of the pointer to it.  Raises ElfError."""
    location = elf.pointer(name)
    if location is None:
        raise damaged("a patched object has no name")
    text = elf.string(location)
    if not MODULE_NAME.match(text) or not is_name(text):
        raise damaged("a patched object's name is %s" % quoted(text))
    return text


def object_name_or_vmlinux(elf: Elf, name: Location) -> str:
    """As object_name(), but a null pointer is vmlinux, as in struct klp_object."""
    return "vmlinux" if elf.null(name) else object_name(elf, name)


def callbacks_at(elf: Elf, start: Location) -> tuple[Callback, ...]:
    """The callbacks in a struct klp_callbacks, whose order is that of CALLBACKS."""
    pointers = ((kind, start + index * POINTER) for index, kind in enumerate(CALLBACKS))
    return tuple(
        Callback(kind, elf.pointer(pointer)) for kind, pointer in pointers if not elf.null(pointer)
    )


def object_declaration(
    name: str, functions: tuple[FunctionDeclaration, ...], callbacks: tuple[Callback, ...]
) -> ObjectDeclaration:
    """An object of its parts."""
    return ObjectDeclaration(
        Object(
            name,
            tuple(declared.function for declared in functions),
            tuple(callback.kind for callback in callbacks),
        ),
        callbacks,
        tuple(declared.name for declared in functions),
    )


def too_many_objects() -> ElfError:
    """The error for more than MAX_OBJECTS objects."""
    return ElfError("patches more than %d objects; no livepatch does." % MAX_OBJECTS)


def too_many_functions() -> ElfError:
    """The error for more than MAX_FUNCTIONS functions."""
    return ElfError("patches more than %d functions; no livepatch does." % MAX_FUNCTIONS)


def too_many_callbacks() -> ElfError:
    """The error for more than MAX_CALLBACKS callbacks."""
    return ElfError("has more than %d callbacks; no livepatch has." % MAX_CALLBACKS)
