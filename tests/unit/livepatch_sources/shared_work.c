// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Objects that share the work.  vmlinux's callbacks deal with the states, ext4's
 * do something else, as -DVMLINUX and -DEXT4 say which there are.
 */
#include <linux/livepatch.h>

static struct klp_patch patch;
static int prepared = 2;

static int state_pre_patch(struct klp_object *obj)
{
	struct klp_state *state = klp_get_state(&patch, 1);

	if (klp_get_prev_state(1))
		return 0;
	state->data = kzalloc(8, GFP_KERNEL);
	return state->data ? 0 : -ENOMEM;
}

static void state_post_patch(struct klp_object *obj)
{
	struct klp_state *prev = klp_get_prev_state(1);

	if (prev)
		klp_get_state(&patch, 1)->data = prev->data;
}

static void state_pre_unpatch(struct klp_object *obj)
{
	console_printk[0] = *(int *)klp_get_state(&patch, 1)->data;
}

static void state_post_unpatch(struct klp_object *obj)
{
	if (!klp_get_prev_state(1))
		kfree(klp_get_state(&patch, 1)->data);
}

static int other_pre_patch(struct klp_object *obj)
{
	printk("preparing %d\n", prepared++);
	return 0;
}

static void other_post_patch(struct klp_object *obj)
{
	printk("patched %d\n", prepared);
}

static void other_pre_unpatch(struct klp_object *obj)
{
	printk("unpatching %d\n", prepared);
}

static void other_post_unpatch(struct klp_object *obj)
{
	printk("unprepared %d\n", prepared--);
}

static noinline int new_function(void)
{
	return 1;
}

static struct klp_func vmlinux_funcs[] = { { "schedule", new_function }, {} };
static struct klp_func ext4_funcs[] = { { "ext4_sync_file", new_function }, {} };

static struct klp_object objs[] = {
	{ .funcs = vmlinux_funcs, .callbacks = { VMLINUX } },
	{ .name = "ext4", .funcs = ext4_funcs, .callbacks = { EXT4 } },
	{}
};
static struct klp_state states[] = { { .id = 1, .version = 2 }, {} };
static struct klp_patch patch = {
	.mod = THIS_MODULE, .objs = objs, .states = states, .replace = true,
};

static int __init shared_work_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit shared_work_exit(void)
{
}

module_init(shared_work_init);
module_exit(shared_work_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
