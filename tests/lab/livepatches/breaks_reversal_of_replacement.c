// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "restored when reversed, replacing": post_unpatch() puts the original
 * value back without asking klp_get_prev_state(), although the predecessor
 * stays in effect when the transition is reversed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "printk_states.h"

static int original_value;

static int breaks_pre_patch(struct klp_object *obj)
{
	struct klp_state *prev = klp_get_prev_state(patch.states->id);
	struct printk_original *original;
	int err = printk_pre_patch(obj);

	if (err)
		return err;

	original = prev ? prev->data : patch.states->data;
	original_value = original->value;
	return 0;
}

static void breaks_post_unpatch(struct klp_object *obj)
{
	*printk_column(patch.states) = original_value;
	printk_post_unpatch(obj);
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = breaks_pre_patch,		\
	.post_patch = printk_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = breaks_post_unpatch,	\
}

#include "breaks.h"
