# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way is legal and as short as an exhaustive search's, and none is missed.

The kernel here is a few lines with rules of their own, that share nothing with
what they judge.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import (
    NoWayError,
    Wanted,
    decide,
    shortest_way,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    LOAD,
    Step,
    after,
    after_all,
    spell,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board, a_file

Patch = namedtuple("Patch", "name build cumulative versions")


def load(stack, patch):
    """The model's list after the load; None where the model's kernel refuses it."""
    for other in stack:
        if other.name == patch.name:
            return None
        for id, version in other.versions:
            own = dict(patch.versions).get(id)
            if own is None and patch.cumulative or own is not None and own < version:
                return None
    return (patch,) if patch.cumulative else (*stack, patch)


def disable(stack, name):
    return tuple(patch for patch in stack if patch.name != name)


def fewest_steps(stack, loadable, is_goal):
    """How many steps an exhaustive search needs; None where there is no way."""
    reached, seen, steps = {stack}, {stack}, 0
    while reached:
        if any(is_goal(stack) for stack in reached):
            return steps
        following = {disable(stack, patch.name) for stack in reached for patch in stack}
        following |= {load(stack, patch) for stack in reached for patch in loadable}
        reached = following - seen - {None}
        seen |= reached
        steps += 1
    return None


def real(patch):
    states = tuple(SystemState(id, version) for id, version in patch.versions)
    return Livepatch(patch.name, patch.cumulative, states, build_id="%02x" % patch.build * 20)


@st.composite
def patches(draw):
    """Up to 6 builds; those of one name differ in their build id, so that they are two."""
    kinds = st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from([False, False, True]),
        st.dictionaries(st.integers(1, 2), st.integers(0, 2), max_size=2),
    )
    return [
        Patch(name, build, cumulative, tuple(sorted(versions.items())))
        for build, (name, cumulative, versions) in enumerate(
            draw(st.lists(kinds, min_size=1, max_size=6))
        )
    ]


def stack_of(loads):
    """What is installed after these loads, without those that the model's kernel refuses."""
    stack = ()
    for patch in loads:
        stack = load(stack, patch) or stack
    return stack


def orders_of(pool, max_size):
    return st.lists(st.sampled_from(pool), max_size=max_size)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_every_way_is_legal_and_the_shortest_and_none_is_missed(data):
    pool = data.draw(patches())
    installed = stack_of(data.draw(orders_of(pool, 6)))
    wanted = tuple(data.draw(orders_of(pool, 3)))
    fewest = fewest_steps(installed, wanted, lambda stack: stack == wanted)
    builds = {real(patch): patch for patch in pool}
    try:
        way = shortest_way([real(patch) for patch in installed], [real(patch) for patch in wanted])
    except NoWayError:
        assert fewest is None
        return
    stack = installed
    for step in way:
        predicted = after(step, [real(patch) for patch in stack])
        if step.action == "disable":
            assert builds[step.patch] in stack
            stack = disable(stack, step.patch.name)
        else:
            stack = load(stack, builds[step.patch])
            assert stack is not None
        assert predicted == tuple(real(patch) for patch in stack)
    assert stack == wanted
    assert len(way) == fewest


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_gate_with_allow_downgrade_takes_the_shortest_legal_way_to_its_candidate(data):
    pool = data.draw(patches())
    candidate = data.draw(st.sampled_from(pool))
    installed = stack_of(data.draw(orders_of(pool, 6)))
    if any(patch.name == candidate.name for patch in installed):
        installed = disable(installed, candidate.name)
    board = a_board(map(real, installed))
    steps = gate(a_file(real(candidate)), board, allow_downgrade=True).steps
    stack = installed
    for step in steps:
        name = step.patch.name
        assert step.action == LOAD or name in [patch.name for patch in stack]
        stack = load(stack, candidate) if step.action == LOAD else disable(stack, name)
        assert stack is not None
    assert stack[-1] == candidate
    assert len(steps) == fewest_steps(installed, [candidate], lambda stack: candidate in stack)


V1 = real(Patch("fixes_1", 1, True, ((1, 1),)))
V2 = real(Patch("fixes_2", 2, True, ((1, 2), (2, 1))))
EXTRA = real(Patch("extra", 3, False, ((7, 1),)))
OTHER = real(Patch("other", 4, False, ()))


