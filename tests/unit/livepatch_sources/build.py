# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compiles livepatch modules for any machine with plain compilers and no kernel tree."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
LAB_LIVEPATCHES = SOURCES.parents[1] / "lab" / "livepatches"
MACHINES = ("x86_64", "aarch64", "s390x")

_FLAGS = [
    "-std=gnu11",
    "-O2",
    "-w",
    "-nostdinc",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-fno-common",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-strict-aliasing",
]
_MACHINE_FLAGS = {
    "x86_64": ["-mcmodel=kernel", "-mno-red-zone", "-fcf-protection=none"],
    "aarch64": [],
    "s390x": ["-m64"],
}


class Builder:
    """Builds each module once, below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def module(
        self,
        source: str | Path,
        *options: str,
        machine: str = "x86_64",
        mod: tuple[str, ...] = (),
    ) -> Path:
        """A .ko of a source here or in tests/lab/livepatches, linked as kbuild links one.

        options: the compiler's, for the source; mod: for module.mod.c.
        """
        path = SOURCES / source
        if not path.exists():
            path = LAB_LIVEPATCHES / source
        directory = self._directory(path, options, machine, mod)
        target = directory / (path.stem + ".ko")
        if not target.exists():
            name = '-DKBUILD_MODNAME="%s"' % path.stem
            part = directory / "source.o"
            self.compile(path, part, name, *options, machine=machine)
            # Linked first in some kernels and last in others.
            mod_part = self._directory(path.stem, machine, mod) / "mod.o"
            if not mod_part.exists():
                self.compile(SOURCES / "module.mod.c", mod_part, name, *mod, machine=machine)
            self.run(machine, "ld", "-r", "--build-id=sha1", "-o", target, part, mod_part)
        return target

    def _directory(self, *key: object) -> Path:
        directory = self.directory / hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        directory.mkdir(exist_ok=True)
        return directory

    def compile(self, source: Path, target: Path, *options: str, machine: str = "x86_64") -> Path:
        """An object file of one source."""
        include = ["-I%s" % path for path in (SOURCES / "include", SOURCES, source.parent)]
        flags = [*_FLAGS, *_MACHINE_FLAGS[machine], *include, *options]
        if "-fPIC" in options:
            # x86_64's kernel model has no position-independent variant.
            flags = [flag for flag in flags if flag != "-mcmodel=kernel"]
        self.run(machine, "gcc", *flags, "-c", source, "-o", target)
        return target

    def run(self, machine: str, tool: str, *arguments: str | Path) -> None:
        """Run a cross tool; an AssertionError says what to install where there is none."""
        command = "%s-linux-gnu-%s" % (machine, tool)
        if shutil.which(command) is None:
            raise AssertionError(
                "%s is missing; apt install gcc-%s-linux-gnu" % (command, machine.replace("_", "-"))
            )
        done = subprocess.run(
            [command, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
