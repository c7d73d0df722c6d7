# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a livepatch support the seed document's scenarios?  Observations in, rows out.

Pure: section 3 of "System State Changes", one function a scenario.  Only the
kernel's own list counts for states and their data: what a record or a file says
of them proves nothing of what the callbacks did.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Iterator, NamedTuple, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance_evidence import (
    DONE,
    MISSED,
    REFUSED,
    STALLED,
    Observation,
    Observations,
    changed_probes,
    difference,
    difference_of_probes,
    enumerated,
    evidence_of,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
    klp_get_state,
)

PASSED = "passed"
FAILED = "failed"
NOT_APPLICABLE = "not applicable"

# Section 3 in the document's order; its fourth scenario is two rows.
MODIFIED = "modified when enabled"
TAKEN_OVER = "taken over when replacing"
RESTORED = "restored when disabled"
REVERSED = "restored when reversed, nothing before"
REPLACEMENT_REVERSED = "restored when reversed, replacing"
CLEANED_UP = "removed after an error"

# What the kernel prints where an error occurs after the first pre_patch():
# __klp_enable_patch() in kernel/livepatch/core.c.
AFTER_PRE_PATCH = "failed to enable patch '%s'"

# How the lines begin in which the kernel complains of itself.  A double free shows nowhere else.
COMPLAINT = re.compile(
    r"BUG[: ]|WARNING: |Oops|Internal error|kernel BUG at|refcount_t: |.*KASAN: "
)


