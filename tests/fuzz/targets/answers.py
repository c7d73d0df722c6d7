# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A board's answers: through plan, waves, rows and table, or one sentence that says why not."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

from ansible_collections.orangepi.livepatch.plugins.module_utils.answer import answer_of
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    board_to_json,
    file_to_json,
    livepatch_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet import rollback, rollout
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import read_catalog
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.outcome import (
    OUTCOMES,
    result_of,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.plan import (
    Caller,
    plan_fleet,
    rows_after,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_board, a_file

V1, V2 = (
    Livepatch("fixes_%d" % n, True, (SystemState(1, n),), build_id="%02x" % n * 20) for n in (1, 2)
)
CATALOG = read_catalog([file_to_json(a_file(patch)) for patch in (V1, V2)])
NOTED = [{"name": V1.name, "build_id": V1.build_id, "srcversion": None, "params": ""}]

# What a board might say where it says anything, or instead of it.
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**64, 2**200, 1e308, "", "x", "../x", "\x1b[2J", "\n", "x" * 5000,
    [], {}, [[]], [None], {"": None}, "{{ 1 }}", "fixes_2", "unknown", "completed", "stalled",
)  # fmt: skip
_KEYS = (
    "ansible_facts",
    "skipped",
    "unreachable",
    "failed",
    "msg",
    "warnings",
    "_needs",
    "changed",
)


def seeds() -> list[bytes]:
    """What honest boards say to livepatch_info, and then to livepatch_stack."""
    info = dict(board_to_json(a_board([V1])), history=[NOTED])
    done = {
        "changed": True,
        "decision": {},
        "transition": {"outcome": "completed", "direction": "patching", "seconds": 1.0},
        "restored": False,
        "before": {"patches": [livepatch_to_json(V1)], "system_states": []},
        "after": {"patches": [livepatch_to_json(V2)], "system_states": []},
        "states_source": "kernel",
        "kernel_log": ["livepatch: 'fixes_2': patching complete"],
    }
    bare = dict(board_to_json(replace(a_board(), supported=False)), history=[])
    return [json.dumps(pair).encode() for pair in ([info, done], [bare, {"failed": True}])]


def check(data: bytes) -> None:
    """Whatever it says, it gets a row, harms no other board's, and never comes out well undone."""
    info, done = json.loads(data)
    answers = {"b1": _passed("livepatch_info", info), "b2": _passed("livepatch_info", _honest())}
    for role, prefix in ((rollout, "rollout_"), (rollback, "rollback_")):
        plan = plan_fleet(
            ["b1", "b2"],
            ["b1", "b2"],
            answers.get,
            lambda answer, role=role: role.plan(answer, CATALOG),
            Caller(prefix, ["100%"]),
        )
        assert json.loads(json.dumps(plan)) == plan
        results = {"b1": _passed("livepatch_stack", done)}
        rows = rows_after(plan, results.get)
        table = result_of(rows)["table"]
        assert all(line.isprintable() for line in table), table
        assert max(map(len, table)) < 20000
        assert [row.board for row in rows] == ["b1", "b2"]
        planned = {row["board"]: row["outcome"] for row in plan["result"]["boards"]}
        assert planned["b2"] in ("update", "nothing to do", "roll back")
        for row in rows:
            undone = row.board in plan["turns"] and row.board not in results
            assert not undone or not OUTCOMES[row.outcome].well, row


def _honest() -> Any:
    return json.loads(seeds()[0])[0]


def _passed(module: str, answer: Any) -> dict[str, Any]:
    """As the action plugin hands it on."""
    try:
        return answer_of(module, answer if isinstance(answer, dict) else {"answer": answer})
    except ShapeError as error:
        return {"failed": True, "msg": "the board's answer was not understood: %s." % error}


def mutate(random: Random, data: bytes, seeds: list[bytes]) -> bytes:
    """Another value somewhere, a key more, or one less."""
    pair = json.loads(data)
    if not isinstance(pair, list) or len(pair) != 2:
        return seeds[0]
    place, key = pair, random.randrange(2)
    while random.random() < 0.8 and isinstance(place[key], (dict, list)) and place[key]:
        place = place[key]
        key = (
            random.choice(list(place)) if isinstance(place, dict) else random.randrange(len(place))
        )
    if isinstance(place[key], dict) and random.random() < 0.3:
        place[key][random.choice(_KEYS)] = random.choice(_VALUES)
    elif isinstance(place, dict) and random.random() < 0.3:
        del place[key]
    elif isinstance(place, list) and place is not pair and random.random() < 0.2:
        place *= random.choice((2, 50))
    else:
        place[key] = random.choice(_VALUES)
    return json.dumps(pair).encode()
