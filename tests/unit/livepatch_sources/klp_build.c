// SPDX-License-Identifier: GPL-3.0-or-later
/* The sections of a module by klp-build (include/linux/livepatch_external.h). */
#include "variant.h"

#ifndef PREFIX
#define PREFIX ".init.klp_"
#endif

struct klp_func_ext {
	const char *old_name;
	void *new_func;
	unsigned long sympos;
};
struct klp_object_ext {
	const char *name;
	struct klp_func_ext *funcs;
	struct klp_callbacks callbacks;
	unsigned int nr_funcs;
};

static struct klp_func_ext funcs[] __attribute__((section(PREFIX "funcs"))) = {
	{ "schedule", new_function, 0 },
	{ "cmdline_proc_show", other_function, 2 },
	{ "ext4_sync_file", new_function, 1 },
};
static struct klp_object_ext objects[] __attribute__((used, section(PREFIX "objects"))) = {
	{ NULL, &funcs[0], { .pre_patch = callback }, 2 },
	{ "ext4", &funcs[2], { .post_unpatch = void_callback }, 1 },
};

static struct klp_patch *patch;

ENABLE(patch);
