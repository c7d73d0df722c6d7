// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An ordinary module with a thread that sleeps in blocker_wait(), so that a
 * livepatch of that function can't complete its transition until someone
 * writes 1 to /sys/module/blocker/parameters/release.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>

#define POLL_MS 100

static bool release;
module_param(release, bool, 0644);
MODULE_PARM_DESC(release, "let the thread leave blocker_wait()");

static struct task_struct *thread;

static noinline void blocker_wait(void)
{
	while (!READ_ONCE(release) && !kthread_should_stop())
		msleep_interruptible(POLL_MS);
}

static int blocker_thread(void *unused)
{
	while (!kthread_should_stop()) {
		blocker_wait();
		msleep_interruptible(POLL_MS);
	}
	return 0;
}

static int __init blocker_init(void)
{
	thread = kthread_run(blocker_thread, NULL, "blocker");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit blocker_exit(void)
{
	kthread_stop(thread);
}

module_init(blocker_init);
module_exit(blocker_exit);
MODULE_DESCRIPTION("Thread that blocks the transition of a livepatch");
MODULE_LICENSE("GPL");
