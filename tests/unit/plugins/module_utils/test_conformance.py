# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each scenario of section 3 proves, and what refutes it.

The observations here are made up; tests/lab/livepatches/breaks_*.c make a real
kernel show them, in extensions/molecule/conformance.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

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
from ansible_collections.orangepi.livepatch.plugins.module_utils.conformance_evidence import (
    DONE,
    MISSED,
    REFUSED,
    STALLED,
    Observation,
    Observations,
    Reading,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Function,
    Livepatch,
    Object,
    SystemState,
)

OLDER = Livepatch("fixes_1", True, (SystemState(1, 1),))
SAME = Livepatch("fixes_1b", True, (SystemState(1, 1),))
NEWER = Livepatch("fixes_2", True, (SystemState(1, 2), SystemState(2, 1)))

ORIGINAL, WITH_OLDER, WITH_NEWER = "4 4 1 7", "8 4 1 7", "9 4 1 6"
FAILED_LATE = ("livepatch: failed to enable patch 'fixes_2'",)


def installed(patch, *data):
    """As on the kernel's list, with that data."""
    states = tuple(replace(s, data=d) for s, d in zip(patch.states, data or ("aa", "bb")))
    return replace(patch, states=states, enabled=True, transition=False)


def reading(printk, *patches, **changes):
    names = tuple(patch.name for patch in patches)
    return replace(Reading((("printk", printk),), patches, "kernel", names), **changes)


NOTHING = reading(ORIGINAL)
RUNS_OLDER = reading(WITH_OLDER, installed(OLDER))
RUNS_NEWER = reading(WITH_NEWER, installed(NEWER, "cc", "dd"))
HAS_REPLACED = reading(WITH_NEWER, installed(NEWER, "aa", "bb"), modules=("fixes_2", "fixes_1"))

GOOD = Observations(
    enabled=Observation("enable", DONE, NOTHING, RUNS_NEWER),
    disabled=Observation("disable", DONE, RUNS_NEWER, NOTHING),
    reversed=Observation("reverse", DONE, NOTHING, NOTHING),
    load_failed=Observation("fail", DONE, NOTHING, NOTHING, log=FAILED_LATE),
    older_enabled=Observation("enable", DONE, NOTHING, RUNS_OLDER),
    replaced=Observation("replace", DONE, RUNS_OLDER, HAS_REPLACED),
    replacement_disabled=Observation("disable", DONE, HAS_REPLACED, NOTHING),
    older_again=Observation("enable", DONE, NOTHING, RUNS_OLDER),
    replacement_reversed=Observation("reverse", DONE, RUNS_OLDER, RUNS_OLDER),
    older_disabled=Observation("disable", DONE, RUNS_OLDER, NOTHING),
)


def outcomes(seen, newer=NEWER, older=OLDER):
    return {row.scenario: row.outcome for row in judge(newer, older, seen)}


def but(**changes):
    """The good observations, but for some fields of some."""
    changed = {name: replace(getattr(GOOD, name), **fields) for name, fields in changes.items()}
    return replace(GOOD, **changed)


def row(scenario, seen, newer=NEWER, older=OLDER):
    return next(row for row in judge(newer, older, seen) if row.scenario == scenario)


def without_probes(seen):
    def forget(observed):
        before, after = (replace(r, probes=()) for r in (observed.before, observed.after))
        return replace(observed, before=before, after=after)

    return Observations(**{name: forget(observed) for name, observed in vars(seen).items()})


def test_the_rows_are_the_scenarios_in_the_documents_order():
    assert list(outcomes(GOOD)) == [
        MODIFIED,
        TAKEN_OVER,
        RESTORED,
        REVERSED,
        REPLACEMENT_REVERSED,
        CLEANED_UP,
    ]


def test_a_livepatch_that_does_all_of_it_passes_all_of_it():
    assert set(outcomes(GOOD).values()) == {PASSED}


