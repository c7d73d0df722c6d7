# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a file declares, as several tests here look at it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Livepatch
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    read_livepatch_file,
)


def livepatch(path: Path) -> Livepatch:
    """What a file declares, without what differs from build to build."""
    return dataclasses.replace(read_livepatch_file(path).livepatch, build_id=None)
