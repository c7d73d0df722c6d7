# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The import graph: who may import whom, and what runs where.

Drawn from the sources, so that an arrow that design forbids fails here before
anybody meets it.  The layers, from the top: what Ansible calls, the controller's
packages, the board's, and what both ends share.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path, PurePath

import pytest

REPOSITORY = Path(__file__).parents[2]
PLUGINS = REPOSITORY / "plugins"
PACKAGE = "ansible_collections.orangepi.livepatch.plugins."


# An arrow means "may import".  The argument specs and the actions' base belong to what Ansible
# calls; they lie elsewhere because Ansible sends a board module_utils alone, and takes every file
# in plugins/action for an action.
MAY_IMPORT = {
    "modules": {"board", "both ends", "arguments"},
    "action": {"actions' base", "file", "both ends", "arguments"},
    "actions' base": {"file", "both ends"},
    "filter": {"fleet", "file", "both ends"},
    "doc_fragments": set(),
    "arguments": set(),
    "fleet": {"both ends"},
    "file": {"both ends"},
    "board": {"both ends"},
    "both ends": set(),
}
KNOWS_ANSIBLE = {"modules", "action", "actions' base", "filter"}
LIBRARIES = {"file": {"elftools", "zstandard", "compression"}, "fleet": {"yaml"}}


def room(path: PurePath) -> str:
    """The room of a file, told by its path alone."""
    if path == PurePath("module_utils/arguments.py"):
        return "arguments"
    if path == PurePath("plugin_utils/board_action.py"):
        return "actions' base"
    top, below = path.parts[0], path.parts[1]
    if top == "module_utils":
        return "board" if below == "board" else "both ends"
    return below if top == "plugin_utils" else top


def sources() -> dict[PurePath, ast.Module]:
    return {
        path.relative_to(PLUGINS): ast.parse(path.read_text())
        for path in sorted(PLUGINS.rglob("*.py"))
    }


def imports(tree: ast.Module) -> set[str]:
    """The dotted names that a file imports, at its top or inside its functions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be read off"
            names.update("%s.%s" % (node.module, alias.name) for alias in node.names)
    return names


def own(name: str) -> PurePath | None:
    """The file of ours that a dotted name lies in; None where it is not ours."""
    if not name.startswith(PACKAGE):
        return None
    parts = name[len(PACKAGE) :].split(".")
    for length in (len(parts), len(parts) - 1):
        path = PurePath(*parts[:length]).with_suffix(".py")
        if (PLUGINS / path).is_file():
            return path
    raise AssertionError("%s is in no file" % name)


SOURCES = sources()
ARROWS = {
    path: {target for target in map(own, imports(tree)) if target is not None} - {path}
    for path, tree in SOURCES.items()
}


def test_every_file_lies_in_a_room_of_the_design():
    assert {room(path) for path in SOURCES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_it_imports_nothing_upward_and_nothing_beside(path):
    here = room(path)
    for target in ARROWS[path]:
        assert room(target) in MAY_IMPORT[here] | {here}, "%s imports %s" % (path, target)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_only_what_ansible_calls_knows_ansible(path):
    knows = {name for name in imports(SOURCES[path]) if name.split(".")[0] == "ansible"}
    assert not knows or room(path) in KNOWS_ANSIBLE


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_what_runs_on_a_board_needs_the_standard_library_alone(path):
    outside = {name.split(".")[0] for name in imports(SOURCES[path])}
    outside -= {*sys.stdlib_module_names, "ansible", "ansible_collections"}
    assert outside <= LIBRARIES.get(room(path), set())


@pytest.mark.parametrize("path", [path for path in SOURCES if room(path) == "both ends"], ids=str)
def test_what_both_ends_share_does_nothing_but_compute(path):
    does = {"os", "subprocess", "socket", "time", "fcntl", "ctypes", "select", "signal"}
    names = {name for name in imports(SOURCES[path]) if not name.startswith("os.path.")}
    assert not does & {name.split(".")[0] for name in names}


def test_no_circle_leads_back_to_a_file():
    left = {path: set(targets) for path, targets in ARROWS.items()}
    while True:
        done = {path for path, targets in left.items() if not targets & left.keys()}
        if not done:
            break
        left = {path: targets for path, targets in left.items() if path not in done}
    assert not left


def test_a_reader_of_a_board_carries_nothing_that_changes_one():
    reached, following = set(), {PurePath("modules/livepatch_info.py")}
    while following:
        reached |= following
        following = {target for path in following for target in ARROWS[path]} - reached
    acting = {"run", "transition", "conformance_run", "act", "background"}
    assert not {path.stem for path in reached} & {*acting, "gate", "planner", "stack"}
