# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What livepatch and livepatch_stack share: a Run under the lock, in a process of its own."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import background
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.boot_store import (
    BoardBusyError,
    BootStore,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.installed import (
    files_needed,
    module_files,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.run import (
    Failure,
    ImagesNeeded,
    Options,
    Refused,
    Run,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.transition import Kernel
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import ImageError
from ansible_collections.orangepi.livepatch.plugins.module_utils.protocol import (
    FromController,
    Needs,
    from_controller,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import ShapeError


class ArgumentsError(ValueError):
    """Arguments that make no sense; the message is one sentence."""


def act(
    params: Mapping[str, Any],
    check_mode: bool,
    diff: bool,
    prepare: Callable[[FromController], Callable[[Run], None]],
    beside: str | None,
) -> dict[str, Any]:
    """What the module returns: of the run, or of the job on the board that it is told of.

    params: the module's; prepare: makes of what the controller told the verb of
    Run that is asked for, and may raise ArgumentsError; beside: a file on the board
    in whose directory there may be what is installed.
    """
    try:
        if params["timeout"] < 1:
            raise ArgumentsError("timeout must be at least 1 second, not %d." % params["timeout"])
        told = from_controller(params["_from_controller"])
        store = BootStore()
        if told.job is not None:
            return background.resume(store, told.job)
        go = prepare(told)
    except (ArgumentsError, ImageError, ShapeError) as error:
        return {"failed": True, "msg": str(error)}
    options = Options(
        timeout=params["timeout"],
        on_stall=params["on_stall"],
        unknown_states=params["unknown_states"],
        allow_downgrade=params["allow_downgrade"],
        check_mode=check_mode,
        diff=diff,
        prefix=told.options,
    )
    return background.run(store, lambda: _work(Kernel(store), told, options, beside, go))


def _work(
    kernel: Kernel,
    told: FromController,
    options: Options,
    beside: str | None,
    go: Callable[[Run], None],
) -> dict[str, Any]:
    try:
        with kernel.store.lock(options.timeout):
            run = Run(kernel, options, told.known or ())
            try:
                go(run)
            except ImagesNeeded as needed:
                paths = module_files([patch.name for patch in run.before.patches], beside)
                needs = Needs(candidates=True, builds=needed.builds, paths=tuple(paths))
                return {"changed": False, "_needs": needs.to_json()}
            except Refused as error:
                failed = dict(run.to_json(), failed=True, msg=str(error))
                return dict(failed, **files_needed(run.before, told, beside))
            except Failure as error:
                run.remember(failed=True)
                return dict(run.to_json(), failed=True, msg=str(error))
            run.remember(failed=False)
            return run.to_json()
    except BoardBusyError as error:
        return {"failed": True, "msg": str(error)}
