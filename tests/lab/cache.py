"""What is worth building once: directories named by a hash of what they were built from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError
from .tools import say


def home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "orangepi.livepatch"
    if len(str(directory).split()) > 1:
        raise LabError(
            f"The cache can't be {directory}: the kernel's makefiles don't take a path "
            "with spaces. Set XDG_CACHE_HOME to another directory."
        )
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def digest(*inputs: object) -> str:
    """A short hash of paths (their names and contents) and of anything else by its repr()."""
    total = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            total.update(item.name.encode() + b"\0" + item.read_bytes())
        else:
            total.update(repr(item).encode())
        total.update(b"\0")
    return total.hexdigest()[:16]


@contextmanager
def locked() -> Iterator[None]:
    """One build at a time; the kernel drops the lock of a build that was killed."""
    with open(home() / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in home().glob("unfinished-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def entry(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory NAME-KEY, built unless it is there. Call it with the cache locked."""
    final = home() / f"{name}-{key}"
    if not final.exists():
        work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=home()))
        try:
            build(work)
            work.chmod(0o755)
            work.rename(final)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return final
