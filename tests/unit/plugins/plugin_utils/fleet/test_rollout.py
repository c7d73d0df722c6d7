# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which livepatch a board gets, and why."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    board_to_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollout
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import read_catalog
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import Entry
from ansible_collections.orangepi.livepatch.tests.unit.plugins import boards

RELEASE = boards.RELEASE


def a_file(file_name, version=1, release=RELEASE, arch="x86_64", cumulative=True):
    name = file_name.partition(".ko")[0].replace("-", "_")
    patch = Livepatch(name, cumulative, (SystemState(1, version),), build_id="%02x" % version * 20)
    return file_to_json(
        boards.a_file(patch, path="/catalog/" + file_name, kernel_release=release, arch=arch)
    )


def an_answer(*patches, supported=True, release=RELEASE, compatible=(), **changes):
    reasons = () if supported else ("no livepatching",)
    board = boards.a_board(
        patches,
        kernel_release=release,
        supported=supported,
        reasons=reasons,
        compatible=tuple(compatible),
        **changes,
    )
    return board_to_json(board)


def running(version, name=None):
    states = (SystemState(1, version),)
    return Livepatch(name or "fixes_%d" % version, True, states, (), build_id="%02x" % version * 20)


def plan(answer, files, index=None, **options):
    return rollout.plan(answer, read_catalog(files, index), **options)


def picked(files, **options):
    """The path of the file that a board without livepatches gets."""
    return path_of(plan(an_answer(), files, **options))


def path_of(planned):
    return None if planned.way is None else planned.way.stack[0].src


def test_the_highest_number_in_the_file_name_is_the_newest():
    files = [a_file("fixes_%d.ko" % n, n) for n in (2, 10, 9)]
    assert picked(files) == "/catalog/fixes_10.ko"


def test_the_last_number_counts_whatever_else_the_name_says():
    assert picked([a_file("lp-6.1.0-v2.ko.xz"), a_file("lp-6.9.9-v1.ko.xz")]).endswith("v2.ko.xz")


def test_catalog_yml_overrules_the_file_name():
    files = [a_file("fixes_1.ko"), a_file("fixes_2.ko")]
    assert picked(files, index={"livepatches": {"fixes_1.ko": {"number": 3}}}).endswith("_1.ko")


def test_only_cumulative_livepatches_for_this_kernel_and_arch_are_considered():
    files = [
        a_file("fixes_1.ko"),
        a_file("fixes_2.ko", cumulative=False),
        a_file("fixes_3.ko", cumulative=None),
        a_file("fixes_4.ko", release="6.1.0-55-amd64"),
        a_file("fixes_5.ko", arch="aarch64"),
    ]
    assert picked(files) == "/catalog/fixes_1.ko"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["a_1.ko", "b_1.ko"], "same number 1"),
        (["a.ko", "b.ko"], "has no number"),
    ],
)
def test_where_the_newest_cannot_be_told_the_board_is_a_failure(files, words):
    result = plan(an_answer(), [a_file(name) for name in files])
    assert result.outcome == "failed" and words in result.reason


ORANGEPI_5 = ("xunlong,orangepi-5", "rockchip,rk3588s")
ORANGEPI_5B = ("xunlong,orangepi-5b", "rockchip,rk3588s")
ORANGEPI_5_PLUS = ("xunlong,orangepi-5-plus", "rockchip,rk3588")


def planned(files, compatible=(), **entries):
    """The plan for a board of that model; entries: by the file's name without its .ko."""
    index = {"livepatches": {name + ".ko": entry for name, entry in entries.items()}}
    return plan(an_answer(compatible=compatible), [a_file(name) for name in files], index=index)


def test_a_livepatch_for_one_model_is_taken_by_that_model_only():
    for_plus = {"number": 11, "compatible": "xunlong,orangepi-5-plus"}
    files = ["fixes_1.ko", "fixes_2.ko"]
    assert path_of(planned(files, ORANGEPI_5_PLUS, fixes_2=for_plus)) == "/catalog/fixes_2.ko"
    assert path_of(planned(files, ORANGEPI_5, fixes_2=for_plus)) == "/catalog/fixes_1.ko"


