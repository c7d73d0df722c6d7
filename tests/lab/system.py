"""A board's system: kernel, initramfs, disk, the headers to build modules with, SSH keys."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .initramfs import pack_initramfs, unpack_kernel
from .kernel import Kernel
from .linux import CONFIG, linux
from .packages import (
    download,
    download_compiler,
    download_kernel,
    download_python,
    extract,
    runs_here,
)
from .root import compile_python, complete, configure
from .tools import run, step, tool

HERE = Path(__file__).parent
RECIPE = (
    *(HERE / name for name in ("system.py", "packages.py", "initramfs.py", "root.py")),
    *sorted(path for path in (HERE / "files").iterdir() if path != CONFIG),
)

DISK_SIZE = "1G"


@dataclass(frozen=True)
class System:
    kernel: Kernel
    directory: Path

    @property
    def release(self) -> str:
        return (self.directory / "release").read_text().strip()

    @property
    def image(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initramfs"

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def identity(self) -> Path:
        return self.directory / "identity"

    @property
    def host_key(self) -> str:
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    @property
    def headers(self) -> Path:
        return self.directory / "headers"


def system(kernel: Kernel) -> System:
    """Call it with the cache locked."""
    built = linux(kernel) if kernel.from_source else None
    key = cache.digest(kernel, built and built.name, *RECIPE)
    return System(
        kernel, cache.entry(f"system-{kernel.name}", key, lambda work: _build(kernel, built, work))
    )


def _build(kernel: Kernel, built: Path | None, work: Path) -> None:
    # Before the long work, not in its middle.
    for name in ("gcc", "make", "mkfs.ext4", "fakeroot", "cpio", "depmod", "ssh-keygen"):
        tool(name)
    tool(kernel.machine.qemu)
    root, packages = work / "root", work / "packages"
    packages.mkdir()
    interpreter = root if runs_here(kernel) else work / "interpreter"
    with step(f"packages of {kernel.name}"), ThreadPoolExecutor() as pool:
        downloads = [pool.submit(download, kernel, root)]
        if not built:
            downloads.append(pool.submit(download_kernel, kernel, work, packages))
        if kernel.compiler_of_suite:
            downloads.append(pool.submit(download_compiler, kernel, work / "headers"))
        if interpreter != root:
            downloads.append(pool.submit(download_python, kernel, interpreter))
        for one in downloads:
            one.result()
    if built:
        for name in ("kernel", "headers"):
            run("cp", "-al", built / name, work / name)
    with step(f"kernel, headers and disk of {kernel.name}"), ThreadPoolExecutor() as pool:
        _keys(work)
        unpacked = pool.submit(unpack_kernel, packages, work)
        headers = pool.submit(_prepare_headers, kernel, packages, work / "headers")
        for tree in dict.fromkeys((root, interpreter)):
            complete(tree)
        compiled = pool.submit(compile_python, root, interpreter)
        release = unpacked.result()
        pack_initramfs(root, work, release, kernel.drivers)
        configure(root, work, release)
        compiled.result()
        headers.result()
        _disk(root, work)
    # The interpreter's is the board's own where that runs here.
    for leftover in (root, packages, interpreter, work / "empty", work / "kernel"):
        shutil.rmtree(leftover, ignore_errors=True)


def _keys(work: Path) -> None:
    for name in ("identity", "host_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", work / name)


def _prepare_headers(kernel: Kernel, packages: Path, headers: Path) -> None:
    if kernel.compiler_of_suite:
        complete(headers)
    elif kernel.headers_are_unpacked:
        names = ("linux-headers-*.deb", "linux-kbuild-*.deb")
        extract([path for name in names for path in packages.glob(name)], headers)
        for makefile in headers.glob("usr/src/linux-headers-*/Makefile"):
            text = makefile.read_text()
            here = "$(dir $(lastword $(MAKEFILE_LIST)))"
            makefile.write_text(
                re.sub(r"^include /usr/src/", f"include {here}../", text, flags=re.M)
            )


def _disk(root: Path, work: Path) -> None:
    # Under fakeroot every file belongs to root, whoever builds this.
    options = ("-q", "-F", "-O", "^has_journal", "-E", "root_owner=0:0", "-d")
    run("fakeroot", tool("mkfs.ext4"), *options, root, work / "disk", DISK_SIZE)
