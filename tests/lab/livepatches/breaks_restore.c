// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breaks "restored when disabled": it restores a value that is not the original.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "printk_states.h"

static void breaks_pre_unpatch(struct klp_object *obj)
{
	printk_pre_unpatch(obj);
	*printk_column(patch.states) += 1;
}

#define BREAKS_CALLBACKS {			\
	.pre_patch = printk_pre_patch,		\
	.post_patch = printk_post_patch,	\
	.pre_unpatch = breaks_pre_unpatch,	\
	.post_unpatch = printk_post_unpatch,	\
}

#include "breaks.h"
