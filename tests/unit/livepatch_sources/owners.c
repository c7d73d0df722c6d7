// SPDX-License-Identifier: GPL-3.0-or-later
/* Structures that point to their module as a klp_patch does, around a real one. */
#include "variant.h"

struct file_operations {
	struct module *owner;
	void *llseek;
	void *read;
	void *rest[8];
};
struct device_driver {
	const char *name;
	void *bus;
	struct module *owner;
	const char *mod_name;
	bool suppress_bind_attrs;
	void *rest[8];
};
struct attribute {
	const char *name;
	unsigned short mode;
};
struct config_item_type {
	struct module *owner;
	void *item_ops;
	void *group_ops;
	void *rest[8];
};
struct owner_of_nothing {
	struct module *owner;
	void *zeros;
	void *rest[8];
};

static bool parameter;
module_param(parameter, bool, 0);

static long zeros[8] = {};
static struct attribute attributes[] = { { "one", 0444 }, { "two", 0644 }, {} };
static struct attribute *pointers[] = { &attributes[0], &attributes[1], NULL };

struct file_operations fops = { .owner = THIS_MODULE, .llseek = new_function };
struct file_operations other_fops = { .owner = THIS_MODULE };
struct device_driver driver = { .name = "driver", .owner = THIS_MODULE, .mod_name = "owners" };
struct config_item_type type = { .owner = THIS_MODULE, .item_ops = pointers };
struct owner_of_nothing nothing = { .owner = THIS_MODULE, .zeros = zeros };

static struct klp_func funcs[] = { { "schedule", new_function }, {} };
static struct klp_object objs[] = { { .funcs = funcs }, {} };
static struct klp_state states[] = { { .id = 3, .version = 4 }, {} };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .states = states };

ENABLE(&patch);
