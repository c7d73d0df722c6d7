/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A visible fix: /proc/cmdline names the livepatch that is in effect.
 */
#ifndef CMDLINE_SHOW_H
#define CMDLINE_SHOW_H

#include <linux/livepatch.h>
#include <linux/seq_file.h>

static int livepatch_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, KBUILD_MODNAME ": this has been live patched\n");
	return 0;
}

#define CMDLINE_SHOW_FUNC {				\
	.old_name = "cmdline_proc_show",		\
	.new_func = livepatch_cmdline_proc_show,	\
}

#endif
