# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring one livepatch to enabled, disabled or absent: gather, gate, act, wait, verify.

Runs on the board, in one execution.  What it does besides deciding is told to
the caller: a Result, or a Failure with the same fields and one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs, transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import (
    loaded_with,
    read_board,
    remember,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import (
    KernelLog,
    TransitionResult,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import (
    Decision,
    check_transition,
    function_changes,
    gate,
    same_build,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    remember_stack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import (
    NoWayError,
    Step,
    shortest_way,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    Board,
    LivepatchFile,
    livepatch_to_json,
    system_states_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


@dataclass(frozen=True)
class Options:
    """The options of the module livepatch that say how, not what.

    goal: where several runs together go back to, as of history.record().
    """

    params: str = ""
    timeout: float = 60.0
    on_stall: str = "reverse"
    unknown_states: str = "refuse"
    allow_downgrade: bool = False
    check_mode: bool = False
    goal: tuple[Build, ...] | None = None


class Failure(Exception):
    """It was refused, or it went wrong: one sentence for the user."""


class Refused(Failure):
    """The gate said no, and the board was not touched."""


class ImagesNeeded(Exception):
    """The livepatch is to be loaded, and the caller has not given the module's bytes.

    builds: the build ids of what may have to be loaded again, should that fail.
    """

    def __init__(self, builds: Sequence[str]) -> None:
        super().__init__("images needed")
        self.builds = list(builds)


class Run:
    """One run against this board; its attributes tell what happened, also after a Failure.

    The caller holds the store's lock from here to the end of the run.
    """

    def __init__(self, store: BootStore, options: Options, files: Iterable[Livepatch] = ()) -> None:
        self.store = store
        self.options = options
        self.files = tuple(files)
        self.log = KernelLog()
        self.log_lines: list[str] = []
        self.decision: Decision | None = None
        self.transition = TransitionResult()
        self.disabled: list[str] = []
        self.restored = False
        self.warnings: list[str] = []
        self.before = self.after = self._read()

    def enable(
        self,
        candidate: LivepatchFile,
        image: bytes | None,
        images: Mapping[str, bytes] | None = None,
    ) -> None:
        """Load the candidate unless this build is enabled already.

        image: the module as the kernel takes it, uncompressed; images: those of
        what is installed, by build id, for the way back where something is
        disabled first and the load then fails.  Raises Failure, and ImagesNeeded
        where there is something to load and no image.
        """
        self._settle(candidate.livepatch)
        self._gate(candidate)
        if self.decision is None or not self.decision.steps:
            return
        if self.options.check_mode:
            disabled = _disabled_by(self.decision)
            self.after = _predict(self.after, disabled, candidate.livepatch, set())
            return
        installed = self.after.patches
        lost = _to_load_again(installed, _disabled_by(self.decision))
        if image is None or lost and images is None:
            raise ImagesNeeded([patch.build_id for patch in lost if patch.build_id])
        self._check_able()
        self._warn_of(lost, images or {})
        # A disabled livepatch can't be enabled again; its module must be loaded anew.
        self._remove_leftover(candidate.livepatch.name)
        try:
            for step in self.decision.steps:
                action, _space, name = step.partition(" ")
                if action == "disable":
                    self._disable(name)
                    self.disabled.append(name)
                else:
                    self._load(candidate.livepatch, image, self.options.params)
        except Exception as error:
            failure = error if isinstance(error, Failure) else _unexpected(error)
            if self.transition.outcome == "stalled":
                how_it_is = self._compared_with_before() if self.disabled else ""
            else:
                how_it_is = self._go_back(installed, images or {})
            raise Failure(("%s %s" % (failure, how_it_is)).rstrip()) from error
        self._verify_loaded(candidate.livepatch)

    def disable(self, name: str, remove: bool, build: Livepatch | None = None) -> None:
        """Disable the livepatch and, to `remove`, unload its module too.

        build: what the file says, where the caller named one.  Raises Failure.
        """
        in_transition = self.before.transition
        if in_transition is None or in_transition.patch != name:
            self._settle(None)
        installed = _find(self.after, name)
        steps = []
        if remove and name in self.after.forced:
            raise Refused(
                "%s was not removed: the transition that took it out of use was forced, so that a "
                "task may still be in its code; its module stays loaded until the next reboot."
                % name
            )
        if installed is not None:
            if build is not None and not same_build(installed, build):
                raise Refused(
                    "%s was not touched: the installed livepatch of that name is another build "
                    "(build id %s there, %s in the file); use name instead of src to take "
                    "whatever build is there." % (name, installed.build_id, build.build_id)
                )
            steps.append("disable %s" % name)
        if remove and (installed is not None or name in self.after.leftover):
            if self.after.modules_disabled:
                raise Refused(
                    "%s was not removed: kernel.modules_disabled is 1 on the board, so that no "
                    "module can be unloaded until it is rebooted; state: disabled is still "
                    "possible." % name
                )
            steps.append("remove %s" % name)
            self._check_able()
        elif remove and sysfs.module_loaded(name):
            raise Refused(
                "%s was not removed: a module of that name is loaded, but it is not a "
                "livepatch; use community.general.modprobe for other modules." % name
            )
        self._decide_to_disable(name, installed, steps)
        if self.options.check_mode:
            self.after = _predict(self.after, {name}, None, {name} if remove else set())
            return
        for step in steps:
            if step.startswith("remove"):
                self._remove(name)
                continue
            try:
                self._disable(name)
            except Failure as failure:
                if self.transition.outcome == "stalled":
                    raise
                raise Failure("%s %s" % (failure, self._compared_with_before())) from failure
        if steps:
            self.after = self._read()

    def remember(self, failed: bool) -> None:
        """Note in the history what this run left installed.

        Not what is still in transition, which a later run notes, and not that a
        run that failed left nothing: the way back leads to what was there.
        """
        done = self.changed or self.transition.outcome in ("completed", "forced")
        unclear = self.after.transition is not None or failed and not self.after.patches
        if self.options.check_mode or not done or unclear:
            return
        known = {patch.name: loaded_with(self.store, patch) for patch in self.after.patches}
        params = {name: given for name, given in known.items() if given is not None}
        remember_stack(self.store, self.before, self.after, params, self.options.goal)

    @property
    def changed(self) -> bool:
        """Whether the board is, or in check mode would be, another than before."""
        return bool(_identity(self.before) != _identity(self.after))

    def to_json(self) -> dict[str, Any]:
        """What the module livepatch returns."""
        before, after = _snapshot(self.before), _snapshot(self.after)
        return {
            "changed": self.changed,
            "decision": None if self.decision is None else self.decision.to_json(),
            "transition": self.transition.to_json(),
            "restored": self.restored,
            "before": before,
            "after": after,
            "states_source": self.after.states_source,
            "kernel_log": self._kernel_log(),
            "diff": {"before": before, "after": after},
            "warnings": [*self.warnings, *self._pinned()],
        }

    def _read(self) -> Board:
        return read_board(self.store, self.files)

    def _kernel_log(self) -> list[str] | None:
        lines = self.log.lines()
        if lines is None:
            return None
        self.log_lines += lines
        return list(self.log_lines)

    def _settle(self, patch: Livepatch | None) -> None:
        """Let a transition that we found under way end, whosever it is."""
        found = self.before.transition
        if found is None:
            return
        installed = _find(self.before, found.patch)
        ours = (
            patch is not None
            and installed is not None
            and installed.name == patch.name
            and same_build(installed, patch)
        )
        if ours and found.direction == "patching" and not self.options.check_mode:
            self._finish(found.patch, "patching")
        elif not transition.wait_until(lambda: transition.ended(found.patch), self.options.timeout):
            blocking = tuple(sysfs.blocking_tasks(found.direction))
            self.transition = TransitionResult(
                "stalled", found.direction, self.options.timeout, blocking
            )
        self.after = self._read()
        if self.transition.outcome != "forced":
            # What ended by itself is no change of ours.
            self.before = self.after

    def _gate(self, candidate: LivepatchFile) -> None:
        self.decision = gate(
            candidate,
            self.after,
            params=self.options.params,
            unknown_states=self.options.unknown_states,
            allow_downgrade=self.options.allow_downgrade,
        )
        if not self.decision.allowed:
            raise Refused(self.decision.refusal(candidate.livepatch.name) + self._blocked_by())

    def _decide_to_disable(self, name: str, installed: Livepatch | None, steps: list[str]) -> None:
        # Its own transition can be reversed, or waited for.
        own = self.after.transition is not None and self.after.transition.patch == name
        checks = [] if installed is None or own else [check_transition(self.after)]
        allowed = all(check.outcome == "pass" for check in checks)
        self.decision = Decision(
            allowed,
            tuple(steps) if allowed else (),
            tuple(checks),
            (),
            function_changes(None, self.after.patches, [name]),
        )
        if not allowed:
            raise Refused(self.decision.refusal("disabling %s" % name) + self._blocked_by())

    def _load(self, patch: Livepatch, image: bytes, params: str) -> None:
        said_before = len(self._kernel_log() or ())
        try:
            transition.load(image, params)
        except OSError as error:
            self.after = self._read()
            why = transition.why_load_failed(error, (self._kernel_log() or [])[said_before:])
            raise Failure("%s could not be loaded: %s" % (patch.name, why)) from error
        remember(self.store, replace(patch, build_id=sysfs.module_build_id(patch.name)), params)
        self._finish(patch.name, "patching")

    def _disable(self, name: str) -> None:
        installed = _find(self.after, name)
        try:
            # Not enabled, but in transition: it is being disabled already.
            if installed is None or installed.enabled:
                transition.set_enabled(name, False)
        except OSError as error:
            self.after = self._read()
            raise Failure(
                "%s could not be disabled: the kernel said %s." % (name, error.strerror)
            ) from error
        self._finish(name, "unpatching")

    def _remove(self, name: str) -> None:
        try:
            transition.remove(name)
        except OSError as error:
            self.after = self._read()
            raise Failure(
                "the module %s could not be unloaded: the kernel said %s. A livepatch that was "
                "part of a forced transition stays loaded until the next reboot."
                % (name, error.strerror)
            ) from error

    def _check_able(self) -> None:
        why = transition.why_unable()
        if why is not None:
            raise Refused("nothing was touched: %s" % why)

    def _remove_leftover(self, name: str) -> None:
        if name in self.after.leftover:
            self._remove(name)

    def _go_back(self, installed: Sequence[Livepatch], images: Mapping[str, bytes]) -> str:
        """Load again what was disabled for a load that failed; how that went, in one sentence."""
        self.after = self._read()
        if not self.disabled:
            return self._compared_with_before()
        failed = self.transition
        self.transition = TransitionResult()
        try:
            self._go(self._way_back(installed, images), images)
        except (Failure, NoWayError) as why:
            return "%s It was not loaded again by itself: %s" % (self._compared_with_before(), why)
        finally:
            if self.transition.outcome != "stalled":
                self.transition = failed
        self.restored = True
        return "What was disabled for it was loaded again; what was installed before is installed."

    def _way_back(
        self, installed: Sequence[Livepatch], images: Mapping[str, bytes]
    ) -> Sequence[Step]:
        left = [patch.name for patch in installed if patch.name not in self.disabled]
        if [patch.name for patch in self.after.patches] != left:
            raise Failure("somebody else has changed meanwhile what is installed.")
        way = shortest_way(self.after.patches, installed)
        loads = [step.patch for step in way if step.action == "load"]
        missing = [patch.name for patch in loads if patch.build_id not in images]
        if missing:
            raise Failure("the file of %s was not found." % " and ".join(missing))
        return way

    def _go(self, way: Sequence[Step], images: Mapping[str, bytes]) -> None:
        for step in way:
            patch = step.patch
            if step.action == "disable":
                self._disable(patch.name)
            else:
                self._remove_leftover(patch.name)
                params = loaded_with(self.store, patch)
                self._load(patch, images[str(patch.build_id)], params or "")
                if params is None:
                    self.warnings.append(
                        "The parameters of %s are not known, since somebody else had loaded it; "
                        "it was loaded again without any." % patch.name
                    )
            self.after = self._read()

    def _warn_of(self, lost: Sequence[Livepatch], images: Mapping[str, bytes]) -> None:
        missing = [patch.name for patch in lost if patch.build_id not in images]
        if missing:
            self.warnings.append(
                "The file of %s was found neither beside src nor among the board's modules: had "
                "the load failed, it could not have been loaded again." % " and ".join(missing)
            )

    def _pinned(self) -> list[str]:
        return [
            "The transition was forced, so that the module %s can't be removed until the next "
            "reboot." % name
            for name in self.after.forced
            if name not in self.before.forced
        ]

    def _finish(self, name: str, direction: str) -> None:
        options = self.options
        try:
            result = transition.finish(name, direction, options.timeout, options.on_stall)
        except OSError as error:
            self.after = self._read()
            raise Failure(
                "the stalled transition of %s could not be ended: the kernel said %s."
                % (name, error.strerror)
            ) from error
        self.transition = result
        if result.outcome in ("completed", "forced"):
            transition.wait_until(lambda: not sysfs.leaving(), transition.RELEASE_TIMEOUT)
            return
        if result.outcome == "reversed" and direction == "patching":
            self._remove(name)
        self.after = self._read()
        how = "was reversed."
        if result.outcome == "stalled":
            how = "is still under way; run again to wait on."
            if options.on_stall == "reverse":
                how = "was reversed, which has not ended either; run again to wait on."
        raise Failure(
            "the transition of %s (%s) did not end within %g seconds and %s%s"
            % (name, direction, options.timeout, how, self._blocked_by())
        )

    def _compared_with_before(self) -> str:
        before, after = _shown(self.before), _shown(self.after)
        if before == after:
            return "What was installed before is installed as it was."
        installed = [patch.name for patch in self.after.patches]
        gone = [patch.name for patch in self.before.patches if patch.name not in installed]
        return "Installed now: %s; before: %s.%s" % (
            ", ".join(after) or "nothing",
            ", ".join(before) or "nothing",
            " Load %s again." % " and ".join(gone) if gone else "",
        )

    def _blocked_by(self) -> str:
        tasks = self.transition.blocking
        return " Blocked by %s." % sysfs.task_names(tasks) if tasks else ""

    def _verify_loaded(self, patch: Livepatch) -> None:
        self.after = self._read()
        loaded = _find(self.after, patch.name)
        if loaded is None or not loaded.enabled or loaded.transition:
            raise Failure(
                "%s was loaded, but the kernel does not show it enabled afterwards; look at "
                "kernel_log." % patch.name
            )
        if same_build(loaded, patch) is False:
            raise Failure(
                "%s was loaded, but the kernel shows other system states or another build id than "
                "the file; its code must have changed them." % patch.name
            )
        disabled = _disabled_by(self.decision)
        stays = [p.name for p in self.before.patches if p.name not in disabled]
        expected = [patch.name] if loaded.replace else [*stays, patch.name]
        shown = [p.name for p in self.after.patches]
        if patch.replace is None or loaded.replace is None:
            return
        if loaded.replace != patch.replace and not self.options.params or shown != expected:
            raise Failure(
                "%s was loaded, but the kernel shows %s installed where %s was decided."
                % (patch.name, ", ".join(shown), ", ".join(expected))
            )


def _find(board: Board, name: str) -> Livepatch | None:
    return next((patch for patch in board.patches if patch.name == name), None)


def _shown(board: Board) -> list[str]:
    return [patch.name + (" (in transition)" * bool(patch.transition)) for patch in board.patches]


def _unexpected(error: Exception) -> Failure:
    return Failure("it ended with an error of its own (%s: %s)." % (type(error).__name__, error))


def _identity(board: Board) -> Any:
    """What counts as a change: data tokens and tasks don't."""
    return (
        [(p.name, p.build_id, p.enabled, p.transition) for p in board.patches],
        board.leftover,
    )


def _snapshot(board: Board) -> dict[str, Any]:
    return {
        "patches": [livepatch_to_json(patch) for patch in board.patches],
        "system_states": system_states_to_json(board.patches),
    }


def _disabled_by(decision: Decision | None) -> set[str]:
    steps = decision.steps if decision is not None else ()
    return {step.partition(" ")[2] for step in steps if step.startswith("disable ")}


def _to_load_again(installed: Sequence[Livepatch], disabled: set[str]) -> Sequence[Livepatch]:
    """What has to be loaded to have all of it again in its order: from the oldest disabled on."""
    names = [patch.name for patch in installed]
    first = min((names.index(name) for name in disabled), default=len(names))
    return installed[first:]


def _predict(
    board: Board, disabled: set[str], loaded: Livepatch | None, removed: set[str]
) -> Board:
    """The board after a run that is not made; a disabled or replaced module stays loaded."""
    if loaded is not None and loaded.replace is not False:
        disabled = {patch.name for patch in board.patches}
    patches = tuple(patch for patch in board.patches if patch.name not in disabled)
    if loaded is not None:
        removed = removed | {loaded.name}
        patches += (replace(loaded, enabled=True, transition=False),)
    gone = disabled & {patch.name for patch in board.patches}
    leftover = tuple(sorted((set(board.leftover) | gone) - removed))
    return replace(board, patches=patches, leftover=leftover)