@pytest.mark.parametrize(
    ("scenario", "changes", "reason"),
    [
        pytest.param(
            MODIFIED,
            {"enabled": {"after": replace(RUNS_NEWER, probes=NOTHING.probes)}},
            "no probe shows another output",
            id="it modifies nothing",
        ),
        pytest.param(
            MODIFIED,
            {"enabled": {"after": reading(WITH_NEWER, installed(replace(NEWER, states=())))}},
            "the kernel's list shows no state of fixes_2, and its file declares state 1 v2",
            id="it has other states than its file",
        ),
        pytest.param(
            MODIFIED,
            {"enabled": {"after": replace(RUNS_NEWER, unread=("printk",))}},
            "the probe printk fails while fixes_2 is enabled.",
            id="a probe fails",
        ),
        pytest.param(
            MODIFIED,
            {"enabled": {"log": ("BUG kmalloc-8: Object already free",)}},
            "the kernel complained: BUG kmalloc-8: Object already free",
            id="the kernel complains",
        ),
        pytest.param(
            TAKEN_OVER,
            {"replaced": {"after": replace(HAS_REPLACED, probes=RUNS_OLDER.probes)}},
            "once it has replaced fixes_1, printk shows '8 4 1 7', and with nothing to replace "
            "'9 4 1 6'",
            id="it does not update the state",
        ),
        pytest.param(
            TAKEN_OVER,
            {"replaced": {"after": replace(HAS_REPLACED, patches=(installed(OLDER), NEWER))}},
            "the kernel shows fixes_1 and fixes_2, not fixes_2 alone",
            id="it does not replace",
        ),
        pytest.param(
            RESTORED,
            {"disabled": {"after": reading("5 4 1 7")}},
            "disabled alone, printk shows '5 4 1 7', and before '4 4 1 7'.",
            id="it restores another value",
        ),
        pytest.param(
            RESTORED,
            {"replacement_disabled": {"after": reading(WITH_OLDER)}},
            "disabled after replacing, printk shows '8 4 1 7', and before '4 4 1 7'.",
            id="it restores what it replaced",
        ),
        pytest.param(
            RESTORED,
            {"disabled": {"after": replace(NOTHING, modules=("fixes_2",))}},
            "the module fixes_2 can't be unloaded",
            id="its module stays",
        ),
        pytest.param(
            REVERSED,
            {"reversed": {"after": reading(WITH_NEWER)}},
            "printk shows '9 4 1 6', and before '4 4 1 7'.",
            id="a reversal leaves the modification",
        ),
        pytest.param(
            REPLACEMENT_REVERSED,
            {"replacement_reversed": {"after": replace(RUNS_OLDER, probes=NOTHING.probes)}},
            "printk shows '4 4 1 7', and before '8 4 1 7'.",
            id="a reversal restores the original state though the older one is in effect",
        ),
        pytest.param(
            REPLACEMENT_REVERSED,
            {"replacement_reversed": {"after": reading(WITH_OLDER, installed(OLDER, "ee"))}},
            "shows fixes_1 states 1 v1 data ee, and before fixes_1 states 1 v1 data aa.",
            id="a reversal changes the older one's data",
        ),
        pytest.param(
            REPLACEMENT_REVERSED,
            {"replacement_reversed": {"after": reading(WITH_OLDER)}},
            "nothing is installed, and fixes_1 was before.",
            id="a reversal loses the older one",
        ),
        pytest.param(
            REPLACEMENT_REVERSED,
            {"older_disabled": {"after": reading("0 4 1 7")}},
            "once fixes_1 was put back and then disabled, printk shows '0 4 1 7', and before",
            id="a reversal frees what the older one restores by",
        ),
        pytest.param(
            CLEANED_UP,
            {"load_failed": {"after": reading("9 4 1 7")}},
            "printk shows '9 4 1 7', and before '4 4 1 7'.",
            id="an error leaves the modification",
        ),
    ],
)
def test_a_scenario_that_is_broken_fails_alone_and_says_why(scenario, changes, reason):
    seen = but(**changes)
    assert [name for name, outcome in outcomes(seen).items() if outcome == FAILED] == [scenario]
    assert reason in row(scenario, seen).reason


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        pytest.param("aa", "aa", PASSED, id="taken over"),
        pytest.param("aa", "ee", FAILED, id="allocated again"),
        pytest.param("aa", None, FAILED, id="lost"),
        pytest.param(None, None, PASSED, id="there was none"),
        pytest.param(None, "ee", PASSED, id="there was none to take over"),
    ],
)
def test_at_the_same_version_the_data_must_be_the_same(before, after, outcome):
    alone = reading(WITH_OLDER, installed(SAME, "cc"))
    older = reading(WITH_OLDER, installed(OLDER, before))
    newer = reading(WITH_OLDER, installed(SAME, after))
    seen = but(enabled={"after": alone}, replaced={"before": older, "after": newer})
    assert row(TAKEN_OVER, seen, SAME).outcome == outcome


