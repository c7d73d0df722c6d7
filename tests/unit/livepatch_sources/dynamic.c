// SPDX-License-Identifier: GPL-3.0-or-later
/* A livepatch that exists only when its code has run. */
#include "variant.h"

static int __init dynamic_init(void)
{
	struct klp_patch *patch = kzalloc(sizeof(*patch), GFP_KERNEL);

	patch->mod = THIS_MODULE;
	patch->objs = kzalloc(2 * sizeof(*patch->objs), GFP_KERNEL);
	return klp_enable_patch(patch);
}

static void __exit dynamic_exit(void)
{
}

void *keep[] = { new_function, other_function, callback, void_callback };

module_init(dynamic_init);
module_exit(dynamic_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
