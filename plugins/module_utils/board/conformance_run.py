# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes a board that is set aside through the seed document's scenarios, and puts it back.

Runs on the board as root, standard library only.  What the steps prove is
decided in conformance.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Callable, Iterator, Mapping, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import (
    probe,
    sysfs,
    transition,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import read_board
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.probe import (
    Probe,
    ProbeError,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import (
    KernelLog,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance import (
    DONE,
    MISSED,
    REFUSED,
    STALLED,
    Observations,
    Reading,
    Step,
    changed_probes,
    is_cumulative,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import SYMBOL
from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import gate
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import Board, LivepatchFile

FTRACE_ENABLED = "/proc/sys/kernel/ftrace_enabled"
REVERSAL_ATTEMPTS = 5
MISSED_REVERSAL = (
    "the transition ended before it could be reversed, %d times; use a board with two processors "
    "or more." % REVERSAL_ATTEMPTS
)


class ConformanceError(Exception):
    """The scenarios could not be run, or the board not be put back: one sentence for the user."""


class _NotDone(Exception):
    """A step ended otherwise than it should: its outcome and the reason."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class _Stuck(Exception):
    """The board is not as the next scenario needs it; the steps tell why."""


class ConformanceRun:
    """One run; `seen` and `states_source` tell what was observed, also after an exception.

    images: the modules' bytes by name, as the kernel takes them; fails_late: those
    of the newer one with a LateError, where it can have one; timeout: seconds for
    each transition.  The caller holds the store's lock.
    """

    def __init__(
        self,
        store: BootStore,
        newer: LivepatchFile,
        older: LivepatchFile | None,
        images: Mapping[str, bytes],
        fails_late: bytes | None,
        probes: Sequence[Probe],
        timeout: float,
    ) -> None:
        self.store = store
        self.newer = newer
        self.older = older
        self.images = images
        self.fails_late = fails_late
        self.probes = probes
        self.timeout = timeout
        self.seen = Observations()
        self.states_source = "kernel"
        self.original = self.last = Reading()
        self._log = KernelLog()
        self._log_lines: list[str] | None = []
        # The youngest first, the order in which they can go.
        self._names = [file.livepatch.name for file in (newer, older) if file is not None]

    def run(self) -> None:
        """Make the steps, and put the board back whatever happens.

        Raises ConformanceError: nothing was touched, the run was interrupted, or
        something remains on the board.
        """
        self._refuse(read_board(self.store))
        self.original = self.last = self._read_twice()
        with _signals(_interrupted):
            try:
                with suppress(_Stuck):
                    self._alone()
                    self._replacement()
            finally:
                with _signals(signal.SIG_IGN):
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
            if self.older.livepatch.name == self.newer.livepatch.name:
                raise ConformanceError(
                    "both livepatches have the name %s, and the kernel can't hold two modules of "
                    "one name; give each release a name of its own." % self.newer.livepatch.name
                )
            self._gate(self.older, board)
            installed = replace(self.older.livepatch, enabled=True, transition=False)
            self._gate(self.newer, replace(board, patches=(installed,)))
        if sysfs.read_text(FTRACE_ENABLED) == "0":
            raise ConformanceError(
                "kernel.ftrace_enabled is 0 on this board, so that no livepatch can be enabled; "
                "set it to 1."
            )
        for name in self._names:
            if name in board.leftover:
                self._remove_leftover(name)
            elif sysfs.module_loaded(name):
                raise ConformanceError(
                    "a module of the name %s is loaded, and it is not a livepatch; remove it first."
                    % name
                )

    def _gate(self, file: LivepatchFile, board: Board) -> None:
        decision = gate(file, board)
        if not decision.allowed:
            raise ConformanceError(decision.refusal(file.livepatch.name))

    def _remove_leftover(self, name: str) -> None:
        try:
            transition.remove(name)
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
        name = self.newer.livepatch.name
        enabled = self._enable("enabled", self.newer)
        if enabled.outcome == REFUSED:
            raise _Stuck
        if enabled.outcome == DONE:
            self._step("disabled", "disable %s" % name, lambda: self._unload(name))
        self._undo()
        self._reversal("reversed", None)
        self._step("load_failed", "let the load of %s fail" % name, self._fail_to_load)
        self._undo()

    def _replacement(self) -> None:
        """Those in which the newer one replaces the older one."""
        if self.older is None or not is_cumulative(self.newer.livepatch, self.seen.enabled):
            return
        name = self.newer.livepatch.name
        if self._enable("older_enabled", self.older).outcome != DONE:
            raise _Stuck
        replaced = self._enable("replaced", self.newer)
        if replaced.outcome == DONE:
            what = "disable %s, which has replaced %s" % (name, self.older.livepatch.name)
            self._step("replacement_disabled", what, self._unload_all)
        self._undo()
        self._reversal("replacement_reversed", self.older)

    def _reversal(self, field: str, older: LivepatchFile | None) -> None:
        """Reverse the transition of the newer one, over the older one if there is one."""
        what = "enable %s and reverse its transition" % self.newer.livepatch.name
        for _attempt in range(REVERSAL_ATTEMPTS):
            if older is not None and self._enable("older_again", older).outcome != DONE:
                raise _Stuck
            outcome = self._step(field, what, self._load_and_reverse).outcome
            if older is not None and outcome == DONE:
                disable = "disable %s, which was put back" % older.livepatch.name
                self._step("older_disabled", disable, self._unload_all)
            self._undo()
            if outcome != MISSED:
                break

    def _enable(self, field: str, file: LivepatchFile) -> Step:
        return self._step(field, "enable %s" % file.livepatch.name, lambda: self._load(file))

    def _step(self, field: str, what: str, act: Callable[[], None]) -> Step:
        """Do it, and keep the step in that field of `seen`."""
        self._log.lines()
        before, self._log_lines = self.last, []
        outcome, reason = DONE, ""
        try:
            act()
        except _NotDone as error:
            outcome, reason = error.outcome, error.reason
        self.last = self._read()
        log = self._kernel_log()
        step = Step(what, outcome, before, self.last, reason, None if log is None else tuple(log))
        self.seen = replace(self.seen, **{field: step})
        return step

    def _load(self, file: LivepatchFile) -> None:
        name = file.livepatch.name
        self._init(name)
        try:
            result = transition.finish(name, "patching", self.timeout, "reverse")
        except OSError as error:
            raise _NotDone(
                STALLED, "its stalled transition could not be reversed: %s." % error.strerror
            ) from error
        if result.outcome == "completed":
            self._settle()
            return
        blocking = sysfs.task_names(result.blocking)
        raise _NotDone(
            STALLED,
            "its transition did not end within %g seconds%s."
            % (self.timeout, ", blocked by %s" % blocking if blocking else ""),
        )

    def _init(self, name: str) -> None:
        try:
            transition.load(self.images[name], "")
        except OSError as error:
            why = transition.why_load_failed(error, self._kernel_log())
            raise _NotDone(REFUSED, why) from error

    def _load_and_reverse(self) -> None:
        """The first attempt to switch all tasks fails where another processor runs one.

        The next is a second later: klp_try_complete_transition() in
        kernel/livepatch/transition.c.  A transition that had ended nevertheless is
        told by the kernel's log; our writing has then disabled the livepatch.
        """
        name = self.newer.livepatch.name
        self._init(name)
        if transition.ended(name):
            raise _NotDone(MISSED, MISSED_REVERSAL)
        try:
            transition.set_enabled(name, False)
        except OSError as error:
            raise _NotDone(MISSED, MISSED_REVERSAL) from error
        if not transition.wait_until(lambda: transition.ended(name), self.timeout):
            raise _NotDone(
                STALLED,
                "the reversal of its transition did not end within %g seconds." % self.timeout,
            )
        log = self._kernel_log()
        if log is None:
            raise _NotDone(
                MISSED, "whether the transition was reversed can't be told without /dev/kmsg."
            )
        if any("'%s': patching complete" % name in line for line in log):
            raise _NotDone(MISSED, MISSED_REVERSAL)
        self._unload(name)

    def _fail_to_load(self) -> None:
        name = self.newer.livepatch.name
        if self.fails_late is None:
            raise _NotDone(
                MISSED,
                "no error can be brought about: %s patches no function of vmlinux whose name is "
                "as long as %s, or its file does not tell which." % (name, SYMBOL),
            )
        try:
            transition.load(self.fails_late, "")
        except OSError:
            return
        self._unload(name)
        raise _NotDone(
            MISSED, "the kernel enabled %s in spite of a function named %s." % (name, SYMBOL)
        )

    def _unload_all(self) -> None:
        for name in self._names:
            self._unload(name)

    def _unload(self, name: str) -> None:
        """Disable the livepatch, or reverse its transition, and unload its module."""
        try:
            patch = sysfs.read_livepatch(name)
            if patch is not None and patch.enabled:
                transition.set_enabled(name, False)
            if not transition.wait_until(lambda: transition.ended(name), self.timeout):
                raise _NotDone(
                    STALLED,
                    "%s could not be disabled within %g seconds." % (name, self.timeout),
                )
            self._settle()
            transition.remove(name)
        except OSError as error:
            raise _NotDone(
                REFUSED,
                "%s could not be disabled and unloaded: the kernel said %s."
                % (name, error.strerror),
            ) from error

    def _undo(self) -> None:
        """Every scenario starts from the original system state, with nothing installed.

        On another, what it would break could look unchanged.
        """
        try:
            self._unload_all()
        except _NotDone as error:
            raise _Stuck from error
        self.last = self._read()
        if self.changed:
            raise _Stuck

    def _put_back(self) -> None:
        """Raises ConformanceError, which says what remains."""
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

    @staticmethod
    def _settle() -> None:
        transition.wait_until(lambda: not sysfs.leaving(), transition.RELEASE_TIMEOUT)

    def _read(self, must_succeed: bool = False) -> Reading:
        """A probe that fails while a livepatch is enabled shows something, too."""
        board = read_board(self.store)
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
            tuple(name for name in self._names if sysfs.module_loaded(name)),
            tuple(unread),
        )

    def _kernel_log(self) -> list[str] | None:
        lines = self._log.lines()
        if lines is None or self._log_lines is None:
            self._log_lines = None
        else:
            self._log_lines += lines
        return self._log_lines


def _interrupted(number: int, _frame: Any) -> None:
    # Nothing interrupts the putting back.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise ConformanceError(
        "the run was interrupted by %s; the board was put back." % signal.Signals(number).name
    )


_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextmanager
def _signals(handler: Any) -> Iterator[None]:
    """Have the signals that end a process handled so for a while."""
    before = [signal.signal(number, handler) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, old in zip(_SIGNALS, before):
            signal.signal(number, old)
