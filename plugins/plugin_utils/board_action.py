# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the modules: inspect the files, ask the board, supply what it lacks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.orangepi.livepatch.plugins.module_utils.answer import answer_of, printable
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import MAX_IMAGE
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
    MAX_FILES,
    Candidate,
    FromController,
    Needs,
    needs_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    file_from_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    MissingLibraryError,
    catalog_paths,
    inspect,
    module_image,
    read_stored,
    require_elftools,
)

display = Display()

COMPILED = Path(__file__).parents[1] / "module_utils" / "board" / "compiled.py"


@dataclass(frozen=True)
class Stored:
    """A livepatch file as it was found: inspected, and its bytes as stored."""

    file: LivepatchFile
    data: bytes

    def candidate(self, sent: bool) -> Candidate:
        """For a board; sent: whether the module's bytes go along."""
        return Candidate(self.file, module_image(self.data) if sent else None)


class BoardAction(ActionBase):
    """What the actions share: finding files, and asking a board with what the controller knows."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The task's result; a failure of ours is one too, so that failed_when can judge it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            require_elftools()
            result.update(self.answer(task_vars or {}))
        except MissingLibraryError as error:
            result.update(failed=True, msg=missing_required_lib(error.library))
        except AnsibleActionFail as error:
            result.update(failed=True, msg=error.message)
        # Which Python the board has, so that Ansible needs not look for it at every task.
        if self._discovered_interpreter_key:
            found = {self._discovered_interpreter_key: self._discovered_interpreter}
            result["ansible_facts"] = found
        return result

    def _configure_module(self, *args: Any, **kwargs: Any) -> Any:
        """The program for the board, begun by `compiled` where Ansible's own is as we know it.

        The result is a tuple with the program as its third item before ansible-core
        2.19, and since then a dataclass that holds it, and a path.
        """
        built = super()._configure_module(*args, **kwargs)
        if len(built) == 4 and isinstance(built[2], bytes):
            return (*built[:2], keeping_code(built[2]), built[3])
        module: Any = built[0] if len(built) == 2 and is_dataclass(built[0]) else None
        if hasattr(module, "b_module_data"):
            program = keeping_code(module.b_module_data)
            return replace(module, b_module_data=program), built[1]
        return built

    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """What the task returns.  Raises AnsibleActionFail with one sentence."""
        raise NotImplementedError

    def stored(self, src: str, remote_src: bool, task_vars: dict[str, Any]) -> Stored:
        """The file that `src` and `remote_src` name.  Raises AnsibleActionFail.

        src: as the user wrote it, since a board has another home directory.
        """
        try:
            if remote_src:
                data, path = self.read_from_board(src, False, task_vars), src
            else:
                path = self.find_file(src, "; a file on the board needs remote_src: true")
                data = read_stored(path)
            return Stored(_inspected(data, path), data)
        except LivepatchFileError as error:
            raise AnsibleActionFail(str(error)) from None

    def find_file(self, src: str, hint: str = "") -> str:
        """The path on the controller, looked up as by ansible.builtin.copy, then from where we are.

        A playbook that is run by the collection's name has no directory of the
        user's.  hint: what else the user may have meant.
        """
        try:
            return str(self._find_needle("files", src))
        except AnsibleError:
            if os.path.exists(src):
                return os.path.abspath(src)
            raise AnsibleActionFail("%s was not found on the controller%s." % (src, hint)) from None

    def read_from_board(self, path: str, trusted: bool, task_vars: dict[str, Any]) -> bytes:
        """A file's bytes off the board.  Raises AnsibleActionFail.

        trusted: only where nobody but root can have written it there.
        """
        told = FromController(read=path, trusted=trusted)
        result = self._execute("livepatch_info", {}, told, task_vars)
        if result.get("failed"):
            why = printable(str(result.get("msg") or "no reason was given"), 1000)
            raise AnsibleActionFail("%s could not be read from the board: %s" % (path, why))
        content: Any = result.get("content")
        try:
            if len(content) > MAX_IMAGE * 4 // 3 + 4:
                raise ValueError("it is too large")
            return base64.b64decode(content)
        except (TypeError, ValueError):
            raise AnsibleActionFail("%s did not arrive whole from the board." % path) from None

    def _execute(
        self, name: str, args: Mapping[str, Any], told: FromController, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="orangepi.livepatch." + name,
            module_args=dict(args, _from_controller=told.to_option()),
            task_vars=task_vars,
        )
        return result

    def ask(
        self,
        name: str,
        args: Mapping[str, Any],
        task_vars: dict[str, Any],
        told: FromController | None = None,
        candidates: Sequence[Stored | None] = (),
        catalog: str | None = None,
    ) -> dict[str, Any]:
        """What the module answers, once it has all that it needs.

        args: the user's; told: what is known before it is asked; candidates: the
        files that the user named, None where an option names none; catalog: a
        directory on the controller that may hold the builds that are installed;
        the board's own /lib/modules is searched too.  Raises AnsibleActionFail.
        """
        told = told or FromController()
        if not told.candidates:
            told = replace(told, candidates=_candidates(candidates, sent=False))
        start = time.monotonic()
        deadline = start + _longest_run(args, told)
        while True:
            # A run that is waited for has its files already.
            little = told if told.job is None else FromController(job=told.job)
            try:
                result = answer_of(
                    name, _told_in_texts(self._execute(name, args, little, task_vars))
                )
                wanted = result.pop("_needs", None)
                needs = None if wanted is None else needs_from_json(wanted)
            except ShapeError as error:
                message = "the board's answer was not understood: %s." % error
                raise AnsibleActionFail(message) from None
            if needs is None:
                return result
            if needs.job is not None:
                if time.monotonic() > deadline:
                    raise AnsibleActionFail(
                        "the board is still at work after %d seconds, longer than a run can take; "
                        "look at it with livepatch_info." % (time.monotonic() - start)
                    )
                self._show(task_vars, needs.progress, time.monotonic() - start)
                told = replace(told, job=needs.job)
                continue
            told = replace(told, job=None)
            more = self._supply(told, needs, candidates, catalog, task_vars)
            if more == told and needs.candidates:
                raise AnsibleActionFail(
                    "what is installed changes while the livepatch is to be loaded; run again."
                )
            if more == told:
                return result
            told = more

    def _supply(
        self,
        told: FromController,
        needs: Needs,
        candidates: Sequence[Stored | None],
        catalog: str | None,
        task_vars: dict[str, Any],
    ) -> FromController:
        """What is told, and what the board needs besides, as far as it can be found."""
        like = next((one.file for one in candidates if one is not None), None)
        if needs.known and told.known is None:
            found = [
                stored.file.livepatch for stored in self._builds(needs, catalog, like, task_vars)
            ]
            if found:
                told = replace(told, known=tuple(found))
        if needs.candidates and (told.back is None or not _sent(told)):
            back = self._builds(needs, catalog, like, task_vars) if needs.builds else []
            told = replace(
                told,
                candidates=_candidates(candidates, sent=True),
                back=tuple(stored.candidate(True) for stored in back),
            )
        return told

    def _builds(
        self,
        needs: Needs,
        catalog: str | None,
        like: LivepatchFile | None,
        task_vars: dict[str, Any],
    ) -> list[Stored]:
        """Files of the builds that the board has installed, as far as they are found.

        like: a file for this board; of the catalog it gets to know nothing that is for
        another kernel, and nothing that it doesn't have.
        """
        missing = set(needs.builds[:MAX_FILES])
        found: list[Stored] = []
        for stored in self._search(catalog, needs, task_vars):
            file = stored.file
            if file.livepatch.build_id not in missing:
                continue
            if like is not None and (file.kernel_release, file.arch) != (
                like.kernel_release,
                like.arch,
            ):
                continue
            found.append(stored)
            missing.discard(file.livepatch.build_id)
            if not missing:
                break
        return found

    def _search(
        self, catalog: str | None, needs: Needs, task_vars: dict[str, Any]
    ) -> Iterator[Stored]:
        """The livepatches of a directory on the controller, then those at paths on the board."""
        beside: list[str] = []
        if catalog is not None:
            with suppress(LivepatchFileError):
                beside = catalog_paths(catalog)
        yield from _read(beside)
        for path in needs.paths:
            with suppress(AnsibleActionFail, LivepatchFileError):
                data = self.read_from_board(path, True, task_vars)
                yield Stored(inspect(data, path), data)

    @staticmethod
    def _show(task_vars: dict[str, Any], progress: str, seconds: float) -> None:
        # Standard output is the callback's; what a board says must not move a terminal's cursor.
        line = re.sub(r"[^ -~]", "?", progress)
        name = task_vars.get("inventory_hostname")
        display.display("%s: %s, %d s" % (name, line, seconds), stderr=True)


def keeping_code(program: bytes) -> bytes:
    """Ansible's program that begins with `compiled`; as it is where it isn't understood."""
    start = b"\ndef _ansiballz_main("
    if program.count(start) != 1:
        return program
    # Whatever goes wrong here, the program is to do what it is there for.
    begin = """
