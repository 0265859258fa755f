/*
 * remove_tree.h
 *	  Remove a directory that a task filled.
 */
#ifndef AGENT_REMOVE_TREE_H
#define AGENT_REMOVE_TREE_H

/*
 * Remove name in dir with everything below it, never following a link, with
 * bounded stack and descriptors however deep it is.  0, also when there is
 * nothing of that name; -1 and errno else.
 */
extern int	remove_tree(int dir, const char *name);

#endif							/* AGENT_REMOVE_TREE_H */
