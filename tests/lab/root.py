"""What a board needs besides its packages, whose scripts were not run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .tools import run

FILES = Path(__file__).with_name("files")


def complete(root: Path) -> None:
    """Do what matters of what Debian has packages' scripts do, and leave no documentation."""
    for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
        source = root / name
        if source.is_dir() and not source.is_symlink():
            target = root / "usr" / name
            target.mkdir(parents=True, exist_ok=True)
            run("cp", "-al", "--remove-destination", f"{source}/.", target)
            shutil.rmtree(source)
            source.symlink_to(f"usr/{name}")
    _link(root, ("usr/bin/sh", "dash"), ("usr/bin/awk", "mawk"))
    for folder in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/info",
        "usr/share/i18n",
        "var/lib/apt",
        "var/cache/apt",
    ):
        shutil.rmtree(root / folder, ignore_errors=True)


def _link(root: Path, *links: tuple[str, str]) -> None:
    for link, target in links:
        path = root / link
        if not os.path.lexists(path) and (path.parent / target).exists():
            path.symlink_to(target)


def compile_python(root: Path, interpreter: Path) -> None:
    """By the board's own interpreter, here: an emulated processor would take minutes.

    `interpreter` is the root that has it for this machine's processor.
    """
    (library,) = root.glob("usr/lib/python3.*/")
    (loader,) = interpreter.glob("usr/lib/*-linux-gnu/ld-linux*.so.*")
    env = {"PYTHONHOME": str(interpreter / "usr"), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    python = (str(loader), "--library-path", loader.parent, interpreter / "usr/bin" / library.name)
    options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/")
    run(*python, "-m", "compileall", *options, library, env=env)


def configure(root: Path, work: Path, release: str) -> None:
    shutil.copytree(
        work / "kernel/usr/lib/modules" / release,
        root / "usr/lib/modules" / release,
        dirs_exist_ok=True,
    )
    shutil.copy(work / "config", root / f"boot/config-{release}")

    etc = root / "etc"
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", etc / name)
    with open(etc / "passwd", "a", encoding="ascii") as passwd:
        passwd.write("sshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n")
    (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    (etc / "shells").write_text("/bin/sh\n/bin/bash\n")
    shutil.copy(FILES / "rcS", etc / "rcS")
    shutil.copy(FILES / "inittab", etc / "inittab")
    shutil.copy(FILES / "sshd_config", etc / "ssh/sshd_config")
    shutil.copy(work / "host_key", etc / "ssh/ssh_host_ed25519_key")
    shutil.copy(work / "identity.pub", etc / "ssh/lab_authorized_keys")
    _link(
        root,
        ("usr/sbin/init", "../bin/busybox"),
        ("usr/sbin/reboot", "../bin/busybox"),
        ("usr/sbin/poweroff", "../bin/busybox"),
        ("usr/sbin/ip", "../bin/busybox"),
    )