def test_at_a_higher_version_the_data_may_be_others():
    newer = reading(WITH_NEWER, installed(NEWER, "ee", "ff"))
    assert row(TAKEN_OVER, but(replaced={"after": newer})).outcome == PASSED


def test_at_the_same_version_the_modification_may_be_taken_over_as_it_is():
    alone = reading("9 4 1 7", installed(SAME, "cc"))
    newer = reading(WITH_OLDER, installed(SAME, "aa"))
    seen = but(enabled={"after": alone}, replaced={"after": newer})
    assert row(TAKEN_OVER, seen, SAME).outcome == PASSED


def test_a_state_that_is_modified_only_while_replacing_is_not_modified():
    def two(first, second, *patches):
        return reading("", *patches, probes=(("first", first), ("second", second)))

    nothing, older = two("0", "0"), two("1", "0", *RUNS_OLDER.patches)
    seen = Observations(
        enabled=Observation("enable", DONE, nothing, two("0", "2", *RUNS_NEWER.patches)),
        older_enabled=Observation("enable", DONE, nothing, older),
        replaced=Observation("replace", DONE, older, two("1", "2", *HAS_REPLACED.patches)),
    )
    assert "first shows the same output as before" in row(MODIFIED, seen).reason
    assert row(MODIFIED, seen).outcome == FAILED
    assert row(TAKEN_OVER, seen).outcome == PASSED


@pytest.mark.parametrize(
    ("observed", "scenario", "name"),
    [
        ({"enabled": {"outcome": STALLED, "reason": "blocked."}}, MODIFIED, "fixes_2"),
        ({"replaced": {"outcome": STALLED, "reason": "blocked."}}, TAKEN_OVER, "fixes_2"),
        ({"older_enabled": {"outcome": REFUSED, "reason": "blocked."}}, TAKEN_OVER, "fixes_1"),
    ],
)
def test_what_the_livepatch_is_not_to_blame_for_has_neither_passed_nor_failed(
    observed, scenario, name
):
    found = row(scenario, but(**observed))
    assert (found.outcome, found.reason) == (
        NOT_APPLICABLE,
        "%s could not be enabled: blocked." % name,
    )


@pytest.mark.parametrize(
    ("callbacks", "outcome", "words"),
    [
        ({"vmlinux": ("pre_patch",), "ext4": ()}, PASSED, "as before."),
        ({"vmlinux": (), "ext4": ("pre_patch",)}, NOT_APPLICABLE, "before the pre_patch() of ext4"),
        (
            {"vmlinux": ("pre_patch",), "ext4": ("pre_patch",)},
            PASSED,
            "as before. The error came before the pre_patch() of ext4.",
        ),
        ({"vmlinux": ("pre_patch",), "absent": ("pre_patch",)}, PASSED, "as before."),
    ],
)
def test_an_error_proves_nothing_of_a_pre_patch_that_has_not_run(callbacks, outcome, words):
    objects = tuple(
        Object(name, (Function("f"),), kinds, name != "absent") for name, kinds in callbacks.items()
    )
    shown = replace(installed(NEWER, "cc", "dd"), objects=objects)
    seen = but(enabled={"after": reading(WITH_NEWER, shown)})
    found = row(CLEANED_UP, seen, replace(NEWER, objects=objects))
    assert found.outcome == outcome and words in found.reason


