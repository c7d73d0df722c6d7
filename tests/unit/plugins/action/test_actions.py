# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both ends of a task: the action plugin here, its module on a board with a made-up kernel.

What passes between them goes through JSON and the module's own argument spec, as
it does over the wire; only the wire is missing.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.orangepi.livepatch.plugins.action import (
    livepatch,
    livepatch_check,
    livepatch_conformance,
    livepatch_file_info,
    livepatch_info,
    livepatch_stack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board import (
    act,
    background,
    transition,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import BootStore
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import builds
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
    Needs,
    from_controller,
)
from ansible_collections.orangepi.livepatch.plugins.modules import livepatch as livepatch_module
from ansible_collections.orangepi.livepatch.plugins.modules import (
    livepatch_check as livepatch_check_module,
)
from ansible_collections.orangepi.livepatch.plugins.modules import (
    livepatch_info as livepatch_info_module,
)
from ansible_collections.orangepi.livepatch.plugins.modules import (
    livepatch_stack as livepatch_stack_module,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils import board_action
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.board_action import (
    BoardAction,
    keeping_code,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    inspect,
    module_image,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.made_up_kernel import (
    MadeUpKernel,
)

MODULES = {
    "livepatch": livepatch_module,
    "livepatch_check": livepatch_check_module,
    "livepatch_info": livepatch_info_module,
    "livepatch_stack": livepatch_stack_module,
}


ACTIONS = {
    "livepatch": livepatch,
    "livepatch_check": livepatch_check,
    "livepatch_conformance": livepatch_conformance,
    "livepatch_file_info": livepatch_file_info,
    "livepatch_info": livepatch_info,
    "livepatch_stack": livepatch_stack,
}


class Ended(Exception):
    pass


class Module:
    """An AnsibleModule that validates what it gets, and ends by an exception."""

    def __init__(self, args, check_mode, argument_spec, supports_check_mode=False, **rules):
        validated = ArgumentSpecValidator(argument_spec, **rules).validate(args)
        assert not validated.error_messages
        self.params = validated.validated_parameters
        self.check_mode = check_mode
        self._diff = False
        self.warnings = []

    def warn(self, warning):
        self.warnings.append(warning)

    def exit_json(self, **result):
        raise Ended(dict(result, warnings=self.warnings))

    def fail_json(self, **result):
        raise Ended(dict(result, failed=True, warnings=self.warnings))


class Board:
    """The other end of the wire.

    files: those on the board, by path; calls: the modules that were executed, each
    with what it was told; answers: what it says instead of executing them.
    """

    def __init__(self, kernel, monkeypatch):
        self.kernel = kernel
        self.files = {}
        self.calls = []
        self.answers = []
        self.monkeypatch = monkeypatch

    def execute(self, check_mode, module_name, module_args, task_vars):
        args = json.loads(json.dumps(module_args))
        name = module_name.rpartition(".")[2]
        told = from_controller(args.get("_from_controller"))
        self.calls.append(SimpleNamespace(name=name, args=args, told=told))
        if self.answers:
            return dict(self.answers.pop(0))
        if told.read is not None:
            return {"content": base64.b64encode(self.files[told.read]).decode()}
        module = MODULES[name]
        self.monkeypatch.setattr(
            module, "AnsibleModule", lambda **spec: Module(args, check_mode, **spec)
        )
        with pytest.raises(Ended) as ended:
            module.main()
        return json.loads(json.dumps(dict(ended.value.args[0], invocation={"module_args": args})))


@pytest.fixture
def files(builder):
    """The livepatch files of these tests, inspected, by name, and their bytes."""
    paths = {
        name: builder.module(source, *options)
        for name, source, options in [
            ("fixes_1", "fixes_1.c", ()),
            ("fixes_2", "fixes_2.c", ()),
            ("extra_state", "extra_state.c", ()),
        ]
    }
    return {name: (inspect(path.read_bytes(), str(path)), path) for name, path in paths.items()}


@pytest.fixture
def catalog(files, tmp_path):
    """A directory with all of them."""
    directory = tmp_path / "catalog"
    directory.mkdir()
    for _file, path in files.values():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


@pytest.fixture
def board(files, tmp_path, monkeypatch):
    kernel = MadeUpKernel()
    kernel.files = {module_image(path.read_bytes()): file for file, path in files.values()}
    kernel.release = files["fixes_1"][0].kernel_release
    kernel.store = store = BootStore(str(tmp_path / "store"))
    monkeypatch.setattr(transition, "RELEASE_TIMEOUT", 0)
    monkeypatch.setattr(act, "Kernel", lambda _store: kernel)
    for module in (act, livepatch_check_module, livepatch_info_module):
        monkeypatch.setattr(module, "BootStore", lambda: store)
    for module in (livepatch_check_module, livepatch_info_module):
        monkeypatch.setattr(module, "read_board", lambda _store, known: kernel.read(known))
    # In this process, where the made-up kernel is.
    monkeypatch.setattr(background, "_start", lambda _store, _work: None)
    return Board(kernel, monkeypatch)


@pytest.fixture
def do(board, catalog, monkeypatch):
    """Run a task: the action's name, its arguments."""

    def run(name, /, check_mode=False, **args):
        task = SimpleNamespace(args=args, check_mode=check_mode, async_val=0, action=name)
        shell = SimpleNamespace(tmpdir="/none")
        action = ACTIONS[name].ActionModule(
            task, SimpleNamespace(_shell=shell), None, None, None, None
        )
        monkeypatch.setattr(
            action,
            "_execute_module",
            lambda module_name, module_args, task_vars: board.execute(
                check_mode, module_name, module_args, task_vars
            ),
        )
        monkeypatch.setattr(action, "_find_needle", lambda _directory, src: str(catalog / src))
        return action.run(None, {"inventory_hostname": "orangepi5-1"})

    return run


def installed(board):
    return [patch.name for patch in board.kernel.patches]


def names(board):
    return [call.name for call in board.calls]


def test_a_board_is_read_in_one_call(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    answer = do("livepatch_info")
    assert [patch["name"] for patch in answer["patches"]] == ["fixes_1"]
    assert names(board) == ["livepatch_info"]
    assert not {"invocation", "_needs"} & answer.keys()


def test_states_that_no_board_shows_are_looked_for_in_the_files_that_it_names(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    board.kernel.hides_states = True
    path = "/lib/modules/x/fixes_1.ko"
    board.files[path] = files["fixes_1"][1].read_bytes()
    board.monkeypatch.setattr(
        "ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed.module_files",
        lambda _names, _beside=None: [path],
    )
    answer = do("livepatch_info")
    assert names(board) == ["livepatch_info"] * 3
    assert answer["states_source"] == "file"
    assert [state["version"] for state in answer["system_states"]] == [1]


def test_states_that_are_nowhere_stay_unknown(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    board.kernel.hides_states = True
    answer = do("livepatch_info")
    assert names(board) == ["livepatch_info"]
    assert (answer["states_source"], answer["system_states"]) == ("unknown", None)


def test_a_check_takes_one_call_and_changes_nothing(board, do, files):
    board.kernel.install(files["fixes_2"][0])
    answer = do("livepatch_check", src="fixes_1.ko", fail_on_refusal=False)
    assert not answer["decision"]["allowed"] and not answer.get("failed")
    assert "use allow_downgrade: true" in do("livepatch_check", src="fixes_1.ko")["msg"]
    assert names(board) == ["livepatch_check"] * 2 and board.kernel.calls == []


def test_a_check_finds_unknown_states_beside_its_file(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    board.kernel.hides_states = True
    assert do("livepatch_check", src="fixes_2.ko")["decision"]["allowed"]


def test_the_bytes_travel_only_where_they_are_loaded(board, do):
    assert do("livepatch", src="fixes_1.ko")["changed"]
    assert installed(board) == ["fixes_1"]
    sent = [call.told.candidates[0].image is not None for call in board.calls]
    assert sent == [False, True]
    assert not do("livepatch", src="fixes_1.ko")["changed"]
    assert len(board.calls) == 3


def test_check_mode_sends_no_bytes(board, do):
    assert do("livepatch", check_mode=True, src="fixes_1.ko")["changed"]
    assert [call.told.candidates[0].image for call in board.calls] == [None]


def test_a_livepatch_is_disabled_by_its_name_without_any_file(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    assert do("livepatch", name="fixes-1", state="absent")["changed"]
    assert (installed(board), len(board.calls)) == ([], 1)


def test_what_is_disabled_first_is_sent_along_for_the_way_back(board, do, files):
    board.kernel.install(files["fixes_2"][0])
    assert do("livepatch", src="fixes_1.ko", allow_downgrade=True)["changed"]
    assert [one.file.livepatch.build_id for one in board.calls[1].told.back] == [
        files["fixes_2"][0].livepatch.build_id
    ]


def test_enabled_without_a_file_says_what_is_missing(board, do):
    assert do("livepatch", name="fixes_1")["msg"].startswith("state: enabled needs src")
    assert board.calls == []


def test_a_file_that_is_not_there_says_how_to_name_one_on_the_board(board, do):
    answer = do("livepatch", src="missing.ko")
    assert answer["failed"] and "missing.ko" in answer["msg"]
    assert board.calls == []


def test_a_stack_is_loaded_with_two_calls_and_found_with_one(board, do):
    stack = [{"src": "fixes_2.ko"}, {"src": "extra_state.ko", "params": ""}]
    assert do("livepatch_stack", stack=stack)["changed"]
    assert (installed(board), len(board.calls)) == (["fixes_2", "extra_state"], 2)
    assert not do("livepatch_stack", stack=stack)["changed"]
    assert len(board.calls) == 3


def test_what_stays_is_named_and_to_none_the_stack_is_empty(board, do, files):
    for name in ("fixes_1", "extra_state"):
        board.kernel.install(files[name][0])
    do("livepatch_stack", stack=[{"name": "fixes_1"}])
    assert installed(board) == ["fixes_1"]
    do("livepatch_stack", stack=[])
    assert installed(board) == []


def decided(files, over, *stack, **more):
    """What a role gives: over what it decided, and which livepatches it decided on."""
    patches = [files[name][0].livepatch for name in over]
    return dict(
        {
            "stack": [{"src": name + ".ko", "params": ""} for name in stack],
            "unknown_states": "refuse",
            "allow_downgrade": False,
            "over": [vars(build) for build in builds(patches)],
            "sha256": [files[name][0].sha256 for name in stack],
            "back": None,
            "options": "rollout_",
        },
        **more,
    )


def test_what_a_role_has_decided_takes_one_call(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    answer = do("livepatch_stack", _decided=decided(files, ["fixes_1"], "fixes_2"))
    assert answer["changed"] and installed(board) == ["fixes_2"]
    assert names(board) == ["livepatch_stack"]


def test_a_decided_way_over_a_disable_takes_one_call_too(board, do, files, catalog):
    board.kernel.install(files["fixes_2"][0])
    back = [[str(catalog / "fixes_2.ko"), files["fixes_2"][0].sha256]]
    way = decided(files, ["fixes_2"], "fixes_1", allow_downgrade=True, back=back)
    do("livepatch_stack", _decided=way)
    assert installed(board) == ["fixes_1"]
    assert names(board) == ["livepatch_stack"]
    assert [one.file.livepatch.build_id for one in board.calls[0].told.back] == [
        files["fixes_2"][0].livepatch.build_id
    ]


def test_a_file_for_the_way_back_that_has_changed_is_not_sent(board, do, files, catalog):
    board.kernel.install(files["fixes_2"][0])
    back = [[str(catalog / "fixes_2.ko"), "00" * 32]]
    way = decided(files, ["fixes_2"], "fixes_1", allow_downgrade=True, back=back)
    do("livepatch_stack", _decided=way)
    assert board.calls[0].told.back == ()


def test_an_odd_answer_about_a_file_is_one_sentence(board, do):
    board.answers = [{"failed": True, "msg": 5}]
    answer = do("livepatch", src="/root/fixes_1.ko", remote_src=True)
    assert answer["failed"] and "could not be read from the board: 5" in answer["msg"]


def test_in_check_mode_a_role_sends_no_bytes(board, do, files):
    assert do("livepatch_stack", check_mode=True, _decided=decided(files, [], "fixes_2"))["changed"]
    assert [call.told.candidates[0].image for call in board.calls] == [None]


def test_a_file_that_has_changed_since_it_was_decided_on_is_not_sent(board, do, files, catalog):
    (catalog / "fixes_2.ko").write_bytes(files["fixes_1"][1].read_bytes())
    answer = do("livepatch_stack", _decided=decided(files, [], "fixes_2"))
    assert "has been changed since it was decided to load it" in answer["msg"]
    assert board.calls == []


def test_another_stack_than_was_decided_over_is_not_touched(board, do, files):
    board.kernel.install(files["fixes_1"][0])
    answer = do("livepatch_stack", _decided=decided(files, [], "fixes_2"))
    assert "decided over nothing, and fixes_1 is installed now" in answer["msg"]
    assert installed(board) == ["fixes_1"]


def test_a_refusal_names_the_roles_variable(board, do, files):
    board.kernel.install(files["fixes_2"][0])
    answer = do("livepatch_stack", _decided=decided(files, ["fixes_2"], "fixes_1"))
    assert "use rollout_allow_downgrade: true" in answer["msg"]


def test_while_the_board_is_at_work_it_is_asked_again_without_the_files(board, do, capsys):
    at_work = Needs(job="job.1", progress="fixes_1 is in transition\x1b[2J").to_json()
    board.answers = [{"_needs": at_work}, {"_needs": at_work}, {"changed": True}]
    assert do("livepatch", src="fixes_1.ko") == {"changed": True}
    assert [call.told.job for call in board.calls] == [None, "job.1", "job.1"]
    assert [call.told.candidates for call in board.calls[1:]] == [(), ()]
    out, err = capsys.readouterr()
    assert "orangepi5-1: fixes_1 is in transition?[2J, 0 s" in err and out == ""


@pytest.mark.parametrize("needs", ["x", 7, {"builds": "x"}, {"paths": [1]}])
def test_an_answer_that_makes_no_sense_is_one_sentence(board, do, needs):
    board.answers = [{"_needs": needs}]
    answer = do("livepatch_info")
    assert answer["failed"] and "was not understood" in answer["msg"]


def test_a_board_that_keeps_asking_is_not_answered_for_ever(board, do):
    board.answers = [{"_needs": Needs(candidates=True).to_json()}] * 10
    answer = do("livepatch", src="fixes_1.ko")
    assert answer["failed"] and "run again" in answer["msg"]
    assert len(board.calls) == 2


def test_conformance_gets_both_files_and_a_copy_that_fails(board, do):
    board.answers = [{"passed": True}]
    assert do("livepatch_conformance", newer="fixes_2.ko", older="fixes_1.ko")["passed"]
    (call,) = board.calls
    newer, older = call.told.candidates
    assert [newer.file.livepatch.name, older.file.livepatch.name] == ["fixes_2", "fixes_1"]
    assert newer.image and older.image and call.told.failing_copy.apply(newer.image)


def test_conformance_is_skipped_in_check_mode_before_any_board_is_asked(board, do):
    assert do("livepatch_conformance", check_mode=True, newer="fixes_2.ko")["skipped"]
    assert board.calls == []


def test_a_file_is_read_without_any_board(board, do, catalog):
    answer = do("livepatch_file_info", src="fixes_1.ko")
    assert [file["name"] for file in answer["files"]] == ["fixes_1"]
    directory = do("livepatch_file_info", src="")
    assert len(directory["files"]) == 3
    assert board.calls == []


PROGRAM = b"""#!/usr/bin/python3
import sys
def _ansiballz_main():
    print('done')
_ansiballz_main()
"""


def test_a_boards_program_begins_with_what_keeps_compiled_code(tmp_path):
    program = keeping_code(PROGRAM)
    assert program.startswith(b"#!/usr/bin/python3\nimport sys\ntry:\n")
    here = program.replace(b"/run/orangepi.livepatch", str(tmp_path / "run").encode())
    ran = subprocess.run([sys.executable, "-"], input=here, capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"done\n", b"")
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("program", [b"", b"print(1)", PROGRAM * 2])
def test_a_program_that_is_not_understood_is_left_alone(program):
    assert keeping_code(program) == program


@pytest.mark.parametrize("built", [(), (1,), (1, 2), ("a", "b", "c", "d"), (1, 2, 3, 4, 5)])
def test_what_ansible_builds_otherwise_than_it_did_is_left_alone(built, monkeypatch):
    monkeypatch.setattr(ActionBase, "_configure_module", lambda _self: built)
    assert BoardAction._configure_module(object.__new__(livepatch_info.ActionModule)) == built


@pytest.mark.parametrize(
    "answer",
    [
        {"ansible_facts": {"rollout_waves": ["100%"]}},
        {"skipped": True},
        {"unreachable": True},
        {"deprecations": [{"msg": "x"}]},
        {"add_host": {"host_name": "x"}},
        {"results": [{"failed": True}]},
        {"_ansible_no_log": True},
        {"invocation": {}},
    ],
)
def test_of_an_answer_only_what_is_declared_passes(board, do, answer):
    board.answers = [dict(answer, changed=True)]
    assert do("livepatch", name="fixes_1", state="absent") == {"changed": True}


def test_what_a_terminal_would_obey_does_not_pass(board, do):
    board.answers = [{"failed": True, "msg": "no\nboard2 ok\x1b[2J", "warnings": ["\x1b]0;x\x07"]}]
    answer = do("livepatch", name="fixes_1", state="absent")
    assert answer == {"failed": True, "msg": "no board2 ok?[2J", "warnings": ["?]0;x?"]}


@pytest.mark.parametrize(
    "answer",
    [
        {"changed": "yes"},
        {"after": []},
        {"after": {"patches": [{"name": "../x"}]}},
        {"kernel_log": "x"},
        {"states_source": "rumour"},
        {"restored": 2**70},
    ],
)
def test_an_answer_of_another_shape_is_a_failure_that_names_the_key(board, do, answer):
    board.answers = [answer]
    result = do("livepatch", name="fixes_1", state="absent")
    assert result["failed"] and "was not understood" in result["msg"]


def test_an_answer_that_is_nested_without_end_is_refused(board, do):
    nested = []
    for _level in range(100):
        nested = [nested]
    board.answers = [{"decision": {"x": nested}}]
    assert "nested deeper" in do("livepatch", name="fixes_1", state="absent")["msg"]


def test_a_board_that_is_at_work_for_ever_is_not_waited_for(board, do, monkeypatch):
    board.answers = [{"_needs": Needs(job="job.1").to_json()}] * 5
    clock = iter(range(0, 10**9, 10**5))
    monkeypatch.setattr(board_action.time, "monotonic", lambda: next(clock))
    answer = do("livepatch", name="fixes_1", state="absent")
    assert answer["failed"] and "longer than a run can take" in answer["msg"]


def test_a_board_gets_to_know_no_more_of_the_catalog_than_what_it_has(board, do, files):
    board.answers = [
        {"_needs": Needs(candidates=True, builds=("ff" * 20, "ee" * 20)).to_json()},
        {"changed": True},
    ]
    do("livepatch", src="fixes_1.ko", allow_downgrade=True)
    assert board.calls[1].told.back == ()


def test_what_ansible_makes_objects_of_is_text_again(board, do):
    warning = SimpleNamespace(event=SimpleNamespace(msg="look out"))
    board.answers = [{"changed": True, "warnings": [warning, "and here"], "exception": object()}]
    answer = do("livepatch", name="fixes_1", state="absent")
    assert answer == {"changed": True, "warnings": ["look out", "and here"]}
