"""The lab's livepatches, built for the kernel that the boards run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import cache, kbuild
from .linux import LAYOUTS
from .system import System
from .tools import run, step

SOURCES = Path(__file__).with_name("livepatches")


def modules(system: System) -> Path:
    """A directory with every module. Call it with the cache locked."""
    layout = system.kernel.layout
    # Those of another layout are their own, but for what both show.
    sources = [
        path
        for path in sorted((LAYOUTS / layout if layout else SOURCES).iterdir())
        if path.suffix in (".c", ".h") or path.name == "Kbuild"
    ] + ([SOURCES / "cmdline_show.h"] if layout else [])
    key = cache.digest(Path(__file__), system.directory.name, *sources)
    return cache.entry(
        f"modules-{system.kernel.name}", key, lambda work: _build(system, sources, work)
    )


def _build(system: System, sources: list[Path], work: Path) -> None:
    tree = work / "tree"
    tree.mkdir()
    for source in sources:
        shutil.copy(source, tree)
    with step(f"livepatches for {system.release}"):
        _make(system, tree)
    for module in tree.glob("*.ko"):
        module.rename(work / module.name)
    shutil.rmtree(tree)


def _make(system: System, tree: Path) -> None:
    headers = f"usr/src/linux-headers-{system.release}"
    # Debug information would make a module twenty times as long to copy to a board, and BTF is made
    # of it.
    options = ("KCFLAGS=-g0", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
    if not system.kernel.compiler_of_suite:
        command = kbuild.command(system.kernel, system.headers / headers, f"M={tree}", *options)
        run(*command, env=kbuild.environment())
        return
    container: tuple[str | Path, ...] = (
        *("bwrap", "--unshare-all", "--die-with-parent", "--clearenv"),
        *("--setenv", "PATH", "/usr/sbin:/usr/bin", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", "--ro-bind", system.headers / "usr", "/usr"),
        *(word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", name)),
        *("--bind", tree, "/tree"),
    )
    run(*container, "make", "-C", f"/{headers}", f"-j{os.cpu_count()}", "M=/tree", *options)
