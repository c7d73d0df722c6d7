# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks and roles as Ansible runs them, on boards that only answer.

Whatever a board is asked is written down, so that a test sees which boards were
touched, in which order, and with which options.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.orangepi.livepatch.tests.benchmarks import answers
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder

CONNECTIONS = [
    Path(__file__).parent / "connection_plugins",
    Path(answers.__file__).parent / "connection_plugins",
]
ROLLOUT = "orangepi.livepatch.rollout"
ROLLBACK = "orangepi.livepatch.rollback"


@dataclass
class Ran:
    """A run of ansible-playbook that has ended.

    status: its exit status; asked: board, module and options of every remote call,
    in their order; result: the role's fact.
    """

    status: int
    output: str
    asked: list[tuple[str, str, dict[str, Any]]]
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def touched(self) -> list[str]:
        return [board for board, module, _options in self.asked if module == "livepatch_stack"]

    @property
    def outcomes(self) -> dict[str, str]:
        return {row["board"]: row["outcome"] for row in self.result["boards"]}


class Fleet:
    """A catalog, the answers of good and of bad boards, and whatever runs over them."""

    def __init__(self, directory: Path, builder: Builder) -> None:
        self.directory = directory
        self.catalog = directory / "catalog"
        self.catalog.mkdir()
        files = [
            Path(shutil.copy(builder.module(name), self.catalog))
            for name in ("fixes_1.c", "fixes_2.c")
        ]
        good, bad = directory / "good", directory / "bad"
        good.mkdir()
        answers.write_answers(files, good)
        shutil.copytree(good, bad)
        for path in bad.glob("run.*"):
            answer = json.loads(path.read_text())
            failure = {"failed": True, "changed": False, "msg": "it broke"}
            path.write_text(json.dumps(dict(answer, after=answer["before"], **failure)))
        lazy = directory / "lazy"
        shutil.copytree(good, lazy)
        for path in lazy.glob("run.*"):
            path.write_text(json.dumps({"changed": False, "skipped": True}))

    def run(
        self,
        playbook: str | list[dict[str, Any]],
        boards: Mapping[str, Mapping[str, Any]],
        *arguments: str,
        **variables: Any,
    ) -> Ran:
        """boards: by name what each is: `installed` (fixes_1), `kind` (good), and its variables."""
        log = self.directory / "asked"
        log.unlink(missing_ok=True)
        result = self.directory / "result"
        result.unlink(missing_ok=True)
        role = "rollback" if "rollback" in str(playbook) else "rollout"
        tell = [
            {
                "hosts": "boards",
                "gather_facts": False,
                "tasks": [
                    {
                        "ansible.builtin.copy": {
                            "content": "{{ %s_result | to_json }}" % role,
                            "dest": str(result),
                        },
                        "delegate_to": "here",
                        "run_once": True,
                    }
                ],
            }
        ]
        hosts = {"rollout_hosts": "boards", "rollback_hosts": "boards"}
        plays = (
            [{"ansible.builtin.import_playbook": playbook, "vars": hosts}]
            if isinstance(playbook, str)
            else playbook
        )
        (self.directory / "playbook.yml").write_text(json.dumps(plays + tell))
        inventory = {
            "all": {
                "hosts": {"here": {"ansible_connection": "local"}},
                "children": {
                    "boards": {"hosts": {name: dict(one) for name, one in boards.items()}}
                },
            }
        }
        for host in inventory["all"]["children"]["boards"]["hosts"].values():
            host.setdefault("ansible_connection", "written_down")
            host["replayed_installed"] = host.pop("installed", "fixes_1")
            host["replayed_answers"] = str(self.directory / host.pop("kind", "good"))
        (self.directory / "inventory.yml").write_text(json.dumps(inventory))
        given = {
            "rollout_catalog": str(self.catalog),
            "rollback_catalog": str(self.catalog),
            "ansible_python_interpreter": sys.executable,
            "written_down_log": str(log),
            **variables,
        }
        done = subprocess.run(
            [
                *("ansible-playbook", str(self.directory / "playbook.yml")),
                *("--inventory", str(self.directory / "inventory.yml")),
                *("--extra-vars", json.dumps(given)),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=dict(
                os.environ,
                ANSIBLE_CONNECTION_PLUGINS=":".join(map(str, CONNECTIONS)),
                ANSIBLE_PIPELINING="1",
                ANSIBLE_FORKS="10",
            ),
        )
        asked = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        told = json.loads(result.read_text()) if result.exists() else {}
        return Ran(done.returncode, done.stdout, [tuple(one) for one in asked], told)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, builder: Builder) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"), builder)


def role_play(role: str, **keywords: Any) -> list[dict[str, Any]]:
    return [{"hosts": "boards", "gather_facts": False, "roles": [role], **keywords}]


GOOD = {"b%d" % number: {} for number in range(1, 7)}
BAD_THIRD = dict(GOOD, b3={"kind": "bad"})
PLAYBOOK_AND_ROLE = pytest.mark.parametrize(
    "playbook", [ROLLOUT, role_play(ROLLOUT)], ids=["playbook", "role"]
)


