// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A non-cumulative livepatch with a state of its own: state 7, version 1, is
 * the minimum console loglevel.  It stacks on any livepatch, and a cumulative
 * one that does not know state 7 is refused over it.  Readers of /proc/version
 * can be kept waiting in it, so that it can't be disabled meanwhile.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "printk_states.h"

#define POLL_MS 100

static bool hold;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "keep readers of the version waiting");

static int livepatch_version_proc_show(struct seq_file *m, void *v)
{
	while (READ_ONCE(hold))
		msleep_interruptible(POLL_MS);

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