@dataclass(frozen=True)
class Row:
    """A scenario's outcome: passed, failed or not applicable, why, and the evidence in lines."""

    scenario: str
    outcome: str
    reason: str
    evidence: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One of the `rows` that livepatch_conformance returns."""
        return dict(asdict(self), evidence=list(self.evidence))


class Verdict(NamedTuple):
    """An outcome and why."""

    outcome: str
    reason: str


def judge(newer: Livepatch, older: Livepatch | None, seen: Observations) -> tuple[Row, ...]:
    """One row a scenario.

    newer, older: as their files declare them; older is None where there is none.
    """
    return (
        _row(MODIFIED, _modified(newer, seen), seen.enabled),
        _row(TAKEN_OVER, _taken_over(newer, older, seen), seen.older_enabled, seen.replaced),
        _row(RESTORED, _restored(newer, older, seen), seen.disabled, seen.replacement_disabled),
        _row(REVERSED, _reversed(newer, seen), seen.reversed),
        _row(
            REPLACEMENT_REVERSED,
            _replacement_reversed(newer, older, seen),
            seen.replacement_reversed,
            seen.older_disabled,
        ),
        _row(CLEANED_UP, _cleaned_up(newer, seen), *_errors(seen)),
    )


def is_cumulative(newer: Livepatch, enabled: Observation | None) -> bool | None:
    """Whether it replaces: as the kernel shows it enabled, else as its file says."""
    shown = None if enabled is None else enabled.after.livepatch(newer.name)
    if shown is not None and shown.replace is not None:
        return shown.replace
    return newer.replace


def _modified(newer: Livepatch, seen: Observations) -> Verdict:
    """Modify the system state when the livepatch gets enabled and nothing had modified it."""
    observed = seen.enabled
    if observed is None:
        return _not_reached()
    if observed.outcome != DONE:
        return _not_enabled(newer, observed)
    shown = observed.after.livepatch(newer.name)
    if shown is None or not shown.enabled or shown.transition:
        return Verdict(FAILED, "the kernel does not show %s enabled." % newer.name)
    listed = observed.after.states_source == "kernel"
    if listed and newer.states is not None and _ids(newer.states) != _ids(shown.states):
        return Verdict(
            FAILED,
            "the kernel's list shows %s of %s, and its file declares %s."
            % (_ids(shown.states), newer.name, _ids(newer.states)),
        )
    if not (newer.states or (listed and shown.states)):
        return Verdict(NOT_APPLICABLE, "%s declares no system state." % newer.name)
    if not observed.after.probes:
        return _on_the_list(listed, "%s of %s." % (_ids(shown.states), newer.name))
    if observed.after.unread:
        failing = " and ".join(observed.after.unread)
        return Verdict(FAILED, "the probe %s fails while %s is enabled." % (failing, newer.name))
    changed = changed_probes(observed.before, observed.after)
    if not changed:
        return Verdict(FAILED, "no probe shows another output while %s is enabled." % newer.name)
    missed = [name for name in _changed_by_replacing(seen) if name not in changed]
    if missed:
        return Verdict(
            FAILED,
            "%s shows the same output as before, and another one once %s has replaced the older "
            "one." % (" and ".join(missed), newer.name),
        )
    return Verdict(PASSED, "shown by %s.%s" % (" and ".join(changed), _without_list(listed)))


def _changed_by_replacing(seen: Observations) -> list[str]:
    original, observed = seen.older_enabled, seen.replaced
    if original is None or observed is None or observed.outcome != DONE:
        return []
    return changed_probes(original.before, observed.after)


def _not_enabled(patch: Livepatch, observed: Observation) -> Verdict:
    """A transition that tasks of this board hold up proves nothing of the livepatch."""
    outcome = NOT_APPLICABLE if observed.outcome == STALLED else FAILED
    return Verdict(outcome, "%s could not be enabled: %s" % (patch.name, observed.reason))


def _taken_over(newer: Livepatch, older: Livepatch | None, seen: Observations) -> Verdict:
    """Take over or update the modification that a livepatch being replaced has done."""
    if older is None:
        return Verdict(NOT_APPLICABLE, "no older livepatch was given.")
    unable = _why_not_replaced(newer, seen)
    if unable is not None:
        return unable
    original, observed = seen.older_enabled, seen.replaced
    if original is not None and original.outcome != DONE:
        return Verdict(
            NOT_APPLICABLE, "%s could not be enabled: %s" % (older.name, original.reason)
        )
    if original is None or observed is None:
        return _not_reached()
    if observed.outcome != DONE:
        return _not_enabled(newer, observed)
    names = [patch.name for patch in observed.after.patches]
    if names != [newer.name]:
        return Verdict(
            FAILED, "the kernel shows %s, not %s alone." % (enumerated(names), newer.name)
        )
    listed = observed.before.states_source == observed.after.states_source == "kernel"
    before = observed.before.livepatch(older.name) if listed else older
    after = observed.after.livepatch(newer.name) if listed else newer
    shared = list(_shared(before, after))
    if not shared:
        return Verdict(
            NOT_APPLICABLE, "%s and %s share no system state." % (older.name, newer.name)
        )
    for old, new in shared if listed else ():
        if old.version == new.version and old.data is not None and old.data != new.data:
            return Verdict(
                FAILED,
                "state %d stays at version %d, but its data is %s and not that of %s, %s."
                % (old.id, old.version, new.data or "NULL", older.name, old.data),
            )
    took = "; ".join(_handed_over(old, new, listed) for old, new in shared) + "."
    if not observed.after.probes:
        return _on_the_list(listed, took)
    as_it_was = not changed_probes(original.after, observed.after)
    if as_it_was and all(old.version == new.version for old, new in shared):
        return Verdict(PASSED, took + _without_list(listed))
    wrong = _probes_of_replacement(newer, older, seen)
    return wrong or Verdict(PASSED, took + _without_list(listed))


def _probes_of_replacement(
    newer: Livepatch, older: Livepatch, seen: Observations
) -> Verdict | None:
    """The system state must be what it is with the newer livepatch alone; None where it is."""
    alone, original, observed = seen.enabled, seen.older_enabled, seen.replaced
    if original is None or observed is None:
        return None
    if alone is None or alone.outcome != DONE or not changed_probes(alone.before, alone.after):
        # It is not known what the newer one sets, only that it must modify something.
        if changed_probes(original.before, observed.after):
            return None
        return Verdict(
            FAILED,
            "no probe shows a modification once %s has replaced %s." % (newer.name, older.name),
        )
    # Another row tells what it does not modify alone.
    changed = [
        name
        for name in changed_probes(alone.after, observed.after)
        if name in changed_probes(alone.before, alone.after)
    ]
    if not changed:
        return None
    return Verdict(
        FAILED,
        "once it has replaced %s, %s."
        % (
            older.name,
            difference_of_probes(alone.after, observed.after, changed, "with nothing to replace"),
        ),
    )


def _restored(newer: Livepatch, older: Livepatch | None, seen: Observations) -> Verdict:
    """Restore the original state when the livepatch is disabled."""
    unable = _why_not_enabled(newer, seen)
    if unable is not None:
        return unable
    ways = []
    for observed, enabled, way in (
        (seen.disabled, seen.enabled, "alone"),
        (seen.replacement_disabled, seen.older_enabled, "after replacing"),
    ):
        if observed is None or enabled is None:
            continue
        if observed.outcome != DONE:
            return Verdict(FAILED, observed.reason)
        wrong = difference(enabled.before, observed.after)
        if wrong:
            return Verdict(FAILED, "disabled %s, %s." % (way, wrong))
        ways.append(way)
    if not ways:
        return Verdict(NOT_APPLICABLE, "%s was never enabled." % newer.name)
    reason = " and ".join(ways) + "."
    if older is not None and is_cumulative(newer, seen.enabled) and len(ways) == 1:
        reason = "%s; the other way was not reached." % ways[0]
    return _as_before(newer, seen.enabled, reason)


def _reversed(newer: Livepatch, seen: Observations) -> Verdict:
    """Restore the previous state, which is the original, when the transition is reverted."""
    return _why_not_enabled(newer, seen) or _put_back(newer, seen.reversed, seen.enabled)


def _replacement_reversed(newer: Livepatch, older: Livepatch | None, seen: Observations) -> Verdict:
    """Restore the previous state, which the livepatch being replaced made, likewise."""
    if older is None:
        return Verdict(NOT_APPLICABLE, "no older livepatch was given.")
    unable = _why_not_replaced(newer, seen)
    if unable is not None:
        return unable
    if _refused(seen.replaced):
        return Verdict(
            NOT_APPLICABLE,
            "%s can't replace %s, so that there is no transition." % (newer.name, older.name),
        )
    verdict = _put_back(newer, seen.replacement_reversed, seen.enabled)
    disabled, original = seen.older_disabled, seen.older_again
    if verdict.outcome != PASSED or disabled is None or original is None:
        return verdict
    wrong = disabled.reason or difference(original.before, disabled.after)
    if wrong:
        # Its data may have been lost, which shows only now.
        return Verdict(
            FAILED,
            "once %s was put back and then disabled, %s." % (older.name, wrong.rstrip(".")),
        )
    return verdict


def _put_back(
    newer: Livepatch, observed: Observation | None, enabled: Observation | None
) -> Verdict:
    if observed is None:
        return _not_reached()
    if observed.outcome == MISSED:
        return Verdict(NOT_APPLICABLE, observed.reason)
    if observed.outcome != DONE:
        return Verdict(FAILED, observed.reason)
    wrong = difference(observed.before, observed.after)
    if wrong:
        return Verdict(FAILED, wrong + ".")
    return _as_before(newer, enabled, "as before.")


def _cleaned_up(newer: Livepatch, seen: Observations) -> Verdict:
    """Remove any already made changes when an error occurs and it cannot get enabled."""
    verdicts = [_after_error(newer, observed, seen) for observed in _errors(seen)]
    for outcome in (FAILED, PASSED, NOT_APPLICABLE):
        for verdict in verdicts:
            if verdict.outcome == outcome:
                return verdict
    return _not_reached()


def _errors(seen: Observations) -> list[Observation]:
    """The livepatch's own errors, alone and while it replaces; else that of the failing copy."""
    observations = [seen.enabled if _refused(seen.enabled) else seen.load_failed]
    if _refused(seen.replaced):
        observations.append(seen.replaced)
    return [observed for observed in observations if observed is not None]


