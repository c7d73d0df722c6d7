# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the corpus of livepatch files out of the sources of this repository.

    python3 -m tests.fuzz.build_corpus

needs the cross compilers of the unit tests.  What it writes is kept in the
repository, so that who fuzzes needs none.
"""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

from ansible_collections.orangepi.livepatch.tests.fuzz.targets.livepatch_file import CORPUS
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder

FILES = [
    ("fixes_2.c", "x86_64", ()),
    ("fixes_2.c", "aarch64", ()),
    ("objects.c", "x86_64", ("-gbtf",)),
    ("objects.c", "s390x", ()),
    ("kpatch.c", "x86_64", ()),
    ("klp_build.c", "aarch64", ()),
    ("dynamic.c", "x86_64", ("-O0",)),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        builder = Builder(Path(directory))
        for source, machine, options in FILES:
            module = builder.module(source, *options, machine=machine)
            builder.run(machine, "strip", "--strip-debug", module)
            name = "%s-%s.ko.xz" % (module.stem, machine)
            (CORPUS / name).write_bytes(lzma.compress(module.read_bytes(), preset=9))


if __name__ == "__main__":
    main()
