/*
 * identity.h
 *	  Which machine a node's agent is: by its data directory, its engine, and
 *	  the seal that the last welcome gave it.
 *
 * A token says which node it is, and can be used twice.  An agent with
 * another data directory, or on another engine, is another machine: what it
 * does not have proves nothing about what runs on the one before it.  A data
 * directory that comes with a seal of the past is a copy of one that went on.
 */
#ifndef UNIDESK_IDENTITY_H
#define UNIDESK_IDENTITY_H

#include "unidesk.h"

#include "message.h"

/* Who a hello says it is, or who was here last. */
typedef struct UnideskMachine
{
	char	   *data_id;		/* 32 hex digits; NULL: agents of before have
								 * none */
	char	   *engine_id;		/* NULL: nobody was ever here */
	char	   *boot_id;
	int64		up_s;			/* of a hello: how long ago it booted; -1: it
								 * does not say */
	int64		seal;			/* 0: none yet */
} UnideskMachine;

/* What the node's row said before the hello. */
typedef struct UnideskNodeRow
{
	int			status;
	int64		session;		/* 0: none */
	int32		bridge_id;
	char	   *name;
	bool		token_matches;
	UnideskMachine machine;
	int64		seal_before;	/* what the machine brought when it was given
								 * the seal, or -1 once it has shown that it
								 * has that */
	bool		seal_counts;	/* it was given in this incarnation */
	bool		accepts_any;	/* an administrator said accept_machine */
} UnideskNodeRow;

/* Its data directory and engine are those of the machine before it. */
extern bool unidesk_same_machine(const UnideskMachine *before, const UnideskMachine *comes);

/*
 * May it come in now?  NULL, or what to tell it; people are told by an event.
 */
extern const char *unidesk_refuse_machine(int32 node_id, const UnideskNodeRow *node, const UnideskMachine *comes);

/*
 * What another machine finds is left behind on the one before: live attempts
 * and held ones that its inventory (a hello's body) does not have.  What was
 * left behind on this very machine is its again.  False: rows are busy, the
 * hello has to come again.
 */
extern bool unidesk_change_machine(int32 node_id, const UnideskNodeRow *node, const UnideskMachine *comes, Datum body);

/* A new seal, never 0. */
extern int64 unidesk_new_seal(void);

/* A beat proves that the session's seal has arrived: the one before it is over. */
extern void unidesk_confirm_seal(int32 node_id, int64 session);

#endif							/* UNIDESK_IDENTITY_H */
