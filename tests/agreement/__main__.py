# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate against the kernel: random livepatches, and every verdict compared.

    make agreement

plays 300 sequences on one of the lab's boards; --sequences plays more, on all
boards of the inventory at once:

    python3 -m tests.lab run --boards orangepi5-1,orangepi5-2 -- \\
        python3 -m tests.agreement --sequences 10000

A sequence loads, disables, enables and removes livepatches made from one built
template, in up to 8 steps, sensible or not.  Before every step the gate and the
rules say what the kernel will answer, from what the product reads of the board;
after it the kernel's answer, its own list and sysfs are compared with that.  The
last lines tell how often each kind of answer was seen.

A sequence is made from the seed and its number alone.  One that disagrees is
shrunk, and shown with the command that plays it again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import inspect

from . import sequences, template
from .play import ANSWERS, LOADED, OF_LOADS, Tally
from .random_sequences import random_sequence
from .remote import ANSWER_SECONDS, Board, lab
from .sequences import Load, Steps
from .shrink import shrink
from .template import Template

BATCH = 20
PROGRESS_SECONDS = 5


def main() -> int:
    """Play random sequences on the boards.  Exit status 1 after a disagreement."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.agreement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sequences", type=int, default=300, help="how many (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="what they are made from (a random number)")
    parser.add_argument(
        "--first", type=int, default=0, help="the number of the first (%(default)s)"
    )
    parser.add_argument("--play", type=json.loads, metavar="STEPS", help="this sequence alone")
    arguments = parser.parse_args()

    names, modules = lab()
    made_from = _template(modules / "states_template.ko")
    with ExitStack() as stack:
        boards = [stack.enter_context(Board(name, "board")) for name in names]
        for board in boards:
            board.send(made_from.to_json())
            release = board.answer()["release"]
            print("%s: Linux %s, %s" % (board.name, release, made_from.file.arch))
        if arguments.play is not None:
            return _play_one(boards[0], sequences.from_json(arguments.play))
        seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
        print("%d sequences, seed %d" % (arguments.sequences, seed), flush=True)
        numbers = range(arguments.first, arguments.first + arguments.sequences)
        return _play_many(boards, made_from, seed, numbers)


def _play_one(board: Board, sequence: Steps) -> int:
    found = _disagreeing(board, [sequence])
    _show(sequence, "no disagreement" if found is None else found[1])
    return 0 if found is None else 1


def _play_many(boards: Sequence[Board], made_from: Template, seed: int, numbers: range) -> int:
    batches = (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH))
    totals = Tally()
    played = steps = 0
    start = shown = time.monotonic()
    for board, batch, answer in _answers(boards, made_from, seed, batches):
        if answer["disagreement"]:
            index, why = answer["disagreement"]
            print("DISAGREEMENT in sequence %d of seed %d:" % (batch[index], seed))
            _disagrees(board, random_sequence(seed, batch[index]), why)
            return 1
        totals.add(Tally(answer["counts"], answer["largest"]))
        played += len(batch)
        steps += sum(answer["counts"].get(kind, 0) for kind in ANSWERS)
        if time.monotonic() >= shown + PROGRESS_SECONDS:
            shown = time.monotonic()
            print("%d played, %.1f a second" % (played, played / (shown - start)), flush=True)
    seconds = time.monotonic() - start
    _show_tally(totals)
    print(
        "%d sequences of %d steps, seed %d, no disagreement: %.0f s, %.1f a second"
        % (played, steps, seed, seconds, played / seconds)
    )
    return 0


def _show_tally(totals: Tally) -> None:
    for kind in ANSWERS:
        print("%9d  %s" % (totals.counts.get(kind, 0), kind))
        for detail in OF_LOADS if kind == LOADED else ():
            print("%9d    %s" % (totals.counts.get(detail, 0), detail))
    for kind, size in totals.largest.items():
        print("%9d  %s" % (size, kind))


def _answers(
    boards: Sequence[Board], made_from: Template, seed: int, batches: Iterator[range]
) -> Iterator[tuple[Board, range, Any]]:
    """Every batch is played by whichever board is free."""
    playing: dict[Board, range] = {}

    def give(board: Board) -> None:
        batch = next(batches, None)
        if batch is not None:
            played = [random_sequence(seed, number) for number in batch]
            _send(board, played)
            playing[board] = batch
            # The board is busy meanwhile.
            _check_files(made_from, played)

    for board in boards:
        give(board)
    while playing:
        ready = select.select(list(playing), [], [], ANSWER_SECONDS)[0]
        for board in ready or list(playing):
            yield board, playing.pop(board), board.answer()
            give(board)


def _check_files(made_from: Template, batch: Iterable[Steps]) -> None:
    """What the gate is told of a file is what the product reads of it."""
    for load in {step for sequence in batch for step in sequence if isinstance(step, Load)}:
        file, image = made_from.make(load)
        read = inspect(image, file.path)
        # What is for another architecture can't be read any further.
        if read.arch != file.arch or not (load.foreign or read.livepatch == file.livepatch):
            sys.exit("%s is read from its file as %s" % (load, read))


def _disagrees(board: Board, sequence: Steps, why: str) -> None:
    _show(sequence, why)
    if _disagreeing(board, [sequence]) is None:
        print("Played again it agrees, so that it is a matter of time, too.")
    print("Making it smaller ...", flush=True)
    smallest, why = shrink(sequence, why, lambda batch: _disagreeing(board, batch))
    _show(smallest, why)
    steps = json.dumps(sequences.to_json(smallest), separators=(",", ":"))
    command = ["python3", "-m", "tests.lab", "run", "--arch", os.environ["LAB_ARCH"]]
    if os.environ.get("LAB_SUITE"):
        command += ["--suite", os.environ["LAB_SUITE"]]
    command += ["--boards", board.name, "--"]
    print("To play it again:")
    print(shlex.join([*command, "python3", "-m", "tests.agreement", "--play", steps]))


def _send(board: Board, batch: Iterable[Steps]) -> None:
    board.send([sequences.to_json(sequence) for sequence in batch])


def _disagreeing(board: Board, batch: list[Steps]) -> tuple[Steps, str] | None:
    """The first of the batch that disagrees, and why."""
    _send(board, batch)
    found = board.answer()["disagreement"]
    return found and (batch[found[0]], found[1])


def _show(sequence: Steps, why: str) -> None:
    for number, step in enumerate(sequence, 1):
        print("  %d. %s" % (number, step))
    print("  => %s" % why, flush=True)


def _template(path: Path) -> Template:
    image = path.read_bytes()
    return template.find(image, inspect(image, path.name))


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
