# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shortest way from the livepatches that are installed to those that are wanted.

Pure.  The rules are those of klp_is_patch_compatible() in
kernel/livepatch/state.c, of klp_enable_patch() and of `replace` in
kernel/livepatch/core.c: a load puts a livepatch at the list's end, and a
cumulative one takes all others off it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import same_build
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    conflicts,
)


class NoWayError(ValueError):
    """What is wanted can't be reached; the message is one sentence."""


class UnknownError(NoWayError):
    """Whether it can be reached depends on what nobody knows."""


@dataclass(frozen=True)
class Step:
    """One transition: "disable" takes the livepatch off the list, "load" puts it at the end."""

    action: str
    patch: Livepatch

    def __str__(self) -> str:
        return "%s %s" % (self.action, self.patch.name)


def shortest_way(installed: Sequence[Livepatch], wanted: Sequence[Livepatch]) -> tuple[Step, ...]:
    """The fewest steps after which exactly `wanted` is installed, the same builds in this order.

    installed, wanted: in stack order.  Nothing but what is wanted is ever
    loaded; what must go is disabled first, the youngest first.  Of two ways of
    one length it is the one that disables least.  Raises NoWayError.
    """
    kept = _kept(installed, wanted)
    way = _way(
        [patch for patch in reversed(installed) if patch.name not in kept], wanted[len(kept) :]
    )
    try:
        _check_known(installed, wanted)
        _check_stack(wanted)
    except NoWayError:
        if len(kept) < len(wanted):
            raise
    else:
        if wanted and wanted[0].replace:
            way = min(way, _way(_in_the_way(wanted[0], installed), wanted), key=len)
    return way


def after_step(step: Step, installed: Sequence[Livepatch]) -> tuple[Livepatch, ...]:
    """The kernel's list after the step."""
    if step.action == "disable":
        return tuple(patch for patch in installed if patch.name != step.patch.name)
    return (step.patch,) if step.patch.replace else (*installed, step.patch)


def _way(disabled: Sequence[Livepatch], loaded: Sequence[Livepatch]) -> tuple[Step, ...]:
    return (
        *(Step("disable", patch) for patch in disabled),
        *(Step("load", patch) for patch in loaded),
    )


def _kept(installed: Sequence[Livepatch], wanted: Sequence[Livepatch]) -> set[str]:
    """The names of as many of the first that are wanted as are installed already, in this order."""
    kept: set[str] = set()
    for patch in installed:
        if len(kept) == len(wanted):
            break
        want = wanted[len(kept)]
        if patch.name == want.name and same_build(patch, want):
            kept.add(patch.name)
    return kept


def _in_the_way(first: Livepatch, installed: Sequence[Livepatch]) -> list[Livepatch]:
    return [
        patch
        for patch in reversed(installed)
        if patch.name == first.name or conflicts(first, patch)
    ]


def _check_known(installed: Sequence[Livepatch], wanted: Sequence[Livepatch]) -> None:
    for patch in (*installed, *wanted):
        if patch.states is None:
            raise UnknownError(
                "the system states of %s are unknown, so that it can't be told which livepatches "
                "the kernel takes beside it." % patch.name
            )
    for patch in wanted:
        if patch.replace is None:
            raise UnknownError(
                "it is unknown whether %s is cumulative, so that it can't be told what it replaces."
                % patch.name
            )


def _check_stack(wanted: Sequence[Livepatch]) -> None:
    """Whether the livepatches can be loaded one after the other, each staying."""
    for index, patch in enumerate(wanted):
        for below in wanted[:index]:
            if patch.name == below.name:
                raise NoWayError("%s is wanted twice; a kernel holds one of a name." % patch.name)
            if patch.replace:
                raise NoWayError(
                    "%s is cumulative and would replace %s, above which it is wanted."
                    % (patch.name, below.name)
                )
            if conflicts(patch, below):
                raise NoWayError(
                    "%s would lower the version of a system state of %s, above which it is wanted."
                    % (patch.name, below.name)
                )
