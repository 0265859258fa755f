/*
 * health.h
 *	  "unidesk-bridge --health": ask a running bridge how it is.
 */
#ifndef HEALTH_H
#define HEALTH_H

#include "config.h"

/* 0 when /healthz at the configured address answers 200 within 3 seconds. */
extern int	health_ask(const BridgeConfig *config, UdError *err) UD_MUSTCHECK;

#endif							/* HEALTH_H */
