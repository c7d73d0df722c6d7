"""The lab's livepatches, built for the kernel that the boards run."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import cache, kbuild
from .system import System
from .tools import run, step

SOURCES = Path(__file__).with_name("livepatches")


def modules(system: System) -> Path:
    """A directory with every module. Call it with the cache locked."""
    sources = [
        path
        for path in sorted(SOURCES.iterdir())
        if path.suffix in (".c", ".h") or path.name == "Kbuild"
    ]
    key = cache.digest(Path(__file__), system.directory.name, *sources)
    return cache.entry(
        f"modules-{system.kernel.name}", key, lambda work: _build(system, sources, work)
    )


def _build(system: System, sources: list[Path], work: Path) -> None:
    tree = work / "tree"
    tree.mkdir()
    for source in sources:
        shutil.copy(source, tree)
    headers = system.headers / "usr/src" / f"linux-headers-{system.release}"
    with step(f"livepatches for {system.release}"):
        # Debug information would make a module twenty times as long to copy to a board.
        options = (f"M={tree}", "KCFLAGS=-g0", "modules")
        run(*kbuild.command(system.kernel, headers, *options), env=kbuild.environment())
    for module in tree.glob("*.ko"):
        module.rename(work / module.name)
    shutil.rmtree(tree)
