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
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
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
    catalog_paths,
    inspect,
    module_image,
    read_stored,
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
            result.update(self.answer(task_vars or {}))
        except AnsibleActionFail as error:
            result.update(failed=True, msg=error.message)
        return result

    def _configure_module(self, *args: Any, **kwargs: Any) -> Any:
        """The program for the board, begun by `compiled` where Ansible's own is as we know it.

        The result is a tuple with the program as its third item before ansible-core
        2.19, and since then a dataclass that holds it, and a path.
        """
        built = super()._configure_module(*args, **kwargs)
        if len(built) == 4 and isinstance(built[2], bytes):
            return (*built[:2], keeping_code(built[2]), built[3])
        if len(built) == 2 and is_dataclass(built[0]) and hasattr(built[0], "b_module_data"):
            program = keeping_code(built[0].b_module_data)
            return replace(built[0], b_module_data=program), built[1]
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
                data, path = self.slurp(src, task_vars), src
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

    def slurp(self, path: str, task_vars: dict[str, Any]) -> bytes:
        """A file's bytes off the board.  Raises AnsibleActionFail."""
        result = self._execute_module(
            module_name="ansible.legacy.slurp", module_args={"src": path}, task_vars=task_vars
        )
        if result.get("failed"):
            raise AnsibleActionFail(
                "%s could not be read from the board: %s" % (path, result.get("msg"))
            )
        try:
            return base64.b64decode(result["content"])
        except (KeyError, TypeError, ValueError):
            raise AnsibleActionFail("%s did not arrive whole from the board." % path) from None

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
        while True:
            # A run that is waited for has its files already.
            little = told if told.job is None else FromController(job=told.job)
            result = self._execute_module(
                module_name="orangepi.livepatch." + name,
                module_args=dict(args, _from_controller=little.to_option()),
                task_vars=task_vars,
            )
            result.pop("invocation", None)
            wanted = result.pop("_needs", None)
            if wanted is None:
                return dict(result)
            try:
                needs = needs_from_json(wanted)
            except ShapeError as error:
                raise AnsibleActionFail(
                    "the board's answer was not understood: %s." % error
                ) from None
            if needs.job is not None:
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
                return dict(result)
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
        if needs.known and told.known is None:
            found = [stored.file.livepatch for stored in self._search(catalog, needs, task_vars)]
            if found:
                told = replace(told, known=tuple(found))
        if needs.candidates and (told.images is None or not _sent(told)):
            told = replace(
                told,
                candidates=_candidates(candidates, sent=True),
                images=self.images(needs, catalog, task_vars),
            )
        return told

    def images(
        self, needs: Needs, catalog: str | None, task_vars: dict[str, Any]
    ) -> dict[str, bytes]:
        """By build id, the modules that may have to be loaded again, as far as they are found."""
        missing = set(needs.builds)
        images: dict[str, bytes] = {}
        if not missing:
            return images
        for stored in self._search(catalog, needs, task_vars):
            build_id = stored.file.livepatch.build_id
            if build_id in missing:
                images[build_id] = module_image(stored.data)
                missing.discard(build_id)
            if not missing:
                break
        return images

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
                data = self.slurp(path, task_vars)
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


def images_of(paths: Sequence[str]) -> dict[str, bytes]:
    """The modules of the files on the controller that can be read, by build id."""
    found = {stored.file.livepatch.build_id: stored.data for stored in _read(paths)}
    return {build_id: module_image(data) for build_id, data in found.items() if build_id}


def _read(paths: Sequence[str]) -> Iterator[Stored]:
    for path in paths:
        with suppress(LivepatchFileError):
            data = read_stored(path)
            yield Stored(inspect(data, path), data)


def _candidates(stored: Sequence[Stored | None], sent: bool) -> tuple[Candidate | None, ...]:
    return tuple(None if one is None else one.candidate(sent) for one in stored)


def _sent(told: FromController) -> bool:
    return all(one is None or one.image is not None for one in told.candidates)
