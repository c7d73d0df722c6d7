# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of a livepatch that is made to fail late: after its pre_patch(), before it is enabled.

klp_enable_patch() looks up the functions by their names before it calls
anything of the livepatch, and hooks them after pre_patch(): klp_init_patch() and
__klp_enable_patch() in kernel/livepatch/core.c, 5.1 to 7.3.  So a name that is
found, of something that can't be hooked, brings about an error in between.
Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

# Every kernel has this variable, and kallsyms lists it once: livepatching needs KALLSYMS_ALL, which
# lists data too. A shorter name could not be replaced by it, and few functions have one.
SYMBOL = "jiffies"


@dataclass(frozen=True)
class FailingCopy:
    """How to make the copy: where a module's image names a function of vmlinux that it patches.

    offset: of the name, in bytes; function: the name; size: of the image without
    its signature, which does not fit the copy.
    """

    offset: int
    function: str
    size: int

    def apply(self, image: bytes) -> bytes | None:
        """The copy: SYMBOL replaces the function's name; None where the image has no such name."""
        name = self.function.encode("ascii", "replace") + b"\0"
        end = self.offset + len(name)
        if not 0 <= self.offset < end <= self.size <= len(image):
            return None
        if image[self.offset : end] != name or len(self.function) < len(SYMBOL):
            return None
        symbol = SYMBOL.encode("ascii").ljust(len(name), b"\0")
        return image[: self.offset] + symbol + image[end : self.size]