try:
    _compiled = {"__name__": "compiled"}
    exec(compile(%r, "compiled.py", "exec"), _compiled)
    _compiled["keep"]()
except Exception:
    pass
""" % COMPILED.read_text(encoding="utf-8")
    return program.replace(start, begin.encode("utf-8") + start)


def _inspected(data: bytes, path: str) -> LivepatchFile:
    """inspect(), once for all the boards of a run: each has a process of its own here."""
    key = hashlib.sha256(data + path.encode("utf-8", "surrogateescape")).hexdigest()
    kept = os.path.join(C.DEFAULT_LOCAL_TMP, "livepatch-%s.json" % key)
    with suppress(OSError, ValueError), open(kept, encoding="utf-8") as known:
        return file_from_json(json.load(known))
    file = inspect(data, path)
    with suppress(OSError, ValueError):
        new = "%s.%d" % (kept, os.getpid())
        with open(new, "x", encoding="utf-8") as unknown:
            json.dump(file_to_json(file), unknown)
        os.replace(new, kept)
    return file


def files_at(files: Sequence[Sequence[str]]) -> tuple[Candidate, ...]:
    """Files on the controller, each a path and the SHA-256 that it must still have."""
    sha256 = {str(path): str(digest) for path, digest in files}
    return tuple(
        stored.candidate(True)
        for stored in _read(list(sha256))
        if stored.file.sha256 == sha256[stored.file.path]
    )


def _longest_run(args: Mapping[str, Any], told: FromController) -> float:
    """Seconds after which no run can be at work any more.

    Every transition and its reversal take `timeout` at the most, on the way there
    and back, after as long a wait for another run and another transition.
    """
    try:
        timeout = float(args.get("timeout") or 0)
    except (TypeError, ValueError):
        timeout = 0
    livepatches = len(told.candidates) + (4 if told.over is None else len(told.over))
    return 2 * timeout + 2 * livepatches * (2 * timeout + 30)


def _read(paths: Sequence[str]) -> Iterator[Stored]:
    for path in paths:
        with suppress(LivepatchFileError):
            data = read_stored(path)
            yield Stored(inspect(data, path), data)


def _told_in_texts(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with texts where ansible-core 2.19 and later make objects of its own of them."""
    warnings = answer.get("warnings")
    if isinstance(warnings, list):
        texts = [getattr(getattr(one, "event", None), "msg", one) for one in warnings]
        answer = dict(answer, warnings=texts)
    if not isinstance(answer.get("exception", ""), str):
        answer = {key: value for key, value in answer.items() if key != "exception"}
    return answer


def _candidates(stored: Sequence[Stored | None], sent: bool) -> tuple[Candidate | None, ...]:
    return tuple(None if one is None else one.candidate(sent) for one in stored)


def _sent(told: FromController) -> bool:
    return all(one is None or one.image is not None for one in told.candidates)
