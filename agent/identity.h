/*
 * identity.h
 *	  Which data directory this is, and what the server last sealed it with.
 *
 * The id is made at the first start.  Each welcome brings a new seal; the next
 * hello brings it back, so that the server can tell a copy of the directory
 * from the one that went on.  Both are one short file, written durably.
 */
#ifndef AGENT_IDENTITY_H
#define AGENT_IDENTITY_H

#include "agent/data.h"

typedef struct Identity
{
	char		data_id[33];	/* 32 hex digits */
	char		seal[17];		/* 16 hex digits; zeros: none yet */
} Identity;

/* Read it, or make it where there is none; UD_EINVAL: it is damaged. */
extern int	identity_open(const DataDir *data, Identity *identity, UdError *err) UD_MUSTCHECK;

/* Keep the seal of a welcome (16 hex digits); nothing changes when that fails. */
extern int	identity_store_seal(const DataDir *data, Identity *identity, const char *seal, UdError *err) UD_MUSTCHECK;

#endif							/* AGENT_IDENTITY_H */
