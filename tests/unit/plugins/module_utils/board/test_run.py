# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a run's steps, and what it says when one of them fails.

The kernel here is a few lines that keep a list; what a real one does with the
same calls is for the scenarios in extensions/molecule.
"""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import run as run_module
from ansible_collections.orangepi.livepatch.plugins.module_utils.board import transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.run import (
    Failure,
    ImagesNeeded,
    Options,
    Refused,
    Run,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import (
    TransitionResult,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import Transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins import boards


def a_file(version):
    patch = Livepatch(
        "fixes_%d" % version, True, (SystemState(1, version),), build_id="%02x" % version * 20
    )
    return boards.a_file(patch)


V1, V2 = a_file(1), a_file(2)
EXTRA = replace(V1, livepatch=Livepatch("extra", False, (), build_id="ee" * 20))
IMAGES = {file.livepatch.build_id: file.livepatch.name.encode() for file in (V1, V2, EXTRA)}
FILES = {IMAGES[file.livepatch.build_id]: file for file in (V1, V2, EXTRA)}


class Kernel:
    """A list of livepatches and of leftover modules, and what was asked of them."""

    def __init__(self):
        self.calls = []
        self.patches = []
        self.leftover = []
        self.transition = None
        self.refuses = {}
        self.stalls = set()
        self.params = {"fixes_1": "", "fixes_2": "n=1", "extra": None}
        self.remembered = []

    def install(self, file, **changes):
        self.patches.append(replace(file.livepatch, enabled=True, transition=False, **changes))

    def board(self, _store, _files=()):
        return replace(
            boards.a_board(),
            patches=tuple(self.patches),
            transition=self.transition,
            leftover=tuple(self.leftover),
        )

    def call(self, what, name):
        self.calls.append("%s %s" % (what, name))
        if (what, name) in self.refuses:
            raise OSError(self.refuses[what, name], "no")

    def load(self, image, params):
        file = FILES[image]
        name = file.livepatch.name
        self.call("load", name + " " * bool(params) + params)
        if name not in self.stalls:
            if file.livepatch.replace:
                self.leftover += [patch.name for patch in self.patches]
                self.patches = []
            self.install(file)

    def set_enabled(self, name, enabled):
        self.call("enable" if enabled else "disable", name)
        self.patches = [patch for patch in self.patches if patch.name != name]
        self.leftover.append(name)
        self.transition = None

    def remove(self, name):
        self.call("remove", name)
        self.leftover = [left for left in self.leftover if left != name]

    def finish(self, name, direction, _timeout, _on_stall):
        outcome = "reversed" if name in self.stalls else "completed"
        return TransitionResult(outcome, direction)


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(run_module, "read_board", kernel.board)
    monkeypatch.setattr(run_module, "remember", lambda *_arguments: None)
    monkeypatch.setattr(run_module, "loaded_with", lambda _store, patch: kernel.params[patch.name])
    monkeypatch.setattr(
        run_module, "remember_stack", lambda *arguments: kernel.remembered.append(arguments)
    )
    for name in ("load", "set_enabled", "remove", "finish"):
        monkeypatch.setattr(transition, name, getattr(kernel, name))
    return kernel


def a_run(**options):
    return Run(None, Options(**options))


def enable(file, images=IMAGES, **options):
    run = a_run(**options)
    run.enable(file, None if images is None else IMAGES[file.livepatch.build_id], images)
    return run


def test_a_load_is_one_call_and_a_second_run_is_none(kernel):
    assert enable(V1).changed
    assert kernel.calls == ["load fixes_1"]
    assert not enable(V1).changed
    assert kernel.calls == ["load fixes_1"]


def test_without_the_image_nothing_is_touched(kernel):
    kernel.install(V2)
    with pytest.raises(ImagesNeeded):
        enable(V1, images=None, allow_downgrade=True)
    assert kernel.calls == []


def test_a_refusal_touches_nothing_and_is_told_from_a_failure(kernel):
    kernel.install(V2)
    with pytest.raises(Refused, match="fixes_1 refused"):
        enable(V1)
    assert kernel.calls == []


def test_check_mode_predicts_and_touches_nothing(kernel):
    kernel.install(V2)
    run = enable(V1, allow_downgrade=True, check_mode=True)
    assert run.changed and kernel.calls == []
    assert [patch.name for patch in run.after.patches] == ["fixes_1"]
    assert run.after.leftover == ("fixes_2",)


def test_its_own_leftover_module_goes_before_anything_is_disabled(kernel):
    kernel.install(V2)
    kernel.leftover = ["fixes_1"]
    enable(V1, allow_downgrade=True)
    assert kernel.calls == ["remove fixes_1", "disable fixes_2", "load fixes_1"]


def test_a_leftover_that_cannot_go_stops_the_run_while_all_is_still_enabled(kernel):
    kernel.install(V2)
    kernel.leftover = ["fixes_1"]
    kernel.refuses["remove", "fixes_1"] = errno.EWOULDBLOCK
    with pytest.raises(Failure, match="could not be unloaded"):
        enable(V1, allow_downgrade=True)
    assert [patch.name for patch in kernel.patches] == ["fixes_2"]


def test_a_load_that_fails_says_that_all_is_as_it_was(kernel):
    kernel.install(V1)
    kernel.refuses["load", "fixes_2"] = errno.ENOMEM
    with pytest.raises(Failure, match=r"ENOMEM.*is installed as it was\.$"):
        enable(V2)


def test_what_was_disabled_for_a_load_that_fails_is_loaded_again(kernel):
    kernel.install(V2)
    kernel.install(EXTRA)
    kernel.refuses["load", "fixes_1"] = errno.ENOMEM
    run = a_run(allow_downgrade=True)
    with pytest.raises(Failure, match=r"was loaded again; what was installed before is installed"):
        run.enable(V1, b"fixes_1", IMAGES)
    assert run.restored
    assert [patch.name for patch in kernel.patches] == ["fixes_2", "extra"]
    assert kernel.calls == [
        "disable fixes_2",
        "load fixes_1",
        "remove fixes_2",
        "load fixes_2 n=1",
        "remove extra",
        "load extra",
    ]
    assert run.to_json()["warnings"] == [
        "The parameters of extra are not known, since somebody else had loaded it; it was loaded "
        "again without any."
    ]


@pytest.mark.parametrize("installed", [(), (V2,)])
def test_what_somebody_else_loads_meanwhile_is_never_disabled(kernel, monkeypatch, installed):
    for file in installed:
        kernel.install(file)

    def load(_image, _params):
        kernel.install(EXTRA)
        raise OSError(errno.EBUSY, "no")

    monkeypatch.setattr(transition, "load", load)
    with pytest.raises(Failure, match="Installed now: extra"):
        enable(V1, allow_downgrade=True)
    assert [patch.name for patch in kernel.patches] == ["extra"]
    assert "disable extra" not in kernel.calls


def test_nothing_more_is_disabled_on_the_way_back_where_a_file_is_missing(kernel):
    kernel.install(V2)
    kernel.install(EXTRA)
    kernel.refuses["load", "fixes_1"] = errno.ENOMEM
    run = a_run(allow_downgrade=True)
    found = {V2.livepatch.build_id: b"fixes_2"}
    with pytest.raises(
        Failure,
        match=r"now: extra; before: fixes_2, extra\. Load fixes_2 again\. It was not loaded again "
        r"by itself: the file of extra was not found\.$",
    ):
        run.enable(V1, b"fixes_1", found)
    assert kernel.calls == ["disable fixes_2", "load fixes_1"]
    assert run.to_json()["warnings"][0].startswith("The file of extra was found neither")


def test_a_way_back_that_fails_too_says_both(kernel):
    kernel.install(V2)
    kernel.refuses.update({("load", "fixes_1"): errno.ENOMEM, ("load", "fixes_2 n=1"): errno.EBUSY})
    with pytest.raises(Failure, match=r"ENOMEM.*Load fixes_2 again\. It was not .*EBUSY"):
        enable(V1, allow_downgrade=True)


def test_an_error_of_our_own_after_a_disable_takes_the_way_back_too(kernel, monkeypatch):
    kernel.install(V2)
    loads = iter([UnicodeEncodeError("utf-8", "", 0, 1, "surrogates not allowed"), None])

    def load(image, params):
        error = next(loads)
        if error is not None:
            raise error
        kernel.load(image, params)

    monkeypatch.setattr(transition, "load", load)
    with pytest.raises(Failure, match=r"error of its own \(UnicodeEncodeError.*was loaded again"):
        enable(V1, allow_downgrade=True)
    assert [patch.name for patch in kernel.patches] == ["fixes_2"]


def test_a_board_whose_python_cannot_load_modules_is_not_touched(kernel, monkeypatch):
    kernel.install(V2)
    monkeypatch.setattr(transition, "why_unable", lambda: "no ctypes.")
    with pytest.raises(Refused, match="nothing was touched: no ctypes"):
        enable(V1, allow_downgrade=True)
    with pytest.raises(Refused, match="nothing was touched: no ctypes"):
        a_run().disable("fixes_2", remove=True)
    assert kernel.calls == []


def test_what_a_run_left_is_remembered_but_not_that_a_failed_one_left_nothing(kernel):
    enable(V1).remember(failed=False)
    ((_store, before, after, params, _goal),) = kernel.remembered
    assert [len(before.patches), len(after.patches), params] == [0, 1, {"fixes_1": ""}]
    run = a_run()
    run.remember(failed=False)
    run.disable("fixes_1", remove=True)
    run.remember(failed=True)
    assert len(kernel.remembered) == 1


def test_an_earlier_line_of_the_log_does_not_explain_a_later_failure(kernel, monkeypatch):
    kernel.refuses["load", "fixes_1"] = errno.EBUSY
    lines = iter([["pre-patch callback failed for object 'vmlinux'"], ["nothing of use"]])
    monkeypatch.setattr(transition.KernelLog, "lines", lambda _log: next(lines, []))
    with pytest.raises(Failure, match="EBUSY.*another transition is under way"):
        enable(V1)


def test_the_images_of_what_would_be_disabled_are_asked_for_before_anything_is_touched(kernel):
    kernel.install(V2)
    run = a_run(allow_downgrade=True)
    with pytest.raises(ImagesNeeded) as needed:
        run.enable(V1, b"fixes_1")
    assert needed.value.builds == [V2.livepatch.build_id]
    assert kernel.calls == []


def test_a_transition_that_is_reversed_leaves_no_module(kernel):
    kernel.install(V1)
    kernel.stalls.add("fixes_2")
    with pytest.raises(Failure, match=r"did not end within 60 seconds and was reversed\."):
        enable(V2)
    assert kernel.calls == ["load fixes_2", "remove fixes_2"]


def test_a_livepatch_that_is_stuck_in_patching_can_be_disabled(kernel):
    kernel.install(V1)
    kernel.patches[0] = replace(kernel.patches[0], transition=True)
    kernel.transition = Transition("fixes_1", "patching")
    run = a_run()
    run.disable("fixes_1", remove=True)
    assert kernel.calls == ["disable fixes_1", "remove fixes_1"]
    assert run.changed


def test_another_livepatchs_transition_is_waited_for_and_then_named(kernel, monkeypatch):
    kernel.install(V1)
    kernel.transition = Transition("fixes_1", "patching")
    monkeypatch.setattr(transition, "wait_until", lambda *_arguments: False)
    with pytest.raises(Refused, match=r"fixes_1 is in transition \(patching\)"):
        enable(V2)
    assert kernel.calls == []


def test_absent_of_what_is_not_there_changes_nothing(kernel):
    run = a_run()
    run.disable("fixes_1", remove=True)
    assert kernel.calls == [] and not run.changed


def test_absent_by_file_spares_another_build_of_that_name(kernel):
    kernel.install(V1)
    other = replace(V1.livepatch, build_id="ff" * 20)
    with pytest.raises(Refused, match="another build"):
        a_run().disable("fixes_1", remove=True, build=other)
    assert kernel.calls == []


def test_a_transition_that_ends_just_before_the_reversal_is_not_turned_into_a_disable(monkeypatch):
    states = iter([False, True])
    written = []
    monkeypatch.setattr(transition, "ended", lambda _name: next(states))
    monkeypatch.setattr(transition.sysfs, "blocking_tasks", lambda _direction: [])
    monkeypatch.setattr(transition, "set_enabled", lambda *arguments: written.append(arguments))
    result = transition.finish("fixes_1", "patching", 0, "reverse")
    assert (result.outcome, written) == ("completed", [])
