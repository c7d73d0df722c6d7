# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a run's steps, what it says when one of them fails, and the way back."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.run import (
    Failure,
    ImagesNeeded,
    Options,
    Refused,
    Run,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import builds
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import Wanted
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import Candidate
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins import boards
from ansible_collections.orangepi.livepatch.tests.unit.plugins.made_up_kernel import (
    MadeUpKernel,
    image,
)


def a_file(version):
    patch = Livepatch(
        "fixes_%d" % version, True, (SystemState(1, version),), build_id="%02x" % version * 20
    )
    return boards.a_file(patch)


V1, V2 = a_file(1), a_file(2)
EXTRA = boards.a_file(Livepatch("extra", False, (), build_id="ee" * 20))
OTHER = boards.a_file(Livepatch("other", False, (), build_id="dd" * 20))
FILES = (V1, V2, EXTRA, OTHER)
BACK = [Candidate(file, image(file)) for file in FILES]


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    monkeypatch.setattr(transition, "RELEASE_TIMEOUT", 0)


@pytest.fixture
def kernel():
    return MadeUpKernel(*FILES)


def a_run(kernel, **options):
    return Run(kernel, Options(timeout=options.pop("timeout", 0.01), **options))


def enable(kernel, file, back=BACK, params="", **options):
    run = a_run(kernel, **options)
    run.enable(file, params, None if back is None else image(file), back)
    return run


def disable(kernel, name, remove=False, build=None, **options):
    run = a_run(kernel, **options)
    run.disable(name, remove, build)
    return run


def stack(kernel, *files, back=BACK, over=None, **options):
    run = a_run(kernel, **options)
    bytes_of = {} if back is None else {file.livepatch.name: image(file) for file in files}
    run.stack([Wanted(file.livepatch, file) for file in files], bytes_of, back, over)
    return run


def installed(kernel):
    return [patch.name for patch in kernel.patches]


def loaded_with(kernel, **params):
    kernel.store.put(
        "records",
        {
            name: {
                "name": name,
                "build_id": next(p.build_id for p in kernel.patches if p.name == name),
                "params": given,
            }
            for name, given in params.items()
        },
    )


