# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout costs the controller, with boards that answer at once.

A run's cost is the processor time of ansible-playbook and of all its workers, ten
forks, Ansible's own output into a pipe.  What a run costs however many boards there
are (start-up, reading the catalog, packing the modules) is taken out with a second
run of the same, over one board: a board's cost is (N boards - 1 board) / (N - 1),
told as a multiple of what a board costs in a play that only pings.  Only where the
waves are compared, whole runs are: there the cost of a wave counts.

All runs of a round follow each other, and every figure is the median of the
rounds' seconds, since the machine is shared.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .answers import NOTHING, write_answers
from .play import play
from .tables import Ratio

HERE = Path(__file__).parent
FORKS = 10
WAVE = 10
CATALOG = ("fixes_1.ko", "fixes_2.ko")
ROLLOUT = "orangepi.livepatch.rollout"


@dataclass(frozen=True)
class Variant:
    """What is run: a playbook, and the livepatch that its boards have before."""

    name: str
    playbook: str
    installed: str
    arguments: tuple[str, ...] = ()


PING = Variant("ping", str(HERE / "fleet_ping.yml"), NOTHING)
# The catalog's newest is installed, or the one before.
IDLE = Variant("rollout, nothing to do", ROLLOUT, "fixes_2")
UPDATE = Variant("rollout, update", ROLLOUT, "fixes_1")
WAVES = Variant(
    "rollout, update, waves of %d" % WAVE,
    ROLLOUT,
    "fixes_1",
    ("-e", json.dumps({"rollout_waves": [WAVE]})),
)
ROLE_IDLE = Variant("role, nothing to do", str(HERE / "fleet_role.yml"), "fixes_2")
ROLE_UPDATE = Variant("role, update", str(HERE / "fleet_role.yml"), "fixes_1")


class Controller:
    """Everything that a controller needs, in a directory: catalog, answers, inventories."""

    def __init__(self, modules: Path, directory: Path) -> None:
        """modules: where the lab's livepatches are; directory: an empty one."""
        self._directory = directory
        self._catalog = directory / "catalog"
        self._answers = directory / "answers"
        for new in (self._catalog, self._answers):
            new.mkdir()
        files = [Path(shutil.copy(modules / name, self._catalog)) for name in CATALOG]
        write_answers(files, self._answers)

    def run(self, variant: Variant, boards: int) -> float:
        """Seconds of processor time.  Raises PlayError."""
        return play(
            variant.playbook,
            *("-i", str(self._inventory(variant.installed, boards))),
            *("-e", "rollout_catalog=%s" % self._catalog),
            *variant.arguments,
            environment={
                "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection_plugins"),
                "ANSIBLE_FORKS": str(FORKS),
                "ANSIBLE_PIPELINING": "1",
            },
        ).processor

    def _inventory(self, installed: str, boards: int) -> Path:
        path = self._directory / ("%s-%d.ini" % (installed, boards))
        path.write_text(
            "[boards]\n"
            f"board[0001:{boards:04}]\n"
            "[boards:vars]\n"
            "ansible_connection=replayed\n"
            "ansible_python_interpreter=/usr/bin/python3\n"
            f"replayed_answers={self._answers}\n"
            f"replayed_installed={installed}\n",
            encoding="utf-8",
        )
        return path


class Measurement:
    """The seconds of every round by variant and number of boards, and the figures of them."""

    def __init__(self, small: int, boards: int) -> None:
        """small: the number of boards that the larger one is compared with."""
        self.small = small
        self.boards = boards
        self.seconds: dict[tuple[Variant, int], list[float]] = {}

    def round(self, controller: Controller) -> None:
        """Run everything once.  Raises PlayError."""
        for variant, boards in self._runs():
            self.seconds.setdefault((variant, boards), []).append(controller.run(variant, boards))

    def named(self) -> dict[str, Sequence[float]]:
        """The seconds by a name for a table."""
        return {
            "%s, %d" % (variant.name, boards): seconds
            for (variant, boards), seconds in self.seconds.items()
        }

    def ratios(self) -> list[Ratio]:
        """What the issue has goals for, and the role in a play of one's own."""

        def of_ping(variant: Variant, boards: int, goal: float | None = None) -> Ratio:
            name = "controller, %d boards: %s / ping" % (boards, variant.name)
            ping = self._per_board(PING, boards)
            return Ratio(name, self._per_board(variant, boards) / ping, goal)

        def growth(variant: Variant, goal: float | None = None) -> Ratio:
            name = "%d boards / %d, per board: %s" % (self.boards, self.small, variant.name)
            more, less = (self._per_board(variant, count) for count in (self.boards, self.small))
            return Ratio(name, more / less, goal)

        return [
            *(of_ping(IDLE, boards, 1.3) for boards in (self.small, self.boards)),
            *(of_ping(UPDATE, boards, 2.5) for boards in (self.small, self.boards)),
            Ratio(
                "controller, %d boards: waves of %d / two waves" % (self.small, WAVE),
                self._median(WAVES, self.small) / self._median(UPDATE, self.small),
                1.2,
            ),
            growth(IDLE, 1.1),
            growth(UPDATE, 1.1),
            # What of that growth is Ansible's own.
            growth(PING),
            of_ping(ROLE_IDLE, self.small),
            of_ping(ROLE_UPDATE, self.small),
        ]

    def _runs(self) -> Iterator[tuple[Variant, int]]:
        for variant in (PING, IDLE, UPDATE):
            for boards in (1, self.small, self.boards):
                yield variant, boards
        yield WAVES, self.small
        for variant in (ROLE_IDLE, ROLE_UPDATE):
            for boards in (1, self.small):
                yield variant, boards

    def _median(self, variant: Variant, boards: int) -> float:
        return statistics.median(self.seconds[variant, boards])

    def _per_board(self, variant: Variant, boards: int) -> float:
        return (self._median(variant, boards) - self._median(variant, 1)) / (boards - 1)
