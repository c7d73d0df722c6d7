// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "restored when reversed, nothing before": pre_patch() modifies the
 * state already, and post_unpatch(), the only callback when the transition is
 * reversed, does not undo it.  An error after pre_patch() calls the same two,
 * so that "removed after an error" is broken with it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "printk_states.h"

static int breaks_pre_patch(struct klp_object *obj)
{
	int err = printk_pre_patch(obj);

	if (!err)
		*printk_column(patch.states) = printk_value(patch.states);
	return err;
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = breaks_pre_patch,		\
	.post_patch = printk_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = printk_post_unpatch,	\
}

#include "breaks.h"
