/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What every variant here shares: it enables `patch`, and has functions to patch with. */
#include <linux/livepatch.h>

static noinline int new_function(void)
{
	return 1;
}

static noinline int other_function(void)
{
	return 2;
}

static int callback(struct klp_object *obj)
{
	return 0;
}

static void void_callback(struct klp_object *obj)
{
}

#define ENABLE(patch)						\
	static int __init variant_init(void)			\
	{							\
		return klp_enable_patch(patch);			\
	}							\
	static void __exit variant_exit(void)			\
	{							\
	}							\
	module_init(variant_init);				\
	module_exit(variant_exit);				\
	MODULE_LICENSE("GPL");					\
	MODULE_INFO(livepatch, "Y")
