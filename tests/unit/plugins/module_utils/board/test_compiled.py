# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compiled code is used again for the same source alone, and otherwise nobody notices that it is.

Every run is a Python of its own, with a zip of its own, as on a board.
"""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import compiled

SOURCES = {
    "board/__init__.py": "",
    "thing/__init__.py": "",
    "thing/data.txt": "text",
    "thing/rules.py": "from thing.deep import deepest\n\ndef fail():\n    raise ValueError(2)\n",
    "thing/deep/__init__.py": "",
    "thing/deep/deepest.py": "VALUE = 1\n",
}
ALL = ["thing/__init__.py", "thing/deep/__init__.py", "thing/deep/deepest.py", "thing/rules.py"]
# What Python compiles is an audit event, whoever asks for it.
PROGRAM = """\
import json, os, sys
archive, directory = sys.argv[1:]
sys.path.insert(0, archive)
from board import compiled
seen = []
def hook(event, arguments):
    if event == "compile" and str(arguments[1]).startswith(archive + "/thing/"):
        seen.append(arguments[1][len(archive) + 1:])
sys.addaudithook(hook)
answer = None
%s
import thing.rules
%s
print(json.dumps({"compiled": sorted(seen), "answer": answer}))
"""
KEEP = "compiled.keep(directory)"


class Board:
    """A directory for one boot, and runs of Python that share it."""

    def __init__(self, path):
        self.path = path
        self.directory = path / "run"
        self.pack = self.directory / "compiled"
        self.runs = 0

    def start(self, after="", before=KEEP, sources=None):
        self.runs += 1
        archive = self.path / ("payload_%d" % self.runs) / "payload.zip"
        archive.parent.mkdir()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(compiled.__file__, "board/compiled.py")
            for name, source in (sources or SOURCES).items():
                # All of the same time, so that nothing but the content tells them apart.
                file.writestr(zipfile.ZipInfo(name), source)
        return subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM % (before, after), archive, self.directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args, **kwargs):
        process = self.start(*args, **kwargs)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        return json.loads(output)

    def compiled(self, **kwargs):
        return self.run(**kwargs)["compiled"]


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)


def test_a_source_is_compiled_once_in_a_boot(board):
    assert board.compiled() == ALL
    assert board.compiled() == []


def test_without_it_every_source_is_compiled_every_time(board):
    assert set(board.compiled(before="")) == set(ALL)
    assert set(board.compiled(before="")) == set(ALL)


def test_a_changed_source_is_compiled_anew_and_the_others_are_not(board):
    changed = dict(SOURCES, **{"thing/deep/deepest.py": "VALUE = 2\n"})
    value = "answer = thing.rules.deepest.VALUE"
    assert board.run(value)["answer"] == 1
    assert board.run(value, sources=changed) == {"compiled": ["thing/deep/deepest.py"], "answer": 2}
    assert board.run(value, sources=changed) == {"compiled": [], "answer": 2}


def test_newer_code_takes_the_place_of_older(board):
    sizes = set()
    for number in range(1, 5):
        board.run(sources=dict(SOURCES, **{"thing/deep/deepest.py": "VALUE = %d\n" % number}))
        sizes.add(board.pack.stat().st_size)
    assert len(sizes) == 1


def test_what_one_run_did_not_import_is_kept_for_the_next(board):
    sources = dict(SOURCES, **{"thing/more.py": "", "thing/other.py": ""})
    board.run("import thing.more", sources=sources)
    assert board.run("import thing.other", sources=sources)["compiled"] == ["thing/other.py"]
    assert board.run("import thing.more, thing.other", sources=sources)["compiled"] == []


def test_a_run_that_compiles_nothing_writes_nothing(board):
    board.run()
    before = board.pack.stat()
    board.run()
    assert board.pack.stat().st_ino == before.st_ino
    assert board.pack.stat().st_mtime_ns == before.st_mtime_ns


def test_files_of_the_same_content_keep_their_names(board):
    same = "def name():\n    return name.__code__.co_filename\n"
    sources = dict(SOURCES, **{"thing/one.py": same, "thing/two.py": same})
    names = "from thing import one, two; answer = [one.name(), two.name()]"
    for _cold_and_warm in range(2):
        answer = board.run(names, sources=sources)["answer"]
        archive = str(board.path / ("payload_%d" % board.runs) / "payload.zip")
        assert answer == [archive + "/thing/one.py", archive + "/thing/two.py"]


NOTICEABLE = [
    "[thing.__file__, thing.rules.__file__]",
    "[thing.__path__, thing.rules.__package__]",
    "[thing.rules.__cached__, thing.rules.__spec__.cached, thing.rules.__spec__.has_location]",
    "[thing.rules.__spec__.origin, thing.__spec__.submodule_search_locations]",
    "[isinstance(thing.__loader__, zipimport.zipimporter), thing.__loader__.archive]",
    "[thing.rules.__loader__.prefix, thing.deep.__loader__.is_package('thing.deep')]",
    "thing.rules.__loader__.get_source('thing.rules')",
    "thing.rules.__loader__.get_filename('thing.rules')",
    "pkgutil.get_data('thing', 'data.txt').decode()",
    "importlib.resources.files('thing').joinpath('data.txt').read_text()",
    "[found.name for found in pkgutil.walk_packages(thing.__path__)]",
    "inspect.getsource(thing.rules.fail)",
    "str(importlib.util.find_spec('thing.missing'))",
    "outcome(lambda: importlib.import_module('thing.missing'))",
    "error(lambda: thing.__loader__.get_code('thing.missing'))",
    "error(lambda: thing.__loader__.get_filename('thing.missing'))",
    "outcome(thing.rules.fail)",
    "outcome(lambda: importlib.import_module('thing.raises'))",
    "error(lambda: importlib.import_module('thing.broken'))",
    "runpy.run_module('thing.latin')['WORD']",
    "runpy.run_module('thing.dos')['WORD']",
]


def test_nothing_else_differs_from_zipimport(board):
    sources = dict(
        SOURCES,
        **{
            "thing/raises.py": "\n\nraise RuntimeError(thing)",
            "thing/broken.py": "\n(",
            "thing/latin.py": "# coding: latin-1\nWORD = '\xe9'\n".encode("latin-1"),
            "thing/dos.py": b"WORD = '''a\r\nb'''\r\n",
        },
    )
    show = """
