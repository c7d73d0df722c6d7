# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the runs of this collection left installed, oldest first: the way back.

Pure.  It is of one boot, as the livepatches are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Mapping, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    MAX_PATCHES,
    ShapeError,
    bounded_list,
    livepatch_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch

MAX_STACKS = 100
MAX_PARAMS = 65536


@dataclass(frozen=True)
class Build:
    """A livepatch of a stack: which build, and the parameters that it was loaded with.

    params: None where somebody else loaded it; they don't make another build.
    """

    name: str
    build_id: str | None
    srcversion: str | None
    params: str | None = field(default=None, compare=False)


def record(
    history: Sequence[tuple[Build, ...]],
    before: Sequence[Livepatch],
    after: Sequence[Livepatch],
    params: Mapping[str, str],
    goal: tuple[Build, ...] | None = None,
) -> tuple[tuple[Build, ...], ...]:
    """The history, a list of stacks, after a run that found `before` and left `after`.

    params: the module parameters of what is installed, by name, where they are
    known.  What somebody else did before the run is noted too.  goal: the stack
    that the run should have left; one that stopped on the way back to it leaves
    the history at the goal, so that the next one goes on to it.
    """
    installed = builds(after, params)
    if goal is not None and installed != goal and (not goal or goal in history):
        return _note(history, goal)
    return _note(_note(history, builds(before)), installed)


def previous(
    history: Sequence[tuple[Build, ...]], installed: Sequence[Livepatch]
) -> tuple[Build, ...]:
    """The stack before the present one; an empty one where nothing is known of any."""
    if history and history[-1] == builds(installed):
        history = history[:-1]
    return history[-1] if history else ()


def builds(
    patches: Sequence[Livepatch], params: Mapping[str, str] | None = None
) -> tuple[Build, ...]:
    """Installed livepatches as a stack of the history; params by name, where they are known."""
    loaded_with = params or {}
    return tuple(
        Build(patch.name, patch.build_id, patch.srcversion, loaded_with.get(patch.name))
        for patch in patches
    )


def stack_from_json(value: Any) -> tuple[Build, ...]:
    """A stack out of one that history_to_json() made.  Raises ShapeError."""
    return tuple(map(_build, bounded_list(value, "a stack", MAX_PATCHES)))


def history_to_json(history: Sequence[tuple[Build, ...]]) -> list[list[dict[str, Any]]]:
    """What livepatch_info returns."""
    return [[asdict(build) for build in stack] for stack in history]


def history_from_json(value: Any) -> tuple[tuple[Build, ...], ...]:
    """The history out of what livepatch_info returned.  Raises ShapeError."""
    return tuple(stack_from_json(stack) for stack in bounded_list(value, "history", MAX_STACKS))


def _note(
    history: Sequence[tuple[Build, ...]], stack: tuple[Build, ...]
) -> tuple[tuple[Build, ...], ...]:
    """The history that ends with this stack.

    One that is in it already was gone back to, and cuts it there; none at all is
    the beginning of all histories.
    """
    if not stack:
        return ()
    known = {build: build.params for build in history[-1]} if history else {}
    stack = tuple(
        build if build.params is not None else replace(build, params=known.get(build))
        for build in stack
    )
    end = list(history).index(stack) if stack in history else len(history)
    return (*history[:end], stack)[-MAX_STACKS:]


def _build(value: Any) -> Build:
    patch = livepatch_from_json(value)
    params = value.get("params")
    if params is not None and (not isinstance(params, str) or len(params) > MAX_PARAMS):
        raise ShapeError("params must be text of at most %d characters" % MAX_PARAMS)
    return Build(patch.name, patch.build_id, patch.srcversion, params)