def _after_error(newer: Livepatch, observed: Observation, seen: Observations) -> Verdict:
    if observed.outcome == MISSED:
        return Verdict(NOT_APPLICABLE, observed.reason)
    wrong = difference(observed.before, observed.after)
    if wrong:
        return Verdict(FAILED, wrong + ".")
    if not any(AFTER_PRE_PATCH % newer.name in line for line in observed.log or ()):
        return Verdict(
            NOT_APPLICABLE,
            "the kernel refused it before any pre_patch(), or its log can't be read.",
        )
    reason = "as before."
    if observed is seen.load_failed:
        called, not_called = _pre_patch_before_the_error(newer, seen.enabled)
        if not_called and not called:
            return Verdict(
                NOT_APPLICABLE, "the error came before the pre_patch() of %s." % not_called[0]
            )
        if not_called:
            reason += " The error came before the pre_patch() of %s." % " and ".join(not_called)
    return _as_before(newer, observed, reason)


def _pre_patch_before_the_error(
    newer: Livepatch, enabled: Observation | None
) -> tuple[list[str], list[str]]:
    """The loaded objects whose pre_patch() had run when the failing copy failed, and the others.

    The kernel takes one object after the other, first its pre_patch() and then
    its functions: __klp_enable_patch() in kernel/livepatch/core.c.
    """
    shown = None if enabled is None else enabled.after.livepatch(newer.name)
    loaded = {obj.name for obj in (shown and shown.objects) or () if obj.patched}
    called: list[str] = []
    not_called: list[str] = []
    failed = False
    for obj in newer.objects or ():
        if obj.name not in loaded:
            continue
        if obj.callbacks is None or "pre_patch" in obj.callbacks:
            (not_called if failed else called).append(obj.name)
        failed = failed or (obj.name == "vmlinux" and bool(obj.functions))
    return called, not_called


