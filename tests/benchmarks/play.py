# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One ansible-playbook run, and what it cost."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass


class PlayError(Exception):
    """A run failed; the message is the end of what it printed."""


@dataclass(frozen=True)
class Cost:
    """wall: seconds that went by; processor: seconds of all its processes."""

    wall: float
    processor: float


def play(playbook: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Cost:
    """Run it with Ansible's own output into a pipe.  Raises PlayError."""
    processor = _children()
    start = time.monotonic()
    done = subprocess.run(
        ["ansible-playbook", playbook, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    cost = Cost(time.monotonic() - start, _children() - processor)
    if done.returncode != 0:
        raise PlayError("%s failed:\n%s" % (" ".join([playbook, *arguments]), done.stdout[-20000:]))
    return cost


def _children() -> float:
    """Processor time of all children that have ended, and of theirs: Ansible's workers too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
