/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System states that anyone can see: columns of /proc/sys/kernel/printk.  The
 * four callbacks follow Documentation/livepatch/system-state.rst and serve
 * every state that the including livepatch declares; that livepatch names its
 * klp_patch "patch".
 *
 * klp_state.data points to the value from before any livepatch.  Successors
 * take the pointer over, so that whichever is disabled can restore it.
 */
#ifndef PRINTK_STATES_H
#define PRINTK_STATES_H

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/printk.h>
#include <linux/slab.h>

struct printk_original {
	int value;
};

static struct klp_patch patch;

/* The four columns: console, default message, minimum, default console. */
static inline int *printk_column(const struct klp_state *state)
{
	switch (state->id) {
	case 1:
		return &console_printk[0];
	case 2:
		return &console_printk[3];
	default:
		return &console_printk[2];
	}
}

static inline int printk_value(const struct klp_state *state)
{
	switch (state->id) {
	case 1:
		return state->version == 1 ? 8 : 9;
	case 2:
		return 6;
	default:
		return 3;
	}
}

static inline void printk_forget(struct klp_state *state)
{
	/*
	 * A previous state means that the transition is being reversed: the
	 * data, and the value in effect, still belong to the predecessor.
	 */
	if (klp_get_prev_state(state->id))
		return;

	kfree(state->data);
	state->data = NULL;
}

static inline int printk_remember(struct klp_state *state)
{
	struct printk_original *original;

	if (klp_get_prev_state(state->id))
		return 0;

	original = kzalloc(sizeof(*original), GFP_KERNEL);
	if (!original)
		return -ENOMEM;

	original->value = *printk_column(state);
	state->data = original;
	return 0;
}

static int printk_pre_patch(struct klp_object *obj)
{
	struct klp_state *state;
	int err;

	for (state = patch.states; state->id; state++) {
		err = printk_remember(state);
		if (err)
			goto undo;
	}
	return 0;

undo:
	/* The kernel calls no post_unpatch() after a pre_patch() that failed. */
	while (state-- != patch.states)
		printk_forget(state);
	return err;
}

static void printk_post_patch(struct klp_object *obj)
{
	struct klp_state *state, *prev;

	for (state = patch.states; state->id; state++) {
		prev = klp_get_prev_state(state->id);
		if (prev)
			state->data = prev->data;

		*printk_column(state) = printk_value(state);
		pr_info("state %lu version %u: printk value is now %d\n",
			state->id, state->version, printk_value(state));
	}
}

static void printk_pre_unpatch(struct klp_object *obj)
{
	struct printk_original *original;
	struct klp_state *state;

	for (state = patch.states; state->id; state++) {
		original = state->data;
		*printk_column(state) = original->value;
		pr_info("state %lu version %u: printk value is back to %d\n",
			state->id, state->version, original->value);
	}
}

static void printk_post_unpatch(struct klp_object *obj)
{
	struct klp_state *state;

	for (state = patch.states; state->id; state++)
		printk_forget(state);
}

#define PRINTK_STATES_CALLBACKS {		\
	.pre_patch = printk_pre_patch,		\
	.post_patch = printk_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = printk_post_unpatch,	\
}

#endif