def test_an_error_while_replacing_must_be_cleaned_up_too():
    error = {"outcome": REFUSED, "reason": "ENOMEM.", "log": FAILED_LATE}
    seen = but(replaced=dict(error, after=replace(RUNS_OLDER, probes=NOTHING.probes)))
    assert row(CLEANED_UP, seen).outcome == FAILED
    assert row(CLEANED_UP, but(replaced=dict(error, after=RUNS_OLDER))).outcome == PASSED
    assert row(REPLACEMENT_REVERSED, seen).outcome == NOT_APPLICABLE


def test_what_alone_modifies_nothing_must_still_show_a_modification_over_the_older_one():
    alone = {"after": replace(RUNS_NEWER, probes=NOTHING.probes)}
    assert row(TAKEN_OVER, but(enabled=alone)).outcome == PASSED
    gone = {"after": replace(HAS_REPLACED, probes=NOTHING.probes)}
    assert row(TAKEN_OVER, but(enabled=alone, replaced=gone)).outcome == FAILED


def test_without_an_older_livepatch_its_rows_are_not_applicable():
    alone = replace(
        GOOD,
        older_enabled=None,
        replaced=None,
        replacement_disabled=None,
        older_again=None,
        replacement_reversed=None,
        older_disabled=None,
    )
    found = outcomes(alone, older=None)
    assert found.pop(TAKEN_OVER) == found.pop(REPLACEMENT_REVERSED) == NOT_APPLICABLE
    assert set(found.values()) == {PASSED}


def test_what_is_not_cumulative_replaces_nothing_whatever_its_file_says():
    stacked = replace(installed(NEWER, "cc", "dd"), replace=False)
    seen = but(enabled={"after": reading(WITH_NEWER, stacked)})
    for scenario in (TAKEN_OVER, REPLACEMENT_REVERSED):
        assert row(scenario, seen).outcome == NOT_APPLICABLE
        assert "fixes_2 is not cumulative" in row(scenario, seen).reason


def test_livepatches_that_share_no_state_have_nothing_to_take_over():
    other = replace(OLDER, states=(SystemState(7, 1),))
    seen = but(replaced={"before": reading(WITH_OLDER, installed(other))})
    assert row(TAKEN_OVER, seen, older=other).outcome == NOT_APPLICABLE


def test_a_livepatch_without_states_has_none_to_modify_and_none_to_take_over():
    stateless = replace(NEWER, states=())
    shown = replace(RUNS_NEWER, patches=(installed(stateless),))
    seen = but(enabled={"after": shown}, replaced={"after": shown})
    found = outcomes(seen, stateless)
    assert found.pop(MODIFIED) == found.pop(TAKEN_OVER) == NOT_APPLICABLE
    assert set(found.values()) == {PASSED}
    assert set(outcomes(without_probes(seen), stateless).values()) == {NOT_APPLICABLE}


def test_without_probes_every_row_says_that_the_system_state_was_not_looked_at():
    for found in judge(NEWER, OLDER, without_probes(GOOD)):
        assert found.outcome == PASSED
        assert found.reason.endswith("Without probes, the system state itself was not looked at.")


