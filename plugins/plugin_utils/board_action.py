# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the modules: inspect the file, ask the board, send what it lacks."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.orangepi.livepatch.plugins.module_utils.image import pack
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    LivepatchFile,
    livepatch_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    catalog_paths,
    inspect,
    module_image,
    read_stored,
)

display = Display()

# No more is taken from a board: files, and characters of a line.
MAX_FILES = 16
MAX_LINE = 400


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

    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """What the task returns.  Raises AnsibleActionFail with one sentence."""
        raise NotImplementedError

    def read_candidate(
        self, args: dict[str, Any], task_vars: dict[str, Any]
    ) -> tuple[LivepatchFile, bytes]:
        """The file that `src` and `remote_src` name, inspected, and the bytes as stored.

        Raises AnsibleActionFail with one sentence.
        """
        src = args["src"]
        try:
            if args["remote_src"]:
                data, path = self.slurp(src, task_vars), src
            else:
                path = self.find(src)
                data = read_stored(path)
            return inspect(data, path), data
        except LivepatchFileError as error:
            raise AnsibleActionFail(str(error)) from None

    def find(self, src: str) -> str:
        """The path on the controller, looked up as by ansible.builtin.copy, then from where we are.

        A playbook that is run by the collection's name has no directory of the user's.
        """
        try:
            return str(self._find_needle("files", src))
        except AnsibleError:
            if os.path.exists(src):
                return os.path.abspath(src)
            raise AnsibleActionFail(
                "%s was not found on the controller; a file on the board needs remote_src: true."
                % src
            ) from None

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
        self, name: str, args: dict[str, Any], task_vars: dict[str, Any], catalog: str | None = None
    ) -> dict[str, Any]:
        """Execute the module, and again with files where it lacks system states.

        catalog: a directory on the controller that may hold the builds that are
        loaded; the board's own /lib/modules is searched too.
        """
        result = self._execute_and_wait("orangepi.livepatch." + name, args, task_vars)
        wanted = result.pop("_files_wanted", None)
        if wanted is not None and "_files" not in args:
            paths = _texts(wanted)
            files = [file.livepatch for file, _data in self._stored(catalog, paths, task_vars)]
            if files:
                args["_files"] = [livepatch_to_json(file) for file in files]
                return self.ask(name, args, task_vars)
        result.pop("invocation", None)
        return result

    def _execute_and_wait(
        self, name: str, args: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        """The module's result; while the board is still at work, a line tells how far it is."""
        start = time.monotonic()
        result: dict[str, Any] = self._execute_module(
            module_name=name, module_args=args, task_vars=task_vars
        )
        if "_job" not in result:
            return result
        few: dict[str, Any] = {key: args[key] for key in ("name", "state", "src") if key in args}
        while "_job" in result:
            display.display(
                "%s: %s, %d s"
                % (
                    task_vars.get("inventory_hostname"),
                    re.sub(r"[^ -~]", "?", str(result.get("_progress")))[:MAX_LINE],
                    time.monotonic() - start,
                )
            )
            few["_job"] = str(result["_job"])
            result = self._execute_module(module_name=name, module_args=few, task_vars=task_vars)
        return result

    def images(
        self, needed: dict[str, Any], catalog: str | None, task_vars: dict[str, Any]
    ) -> list[dict[str, str]]:
        """The images of builds that may have to be loaded again, those whose files can be found.

        needed: `builds`, their build ids, and `paths`, of files on the board that
        may be such builds.
        """
        if not isinstance(needed, dict):
            raise AnsibleActionFail("the board's answer was not understood.")
        missing = set(_texts(needed.get("builds")))
        images: list[dict[str, str]] = []
        if not missing:
            return images
        for file, data in self._stored(catalog, _texts(needed.get("paths")), task_vars):
            build_id = file.livepatch.build_id
            if build_id in missing:
                images.append(dict(packed(data), build_id=build_id))
                missing.discard(build_id)
            if not missing:
                break
        return images

    def _stored(
        self, catalog: str | None, paths: list[str], task_vars: dict[str, Any]
    ) -> Iterator[tuple[LivepatchFile, bytes]]:
        """The livepatches of a directory on the controller, then those at paths on the board."""
        beside: list[str] = []
        if catalog is not None:
            with suppress(LivepatchFileError):
                beside = catalog_paths(catalog)
        for path in beside:
            with suppress(LivepatchFileError):
                data = read_stored(path)
                yield inspect(data, path), data
        for path in paths[:MAX_FILES]:
            with suppress(AnsibleActionFail, LivepatchFileError):
                data = self.slurp(path, task_vars)
                yield inspect(data, path), data


def packed(data: bytes) -> dict[str, str]:
    """A file's module for the way to the board, uncompressed as the kernel takes it."""
    return pack(module_image(data))


def _texts(value: Any) -> list[str]:
    """A board's list of texts, and nothing else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
