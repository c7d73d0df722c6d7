// SPDX-License-Identifier: GPL-3.0-or-later
/* The extremes of a states array; -DSTATES, -DSTATE_SECTION and -DREPLACE vary it. */
#include "variant.h"

#ifndef STATES
#define STATES { .id = 1, .version = 1 }, {}
#endif
#ifndef STATE_SECTION
#define STATE_SECTION
#endif
#ifndef REPLACE
#define REPLACE false
#endif

static int data;

static struct klp_func funcs[] = { { "schedule", new_function }, {} };
static struct klp_object objs[] = { { .funcs = funcs }, {} };
static STATE_SECTION struct klp_state states[] = { STATES };
static struct klp_patch patch = {
	.mod = THIS_MODULE, .objs = objs, .states = (struct klp_state *)states, .replace = REPLACE,
};

int *use_data(void)
{
	return &data;
}

ENABLE(&patch);
