# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gate lets through, what it refuses, and the sentence it gives for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import (
    LivepatchFile,
    Transition,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    board_from_json,
    board_to_json,
    file_from_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import spell
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Livepatch,
    Object,
    SystemState,
    conflicts,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins import boards

RELEASE = "7.2.13-orangepi"
CMDLINE = Object("vmlinux", (Function("cmdline_proc_show"),), ())
MEMINFO = Object("vmlinux", (Function("meminfo_proc_show", 2),), ())


def a_file(name="test_v1", states=((1, 1),), cumulative=True, objects=(CMDLINE,), **changes):
    patch = Livepatch(
        name,
        cumulative,
        tuple(SystemState(*state) for state in states),
        objects,
        build_id="aa" * 20 if name.endswith("1") else "bb" * 20,
    )
    file = LivepatchFile(
        patch, "%s.ko" % name, "00" * 32, 4096, RELEASE + " SMP mod_unload", RELEASE, "aarch64"
    )
    return replace(file, **changes)


def installed(file, **changes):
    return replace(file.livepatch, **{"enabled": True, "transition": False, **changes})


def a_board(*patches, **changes):
    board = replace(
        boards.a_board(),
        kernel_release=RELEASE,
        arch="aarch64",
        model="Orange Pi 5 Plus",
        compatible=("xunlong,orangepi-5-plus", "rockchip,rk3588"),
        patches=patches,
    )
    return replace(board, **changes)


V1 = a_file("test_v1", ((1, 1),))
V2 = a_file("test_v2", ((1, 2),))


def outcome(decision, check):
    return next(c.outcome for c in decision.checks if c.check == check)


def test_a_first_livepatch_is_loaded():
    decision = gate(V1, a_board())
    assert (decision.allowed, spell(decision.steps)) == (True, ["load"])
    assert decision.functions == {
        "kept": [],
        "added": ["vmlinux/cmdline_proc_show,1"],
        "removed": [],
    }


def test_a_newer_one_takes_the_state_over():
    decision = gate(V2, a_board(installed(V1)))
    assert decision.allowed
    assert [(s.installed, s.candidate, s.outcome) for s in decision.states] == [(1, 2, "newer")]


def test_the_same_build_has_nothing_to_do():
    decision = gate(V1, a_board(installed(V1)))
    assert (decision.allowed, decision.steps) == (True, ())


def test_what_is_being_replaced_is_not_enabled_for_good():
    replacing = installed(V2, transition=True)
    board = a_board(installed(V1), replacing, transition=Transition("test_v2", "patching"))
    assert "test_v2 is in transition" in gate(V1, board).refusal("test_v1")
    other = installed(a_file("extra", (), False), transition=True)
    board = a_board(installed(V1), other, transition=Transition("extra", "patching"))
    assert gate(V1, board).allowed


def test_an_older_one_is_refused_with_the_sentence_of_the_design():
    decision = gate(V1, a_board(installed(V2)))
    assert (decision.allowed, decision.steps) == (False, ())
    assert decision.refusal("test_v1") == (
        "test_v1 refused: system state 1 is at version 2 (installed by test_v2) and test_v1 "
        "provides version 1; a livepatch may keep or raise a state's version, never lower it. To "
        "go back, use allow_downgrade: true, which disables test_v2 first."
    )


def test_a_cumulative_one_without_an_installed_state_is_refused():
    decision = gate(a_file("test_v3", ()), a_board(installed(V1)))
    assert not decision.allowed
    assert "must handle every system state" in decision.refusal("test_v3")
    assert [s.outcome for s in decision.states] == ["missing"]


def test_a_non_cumulative_one_without_an_installed_state_is_loaded_and_adds_only():
    decision = gate(a_file("extra", (), False, (MEMINFO,)), a_board(installed(V1)))
    assert decision.allowed
    assert [s.outcome for s in decision.states] == ["untouched"]
    assert decision.functions == {
        "kept": ["vmlinux/cmdline_proc_show,1"],
        "added": ["vmlinux/meminfo_proc_show,2"],
        "removed": [],
    }


def test_a_cumulative_one_removes_the_functions_it_does_not_have():
    decision = gate(a_file("test_v2", ((1, 2),), objects=(MEMINFO,)), a_board(installed(V1)))
    assert decision.functions["removed"] == ["vmlinux/cmdline_proc_show,1"]


def test_allow_downgrade_disables_what_is_in_the_way_and_names_the_unprotected_moment():
    decision = gate(V1, a_board(installed(V2)), allow_downgrade=True)
    assert (decision.allowed, spell(decision.steps)) == (True, ["disable test_v2", "load"])
    message = next(c.message for c in decision.checks if c.check == "system_states")
    assert "until test_v1 is loaded the board runs without it" in message


