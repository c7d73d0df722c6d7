// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Callbacks that do what the document says by ways that are hard to follow, one
 * for each macro.
 */
#include <linux/livepatch.h>

static struct klp_patch patch;

static int kept = 3;

static noinline int take_over(struct klp_object *obj)
{
	struct klp_state *state = klp_get_state(&patch, 1);
	struct klp_state *prev = klp_get_prev_state(1);

	if (state && prev)
		state->data = prev->data;
	return 0;
}

/* Not inlined, so that it is not gone when it is used once. */
static noinline int report(struct klp_object *obj)
{
	return printk("nothing to do %d\n", kept);
}

#if defined(OPS)
/* Pointers in read-only data, of which the compiler can't know which is used. */
struct ops {
	const char *name;
	int (*handle)(struct klp_object *obj);
};
static const struct ops ops[] = { { "report", report }, { "take over", take_over } };
extern int which;

static noinline int handle(struct klp_object *obj)
{
	return ops[which].handle(obj);
}
#elif defined(WORK)
/* The kernel is given a structure and calls what it points to. */
struct work {
	long pending;
	int (*func)(struct klp_object *obj);
};
static struct work work = { .func = take_over };
extern int queue_work(struct work *work);

static noinline int handle(struct klp_object *obj)
{
	return queue_work(&work);
}
#elif defined(ARGUMENT)
extern int stop_machine(int (*fn)(struct klp_object *obj), void *data);

static noinline int handle(struct klp_object *obj)
{
	return stop_machine(take_over, obj);
}
#elif defined(SWITCH)
/* A table of jumps. */
extern int which;
extern void one(int), two(int), three(int), four(int), five(int), six(int), seven(int);

static noinline int handle(struct klp_object *obj)
{
	switch (which) {
	case 0: one(1); two(2); break;
	case 1: two(1); one(2); break;
	case 2: three(1); break;
	case 3: four(1); seven(7); break;
	case 4: five(1); break;
#ifdef SWITCH_WRONG
	case 5: six(3); break;
#else
	case 5: take_over(obj); break;
#endif
	case 6: six(1); five(5); break;
	case 7: seven(1); break;
	case 8: seven(2); one(1); break;
	}
	return 0;
}
#elif defined(TAIL)
/* One jumps to the next, forwards, backwards and on a condition. */
static noinline int third(struct klp_object *obj)
{
	return take_over(obj);
}
extern int which;
static int first(struct klp_object *obj);

static noinline int second(struct klp_object *obj)
{
	if (which > 4)
		return first(obj);
	return which > 3 ? third(obj) : report(obj);
}

static noinline int first(struct klp_object *obj)
{
	which--;
	return second(obj);
}

static noinline int handle(struct klp_object *obj)
{
	return first(obj);
}
#elif defined(COLD)
/* In another section, .text.unlikely. */
extern int which;

static __attribute__((cold)) noinline int unlikely(struct klp_object *obj)
{
	return take_over(obj) + 1;
}

static noinline int handle(struct klp_object *obj)
{
	if (__builtin_expect(which, 0)) {
		printk("unlikely\n");
		return unlikely(obj);
	}
	return report(obj);
}
#elif defined(CLEANUP)
/* pre_patch() cleans up by calling post_unpatch(). */
static noinline int handle(struct klp_object *obj)
{
	return take_over(obj) ? report(obj) : 0;
}
#elif defined(STATIC_KEY)
/* Where the kernel patches a jump in: a no-op, and an entry that says where to. */
static noinline int handle(struct klp_object *obj)
{
	asm goto("1:\n\tnop\n\t"
		 ".pushsection __jump_table, \"aw\"\n\t"
		 ".balign 8\n\t"
		 ".long 1b - ., %l[yes] - .\n\t"
		 ".quad 0\n\t"
		 ".popsection\n\t" : : : : yes);
	return report(obj);
yes:
	return take_over(obj);
}
#elif defined(CACHED)
/* What one callback found is used by the others. */
static struct klp_state *own, *previous;

static noinline int handle(struct klp_object *obj)
{
	own = klp_get_state(&patch, 1);
	previous = klp_get_prev_state(1);
	return own ? 0 : -EINVAL;
}

static noinline void use(void)
{
	if (previous)
		own->data = previous->data;
	else
		own->data = NULL;
}
#endif

static int pre_patch(struct klp_object *obj)
{
	return handle(obj);
}

#ifdef CACHED
static void post_patch(struct klp_object *obj)
{
	use();
}

static void pre_unpatch(struct klp_object *obj)
{
	if (own->data)
		printk("has data\n");
}

static void post_unpatch(struct klp_object *obj)
{
	use();
}
#else
static void post_patch(struct klp_object *obj)
{
	handle(obj);
}

static void pre_unpatch(struct klp_object *obj)
{
	handle(obj);
}

static void post_unpatch(struct klp_object *obj)
{
	handle(obj);
}
#endif

static struct klp_func funcs[] = { { "schedule", report }, {} };
static struct klp_object objs[] = {
	{
		.funcs = funcs,
		.callbacks = { pre_patch, post_patch, pre_unpatch, post_unpatch },
	},
	{}
};
static struct klp_state states[] = { { .id = 1, .version = 2 }, {} };
static struct klp_patch patch = {
	.mod = THIS_MODULE, .objs = objs, .states = states, .replace = true,
};

static int __init indirect_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit indirect_exit(void)
{
}

module_init(indirect_init);
module_exit(indirect_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
