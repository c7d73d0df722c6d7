# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a board is taken through the scenarios, and that it is put back whatever happens.

What an observation proves is the specification of conformance; what a real kernel
shows is for extensions/molecule/conformance.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board.conformance_run import (
    MISSED_REVERSAL,
    REVERSAL_ATTEMPTS,
    ConformanceError,
    ConformanceRun,
    Subject,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.probe import Probe
from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance import (
    CLEANED_UP,
    FAILED,
    MODIFIED,
    NOT_APPLICABLE,
    PASSED,
    REPLACEMENT_REVERSED,
    RESTORED,
    REVERSED,
    TAKEN_OVER,
    judge,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import LOAD, Step, after
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins import boards
from ansible_collections.orangepi.livepatch.tests.unit.plugins.made_up_kernel import (
    MadeUpKernel,
    image,
)

OLDER = boards.a_file(Livepatch("fixes_1", True, (SystemState(1, 1), SystemState(2, 1))))
NEWER = boards.a_file(Livepatch("fixes_2", True, (SystemState(1, 2), SystemState(2, 1))))
NOT_CUMULATIVE = replace(NEWER, livepatch=replace(NEWER.livepatch, replace=False))
FAILING_COPY = b"failing copy"

# What /proc/sys/kernel/printk would show with each of them, and without.
PRINTK = {"fixes_1": "8 4 1 7", "fixes_2": "9 4 1 6"}
ORIGINAL = "4 4 1 7"

FAILED_LATE = "livepatch: failed to enable patch 'fixes_2'"
PATCHING_COMPLETE = "livepatch: 'fixes_2': patching complete"


class Kernel(MadeUpKernel):
    """With livepatches that behave, and two processors, so that no transition ends at once.

    The system state, a file that a probe reads, is always what the installed
    livepatches make of it. A state's data is handed over, and freed with the last
    livepatch that has it.

    original: the system state with none of them; meanwhile: what happens just
    before a call is obeyed, by call; facts: what else the board shows.
    """

    def __init__(self, printk):
        self.printk = printk
        self.processors = 2
        self.meanwhile = {}
        self.facts = {}
        self.original = ORIGINAL
        self.takes_failing_copy = False
        self.ftrace = True
        self._data = {}
        self._allocated = 0
        self._looked_at = set()
        super().__init__(OLDER, NEWER)

    @property
    def patches(self):
        return self._patches

    @patches.setter
    def patches(self, patches):
        self._patches = tuple(patches)
        ids = {state.id for patch in self._patches for state in patch.states}
        self._data = {id: data for id, data in self._data.items() if id in ids}
        for id in sorted(ids - self._data.keys()):
            self._allocated += 1
            self._data[id] = "token %d" % self._allocated
        in_effect = [PRINTK[patch.name] for patch in self._patches if not patch.transition]
        self.printk.write_text((in_effect or [self.original])[-1])

    def read(self, known=()):
        board = super().read(known)
        patches = tuple(replace(p, states=self._with_data(p.states)) for p in board.patches)
        return replace(board, patches=patches, **self.facts)

    def _with_data(self, states):
        return states and tuple(replace(state, data=self._data[state.id]) for state in states)

    def init_module(self, image, params):
        if image == FAILING_COPY:
            self._call("load", "failing copy")
            if not self.takes_failing_copy:
                self.printed.append(FAILED_LATE)
                raise OSError(errno.EINVAL, "Invalid argument")
            patch = NEWER.livepatch
        else:
            patch = self.files[image].livepatch
            self._call("load", patch.name)
        self.modules.append(patch.name)
        self.patches += (replace(patch, enabled=True, transition=True),)
        self._looked_at.discard(patch.name)
        if self.processors == 1:
            self.end(patch.name)

    def end(self, name):
        """Its transition ends now."""
        patch = self._find(name)
        if patch is not None and patch.transition and name not in self.stalls:
            self.printed.append("livepatch: '%s': patching complete" % name)
            others = [other for other in self.patches if other.name != name]
            self.patches = after(Step(LOAD, replace(patch, transition=False)), others)

    def ended(self, name):
        if name in self._looked_at:
            self.end(name)
        self._looked_at.add(name)
        return super().ended(name)

    def ftrace_enabled(self):
        return self.ftrace

    def _call(self, what, name, params=""):
        self.meanwhile.get("%s %s" % (what, name), nothing)()
        super()._call(what, name, params)


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path / "printk")


def a_run(kernel, older=OLDER, newer=NEWER, probes=True, failing_copy=FAILING_COPY, timeout=5):
    return ConformanceRun(
        kernel,
        Subject(newer, image(newer), failing_copy),
        None if older is None else Subject(older, image(older)),
        [Probe("printk", ("cat", str(kernel.printk)))] if probes else [],
        timeout,
    )


def rows(run):
    older = None if run.older is None else run.older.file.livepatch
    return {row.scenario: row for row in judge(run.newer.file.livepatch, older, run.seen)}


def said(row):
    return row.outcome, row.reason


def is_put_back(kernel):
    return (kernel.patches, kernel.modules) == ((), [])


def interrupt():
    os.kill(os.getpid(), signal.SIGTERM)


def break_down():
    raise RuntimeError("something that nobody thought of")


def nothing():
    pass


def in_turn(*happenings):
    """The first at the first call, and so on, and then nothing any more."""
    turns = chain(happenings, repeat(nothing))

    def happen():
        next(turns)()

    return happen


def test_each_scenario_begins_with_nothing_installed(kernel):
    a_run(kernel).run()
    alone = [
        *("load fixes_2", "disable fixes_2", "remove fixes_2"),
        *("load fixes_2", "disable fixes_2", "remove fixes_2"),
        "load failing copy",
    ]
    replacing = [
        *("load fixes_1", "load fixes_2"),
        *("disable fixes_2", "remove fixes_2", "remove fixes_1"),
        *("load fixes_1", "load fixes_2"),
        *("disable fixes_2", "remove fixes_2", "disable fixes_1", "remove fixes_1"),
    ]
    assert kernel.calls == alone + replacing
    assert is_put_back(kernel)


def test_a_livepatch_that_behaves_passes_every_scenario(kernel):
    run = a_run(kernel)
    run.run()
    assert {scenario: said(row) for scenario, row in rows(run).items()} == {
        MODIFIED: (PASSED, "shown by printk."),
        TAKEN_OVER: (
            PASSED,
            "state 1 from version 1 to 2; state 2 stays at version 1 with its data.",
        ),
        RESTORED: (PASSED, "alone and after replacing."),
        REVERSED: (PASSED, "as before."),
        REPLACEMENT_REVERSED: (PASSED, "as before."),
        CLEANED_UP: (PASSED, "as before."),
    }
    assert None not in vars(run.seen).values()
    assert not run.changed
    assert run.states_source == "kernel"


def test_the_evidence_has_what_the_kernel_printed_meanwhile_and_nothing_older(kernel):
    kernel.says["load fixes_1"] = ["fixes_1: hello"]
    run = a_run(kernel)
    run.run()
    assert run.seen.enabled.log == (PATCHING_COMPLETE,)
    assert run.seen.reversed.log == ()
    assert run.seen.load_failed.log == (FAILED_LATE,)
    assert run.seen.older_enabled.log[0] == "fixes_1: hello"


def test_without_an_older_livepatch_nothing_is_replaced(kernel):
    run = a_run(kernel, older=None)
    run.run()
    assert "load fixes_1" not in kernel.calls
    found = {scenario: row.outcome for scenario, row in rows(run).items()}
    assert found.pop(TAKEN_OVER) == found.pop(REPLACEMENT_REVERSED) == NOT_APPLICABLE
    assert set(found.values()) == {PASSED}


def test_what_is_not_cumulative_replaces_nothing(kernel):
    kernel.files[image(NEWER)] = NOT_CUMULATIVE
    a_run(kernel, newer=NOT_CUMULATIVE).run()
    assert "load fixes_1" not in kernel.calls


def test_a_source_of_states_that_was_unknown_once_stays_unknown(kernel):
    kernel.hides_states = True
    kernel.meanwhile["load fixes_1"] = lambda: setattr(kernel, "hides_states", False)
    run = a_run(kernel)
    run.run()
    assert run.states_source == "unknown"


def test_a_state_that_is_left_changed_ends_the_run_and_is_told(kernel):
    kernel.meanwhile["disable fixes_2"] = lambda: setattr(kernel, "original", "5 4 1 7")
    run = a_run(kernel)
    run.run()
    assert kernel.calls == ["load fixes_2", "disable fixes_2", "remove fixes_2"]
    assert said(rows(run)[RESTORED]) == (
        FAILED,
        "disabled alone, printk shows '5 4 1 7', and before '4 4 1 7'.",
    )
    assert rows(run)[REVERSED].reason.startswith("not reached")
    assert run.changed


@pytest.mark.parametrize(
    ("older", "field", "scenario"),
    [
        pytest.param(None, "reversed", REVERSED, id="alone"),
        pytest.param(OLDER, "replacement_reversed", REPLACEMENT_REVERSED, id="replacing"),
    ],
)
def test_a_reversal_that_comes_too_late_is_tried_again_but_not_for_ever(
    kernel, older, field, scenario
):
    kernel.processors = 1
    run = a_run(kernel, older=older)
    run.run()
    reversals = 1 if older is None else 2
    # Once it is enabled to stay, alone and over the older one.
    assert kernel.calls.count("load fixes_2") == reversals * (1 + REVERSAL_ATTEMPTS)
    assert said(rows(run)[scenario]) == (NOT_APPLICABLE, MISSED_REVERSAL)
    assert is_put_back(kernel)


def test_a_reversal_that_succeeds_is_not_tried_again(kernel):
    def only_the_third_load_has_two_processors():
        kernel.processors = 2 if kernel.calls.count("load fixes_2") == 2 else 1

    kernel.meanwhile["load fixes_2"] = only_the_third_load_has_two_processors
    run = a_run(kernel, older=None)
    run.run()
    assert rows(run)[REVERSED].outcome == PASSED
    assert kernel.calls.count("load fixes_2") == 3


def test_the_log_tells_a_reversal_from_a_transition_that_ended_before(kernel):
    kernel.meanwhile["disable fixes_2"] = lambda: kernel.end("fixes_2")
    run = a_run(kernel, older=None)
    run.run()
    assert said(rows(run)[REVERSED]) == (NOT_APPLICABLE, MISSED_REVERSAL)


def test_a_transition_that_has_ended_needs_no_log_to_be_told(kernel):
    kernel.processors = 1
    kernel.new_log_lines = lambda: None
    run = a_run(kernel, older=None)
    run.run()
    assert said(rows(run)[REVERSED]) == (NOT_APPLICABLE, MISSED_REVERSAL)


def test_without_a_log_no_reversal_is_believed(kernel):
    kernel.new_log_lines = lambda: None
    run = a_run(kernel)
    run.run()
    for scenario in (REVERSED, REPLACEMENT_REVERSED):
        assert said(rows(run)[scenario]) == (
            NOT_APPLICABLE,
            "whether the transition was reversed can't be told without /dev/kmsg.",
        )


def test_a_stalled_transition_is_reversed_and_the_row_says_so(kernel):
    kernel.stalls.add("fixes_2")
    run = a_run(kernel, older=None, timeout=0.01)
    run.run()
    assert kernel.calls[:3] == ["load fixes_2", "disable fixes_2", "remove fixes_2"]
    assert said(rows(run)[MODIFIED]) == (
        NOT_APPLICABLE,
        "fixes_2 could not be enabled: its transition did not end within 0.01 seconds, blocked by "
        "nfsd[7]; it was reversed.",
    )
    assert run.seen.disabled is None
    assert rows(run)[REVERSED].outcome == PASSED
    assert is_put_back(kernel)


def test_a_stall_while_it_is_disabled_is_named_with_the_tasks_that_block_it(kernel):
    kernel.meanwhile["disable fixes_2"] = lambda: kernel.stalls.add("fixes_2")
    run = a_run(kernel, timeout=0.01)
    stalled = "fixes_2 could not be disabled within 0.01 seconds, blocked by nfsd[7]."
    with pytest.raises(ConformanceError) as error:
        run.run()
    assert str(error.value) == "The board could not be put back: %s Reboot it." % stalled
    assert said(rows(run)[RESTORED]) == (FAILED, stalled)


def test_a_livepatch_that_fails_after_pre_patch_is_judged_by_that_and_loaded_once(kernel):
    kernel.refuses["load fixes_2"] = errno.ENOMEM
    kernel.says["load fixes_2"] = ["pre-patch callback failed for object 'vmlinux'", FAILED_LATE]
    run = a_run(kernel)
    run.run()
    assert kernel.calls == ["load fixes_2"]
    found = rows(run)
    assert found[MODIFIED].outcome == FAILED
    assert "the kernel said ENOMEM" in found[MODIFIED].reason
    assert "its pre_patch() callback for vmlinux failed" in found[MODIFIED].reason
    assert said(found[CLEANED_UP]) == (PASSED, "as before.")


def test_the_kernel_may_enable_the_failing_copy_which_is_then_disabled(kernel):
    kernel.takes_failing_copy = True
    run = a_run(kernel, older=None)
    run.run()
    assert kernel.calls[-3:] == ["load failing copy", "disable fixes_2", "remove fixes_2"]
    assert said(rows(run)[CLEANED_UP]) == (
        NOT_APPLICABLE,
        "the kernel enabled fixes_2 in spite of a function named jiffies.",
    )


def test_without_a_failing_copy_no_error_is_brought_about(kernel):
    run = a_run(kernel, failing_copy=None)
    run.run()
    assert "load failing copy" not in kernel.calls
    assert rows(run)[CLEANED_UP].outcome == NOT_APPLICABLE
    assert "no error can be brought about" in rows(run)[CLEANED_UP].reason
    assert rows(run)[REPLACEMENT_REVERSED].outcome == PASSED


def test_a_board_with_a_livepatch_is_refused_untouched(kernel):
    kernel.install(OLDER)
    run = a_run(kernel)
    with pytest.raises(ConformanceError, match="fixes_1 is installed on this board"):
        run.run()
    assert kernel.calls == []
    assert [patch.name for patch in kernel.patches] == ["fixes_1"]
    assert run.seen.enabled is None


@pytest.mark.parametrize(
    ("board", "subjects", "reason"),
    [
        (
            {"facts": {"system_states": False}},
            {},
            "does not track system states; Linux 5.5 and later do.",
        ),
        ({}, {"older": NEWER}, "both livepatches have the name fixes_2"),
        ({}, {"older": NEWER, "newer": OLDER}, "system state 1 is at version 2"),
        ({}, {"newer": replace(NEWER, arch="riscv64")}, "fixes_2 refused: the file is built for"),
        ({"ftrace": False}, {}, "kernel.ftrace_enabled is 0 on this board"),
        ({"unable": "there is no ctypes."}, {}, "there is no ctypes."),
        (
            {"modules": ["fixes_2"], "not_livepatches": ("fixes_2",)},
            {},
            "a module of the name fixes_2 is loaded, and it is not a livepatch",
        ),
    ],
)
def test_what_can_only_fail_is_refused_untouched(kernel, board, subjects, reason):
    vars(kernel).update(board)
    with pytest.raises(ConformanceError) as error:
        a_run(kernel, **subjects).run()
    assert reason in str(error.value)
    assert kernel.calls == []


def test_a_module_that_an_earlier_run_left_is_removed_first(kernel):
    kernel.modules.append("fixes_1")
    a_run(kernel).run()
    assert kernel.calls[:2] == ["remove fixes_1", "load fixes_2"]
    assert is_put_back(kernel)


def test_a_module_that_stays_is_refused(kernel):
    kernel.modules.append("fixes_1")
    kernel.refuses["remove fixes_1"] = errno.EWOULDBLOCK
    with pytest.raises(ConformanceError, match="the module fixes_1, whose livepatch is disabled"):
        a_run(kernel).run()
    assert kernel.calls == ["remove fixes_1"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("cat", "/proc/sys/kernel/random/uuid"), "the probe p shows another output each time"),
        (("cat", "/lost"), "the probe p ended with status 1: cat: /lost"),
    ],
)
def test_a_probe_that_cannot_be_compared_is_refused_untouched(kernel, command, reason):
    run = a_run(kernel)
    run.probes = [Probe("p", command)]
    with pytest.raises(ConformanceError) as error:
        run.run()
    assert reason in str(error.value)
    assert str(error.value).endswith("Nothing was loaded.")
    assert kernel.calls == []