def words(way):
    return [str(step) for step in way]


def test_a_newer_cumulative_one_is_loaded_straight_over_the_older():
    assert shortest_way([V1], [V2]) == (Step("load", V2),)


def test_back_to_an_older_one_the_newer_is_disabled_first():
    assert words(shortest_way([V2], [V1])) == ["disable fixes_2", "load fixes_1"]


def test_what_stands_above_is_disabled_the_youngest_first():
    assert words(shortest_way([V1, EXTRA, OTHER], [V1])) == ["disable other", "disable extra"]


def test_a_stack_is_loaded_in_its_order():
    assert words(shortest_way([V2], [V1, OTHER, EXTRA])) == [
        "disable fixes_2",
        "load fixes_1",
        "load other",
        "load extra",
    ]


def test_another_build_of_a_name_goes_before_the_wanted_one_comes():
    rebuilt = replace(V1, build_id="ff" * 20)
    assert words(shortest_way([V1], [rebuilt])) == ["disable fixes_1", "load fixes_1"]


def test_a_build_that_cannot_be_told_is_not_taken_for_the_wanted_one():
    nameless = replace(V1, build_id=None)
    assert words(shortest_way([nameless], [V1])) == ["disable fixes_1", "load fixes_1"]


def test_nothing_has_to_be_known_to_disable():
    unknown = replace(EXTRA, states=None, replace=None)
    assert words(shortest_way([V1, unknown], [V1])) == ["disable extra"]
    assert words(shortest_way([V1, unknown], [])) == ["disable extra", "disable fixes_1"]


@pytest.mark.parametrize(
    ("installed", "wanted", "reason"),
    [
        ([replace(V2, states=None)], [V1], "the system states of fixes_2 are unknown"),
        ([], [replace(V1, states=None)], "the system states of fixes_1 are unknown"),
        ([], [replace(V1, replace=None)], "unknown whether fixes_1 is cumulative"),
        ([], [EXTRA, V1], "fixes_1 is cumulative and would replace extra"),
        ([], [V1, V1], "fixes_1 is wanted twice"),
        ([], [V2, replace(OTHER, states=(SystemState(1, 1),))], "other would lower the version"),
    ],
)
def test_where_there_is_no_way_it_says_why(installed, wanted, reason):
    with pytest.raises(NoWayError, match=reason):
        shortest_way(installed, wanted)


def want(*stack):
    return [Wanted(patch, a_file(patch)) for patch in stack]


def decided(installed, wanted, **options):
    return decide(want(*wanted), a_board(installed), **options)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_decided_over_a_stack_is_legal_and_leads_there(data):
    pool = data.draw(patches())
    installed = [real(patch) for patch in stack_of(data.draw(orders_of(pool, 6)))]
    wanted = [real(patch) for patch in stack_of(data.draw(orders_of(pool, 3)))]
    decision = decided(installed, wanted, allow_downgrade=True)
    assert decision.allowed
    left = after_all(decision.steps, installed)
    assert [patch.name for patch in left] == [patch.name for patch in wanted]
    changes = [step for step in decision.steps if step.action != "remove"]
    assert words(changes) == words(shortest_way(installed, wanted))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_for_one_cumulative_livepatch_it_is_the_gates_decision(data):
    pool = [patch._replace(cumulative=True) for patch in data.draw(patches())]
    candidate = data.draw(st.sampled_from(pool))
    installed = disable(stack_of(data.draw(orders_of(pool, 6))), candidate.name)
    board = a_board(map(real, installed))
    allow = data.draw(st.booleans())
    file = a_file(real(candidate))
    alone = decide([Wanted(file.livepatch, file)], board, allow_downgrade=allow)
    gated = gate(file, board, allow_downgrade=allow)
    assert (alone.allowed, words(alone.steps)) == (gated.allowed, words(gated.steps))


def test_the_very_stack_that_is_installed_has_nothing_to_do():
    for stack in ([], [V1], [V1, EXTRA]):
        decision = decided(stack, stack)
        assert (decision.allowed, decision.steps) == (True, ())


