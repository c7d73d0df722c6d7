/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rest of a livepatch like fixes_1, with system state 1, version 1, but for
 * the BREAKS_CALLBACKS that the including file defines: one of them breaks one
 * of the scenarios that every livepatch has to support, so that the role
 * conformance must catch it.
 */
#ifndef BREAKS_H
#define BREAKS_H

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
		.callbacks = BREAKS_CALLBACKS,
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

static int __init breaks_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit breaks_exit(void)
{
}

module_init(breaks_init);
module_exit(breaks_exit);
MODULE_DESCRIPTION("Livepatch that breaks a scenario on purpose");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");

#endif
