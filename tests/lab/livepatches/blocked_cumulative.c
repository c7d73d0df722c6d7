// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A successor of fixes_2 that stalls: it also patches a function in which
 * the thread of the module "blocker" sleeps, so that the replacement waits
 * until that thread is released, or is reversed and leaves fixes_2 in effect.
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

static void livepatch_blocker_wait(void)
{
}

static struct klp_func blocker_funcs[] = {
	{
		.old_name = "blocker_wait",
		.new_func = livepatch_blocker_wait,
	},
	{ }
};

static struct klp_object objs[] = {
	{
		.funcs = vmlinux_funcs,
		.callbacks = PRINTK_STATES_CALLBACKS,
	},
	{
		.name = "blocker",
		.funcs = blocker_funcs,
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

static int __init blocked_cumulative_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit blocked_cumulative_exit(void)
{
}

module_init(blocked_cumulative_init);
module_exit(blocked_cumulative_exit);
MODULE_DESCRIPTION("Cumulative livepatch that a sleeping thread blocks");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
