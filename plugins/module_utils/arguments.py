# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules' argument specs, which module and action plugin share.

It lies here and not beside the modules because Ansible sends a board module_utils
alone; nothing but modules and action plugins may import it.
"""

from __future__ import annotations

from typing import Any

# What a module gets of its action plugin, as of protocol.  One text, so that Ansible keeps it out
# of its logs and results without taking every word in it for a secret.
FROM_CONTROLLER: dict[str, Any] = dict(_from_controller=dict(type="str", no_log=True))

_HOW: dict[str, Any] = dict(
    timeout=dict(type="int", default=60),
    on_stall=dict(type="str", default="reverse", choices=["reverse", "leave", "force"]),
    unknown_states=dict(type="str", default="refuse", choices=["refuse", "allow"]),
    allow_downgrade=dict(type="bool", default=False),
)

LIVEPATCH: dict[str, Any] = dict(
    argument_spec=dict(
        _HOW,
        src=dict(type="path"),
        remote_src=dict(type="bool", default=False),
        params=dict(type="str", default=""),
        name=dict(type="str"),
        state=dict(type="str", default="enabled", choices=["enabled", "disabled", "absent"]),
    ),
    mutually_exclusive=[("src", "name")],
    required_one_of=[("src", "name")],
    required_if=[("state", "enabled", ("src",))],
)

LIVEPATCH_STACK: dict[str, Any] = dict(
    argument_spec=dict(
        _HOW,
        stack=dict(
            type="list",
            elements="dict",
            required=True,
            options=dict(
                src=dict(type="path"),
                name=dict(type="str"),
                params=dict(type="str", default=""),
            ),
            mutually_exclusive=[("src", "name")],
            required_one_of=[("src", "name")],
        ),
        remote_src=dict(type="bool", default=False),
    ),
)

LIVEPATCH_CHECK: dict[str, Any] = dict(
    argument_spec=dict(
        src=dict(type="path", required=True),
        remote_src=dict(type="bool", default=False),
        params=dict(type="str", default=""),
        fail_on_refusal=dict(type="bool", default=True),
    ),
)

LIVEPATCH_CONFORMANCE: dict[str, Any] = dict(
    argument_spec=dict(
        older=dict(type="path"),
        newer=dict(type="path", required=True),
        probes=dict(
            type="list",
            elements="dict",
            default=[],
            options=dict(
                name=dict(type="str", required=True), command=dict(type="raw", required=True)
            ),
        ),
        timeout=dict(type="int", default=60),
    ),
)


def with_controller(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the module takes them: the user's, and what the action plugin tells."""
    return {**arguments, "argument_spec": {**arguments["argument_spec"], **FROM_CONTROLLER}}