def test_a_livepatch_for_several_models_is_taken_by_each():
    both = {"compatible": ["xunlong,orangepi-5", "xunlong,orangepi-5b"]}
    outcomes = {
        model: planned(["fixes_1.ko"], model, fixes_1=both).outcome
        for model in (ORANGEPI_5, ORANGEPI_5B, ORANGEPI_5_PLUS)
    }
    assert list(outcomes.values()) == ["update", "update", "nothing fits"]


def test_any_of_the_strings_of_the_board_counts():
    for_chip = {"compatible": "rockchip,rk3588s"}
    assert planned(["fixes_1.ko"], ORANGEPI_5B, fixes_1=for_chip).outcome == "update"
    assert planned(["fixes_1.ko"], ORANGEPI_5_PLUS, fixes_1=for_chip).outcome == "nothing fits"


def test_a_string_is_compared_as_a_whole():
    for_5 = {"compatible": "xunlong,orangepi-5"}
    assert planned(["fixes_1.ko"], ORANGEPI_5_PLUS, fixes_1=for_5).outcome == "nothing fits"


@pytest.mark.parametrize("compatible", [(), ("",)])
def test_a_board_that_does_not_tell_what_it_is_gets_nothing_that_is_for_one_model(compatible):
    result = planned(["fixes_1.ko"], compatible, fixes_1={"compatible": "xunlong,orangepi-5"})
    assert (result.outcome, result.way) == ("nothing fits", None)
    assert result.reason == (
        "what is built for kernel 6.1.0-56-amd64 (x86_64) is for other boards: fixes_1.ko only for "
        "xunlong,orangepi-5, and this board has no device tree that tells what it is"
    )


def test_where_nothing_fits_the_reason_names_what_was_passed_over_because_of_the_model():
    result = planned(
        ["fixes_1.ko", "fixes_2.ko"],
        ORANGEPI_5,
        fixes_1={"compatible": "xunlong,orangepi-5-plus"},
        fixes_2={"compatible": ["xunlong,orangepi-5b", "rockchip,rk3588"]},
    )
    assert result.reason == (
        "what is built for kernel 6.1.0-56-amd64 (x86_64) is for other boards: fixes_1.ko only for "
        "xunlong,orangepi-5-plus, fixes_2.ko only for xunlong,orangepi-5b or rockchip,rk3588, and "
        "this board is xunlong,orangepi-5 and rockchip,rk3588s"
    )


def test_where_nothing_is_built_for_the_kernel_the_reason_says_nothing_of_models():
    files = [a_file("fixes_1.ko", release="5.10.110"), a_file("fixes_2.ko", cumulative=False)]
    index = {"livepatches": {a: {"compatible": "a,b"} for a in ("fixes_1.ko", "fixes_2.ko")}}
    assert plan(an_answer(), files, index=index).reason == (
        "no cumulative livepatch in the catalog is built for kernel 6.1.0-56-amd64 (x86_64)"
    )


def test_the_same_number_for_different_models_is_no_tie():
    entries = {
        "a": {"number": 7, "compatible": "xunlong,orangepi-5"},
        "b": {"number": 7, "compatible": "xunlong,orangepi-5-plus"},
    }
    assert path_of(planned(["a.ko", "b.ko"], ORANGEPI_5, **entries)) == "/catalog/a.ko"
    assert path_of(planned(["a.ko", "b.ko"], ORANGEPI_5_PLUS, **entries)) == "/catalog/b.ko"


