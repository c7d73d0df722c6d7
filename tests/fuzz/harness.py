# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one target, each time on one input that nobody has thought of.

A target is a module of tests/fuzz/targets with

    seeds() -> list[bytes]                              what the inputs are made from
    mutate(random, data, seeds) -> bytes                another input
    check(data) -> None                                 what must hold; raises whatever it likes

An input is made of the seed and its number alone, so that one that fails can be
made again.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

SECONDS = 1.0
MEBIBYTES = 256

# An input that never ends is ended; the process time is then its whole cost.
_AT_MOST = 20

# One of so many inputs is a seed of its own, and the others are mutated so often at most.
_ROUNDS = 6


class EndlessError(BaseException):
    """The input took too long; no `except Exception` of the code under test may catch that."""


@dataclass(frozen=True)
class Miss:
    """An input that broke the oracle: which one, and what was wrong."""

    number: int
    what: str
    data: bytes


def load(name: str) -> Any:
    """The target of that name."""
    return importlib.import_module(
        "ansible_collections.orangepi.livepatch.tests.fuzz.targets." + name
    )


def made(target: Any, seeds: list[bytes], seed: int, number: int) -> bytes:
    """The input of that number."""
    generator = random.Random("%d.%d" % (seed, number))
    data = generator.choice(seeds)
    for _round in range(generator.randint(1, _ROUNDS)):
        data = target.mutate(generator, data, seeds)
    return data


def limit_memory() -> None:
    """From now on, this process may have MEBIBYTES of address space."""
    resource.setrlimit(resource.RLIMIT_AS, (MEBIBYTES * 2**20, resource.RLIM_INFINITY))


def what_is_wrong(target: Any, data: bytes, seconds: float | None = SECONDS) -> str:
    """What an input breaks, empty where nothing.  seconds: of process time; None for any."""
    start = time.process_time()
    try:
        with _ended():
            target.check(data)
    except EndlessError:
        return "it took more than %d s" % _AT_MOST
    except Exception as error:
        return "%s: %s" % (type(error).__name__, str(error)[:500])
    took = time.process_time() - start
    return "it took %.1f s" % took if seconds is not None and took > seconds else ""


def misses(name: str, seed: int, numbers: range, seconds: float | None = SECONDS) -> Iterator[Miss]:
    """The inputs of these numbers that break something."""
    target = load(name)
    seeds = target.seeds()
    for number in numbers:
        data = made(target, seeds, seed, number)
        what = what_is_wrong(target, data, seconds)
        if what:
            yield Miss(number, what, data)


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    def end(_signal: int, _frame: FrameType | None) -> None:
        raise EndlessError

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, _AT_MOST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