def test_a_probe_that_fails_while_a_livepatch_is_enabled_is_an_observation(kernel):
    run = a_run(kernel, older=None)
    run.probes = [Probe("printk", ("grep", ORIGINAL, str(kernel.printk)))]
    run.run()
    assert said(rows(run)[MODIFIED]) == (
        FAILED,
        "the probe printk fails while fixes_2 is enabled.",
    )


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Those of a run that nothing comes in between."""
    kernel = Kernel(tmp_path_factory.mktemp("calls") / "printk")
    a_run(kernel).run()
    return kernel.calls


@pytest.mark.parametrize(
    ("happening", "error", "message"),
    [
        (interrupt, ConformanceError, "the run was interrupted by SIGTERM; the board was put back"),
        (break_down, RuntimeError, "something that nobody thought of"),
    ],
)
def test_the_board_is_put_back_wherever_a_run_breaks_off(
    tmp_path, calls, happening, error, message
):
    for number in range(len(calls)):
        kernel = Kernel(tmp_path / "printk")
        kernel.meanwhile = dict.fromkeys(calls, in_turn(*[nothing] * number, happening))
        run = a_run(kernel, probes=False)
        with pytest.raises(error, match=message):
            run.run()
        assert kernel.calls[:number] == calls[:number]
        assert is_put_back(kernel)


def test_no_signal_comes_between_what_ended_a_run_and_the_putting_back(tmp_path):
    def interrupt_at(number):
        """Interrupt a run that breaks down at the line of that number; whether it has so many."""
        passed = 0

        def trace(frame, event, _arg):
            nonlocal passed
            if frame.f_code.co_name not in ("run", "_signals", "__enter__", "__exit__"):
                return None
            passed += event == "line"
            if passed == number and event == "line":
                interrupt()
            return trace

        kernel = Kernel(tmp_path / "printk")
        kernel.meanwhile["disable fixes_2"] = in_turn(break_down, interrupt)
        others = sys.gettrace()
        sys.settrace(trace)
        try:
            with suppress(ConformanceError, RuntimeError):
                a_run(kernel, probes=False).run()
        finally:
            sys.settrace(others)
        assert is_put_back(kernel)
        return passed >= number

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert all(map(interrupt_at, range(1, 10)))
        assert not all(map(interrupt_at, range(10, 1000)))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_interrupts_the_putting_back(kernel):
    kernel.meanwhile["disable fixes_2"] = interrupt
    with pytest.raises(ConformanceError, match="interrupted by SIGTERM"):
        a_run(kernel).run()
    assert kernel.calls == ["load fixes_2", "disable fixes_2", "remove fixes_2"]
    assert is_put_back(kernel)


def test_what_was_observed_before_an_interrupt_is_kept(kernel):
    kernel.meanwhile["load failing copy"] = interrupt
    run = a_run(kernel)
    with pytest.raises(ConformanceError):
        run.run()
    assert rows(run)[REVERSED].outcome == PASSED
    assert rows(run)[CLEANED_UP].reason.startswith("not reached")
    assert not run.changed


def test_afterwards_a_signal_does_what_it_did_before(kernel):
    before = signal.getsignal(signal.SIGTERM)
    kernel.meanwhile["load fixes_1"] = interrupt
    with pytest.raises(ConformanceError):
        a_run(kernel).run()
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back(kernel):
    forced = {"remove fixes_2": errno.EWOULDBLOCK}
    kernel.meanwhile["load fixes_1"] = lambda: kernel.refuses.update(forced)
    with pytest.raises(ConformanceError) as error:
        a_run(kernel).run()
    assert str(error.value) == (
        "The board could not be put back: fixes_2 could not be disabled and unloaded: the kernel "
        "said no. Reboot it."
    )
    assert kernel.modules == ["fixes_2"]


@pytest.mark.parametrize(("original", "changed"), [(ORIGINAL, False), ("5 4 1 7", True)])
def test_whether_the_system_state_is_left_changed_is_read_after_the_putting_back(
    kernel, original, changed
):
    kernel.meanwhile["load fixes_2"] = lambda: setattr(kernel, "original", original)
    kernel.meanwhile["disable fixes_2"] = interrupt
    run = a_run(kernel)
    with pytest.raises(ConformanceError):
        run.run()
    assert run.changed == changed
