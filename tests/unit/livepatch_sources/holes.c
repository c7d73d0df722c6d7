// SPDX-License-Identifier: GPL-3.0-or-later
/* Arrays that go on behind their end. */
#include "variant.h"

static struct klp_func vmlinux_funcs[] = {
	{ "schedule", new_function },
	{ "yield", other_function },
	{},
	{ "never", new_function },
	{}
};
static struct klp_func ext4_funcs[] = { { "ext4_sync_file", new_function }, {} };
static struct klp_object objs[] = {
	{ .funcs = vmlinux_funcs },
	{ .name = "ext4", .funcs = ext4_funcs },
	{},
	{ .name = "never", .funcs = ext4_funcs },
	{}
};
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

ENABLE(&patch);
