# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout costs on one board, against what anybody would write instead.

Run as `make benchmark`.  Every figure is the wall clock of one whole
ansible-playbook run over a warm SSH connection; the runs of a round follow each
other, and the ratios are of the medians, since the machine is shared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 3


def main() -> int:
    """Measure, and print medians and ratios.  Exit status 1 where a run fails."""
    playbooks = {
        "ping": "ping.yml",
        "obvious playbook": "obvious.yml",
        "rollout, update": "rollout.yml",
        "rollout, nothing to do": "rollout.yml",
    }
    seconds: dict[str, list[float]] = {name: [] for name in playbooks}
    _play("reset.yml")
    for number in range(1, ROUNDS + 1):
        for name, playbook in playbooks.items():
            # Both ways of loading start on a board without livepatches; what has nothing to do
            # follows the rollout that did it.
            if name in ("obvious playbook", "rollout, update"):
                _play("reset.yml")
            start = time.monotonic()
            _play(playbook)
            seconds[name].append(time.monotonic() - start)
        print("round %d of %d done" % (number, ROUNDS), flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("\n%-24s %8s   %s" % ("", "median", "all rounds, seconds"))
    for name, values in seconds.items():
        print("%-24s %7.2fs   %s" % (name, medians[name], " ".join("%.2f" % v for v in values)))
    print()
    _ratio(medians, "rollout, nothing to do", "ping", 1.3)
    _ratio(medians, "rollout, update", "obvious playbook", 0.6)
    return 0


def _ratio(medians: dict[str, float], name: str, against: str, goal: float) -> None:
    ratio = medians[name] / medians[against]
    print("%s: %.2f times %s (the goal is at most %.1f)" % (name, ratio, against, goal))


def _play(playbook: str) -> None:
    done = subprocess.run(
        ["ansible-playbook", str(HERE / playbook)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ, ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=600s"),
        check=False,
    )
    if done.returncode != 0:
        sys.exit("%s failed:\n%s" % (playbook, done.stdout))


if __name__ == "__main__":
    sys.exit(main())
