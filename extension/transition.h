/*
 * transition.h
 *	  The state machines as data: which state follows which, and who may say so.
 */
#ifndef UNIDESK_TRANSITION_H
#define UNIDESK_TRANSITION_H

#include "postgres.h"

/* Who may make a move. */
#define UNIDESK_BY_AGENT 1
#define UNIDESK_BY_WORKER 2
#define UNIDESK_BY_PERSON 4

typedef struct UnideskTransition
{
	int			from;
	int			to;
	int			by;				/* UNIDESK_BY_* */
} UnideskTransition;

/* Longest walk through the attempt's machine. */
#define UNIDESK_PATH_MAX 8

/*
 * The shortest walk from one state of an attempt to another over moves that
 * "by" may make; through RUNNING when ran is true or it ends well, and the
 * walk has not passed it.  Fills path with the states entered and returns their number, 0 when
 * there is no such walk or nothing to do.
 */
extern int	unidesk_attempt_path(int from, int to, bool ran, int by, int16 path[UNIDESK_PATH_MAX]);

/* Raise unless the move is in the task's table. */
extern void unidesk_check_task_move(int from, int to, int by);
extern bool unidesk_task_move_allowed(int from, int to, int by);
extern bool unidesk_node_move_allowed(int from, int to, int by);
extern bool unidesk_scheduling_move_allowed(int from, int to, int by);

#endif							/* UNIDESK_TRANSITION_H */
