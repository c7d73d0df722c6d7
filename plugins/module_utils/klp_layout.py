# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the fields of struct klp_* lie: include/linux/livepatch.h on 64-bit kernels.

Offsets and sizes in bytes, the same from Linux 5.5, which brought struct
klp_state, to 7.3.  The sizes are those of kernels whose struct kobject has no
debugging options.  A kernel that describes its structures itself (BTF) is
compared with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

KLP_PATCH_OBJS = 8
KLP_PATCH_STATES = 16
KLP_PATCH_REPLACE = 24
KLP_PATCH_LIST = 32
KLP_PATCH_KOBJ_NAME = 48
KLP_PATCH_SIZE = 200

KLP_STATE_ID = 0
KLP_STATE_VERSION = 8
KLP_STATE_DATA = 16
KLP_STATE_SIZE = 24

KLP_OBJECT_NAME = 0
KLP_OBJECT_FUNCS = 8
KLP_OBJECT_CALLBACKS = 16
KLP_OBJECT_KOBJ_NAME = 56
KLP_OBJECT_SIZE = 168

KLP_FUNC_OLD_NAME = 0
KLP_FUNC_NEW_FUNC = 8
KLP_FUNC_OLD_SYMPOS = 16
KLP_FUNC_SIZE = 152

# MODULE_NAME_LEN is 64 - sizeof(unsigned long), the NUL included.
MODULE_NAME_LEN = 56
MODULE_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,55}\Z")

# The releases whose include/linux/livepatch.h was read.
FIRST_CHECKED = (5, 5)
LAST_CHECKED = (7, 3)

# What lies from a structure's start to the last field that is read.  Behind the kobject is what
# belongs to the kernel alone, and what debugging options change.
EXPECTED = {
    "klp_patch": {
        "mod": 0,
        "objs": KLP_PATCH_OBJS,
        "states": KLP_PATCH_STATES,
        "replace": KLP_PATCH_REPLACE,
        "list": KLP_PATCH_LIST,
        "kobj": KLP_PATCH_KOBJ_NAME,
    },
    "klp_state": {
        "id": KLP_STATE_ID,
        "version": KLP_STATE_VERSION,
        "data": KLP_STATE_DATA,
    },
    "klp_object": {
        "name": KLP_OBJECT_NAME,
        "funcs": KLP_OBJECT_FUNCS,
        "callbacks": KLP_OBJECT_CALLBACKS,
        "kobj": KLP_OBJECT_KOBJ_NAME,
    },
    "klp_func": {
        "old_name": KLP_FUNC_OLD_NAME,
        "new_func": KLP_FUNC_NEW_FUNC,
        "old_sympos": KLP_FUNC_OLD_SYMPOS,
    },
    "klp_callbacks": {
        "pre_patch": 0,
        "post_patch": 8,
        "pre_unpatch": 16,
        "post_unpatch": 24,
    },
}

# How long the known fields are together.  An array's entry may be longer, but for a state, of
# which every byte is known.
_LEAST = {
    "klp_patch": KLP_PATCH_KOBJ_NAME + 8,
    "klp_state": KLP_STATE_SIZE,
    "klp_object": KLP_OBJECT_KOBJ_NAME + 8,
    "klp_func": KLP_FUNC_OLD_SYMPOS + 8,
    "klp_callbacks": 32,
}


@dataclass(frozen=True)
class Member:
    """A structure's field as a kernel describes it.

    bit: its offset; type: a number that equal types share; width: of a
    bit-field, in bits, else 0.
    """

    name: str
    bit: int
    type: int
    width: int = 0


@dataclass(frozen=True)
class Struct:
    """A structure as a kernel describes it; its size in bytes."""

    size: int
    members: tuple[Member, ...]

    def named(self, name: str) -> Member | None:
        """The member of that name."""
        return next((member for member in self.members if member.name == name), None)


@dataclass(frozen=True)
class Layout:
    """What differs between kernels that have the layout above: the stride of klp_patch.objs."""

    object_size: int = KLP_OBJECT_SIZE


def layout_of(structs: Mapping[str, Struct]) -> Layout:
    """The layout of a kernel without difference()."""
    return Layout(object_size=structs["klp_object"].size)


def difference(structs: Mapping[str, Struct]) -> str | None:
    """What a kernel's structures have otherwise than above, in one sentence; None for nothing."""
    names = list(EXPECTED)
    klp_object = structs.get("klp_object")
    if klp_object is not None and klp_object.named("callbacks") is None:
        # Then nothing is said by what becomes of a structure without use.
        names.remove("klp_callbacks")
    found = [text for name in names for text in _differences(name, structs.get(name))]
    return "in this kernel " + _and(found) if found else None


def _differences(name: str, struct: Struct | None) -> Iterator[str]:
    if struct is None:
        yield "there is no struct %s" % name
        return
    expected = EXPECTED[name]
    known = [member for member in struct.members if member.bit < 8 * _LEAST[name]]
    missing = [wanted for wanted in expected if struct.named(wanted) is None]
    # Of a state every byte has its meaning, so there a field at the end counts as well.
    added = struct.members if name == "klp_state" else known
    others = [member.name or "a nameless field" for member in added if member.name not in expected]
    if missing and others:
        yield "struct %s has %s instead of %s" % (name, _and(others), _and(missing))
    elif missing:
        yield "struct %s has no %s" % (name, _and(missing))
    elif others:
        yield "struct %s has %s as well" % (name, _and(others))
    else:
        yield from _moved(name, struct)


def _moved(name: str, struct: Struct) -> Iterator[str]:
    for wanted, offset in EXPECTED[name].items():
        member = struct.named(wanted)
        if member is not None and member.width:
            yield "%s of struct %s is a bit-field" % (wanted, name)
        elif member is not None and member.bit != 8 * offset:
            yield "%s of struct %s is at byte %g, not %d" % (wanted, name, member.bit / 8, offset)
    least = _LEAST[name]
    if struct.size < least or (name == "klp_state" and struct.size != least) or struct.size % 8:
        yield "struct %s is %d bytes long" % (name, struct.size)
    if name == "klp_patch" and not _is_a_byte(struct, "replace"):
        yield "replace of struct klp_patch is not known to be a bool"


def _is_a_byte(struct: Struct, name: str) -> bool:
    """Whether the member has the type of `enabled`, which `forced` follows one byte later.

    So nothing has to be known of the type itself, whose number in BTF tells
    nothing before all types are counted.
    """
    member, enabled, forced = (struct.named(one) for one in (name, "enabled", "forced"))
    return (
        member is not None
        and enabled is not None
        and forced is not None
        and member.type == enabled.type == forced.type
        and forced.bit - enabled.bit == 8
        and not (enabled.width or forced.width)
    )


def _and(words: Sequence[str]) -> str:
    head, last = words[:-1], words[-1]
    return ", ".join(head) + " and " + last if head else last
