// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A non-cumulative livepatch without system states.  It may be stacked on
 * anything, and a cumulative livepatch that comes later replaces it.  Its init
 * can take a while, so that something happens to it, or to whoever loads it,
 * before the kernel is asked to enable it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "cmdline_show.h"

static unsigned int init_seconds;
module_param(init_seconds, uint, 0);
MODULE_PARM_DESC(init_seconds, "how long the init takes");

static struct klp_func vmlinux_funcs[] = {
	CMDLINE_SHOW_FUNC,
	{ }
};

static struct klp_object objs[] = {
	{
		.funcs = vmlinux_funcs,
	},
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init cmdline_init(void)
{
	if (init_seconds)
		ssleep(init_seconds);

	return klp_enable_patch(&patch);
}

static void __exit cmdline_exit(void)
{
}

module_init(cmdline_init);
module_exit(cmdline_exit);
MODULE_DESCRIPTION("Non-cumulative livepatch without system states");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
