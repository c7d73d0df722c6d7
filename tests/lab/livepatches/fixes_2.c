// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The successor of fixes_1: takes system state 1 over at version 2 (console
 * loglevel 9, the saved original kept) and adds state 2, version 1 (default
 * console loglevel 6).  fixes_1 over it is refused.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "cmdline_show.h"
#include "printk_states.h"

static struct klp_func vmlinux_funcs[] = {
	CMDLINE_SHOW_FUNC,
	{ }
};

static struct klp_object objs[] = {
	{
		.funcs = vmlinux_funcs,
		.callbacks = PRINTK_STATES_CALLBACKS,
	},
	{ }
};

static struct klp_state states[] = {
	{ .id = 1, .version = 2 },
	{ .id = 2, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.states = states,
	.replace = true,
};

static int __init fixes_2_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit fixes_2_exit(void)
{
}

module_init(fixes_2_init);
module_exit(fixes_2_exit);
MODULE_DESCRIPTION("Cumulative livepatch with system states 1, version 2, and 2, version 1");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
