// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A non-cumulative livepatch without system states.  It may be stacked on
 * anything, and a cumulative livepatch that comes later replaces it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "cmdline_show.h"

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
