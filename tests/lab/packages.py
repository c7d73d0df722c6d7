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
    hook = [str(FETCH), str(packages), kernel.package]
    if kernel.livepatch:
        hook.append(kernel.headers_package)
    run(
        "mmdebstrap",
        "--variant=extract",
        "--mode=chrootless",
        f"--architectures={kernel.arch}",
        # Point releases alone: what comes in between would change under a cache whose key can't
        # tell, and mirrors of it are the ones found half synchronised.
        f'--setup-hook=sed -i /{kernel.suite}-/d "$1"/etc/apt/sources.list',
        f"--include={PACKAGES}",
        f"--extract-hook={shlex.join(hook)}",
        kernel.suite,
        root,
    )


def extract(package: Path, into: Path, *patterns: str) -> None:
    into.mkdir(exist_ok=True)
    unpack = ["tar", "-x", "--no-same-owner", "-C", str(into)]
    if patterns:
        unpack += ["--wildcards", *patterns]
    pipe = f"dpkg-deb --fsys-tarfile {shlex.quote(str(package))} | {shlex.join(unpack)}"
    run("bash", "-o", "pipefail", "-c", pipe)
