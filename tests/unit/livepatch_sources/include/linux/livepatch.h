/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The livepatch structures: what a source file names, and room for the rest.
 * Sizes as in 64-bit kernels from Linux 5.5 to 7.3: klp_patch 200, klp_object
 * 168, klp_func 152, klp_state 24, with a kobject of 64 bytes.
 */
#ifndef STUB_LINUX_LIVEPATCH_H
#define STUB_LINUX_LIVEPATCH_H

#include <linux/module.h>

#ifndef KOBJECT_SIZE
#define KOBJECT_SIZE 64
#endif

struct kobject {
	const char *name;
	char rest[KOBJECT_SIZE - 8];
};

struct klp_func {
	const char *old_name;
	void *new_func;
	unsigned long old_sympos;
	void *old_func;
	struct kobject kobj;
	unsigned long rest[7];
};

struct klp_object;

struct klp_callbacks {
	int (*pre_patch)(struct klp_object *obj);
	void (*post_patch)(struct klp_object *obj);
	void (*pre_unpatch)(struct klp_object *obj);
	void (*post_unpatch)(struct klp_object *obj);
	bool post_unpatch_enabled;
};

struct klp_object {
	const char *name;
	struct klp_func *funcs;
	struct klp_callbacks callbacks;
	struct kobject kobj;
	unsigned long rest[6];
};

struct klp_state {
	unsigned long id;
	unsigned int version;
	void *data;
};

struct klp_patch {
	struct module *mod;
	struct klp_object *objs;
	struct klp_state *states;
	bool replace;
	void *list[2];
	struct kobject kobj;
	unsigned long rest[11];
};

extern int klp_enable_patch(struct klp_patch *patch);
extern struct klp_state *klp_get_state(struct klp_patch *patch, unsigned long id);
extern struct klp_state *klp_get_prev_state(unsigned long id);

#endif
