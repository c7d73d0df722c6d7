// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first cumulative livepatch with a system state: state 1, version 1, is
 * the console loglevel, set to 8.  Disabling it restores the original.
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
	{ .id = 1, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.states = states,
	.replace = true,
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
MODULE_DESCRIPTION("Cumulative livepatch with system state 1, version 1");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
