# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A symbol for the livepatch loader is the function that it names."""

from __future__ import annotations

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.code.instruction import (
    plain_name,
)


def test_a_name_for_the_livepatch_loader() -> None:
    assert plain_name(".klp.sym.vmlinux.klp_get_prev_state,1") == "klp_get_prev_state"


def test_an_ordinary_name() -> None:
    assert plain_name("klp_get_state") == "klp_get_state"
