// SPDX-License-Identifier: GPL-3.0-or-later
/* Two livepatches, and a parameter decides. */
#include "variant.h"

static bool second;
module_param(second, bool, 0);

static struct klp_func funcs[] = { { "schedule", new_function }, {} };
static struct klp_object objs[] = { { .funcs = funcs }, {} };
static struct klp_patch patches[] = {
	{ .mod = THIS_MODULE, .objs = objs },
	{ .mod = THIS_MODULE, .objs = objs, .replace = true },
};

ENABLE(&patches[second]);
