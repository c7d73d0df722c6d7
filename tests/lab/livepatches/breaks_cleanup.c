// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "removed after an error": pre_patch() modifies the state, fails then,
 * and does not clean up its own mess.  The kernel calls no post_unpatch() for it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "printk_states.h"

static int breaks_pre_patch(struct klp_object *obj)
{
	int err = printk_pre_patch(obj);

	if (err)
		return err;

	*printk_column(patch.states) = printk_value(patch.states);
	pr_err("no memory for anything else\n");
	return -ENOMEM;
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = breaks_pre_patch,		\
	.post_patch = printk_post_patch,	\
	.pre_unpatch = printk_pre_unpatch,	\
	.post_unpatch = printk_post_unpatch,	\
}

#include "breaks.h"