def test_without_the_kernels_list_the_probes_decide_and_the_row_says_so():
    unlisted = replace(HAS_REPLACED, states_source="unknown", patches=(NEWER,))
    seen = but(
        enabled={"after": replace(RUNS_NEWER, states_source="file", patches=(installed(NEWER),))},
        replaced={"after": unlisted},
    )
    for scenario in (MODIFIED, TAKEN_OVER):
        assert row(scenario, seen).outcome == PASSED
        assert "The kernel's own list can't be read" in row(scenario, seen).reason
        assert row(scenario, without_probes(seen)).outcome == NOT_APPLICABLE


@pytest.mark.parametrize("scenario", [REVERSED, REPLACEMENT_REVERSED, CLEANED_UP])
def test_what_could_not_be_brought_about_has_not_passed(scenario):
    missed = {"outcome": MISSED, "reason": "it ended too soon."}
    seen = but(reversed=missed, replacement_reversed=missed, load_failed=missed)
    assert (row(scenario, seen).outcome, row(scenario, seen).reason) == (
        NOT_APPLICABLE,
        "it ended too soon.",
    )


def test_what_was_not_reached_has_not_passed():
    leaves_it = but(disabled={"after": reading("5 4 1 7")})
    seen = Observations(enabled=leaves_it.enabled, disabled=leaves_it.disabled)
    found = outcomes(seen)
    assert (found.pop(MODIFIED), found.pop(RESTORED)) == (PASSED, FAILED)
    assert set(found.values()) == {NOT_APPLICABLE}


def test_what_is_restored_one_way_only_says_so():
    seen = replace(GOOD, replacement_disabled=None)
    assert row(RESTORED, seen).reason == "alone; the other way was not reached."


@pytest.mark.parametrize(
    ("printk", "log", "outcome"),
    [
        pytest.param(ORIGINAL, FAILED_LATE, PASSED, id="it cleans up"),
        pytest.param(WITH_NEWER, FAILED_LATE, FAILED, id="it does not"),
        pytest.param(ORIGINAL, (), NOT_APPLICABLE, id="no callback has run"),
        pytest.param(ORIGINAL, None, NOT_APPLICABLE, id="whether one has run can't be told"),
        pytest.param(WITH_NEWER, None, FAILED, id="whoever it was, it does not"),
    ],
)
def test_one_that_cannot_be_enabled_is_judged_by_what_its_own_error_leaves(printk, log, outcome):
    seen = Observations(
        enabled=Observation(
            "enable", REFUSED, NOTHING, reading(printk), "the kernel said ENOMEM.", log
        )
    )
    found = outcomes(seen)
    assert (found.pop(MODIFIED), found.pop(CLEANED_UP)) == (FAILED, outcome)
    assert set(found.values()) == {NOT_APPLICABLE}


def test_the_evidence_is_what_a_kernel_person_looks_at():
    observed = replace(GOOD.replaced, what="enable fixes_2", log=("livepatch: done",))
    assert row(TAKEN_OVER, replace(GOOD, older_enabled=None, replaced=observed)).evidence == (
        "enable fixes_2: done",
        "  probe printk: 8 4 1 7 -> 9 4 1 6",
        "  list before (kernel): fixes_1 states 1 v1 data aa",
        "  list after (kernel): fixes_2 states 1 v2 data aa, 2 v1 data bb",
        "  sysfs: fixes_2 enabled 1, transition 0, patched nothing",
        "  modules: fixes_2, fixes_1",
        "  log: livepatch: done",
    )


def test_of_a_long_output_the_evidence_has_what_changed():
    before, after = (
        replace(NOTHING, probes=(("sysctl", "a = 1\nb = %d\nc = 3" % b),)) for b in (2, 5)
    )
    seen = replace(GOOD, reversed=Observation("reverse", DONE, before, after))
    assert [line for line in row(REVERSED, seen).evidence if "probe" in line] == [
        "  probe sysctl: @@ -2 +2 @@",
        "  probe sysctl: -b = 2",
        "  probe sysctl: +b = 5",
    ]
