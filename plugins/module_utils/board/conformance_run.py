# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes a board that is set aside through the seed document's scenarios, and puts it back.

Runs on the board as root, standard library only.  conformance decides what that
proves.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import probe, sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.probe import (
    Probe,
    ProbeError,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import (
    Kernel,
    LoadError,
    TransitionResult,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance import is_cumulative
from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance_evidence import (
    DONE,
    MISSED,
    REFUSED,
    STALLED,
    Observation,
    Observations,
    Reading,
    changed_probes,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import SYMBOL
from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    LOAD,
    Step,
    board_after,
)

REVERSAL_ATTEMPTS = 5
MISSED_REVERSAL = (
    "the transition ended before it could be reversed, %d times; use a board with two processors "
    "or more." % REVERSAL_ATTEMPTS
)


class ConformanceError(Exception):
    """The scenarios could not be run, or the board could not be put back; one sentence says why."""


class _NotDone(Exception):
    """What was to be done did not come about: an observation's outcome and its reason."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class _Stuck(Exception):
    """The board is not as the next scenario needs it; the observations tell why."""


@dataclass(frozen=True)
class Subject:
    """A livepatch that is taken through the scenarios.

    image: the module's bytes, as the kernel takes them; failing_copy: the bytes of
    a copy that fails late, None where there can't be one.
    """

    file: LivepatchFile
    image: bytes
    failing_copy: bytes | None = None

    @property
    def name(self) -> str:
        return self.file.livepatch.name


class ConformanceRun:
    """One run; `seen` and `states_source` tell what was observed, also after an exception.

    probes: the commands that show the system state; timeout: seconds for each
    transition.  The caller holds the store's lock.
    """

    def __init__(
        self,
        kernel: Kernel,
        newer: Subject,
        older: Subject | None,
        probes: Sequence[Probe],
        timeout: float,
    ) -> None:
        self.kernel = kernel
        self.newer = newer
        self.older = older
        self.probes = probes
        self.timeout = timeout
        self.seen = Observations()
        self.states_source = "kernel"
        self.original = self.last = Reading()
        # The youngest first, the order in which they can go.
        self._names = [subject.name for subject in (newer, older) if subject is not None]
        self._said_before = 0

    def run(self) -> None:
        """Bring about the scenarios, and put the board back whatever happens.

        Raises ConformanceError: the board was not touched, the run was interrupted,
        or something remains on the board.
        """
        self._refuse(self.kernel.read())
        self.original = self.last = self._read_twice()
        # The outer one makes sure that no signal comes between the scenarios and the putting back.
        with _signals(signal.SIG_IGN):
            try:
                with _signals(_interrupted), suppress(_Stuck):
                    self._alone()
                    self._replacement()
            finally:
                try:
                    self._put_back()
                finally:
                    self.last = self._read()

    @property
    def changed(self) -> bool:
        """Whether the system state is left changed, as far as the probes show it."""
        return bool(changed_probes(self.original, self.last))

    def _refuse(self, board: Board) -> None:
        """Raise ConformanceError unless the board is set aside and the gate lets both in."""
        if board.patches:
            raise ConformanceError(
                "%s is installed on this board; the scenarios need a board that is set aside for "
                "them, so disable it first, or choose another board."
                % " and ".join(patch.name for patch in board.patches)
            )
        if board.supported and not board.system_states:
            raise ConformanceError(
                "the kernel %s does not track system states; Linux 5.5 and later do."
                % board.kernel_release
            )
        self._gate(self.newer, board)
        if self.older is not None:
            if self.older.name == self.newer.name:
                raise ConformanceError(
                    "both livepatches have the name %s, and the kernel can't hold two modules of "
                    "one name; give each release a name of its own." % self.newer.name
                )
            self._gate(self.older, board)
            loaded = board_after([Step(LOAD, self.older.file.livepatch)], board)
            self._gate(self.newer, loaded)
        unable = self.kernel.why_unable()
        if unable is not None:
            raise ConformanceError(unable)
        if not self.kernel.ftrace_enabled():
            raise ConformanceError(
                "kernel.ftrace_enabled is 0 on this board, so that no livepatch can be enabled; "
                "set it to 1."
            )
        for name in self._names:
            if name in board.leftover:
                self._remove_leftover(name)
            elif self.kernel.module_loaded(name):
                raise ConformanceError(
                    "a module of the name %s is loaded, and it is not a livepatch; remove it first."
                    % name
                )

    @staticmethod
    def _gate(subject: Subject, board: Board) -> None:
        decision = gate(subject.file, board)
        if not decision.allowed:
            raise ConformanceError(decision.refusal(subject.name))

    def _remove_leftover(self, name: str) -> None:
        try:
            self.kernel.remove(name)
        except OSError as error:
            raise ConformanceError(
                "the module %s, whose livepatch is disabled, could not be unloaded: the kernel "
                "said %s. Reboot the board." % (name, error.strerror)
            ) from error

    def _read_twice(self) -> Reading:
        try:
            first, second = (self._read(must_succeed=True) for _time in range(2))
        except ProbeError as error:
            raise ConformanceError("%s Nothing was loaded." % error) from error
        unstable = changed_probes(first, second)
        if unstable:
            raise ConformanceError(
                "the probe %s shows another output each time, so that nothing can be compared; "
                "choose a command whose output is the system state alone. Nothing was loaded."
                % " and ".join(unstable)
            )
        return second

    def _alone(self) -> None:
        """The scenarios in which nothing is installed before."""
        name = self.newer.name
        self.seen.enabled = enabled = self._enable(self.newer)
        if enabled.outcome == REFUSED:
            raise _Stuck
        if enabled.outcome == DONE:
            self.seen.disabled = self._do("disable %s" % name, lambda: self._unload(name))
        self._undo()
        for _attempt in range(REVERSAL_ATTEMPTS):
            self.seen.reversed = self._reverse()
            self._undo()
            if self.seen.reversed.outcome != MISSED:
                break
        self.seen.load_failed = self._do("let the load of %s fail" % name, self._fail_to_load)
        self._undo()

    def _replacement(self) -> None:
        """The scenarios in which the newer one replaces the older one."""
        older = self.older
        if older is None or not is_cumulative(self.newer.file.livepatch, self.seen.enabled):
            return
        self.seen.older_enabled = self._enable(older)
        if self.seen.older_enabled.outcome != DONE:
            raise _Stuck
        self.seen.replaced = self._enable(self.newer)
        if self.seen.replaced.outcome == DONE:
            what = "disable %s, which has replaced %s" % (self.newer.name, older.name)
            self.seen.replacement_disabled = self._do(what, self._unload_all)
        self._undo()
        for _attempt in range(REVERSAL_ATTEMPTS):
            self.seen.older_again = self._enable(older)
            if self.seen.older_again.outcome != DONE:
                raise _Stuck
            self.seen.replacement_reversed = reversal = self._reverse()
            if reversal.outcome == DONE:
                what = "disable %s, which was put back" % older.name
                self.seen.older_disabled = self._do(what, self._unload_all)
            self._undo()
            if reversal.outcome != MISSED:
                break

    def _enable(self, subject: Subject) -> Observation:
        return self._do("enable %s" % subject.name, lambda: self._load(subject))

    def _reverse(self) -> Observation:
        what = "enable %s and reverse its transition" % self.newer.name
        return self._do(what, self._load_and_reverse)

    def _do(self, what: str, act: Callable[[], None]) -> Observation:
        self._said_before = len(self.kernel.read_log() or ())
        before = self.last
        outcome, reason = DONE, ""
        try:
            act()
        except _NotDone as error:
            outcome, reason = error.outcome, error.reason
        self.last = self._read()
        log = self._log()
        said = None if log is None else tuple(log)
        return Observation(what, outcome, before, self.last, reason, said)

    def _load(self, subject: Subject) -> None:
        self._init(subject)
        try:
            result = self.kernel.finish(subject.name, "patching", self.timeout, "reverse")
        except OSError as error:
            raise _NotDone(
                STALLED, "its stalled transition could not be reversed: %s." % error.strerror
            ) from error
        if result.outcome == "completed":
            return
        then = "it was reversed" if result.outcome == "reversed" else "nor did its reversal"
        raise _NotDone(
            STALLED,
            "its transition did not end within %g seconds%s; %s."
            % (self.timeout, _blocked_by(result), then),
        )

    def _init(self, subject: Subject) -> None:
        try:
            self.kernel.load(subject.image)
        except LoadError as why:
            raise _NotDone(REFUSED, str(why)) from why

    def _load_and_reverse(self) -> None:
        """Reverse its transition before it ends, which takes a second processor.

        The kernel's first attempt to switch all tasks fails where another processor
        runs one, and the next is a second later: klp_try_complete_transition() in
        kernel/livepatch/transition.c.  Where the transition had ended nevertheless, our
        writing has disabled the livepatch, and the kernel's log tells that.
        """
        name = self.newer.name
        self._init(self.newer)
        if self.kernel.ended(name):
            raise _NotDone(MISSED, MISSED_REVERSAL)
        try:
            self.kernel.set_enabled(name, False)
        except OSError as error:
            raise _NotDone(MISSED, MISSED_REVERSAL) from error
        if not self.kernel.wait_for_end(name, self.timeout):
            raise _NotDone(
                STALLED,
                "the reversal of its transition did not end within %g seconds." % self.timeout,
            )
        log = self._log()
        if log is None:
            raise _NotDone(
                MISSED, "whether the transition was reversed can't be told without /dev/kmsg."
            )
        if any("'%s': patching complete" % name in line for line in log):
            raise _NotDone(MISSED, MISSED_REVERSAL)
        self._unload(name)

    def _fail_to_load(self) -> None:
        name = self.newer.name
        if self.newer.failing_copy is None:
            raise _NotDone(
                MISSED,
                "no error can be brought about: %s patches no function of vmlinux whose name is "
                "as long as %s, or its file does not tell which." % (name, SYMBOL),
            )
        try:
            self.kernel.load(self.newer.failing_copy)
        except LoadError:
            return
        raise _NotDone(
            MISSED, "the kernel enabled %s in spite of a function named %s." % (name, SYMBOL)
        )

    def _unload_all(self) -> None:
        for name in self._names:
            self._unload(name)

    def _unload(self, name: str) -> None:
        """Disable the livepatch, or reverse its transition, and unload its module."""
        kernel = self.kernel
        try:
            if kernel.enabled(name):
                kernel.set_enabled(name, False)
            result = kernel.finish(name, "unpatching", self.timeout, "leave")
            if result.outcome != "completed":
                raise _NotDone(
                    STALLED,
                    "%s could not be disabled within %g seconds%s."
                    % (name, self.timeout, _blocked_by(result)),
                )
            kernel.remove(name)
        except OSError as error:
            raise _NotDone(
                REFUSED,
                "%s could not be disabled and unloaded: the kernel said %s."
                % (name, error.strerror),
            ) from error

    def _undo(self) -> None:
        """Make the board what every scenario starts from: nothing installed, nothing changed.

        On a system state that is changed already, what a scenario breaks could look
        unchanged.
        """
        try:
            self._unload_all()
        except _NotDone as error:
            raise _Stuck from error
        self.last = self._read()
        if self.changed:
            raise _Stuck

    def _put_back(self) -> None:
        """Unload both livepatches.  Raises ConformanceError, which says what remains."""
        remains = []
        for name in self._names:
            try:
                self._unload(name)
            except _NotDone as error:
                remains.append(error.reason)
        if remains:
            raise ConformanceError(
                "The board could not be put back: %s Reboot it." % " ".join(remains)
            )

    def _read(self, must_succeed: bool = False) -> Reading:
        """Read the board and the probes.  Raises ProbeError where they must succeed.

        Elsewhere a probe that fails shows something, too.
        """
        board = self.kernel.read()
        if board.patches and self.states_source != "unknown":
            self.states_source = board.states_source
        outputs, unread = [], []
        for one in self.probes:
            try:
                outputs.append((one.name, probe.read(one)))
            except ProbeError as error:
                if must_succeed:
                    raise
                outputs.append((one.name, str(error)))
                unread.append(one.name)
        return Reading(
            tuple(outputs),
            board.patches,
            board.states_source,
            tuple(name for name in self._names if self.kernel.module_loaded(name)),
            tuple(unread),
        )

    def _log(self) -> list[str] | None:
        """What the kernel has printed since the last observation began."""
        log = self.kernel.read_log()
        return None if log is None else log[self._said_before :]


def _blocked_by(result: TransitionResult) -> str:
    return ", blocked by %s" % sysfs.task_names(result.blocking) if result.blocking else ""


def _interrupted(number: int, _frame: Any) -> None:
    # One is enough: another could come while this one is on its way to the putting back.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise ConformanceError(
        "the run was interrupted by %s; the board was put back." % signal.Signals(number).name
    )


_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextmanager
def _signals(handler: Any) -> Iterator[None]:
    """Let the handler have the signals that end a process; restore theirs afterwards."""
    before = [signal.signal(number, handler) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, old in zip(_SIGNALS, before):
            signal.signal(number, old)
