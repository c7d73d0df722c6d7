"""Running what takes minutes, and saying how many."""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence

from .errors import LabError
from .tools import say, tool

SECONDS = 30


def run_showing_progress(
    command: Sequence[str], env: Mapping[str, str], mark: str, marks: int
) -> None:
    """About as many lines of the output as `marks` begin with `mark`."""
    start = said = time.monotonic()
    seen = 0
    tail: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        [tool(command[0]), *command[1:]],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdout
        try:
            for line in child.stdout:
                tail.append(line)
                seen += line.startswith(mark)
                now = time.monotonic()
                if seen and now - said >= SECONDS:
                    said = now
                    done = min(seen / marks, 0.99)
                    left = (now - start) * (1 - done) / done
                    say(f"{done:4.0%}, about {left / 60:.1f} minutes left")
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise LabError(
            f"{command[0]} failed with status {child.returncode}:\n{''.join(tail).rstrip()}"
        )