def _why_not_enabled(newer: Livepatch, seen: Observations) -> Verdict | None:
    if _refused(seen.enabled):
        return Verdict(NOT_APPLICABLE, "%s can't be enabled at all." % newer.name)
    return None


def _why_not_replaced(newer: Livepatch, seen: Observations) -> Verdict | None:
    unable = _why_not_enabled(newer, seen)
    cumulative = is_cumulative(newer, seen.enabled)
    if unable is not None or cumulative:
        return unable
    reason = "%s is not cumulative, so that it replaces nothing."
    if cumulative is None:
        reason = "whether %s is cumulative can't be told."
    return Verdict(NOT_APPLICABLE, reason % newer.name)


def _refused(observed: Observation | None) -> bool:
    return observed is not None and observed.outcome == REFUSED


def _not_reached() -> Verdict:
    return Verdict(
        NOT_APPLICABLE,
        "not reached: the run ended earlier, since the board was not as it was, or since it was "
        "interrupted.",
    )


def _on_the_list(listed: bool, reason: str) -> Verdict:
    """Without probes: what the kernel's list shows, which is less than the system state."""
    if not listed:
        return Verdict(
            NOT_APPLICABLE, "there are no probes, and the kernel's own list can't be read."
        )
    return Verdict(PASSED, reason + _WITHOUT_PROBES)


def _as_before(newer: Livepatch, observed: Observation | None, reason: str) -> Verdict:
    if observed is not None and observed.after.probes:
        return Verdict(PASSED, reason)
    if not newer.states:
        return Verdict(
            NOT_APPLICABLE, "%s declares no system state, and there are no probes." % newer.name
        )
    return Verdict(PASSED, reason + _WITHOUT_PROBES)


_WITHOUT_PROBES = " Without probes, the system state itself was not looked at."


def _without_list(listed: bool) -> str:
    return (
        ""
        if listed
        else " The kernel's own list can't be read, so that the data were not compared."
    )


def _shared(
    older: Livepatch | None, newer: Livepatch | None
) -> Iterator[tuple[SystemState, SystemState]]:
    if older is None or newer is None or older.states is None or newer.states is None:
        return
    for id in dict.fromkeys(state.id for state in older.states):
        old, new = klp_get_state(older, id), klp_get_state(newer, id)
        if old is not None and new is not None:
            yield old, new


def _handed_over(old: SystemState, new: SystemState, listed: bool) -> str:
    if old.version != new.version:
        return "state %d from version %d to %d" % (old.id, old.version, new.version)
    same = " with its data" if listed and old.data is not None else ""
    return "state %d stays at version %d%s" % (old.id, old.version, same)


def _ids(states: Sequence[SystemState] | None) -> str:
    if states is None:
        return "unknown states"
    return ", ".join("state %d v%d" % (state.id, state.version) for state in states) or "no state"


def _row(scenario: str, verdict: Verdict, *observations: Observation | None) -> Row:
    made = [observed for observed in observations if observed is not None]
    complaints = [line for observed in made for line in observed.log or () if COMPLAINT.match(line)]
    if verdict.outcome == PASSED and complaints:
        verdict = Verdict(FAILED, "the kernel complained: %s" % complaints[0])
    evidence = tuple(line for observed in made for line in evidence_of(observed))
    return Row(scenario, verdict.outcome, verdict.reason, evidence)
