# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands whose output is the system state.

Standard library only; runs on the board.  No shell is involved, and both the
time and the output of a command are bounded.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Iterable, Mapping

MAX_SECONDS = 10.0
MAX_OUTPUT = 64 * 1024


class ProbeError(Exception):
    """A probe makes no sense or can't be read; the message is one sentence."""


@dataclass(frozen=True)
class Probe:
    """A name for people, and the command with its arguments."""

    name: str
    command: tuple[str, ...]


def probes_from_arguments(arguments: Iterable[Mapping[str, Any]]) -> tuple[Probe, ...]:
    """The module's probes: each a `name` and a `command`, a list or a string to be split.

    Raises ProbeError.
    """
    probes: list[Probe] = []
    for argument in arguments:
        name, command = str(argument["name"]), argument["command"]
        try:
            words = shlex.split(command) if isinstance(command, str) else list(map(str, command))
        except (TypeError, ValueError) as error:
            raise ProbeError("the command of the probe %s: %s." % (name, error)) from None
        if not words:
            raise ProbeError("the probe %s has no command." % name)
        if name in [probe.name for probe in probes]:
            raise ProbeError("two probes have the name %s; give each a name of its own." % name)
        probes.append(Probe(name, tuple(words)))
    return tuple(probes)


def read(probe: Probe) -> str:
    """What the command prints, errors included, a blank for a tab, and none at the end.

    Raises ProbeError where it can't be run, fails, takes more than 10 seconds
    or prints more than 64 KiB.
    """
    try:
        process = subprocess.Popen(
            probe.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProbeError("the probe %s can't be run: %s." % (probe.name, error)) from None
    try:
        data = _output(probe, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    text = data.decode("utf-8", "replace").rstrip().expandtabs(1)
    if process.returncode != 0:
        raise ProbeError(
            "the probe %s ended with status %d: %s." % (probe.name, process.returncode, text[:200])
        )
    return text


def _output(probe: Probe, process: subprocess.Popen[bytes]) -> bytes:
    deadline = time.monotonic() + MAX_SECONDS
    data = b""
    while process.stdout is not None:
        wait = max(0.0, deadline - time.monotonic())
        if not select.select([process.stdout], [], [], wait)[0]:
            break
        chunk = os.read(process.stdout.fileno(), MAX_OUTPUT)
        data += chunk
        if len(data) > MAX_OUTPUT:
            raise ProbeError(
                "the probe %s prints more than %d KiB." % (probe.name, MAX_OUTPUT // 1024)
            )
        if not chunk:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
                return data
            break
    raise ProbeError("the probe %s takes longer than %g seconds." % (probe.name, MAX_SECONDS))
