// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For the kernel of kernel.patch: replaces its set, as every livepatch that
 * doesn't say otherwise.  Who takes the first byte of replace_set for
 * `replace` reads that it replaces nothing.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "cmdline_show.h"

static struct klp_func vmlinux_funcs[] = {
	CMDLINE_SHOW_FUNC,
	{ }
};

static struct klp_object objs[] = {
	{ .funcs = vmlinux_funcs },
	{ }
};

static struct klp_state states[] = {
	{ .id = 1, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.states = states,
	.replace_set = 0,
};

static int __init fixes_1_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit fixes_1_exit(void)
{
}

module_init(fixes_1_init);
module_exit(fixes_1_exit);
MODULE_DESCRIPTION("A livepatch for a kernel with another struct klp_*");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
