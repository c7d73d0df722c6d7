// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A cumulative livepatch without system states.  It loads on a clean kernel,
 * and is refused over fixes_1 or fixes_2, because a cumulative livepatch must
 * handle every state that is already modified.
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
	.replace = true,
};

static int __init fixes_0_stateless_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit fixes_0_stateless_exit(void)
{
}

module_init(fixes_0_stateless_init);
module_exit(fixes_0_stateless_exit);
MODULE_DESCRIPTION("Cumulative livepatch without system states");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
