// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A non-cumulative livepatch that stalls: the thread of the module "blocker"
 * sleeps in the function that it patches.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

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
		.name = "blocker",
		.funcs = blocker_funcs,
	},
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init blocked_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit blocked_exit(void)
{
}

module_init(blocked_init);
module_exit(blocked_exit);
MODULE_DESCRIPTION("Non-cumulative livepatch that a sleeping thread blocks");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
