// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The four callbacks as Documentation/livepatch/system-state.rst has them, for
 * one system state.  Each macro takes away one thing that it asks for.
 */
#include <linux/livepatch.h>

#ifndef VERSION
#define VERSION 2
#endif
#ifndef STATES
#define STATES { .id = 1, .version = VERSION }, {}
#endif

/* So that callbacks have variables beside the livepatch's own structures. */
static int level = 8;
static int enabled = -1;
static int original;

static struct klp_patch patch;

#ifdef PRE_PATCH_DOES_SOMETHING_ELSE
static int pre_patch(struct klp_object *obj)
{
	enabled = 0;
	printk("preparing %d\n", level);
	return 0;
}
#else
static int pre_patch(struct klp_object *obj)
{
	struct klp_state *state;
	int *data;

#ifndef PRE_PATCH_IGNORES_PREV
	if (klp_get_prev_state(1))
		return 0;
#endif
	state = klp_get_state(&patch, 1);
	if (!state)
		return -EINVAL;
	data = kzalloc(sizeof(*data), GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	*data = console_printk[0];
	state->data = data;
	enabled = 0;
	return 0;
}
#endif

#ifdef POST_PATCH_DOES_SOMETHING_ELSE
static void post_patch(struct klp_object *obj)
{
#ifdef POST_PATCH_ONLY_LOOKS
	if (klp_get_prev_state(1))
		return;
#endif
	original = console_printk[0];
	console_printk[0] = level;
	enabled = 1;
}
#else
static void post_patch(struct klp_object *obj)
{
	struct klp_state *state = klp_get_state(&patch, 1);
	struct klp_state *prev = NULL;

#ifndef POST_PATCH_IGNORES_PREV
	prev = klp_get_prev_state(1);
#endif
	if (!state)
		return;
	if (prev)
		state->data = prev->data;
	console_printk[0] = level++;
	enabled = 1;
}
#endif

#ifdef PRE_UNPATCH_DOES_SOMETHING_ELSE
static void pre_unpatch(struct klp_object *obj)
{
	enabled = 0;
	console_printk[0] = original;
	level--;
}
#else
static void pre_unpatch(struct klp_object *obj)
{
	struct klp_state *state = klp_get_state(&patch, 1);

	enabled = 0;
	if (state && state->data)
		console_printk[0] = *(int *)state->data;
}
#endif

#ifdef POST_UNPATCH_DOES_SOMETHING_ELSE
static void post_unpatch(struct klp_object *obj)
{
	enabled = -1;
	printk("gone %d\n", level);
}
#else
static void post_unpatch(struct klp_object *obj)
{
	struct klp_state *state = klp_get_state(&patch, 1);

#ifndef POST_UNPATCH_IGNORES_PREV
	if (klp_get_prev_state(1))
		return;
#endif
	if (!state)
		return;
	kfree(state->data);
	state->data = NULL;
	enabled = -1;
}
#endif

static noinline int new_function(void)
{
#ifdef NEW_FUNCTION_USES_STATE
	return klp_get_state(&patch, 1)->data != NULL;
#else
	return 1;
#endif
}

static struct klp_func funcs[] = { { "schedule", new_function }, {} };
static struct klp_object objs[] = {
	{
		.funcs = funcs,
#ifndef NO_CALLBACKS
		.callbacks = {
#ifndef NO_PRE_PATCH
			.pre_patch = pre_patch,
#endif
#ifndef NO_POST_PATCH
			.post_patch = post_patch,
#endif
#ifndef NO_PRE_UNPATCH
			.pre_unpatch = pre_unpatch,
#endif
#ifndef NO_POST_UNPATCH
			.post_unpatch = post_unpatch,
#endif
		},
#endif
	},
	{}
};
static struct klp_state states[] = { STATES };
static struct klp_patch patch = {
	.mod = THIS_MODULE, .objs = objs, .states = states, .replace = true,
};

static int __init document_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit document_exit(void)
{
}

module_init(document_init);
module_exit(document_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
