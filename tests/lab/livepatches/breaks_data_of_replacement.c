// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "restored when reversed, replacing" in a way that shows later only:
 * post_unpatch() wipes the data although they still belong to the predecessor,
 * which can't restore the original state any more.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "printk_states.h"

static void breaks_post_unpatch(struct klp_object *obj)
{
	struct klp_state *prev = klp_get_prev_state(patch.states->id);

	if (prev)
		((struct printk_original *)prev->data)->value = 0;

	printk_post_unpatch(obj);
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = printk_pre_patch,		\
	.post_patch = printk_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = breaks_post_unpatch,	\
}

#include "breaks.h"
