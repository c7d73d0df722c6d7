# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The running kernel's list of livepatches as drgn reads it: a second pair of eyes.

Runs on a board that has drgn, and uses nothing of the collection's.  There is no
debugging information on a board, so that the structures are spelled out here
from include/linux/livepatch.h; the sizes of klp_object and klp_func are those of
kernels without CONFIG_DEBUG_KOBJECT_RELEASE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drgn import Object, Program, Type, TypeMember

CALLBACKS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")
KLP_OBJECT_SIZE, KLP_FUNC_SIZE = 168, 152


def livepatches() -> list[dict[str, Any]]:
    """Name, replace, states and objects of every livepatch on klp_patches, oldest first."""
    program = Program()
    program.set_kernel()
    types = _types(program)
    head = _address("klp_patches")
    found = []
    at = program.read_u64(head)
    while at != head:
        patch = Object(
            program, types["klp_patch"], address=at - types["klp_patch"].member("list").offset
        )
        found.append(
            {
                "name": patch.kobj_name.string_().decode(),
                "replace": bool(patch.replace.value_()),
                "states": [
                    [state.id.value_(), state.version.value_()]
                    for state in _array(program, patch.states, types["klp_state"], 24, "id")
                ],
                "objects": [
                    _object(program, types, klp_object)
                    for klp_object in _array(
                        program, patch.objs, types["klp_object"], KLP_OBJECT_SIZE, "funcs"
                    )
                ],
            }
        )
        at = program.read_u64(at)
    return found


def _object(program: Program, types: dict[str, Type], klp_object: Object) -> dict[str, Any]:
    name = klp_object.name
    functions = _array(program, klp_object.funcs, types["klp_func"], KLP_FUNC_SIZE, "old_name")
    return {
        "name": name.string_().decode() if name else "vmlinux",
        "callbacks": [kind for kind in CALLBACKS if klp_object.member_(kind)],
        # As sysfs counts: 1 for a name that is there once.
        "functions": [
            [function.old_name.string_().decode(), function.old_sympos.value_() or 1]
            for function in functions
        ],
    }


def _array(program: Program, start: Object, of: Type, size: int, last: str) -> Iterator[Object]:
    """The structures of an array that ends with one whose member `last` is zero."""
    address = start.value_()
    while address:
        item = Object(program, of, address=address)
        if not item.member_(last):
            return
        yield item
        address += size


def _types(program: Program) -> dict[str, Type]:
    long = program.int_type("unsigned long", 8, False)
    text = program.pointer_type(program.int_type("char", 1, True))
    structures = {
        "klp_state": (24, {"id": (long, 0), "version": (program.int_type("int", 4, False), 8)}),
        "klp_func": (KLP_FUNC_SIZE, {"old_name": (text, 0), "old_sympos": (long, 16)}),
        "klp_object": (
            KLP_OBJECT_SIZE,
            {
                "name": (text, 0),
                "funcs": (long, 8),
                **{kind: (long, 16 + 8 * index) for index, kind in enumerate(CALLBACKS)},
            },
        ),
        "klp_patch": (
            200,
            {
                "objs": (long, 8),
                "states": (long, 16),
                "replace": (program.bool_type("bool", 1), 24),
                "list": (long, 32),
                "kobj_name": (text, 48),
            },
        ),
    }
    return {
        name: program.struct_type(
            name,
            size,
            [TypeMember(type_, member, offset * 8) for member, (type_, offset) in members.items()],
        )
        for name, (size, members) in structures.items()
    }


def _address(symbol: str) -> int:
    with open("/proc/kallsyms") as lines:
        return next(int(line.split()[0], 16) for line in lines if line.split()[2] == symbol)
