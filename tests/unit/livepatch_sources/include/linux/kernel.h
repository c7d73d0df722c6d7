/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The few declarations that the test livepatches need, so that they compile for
 * any machine without a kernel tree.  Nothing built with them is ever loaded.
 */
#ifndef STUB_LINUX_KERNEL_H
#define STUB_LINUX_KERNEL_H

#define NULL ((void *)0)
#define true 1
#define false 0
#define GFP_KERNEL 0
#define ENOMEM 12
#define EINVAL 22
#define __init __attribute__((section(".init.text")))
#define __exit __attribute__((section(".exit.text")))
#define noinline __attribute__((noinline))
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

typedef _Bool bool;
typedef unsigned int gfp_t;

struct seq_file;
struct task_struct;

extern int console_printk[];
extern int printk(const char *format, ...);
#define pr_info(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)
#define pr_err(format, ...) printk(pr_fmt(format), ##__VA_ARGS__)

extern void seq_puts(struct seq_file *m, const char *s);
extern void *kzalloc(unsigned long size, gfp_t flags);
extern void kfree(const void *object);
extern unsigned long msleep_interruptible(unsigned int msecs);
extern bool kthread_should_stop(void);
extern int kthread_stop(struct task_struct *k);
extern struct task_struct *kthread_run(int (*fn)(void *), void *data, const char *name);
extern int PTR_ERR_OR_ZERO(const void *ptr);

#endif