class TestEnabled:
    def test_a_load_is_one_call_and_a_second_run_is_none(self, kernel):
        assert enable(kernel, V1).changed
        assert kernel.calls == ["load fixes_1"]
        assert not enable(kernel, V1).changed
        assert kernel.calls == ["load fixes_1"]

    def test_parameters_go_to_the_module(self, kernel):
        enable(kernel, V1, params="n=1")
        assert kernel.calls == ["load fixes_1 n=1"]

    def test_without_the_image_nothing_is_touched(self, kernel):
        kernel.install(V2)
        with pytest.raises(ImagesNeeded):
            enable(kernel, V1, back=None, allow_downgrade=True)
        assert kernel.calls == []

    def test_a_refusal_touches_nothing_and_is_told_from_a_failure(self, kernel):
        kernel.install(V2)
        with pytest.raises(Refused, match="fixes_1 refused"):
            enable(kernel, V1)
        assert kernel.calls == []

    def test_check_mode_predicts_and_touches_nothing(self, kernel):
        kernel.install(V2)
        run = enable(kernel, V1, back=None, allow_downgrade=True, check_mode=True)
        assert run.changed and kernel.calls == []
        assert [patch.name for patch in run.after.patches] == ["fixes_1"]
        assert run.after.leftover == ("fixes_2",)

    def test_its_own_leftover_module_goes_before_anything_is_disabled(self, kernel):
        kernel.install(V2)
        kernel.modules.append("fixes_1")
        enable(kernel, V1, allow_downgrade=True)
        assert kernel.calls == ["remove fixes_1", "disable fixes_2", "load fixes_1"]

    def test_a_leftover_that_cannot_go_stops_the_run_while_all_is_still_enabled(self, kernel):
        kernel.install(V2)
        kernel.modules.append("fixes_1")
        kernel.refuses["remove fixes_1"] = errno.EWOULDBLOCK
        with pytest.raises(Failure, match="could not be unloaded"):
            enable(kernel, V1, allow_downgrade=True)
        assert installed(kernel) == ["fixes_2"]

    def test_a_load_that_fails_says_that_all_is_as_it_was(self, kernel):
        kernel.install(V1)
        kernel.refuses["load fixes_2"] = errno.ENOMEM
        with pytest.raises(Failure, match=r"ENOMEM.*is installed as it was\.$"):
            enable(kernel, V2)

    def test_an_earlier_line_of_the_log_does_not_explain_a_later_failure(self, kernel):
        kernel.refuses["load fixes_1"] = errno.EBUSY
        kernel.printed = ["pre-patch callback failed for object 'vmlinux'"]
        kernel.says["load fixes_1"] = ["nothing of use"]
        with pytest.raises(Failure, match="EBUSY.*another transition is under way"):
            enable(kernel, V1)

    def test_the_images_of_what_would_be_disabled_are_asked_for_before_it_is_touched(self, kernel):
        kernel.install(V2)
        run = a_run(kernel, allow_downgrade=True)
        with pytest.raises(ImagesNeeded) as needed:
            run.enable(V1, "", image(V1))
        assert needed.value.builds == (V2.livepatch.build_id,)
        assert kernel.calls == []

    def test_a_transition_that_is_reversed_leaves_no_module(self, kernel):
        kernel.install(EXTRA)
        kernel.stalls.add("fixes_2")
        with pytest.raises(
            Failure, match=r"within 0\.01 seconds and was reversed\. Blocked by nfsd"
        ):
            enable(kernel, V2)
        assert kernel.calls == ["load fixes_2", "disable fixes_2", "remove fixes_2"]
        assert installed(kernel) == ["extra"]

    def test_a_stall_can_be_left_for_a_later_run_to_wait_on(self, kernel):
        kernel.stalls.add("fixes_2")
        with pytest.raises(Failure, match="is still under way; run again to wait on"):
            enable(kernel, V2, on_stall="leave")
        kernel.patches = (replace(kernel.patches[0], transition=False),)
        assert not enable(kernel, V2).changed
        assert kernel.calls == ["load fixes_2"]

    def test_a_stall_can_be_forced(self, kernel):
        kernel.stalls.add("fixes_2")
        assert enable(kernel, V2, on_stall="force").transition.outcome == "forced"
        assert kernel.calls == ["load fixes_2", "force fixes_2"]

    def test_a_board_whose_python_cannot_load_modules_is_not_touched(self, kernel):
        kernel.install(V2)
        kernel.unable = "no ctypes."
        with pytest.raises(Refused, match="nothing was touched: no ctypes"):
            enable(kernel, V1, allow_downgrade=True)
        with pytest.raises(Refused, match="nothing was touched: no ctypes"):
            disable(kernel, "fixes_2", remove=True)
        assert kernel.calls == []

    def test_another_livepatchs_transition_is_waited_for_and_then_named(self, kernel):
        kernel.install(V1)
        kernel.patches = (replace(kernel.patches[0], transition=True),)
        with pytest.raises(Refused, match=r"fixes_1 is in transition \(patching\).*nfsd"):
            enable(kernel, V2)
        assert kernel.calls == []

    def test_a_livepatch_whose_code_changes_its_states_is_told(self, kernel, monkeypatch):
        changed = replace(V1.livepatch, states=(SystemState(1, 7),))
        monkeypatch.setitem(kernel.files, image(V1), replace(V1, livepatch=changed))
        with pytest.raises(Failure, match="the kernel shows other system states"):
            enable(kernel, V1)

    def test_a_livepatch_whose_code_makes_it_not_cumulative_is_told(self, kernel, monkeypatch):
        kernel.install(EXTRA)
        changed = replace(V1, livepatch=replace(V1.livepatch, replace=False))
        monkeypatch.setitem(kernel.files, image(V1), changed)
        with pytest.raises(Failure, match="the kernel shows False for replace and the file True"):
            enable(kernel, V1)

    def test_with_parameters_the_kernels_value_counts(self, kernel, monkeypatch):
        kernel.install(EXTRA)
        changed = replace(V1, livepatch=replace(V1.livepatch, replace=False))
        monkeypatch.setitem(kernel.files, image(V1), changed)
        enable(kernel, V1, params="replace=0")
        assert installed(kernel) == ["extra", "fixes_1"]


