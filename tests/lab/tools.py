"""Running the machine's tools, and naming the package of one that is missing."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError

# Where a package isn't named as its tool is.
PACKAGE_OF = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "bwrap": "bubblewrap",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "fdtput": "device-tree-compiler",
    "mkfs.ext4": "e2fsprogs",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}

_started = time.monotonic()
_print_lock = threading.Lock()


def say(message: str) -> None:
    with _print_lock:
        print(f"[lab {time.monotonic() - _started:5.1f}s] {message}", flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    start = time.monotonic()
    say(f"{title} ...")
    yield
    say(f"{title}: done in {time.monotonic() - start:.1f}s")


def tool(name: str) -> str:
    # sbin is not on the path of an ordinary Debian user, and mkfs.ext4 and depmod live there.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise LabError(
            f"{name} is missing: install the package {PACKAGE_OF.get(name, name)} "
            "(tests/lab/apt-packages*.txt list all that the lab needs)."
        )
    return found


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Standard output of a command; its last lines in a LabError if it fails."""
    argv = [tool(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL if stdin is None else None,
        check=False,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise LabError(f"{command[0]} failed with status {done.returncode}:\n{tail}")
    return done.stdout
