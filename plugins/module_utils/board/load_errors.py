# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the errno of a failed load means, told apart by what the kernel printed meanwhile.

The kernel's words are those of kernel/livepatch/core.c and kernel/module/, the
same from Linux 5.5 to 7.3.  Standard library only.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Sequence


def why_load_failed(error: OSError, kernel_log: Sequence[str] | None) -> str:
    """One sentence for the errno of init_module(2), with what to do.

    kernel_log: the lines that the kernel printed meanwhile, None where they can't
    be read.
    """
    number = error.errno or 0
    said = "the kernel said %s (%s)" % (
        errno.errorcode.get(number, str(number)),
        os.strerror(number),
    )
    for line in kernel_log or ():
        for words, explanation in _LOG_LINES:
            match = words.search(line)
            if match:
                return "%s: %s" % (said, explanation % match.groups())
    return "%s: %s" % (said, _LOAD_ERRORS.get(number, "see kernel_log for the reason."))


_LOG_LINES = (
    (
        re.compile(r"pre-patch callback failed for object '([^']+)'"),
        "its pre_patch() callback for %s failed, and the kernel undid what was done; kernel_log "
        "has what the livepatch said of it.",
    ),
    (
        re.compile(r"Livepatch patch \((\S+)\) is not compatible"),
        "%s is not compatible with the system states of the installed livepatches.",
    ),
    (
        re.compile(r"symbol '([^']+)' not found in symbol table"),
        "the function %s, which it patches, is not in this kernel; build it for exactly this one.",
    ),
    (
        re.compile(r"unresolvable ambiguity for symbol '([^']+)'"),
        "there are several functions %s in this kernel; it must say which by old_sympos.",
    ),
    (
        re.compile(r"failed to (?:register|set) ftrace (?:handler|filter) for function '([^']+)'"),
        "the function %s could not be hooked: kernel.ftrace_enabled is 0, or another tracer has "
        "it; set the sysctl to 1, or end the tracing.",
    ),
    (
        re.compile(r"failed to find location for function '([^']+)'"),
        "the function %s can't be hooked, because it is notrace or no function at all; patch its "
        "callers instead.",
    ),
    (
        re.compile(r"Loading of (.*) is rejected"),
        "the kernel takes signed modules only, and rejected this as %s; sign it with a key that "
        "the kernel trusts.",
    ),
    (
        re.compile(r"Lockdown: .*: (unsigned module loading) is restricted"),
        "%s is forbidden by lockdown; sign it with a key that the kernel trusts.",
    ),
    (
        re.compile(r"Unknown symbol (\S+)"),
        "its module needs the symbol %s, which neither this kernel nor a loaded module has.",
    ),
    (
        re.compile(r"version magic '([^']+)' should be '([^']+)'"),
        "it is built for '%s' and this kernel is '%s'.",
    ),
    (
        re.compile(r"disagrees about version of symbol (\S+)"),
        "it was built against another version of the symbol %s; build it for exactly this kernel.",
    ),
)

_LOAD_ERRORS = {
    errno.EINVAL: (
        "the livepatch is not compatible with what is installed, or its module is malformed; "
        "kernel_log says which."
    ),
    errno.EBUSY: "another transition is under way; wait until it has ended.",
    errno.ENOENT: (
        "a symbol that the module needs, or a function that it patches, is not in this kernel; "
        "build the livepatch for exactly this kernel."
    ),
    errno.ENOEXEC: (
        "the kernel does not accept the file's format, vermagic or symbol versions; build the "
        "livepatch for exactly this kernel."
    ),
    errno.EEXIST: "a module of this name is loaded already; remove it first.",
    errno.ENOMEM: (
        "there is not enough memory, or the module's init said so; nothing was changed."
    ),
    errno.EPERM: (
        "module loading is not permitted (modules_disabled, lockdown, or not root on the host)."
    ),
    errno.ENODEV: "the kernel's livepatching is not initialised, or the module's init said so.",
    getattr(errno, "ENOKEY", 126): "the kernel does not have the key that the file is signed with.",
    getattr(errno, "EKEYREJECTED", 129): (
        "the kernel takes signed modules only, and rejected this file's signature."
    ),
}
