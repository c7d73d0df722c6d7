# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a board goes back to, and by which steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    history_to_json,
    record,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    board_to_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollback
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import read_catalog
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import Entry
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board, a_file


def a_livepatch(name, build, states, cumulative=True):
    return Livepatch(
        name,
        cumulative,
        tuple(SystemState(*state) for state in states),
        build_id="%02x" % build * 20,
    )


V1 = a_livepatch("fixes_1", 1, [(1, 1)])
V2 = a_livepatch("fixes_2", 2, [(1, 2)])
EXTRA = a_livepatch("extra", 3, [(7, 1)], cumulative=False)
REBUILT = a_livepatch("fixes_1", 4, [(1, 1)])


def files(*patches, **changes):
    return [file_to_json(a_file(patch, **changes)) for patch in patches]


ALL = files(V1, V2, EXTRA)


def an_answer(*stacks, params="", shown=None, **changes):
    """What livepatch_info says after runs of ours that left these stacks, the last one installed.

    params: what all livepatches were loaded with; shown: the last stack as the
    board shows it, where that differs.
    """
    found, past = (), ()
    for left in stacks:
        past = record(past, found, left, {patch.name: params for patch in left})
        found = left
    installed = stacks[-1] if shown is None else shown
    board = a_board(installed, **changes)
    return dict(board_to_json(board), history=history_to_json(past))


def plan(answer, files, **options):
    return rollback.plan(answer, read_catalog(files), **options)


def steps(answer, catalog=ALL, **options):
    result = plan(answer, catalog, **options)
    assert result.outcome == "roll back", result.reason
    return result.reason.partition(";")[0].removeprefix("steps: ").split(", ")


def stack(answer, catalog=ALL, **options):
    return plan(answer, catalog, **options).way.stack


def loaded(patch, params=""):
    return Entry(patch.name, "/catalog/%s.ko" % patch.name, "00" * 32, params)


def test_the_usual_way_back_is_the_previous_livepatch_of_that_very_file():
    answer = an_answer([V1], [V2])
    result = plan(answer, ALL)
    assert (result.outcome, result.reason) == ("roll back", "steps: disable fixes_2, load fixes_1")
    assert result.way.stack == (loaded(V1),)
    assert [build.name for build in result.way.over] == ["fixes_2"]
    assert [(build.name, build.build_id) for build in result.way.goal] == [("fixes_1", "01" * 20)]


def test_it_is_loaded_with_the_parameters_it_had():
    assert stack(an_answer([V1], [V2], params="n=1")) == (loaded(V1, "n=1"),)


def test_parameters_that_nobody_knows_are_remarked_on():
    answer = an_answer([V1], [V2])
    answer["history"][0][0]["params"] = None
    assert "the parameters of fixes_1 are not known" in plan(answer, ALL).reason


def test_before_the_first_livepatch_there_was_none():
    result = plan(an_answer([V1]), [])
    assert (result.way.stack, result.way.goal) == ((), ())
    assert "no earlier livepatch is known" in result.reason


def test_to_none_everything_is_disabled_the_youngest_first_then_removed_and_no_file_is_needed():
    assert steps(an_answer([V2], [V1], [V1, EXTRA]), [], to="none") == [
        "disable extra",
        "disable fixes_1",
        "remove extra",
        "remove fixes_1",
    ]


def test_what_stays_installed_needs_no_file():
    answer = an_answer([V1], [V1, EXTRA])
    assert steps(answer, []) == ["disable extra", "remove extra"]
    assert stack(answer, []) == (Entry("fixes_1"),)


def test_what_stays_installed_is_not_sent_where_the_catalog_has_it():
    assert stack(an_answer([V1], [V1, EXTRA])) == (Entry("fixes_1"),)


def test_a_stack_comes_back_in_its_order():
    answer = an_answer([V1, EXTRA], [V2])
    assert steps(answer) == ["disable fixes_2", "load fixes_1", "load extra"]
    assert stack(answer) == (loaded(V1), loaded(EXTRA))


def test_what_a_load_would_leave_installed_is_disabled_first():
    assert steps(an_answer([EXTRA], [V2])) == ["disable fixes_2", "load extra"]


