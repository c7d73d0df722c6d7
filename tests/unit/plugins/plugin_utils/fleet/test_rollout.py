# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which livepatch a board gets, and in which wave."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    Board,
    LivepatchFile,
    board_to_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.rollout import (
    RolloutError,
    index_error,
    outcome,
    plan,
    rows,
    table,
    waves,
)

RELEASE = "6.1.0-56-amd64"


def a_file(file_name, version=1, release=RELEASE, arch="x86_64", cumulative=True):
    name = file_name.partition(".ko")[0].replace("-", "_")
    patch = Livepatch(name, cumulative, (SystemState(1, version),), build_id="%02x" % version * 20)
    return file_to_json(
        LivepatchFile(patch, "/catalog/" + file_name, "00" * 32, 1, release, release, arch)
    )


def an_answer(*patches, supported=True, release=RELEASE, compatible=()):
    return board_to_json(
        Board(
            release,
            "x86_64",
            None,
            supported,
            supported,
            () if supported else ("no livepatching",),
            None,
            tuple(compatible),
            patches,
            "kernel",
            None,
            (),
            False,
            False,
        )
    )


def running(version):
    return Livepatch(
        "fixes_%d" % version,
        True,
        (SystemState(1, version),),
        (),
        True,
        False,
        "%02x" % version * 20,
    )


def picked(files, **options):
    return plan(an_answer(), files, **options).file


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
    assert planned(files, ORANGEPI_5_PLUS, fixes_2=for_plus).file == "/catalog/fixes_2.ko"
    assert planned(files, ORANGEPI_5, fixes_2=for_plus).file == "/catalog/fixes_1.ko"


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
    assert (result.outcome, result.file, result.steps) == ("nothing fits", None, ())
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
    assert planned(["a.ko", "b.ko"], ORANGEPI_5, **entries).file == "/catalog/a.ko"
    assert planned(["a.ko", "b.ko"], ORANGEPI_5_PLUS, **entries).file == "/catalog/b.ko"


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
    assert result.file == ("/catalog/fixes_%d.ko" % allowed[-1] if allowed else None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("livepatches: []", "livepatches must be a dictionary of file names"),
        ("livepatch: {fixes_1.ko: {number: 1}}", "must have livepatches and nothing else"),
        ("[fixes_1.ko]", "must have livepatches and nothing else"),
        ("livepatches: {fixes_1.ko: {}}", "fixes_1.ko needs a number, or compatible, or both"),
        ("livepatches: {fixes_1.ko: 11}", "fixes_1.ko needs a number, or compatible, or both"),
        ("livepatches: {fixes_1.ko: {number: true}}", "a whole one, not True"),
        ("livepatches: {fixes_1.ko: {number: 1.5}}", "a whole one, not 1.5"),
        ("livepatches: {fixes_1.ko: {number: , compatible: 'a,b'}}", "a whole one, not None"),
        (
            "livepatches: {fixes_1.ko: {number: 11, compatibel: 'xunlong,orangepi-5'}}",
            "fixes_1.ko has compatibel, which is not known",
        ),
        ("livepatches: {fixes_1.ko: {compatibel: 'a,b'}}", "has compatibel, which is not known"),
        ("livepatches: {fixes_1.ko: {compatible: }}", "a string, or a list of strings"),
        ("livepatches: {fixes_1.ko: {compatible: []}}", "a string, or a list of strings"),
        ("livepatches: {fixes_1.ko: {compatible: {a: b}}}", "a string, or a list of strings"),
        ("livepatches: {fixes_1.ko: {compatible: [5]}}", "5 in compatible is not of the form"),
        ("livepatches: {fixes_1.ko: {compatible: ',a'}}", "is not of the form VENDOR,MODEL"),
        (
            "livepatches: {fixes_1.ko: {number: 11, compatible: xunlong,orangepi-5}}",
            "'xunlong' in compatible is not of the form VENDOR,MODEL as in the device tree; inside "
            "braces or brackets, YAML wants quotes around it.",
        ),
        (
            "livepatches: {fixes_1.ko: {compatible: [xunlong,orangepi-5]}}",
            "'xunlong' in compatible is not of the form",
        ),
        (
            "livepatches: {fixes_l.ko: {compatible: 'xunlong,orangepi-5'}}",
            "an entry for fixes_l.ko, and the catalog no livepatch of that name; correct the name, "
            "or take the entry out.",
        ),
    ],
)
def test_a_catalog_yml_that_makes_no_sense_is_a_failure_even_where_one_file_fits(text, words):
    files = [a_file("fixes_1.ko")]
    result = plan(an_answer(), files, index=yaml.safe_load(text))
    assert (result.outcome, result.steps) == ("failed", ())
    assert result.reason.startswith("catalog.yml") and words in result.reason
    assert index_error(text, files) == result.reason


def test_a_catalog_yml_that_is_no_yaml_is_told_with_the_place():
    assert index_error("livepatches:\n  fixes_1.ko: {number: 1", []).startswith(
        "catalog.yml can't be read as YAML: while parsing a flow mapping in "
    )
    assert "line 2" in index_error("livepatches:\n  fixes_1.ko: {number: 1", [])


@pytest.mark.parametrize("text", ["", "---"])
def test_an_empty_catalog_yml_has_no_error(text):
    assert index_error(text, [a_file("fixes_1.ko")]) == ""


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
    assert len(result.steps) == (1 if expected == "update" else 0)


def test_an_update_is_one_call():
    result = plan(an_answer(), [a_file("fixes_1.ko")], allow_downgrade=True)
    assert result.steps == ({"src": "/catalog/fixes_1.ko", "allow_downgrade": True},)
    assert (result.before, result.after) == ((), ("fixes_1",))


