# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What passes of a board's answer, and what never does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.answer import (
    ANSWERS,
    answer_of,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    board_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board

INFO = dict(board_to_json(a_board([Livepatch("fixes_1", True, (SystemState(1, 1),))])), history=[])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_an_honest_answer_passes_unchanged():
    assert answer_of("livepatch_info", INFO) == INFO


def test_what_a_terminal_would_obey_is_made_visible():
    passed = answer_of("livepatch_info", dict(INFO, board={"model": "x\x1b[2J", "compatible": []}))
    assert passed["board"]["model"] == "x?[2J"


@pytest.mark.parametrize(
    "lie",
    [
        {"kernel": {"release": 5}},
        {"board": {"model": None, "compatible": 5}},
        {"board": {"model": None, "compatible": ["{{ lookup('pipe', 'id') }}"]}},
        {"kernel": dict(INFO["kernel"], release="{{x}}")},
        {"patches": INFO["patches"] * 1025},
        {"support": {"supported": "yes"}},
        {"patches": [{"name": "fixes_1", "states": [{"id": 0, "version": 1}]}]},
        {"history": [[{"name": "../../etc"}]]},
        {"states_source": "hearsay"},
        {"leftover": "fixes_1"},
    ],
)
def test_an_answer_of_another_shape_is_refused(lie):
    with pytest.raises(ShapeError):
        answer_of("livepatch_info", dict(INFO, **lie))


def test_a_long_log_of_an_honest_board_is_cut():
    assert len(answer_of("livepatch", {"kernel_log": ["line"] * 5000})["kernel_log"]) == 2000


def test_an_answer_that_is_larger_than_any_board_is_refused():
    with pytest.raises(ShapeError, match="more than"):
        answer_of("livepatch", {"decision": {"x": [[0] * 1500] * 1500}})
    with pytest.raises(ShapeError, match="longer than"):
        answer_of("livepatch", {"msg": "x" * (2 << 20)})


@given(st.sampled_from(sorted(ANSWERS)), st.dictionaries(st.text(), JSON, max_size=4), st.data())
def test_whatever_is_answered_only_declared_keys_and_printable_text_pass(module, answer, data):
    declared = [*ANSWERS[module], "changed", "failed", "msg", "warnings"]
    answer = dict(answer, **data.draw(st.dictionaries(st.sampled_from(declared), JSON)))
    try:
        passed = answer_of(module, answer)
    except ShapeError:
        return
    assert set(passed) <= {
        *ANSWERS[module],
        "changed",
        "failed",
        "msg",
        "warnings",
        "rc",
        "_needs",
        "exception",
        "module_stdout",
        "module_stderr",
    }
    assert json.loads(json.dumps(passed)) == passed
    text = json.dumps(
        {key: value for key, value in passed.items() if key != "exception"}, ensure_ascii=False
    )
    assert "\x1b" not in text