class TestWayBack:
    def test_what_was_disabled_for_a_load_that_fails_is_loaded_again(self, kernel):
        kernel.install(V2)
        kernel.install(EXTRA)
        loaded_with(kernel, fixes_2="n=1")
        kernel.refuses["load fixes_1"] = errno.ENOMEM
        run = a_run(kernel, allow_downgrade=True)
        with pytest.raises(Failure, match=r"again; what was installed before is installed"):
            run.enable(V1, "", image(V1), BACK)
        assert run.restored
        assert installed(kernel) == ["fixes_2", "extra"]
        assert kernel.calls == [
            "disable fixes_2",
            "load fixes_1",
            "remove fixes_2",
            "load fixes_2 n=1",
            "remove extra",
            "load extra",
        ]
        assert run.to_json()["warnings"] == [
            "The parameters of extra are not known, since somebody else had loaded it; it was "
            "loaded again without any."
        ]

    @pytest.mark.parametrize("before", [(), (V2,)])
    def test_what_somebody_else_loads_meanwhile_is_never_disabled(
        self, kernel, monkeypatch, before
    ):
        for file in before:
            kernel.install(file)

        def init_module(_image, _params):
            kernel.install(EXTRA)
            raise OSError(errno.EBUSY, "no")

        monkeypatch.setattr(kernel, "init_module", init_module)
        with pytest.raises(Failure, match="Installed now: extra"):
            enable(kernel, V1, allow_downgrade=True)
        assert installed(kernel) == ["extra"]
        assert "disable extra" not in kernel.calls

    def test_nothing_more_is_disabled_on_the_way_back_where_a_file_is_missing(self, kernel):
        stateless = boards.a_file(Livepatch("lower", False, (), build_id="cc" * 20))
        kernel.install(V2)
        kernel.install(stateless)
        kernel.refuses["load fixes_1"] = errno.ENOMEM
        run = a_run(kernel, allow_downgrade=True)
        v1 = replace(V1, livepatch=replace(V1.livepatch, replace=False))
        with pytest.raises(
            Failure,
            match=r"now: lower; before: fixes_2, lower\. Load fixes_2 again\. It was not loaded "
            r"again by itself: the file of lower was not found\.$",
        ):
            run.enable(v1, "", image(V1), [Candidate(V2, image(V2))])
        assert kernel.calls == ["disable fixes_2", "load fixes_1"]
        assert run.to_json()["warnings"][0].startswith("The file of lower was found neither")

    def test_what_we_loaded_is_loaded_again_from_its_very_bytes_alone(self, kernel):
        enable(kernel, V2)
        claims = replace(V2, sha256="ff" * 32)
        kernel.files[b"others"] = claims
        kernel.refuses["load fixes_1"] = errno.ENOMEM
        with pytest.raises(Failure, match="the file of fixes_2 was not found"):
            a_run(kernel, allow_downgrade=True).enable(
                V1, "", image(V1), [Candidate(claims, b"others")]
            )
        assert installed(kernel) == []

    def test_a_file_with_the_build_id_and_other_states_is_not_loaded_again(self, kernel):
        kernel.install(V2)
        other = replace(V2, livepatch=replace(V2.livepatch, states=(SystemState(1, 7),)))
        kernel.refuses["load fixes_1"] = errno.ENOMEM
        with pytest.raises(Failure, match="the file of fixes_2 was not found"):
            a_run(kernel, allow_downgrade=True).enable(
                V1, "", image(V1), [Candidate(other, image(V2))]
            )

    def test_what_comes_back_is_compared_with_what_was_there(self, kernel, monkeypatch):
        kernel.install(V2)
        kernel.refuses["load fixes_1"] = errno.ENOMEM
        changed = replace(V2, livepatch=replace(V2.livepatch, states=(SystemState(1, 7),)))
        monkeypatch.setitem(kernel.files, image(V2), changed)
        run = a_run(kernel, allow_downgrade=True)
        with pytest.raises(Failure, match="What was loaded again is not what was there"):
            run.enable(V1, "", image(V1), BACK)
        assert not run.restored

    def test_a_way_back_that_fails_too_says_both(self, kernel):
        kernel.install(V2)
        kernel.refuses.update({"load fixes_1": errno.ENOMEM, "load fixes_2": errno.EBUSY})
        with pytest.raises(Failure, match=r"ENOMEM.*Load fixes_2 again\. It was not .*EBUSY"):
            enable(kernel, V1, allow_downgrade=True)

    def test_an_error_of_our_own_after_a_disable_takes_the_way_back_too(self, kernel, monkeypatch):
        kernel.install(V2)
        init_module = kernel.init_module
        errors = iter([UnicodeEncodeError("utf-8", "", 0, 1, "surrogates not allowed")])

        def fails_once(image, params):
            for error in errors:
                raise error
            init_module(image, params)

        monkeypatch.setattr(kernel, "init_module", fails_once)
        with pytest.raises(Failure, match=r"error of its own \(UnicodeEncodeError.*loaded again"):
            enable(kernel, V1, allow_downgrade=True)
        assert installed(kernel) == ["fixes_2"]


