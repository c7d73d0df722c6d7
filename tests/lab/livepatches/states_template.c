// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A livepatch that changes nothing, with room for 16 system states.
 * tests/agreement rewrites its name, its states and its replace in the built
 * file, and so gets livepatches by the thousand without a compiler.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

static struct klp_func no_funcs[] = {
	{ }
};

static struct klp_object objs[] = {
	{
		.funcs = no_funcs,
	},
	{ }
};

#define STATE(number) { .id = 0x7465, .version = (number) }

static struct klp_state states[] = {
	STATE(1), STATE(2), STATE(3), STATE(4), STATE(5), STATE(6), STATE(7), STATE(8),
	STATE(9), STATE(10), STATE(11), STATE(12), STATE(13), STATE(14), STATE(15), STATE(16),
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
	.states = states,
	.replace = true,
};

static int __init states_template_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit states_template_exit(void)
{
}

module_init(states_template_init);
module_exit(states_template_exit);
MODULE_DESCRIPTION("Livepatch whose states are rewritten by tests/agreement");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
