# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an author should look at before the livepatch meets a board.

Each finding is a sentence of the seed document, "System State Changes", that a
livepatch's file contradicts.  The document leaves much to the author: callbacks
are optional, one object's may handle the states and another's may do something
else, data may be unnecessary.  So a finding needs certainty that something is
missing; code that can't be followed gives none.

Runs on the controller.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.klp_layout import (
    KLP_PATCH_OBJS,
    KLP_PATCH_SIZE,
    KLP_PATCH_STATES,
    KLP_STATE_SIZE,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import (
    CALLBACKS,
    LivepatchFile,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import MAX_ITEMS
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import SystemState
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code import arm64, x86_64
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.follow import (
    Code,
    Reached,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.instruction import (
    plain_name,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.declaration import (
    ObjectDeclaration,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.elf import (
    THIS_MODULE,
    Elf,
    ElfError,
    Location,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    Module,
    module_of,
    only_livepatch_file_errors,
    read_stored,
)

SEVERITIES = ("error", "warning", "note")

API = "1. Livepatch system state API"
USAGE = "4. Expected usage"

GET_STATE, GET_PREV_STATE = "klp_get_state", "klp_get_prev_state"

# The code of any other machine can't be followed.
STEPS = {"x86_64": x86_64.step, "aarch64": arm64.step, "aarch64_be": arm64.step}

# The callback that undoes what another did ("typically does symmetric operations").
SYMMETRIC = {"pre_patch": "post_unpatch", "post_patch": "pre_unpatch"}

# A first version has no predecessor that could have modified the state.
FIRST_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """Something that the seed document says and the livepatch does not do.

    finding: its name in docs/authors.md; severity: one of SEVERITIES; section:
    the heading in the document; message: one sentence.
    """

    finding: str
    severity: str
    section: str
    message: str


def read_with_findings(path: str | Path) -> tuple[LivepatchFile, tuple[Finding, ...]]:
    """A livepatch file, and what its author should look at.  Raises LivepatchFileError."""
    return inspect_with_findings(read_stored(path), str(path))


def inspect_with_findings(data: bytes, path: str) -> tuple[LivepatchFile, tuple[Finding, ...]]:
    """The same of a file's bytes as stored; path: for messages.  Raises LivepatchFileError."""
    module = module_of(data, path)
    with only_livepatch_file_errors(path):
        return module.file, module_findings(module)


def findings_to_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """What livepatch_file_info returns beside the file."""
    return [asdict(finding) for finding in findings]


def module_findings(module: Module) -> tuple[Finding, ...]:
    """The findings of a livepatch, the gravest first."""
    found: list[Finding] = []
    for look in (_of_the_array, _of_the_callbacks):
        # What is too damaged to be judged has no findings.
        with contextlib.suppress(ElfError):
            found.extend(look(module))
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _of_the_array(module: Module) -> Iterator[Finding]:
    """Section 1: "Non-zero number used to identify the affected system state." """
    states = module.declaration.states or ()
    counts = Counter(state.id for state in states)
    repeated = [str(id) for id, count in counts.items() if count > 1]
    if repeated:
        yield Finding(
            "duplicated_id",
            "error",
            API,
            "%s declares system state %s more than once, of which the kernel looks at the first "
            "only; give each change an id of its own"
            % (module.file.livepatch.name, _listed(repeated)),
        )
    if _goes_on(module):
        yield Finding(
            "id_zero",
            "error",
            API,
            "%s's array of system states ends at entry %d, whose id is 0, and what stands there "
            "and behind it is lost; give every state an id that is not 0"
            % (module.file.livepatch.name, len(states) + 1),
        )


def _goes_on(module: Module) -> bool:
    """Whether an entry with id 0 is more than the end of the array.

    It is where it has a version or data, or where the array's symbol shows that
    something stands behind it.
    """
    elf, declaration = module.elf, module.declaration
    if declaration.states is None or declaration.patch is None:
        return False
    start = elf.pointer(declaration.patch + KLP_PATCH_STATES)
    if start is None:
        return False
    end = start + KLP_STATE_SIZE * len(declaration.states)
    length = (elf.object_size(start) or 0) - (end.offset - start.offset)
    length = min(max(length, KLP_STATE_SIZE), MAX_ITEMS * KLP_STATE_SIZE)
    rest = bytes(elf.content(elf.sections[end.section])[end.offset : end.offset + length])
    return bool(rest.strip(b"\0")) or any(elf.pointers(end, end.offset + len(rest)))


@dataclass(frozen=True)
class _Callback:
    """A callback of an object, and what can't be excluded that it does.

    touches: whether it may get at the livepatch's own states, by klp_get_state(),
    in the array itself, or where another callback keeps what klp_get_state()
    returned; looks: whether it may reach klp_get_prev_state() in such a way.
    """

    object: str
    kind: str
    touches: bool
    looks: bool


def _of_the_callbacks(module: Module) -> Iterator[Finding]:
    declaration = module.declaration
    if not declaration.states or declaration.objects is None or declaration.patch is None:
        return
    name, states = module.file.livepatch.name, declaration.states
    callbacks = _callbacks(module, declaration.patch, declaration.states, declaration.objects)
    if not callbacks:
        yield _without_callbacks(module, declaration.patch, states)
        return
    concerned = _concerned(callbacks)
    yield from _asymmetric(name, concerned, callbacks)
    yield from _without_states(name, states, concerned)
    yield from _without_predecessors(name, states, concerned)


def _callbacks(
    module: Module,
    patch: Location,
    states: Sequence[SystemState],
    objects: Sequence[ObjectDeclaration],
) -> list[_Callback]:
    elf = module.elf
    array = elf.pointer(patch + KLP_PATCH_STATES)
    # What is in the array, and the pointers to it and to the klp_patch's start.
    own = {patch, patch + KLP_PATCH_STATES}
    code = _code(module, patch)
    reached = {c.code: code.reached(c.code) for obj in objects for c in obj.callbacks}
    # What a module that this one depends on does can't be seen here.
    foreign = bool(module.file.depends)
    may_look = foreign or _mentions(elf, GET_PREV_STATE)

    def calls(reach: Reached, name: str) -> bool:
        return reach.everything or name in reach.symbols or foreign and bool(reach.symbols)

    def kept(name: str) -> set[Location]:
        """The variables in which a callback, or init, keeps what it got by that function."""
        found = set()
        for reach in [*reached.values(), *map(code.reached, _entries(module))]:
            for callee, variable in reach.kept:
                if (
                    callee == name
                    or isinstance(callee, Location)
                    and calls(code.reached(callee), name)
                ):
                    found.add(variable)
        return found

    own |= kept(GET_STATE)
    kept_previous = kept(GET_PREV_STATE)

    def touches(reach: Reached) -> bool:
        in_array = array is not None and any(
            location.section == array.section
            and 0 <= location.offset - array.offset < KLP_STATE_SIZE * (len(states) + 1)
            for location in reach.data
        )
        return calls(reach, GET_STATE) or in_array or not reach.data.isdisjoint(own)

    def looks(reach: Reached) -> bool:
        called = may_look and calls(reach, GET_PREV_STATE)
        return called or not reach.data.isdisjoint(kept_previous)

    # Once for each function, however many callbacks it is.
    does = {at: (touches(reach), looks(reach)) for at, reach in reached.items()}
    return [
        _Callback(declared.object.name, callback.kind, *does[callback.code])
        for declared in objects
        for callback in declared.callbacks
    ]


def _code(module: Module, patch: Location) -> Code:
    """The module's code, where passing the klp_patch on is not calling all its callbacks."""
    ignored = [(patch, patch.offset + KLP_PATCH_SIZE)]
    objs = module.elf.pointer(patch + KLP_PATCH_OBJS)
    if objs is not None:
        ignored.append((objs, module.elf.end_of(objs)))
    return Code(module.elf, STEPS.get(module.elf.arch), ignored, keep=(GET_STATE, GET_PREV_STATE))


def _entries(module: Module) -> list[Location]:
    """The module's init and exit functions."""
    section = module.elf.required_section(THIS_MODULE)
    return [target for _at, target in module.elf.pointers(Location(section.index, 0), section.size)]


def _new_functions(module: Module, patch: Location) -> list[Location]:
    """The newly used code: what the klp_funcs point to."""
    elf = module.elf
    objs = elf.pointer(patch + KLP_PATCH_OBJS)
    if objs is None:
        return []
    # Objects may share an array, and arrays a function.
    arrays = dict.fromkeys(target for _at, target in elf.pointers(objs, elf.end_of(objs)))
    found = dict.fromkeys(
        target
        for funcs in arrays
        if not elf.sections[funcs.section].executable
        for _at, target in elf.pointers(funcs, elf.end_of(funcs))
        if elf.sections[target.section].executable
    )
    return list(found)


def _mentions(elf: Elf, name: str) -> bool:
    """Whether a function outside of the module is used in it at all."""
    try:
        return any(plain_name(symbol) == name for symbol in elf.undefined)
    except ElfError:
        return True


def _concerned(callbacks: Sequence[_Callback]) -> list[_Callback]:
    """The callbacks of the objects that deal with the states; of all where none does.

    An object none of whose callbacks looks at a state does something else, as
    long as another object deals with them.
    """
    objects = {c.object for c in callbacks if c.touches or c.looks}
    return [c for c in callbacks if c.object in objects or not objects]


def _without_callbacks(module: Module, patch: Location, states: Sequence[SystemState]) -> Finding:
    """Section 4: "System states are usually modified by livepatch callbacks."

    Section 1 lets the newly used code modify them, too, so that it is a note
    where that may use klp_get_state().
    """
    code = _code(module, patch)
    used = any(
        reached.everything and _mentions(module.elf, GET_STATE) or GET_STATE in reached.symbols
        for reached in map(code.reached, _new_functions(module, patch))
    )
    return Finding(
        "states_without_callbacks",
        "note" if used else "warning",
        USAGE,
        "%s declares %s but has no callbacks, so that nothing modifies the state when it is "
        "enabled or restores it when it is disabled; add them"
        % (module.file.livepatch.name, _named(states)),
    )


def _asymmetric(
    name: str, concerned: Sequence[_Callback], callbacks: Sequence[_Callback]
) -> Iterator[Finding]:
    """Section 4, the note: the unpatch callbacks typically do symmetric operations.

    The counterpart is of the same object, or of vmlinux, which is always there;
    that of another module is not called while that module is not loaded.  Where
    some callbacks of a kind touch the states, the others are none of our
    business.
    """
    for kind, counterpart in SYMMETRIC.items():
        there = {c.object for c in callbacks if c.kind == counterpart}
        ours = [c for c in concerned if c.kind == kind]
        ours = [c for c in ours if c.touches or c.looks] or ours
        alone = [c for c in ours if not there & {c.object, "vmlinux"}]
        if alone:
            undone = (
                "nothing reverts its system state modification when it is disabled"
                if kind == "post_patch"
                else "nothing removes what it prepared when it is disabled or the transition "
                "is reversed"
            )
            yield Finding(
                "%s_without_%s" % (kind, counterpart),
                "warning",
                USAGE,
                "%s has %s but no %s(), so that %s; add one"
                % (name, _functions(alone), counterpart, undone),
            )


def _without_states(
    name: str, states: Sequence[SystemState], concerned: Sequence[_Callback]
) -> Iterator[Finding]:
    """Section 1: "The state can be manipulated using two functions".

    By kind: one callback of a kind that deals with the states is enough.  One
    that works on the livepatch's own array gets at them as well.  One that looks
    at the previous livepatch's only may need no data of its own: a note.
    """
    for kind in CALLBACKS:
        ours = [c for c in concerned if c.kind == kind]
        if not ours or any(c.touches for c in ours):
            continue
        looks = any(c.looks for c in ours)
        yield Finding(
            "%s_without_get_state" % kind,
            "note" if looks else "warning",
            API,
            "%s of %s never reaches klp_get_state() although the livepatch declares %s; %s"
            % (
                _functions(ours),
                name,
                _named(states),
                "klp_get_prev_state() alone leaves it no data of its own"
                if looks
                else "manipulate the state there",
            ),
        )


def _without_predecessors(
    name: str, states: Sequence[SystemState], concerned: Sequence[_Callback]
) -> Iterator[Finding]:
    """Section 4, the roles of pre_patch(), post_patch() and post_unpatch().

    pre_patch() need not allocate what a previous livepatch provides, post_patch()
    copies it, and post_unpatch() tells reversal from disabling by it; pre_unpatch()
    "does not need to care about any previously installed livepatch".  By kind, as
    in _without_states().  Two things are legal where other callbacks deal with
    the states:

    - a pre_patch() that touches no state ("any other preparatory action") with a
      post_unpatch() that undoes just that;
    - a post_patch() that touches no state where pre_patch() has taken over.
    """
    updated = [state for state in states if state.version > FIRST_VERSION]
    kinds = {kind: [c for c in concerned if c.kind == kind] for kind in CALLBACKS}
    touches = {kind: any(c.touches for c in kinds[kind]) for kind in kinds}
    looks = {kind: any(c.looks for c in kinds[kind]) for kind in kinds}
    for kind in ("pre_patch", "post_patch", "post_unpatch"):
        if not kinds[kind] or looks[kind]:
            continue
        if kind == "pre_patch":
            legal = not touches[kind]
        elif kind == "post_patch":
            legal = not touches[kind] and looks["pre_patch"]
        else:
            legal = not touches[kind] and bool(kinds["pre_patch"]) and not touches["pre_patch"]
        if legal and any(touches.values()):
            continue
        if kind == "post_unpatch":
            severity = "error"
            what = "it can't tell the reversal of a transition from disabling for %s"
        else:
            # One of the two may do it for both.
            severity = "warning" if looks["pre_patch"] or looks["post_patch"] else "error"
            what = "it can't take over %s from a livepatch that is being replaced"
        advice = "look there first"
        if not updated:
            severity = "note"
            advice = "a first version has no predecessor, the next one will have"
        yield Finding(
            "%s_without_get_prev_state" % kind,
            severity,
            USAGE,
            "%s of %s never reaches klp_get_prev_state(), so that %s; %s"
            % (_functions(kinds[kind]), name, what % _named(updated or states), advice),
        )


def _functions(callbacks: Sequence[_Callback]) -> str:
    """ "post_patch() for vmlinux and ext4", of callbacks of one kind."""
    objects = list(dict.fromkeys(callback.object for callback in callbacks))
    return "%s() for %s" % (callbacks[0].kind, _listed(objects))


def _named(states: Sequence[SystemState]) -> str:
    """ "system state 1 at version 2", or so, of as many as a sentence can hold."""
    unique = list(dict.fromkeys((state.id, state.version) for state in states))
    words = ["%d at version %d" % pair for pair in unique]
    return "system state%s %s" % ("s" if len(words) > 1 else "", _listed(words))


def _listed(words: Sequence[str]) -> str:
    if len(words) > 4:
        words = [*words[:3], "%d more" % (len(words) - 3)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
