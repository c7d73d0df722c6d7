// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A non-cumulative livepatch with a state of its own: state 7, version 1, is
 * the minimum console loglevel.  It stacks on any livepatch, and a cumulative
 * one that does not know state 7 is refused over it.  A reader of /proc/version
 * can be made to sleep in it, so that it can't be disabled meanwhile.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "printk_states.h"

static unsigned int show_seconds;
module_param(show_seconds, uint, 0644);
MODULE_PARM_DESC(show_seconds, "how long showing the version takes");

static int livepatch_version_proc_show(struct seq_file *m, void *v)
{
	if (show_seconds)
		ssleep(show_seconds);

	seq_puts(m, KBUILD_MODNAME ": this has been live patched\n");
	return 0;
}

static struct klp_func vmlinux_funcs[] = {
	{
		.old_name = "version_proc_show",
		.new_func = livepatch_version_proc_show,
	},
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
	{ .id = 7, .version = 1 },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.states = states,
};

static int __init extra_state_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit extra_state_exit(void)
{
}

module_init(extra_state_init);
module_exit(extra_state_exit);
MODULE_DESCRIPTION("Non-cumulative livepatch with system state 7, version 1");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
