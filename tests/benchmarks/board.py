# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout costs on one real board, against what anybody would write instead.

Every figure is the wall clock of one whole ansible-playbook run over a warm SSH
connection; the runs of a round follow each other, and the ratios are of the
medians, since the machine is shared.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from .play import Cost, play
from .tables import Ratio

HERE = Path(__file__).parent

ROLLOUT = "orangepi.livepatch.rollout"
PLAYBOOKS = {
    "ping": "ping.yml",
    "obvious playbook": "obvious.yml",
    "rollout, update": ROLLOUT,
    "rollout, nothing to do": ROLLOUT,
}


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of every round by what was run.  Raises PlayError."""
    seconds: dict[str, list[float]] = {name: [] for name in PLAYBOOKS}
    _play("reset.yml")
    for number in range(1, rounds + 1):
        for name, playbook in PLAYBOOKS.items():
            # Both ways of loading start on a board without livepatches; what has nothing to do
            # follows the rollout that did it.
            if name in ("obvious playbook", "rollout, update"):
                _play("reset.yml")
            seconds[name].append(_play(playbook).wall)
        print("a board: round %d of %d done" % (number, rounds), flush=True)
    return seconds


def ratios(seconds: dict[str, list[float]]) -> list[Ratio]:
    """What the issue has goals for."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        Ratio(
            "a board: rollout, nothing to do / ping",
            median["rollout, nothing to do"] / median["ping"],
            1.15,
        ),
        Ratio(
            "a board: rollout, update / obvious playbook",
            median["rollout, update"] / median["obvious playbook"],
            0.45,
        ),
    ]


def _play(playbook: str) -> Cost:
    ssh = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=600s"}
    if playbook != ROLLOUT:
        return play(str(HERE / playbook), environment=ssh)
    catalog = os.path.join(os.environ["LAB_DIR"], "catalog")
    options = ("-e", "rollout_hosts=boards[0]", "-e", "rollout_catalog=" + catalog)
    return play(ROLLOUT, *options, environment=ssh)