def test_another_build_of_the_name_is_disabled_first():
    assert steps(an_answer([V1], [REBUILT])) == ["disable fixes_1", "load fixes_1"]


def test_somebody_elses_livepatch_gives_way_to_what_we_left():
    assert stack(an_answer([V1], shown=[V2])) == (loaded(V1),)


@pytest.mark.parametrize("to", ["previous", "none"])
def test_without_a_livepatch_there_is_nothing_to_do(to):
    result = plan(an_answer([]), ALL, to=to)
    assert (result.outcome, result.way) == ("nothing to do", None)


def test_what_a_run_that_failed_has_lost_comes_back():
    assert steps(an_answer([V1], shown=[])) == ["load fixes_1"]


def test_a_history_that_cannot_be_read_is_not_an_empty_one():
    result = plan(dict(an_answer([V1]), history=None), ALL)
    assert (result.outcome, result.way) == ("refused", None)
    assert "unknown is not none" in result.reason
    assert plan(dict(an_answer([V1]), history=None), ALL, to="none").outcome == "roll back"


def test_where_no_module_can_be_unloaded_livepatches_are_disabled():
    assert steps(an_answer([V1], modules_disabled=True), to="none") == ["disable fixes_1"]


def test_a_file_that_is_damaged_may_be_the_one_that_it_needs():
    reason = "/catalog/fixes_1.ko is damaged: it ends early; copy or build it again."
    damaged = {"path": "/catalog/fixes_1.ko", "reason": reason, "may_be_livepatch": True}
    catalog = read_catalog(files(V2), rejected=[damaged], partial=True)
    result = rollback.plan(an_answer([V1], [V2]), catalog)
    assert result.outcome == "refused"
    assert "the catalog has no file of that build that can be read: " + reason in result.reason


@pytest.mark.parametrize(
    ("answer", "catalog", "words"),
    [
        (an_answer([V1], [V2]), files(V2), "fixes_1 (build id 01010101"),
        (an_answer([V1], [V2]), files(REBUILT), "the catalog has no file of that build"),
        (an_answer([V1], [V2], modules_disabled=True), ALL, "kernel.modules_disabled is 1"),
        (an_answer([V1], [V2]), files(V1, kernel_release="6.1.0-55-amd64"), "built for kernel"),
        (
            an_answer([V1], [V2], transition=Transition("fixes_2", "patching")),
            ALL,
            "fixes_2 is in transition",
        ),
        (an_answer([V1], [V2], shown=[replace(V2, states=None)]), files(V1), "are unknown"),
        (
            an_answer([EXTRA], [V2]),
            files(replace(EXTRA, replace=None)),
            "whether extra is cumulative",
        ),
        (
            an_answer([EXTRA, V1], [V2]),
            ALL,
            "cumulative and would replace extra, above which it is wanted. Go back to none",
        ),
    ],
)
def test_a_refusal_says_why_and_what_to_do(answer, catalog, words):
    result = plan(answer, catalog)
    assert (result.outcome, result.way) == ("refused", None)
    assert [build.name for build in result.before] == ["fixes_2"]
    assert words in result.reason and result.reason.endswith(".")


def test_where_states_are_unknown_everything_may_be_disabled_first():
    answer = an_answer([V1, EXTRA], [V2], shown=[replace(V2, states=None)])
    assert steps(answer, files(V1, EXTRA), unknown_states="allow") == [
        "disable fixes_2",
        "load fixes_1",
        "load extra",
    ]


def test_the_catalog_knows_the_states_that_the_board_does_not():
    answer = an_answer([V1], [V2], shown=[replace(V2, states=None)], states_source="unknown")
    assert steps(answer) == ["disable fixes_2", "load fixes_1"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"unreachable": True, "msg": "no route"}, "unreachable"),
        ({"failed": True, "msg": "no python"}, "failed"),
        ({"kernel": "gibberish"}, "failed"),
        (dict(an_answer([V1]), history="gibberish"), "failed"),
        (an_answer([], supported=False, reasons=("no livepatching",)), "unsupported"),
    ],
)
def test_a_board_that_says_nothing_useful_is_told_apart(answer, outcome):
    result = plan(answer, ALL)
    assert (result.outcome, result.way) == (outcome, None)
    assert result.reason
