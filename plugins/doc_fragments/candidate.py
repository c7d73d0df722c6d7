# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that livepatch and livepatch_check share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  src:
    description:
      - Path of the livepatch module, a C(.ko) file, which may be compressed (C(.xz), C(.zst),
        C(.gz)) and signed.
      - On the controller, a relative path is looked up as by M(ansible.builtin.copy).
    type: path
  remote_src:
    description:
      - Whether O(src) is a path on the board instead of the controller.
      - The file is then read from the board and inspected on the controller all the same.
    type: bool
    default: false
  params:
    description:
      - Module parameters, a string as for M(community.general.modprobe). They are shown as they
        are, in results, in the board's history and system log, and so are no place for secrets.
    type: str
    default: ''
requirements:
  - pyelftools on the controller; on the board nothing but Python
  - root on the board
attributes:
  check_mode:
    description: Whether it says in check mode what it would change, and changes nothing.
"""
