// SPDX-License-Identifier: GPL-3.0-or-later
/* Several objects with several functions, positions and callbacks. */
#include "variant.h"

static struct klp_func vmlinux_funcs[] = {
	{ "unique", new_function },
	{ "first", other_function, 1 },
	{ "second", new_function, 2 },
	{ "last", new_function, ~0UL },
	{}
};
static struct klp_func ext4_funcs[] = {
	{ "ext4_sync_file", new_function },
	{}
};
static struct klp_func empty_funcs[] = { {} };

static struct klp_object objs[] = {
	{
		.funcs = vmlinux_funcs,
		.callbacks = { .pre_patch = callback, .post_unpatch = void_callback },
	},
	{ .name = "ext4", .funcs = ext4_funcs },
	{
		.name = "dm_mod",
		.funcs = empty_funcs,
		.callbacks = { .post_patch = void_callback, .pre_unpatch = void_callback },
	},
	{}
};
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .replace = true };

ENABLE(&patch);
