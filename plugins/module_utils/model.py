# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A board, a livepatch's file and a transition: what the gate compares.

Pure, standard library only.  What stands in the seed document is in system_state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch

CALLBACKS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")
GENERATORS = ("source", "kpatch-build", "klp-build")
SOURCES = ("kernel", "record", "file", "unknown")


@dataclass(frozen=True)
class LivepatchFile:
    """A livepatch module's file: what it declares, and what it was built for.

    path: where it was read; sha256, size: of the file as stored, in hex and
    bytes; kernel_release: vermagic's first word; arch: as uname -m says;
    generator: source, kpatch-build or klp-build; signature: None or
    {"signer", "hash"}; compression: None, "xz", "zst" or "gz"; depends: the
    modules that must be loaded first.
    """

    livepatch: Livepatch
    path: str
    sha256: str
    size: int
    vermagic: str
    kernel_release: str
    arch: str
    generator: str = "source"
    signature: dict[str, str | None] | None = None
    compression: str | None = None
    depends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transition:
    """The transition that is under way: which livepatch, "patching" or "unpatching"."""

    patch: str
    direction: str


def transition_of(patches: Iterable[Livepatch]) -> Transition | None:
    """The one transition that these livepatches show; the kernel allows no second one."""
    for patch in patches:
        if patch.transition:
            return Transition(patch.name, "patching" if patch.enabled else "unpatching")
    return None


@dataclass(frozen=True)
class Board:
    """A board as the gate sees it.

    reasons: why it is unsupported, and why the kernel's own list can't be read;
    patches: in stack order; states_source: kernel, record, file or unknown, the
    least of what the patches have; leftover: livepatch modules that are loaded
    though their livepatch was disabled or replaced; signatures_enforced: whether
    the kernel takes signed modules only; forced: those of leftover that can't be
    removed any more, because a transition that they took part in was forced.
    """

    kernel_release: str
    arch: str
    kernel_build_id: str | None
    supported: bool
    system_states: bool
    reasons: tuple[str, ...]
    model: str | None
    compatible: tuple[str, ...]
    patches: tuple[Livepatch, ...]
    states_source: str
    transition: Transition | None
    leftover: tuple[str, ...]
    modules_disabled: bool
    signatures_enforced: bool
    forced: tuple[str, ...] = ()
