# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a board showed while it was taken through the scenarios, and the words for it.

Pure.  conformance decides what it proves.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from itertools import zip_longest
from os.path import commonprefix
from typing import Iterator, Sequence

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch

DONE = "done"
REFUSED = "refused"
STALLED = "stalled"
MISSED = "missed"

MAX_LINES = 40
MAX_QUOTED = 60


@dataclass(frozen=True)
class Reading:
    """What the board showed at one moment.

    probes: each one's name and output; patches: in stack order; states_source:
    as of a Board; modules: which of the livepatches' modules were loaded; unread:
    the probes that failed, whose output is then the reason.
    """

    probes: tuple[tuple[str, str], ...] = ()
    patches: tuple[Livepatch, ...] = ()
    states_source: str = "kernel"
    modules: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def livepatch(self, name: str) -> Livepatch | None:
        """The installed livepatch of that name."""
        return next((patch for patch in self.patches if patch.name == name), None)


@dataclass(frozen=True)
class Observation:
    """One thing that was done to the board, and what the board showed before and after.

    what: in the infinitive; outcome: done, refused (by the kernel), stalled (the
    transition did not end in time) or missed (this board can't bring it about);
    reason: a sentence where it is not done; log: what the kernel printed
    meanwhile, None where that can't be read.
    """

    what: str
    outcome: str
    before: Reading
    after: Reading
    reason: str = ""
    log: tuple[str, ...] | None = ()


@dataclass
class Observations:
    """What was observed of each thing that is done; None where it has not been done.

    enabled, disabled: the newer livepatch alone; reversed: its transition alone;
    load_failed: its load, with an error after pre_patch(); older_enabled: the
    older one; replaced: the newer one over it; replacement_disabled: the newer
    one then; older_again: the older one, once more; replacement_reversed: the
    transition from it to the newer; older_disabled: the older one after that.
    """

    enabled: Observation | None = None
    disabled: Observation | None = None
    reversed: Observation | None = None
    load_failed: Observation | None = None
    older_enabled: Observation | None = None
    replaced: Observation | None = None
    replacement_disabled: Observation | None = None
    older_again: Observation | None = None
    replacement_reversed: Observation | None = None
    older_disabled: Observation | None = None


def changed_probes(before: Reading, after: Reading) -> list[str]:
    """The names of the probes whose output is another."""
    old = dict(before.probes)
    return [name for name, output in after.probes if output != old.get(name)]


def difference(before: Reading, after: Reading) -> str:
    """What is not as it was before, as a clause; empty where everything is."""
    old_names = [patch.name for patch in before.patches]
    new_names = [patch.name for patch in after.patches]
    if old_names != new_names:
        return "%s is installed, and %s was before" % (enumerated(new_names), enumerated(old_names))
    left = [name for name in after.modules if name not in before.modules]
    if left:
        return "the module %s can't be unloaded" % " and ".join(left)
    if before.states_source == after.states_source == "kernel":
        for old, new in zip(before.patches, after.patches):
            if old.states != new.states:
                return "the kernel's list shows %s, and before %s" % (
                    _listed(new, after.states_source),
                    _listed(old, before.states_source),
                )
    return difference_of_probes(before, after, changed_probes(before, after))


def difference_of_probes(
    before: Reading, after: Reading, probes: Sequence[str], when: str = "before"
) -> str:
    """What these probes show, as a clause, and what they showed in the other reading.

    when: the words for the time of the other reading.
    """
    old, new = dict(before.probes), dict(after.probes)
    changes = []
    for name in probes:
        now, then = _first_difference(new[name], old[name])
        changes.append("%s shows %s, and %s %s" % (name, _quoted(now), when, _quoted(then)))
    return "; ".join(changes)


def evidence_of(observation: Observation) -> Iterator[str]:
    """The lines that tell what was done, and what the probes, the kernel and its log showed."""
    before, after = observation.before, observation.after
    yield "%s: %s" % (observation.what, observation.outcome)
    old = dict(before.probes)
    for name, output in after.probes:
        for line in _probe(old.get(name, ""), output):
            yield "  probe %s: %s" % (name, line)
    for when, reading in (("before", before), ("after", after)):
        source = reading.states_source
        listed = "; ".join(_listed(patch, source) for patch in reading.patches) or "empty"
        yield "  list %s (%s): %s" % (when, source, listed)
    for patch in after.patches:
        yield "  sysfs: %s enabled %d, transition %d, patched %s" % (
            patch.name,
            patch.enabled or 0,
            patch.transition or 0,
            enumerated([obj.name for obj in patch.objects or () if obj.patched]),
        )
    yield "  modules: %s" % (", ".join(after.modules) or "none")
    if observation.log is None:
        yield "  log: can't be read"
    for line in observation.log or ():
        yield "  log: %s" % line


def enumerated(names: Sequence[str]) -> str:
    """The names in a sentence, `nothing` where there are none."""
    return " and ".join(names) or "nothing"


def _first_difference(one: str, other: str) -> tuple[str, str]:
    """The first lines that differ; long ones from the character on in which they do."""
    for line, line_of_other in zip_longest(one.splitlines(), other.splitlines(), fillvalue=""):
        if line != line_of_other:
            start = len(commonprefix([line, line_of_other])) if len(line) > MAX_QUOTED else 0
            return line[start:], line_of_other[start:]
    return one, other


def _listed(patch: Livepatch, source: str) -> str:
    """The livepatch as on the kernel's list: name states id vVERSION data TOKEN."""
    if patch.states is None:
        return "%s states unknown" % patch.name
    no_data = "NULL" if source == "kernel" else "unknown"
    states = ("%d v%d data %s" % (s.id, s.version, s.data or no_data) for s in patch.states)
    return "%s states %s" % (patch.name, ", ".join(states) or "none")


def _probe(before: str, after: str) -> list[str]:
    if "\n" not in before + after:
        return [after if before == after else "%s -> %s" % (before, after)]
    if before == after:
        return ["%d lines, unchanged" % len(after.splitlines())]
    changes = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
    return [*changes[:MAX_LINES], *(["..."] if len(changes) > MAX_LINES else [])]


def _quoted(output: str) -> str:
    line = " ".join(output.split())
    return "'%s'" % (line if len(line) <= MAX_QUOTED else line[: MAX_QUOTED - 3] + "...")
