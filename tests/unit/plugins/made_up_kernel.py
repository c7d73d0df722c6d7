# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A kernel of a few lines behind the one place that drives the real one.

It keeps a list of livepatches, their modules and a log; what a real kernel does
with the same calls is for the scenarios in extensions/molecule.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from dataclasses import replace

from ansible_collections.orangepi.livepatch.plugins.module_utils.board import transition
from ansible_collections.orangepi.livepatch.plugins.module_utils.board.sysfs import BlockingTask
from ansible_collections.orangepi.livepatch.plugins.module_utils.model import transition_of
from ansible_collections.orangepi.livepatch.plugins.module_utils.stack import LOAD, Step, after
from ansible_collections.orangepi.livepatch.tests.unit.plugins import boards


class Store:
    """Values in memory, as the board's store keeps them in files."""

    directory = "/run/test"

    def __init__(self, **values):
        self.values = values

    def get(self, name):
        return self.values.get(name)

    def read(self, name):
        return self.values.get(name)

    def put(self, name, value):
        self.values[name] = value
        return True


class MadeUpKernel(transition.Kernel):
    """files: the livepatch files whose images this kernel can load: an image is its file's name.

    refuses: the errno with which a call fails, by what and name; stalls: the
    livepatches whose transitions don't end by themselves; says: what the kernel
    prints when a call is made; hides_states: whether its list can't be read; calls:
    what was asked of it, but for reading.
    """

    def __init__(self, *files):
        self.files = {image(file): file for file in files}
        self.patches = ()
        self.modules = []
        self.not_livepatches = ()
        self.hides_states = False
        self.release = boards.RELEASE
        self.refuses = {}
        self.stalls = set()
        self.says = defaultdict(list)
        self.printed = []
        self.calls = []
        self.unable = None
        super().__init__(Store())

    def install(self, file):
        """As somebody else would, in no time."""
        self._loaded(replace(file.livepatch, enabled=True, transition=False))

    def read(self, known=()):
        others = [patch.name for patch in self.patches] + list(self.not_livepatches)
        patches, source = self.patches, "kernel"
        if self.hides_states:
            states = {patch.build_id: patch.states for patch in known}
            patches = tuple(replace(p, states=states.get(p.build_id)) for p in patches)
            source = "unknown" if any(p.states is None for p in patches) else "file"
        return replace(
            boards.a_board(),
            kernel_release=self.release,
            patches=patches,
            states_source=source,
            transition=transition_of(patches),
            leftover=tuple(sorted(name for name in self.modules if name not in others)),
        )

    def why_unable(self):
        return self.unable

    def init_module(self, image, params):
        file = self.files[image]
        name = file.livepatch.name
        self._call("load", name, params)
        if name in self.modules:
            raise OSError(errno.EEXIST, "File exists")
        stalls = name in self.stalls
        if stalls:
            self.modules.append(name)
            self.patches += (replace(file.livepatch, enabled=True, transition=True),)
        else:
            self._loaded(replace(file.livepatch, enabled=True, transition=False))

    def _loaded(self, patch):
        self.modules.append(patch.name)
        self.patches = after(Step(LOAD, patch), self.patches)

    def delete_module(self, name):
        self._call("remove", name)
        self.modules.remove(name)

    def set_enabled(self, name, enabled):
        self._call("enable" if enabled else "disable", name)
        patch = self._find(name)
        if patch is None:
            raise OSError(errno.ENOENT, "No such file or directory")
        if enabled or name in self.stalls and not patch.transition:
            self._replace(replace(patch, enabled=enabled, transition=not enabled))
        else:
            self.patches = tuple(other for other in self.patches if other.name != name)

    def force(self, name):
        self._call("force", name)
        self._replace(replace(self._find(name), transition=False))

    def enabled(self, name):
        patch = self._find(name)
        return None if patch is None else patch.enabled

    def ended(self, name):
        patch = self._find(name)
        return patch is None or not patch.transition

    def leaving(self):
        return []

    def unused(self, name):
        return self._find(name) is None

    def module_loaded(self, name):
        return name in self.modules

    def build_id(self, name):
        return next(
            file.livepatch.build_id for file in self.files.values() if file.livepatch.name == name
        )

    def ftrace_enabled(self):
        return True

    def blocking_tasks(self, direction):
        return [BlockingTask(7, 7, "nfsd", ())]

    def open_log(self):
        return None

    def new_log_lines(self):
        lines, self.printed = self.printed, []
        return lines

    def _call(self, what, name, params=""):
        call = " ".join(filter(None, (what, name, params)))
        self.calls.append(call)
        self.printed += self.says[call]
        if call in self.refuses:
            raise OSError(self.refuses[call], "no")

    def _find(self, name):
        return next((patch for patch in self.patches if patch.name == name), None)

    def _replace(self, patch):
        self.patches = tuple(patch if old.name == patch.name else old for old in self.patches)


def image(file):
    """The bytes that stand for the file's module."""
    return file.livepatch.name.encode()
