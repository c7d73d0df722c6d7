# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The seed document's sentences as properties of system_state."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    RULE_CUMULATIVE,
    RULE_NEW,
    RULE_NON_CUMULATIVE,
    RULE_VERSION,
    UINT_MAX,
    ULONG_MAX,
    Livepatch,
    SystemState,
    compare_states,
    conflicts,
    klp_get_prev_state,
    klp_get_state,
    states_by_id,
)

# Few ids, so that livepatches meet; the extremes of both types among them.
IDS = st.sampled_from([1, 2, 3, 2**32, ULONG_MAX])
VERSIONS = st.sampled_from([0, 1, 2, 3, UINT_MAX - 1, UINT_MAX])
STATES = st.lists(st.builds(SystemState, id=IDS, version=VERSIONS), max_size=6).map(tuple)


@st.composite
def stacks(draw: st.DrawFn) -> list[Livepatch]:
    arrays = draw(st.lists(STATES, max_size=4))
    return [
        Livepatch("installed_%d" % index, draw(st.booleans()), states)
        for index, states in enumerate(arrays)
    ]


CANDIDATES = st.builds(Livepatch, name=st.just("candidate"), replace=st.booleans(), states=STATES)


def the_kernel_accepts(candidate: Livepatch, installed: list[Livepatch]) -> bool:
    """klp_is_patch_compatible() told a second time, on the arrays alone."""
    for old in (state for patch in installed for state in patch.states or ()):
        own = [state.version for state in candidate.states or () if state.id == old.id]
        if (not own and candidate.replace) or (own and own[0] < old.version):
            return False
    return True


@given(CANDIDATES, stacks())
def test_all_outcomes_are_allowed_exactly_if_the_kernel_accepts(candidate, installed):
    outcomes = compare_states(candidate, installed)
    assert all(outcome.allowed for outcome in outcomes) == the_kernel_accepts(candidate, installed)


@given(CANDIDATES, IDS)
def test_all_ids_at_once_find_what_the_documents_function_finds(candidate, id):
    assert states_by_id(candidate).get(id) == klp_get_state(candidate, id)


@given(CANDIDATES, stacks())
def test_a_refusal_has_an_installed_livepatch_to_name(candidate, installed):
    refused = any(conflicts(candidate, patch) for patch in installed)
    assert refused != the_kernel_accepts(candidate, installed)


@given(CANDIDATES, stacks())
def test_every_id_has_one_outcome_whose_rule_is_the_documents(candidate, installed):
    outcomes = compare_states(candidate, installed)
    ids = {state.id for patch in [candidate, *installed] for state in patch.states or ()}
    assert [outcome.id for outcome in outcomes] == sorted(ids)
    rules = {
        "new": RULE_NEW,
        "same": RULE_VERSION,
        "newer": RULE_VERSION,
        "older": RULE_VERSION,
        "missing": RULE_CUMULATIVE,
        "untouched": RULE_NON_CUMULATIVE,
    }
    for outcome in outcomes:
        assert outcome.rule == rules[outcome.outcome]


@given(CANDIDATES)
def test_anything_may_be_loaded_where_nothing_is_installed(candidate):
    assert {outcome.outcome for outcome in compare_states(candidate, [])} <= {"new"}


@given(stacks(), IDS, VERSIONS)
def test_any_completely_new_modification_is_allowed(installed, id, version):
    candidate = Livepatch("candidate", False, (SystemState(id, version),))
    assume(all(state.id != id for patch in installed for state in patch.states or ()))
    (outcome,) = [o for o in compare_states(candidate, installed) if o.id == id]
    assert (outcome.outcome, outcome.installed, outcome.allowed) == ("new", None, True)


@given(CANDIDATES, stacks())
def test_a_livepatch_can_be_replaced_by_itself_unless_it_contradicts_itself(candidate, installed):
    first = {}
    for state in candidate.states or ():
        first.setdefault(state.id, state.version)
    consistent = all(first[s.id] >= s.version for s in candidate.states or ())
    assert conflicts(candidate, replace(candidate, name="old")) != consistent


@given(CANDIDATES, stacks())
def test_non_cumulative_livepatches_need_not_have_what_is_installed(candidate, installed):
    candidate = replace(candidate, replace=False)
    assert all(outcome.outcome != "missing" for outcome in compare_states(candidate, installed))


def test_a_version_may_not_drop_in_a_non_cumulative_livepatch_either():
    installed = Livepatch("installed", True, (SystemState(1, 2),))
    candidate = Livepatch("candidate", False, (SystemState(1, 1),))
    (outcome,) = compare_states(candidate, [installed])
    assert (outcome.outcome, outcome.installed, outcome.candidate) == ("older", 2, 1)


def test_a_livepatch_that_is_being_unpatched_counts_as_installed():
    leaving = Livepatch("leaving", True, (SystemState(1, 2),), enabled=False, transition=True)
    candidate = Livepatch("candidate", True, ())
    (outcome,) = compare_states(candidate, [leaving])
    assert outcome.outcome == "missing"


def test_the_first_entry_of_a_duplicated_id_counts_in_the_candidate():
    candidate = Livepatch("candidate", True, (SystemState(1, 1), SystemState(1, 9)))
    assert klp_get_state(candidate, 1) == SystemState(1, 1)
    assert conflicts(candidate, Livepatch("installed", True, (SystemState(1, 2),)))


def test_every_entry_of_a_duplicated_id_counts_in_an_installed_livepatch():
    # klp_is_patch_compatible() walks the whole installed array.
    installed = Livepatch("installed", True, (SystemState(1, 1), SystemState(1, 9)))
    assert conflicts(Livepatch("candidate", True, (SystemState(1, 5),)), installed)


@given(stacks(), IDS)
def test_the_previous_state_is_the_latest_below_the_livepatch_in_transition(installed, id):
    for index, patch in enumerate(installed):
        below = [klp_get_state(p, id) for p in installed[:index]]
        found = [state for state in below if state is not None]
        assert klp_get_prev_state(installed, patch, id) == (found[-1] if found else None)


@given(CANDIDATES, IDS)
def test_klp_get_state_finds_what_the_array_holds_and_nothing_else(candidate, id):
    state = klp_get_state(candidate, id)
    holds = any(entry.id == id for entry in candidate.states or ())
    assert (state is not None) == holds


@pytest.mark.parametrize(
    ("id", "version"), [(0, 1), (-1, 1), (ULONG_MAX + 1, 1), (1, -1), (1, UINT_MAX + 1)]
)
def test_a_state_outside_the_kernels_types_is_no_state(id, version):
    with pytest.raises(ValueError, match="system state's"):
        SystemState(id, version)


def test_unknown_states_are_not_taken_for_none():
    unknown = Livepatch("unknown", True, None)
    with pytest.raises(ValueError, match="unknown"):
        compare_states(Livepatch("candidate", True, ()), [unknown])
    with pytest.raises(ValueError, match="unknown"):
        klp_get_state(unknown, 1)


def test_an_unknown_kind_of_livepatch_is_no_answer_where_the_answer_depends_on_it():
    installed = Livepatch("installed", True, (SystemState(1, 1),))
    with pytest.raises(ValueError, match="cumulative"):
        compare_states(Livepatch("candidate", None, ()), [installed])