def test_the_first_wave_is_the_canary_and_the_last_size_repeats():
    boards = list("abcdefg")
    assert waves(boards, [1, 2]) == [["a"], ["b", "c"], ["d", "e"], ["f", "g"]]
    assert waves(boards, [1, "100%"]) == [["a"], list("bcdefg")]


@given(
    st.lists(st.text(min_size=1), unique=True),
    st.lists(st.integers(1, 9) | st.integers(1, 100).map("{}%".format), min_size=1, max_size=4),
)
def test_every_board_is_in_exactly_one_wave_in_order(boards, sizes):
    assert [board for wave in waves(boards, sizes) for board in wave] == boards


@pytest.mark.parametrize("sizes", [[], [0], ["0%"], ["many"], [-1], ["%"]])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(RolloutError, match="rollout_waves"):
        waves(["a"], sizes)


def test_sizes_may_come_from_a_command_line():
    assert waves(list("abc"), "1,100%") == [["a"], ["b", "c"]]
    assert waves(list("abc"), 2) == [["a", "b"], ["c"]]


def test_the_catalog_knows_what_the_board_does_not():
    unknown = Livepatch("fixes_1", True, None, (), True, False, "01" * 20)
    answer = dict(an_answer(unknown), states_source="unknown")
    assert plan(answer, [a_file("fixes_1.ko", 1), a_file("fixes_2.ko", 2)]).outcome == "update"
    assert plan(answer, [a_file("fixes_2.ko", 2)]).outcome == "refused"


def test_a_board_that_dropped_out_of_the_play_is_a_failure():
    hostvars = {"a": {"rollout_row": {"outcome": "update", "before": [], "after": []}}, "b": {}}
    assert [row["outcome"] for row in rows(["a", "b", "c"], hostvars)] == [
        "update",
        "failed",
        "failed",
    ]


@pytest.mark.parametrize(
    "answer", [{}, {"after": "garbage"}, {"after": {"patches": [1]}, "transition": {}}]
)
def test_an_answer_that_is_not_understood_is_a_failure(answer):
    result = outcome({"board": "a"}, answer)
    assert (result["outcome"], result["after"]) == ("failed", ["?"])


def test_in_check_mode_nothing_is_called_updated():
    answer = {"changed": True, "after": {"patches": []}, "transition": {"outcome": "none"}}
    row = {"board": "a", "outcome": "update"}
    assert outcome(row, answer, check_mode=True)["outcome"] == "update"


def test_the_outcome_tells_reversed_from_failed_and_unknown_from_empty():
    row = {"board": "a", "before": [], "after": ["fixes_1"], "outcome": "update"}
    before = {"patches": [], "system_states": []}
    reversed_ = {
        "failed": True,
        "msg": "stalled",
        "after": before,
        "transition": {"outcome": "reversed"},
    }
    assert outcome(row, reversed_)["outcome"] == "reversed"
    assert outcome(row, {"failed": True, "msg": "gone"})["after"] == ["?"]
    assert outcome(row, {"unreachable": True, "msg": "gone"})["outcome"] == "unreachable"
    answer = {
        "changed": True,
        "after": {"patches": [{"name": "fixes_1"}]},
        "transition": {"outcome": "completed"},
    }
    updated = outcome(row, answer)
    assert (updated["outcome"], updated["after"]) == ("updated", ["fixes_1"])


ROW = {
    "board": "a",
    "before": ["fixes_2"],
    "after": ["fixes_1", "extra"],
    "outcome": "roll back",
    "steps": [{"src": "fixes_1.ko"}, {"src": "extra.ko"}],
}


def an_end(*names, **result):
    """What the module livepatch returns where these are installed afterwards."""
    patches = [{"name": name} for name in names]
    return {"after": {"patches": patches}, "transition": {"outcome": "completed"}, **result}


def test_a_board_goes_on_to_its_next_step_and_is_done_after_the_last():
    halfway = outcome(ROW, an_end("fixes_1", changed=True))
    assert (halfway["outcome"], halfway["steps"]) == ("roll back", [{"src": "extra.ko"}])
    done = outcome(halfway, an_end("fixes_1", "extra", changed=True))
    assert (done["outcome"], done["steps"]) == ("rolled back", [])


def test_after_a_failure_no_step_is_left():
    failed = outcome(ROW, an_end("fixes_2", failed=True, msg="refused"))
    assert (failed["outcome"], failed["after"], failed["steps"]) == ("failed", ["fixes_2"], [])
    assert outcome(ROW, {"unreachable": True, "msg": "gone"})["steps"] == []


def test_another_end_than_the_one_decided_on_is_a_failure():
    halfway = dict(ROW, steps=ROW["steps"][1:])
    failed = outcome(halfway, an_end("extra", changed=True))
    assert (failed["outcome"], failed["after"]) == ("failed", ["extra"])
    assert failed["reason"] == "extra is installed where fixes_1, extra was decided."


def test_what_somebody_else_did_meanwhile_is_not_called_done():
    halfway = dict(ROW, steps=ROW["steps"][1:])
    assert outcome(halfway, an_end("fixes_1", "extra"))["outcome"] == "nothing to do"


def test_the_table_has_a_line_per_board_in_aligned_columns():
    lines = table(
        [
            {
                "board": "orangepi5-1",
                "before": ["fixes_1"],
                "after": ["fixes_2"],
                "outcome": "updated",
            },
            {
                "board": "orangepi5b-1",
                "before": [],
                "after": [],
                "outcome": "refused",
                "reason": "no",
            },
        ]
    )
    assert len(lines) == 3
    assert len({line.index(word) for line, word in zip(lines[1:], ("updated", "refused"))}) == 1