@given(
    st.lists(st.none() | st.sets(st.sampled_from("abc"), min_size=1), min_size=1, max_size=6),
    st.sets(st.sampled_from("abcd")),
)
def test_the_highest_number_wins_among_the_files_for_every_board_and_for_this_one(models, board):
    """models: of the file with number 0, 1, ...; None where it is for every board."""
    compatible = {
        "fixes_%d.ko" % n: {"compatible": ["vendor,%s" % model for model in sorted(some)]}
        for n, some in enumerate(models)
        if some is not None
    }
    answer = an_answer(compatible=["vendor,%s" % model for model in sorted(board)])
    files = [a_file("fixes_%d.ko" % n, 1) for n in range(len(models))]
    result = plan(answer, files, index={"livepatches": compatible})
    allowed = [n for n, some in enumerate(models) if some is None or some & board]
    assert path_of(result) == ("/catalog/fixes_%d.ko" % allowed[-1] if allowed else None)


def test_an_empty_catalog_yml_says_nothing():
    assert picked([a_file("fixes_1.ko")], index=yaml.safe_load("---")) == "/catalog/fixes_1.ko"


def test_catalog_yml_may_name_a_livepatch_for_another_kernel():
    files = [a_file("fixes_1.ko"), a_file("fixes_2.ko", release="5.10.110")]
    assert picked(files, index={"livepatches": {"fixes_2.ko": {"number": 2}}}).endswith("_1.ko")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (an_answer(), "update"),
        (an_answer(running(1)), "update"),
        (an_answer(running(2)), "up to date"),
        (an_answer(running(3)), "refused"),
        (an_answer(supported=False), "unsupported"),
        (an_answer(release="5.10.110"), "nothing fits"),
        ({"unreachable": True, "msg": "no route"}, "unreachable"),
        ({"failed": True, "msg": "no python"}, "failed"),
        ({"kernel": "gibberish"}, "failed"),
    ],
)
def test_every_board_gets_an_outcome_and_a_reason(answer, expected):
    result = plan(answer, [a_file("fixes_1.ko", 1), a_file("fixes_2.ko", 2)])
    assert result.outcome == expected
    assert result.reason
    assert (result.way is not None) == (expected == "update")


def test_an_update_is_the_newest_alone_of_this_very_file_over_what_is_installed():
    result = plan(an_answer(running(1)), [a_file("fixes_2.ko", 2)])
    file = boards.a_file(running(2))
    assert result.way.stack == (Entry("fixes_2", "/catalog/fixes_2.ko", file.sha256),)
    assert [build.name for build in result.way.over] == ["fixes_1"]
    assert [(build.name, build.build_id) for build in result.way.goal] == [("fixes_2", "02" * 20)]


def test_what_is_stacked_on_the_newest_is_left_alone():
    extra = Livepatch("extra", False, (SystemState(7, 1),), (), build_id="07" * 20)
    result = plan(an_answer(running(2), extra), [a_file("fixes_2.ko", 2)])
    assert (result.outcome, result.way) == ("up to date", None)


def test_going_back_needs_the_role_s_own_variable_and_names_it():
    older = [a_file("fixes_1.ko", 1)]
    assert "use rollout_allow_downgrade: true" in plan(an_answer(running(2)), older).reason
    result = plan(an_answer(running(2)), older, allow_downgrade=True)
    assert result.outcome == "update"
    assert "steps: disable fixes_2, load" in result.reason


def test_unknown_states_are_named_by_the_role_s_own_variable():
    unknown = Livepatch("other", True, None, (), build_id="09" * 20)
    answer = an_answer(unknown, states_source="unknown")
    refused = plan(answer, [a_file("fixes_1.ko", 1)])
    assert refused.outcome == "refused" and "rollout_unknown_states: allow" in refused.reason
    allowed = plan(answer, [a_file("fixes_1.ko", 1)], unknown_states="allow")
    assert allowed.outcome == "update"


def test_the_catalog_knows_what_the_board_does_not():
    unknown = Livepatch("fixes_1", True, None, (), build_id="01" * 20)
    answer = dict(an_answer(unknown), states_source="unknown")
    assert plan(answer, [a_file("fixes_1.ko", 1), a_file("fixes_2.ko", 2)]).outcome == "update"
    assert plan(answer, [a_file("fixes_2.ko", 2)]).outcome == "refused"
