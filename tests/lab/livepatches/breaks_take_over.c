// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "taken over when replacing": although the versions are the same, it
 * allocates data of its own instead of taking the predecessor's over.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/string.h>

#include "printk_states.h"

static void breaks_post_patch(struct klp_object *obj)
{
	struct klp_state *prev = klp_get_prev_state(patch.states->id);
	struct printk_original *own = NULL;

	if (prev)
		own = kmemdup(prev->data, sizeof(*own), GFP_KERNEL);

	printk_post_patch(obj);

	if (own) {
		kfree(patch.states->data);
		patch.states->data = own;
	}
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = printk_pre_patch,		\
	.post_patch = breaks_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = printk_post_unpatch,	\
}

#include "breaks.h"
