# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fuzzers, which find what nobody has thought of; what somebody thought of is a unit test.

    python3 -m tests.fuzz livepatch_file --runs 100000 --seed 1

ends with 1 where an input broke something, after it has said how to play that
one again.  With --atheris, where it can be imported, coverage leads the way.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.orangepi.livepatch.tests.fuzz import targets
from ansible_collections.orangepi.livepatch.tests.fuzz.harness import (
    SECONDS,
    limit_memory,
    load,
    made,
    misses,
    what_is_wrong,
)

TARGETS = sorted(module.name for module in pkgutil.iter_modules(targets.__path__))
MAX_MISSES = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description="Fuzz one target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, help="only the input of that number")
    parser.add_argument("--file", type=Path, help="only this file's content")
    parser.add_argument("--atheris", action="store_true", help="let coverage lead the way")
    arguments = parser.parse_args()
    limit_memory()
    if arguments.file is not None or arguments.number is not None:
        return _one(arguments)
    if arguments.atheris:
        return _guided(arguments)
    return _many(arguments)


def _many(arguments: argparse.Namespace) -> int:
    start, found = time.monotonic(), 0
    for miss in misses(arguments.target, arguments.seed, range(arguments.runs)):
        found += 1
        print("input %d: %s" % (miss.number, miss.what))
        print("  play it again: %s --number %d" % (_command(arguments), miss.number))
        print("  its bytes: %s" % _kept(miss.data), flush=True)
        if found == MAX_MISSES:
            break
    print(
        "%s: %d inputs, %d misses, %d s"
        % (arguments.target, arguments.runs, found, time.monotonic() - start)
    )
    return 1 if found else 0


def _one(arguments: argparse.Namespace) -> int:
    target = load(arguments.target)
    if arguments.file is not None:
        data = arguments.file.read_bytes()
    else:
        data = made(target, target.seeds(), arguments.seed, arguments.number)
    what = what_is_wrong(target, data, None)
    if not what:
        print("nothing is wrong with it (but how long it takes, if it was that)")
        return 0
    print(what)
    # With the traceback.
    target.check(data)
    return 1


def _guided(arguments: argparse.Namespace) -> int:
    try:
        import atheris
    except ImportError:
        print("atheris can't be imported; pip install atheris, or leave out --atheris.")
        return 2
    with atheris.instrument_imports(include=["ansible_collections.orangepi.livepatch.plugins"]):
        target = load(arguments.target)
    seeds = target.seeds()

    def mutate(data: bytes, _size: int, seed: int) -> bytes:
        mutated: bytes = target.mutate(random.Random(seed), data, seeds)
        return mutated

    def check(data: bytes) -> None:
        what = what_is_wrong(target, data, SECONDS)
        if what:
            raise AssertionError("%s: %s" % (_kept(data), what))

    with tempfile.TemporaryDirectory() as corpus:
        for index, seed in enumerate(seeds):
            Path(corpus, str(index)).write_bytes(seed)
        options = ["-runs=%d" % arguments.runs, "-seed=%d" % arguments.seed, "-max_len=1000000"]
        argv: list[Any] = [sys.argv[0], *options, "-rss_limit_mb=2048", corpus]
        atheris.Setup(argv, check, custom_mutator=mutate)
        atheris.Fuzz()
    return 0


def _command(arguments: argparse.Namespace) -> str:
    return "python3 -m tests.fuzz %s --seed %d" % (arguments.target, arguments.seed)


def _kept(data: bytes) -> str:
    """Where the input was put, for --file: a changed mutator makes another one of its number."""
    handle, path = tempfile.mkstemp(prefix="fuzz-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return path


if __name__ == "__main__":
    sys.exit(main())