import importlib, importlib.resources, inspect, pkgutil, runpy, traceback, zipimport
def outcome(function):
    try:
        return str(function())
    except Exception:
        return traceback.format_exc()
def error(function):
    try:
        return str(function())
    except Exception as error:
        return traceback.format_exception_only(type(error), error)
answer = {expression: eval(expression) for expression in %r}
"""
    plainly, cold, warm = (
        json.loads(
            json.dumps(board.run(show % NOTICEABLE, before=before, sources=sources)["answer"])
            # Every zip has a place of its own.
            .replace("payload_%d" % board.runs, "payload")
        )
        for before in ("", KEEP, KEEP)
    )
    assert cold == plainly
    assert warm == plainly


@pytest.mark.parametrize("how", ["cut", "empty", "a bit", "more", "text", "no code"])
def test_a_damaged_file_is_no_code(board, how):
    board.run()
    content = board.pack.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "empty": b"",
        "a bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "more": content + b"\0",
        "text": b"x" * 100,
        "no code": content[:32],
    }
    board.pack.write_bytes(damaged[how])
    assert board.compiled() == ALL
    assert board.compiled() == []


@pytest.mark.parametrize(
    "other",
    [
        "import importlib.util; importlib.util.MAGIC_NUMBER = b'0123'",
        "sys.implementation.cache_tag = 'cpython-00'",
        "sys.version = '3.0.0'",
    ],
)
def test_code_of_another_python_is_no_code(board, other):
    board.run()
    # Python has read ours already.
    anew = other + "; import importlib; importlib.reload(compiled); "
    assert board.compiled(before=anew + KEEP) == ALL
    assert board.compiled() == ALL


def _anyones(pack):
    pack.chmod(0o644)


def _a_groups(pack):
    pack.chmod(0o620)


def _somebody_elses(pack):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(pack, 12345, 12345)


def _a_link(pack):
    pack.rename(pack.with_name("elsewhere"))
    pack.symlink_to("elsewhere")


def _a_pipe(pack):
    pack.unlink()
    os.mkfifo(pack, 0o600)


@pytest.mark.parametrize("change", [_anyones, _a_groups, _somebody_elses, _a_link, _a_pipe])
def test_a_file_that_is_not_ours_alone_is_no_code_and_is_replaced(board, change):
    board.run()
    change(board.pack)
    assert board.compiled() == ALL
    assert board.compiled() == []
    assert board.pack.lstat().st_mode == 0o100600


def test_a_file_that_cannot_be_replaced_does_no_harm(board):
    board.directory.mkdir(0o700)
    board.pack.mkdir()
    assert board.compiled() == ALL
    assert os.listdir(board.directory) == ["compiled"]


@pytest.mark.parametrize("change", [_anyones, _somebody_elses, _a_link])
def test_a_directory_that_is_not_ours_alone_is_left_alone(board, change):
    board.directory.mkdir(0o700)
    change(board.directory)
    assert set(board.compiled()) == set(ALL)
    assert os.listdir(board.directory) == []


def test_a_directory_that_cannot_be_made_is_done_without(board):
    board.directory = board.path / "absent" / "run"
    assert set(board.compiled()) == set(ALL)


def test_the_directory_and_what_is_in_it_are_ours_alone(board):
    board.run("os.umask(0)")
    assert board.directory.stat().st_mode == 0o40700
    assert board.pack.stat().st_mode == 0o100600
    assert os.listdir(board.directory) == ["compiled"]


def test_what_gets_too_big_is_not_kept(board):
    board.run("compiled.MAX_SIZE = 1000")
    assert not board.pack.exists()


def test_what_is_too_big_is_not_read(board):
    board.run()
    assert board.compiled(before="compiled.MAX_SIZE = 100; " + KEEP) == ALL


def test_runs_at_the_same_time_do_each_other_no_harm(board):
    processes = [board.start() for _number in range(8)]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert json.loads(output)["compiled"] in (ALL, [])
    assert board.compiled() == []
    assert os.listdir(board.directory) == ["compiled"]


def test_what_a_killed_run_left_does_no_harm(board):
    board.run("open(os.path.join(directory, 'compiled.%d' % os.getpid()), 'w').close()")
    assert board.compiled() == ALL
    assert board.compiled() == []


def test_a_forked_process_writes_nothing(board):
    fork = "\n".join(
        [
            "if os.fork() == 0:",
            "    sys.exit()",
            "os.wait()",
            "answer = os.listdir(directory)",
        ]
    )
    assert board.run(fork)["answer"] == []
    assert board.compiled() == []


def test_a_module_without_a_source_is_imported_as_ever(board, tmp_path):
    source = tmp_path / "more.py"
    source.write_text("VALUE = 7\n")
    py_compile.compile(str(source), cfile=str(tmp_path / "more.pyc"))
    sources = dict(SOURCES, **{"thing/more.pyc": (tmp_path / "more.pyc").read_bytes()})
    more = "import thing.more; answer = [thing.more.VALUE, thing.more.__file__[-14:]]"
    assert board.run(more, sources=sources)["answer"] == [7, "thing/more.pyc"]


def test_a_program_can_begin_before_it_has_its_zip(board):
    text = "program = {'__name__': 'compiled'}; exec(%r, program); "
    begin = text % Path(compiled.__file__).read_text() + "program['keep'](directory)"
    assert board.compiled(before=begin) == ALL
    assert board.compiled(before=begin) == []
