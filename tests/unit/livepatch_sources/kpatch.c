// SPDX-License-Identifier: GPL-3.0-or-later
/* The sections of a module by kpatch-build (dynup/kpatch, kmod/patch/kpatch-patch.h). */
#include "variant.h"

struct func {
	unsigned long new_addr, new_size, old_addr, old_size, sympos;
	const char *name, *objname;
};
struct callback {
	void *callback;
	const char *objname;
};

#define STRING(name, text) \
	static const char name[] __attribute__((section(".kpatch.strings"))) = text
#define CALLBACKS(kind) __attribute__((used, section(".kpatch.callbacks." kind), aligned(8)))

STRING(vmlinux, "vmlinux");
STRING(ext4, "ext4");
STRING(schedule, "schedule");
STRING(sync_file, "ext4_sync_file");
STRING(cmdline, "cmdline_proc_show");

static struct func funcs[] __attribute__((used, section(".kpatch.funcs"))) = {
	{ (unsigned long)new_function, 16, 0, 16, 0, schedule, vmlinux },
	{ (unsigned long)new_function, 16, 0, 16, 1, sync_file, ext4 },
	{ (unsigned long)other_function, 16, 0, 16, 3, cmdline, vmlinux },
};

/* The linker script adds a word of zeros to each section. */
static struct {
	struct callback callbacks[1];
	void *pad;
} pre_patch CALLBACKS("pre_patch") = { { { callback, vmlinux } } },
  post_unpatch CALLBACKS("post_unpatch") = { { { void_callback, ext4 } } };
static void *post_patch CALLBACKS("post_patch") = NULL;
static void *pre_unpatch CALLBACKS("pre_unpatch") = NULL;

static struct klp_patch *lpatch;

ENABLE(lpatch);
