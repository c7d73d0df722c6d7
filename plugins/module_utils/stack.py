# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's list of livepatches, and what a step makes of it.

Pure.  klp_enable_patch() puts a livepatch at the end of klp_patches, a
cumulative one takes all others off it, and a module stays loaded until it is
removed: kernel/livepatch/core.c and transition.c, 5.1 to 7.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterable, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    conflicts,
)

LOAD = "load"
DISABLE = "disable"
REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """One thing that is done to the kernel.

    action: "load" puts the livepatch at the end of the list, "disable" takes it
    off, each by a transition; "remove" unloads the module of one that is off it.
    """

    action: str
    patch: Livepatch

    def __str__(self) -> str:
        return "%s %s" % (self.action, self.patch.name)


def spell(steps: Sequence[Step]) -> list[str]:
    """The steps as a decision returns them: "load" alone where only one livepatch is loaded."""
    loads = [step for step in steps if step.action == LOAD]
    return [LOAD if loads == [step] else str(step) for step in steps]


def after(step: Step, installed: Sequence[Livepatch]) -> tuple[Livepatch, ...]:
    """The list after the step.

    A livepatch of which it is unknown whether it is cumulative is taken for one,
    as kpatch-build and klp-build make them by default.
    """
    if step.action == LOAD:
        stays = () if step.patch.replace is not False else tuple(installed)
        return (*stays, step.patch)
    return tuple(patch for patch in installed if patch.name != step.patch.name)


def after_all(steps: Iterable[Step], installed: Sequence[Livepatch]) -> tuple[Livepatch, ...]:
    """The list after all of the steps."""
    for step in steps:
        installed = after(step, installed)
    return tuple(installed)


def board_after(steps: Iterable[Step], board: Board) -> Board:
    """The board after the steps: its list, and the modules that they leave loaded."""
    leftover = set(board.leftover)
    patches = board.patches
    for step in steps:
        left = after(step, patches)
        leftover |= {patch.name for patch in patches} - {patch.name for patch in left}
        if step.action != DISABLE:
            leftover.discard(step.patch.name)
        patches = left
    patches = tuple(replace(patch, enabled=True, transition=False) for patch in patches)
    return replace(board, patches=patches, leftover=tuple(sorted(leftover)))


def same_build(one: Livepatch, other: Livepatch) -> bool | None:
    """Whether two livepatches of one name are one build; None where it can't be told.

    By build id, else by srcversion.  States that differ under one build id are
    two builds: somebody rewrote the file.
    """
    both_known = one.states is not None and other.states is not None
    if both_known and _ids_and_versions(one) != _ids_and_versions(other):
        return False
    if one.build_id is not None and other.build_id is not None:
        return one.build_id == other.build_id
    if one.srcversion is not None and other.srcversion is not None:
        return one.srcversion == other.srcversion
    return None


def same_stack(one: Sequence[Livepatch], other: Sequence[Livepatch]) -> bool:
    """Whether both lists hold the same builds in the same order; unknown is not the same."""
    return len(one) == len(other) and all(
        mine is theirs or mine.name == theirs.name and same_build(mine, theirs)
        for mine, theirs in zip(one, other)
    )


def _ids_and_versions(patch: Livepatch) -> list[tuple[int, int]]:
    return [(state.id, state.version) for state in patch.states or ()]


def conflicting(candidate: Livepatch, installed: Sequence[Livepatch]) -> list[Livepatch]:
    """What makes the kernel refuse the candidate, as far as it is known; the youngest first.

    The kernel compares it with each installed livepatch on its own, so those that
    conflict are enough to be disabled, and none of them can be spared.  Of a
    candidate that may be cumulative or not, those that conflict with it either way.
    """
    if candidate.states is None:
        return []
    return [
        patch
        for patch in reversed(installed)
        if patch.states is not None and conflicts(candidate, patch)
    ]


def function_changes(
    installed: Sequence[Livepatch], steps: Sequence[Step]
) -> dict[str, list[str] | None]:
    """Which patched functions the steps keep, add and remove, spelled as sysfs does.

    None where that can't be told: the functions of a livepatch are unknown, or it
    depends on whether an unknown one is cumulative.
    """
    before = _function_names(installed)
    cumulative = _function_names(after_all(steps, installed))
    if before is None or cumulative is None:
        return {"kept": None, "added": None, "removed": None}
    alone = [
        replace(step, patch=replace(step.patch, replace=False))
        if step.action == LOAD and step.patch.replace is None
        else step
        for step in steps
    ]
    if _function_names(after_all(alone, installed)) != cumulative:
        return {"kept": None, "added": sorted(cumulative - before), "removed": None}
    return {
        "kept": sorted(before & cumulative),
        "added": sorted(cumulative - before),
        "removed": sorted(before - cumulative),
    }


def _function_names(patches: Iterable[Livepatch]) -> set[str] | None:
    names: set[str] = set()
    for patch in patches:
        if patch.objects is None:
            return None
        names.update(
            "%s/%s,%d" % (obj.name, function.name, function.position)
            for obj in patch.objects
            for function in obj.functions
        )
    return names
