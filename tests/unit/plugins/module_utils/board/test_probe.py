# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A probe's output, and the bounds that keep a board's answer small and soon."""

from __future__ import annotations

import sys
import time

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import probe
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.probe import (
    Probe,
    ProbeError,
    probes_from_arguments,
    read,
)


def python(code):
    return Probe("p", (sys.executable, "-c", code))


def test_a_command_is_a_string_to_be_split_or_a_list():
    assert probes_from_arguments(
        [{"name": "a", "command": "cat 'a file'"}, {"name": "b", "command": ["sleep", 1]}]
    ) == (Probe("a", ("cat", "a file")), Probe("b", ("sleep", "1")))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([{"name": "a", "command": ""}], "the probe a has no command"),
        ([{"name": "a", "command": "cat 'x"}], "the command of the probe a: No closing quotation"),
        ([{"name": "a", "command": "x"}] * 2, "two probes have the name a"),
    ],
)
def test_a_probe_that_makes_no_sense_is_refused(arguments, reason):
    with pytest.raises(ProbeError, match=reason):
        probes_from_arguments(arguments)


def test_the_output_is_text_without_tabs_and_without_the_blank_at_its_end():
    assert read(python(r"print('4\t4\t1\t7\n')")) == "4 4 1 7"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Probe("p", ("/no/such/command",)), "the probe p can't be run: .*No such file"),
        (python("import sys; sys.exit('no state')"), "the probe p ended with status 1: no state"),
        (python("print('x' * 70000)"), "the probe p prints more than 64 KiB"),
    ],
)
def test_a_probe_that_cannot_be_read_says_why(found, reason):
    with pytest.raises(ProbeError, match=reason):
        read(found)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import time; time.sleep(60)", id="it prints nothing"),
        pytest.param(
            "import os, time; os.close(1); os.close(2); time.sleep(60)", id="it closes its output"
        ),
        pytest.param(
            "import subprocess; subprocess.Popen(['sleep', '60'])", id="its child goes on"
        ),
    ],
)
def test_a_probe_that_takes_too_long_is_ended(monkeypatch, code):
    monkeypatch.setattr(probe, "MAX_SECONDS", 1.0)
    start = time.monotonic()
    with pytest.raises(ProbeError, match="the probe p takes longer than 1 seconds"):
        read(python(code))
    assert time.monotonic() - start < 10