def test_allow_downgrade_disables_nothing_where_the_direct_replacement_is_allowed():
    assert gate(V2, a_board(installed(V1)), allow_downgrade=True).to_json()["steps"] == ["load"]


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=3), max_size=4),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=3),
    st.booleans(),
)
def test_a_downgrade_disables_just_the_livepatches_that_conflict_youngest_first(
    arrays, states, cumulative
):
    stack = [installed(a_file("p%d_2" % n, array)) for n, array in enumerate(arrays)]
    candidate = a_file("candidate_1", states, cumulative)
    decision = gate(candidate, a_board(*stack), allow_downgrade=True)
    *disables, last = decision.steps
    disabled = [step.patch.name for step in disables]
    assert decision.allowed and last.action == "load"
    in_the_way = [p.name for p in reversed(stack) if conflicts(candidate.livepatch, p)]
    assert disabled == in_the_way


@pytest.mark.parametrize(
    ("check", "file", "board"),
    [
        ("livepatch_support", V1, a_board(supported=False, reasons=("no CONFIG_LIVEPATCH",))),
        ("arch", replace(V1, arch="x86_64"), a_board()),
        ("kernel_release", replace(V1, kernel_release="7.2.12-orangepi"), a_board()),
        ("modules_disabled", V1, a_board(modules_disabled=True)),
        ("signature", V1, a_board(signatures_enforced=True)),
        ("name", V1, a_board(installed(V1, build_id="cc" * 20))),
        ("name", V1, a_board(installed(V1, build_id=None))),
        ("name", V1, a_board(leftover=("test_v1",), forced=("test_v1",))),
        ("transition", V2, a_board(installed(V1), transition=Transition("test_v1", "patching"))),
        ("system_states", V1, a_board(installed(V2))),
    ],
)
def test_each_check_refuses_on_its_own_and_says_what_to_do(check, file, board):
    decision = gate(file, board)
    assert not decision.allowed
    assert [c.check for c in decision.checks if c.outcome != "pass"] == [check]
    refusal = decision.refusal("it")
    assert refusal.startswith("it refused: ") and refusal.endswith(".")


def test_a_signed_file_passes_where_signatures_are_enforced():
    signed = replace(V1, signature={"signer": "Build key", "hash": "sha256"})
    assert gate(signed, a_board(signatures_enforced=True)).allowed


def test_unknown_states_refuse_unless_they_are_allowed():
    board = a_board(installed(V1, states=None), states_source="unknown")
    decision = gate(V2, board)
    assert not decision.allowed
    assert outcome(decision, "states_known") == "unknown"
    assert "Unknown is not none" in decision.refusal("test_v2")
    assert gate(V2, board, unknown_states="allow").to_json()["steps"] == ["load"]


def test_unknown_states_are_no_excuse_for_what_is_known_to_be_refused():
    board = a_board(installed(V1, states=None), installed(V2), states_source="unknown")
    assert not gate(a_file("test_v0", ((1, 0),)), board, unknown_states="allow").allowed


def test_a_livepatch_of_unknown_kind_is_unknown_only_where_that_matters():
    kpatch = a_file("kpatch_2", (), None)
    assert gate(kpatch, a_board()).allowed
    decision = gate(kpatch, a_board(installed(V1)))
    assert not decision.allowed and outcome(decision, "system_states") == "unknown"
    assert gate(kpatch, a_board(installed(V1)), unknown_states="allow").allowed


def test_parameters_deserve_a_remark():
    decision = gate(V1, a_board(), params="replace=0")
    assert decision.allowed
    assert "may decide by them" in next(
        c.message for c in decision.checks if c.check == "parameters"
    )


def test_a_board_and_a_file_survive_json():
    board = a_board(
        installed(V1),
        transition=Transition("test_v1", "unpatching"),
        leftover=("test_v0",),
        forced=("test_v0",),
    )
    assert board_from_json(board_to_json(board)) == board
    assert file_from_json(file_to_json(V2)) == V2


def test_a_refusal_names_the_options_as_its_caller_calls_them():
    unknown = installed(V1, states=None)
    decision = gate(V2, a_board(unknown, states_source="unknown"), options="rollout_")
    assert "rollout_unknown_states: allow" in decision.refusal("test_v2")
    decision = gate(V1, a_board(installed(V2)), options="rollout_")
    assert "use rollout_allow_downgrade: true" in decision.refusal("test_v1")


# With a search of the array for each of them, this would take minutes.
@pytest.mark.parametrize("version", [1, 2, 3])
def test_as_many_states_as_there_can_be_are_compared_and_few_are_named(version):
    many = a_file("test_v1", [(id, version) for id in range(1, 65537)])
    decision = gate(many, a_board(installed(a_file("test_v2", [(i, 2) for i in range(1, 65537)]))))
    assert len(decision.states) == 65536
    assert decision.allowed == (version >= 2)
    if version == 1:
        message = decision.refusal("test_v1")
        assert "and so for 65528 more system states. To go back, use allow_downgrade" in message
        assert len(message) < 2000
