"""The distribution's packages, unpacked without running their scripts."""

from __future__ import annotations

import shlex
from pathlib import Path

from .kernel import Kernel
from .tools import run

FETCH = Path(__file__).with_name("files") / "fetch-packages"

PACKAGES = (
    "base-files,base-passwd,bash,busybox-static,coreutils,dash,findutils,grep,gzip,hostname,kmod,"
    "libc-bin,mawk,mount,openssh-server,openssh-sftp-server,procps,python3,sed,tar,util-linux"
)


def download(kernel: Kernel, root: Path, packages: Path) -> None:
    hooks = []
    if not kernel.source_suite:
        headers = [kernel.headers_package] if kernel.livepatch else []
        hooks.append(_fetch(packages, kernel.package, *headers))
    _unpack(kernel.suite, kernel.arch, root, f"--include={PACKAGES}", *hooks)


def download_source(kernel: Kernel, work: Path, packages: Path) -> None:
    _unpack(kernel.source_suite, kernel.arch, work / "empty", _fetch(packages, kernel.package))


def download_python(kernel: Kernel, root: Path) -> None:
    """The board's interpreter, for this machine's processor."""
    here = run("dpkg", "--print-architecture").strip()
    _unpack(kernel.suite, here, root, "--include=python3")


def runs_here(kernel: Kernel) -> bool:
    return run("dpkg", "--print-architecture").strip() == kernel.machine.debian


def _fetch(packages: Path, *names: str) -> str:
    return f"--extract-hook={shlex.join([str(FETCH), str(packages), *names])}"


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


def extract(package: Path, into: Path, *patterns: str) -> None:
    into.mkdir(exist_ok=True)
    unpack = ["tar", "-x", "--no-same-owner", "-C", str(into)]
    if patterns:
        unpack += ["--wildcards", *patterns]
    pipe = f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | {shlex.join(unpack)}"
    run("bash", "-o", "pipefail", "-c", pipe)
