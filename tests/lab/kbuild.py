"""The kernel's make."""

from __future__ import annotations

import os
from pathlib import Path

from .kernel import Kernel


def command(kernel: Kernel, tree: Path, *arguments: str) -> list[str]:
    machine = kernel.machine
    return [
        "make",
        "-C",
        str(tree),
        f"-j{os.cpu_count()}",
        f"ARCH={machine.linux}",
        f"CROSS_COMPILE={machine.cross_compile}",
        # Debian's headers ask for the kernel's own compiler, which another release doesn't have.
        f"CC={machine.cross_compile}gcc",
        *arguments,
    ]


def environment() -> dict[str, str]:
    # A make that runs the lab would hand its own options and job server down.
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
