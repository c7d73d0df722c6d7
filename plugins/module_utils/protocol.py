# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What passes between an action plugin and its module besides the user's options.

One option, `_from_controller`, and one answer, `_needs`: the controller inspects
files and has their bytes, the module says what it lacks, and is asked again.
Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Mapping

from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import FailingCopy
from ansible_collections.orangepi.livepatch.plugins.module_utils.history import (
    Build,
    stack_from_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.image import (
    ImageError,
    pack,
    unpack,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import LivepatchFile
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    ShapeError,
    bounded_list,
    file_from_json,
    file_to_json,
    livepatch_from_json,
    livepatch_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch

# What a controller takes, and gives, of one board: files that may be what is installed.
MAX_FILES = 16
MAX_PROGRESS = 400


@dataclass(frozen=True)
class Candidate:
    """A file that the user named: inspected, and its module's bytes where they are sent.

    image: as the kernel takes it, uncompressed.
    """

    file: LivepatchFile
    image: bytes | None = None


@dataclass(frozen=True)
class FromController:
    """What the controller tells.

    candidates: in the order of the user's options, None where one names no file;
    known: livepatches out of files that may be what is installed, None before they
    were looked for; back: files of what is installed, for the way back, None before
    they were looked for; failing_copy: of the first candidate; over: the stack that
    the user's decision was made over, None where it was none; options: what the
    names of the caller's options begin with; job: a run on the board to wait on for;
    read: a file on the board whose bytes are wanted, and nothing else; trusted:
    only where nobody but root can have written it.
    """

    candidates: tuple[Candidate | None, ...] = ()
    known: tuple[Livepatch, ...] | None = None
    back: tuple[Candidate, ...] | None = None
    failing_copy: FailingCopy | None = None
    over: tuple[Build, ...] | None = None
    options: str = ""
    job: str | None = None
    read: str | None = None
    trusted: bool = False

    def file(self) -> LivepatchFile:
        """The one file that the user named.  Raises ShapeError."""
        candidate = self.candidates[0] if self.candidates else None
        if candidate is None:
            raise ShapeError("the file was not inspected; run the module by its action plugin")
        return candidate.file

    def to_option(self) -> str:
        """The option `_from_controller`, which is JSON; what there is nothing of is left out."""
        told: dict[str, Any] = {
            "candidates": [_candidate_to_json(candidate) for candidate in self.candidates],
            "known": None
            if self.known is None
            else [livepatch_to_json(patch) for patch in self.known],
            "back": None if self.back is None else [_candidate_to_json(one) for one in self.back],
            "failing_copy": None if self.failing_copy is None else asdict(self.failing_copy),
            "over": None if self.over is None else [asdict(build) for build in self.over],
            "options": self.options,
            "job": self.job,
            "read": self.read,
            "trusted": self.trusted or None,
        }
        return json.dumps({key: value for key, value in told.items() if value not in (None, "")})


def from_controller(option: str | None) -> FromController:
    """What the option says.  Raises ShapeError and ImageError."""
    try:
        told = json.loads(option or "{}")
        return _told(told)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, (ImageError, ShapeError)):
            raise
        raise ShapeError("what the action plugin told was not understood: %s" % error) from None


def _told(told: Mapping[str, Any]) -> FromController:
    copy = told.get("failing_copy")
    over = told.get("over")
    back = told.get("back")
    known = told.get("known")
    return FromController(
        candidates=tuple(
            _candidate(item) for item in bounded_list(told.get("candidates") or [], "candidates")
        ),
        known=None if known is None else tuple(map(livepatch_from_json, known)),
        back=None
        if back is None
        else tuple(one for one in map(_candidate, bounded_list(back, "back")) if one is not None),
        failing_copy=None if copy is None else FailingCopy(**copy),
        over=None if over is None else stack_from_json(over),
        options=str(told.get("options") or ""),
        job=told.get("job"),
        read=told.get("read"),
        trusted=told.get("trusted") is True,
    )


def _candidate_to_json(candidate: Candidate | None) -> dict[str, Any]:
    if candidate is None:
        return {}
    image = None if candidate.image is None else pack(candidate.image)
    return {"file": file_to_json(candidate.file), "image": image}


def _candidate(item: Mapping[str, Any] | None) -> Candidate | None:
    if not item or item.get("file") is None:
        return None
    packed = item.get("image")
    return Candidate(file_from_json(item["file"]), None if packed is None else unpack(packed))


@dataclass(frozen=True)
class Needs:
    """What the module lacks before it can go on.

    known: the system states of something installed are unknown; candidates: the
    candidates' bytes; builds: the build ids of what may have to be loaded again;
    paths: files on the board that may be what is installed; job: the run is at
    work on the board, and is to be asked after; progress: how far it is.
    """

    known: bool = False
    candidates: bool = False
    builds: tuple[str, ...] = ()
    paths: tuple[str, ...] = field(default=())
    job: str | None = None
    progress: str = ""

    def to_json(self) -> dict[str, Any]:
        """The answer `_needs`."""
        return dict(asdict(self), builds=list(self.builds), paths=list(self.paths))


def needs_from_json(value: Any) -> Needs:
    """What a board says that it needs.  Raises ShapeError."""
    if not isinstance(value, Mapping):
        raise ShapeError("what the board needs must be a dictionary")
    job = value.get("job")
    return Needs(
        known=value.get("known") is True,
        candidates=value.get("candidates") is True,
        builds=_texts(value, "builds"),
        paths=_texts(value, "paths")[:MAX_FILES],
        job=None if job is None else str(job)[:MAX_PROGRESS],
        progress=str(value.get("progress", ""))[:MAX_PROGRESS],
    )


def _texts(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    texts = bounded_list(value.get(key) or [], key)
    if not all(isinstance(text, str) for text in texts):
        raise ShapeError("%s must be a list of texts" % key)
    return tuple(texts)
