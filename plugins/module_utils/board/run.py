# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run on this board: gather, decide, act, wait, verify, and the way back where it fails.

What it does besides deciding is told to the caller: the attributes of Run, or a
Failure besides them, with one sentence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import sysfs
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.history_store import (
    remember_stack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.records import (
    loaded_from,
    loaded_with,
    remember,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import (
    Kernel,
    LoadError,
    TransitionResult,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.gate import (
    Decision,
    check_transition,
    gate,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import Build, builds
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import Board, LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.planner import (
    NoWayError,
    Wanted,
    decide,
    name_of,
    shortest_way,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import Candidate
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    livepatch_to_json,
    system_states_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import (
    DISABLE,
    LOAD,
    REMOVE,
    Step,
    after_all,
    board_after,
    function_changes,
    same_build,
    same_stack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch


@dataclass(frozen=True)
class Options:
    """The options of livepatch and livepatch_stack that say how, not what.

    diff: whether the caller shows it; prefix: what the names of the caller's
    options begin with, "rollout_" say.
    """

    timeout: float = 60.0
    on_stall: str = "reverse"
    unknown_states: str = "refuse"
    allow_downgrade: bool = False
    check_mode: bool = False
    diff: bool = False
    prefix: str = ""


class Failure(Exception):
    """It was refused, or it went wrong: one sentence for the user."""


class Refused(Failure):
    """It was decided not to do it, and the board was not touched."""


class ImagesNeeded(Exception):
    """Something is to be loaded, and the caller has not given the modules' bytes.

    builds: the build ids of what may have to be loaded again, should that fail.
    """

    def __init__(self, builds: Sequence[str]) -> None:
        super().__init__("images needed")
        self.builds = tuple(builds)


class Run:
    """One run against this board; its attributes tell what happened, also after a Failure.

    known: livepatches out of files that may be what is installed.  The caller
    holds the store's lock from here to the end of the run.
    """

    def __init__(self, kernel: Kernel, options: Options, known: Iterable[Livepatch] = ()) -> None:
        self.kernel = kernel
        self.options = options
        self.known = tuple(known)
        self.decision: Decision | None = None
        self.transition = TransitionResult()
        self.restored = False
        self.warnings: list[str] = []
        self.before = self.after = self._read()
        self._goal: tuple[Build, ...] | None = None

    def stack(
        self,
        wanted: Sequence[Wanted],
        candidates: Mapping[str, bytes],
        back: Sequence[Candidate] | None = None,
        over: Sequence[Build] | None = None,
    ) -> None:
        """Bring the whole stack to what is wanted.

        candidates: the bytes of what may be loaded, by name, as the kernel takes
        them; back: files of what is installed, for the way back, None where they were
        not looked for;
        over: the stack that the caller has decided over, None where it has not.
        Raises Failure, and ImagesNeeded.
        """
        self._settle([want.patch for want in wanted])
        wanted = [self._as_installed(want) for want in wanted]
        patches = [want.patch for want in wanted]
        options = self.options
        self.decision = decide(
            wanted, self.after, options.unknown_states, options.allow_downgrade, options.prefix
        )
        if not self.decision.allowed:
            raise Refused(self.decision.refusal(name_of(wanted)) + self._blocked_by())
        if over is not None and self.decision.steps and builds(self.after.patches) != tuple(over):
            raise Refused(
                "nothing was touched: it was decided over %s, and %s is installed now. Run again."
                % (_names(over), _names(self.after.patches))
            )
        params = {want.patch.name: want.params for want in wanted}
        self._make(self.decision.steps, params, candidates, back)
        if self.decision.steps and _names(self.after.patches) != _names(patches):
            raise Failure(
                "%s is installed where %s was wanted; somebody else has changed it meanwhile."
                % (_names(self.after.patches), _names(patches))
            )

    def enable(
        self,
        candidate: LivepatchFile,
        params: str,
        image: bytes | None,
        back: Sequence[Candidate] | None = None,
    ) -> None:
        """Load the candidate unless this build is enabled already; the rest as of stack()."""
        patch = candidate.livepatch
        self._settle([patch])
        options = self.options
        self.decision = gate(
            candidate,
            self.after,
            params,
            options.unknown_states,
            options.allow_downgrade,
            options.prefix,
        )
        if not self.decision.allowed:
            raise Refused(self.decision.refusal(patch.name) + self._blocked_by())
        bytes_of = {} if image is None else {patch.name: image}
        self._make(self.decision.steps, {patch.name: params}, bytes_of, back)

    def disable(self, name: str, remove: bool, build: Livepatch | None = None) -> None:
        """Disable the livepatch and, to `remove`, unload its module too.

        build: what the file says, where the caller named one.  Raises Failure.
        """
        in_transition = self.before.transition
        if in_transition is None or in_transition.patch != name:
            self._settle(())
        installed = _find(self.after.patches, name)
        if remove and name in self.after.forced:
            raise Refused(
                "%s was not removed: the transition that took it out of use was forced, so that a "
                "task may still be in its code; its module stays loaded until the next reboot."
                % name
            )
        if installed is not None and build is not None and not same_build(installed, build):
            raise Refused(
                "%s was not touched: the installed livepatch of that name is another build "
                "(build id %s there, %s in the file); use name instead of src to take "
                "whatever build is there." % (name, installed.build_id, build.build_id)
            )
        loaded = installed is not None or name in self.after.leftover
        if remove and loaded and self.after.modules_disabled:
            raise Refused(
                "%s was not removed: kernel.modules_disabled is 1 on the board, so that no "
                "module can be unloaded until it is rebooted; state: disabled is still "
                "possible." % name
            )
        if remove and not loaded and self.kernel.module_loaded(name):
            raise Refused(
                "%s was not removed: a module of that name is loaded, but it is not a "
                "livepatch; use community.general.modprobe for other modules." % name
            )
        steps = []
        if installed is not None:
            steps.append(Step(DISABLE, installed))
        if remove and loaded:
            steps.append(Step(REMOVE, installed or Livepatch(name, None, None)))
        self._decide_to_disable(name, installed, tuple(steps))
        self._make(self.decision.steps if self.decision else (), {}, {}, None)

    def remember(self, failed: bool) -> None:
        """Note in the history what this run left installed.

        Not what is still in transition, which a later run notes, and not that a
        run that failed left nothing: the way back leads to what was there.
        """
        done = self.changed or self.transition.outcome in ("completed", "forced")
        unclear = self.after.transition is not None or failed and not self.after.patches
        if self.options.check_mode or not done or unclear:
            return
        store = self.kernel.store
        known = {patch.name: loaded_with(store, patch) for patch in self.after.patches}
        params = {name: given for name, given in known.items() if given is not None}
        if not remember_stack(store, self.before, self.after, params, self._goal):
            self.warnings.append(
                "What is installed could not be noted in the history (%s is full, or what is in it "
                "can't be read), so that a rollback will not know of it." % store.directory
            )

    @property
    def changed(self) -> bool:
        """Whether the board is, or in check mode would be, another than before."""
        return bool(_identity(self.before) != _identity(self.after))

    def to_json(self) -> dict[str, Any]:
        """What the modules livepatch and livepatch_stack return."""
        diff = {"diff": {"before": _outline(self.before), "after": _outline(self.after)}}
        return {
            "changed": self.changed,
            "decision": None if self.decision is None else self.decision.to_json(),
            "transition": self.transition.to_json(),
            "restored": self.restored,
            "before": _snapshot(self.before),
            "after": _snapshot(self.after),
            "states_source": self.after.states_source,
            "kernel_log": self.kernel.read_log(),
            "warnings": [*self.warnings, *self._pinned()],
            **(diff if self.options.diff else {}),
        }

    def _read(self) -> Board:
        return self.kernel.read(self.known)

    def _settle(self, wanted: Sequence[Livepatch]) -> None:
        """Let a transition that we found under way end, whosever it is."""
        found = self.before.transition
        if found is None:
            return
        installed = _find(self.before.patches, found.patch)
        want = _find(wanted, found.patch)
        ours = installed is not None and want is not None and same_build(installed, want)
        if ours and found.direction == "patching" and not self.options.check_mode:
            self._finish(found.patch, "patching")
        elif not self.kernel.wait_for_end(found.patch, self.options.timeout):
            blocking = tuple(self.kernel.blocking_tasks(found.direction))
            self.transition = TransitionResult(
                "stalled", found.direction, self.options.timeout, blocking
            )
        self.after = self._read()
        if self.transition.outcome != "forced":
            # What ended by itself is no change of ours.
            self.before = self.after

    def _as_installed(self, want: Wanted) -> Wanted:
        """What is named without a file is whatever is installed under that name."""
        if want.file is not None:
            return want
        installed = _find(self.after.patches, want.patch.name)
        if installed is None:
            raise Refused(
                "nothing was touched: %s is to stay, and no livepatch of that name is installed; "
                "give its file as src." % want.patch.name
            )
        return replace(want, patch=installed)

    def _decide_to_disable(
        self, name: str, installed: Livepatch | None, steps: tuple[Step, ...]
    ) -> None:
        # Its own transition can be reversed, or waited for.
        own = self.after.transition is not None and self.after.transition.patch == name
        checks = [] if installed is None or own else [check_transition(self.after)]
        allowed = all(check.outcome == "pass" for check in checks)
        self.decision = Decision(
            allowed,
            steps if allowed else (),
            tuple(checks),
            (),
            function_changes(self.after.patches, steps),
        )
        if not allowed:
            raise Refused(self.decision.refusal("disabling %s" % name) + self._blocked_by())

    def _make(
        self,
        steps: Sequence[Step],
        params: Mapping[str, str],
        candidates: Mapping[str, bytes],
        back: Sequence[Candidate] | None,
    ) -> None:
        """Make the steps, and go back to what was installed where one of them fails."""
        if not steps:
            return
        if self.options.check_mode:
            self.after = board_after(steps, self.after)
            return
        installed = self.after.patches
        self._goal = builds(after_all(steps, installed))
        lost = _lost(steps, installed)
        missing = [step for step in steps if _loads(step) and step.patch.name not in candidates]
        if missing or lost and back is None:
            raise ImagesNeeded([patch.build_id for patch in lost if patch.build_id])
        if any(step.action != DISABLE for step in steps):
            self._check_able()
        images = self._images(lost, back or ())
        self._warn_of(lost, images)
        for step in filter(_loads, steps):
            # A disabled livepatch can't be enabled again; its module must be loaded anew.
            self._remove_leftover(step.patch.name)
        made: list[Step] = []
        try:
            for step in steps:
                name = step.patch.name
                if step.action == DISABLE:
                    self._disable(name)
                elif step.action == REMOVE:
                    self._remove(name)
                else:
                    self._remove_leftover(name)
                    self._load(step.patch, candidates[name], params[name])
                made.append(step)
                if made != list(steps):
                    self.after = self._read()
        except Exception as error:
            failure = error if isinstance(error, Failure) else _unexpected(error)
            if self.transition.outcome == "stalled":
                how_it_is = self._compared_with_before() if made else ""
            elif step.action == REMOVE:
                how_it_is = ""
            else:
                how_it_is = self._go_back(made, installed, images)
            raise Failure(("%s %s" % (failure, how_it_is)).rstrip()) from error
        self._verify(steps, params, installed)

    def _load(self, patch: Livepatch, image: bytes, params: str) -> None:
        kernel = self.kernel
        try:
            kernel.load(image, params)
        except LoadError as why:
            self.after = self._read()
            raise Failure("%s could not be loaded: %s" % (patch.name, why)) from why
        loaded = replace(patch, build_id=kernel.build_id(patch.name))
        if not remember(kernel.store, loaded, params, hashlib.sha256(image).hexdigest()):
            self.warnings.append(
                "What %s was loaded from could not be noted (%s is full, or can't be written)."
                % (patch.name, kernel.store.directory)
            )
        self._finish(patch.name, "patching")

    def _disable(self, name: str) -> None:
        try:
            self.kernel.disable(name)
        except OSError as error:
            self.after = self._read()
            raise Failure(
                "%s could not be disabled: the kernel said %s." % (name, error.strerror)
            ) from error
        self._finish(name, "unpatching")

    def _remove(self, name: str) -> None:
        try:
            self.kernel.remove(name)
        except OSError as error:
            self.after = self._read()
            raise Failure(
                "the module %s could not be unloaded: the kernel said %s. A livepatch that was "
                "part of a forced transition stays loaded until the next reboot."
                % (name, error.strerror)
            ) from error

    def _check_able(self) -> None:
        why = self.kernel.why_unable()
        if why is not None:
            raise Refused("nothing was touched: %s" % why)

    def _remove_leftover(self, name: str) -> None:
        if name in self.after.leftover:
            self._remove(name)

    def _go_back(
        self, made: Sequence[Step], installed: Sequence[Livepatch], images: Mapping[str, bytes]
    ) -> str:
        """Install again what was installed before; how that went, in one sentence."""
        self.after = self._read()
        if not made:
            return self._compared_with_before()
        failed = self.transition
        self.transition = TransitionResult()
        try:
            self._go(self._way_back(made, installed, images), images)
        except (Failure, NoWayError) as why:
            return "%s It was not loaded again by itself: %s" % (self._compared_with_before(), why)
        finally:
            if self.transition.outcome != "stalled":
                self.transition = failed
        if not same_stack(self.after.patches, installed):
            return "%s What was loaded again is not what was there." % self._compared_with_before()
        self.restored = True
        return "What was disabled for it was loaded again; what was installed before is installed."

    def _way_back(
        self, made: Sequence[Step], installed: Sequence[Livepatch], images: Mapping[str, bytes]
    ) -> Sequence[Step]:
        left = [patch.name for patch in after_all(made, installed)]
        if [patch.name for patch in self.after.patches] != left:
            raise Failure("somebody else has changed meanwhile what is installed.")
        way = shortest_way(self.after.patches, installed)
        missing = [
            step.patch.name for step in filter(_loads, way) if step.patch.build_id not in images
        ]
        if missing:
            raise Failure("the file of %s was not found." % " and ".join(missing))
        return way

    def _go(self, way: Sequence[Step], images: Mapping[str, bytes]) -> None:
        for step in way:
            patch = step.patch
            if step.action == DISABLE:
                self._disable(patch.name)
            else:
                self._remove_leftover(patch.name)
                params = loaded_with(self.kernel.store, patch)
                self._load(patch, images[str(patch.build_id)], params or "")
                if params is None:
                    self.warnings.append(
                        "The parameters of %s are not known, since somebody else had loaded it; "
                        "it was loaded again without any." % patch.name
                    )
            self.after = self._read()

    def _images(self, lost: Sequence[Livepatch], back: Sequence[Candidate]) -> dict[str, bytes]:
        """By build id, the bytes that may be loaded again.

        What was loaded by us is known by its bytes.  What somebody else loaded is
        known by build id and states, and its file comes from the operator's catalog, or
        from where nobody but root can write on the board.
        """
        images = {}
        for patch in lost:
            sha256 = loaded_from(self.kernel.store, patch)
            for one in back:
                if one.image is None or not same_build(one.file.livepatch, patch):
                    continue
                if sha256 in (None, hashlib.sha256(one.image).hexdigest()):
                    images[str(patch.build_id)] = one.image
        return images

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
            result = self.kernel.finish(name, direction, options.timeout, options.on_stall)
        except OSError as error:
            self.after = self._read()
            raise Failure(
                "the stalled transition of %s could not be ended: the kernel said %s."
                % (name, error.strerror)
            ) from error
        self.transition = result
        if result.outcome in ("completed", "forced"):
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

    def _verify(
        self, steps: Sequence[Step], params: Mapping[str, str], installed: Sequence[Livepatch]
    ) -> None:
        """Whether the kernel shows what the steps make of its list."""
        self.after = self._read()
        as_shown = []
        for step in steps:
            if _loads(step):
                loaded = self._check_loaded(step.patch, params[step.patch.name])
                step = replace(step, patch=replace(step.patch, replace=loaded.replace))
            as_shown.append(step)
        loads = [step.patch for step in filter(_loads, as_shown)]
        if not loads or any(patch.replace is None for patch in loads):
            return
        expected = after_all(as_shown, installed)
        if _names(self.after.patches) != _names(expected):
            raise Failure(
                "%s was loaded, but the kernel shows %s installed where %s was decided."
                % (loads[-1].name, _names(self.after.patches), _names(expected))
            )

    def _check_loaded(self, patch: Livepatch, params: str) -> Livepatch:
        loaded = _find(self.after.patches, patch.name)
        if loaded is None or not loaded.enabled or loaded.transition:
            raise Failure(
                "%s was loaded, but the kernel does not show it enabled afterwards; look at "
                "kernel_log." % patch.name
            )
        if same_build(loaded, patch) is False:
            raise Failure(
                "%s was loaded, but the kernel shows other system states or another build id "
                "than the file; its code must have changed them." % patch.name
            )
        # Its code may decide by parameters whether it is cumulative.
        known = patch.replace is not None and loaded.replace is not None
        if known and loaded.replace != patch.replace and not params:
            raise Failure(
                "%s was loaded, but the kernel shows %s for replace and the file %s; its code must "
                "have changed it." % (patch.name, loaded.replace, patch.replace)
            )
        return replace(loaded, replace=loaded.replace if known else None)


def _loads(step: Step) -> bool:
    return step.action == LOAD


def _lost(steps: Sequence[Step], installed: Sequence[Livepatch]) -> list[Livepatch]:
    """What would have to be loaded again, should one of the steps fail."""
    lost: list[Livepatch] = []
    transitions = [step for step in steps if step.action != REMOVE]
    for number in range(1, len(transitions)):
        left = after_all(transitions[:number], installed)
        try:
            again = [step.patch for step in filter(_loads, shortest_way(left, installed))]
        except NoWayError:
            again = [patch for patch in installed if patch not in left]
        lost += [patch for patch in again if patch not in lost]
    return lost


def _find(patches: Iterable[Livepatch], name: str) -> Livepatch | None:
    return next((patch for patch in patches if patch.name == name), None)


def _names(patches: Iterable[Livepatch | Build]) -> str:
    return ", ".join(patch.name for patch in patches) or "nothing"


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


def _outline(board: Board) -> dict[str, Any]:
    """For a diff: what a person compares, and nothing of the functions."""
    rows = system_states_to_json(board.patches)
    keys = ("id", "version", "patch")
    states = None if rows is None else [{key: row[key] for key in keys} for row in rows]
    patches = [{"name": patch.name, "build_id": patch.build_id} for patch in board.patches]
    return {"patches": patches, "system_states": states}
