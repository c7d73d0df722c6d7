"""A kernel that no distribution builds so: Debian's sources in a configuration of the lab's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import cache, kbuild
from .errors import LabError
from .kernel import Kernel
from .packages import download_kernel, extract
from .progress import run_showing_progress
from .tools import run, step, tool

CONFIG = Path(__file__).with_name("files") / "arm64.config"
# What other struct klp_* are made with: a directory each.
LAYOUTS = Path(__file__).with_name("layouts")
BTF_CONFIG = LAYOUTS / "btf.config"

# What no guest's hardware needs: two thirds of the sources.
UNUSED = (
    "*/Documentation/*.rst",
    "*/Documentation/*.yaml",
    "*/Documentation/*.txt",
    "*/arch/*/boot/dts/*.dts*",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/infiniband/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/scsi/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/testing",
)

# What `make M=` asks for.
HEADERS = (
    ".config",
    "Makefile",
    "Module.symvers",
    "arch/{linux}/Makefile",
    "arch/{linux}/include",
    "include",
    "scripts",
)

# What make says of a file that it compiles, and how often.
COMPILED, FILES = "  CC ", 890


def linux(kernel: Kernel) -> Path:
    """A directory laid out as the packages are, unpacked: its `kernel` and its `headers`.

    Call it with the cache locked.
    """
    # Nothing that changes with the boards: this build is the one that takes minutes.
    machine = kernel.machine
    key = cache.digest(
        *(kernel.package_suite, kernel.package, machine.linux, machine.cross_compile),
        *(Path(__file__), Path(kbuild.__file__), *_configs(kernel), *_patches(kernel)),
    )
    name = f"linux-{kernel.arch}{kernel.changes}"
    return cache.entry(name, key, lambda work: _build(kernel, work))


def _configs(kernel: Kernel) -> list[Path]:
    return [CONFIG, BTF_CONFIG] if kernel.btf else [CONFIG]


def _patches(kernel: Kernel) -> list[Path]:
    return [LAYOUTS / kernel.layout / "kernel.patch"] if kernel.layout else []


def _build(kernel: Kernel, work: Path) -> None:
    # Before the long work, not in its middle.
    names = [f"{kernel.machine.cross_compile}gcc", "gcc", "make", "flex", "bison", "bc", "xz"]
    for name in [*names, "patch", "pahole"] if kernel.changes else names:
        tool(name)
    tree, unpacked = work / "source", work / "unpacked"
    with step(f"sources of Linux for {kernel.arch} (170 MB)"):
        _sources(kernel, tree, unpacked)
        for patch in _patches(kernel):
            run("patch", "-p1", "-d", tree, "-i", patch)
    with step(f"Linux for {kernel.arch}, once and for all: 5 to 11 minutes on two cores"):
        _configure(kernel, tree)
        make = kbuild.command(kernel, tree, "Image", "modules")
        run_showing_progress(make, kbuild.environment(), COMPILED, FILES)
    release = (tree / "include/config/kernel.release").read_text().strip()
    _install(kernel, tree, release, work)
    for leftover in (tree, unpacked):
        shutil.rmtree(leftover)


def _sources(kernel: Kernel, tree: Path, unpacked: Path) -> None:
    packages = unpacked / "packages"
    packages.mkdir(parents=True)
    download_kernel(kernel, unpacked, packages)
    extract(packages.glob("linux-source-*.deb"), unpacked, "./usr/src/*.tar.xz")
    (archive,) = unpacked.glob("usr/src/*.tar.xz")
    tree.mkdir()
    exclude = [f"--exclude={pattern}" for pattern in UNUSED]
    options = ("-x", "-I", "xz -T0", "--strip-components=1", "--no-same-owner")
    run("tar", *options, *exclude, "-f", archive, "-C", tree)


def _configure(kernel: Kernel, tree: Path) -> None:
    text = "".join(path.read_text() for path in _configs(kernel))
    wanted = tree / "allnoconfig"
    wanted.write_text(text)
    run(
        *kbuild.command(kernel, tree, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"),
        env=kbuild.environment(),
    )
    lines = {line for line in text.splitlines() if line.startswith("CONFIG_")}
    missing = lines - set((tree / ".config").read_text().splitlines())
    if missing:
        raise LabError(f"This Linux has no {', '.join(sorted(missing))}, which the lab asks for.")


def _install(kernel: Kernel, tree: Path, release: str, work: Path) -> None:
    boot, headers = work / "kernel/boot", work / f"headers/usr/src/linux-headers-{release}"
    (work / "kernel/lib/modules" / release).mkdir(parents=True)
    boot.mkdir()
    shutil.copy(tree / ".config", boot / f"config-{release}")
    shutil.move(tree / f"arch/{kernel.machine.linux}/boot/Image", boot / f"vmlinuz-{release}")
    for pattern in HEADERS:
        name = pattern.format(linux=kernel.machine.linux)
        (headers / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).rename(headers / name)
