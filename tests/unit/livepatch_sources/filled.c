// SPDX-License-Identifier: GPL-3.0-or-later
/* Arrays that only the code fills, or an id that only the loader knows. */
#include "variant.h"

static struct klp_func funcs[3];
static struct klp_object objs[] = { { .funcs = funcs }, {} };
#ifdef RELOCATED_ID
static struct klp_state states[] = { { .id = (unsigned long)&funcs, .version = 1 }, {} };
#else
static struct klp_state states[3];
#endif
static struct klp_patch patch = {
	.mod = THIS_MODULE, .objs = objs, .states = states, .replace = true,
};

static int __init filled_init(void)
{
	funcs[0].old_name = "schedule";
	funcs[0].new_func = new_function;
#ifndef RELOCATED_ID
	states[0].id = 1;
	states[0].version = 1;
#endif
	return klp_enable_patch(&patch);
}

static void __exit filled_exit(void)
{
}

module_init(filled_init);
module_exit(filled_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