class TestDisabled:
    def test_a_livepatch_that_is_stuck_in_patching_can_be_disabled(self, kernel):
        kernel.install(V1)
        kernel.patches = (replace(kernel.patches[0], transition=True),)
        assert disable(kernel, "fixes_1", remove=True).changed
        assert kernel.calls == ["disable fixes_1", "remove fixes_1"]

    def test_absent_of_what_is_not_there_changes_nothing(self, kernel):
        assert not disable(kernel, "fixes_1", remove=True).changed
        assert kernel.calls == []

    def test_absent_by_file_spares_another_build_of_that_name(self, kernel):
        kernel.install(V1)
        with pytest.raises(Refused, match="another build"):
            disable(kernel, "fixes_1", remove=True, build=replace(V1.livepatch, build_id="ff" * 20))
        assert kernel.calls == []

    def test_a_module_that_is_no_livepatch_is_not_removed(self, kernel):
        kernel.modules.append("nfs")
        kernel.not_livepatches = ("nfs",)
        with pytest.raises(Refused, match="it is not a livepatch"):
            disable(kernel, "nfs", remove=True)

    def test_a_disable_that_stalls_is_reversed_and_all_is_as_it_was(self, kernel):
        kernel.install(V1)
        kernel.stalls.add("fixes_1")
        with pytest.raises(Failure, match=r"\(unpatching\) did not end .*reversed.*as it was"):
            disable(kernel, "fixes_1")


