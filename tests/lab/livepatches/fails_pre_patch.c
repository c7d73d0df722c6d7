// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A compatible successor of fixes_2 whose pre_patch() fails, as it would
 * without memory.  Loading fails and whatever was installed stays as it was.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/printk.h>

#include "cmdline_show.h"

static struct klp_func vmlinux_funcs[] = {
	CMDLINE_SHOW_FUNC,
	{ }
};

static int fails_pre_patch(struct klp_object *obj)
{
	pr_err("no memory for the system states\n");
	return -ENOMEM;
}

static struct klp_object objs[] = {
	{
		.funcs = vmlinux_funcs,
		.callbacks = {
			.pre_patch = fails_pre_patch,
		},
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

static int __init fails_pre_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit fails_pre_patch_exit(void)
{
}

module_init(fails_pre_patch_init);
module_exit(fails_pre_patch_exit);
MODULE_DESCRIPTION("Cumulative livepatch whose pre_patch() fails");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
