"""The kernel, and the initramfs with the drivers that lead from it to the disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError
from .packages import extract
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
        _unpack_package(packages, tree)
    (image,) = tree.glob("boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    run("depmod", "-b", tree, release)
    shutil.copy(image, work / "vmlinuz")
    (work / "release").write_text(release + "\n")
    return release


def _unpack_package(packages: Path, tree: Path) -> None:
    (package,) = packages.glob("linux-image-*.deb")
    folders = [f"./lib/modules/*/kernel/{folder}" for folder in MODULE_FOLDERS]
    extract(package, tree, "./boot/*", "./lib/modules/*/modules.*", *folders)


def pack_initramfs(root: Path, work: Path, release: str, drivers: Sequence[str]) -> None:
    tree = work / "kernel" / "initramfs"
    for name in ("bin", "dev", "modules", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    shutil.copy(INIT, tree / "init")
    modules = work / "kernel/lib/modules" / release
    order = _load_order(modules / "modules.dep", drivers)
    for path in order:
        shutil.copy(modules / path, tree / "modules")
    (tree / "modules/order").write_text("".join(f"{Path(path).name}\n" for path in order))
    listing = "\n".join(str(path.relative_to(tree)) for path in [tree, *sorted(tree.rglob("*"))])
    archive = work / "initramfs"
    run("cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet", "-F", archive, cwd=tree, stdin=listing)


def _load_order(modules_dep: Path, drivers: Sequence[str]) -> list[str]:
    needs = {
        path: deps.split()
        for path, deps in (line.split(":", 1) for line in modules_dep.read_text().splitlines())
    }
    path_of = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    order: list[str] = []
    for driver in drivers:
        if driver not in path_of:
            raise LabError(
                f"The kernel's package has no module {driver}, which a board needs to boot."
            )
        path = path_of[driver]
        # modules.dep lists what a module needs with the innermost last.
        order += [need for need in [*reversed(needs[path]), path] if need not in order]
    return order