class TestStack:
    def test_the_stack_is_loaded_in_its_order_and_a_second_run_does_nothing(self, kernel):
        run = stack(kernel, V1, EXTRA, OTHER)
        assert run.changed and installed(kernel) == ["fixes_1", "extra", "other"]
        kernel.calls.clear()
        assert not stack(kernel, V1, EXTRA, OTHER).changed
        assert kernel.calls == []

    def test_to_none_everything_goes_and_so_do_the_modules(self, kernel):
        stack(kernel, V1, EXTRA)
        kernel.calls.clear()
        stack(kernel)
        assert kernel.calls == [
            "disable extra",
            "disable fixes_1",
            "remove extra",
            "remove fixes_1",
        ]
        assert (installed(kernel), kernel.modules) == ([], [])

    def test_check_mode_predicts_the_whole_way(self, kernel):
        kernel.install(V2)
        run = stack(kernel, V1, EXTRA, back=None, allow_downgrade=True, check_mode=True)
        assert kernel.calls == []
        assert [patch.name for patch in run.after.patches] == ["fixes_1", "extra"]
        assert run.to_json()["decision"]["steps"] == [
            "disable fixes_2",
            "load fixes_1",
            "load extra",
        ]

    def test_what_stays_is_left_alone_whoever_loaded_it(self, kernel):
        kernel.install(V1)
        kernel.install(EXTRA)
        run = a_run(kernel)
        run.stack([Wanted(Livepatch("fixes_1", None, None), None)], {}, BACK)
        assert installed(kernel) == ["fixes_1"]

    def test_what_is_to_stay_and_is_not_there_is_refused(self, kernel):
        with pytest.raises(Refused, match="fixes_1 is to stay, and no livepatch of that name"):
            a_run(kernel).stack([Wanted(Livepatch("fixes_1", None, None), None)], {}, {})

    def test_another_stack_than_it_was_decided_over_is_not_touched(self, kernel):
        kernel.install(EXTRA)
        with pytest.raises(Refused, match="decided over fixes_1, and extra is installed now"):
            stack(kernel, V2, over=builds([V1.livepatch]))
        assert kernel.calls == []

    def test_what_somebody_else_has_done_already_is_no_reason_to_refuse(self, kernel):
        kernel.install(V2)
        assert not stack(kernel, V2, over=builds([V1.livepatch])).changed

    @pytest.mark.parametrize("fails", ["disable fixes_2", "load fixes_1", "load other"])
    def test_whichever_step_fails_it_goes_back_to_what_was_installed(self, kernel, fails):
        kernel.install(V2)
        kernel.install(EXTRA)
        kernel.refuses[fails] = errno.EIO
        run = a_run(kernel, allow_downgrade=True)
        wanted = [Wanted(file.livepatch, file) for file in (V1, OTHER)]
        bytes_of = {file.livepatch.name: image(file) for file in (V1, OTHER)}
        with pytest.raises(Failure, match="EIO|Input/output|said no"):
            run.stack(wanted, bytes_of, BACK)
        assert installed(kernel) == ["fixes_2", "extra"]
        assert run.restored == (fails != "disable fixes_2")
        assert not run.changed or kernel.modules

    def test_the_images_of_all_that_may_be_lost_are_asked_for_at_once(self, kernel):
        kernel.install(V2)
        kernel.install(EXTRA)
        with pytest.raises(ImagesNeeded) as needed:
            stack(kernel, V1, OTHER, back=None, allow_downgrade=True)
        assert set(needed.value.builds) == {V2.livepatch.build_id, EXTRA.livepatch.build_id}

    def test_a_run_leaves_one_note_in_the_history(self, kernel):
        stack(kernel, V1).remember(failed=False)
        stack(kernel, V2, EXTRA).remember(failed=False)
        names = [[build["name"] for build in noted] for noted in kernel.store.get("history")]
        assert names == [["fixes_1"], ["fixes_2", "extra"]]

    def test_whoever_stops_half_way_back_goes_on_to_the_goal_the_next_time(self, kernel):
        for wanted in ([V1, EXTRA], [V2, OTHER]):
            stack(kernel, *wanted).remember(failed=False)
        kernel.refuses.update({"load extra": errno.EIO, "load other": errno.EIO})
        run = a_run(kernel, allow_downgrade=True)
        files = {file.livepatch.name: image(file) for file in (V1, EXTRA)}
        with pytest.raises(Failure, match="not loaded again by itself"):
            run.stack([Wanted(file.livepatch, file) for file in (V1, EXTRA)], files, BACK)
        run.remember(failed=True)
        names = [[build["name"] for build in noted] for noted in kernel.store.get("history")]
        assert names == [["fixes_1", "extra"]]


class TestHistory:
    def test_a_history_that_cannot_be_kept_is_a_warning(self, kernel):
        kernel.store.put("history", "damaged")
        run = enable(kernel, V1)
        run.remember(failed=False)
        assert "could not be noted in the history" in run.to_json()["warnings"][0]
        assert kernel.store.get("history") == "damaged"

    def test_what_a_run_left_is_remembered_but_not_that_a_failed_one_left_nothing(self, kernel):
        enable(kernel, V1, params="n=1").remember(failed=False)
        assert kernel.store.get("history") == [
            [
                {
                    "name": "fixes_1",
                    "build_id": V1.livepatch.build_id,
                    "srcversion": None,
                    "params": "n=1",
                }
            ]
        ]
        before = kernel.store.get("history")
        run = a_run(kernel)
        run.remember(failed=False)
        run.disable("fixes_1", remove=True)
        run.remember(failed=True)
        assert kernel.store.get("history") == before


def outline(file, version):
    patch = file.livepatch
    return {
        "patches": [{"name": patch.name, "build_id": patch.build_id}],
        "system_states": [{"id": 1, "version": version, "patch": patch.name}],
    }


def test_a_diff_is_returned_where_it_is_shown_and_is_short(kernel):
    assert "diff" not in enable(kernel, V1).to_json()
    assert enable(kernel, V2, diff=True).to_json()["diff"] == {
        "before": outline(V1, 1),
        "after": outline(V2, 2),
    }


def test_a_transition_that_ends_just_before_the_reversal_is_not_turned_into_a_disable(kernel):
    ended = iter([False, True])
    kernel.ended = lambda _name: next(ended)
    assert kernel.finish("fixes_1", "patching", 0, "reverse").outcome == "completed"
    assert kernel.calls == []