def test_to_no_livepatch_everything_is_disabled_and_its_modules_removed():
    decision = decided([V1, EXTRA], [])
    assert spell(decision.steps) == [
        "disable extra",
        "disable fixes_1",
        "remove extra",
        "remove fixes_1",
    ]


def test_where_no_module_can_be_removed_it_is_only_disabled():
    board = a_board([V1], modules_disabled=True)
    assert spell(decide([], board).steps) == ["disable fixes_1"]


def test_what_the_rules_forbid_needs_allow_downgrade():
    refused = decided([V2], [V1])
    assert not refused.allowed
    assert "use allow_downgrade: true" in refused.refusal("fixes_1")
    assert spell(decided([V2], [V1], allow_downgrade=True).steps) == ["disable fixes_2", "load"]


def test_another_build_of_a_name_needs_allow_downgrade():
    rebuilt = replace(V1, build_id="ff" * 20)
    assert "another build" in decided([V1], [rebuilt]).refusal("fixes_1")
    steps = decided([V1], [rebuilt], allow_downgrade=True).steps
    assert spell(steps) == ["disable fixes_1", "load"]


def test_what_is_not_wanted_goes_without_allow_downgrade():
    assert spell(decided([V1, OTHER, EXTRA], [V1]).steps) == [
        "disable extra",
        "disable other",
        "remove extra",
        "remove other",
    ]
    assert spell(decided([V1], [OTHER]).steps) == ["disable fixes_1", "load"]


def test_of_several_loads_each_is_named_and_so_is_what_refuses_one():
    assert spell(decided([], [V1, EXTRA]).steps) == ["load fixes_1", "load extra"]
    wanted = [Wanted(V1, a_file(V1)), Wanted(EXTRA, a_file(EXTRA, arch="aarch64"))]
    refusal = decide(wanted, a_board([])).refusal("the stack")
    assert refusal.startswith("the stack refused: extra: the file is built for aarch64")


def test_what_stays_needs_no_file():
    stays = Wanted(V1, None)
    assert spell(decide([stays], a_board([V1, EXTRA])).steps) == ["disable extra", "remove extra"]
    refused = decide([stays], a_board([EXTRA, V1]), allow_downgrade=True)
    assert spell(refused.steps) == ["disable extra", "remove extra"]
    moved = decide([stays, *want(EXTRA)], a_board([EXTRA, V1]), allow_downgrade=True)
    assert spell(moved.steps) == ["disable extra", "load"]


def test_nothing_is_decided_over_a_board_in_transition():
    patch = replace(V1, enabled=True, transition=True)
    board = replace(a_board(), patches=(patch,), transition=Transition("fixes_1", "patching"))
    for wanted in ([], [V1], [V2]):
        decision = decide(want(*wanted), board)
        assert not decision.allowed
        assert "fixes_1 is in transition (patching)" in decision.refusal("it")


def test_unknown_is_never_taken_for_none():
    unknown = replace(V1, states=None)
    refused = decided([unknown], [V2])
    assert "system states of the installed fixes_1 are unknown" in refused.refusal("fixes_2")
    several = decided([unknown], [OTHER, EXTRA])
    assert "unknown_states: allow leaves the decision to the kernel" in several.refusal("it")


def test_what_is_unknown_is_left_to_the_kernel_where_that_is_allowed():
    unknown = replace(V1, states=None)
    assert spell(decided([unknown], [V2], unknown_states="allow").steps) == ["load"]
    both = decided([unknown], [V2], unknown_states="allow", allow_downgrade=True)
    assert spell(both.steps) == ["disable fixes_1", "load"]
    several = decided([unknown], [OTHER, EXTRA], unknown_states="allow")
    assert spell(several.steps) == ["disable fixes_1", "load other", "load extra"]


def test_a_livepatch_of_unknown_kind_is_loaded_where_the_rules_allow_both():
    built = replace(V1, replace=None, states=())
    assert spell(decided([OTHER], [built]).steps) == ["load"]


@pytest.mark.parametrize("unknown_states", ["refuse", "allow"])
def test_the_same_name_twice_is_refused_whatever_is_known(unknown_states):
    unknown = replace(V1, states=None)
    decision = decided([unknown], [V2, V2], unknown_states=unknown_states, allow_downgrade=True)
    assert "fixes_2 is wanted twice" in decision.refusal("it")
