// SPDX-License-Identifier: GPL-3.0-or-later
/* What modpost writes beside every module. */
#include <linux/module.h>

#ifndef VERMAGIC
#define VERMAGIC "6.1.0-test SMP preempt mod_unload modversions "
#endif

#ifndef DEPENDS
#define DEPENDS ""
#endif
MODULE_INFO(depends, DEPENDS);
#ifndef NO_NAME
MODULE_INFO(name, KBUILD_MODNAME);
#endif
#ifdef SRCVERSION
MODULE_INFO(srcversion, SRCVERSION);
#endif
#ifndef NO_VERMAGIC
MODULE_INFO(vermagic, VERMAGIC);
#endif

extern int init_module(void);
extern void cleanup_module(void);

struct module __this_module __attribute__((section(".gnu.linkonce.this_module"))) = {
	.name = KBUILD_MODNAME,
	.init = init_module,
	.exit = cleanup_module,
};
