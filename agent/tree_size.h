/*
 * tree_size.h
 *	  How much of the disk a directory takes.
 */
#ifndef AGENT_TREE_SIZE_H
#define AGENT_TREE_SIZE_H

#include <stdint.h>

/*
 * Bytes on disk of name in dir, links not followed.  Absent is 0; of what is
 * deeper or more than anybody needs only a part is counted.
 */
extern int64_t tree_size(int dir, const char *name);

#endif							/* AGENT_TREE_SIZE_H */
