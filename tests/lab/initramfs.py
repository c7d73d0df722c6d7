"""The kernel, and the initramfs with the drivers that lead from it to the disk."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError
from .packages import extract
from .root import complete
from .tools import run

INIT = Path(__file__).with_name("files") / "initramfs-init"

# The rest of the kernel's 300 MB of modules drive hardware that no guest has.
MODULE_FOLDERS = (
    "crypto",
    "drivers/block",
    "drivers/net/*.ko*",
    "drivers/virtio",
    "fs/ext4",
    "fs/jbd2",
    "fs/*.ko*",
    "lib",
    "net/core",
    "arch/*/crypto",
)


def unpack_kernel(packages: Path, work: Path) -> str:
    tree = work / "kernel"
    if not tree.exists():
        _unpack_packages(packages, tree)
    complete(tree)
    (modules,) = tree.glob("usr/lib/modules/*")
    release = modules.name
    run("depmod", "-b", tree / "usr", release)
    # From 7.x on, Debian has them with the modules.
    for name in ("vmlinuz", "config"):
        here, there = modules / name, tree / f"boot/{name}-{release}"
        (here if here.exists() else there).rename(work / name)
    (work / "release").write_text(release + "\n")
    return release


def _unpack_packages(packages: Path, tree: Path) -> None:
    folders = [f"*lib/modules/*/kernel/{folder}" for folder in MODULE_FOLDERS]
    headers = (*packages.glob("linux-headers-*"), *packages.glob("linux-kbuild-*"))
    extract(
        {*packages.iterdir()} - {*headers},
        tree,
        "*/vmlinuz*",
        "*/config*",
        "*lib/modules/*/modules.*",
        *folders,
    )


def pack_initramfs(root: Path, work: Path, release: str, drivers: Sequence[str]) -> None:
    tree = work / "kernel" / "initramfs"
    for name in ("bin", "dev", "modules", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    shutil.copy(INIT, tree / "init")
    modules = work / "kernel/usr/lib/modules" / release
    order = _load_order(modules, drivers)
    for path in order:
        _copy_unpacked(modules / path, tree / "modules")
    names = (Path(path).name.removesuffix(".xz") for path in order)
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in names))
    listing = "\n".join(str(path.relative_to(tree)) for path in [tree, *sorted(tree.rglob("*"))])
    archive = work / "initramfs"
    run("cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet", "-F", archive, cwd=tree, stdin=listing)


def _name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def _copy_unpacked(module: Path, into: Path) -> None:
    # Busybox can't unpack what it loads.
    data = module.read_bytes()
    name = module.name.removesuffix(".xz")
    (into / name).write_bytes(lzma.decompress(data) if name != module.name else data)


def _load_order(modules: Path, drivers: Sequence[str]) -> list[str]:
    if not drivers:
        return []
    needs = {
        path: deps.split()
        for path, deps in (
            line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines()
        )
    }
    path_of = {_name(path): path for path in needs}
    builtin = {_name(path) for path in (modules / "modules.builtin").read_text().split()}
    order: list[str] = []
    for driver in drivers:
        if driver in builtin:
            continue
        if driver not in path_of:
            raise LabError(
                f"The kernel's package has no module {driver}, which a board needs to boot."
            )
        path = path_of[driver]
        # modules.dep lists what a module needs with the innermost last.
        order += [need for need in [*reversed(needs[path]), path] if need not in order]
    return order