@PLAYBOOK_AND_ROLE
def test_the_waves_come_in_the_order_of_the_play_and_every_board_is_asked_once(
    fleet: Fleet, playbook: Any
) -> None:
    ran = fleet.run(playbook, dict(GOOD, b2={"installed": "fixes_2"}), rollout_waves=[1, 2])
    assert ran.status == 0, ran.output
    assert ran.touched[0] == "b1"
    assert [sorted(ran.touched[at : at + 2]) for at in (1, 3)] == [["b3", "b4"], ["b5", "b6"]]
    assert [module for _board, module, _options in ran.asked[:6]] == ["livepatch_info"] * 6
    assert len(ran.asked) == 6 + 5
    assert ran.outcomes == dict(dict.fromkeys(GOOD, "updated"), b2="up to date")
    assert ran.result["failed"] == {}


@PLAYBOOK_AND_ROLE
def test_after_a_failure_no_wave_starts_and_the_table_and_the_exit_status_tell(
    fleet: Fleet, playbook: Any
) -> None:
    ran = fleet.run(playbook, BAD_THIRD, rollout_waves=[2])
    assert ran.status == 2
    assert sorted(ran.touched) == ["b1", "b2", "b3", "b4"]
    assert "b3     fixes_1  fixes_1  failed       it broke" in ran.output
    assert "b5     fixes_1  fixes_1  not touched  stopped after b3" in ran.output
    assert "b4                         : ok=" in ran.output
    recap = ran.output.partition("PLAY RECAP")[2]
    assert [line.split()[0] for line in recap.splitlines() if "failed=1" in line] == ["b3"]


def test_a_canary_that_fails_stops_all_others(fleet: Fleet) -> None:
    ran = fleet.run(ROLLOUT, dict(GOOD, b1={"kind": "bad"}))
    assert (ran.status, ran.touched) == (2, ["b1"])


def test_a_canary_that_leaves_everything_undone_is_no_success(fleet: Fleet) -> None:
    ran = fleet.run(ROLLOUT, dict(GOOD, b1={"kind": "lazy"}))
    assert (ran.status, ran.touched) == (2, ["b1"])


def test_no_board_is_touched_where_one_cannot_be_reached(fleet: Fleet) -> None:
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    ran = fleet.run(role_play(ROLLOUT), dict(GOOD, b6=gone))
    assert (ran.status, ran.touched) == (2, [])
    assert "No board was touched, because of b6: the board can" in ran.output


def test_check_mode_asks_every_board_and_ends_with_what_would_happen(fleet: Fleet) -> None:
    ran = fleet.run(ROLLOUT, GOOD, "--check")
    assert ran.status == 0, ran.output
    assert len(ran.touched) == 6
    assert ran.output.count("  update ") == 12


def test_with_nothing_to_do_only_the_question_is_asked(fleet: Fleet) -> None:
    ran = fleet.run(ROLLOUT, dict.fromkeys(GOOD, {"installed": "fixes_2"}))
    assert (ran.status, ran.touched) == (0, [])
    assert "WARNING" not in ran.output


def test_a_rollback_does_what_its_own_variables_say_whatever_a_rollouts_are(fleet: Fleet) -> None:
    ran = fleet.run(
        ROLLBACK,
        GOOD,
        rollback_waves=[1],
        rollback_timeout=30,
        rollout_waves=[6],
        rollout_timeout=600,
        rollout_on_stall="force",
        rollout_unknown_states="allow",
        rollout_allow_downgrade=True,
    )
    assert ran.status == 0, ran.output
    assert ran.touched == list(GOOD)
    options = [options for _board, module, options in ran.asked if module == "livepatch_stack"]
    assert {
        (one["timeout"], one["on_stall"], one["unknown_states"], one["allow_downgrade"])
        for one in options
    } == {(30, "reverse", "refuse", True)}


def test_empty_waves_are_told_in_the_words_of_the_role(fleet: Fleet) -> None:
    ran = fleet.run(ROLLBACK, GOOD, rollback_waves=[])
    assert (ran.status, ran.touched) == (2, [])
    assert "rollback_waves is empty; give it at least one size" in ran.output


@pytest.mark.parametrize("keyword", [{"serial": 2}, {"strategy": "free"}], ids=str)
def test_a_play_in_which_boards_do_not_wait_for_each_other_touches_none(
    fleet: Fleet, keyword: dict[str, Any]
) -> None:
    ran = fleet.run(role_play(ROLLOUT, **keyword), GOOD)
    assert ran.status != 0
    assert ran.touched == []


def test_names_that_are_patterns_are_boards_all_the_same_in_their_order(fleet: Fleet) -> None:
    names = ["z", "b*", "2001:db8::1", "~d", "!e", "f,g", "h i"]
    ran = fleet.run(ROLLOUT, {name: {} for name in names}, rollout_waves=[1])
    assert ran.status == 0, ran.output
    assert ran.touched == names


def test_a_second_rollout_in_a_run_starts_anew(fleet: Fleet) -> None:
    def rollout(boards: str) -> dict[str, Any]:
        variables = {"rollout_hosts": boards, "rollout_waves": [1]}
        return {"ansible.builtin.import_playbook": ROLLOUT, "vars": variables}

    plays = [rollout("b1:b2"), rollout("boards:!boards"), rollout("b3:b1")]
    ran = fleet.run(plays, BAD_THIRD)
    assert (ran.status, ran.touched) == (2, ["b1", "b2", "b3"])
    assert "b1     fixes_1  fixes_1  not touched  stopped after b3" in ran.output
