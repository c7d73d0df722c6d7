/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef STUB_LINUX_MODULE_H
#define STUB_LINUX_MODULE_H

#include <linux/kernel.h>

/* Where CONFIG_RANDSTRUCT puts the name is anyone's guess. */
struct module {
	int state;
	void *list[2];
	char name[56];
	int (*init)(void);
	void (*exit)(void);
	unsigned long rest[40];
};

extern struct module __this_module;
#define THIS_MODULE (&__this_module)

#define PASTE(a, b) a##b
#define UNIQUE(prefix, line) PASTE(prefix, line)
#define MODULE_INFO(tag, info)						\
	static const char UNIQUE(tag, __LINE__)[]			\
	__attribute__((used, section(".modinfo"), aligned(1))) = #tag "=" info
#define MODULE_DESCRIPTION(text) MODULE_INFO(description, text)
#define MODULE_LICENSE(text) MODULE_INFO(license, text)
#define MODULE_PARM_DESC(name, text) MODULE_INFO(parm, #name ":" text)

#define module_init(function) int init_module(void) __attribute__((alias(#function)))
#define module_exit(function) void cleanup_module(void) __attribute__((alias(#function)))

/* Points to its module, as in the kernel. */
struct kernel_param {
	const char *name;
	struct module *mod;
	const void *ops;
	unsigned short perm;
	signed char level;
	unsigned char flags;
	void *arg;
};
extern const int param_ops_bool;
#define module_param(variable, type, mode)				\
	static const struct kernel_param __param_##variable		\
	__attribute__((used, section("__param"), aligned(8))) = {	\
		#variable, THIS_MODULE, &param_ops_bool, mode, -1, 0, &variable }

#endif
