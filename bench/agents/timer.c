/*
 * timer.c
 *	  When each node is to be looked at: a binary heap.
 *
 * libwebsockets' own timers are a sorted list; with ten thousand nodes each
 * insertion would walk through it.
 */
#include "sim.h"

static void
timer_place(Sim *sim, int index, SimNode *node)
{
	sim->heap[index] = node;
	node->heap_index = index;
}

static void
timer_up(Sim *sim, int index, SimNode *node)
{
	while (index > 0 && sim->heap[(index - 1) / 2]->due_ns > node->due_ns)
	{
		timer_place(sim, index, sim->heap[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	timer_place(sim, index, node);
}

static void
timer_down(Sim *sim, int index, SimNode *node)
{
	for (;;)
	{
		int			child = 2 * index + 1;

		if (child >= sim->heap_count)
			break;
		if (child + 1 < sim->heap_count && sim->heap[child + 1]->due_ns < sim->heap[child]->due_ns)
			child++;
		if (sim->heap[child]->due_ns >= node->due_ns)
			break;
		timer_place(sim, index, sim->heap[child]);
		index = child;
	}
	timer_place(sim, index, node);
}

static void
timer_remove(SimNode *node)
{
	Sim		   *sim = node->sim;
	int			index = node->heap_index;
	SimNode    *last = sim->heap[--sim->heap_count];

	node->heap_index = -1;
	if (last == node)
		return;
	timer_up(sim, index, last);
	timer_down(sim, last->heap_index, last);
}

void
timer_set(SimNode *node, int64_t due_ns)
{
	if (node->heap_index >= 0)
	{
		if (node->due_ns == due_ns)
			return;
		timer_remove(node);
	}
	if (due_ns == 0)
		return;
	node->due_ns = due_ns;
	timer_up(node->sim, node->sim->heap_count++, node);
}

SimNode *
timer_take(Sim *sim, int64_t now)
{
	SimNode    *node;

	if (sim->heap_count == 0 || sim->heap[0]->due_ns > now)
		return NULL;
	node = sim->heap[0];
	timer_remove(node);
	return node;
}

int64_t
timer_next_ns(const Sim *sim)
{
	return sim->heap_count > 0 ? sim->heap[0]->due_ns : INT64_MAX;
}
