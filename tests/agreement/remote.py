# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module of this directory at work on a board: a line of JSON in for each one out.

One remote call for all of them: connecting to an emulated board, and starting
Python there, takes as long as ten sequences.
"""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
COLLECTION = PurePosixPath("ansible_collections/orangepi/livepatch")
ARCHIVE = "/root/agreement.zip"
ANSWER_SECONDS = 600


def lab() -> tuple[list[str], Path]:
    """The names of the lab's boards, and the directory with its livepatches."""
    inventory = yaml.safe_load(Path(os.environ["LAB_INVENTORY"]).read_text())
    boards = inventory["all"]["children"]["boards"]
    names = [name for group in boards["children"].values() for name in group["hosts"]]
    return names, Path(boards["vars"]["lab_modules"])


class Board:
    """The board of that name in the lab, with the module started on it."""

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        ssh = [sys.executable, "-m", "tests.lab", "ssh", "--dir", os.environ["LAB_DIR"], name]
        # Ctrl-C is for the controller alone, which ends these.
        options: dict[str, Any] = {"cwd": REPOSITORY, "start_new_session": True}
        subprocess.run([*ssh, "cat > " + ARCHIVE], input=_package(), check=True, **options)
        dotted = ".".join((COLLECTION / "tests/agreement" / module).parts)
        self._remote = subprocess.Popen(
            [*ssh, "PYTHONPATH=%s exec python3 -m %s" % (ARCHIVE, dotted)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **options,
        )

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_error: object) -> None:
        self._remote.kill()
        self._remote.wait()

    def fileno(self) -> int:
        """For select(): ready when there is an answer."""
        return self._remote.stdout.fileno()

    def send(self, question: Any) -> None:
        """Send it; the board is at work on it from now on."""
        with suppress(BrokenPipeError):
            self._remote.stdin.write(json.dumps(question).encode() + b"\n")
            self._remote.stdin.flush()

    def answer(self) -> Any:
        """What it says, once it does."""
        ready = select.select([self], [], [], ANSWER_SECONDS)[0]
        line = self._remote.stdout.readline() if ready else b""
        if not line:
            sys.exit("%s does not answer." % self.name)
        return json.loads(line)


def _package() -> bytes:
    """What the board needs, as a zip file that Python imports from."""
    needed = list((REPOSITORY / "plugins/module_utils").rglob("*.py"))
    needed += [path for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"]
    packages = {
        COLLECTION / parent for path in needed for parent in path.relative_to(REPOSITORY).parents
    }
    packages.update(parent for parent in COLLECTION.parents if parent.name)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in needed:
            archive.write(path, str(COLLECTION / path.relative_to(REPOSITORY)))
        for package in packages:
            archive.writestr(str(package / "__init__.py"), "")
    return out.getvalue()
