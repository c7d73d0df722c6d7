# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout costs: on the controller, and on one board of the lab.

Run as `make benchmark`.  Prints every goal beside its figure; only a run that
fails makes the exit status 1.  Without the lab, over more boards and in more rounds:

    python3 -m tests.benchmarks --modules DIRECTORY --small 300 --boards 1000 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import yaml

from . import board, controller
from .play import PlayError
from .tables import goals, samples


def main() -> int:
    """Measure, and print the tables.  Exit status 1 where a run fails."""
    arguments = _arguments()
    ratios = []
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
            modules = arguments.modules or _lab_modules()
            boards = controller.Controller(modules, Path(directory))
            measurement = controller.Measurement(arguments.small, arguments.boards)
            for number in range(1, arguments.rounds + 1):
                measurement.round(boards)
                print(
                    "the controller: round %d of %d done" % (number, arguments.rounds), flush=True
                )
        print("\n%s\n" % samples("controller, processor time, boards", measurement.named()))
        ratios += measurement.ratios()
        if arguments.modules is None:
            seconds = board.measure(arguments.rounds)
            print("\n%s\n" % samples("a board, wall clock", seconds))
            ratios += board.ratios(seconds)
    except PlayError as error:
        print(error, file=sys.stderr)
        return 1
    print(goals(ratios))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--small", type=int, default=100, help="boards that answer at once (default: %(default)s)"
    )
    parser.add_argument(
        "--boards", type=int, default=300, help="and many of them (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--modules",
        type=Path,
        help="a directory with the lab's fixes_1.ko and fixes_2.ko; measure the controller only",
    )
    return parser.parse_args()


def _lab_modules() -> Path:
    """Where the lab that we run in has its livepatches."""
    inventory = yaml.safe_load(Path(os.environ["LAB_INVENTORY"]).read_text(encoding="utf-8"))
    return Path(inventory["all"]["children"]["boards"]["vars"]["lab_modules"])


if __name__ == "__main__":
    sys.exit(main())
