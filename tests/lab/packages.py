"""The distribution's packages, unpacked without running their scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from .kernel import Kernel
from .tools import run

FETCH = Path(__file__).with_name("files") / "fetch-packages"

PACKAGES = (
    "base-files,base-passwd,bash,busybox-static,coreutils,dash,findutils,grep,gzip,hostname,kmod,"
    "libc-bin,mawk,mount,openssh-server,openssh-sftp-server,procps,python3,sed,tar,util-linux,"
    # Not for the collection: tests/agreement has it look at the kernel, too.
    "python3-drgn"
)

# What the headers' makefiles call, besides the compiler that they depend on.
COMPILING = "binutils,coreutils,dash,findutils,grep,make,mawk,sed"


def download(kernel: Kernel, root: Path) -> None:
    _unpack(kernel.suite, kernel.arch, root, f"--include={PACKAGES}")


def download_kernel(kernel: Kernel, work: Path, packages: Path) -> None:
    """As packages: what the lab unpacks of them is not for the board's root."""
    names = [kernel.package]
    if kernel.headers_are_unpacked:
        names.append(kernel.headers_package)
    fetch = f"--extract-hook={shlex.join([str(FETCH), str(packages), *names])}"
    _unpack(kernel.package_suite or kernel.suite, kernel.arch, work / "empty", fetch)


def download_compiler(kernel: Kernel, root: Path) -> None:
    """The kernel's headers, and with them the compiler that it was built with."""
    package, hooks = kernel.headers_package, []
    if kernel.package_suite:
        package += f"/{kernel.package_suite}"
        also = rf"s/^\(deb .*\) {kernel.suite} \(.*\)/&\n\1 {kernel.package_suite} \2/"
        hooks = [f"--setup-hook=sed -i '{also}' \"$1\"/etc/apt/sources.list"]
    _unpack(kernel.suite, kernel.arch, root, f"--include={package},{COMPILING}", *hooks)


def download_python(kernel: Kernel, root: Path) -> None:
    """The board's interpreter, for this machine's processor."""
    here = run("dpkg", "--print-architecture").strip()
    _unpack(kernel.suite, here, root, "--include=python3")


def runs_here(kernel: Kernel) -> bool:
    return run("dpkg", "--print-architecture").strip() == kernel.machine.debian


def _unpack(suite: str, arch: str, root: Path, *options: str) -> None:
    run(
        "mmdebstrap",
        "--variant=extract",
        "--mode=chrootless",
        f"--architectures={arch}",
        # Point releases alone: what comes in between would change under a cache whose key can't
        # tell, and mirrors of it are the ones found half synchronised.
        f'--setup-hook=sed -i /{suite}-/d "$1"/etc/apt/sources.list',
        *options,
        suite,
        root,
    )


def extract(packages: Iterable[Path], into: Path, *patterns: str) -> None:
    """All of them together; every pattern must match something in one of them."""
    into.mkdir(exist_ok=True)
    unpack = ["tar", "-x", "--ignore-zeros", "--no-same-owner", "-C", str(into)]
    if patterns:
        unpack += ["--wildcards", *patterns]
    each = 'for package; do dpkg-deb --fsys-tarfile "$package"; done'
    pipe = f"{each} | {shlex.join(unpack)}"
    run("bash", "-o", "pipefail", "-ec", pipe, "bash", *sorted(packages))
