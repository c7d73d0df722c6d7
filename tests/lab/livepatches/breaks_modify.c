// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "modified when enabled": it takes a predecessor's modification over,
 * and makes none where there is no predecessor.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "printk_states.h"

static void breaks_post_patch(struct klp_object *obj)
{
	if (klp_get_prev_state(patch.states->id))
		printk_post_patch(obj);
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = printk_pre_patch,		\
	.post_patch = breaks_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = printk_post_unpatch,	\
}

#include "breaks.h"
