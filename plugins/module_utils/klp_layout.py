# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the fields of struct klp_* lie: include/linux/livepatch.h on 64-bit kernels.

Offsets and sizes in bytes, the same from Linux 5.5, which brought struct
klp_state, to 7.3.  The sizes are those of kernels whose struct kobject has no
debugging options.
"""

from __future__ import annotations

import re

KLP_PATCH_OBJS = 8
KLP_PATCH_STATES = 16
KLP_PATCH_REPLACE = 24
KLP_PATCH_LIST = 32
KLP_PATCH_KOBJ_NAME = 48
KLP_PATCH_SIZE = 200

KLP_STATE_ID = 0
KLP_STATE_VERSION = 8
KLP_STATE_SIZE = 24

KLP_OBJECT_NAME = 0
KLP_OBJECT_FUNCS = 8
KLP_OBJECT_CALLBACKS = 16
KLP_OBJECT_SIZE = 168

KLP_FUNC_OLD_NAME = 0
KLP_FUNC_NEW_FUNC = 8
KLP_FUNC_OLD_SYMPOS = 16
KLP_FUNC_SIZE = 152

# MODULE_NAME_LEN is 64 - sizeof(unsigned long), the NUL included.
MODULE_NAME_LEN = 56
MODULE_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,55}\Z")
