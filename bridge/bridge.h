/*
 * bridge.h
 *	  The whole program's state: which part knows which.
 *
 *	  server -> conn -> relay -> control, beats, logs connections -> database
 *	  listen -> tokens, pull
 *
 * One thread, one event loop; nothing here is locked.
 */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "config.h"
#include "conn.h"
#include "control.h"
#include "drain.h"
#include "listen.h"
#include "loop.h"
#include "relay.h"
#include "server.h"
#include "tokens.h"

typedef struct Bridge
{
	const BridgeConfig *config; /* borrowed */
	Loop		loop;
	Server		server;
	ConnTable	conns;
	Relay		relay;
	Control		control;
	Listen		listen;
	TokenMap	tokens;
	Drain		drain;
} Bridge;

#endif							/* BRIDGE_H */
