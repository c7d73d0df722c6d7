# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sequence: what is done to the kernel, step by step, and what is installed after it.

Pure data, the same on the controller and on the board.  Every step can be tried
whatever was done before, so that a part of a sequence is a sequence too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import SystemState

MAX_STEPS = 8
MAX_STATES = 16

DISABLE = "disable"
ENABLE = "enable"
REMOVE = "remove"


@dataclass(frozen=True)
class Load:
    """Load a livepatch.

    patch: the number in its name; foreign: built for another architecture.
    """

    patch: int
    states: tuple[SystemState, ...]
    cumulative: bool
    foreign: bool = False

    def __str__(self) -> str:
        kind = "cumulative" if self.cumulative else "non-cumulative"
        states = ", ".join("%d: version %d" % (s.id, s.version) for s in self.states)
        where = " for another architecture" if self.foreign else ""
        return "load %s, %s%s, states {%s}" % (name_of(self.patch), kind, where, states)


@dataclass(frozen=True)
class Act:
    """Disable, enable or remove the livepatch of that number."""

    action: str
    patch: int

    def __str__(self) -> str:
        return "%s %s" % (self.action, name_of(self.patch))


Step = Load | Act
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Stack:
    """What was installed, in stack order, and what is left over in memory."""

    installed: tuple[Load, ...] = ()
    leftover: tuple[Load, ...] = ()

    def after(self, step: Step) -> Stack:
        """The stack once the kernel has done the step."""
        if isinstance(step, Load):
            if step.cumulative:
                return Stack((step,), self.leftover + self.installed)
            return replace(self, installed=(*self.installed, step))
        if step.action == DISABLE:
            gone = tuple(load for load in self.installed if load.patch == step.patch)
            kept = tuple(load for load in self.installed if load.patch != step.patch)
            return Stack(kept, self.leftover + gone)
        if step.action == REMOVE:
            leftover = tuple(load for load in self.leftover if load.patch != step.patch)
            return replace(self, leftover=leftover)
        return self


def highest_versions(stack: Stack) -> dict[int, int]:
    """Of every state id that is installed."""
    highest: dict[int, int] = {}
    for state in (state for load in stack.installed for state in load.states):
        highest[state.id] = max(state.version, highest.get(state.id, 0))
    return highest


def name_of(patch: int) -> str:
    """As long as the template's, whose bytes it takes."""
    return "livepatch%06d" % patch


def to_json(sequence: Steps) -> list[Any]:
    return [
        [
            "load",
            step.patch,
            [[state.id, state.version] for state in step.states],
            step.cumulative,
            step.foreign,
        ]
        if isinstance(step, Load)
        else [step.action, step.patch]
        for step in sequence
    ]


def from_json(steps: list[Any]) -> Steps:
    return tuple(_step(*step) for step in steps)


def _step(action: str, patch: int, *load: Any) -> Step:
    if action != "load":
        return Act(action, patch)
    states, cumulative, foreign = load
    return Load(patch, tuple(SystemState(*state) for state in states), cumulative, foreign)
