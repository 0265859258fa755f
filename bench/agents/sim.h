/*
 * sim.h
 *	  Simulated agents: one process and thread, many nodes.
 *
 * Every node has a WebSocket of its own and keeps to docs/protocol.md as the
 * agent does: beats, reports that are repeated until acknowledged and merged
 * for 5 ms, logs within credit, the agent's waits before it connects again.
 * What it does not do: limits of time and leases of tasks, and attempts of
 * another incarnation, which are forgotten.  A process is new machines: nodes
 * that another one used a moment ago are refused it as copies would be.
 */
#ifndef BENCH_SIM_H
#define BENCH_SIM_H

#include <libwebsockets.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/link.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/protocol.h"
#include "options.h"
#include "stats.h"

/* Ended tasks that a node remembers, so that none is started twice. */
#define SIM_TOMBS 256

typedef struct SimLog
{
	int64_t		end;			/* offset after the last byte; set at the end */
	int64_t		sent;
	int64_t		acked;
	int64_t		credit;
	int64_t		heard_ns;		/* of the last ack, or first byte after it */
	bool		probing;		/* first message of the session is out */
	bool		started;		/* the server said where to go on */
	int			idle_probes;
} SimLog;

typedef struct SimTask
{
	struct SimTask *next;
	Fence		fence;
	int64_t		rev;
	int			state;			/* UdAttemptState */
	bool		dirty;			/* to be reported */
	bool		settled;		/* the server knows it */
	bool		remove_acked;
	int			final_state;	/* of a stop that is under way; 0: none */
	int			exit_code;
	int			reason;
	pid_t		pid;			/* of the command, 0: none runs */
	char	  **command;		/* owned; with --exec, until it runs */
	char	  **environment;
	int64_t		started_ns;		/* 0: not yet; monotonic like all here */
	int64_t		kill_ns;		/* SIGKILL then, 0: never */
	uint32_t	report_sequence;
	int64_t		report_ns;		/* of the last report */
	int64_t		assigned_ns;
	int64_t		ended_ns;		/* when its end was sent first */
	SimLog		log;
} SimTask;

typedef struct Sim Sim;

typedef struct SimNode
{
	Sim		   *sim;			/* borrowed */
	int			index;
	struct lws *wsi;			/* borrowed; NULL: none */
	struct SimNode *next_waiting;	/* for a place to connect in */
	int			heap_index;		/* place among the timers, -1: none */
	int64_t		due_ns;
	char		data_id[33];
	char		seal[DESIRED_HEX_BYTES];
	bool		attempted;		/* a connection is being made or stands */
	bool		connecting;		/* ... and is not welcome yet */
	bool		established;
	bool		hello_due;
	bool		welcomed;
	int			close_code;		/* ours to send, 0: none */
	int			tries;
	LinkEnd		end;
	int64_t		connect_ns;		/* when this connection was begun */
	int64_t		established_ns;
	int64_t		heard_ns;
	int64_t		retry_after_ms;
	uint64_t	session;
	int64_t		incarnation;
	SessionLimits limits;
	int64_t		last_rev;
	int64_t		full_rev;
	uint32_t	full_left;
	uint32_t	beat_sequence;
	int64_t		next_beat_ns;
	int64_t		last_report_ns;
	int64_t		next_log_ns;
	bool		inventory_due;
	SimTask    *tasks;			/* owned */
	Fence	   *tombs;			/* SIM_TOMBS of them, once there was one */
	uint32_t	tomb_count;
	UdBuf		control;		/* encoded messages to send */
	uint32_t	control_count;
	UdBuf		incoming;
} SimNode;

struct Sim
{
	const SimOptions *options;
	struct lws_context *context;
	SimNode    *nodes;
	SimNode   **heap;			/* by due_ns */
	int			heap_count;
	SimNode    *waiting;		/* first and last for a place to connect in */
	SimNode    *waiting_last;
	int			connecting;
	int			online;
	int64_t		deadline_ns;
	atomic_bool stopped;		/* by a signal */
	bool		failed;			/* the reason was said */
	bool		done;
	char		machine[17];	/* of this process, in identities */
	lws_sorted_usec_list_t timer;
	int64_t		timer_ns;		/* when it fires */
	UdBuf		outgoing;
	SimStats	stats;
};

/* connection.c */
extern int	connection_run(Sim *sim, UdError *err) UD_MUSTCHECK;

/* Make the loop look; any thread, at any time. */
extern void connection_wake(void);
extern void connection_close(SimNode *node, int code);

/* Call node_timer no later than due_ns; 0: do not. */
extern void timer_set(SimNode *node, int64_t due_ns);

/* The node that is due at now, no longer among the timers, or NULL. */
extern SimNode *timer_take(Sim *sim, int64_t now);
extern int64_t timer_next_ns(const Sim *sim);

/* node.c: the protocol of one node. */
extern void node_init(SimNode *node, Sim *sim, int index);
extern void node_release(SimNode *node);
extern void node_open(SimNode *node);
extern void node_close(SimNode *node);
extern int	node_receive(SimNode *node, const uint8_t *frame, size_t len, UdError *err) UD_MUSTCHECK;

/* Append the next frame; false: nothing is due. */
extern bool node_next_frame(SimNode *node, UdBuf *out);

/* After anything happened: what became due, and when to look again. */
extern void node_look(SimNode *node);
extern void node_append(UdBuf *out, const UdEnvelope *envelope, const void *body, size_t len);
extern void node_queue(SimNode *node, int type, uint32_t sequence, const UdBuf *body);

/* body.c: JSON. */
extern void body_hello(const SimNode *node, UdBuf *out);
extern void body_inventory(const SimNode *node, UdBuf *out);
extern void body_beat(const SimNode *node, UdBuf *out);
extern void body_report(const SimTask *task, UdBuf *out);

/* task.c */
extern void task_on_desired(SimNode *node, const UdEnvelope *envelope, const uint8_t *body);
extern void task_on_report_ack(SimNode *node, const UdEnvelope *envelope);
extern SimTask *task_find(SimNode *node, const UdEnvelope *envelope);

/* Let time pass; returns when to look again, INT64_MAX: no need. */
extern int64_t task_advance(SimNode *node, SimTask *task, int64_t now);

/* Its report was put into a frame. */
extern void task_reported(SimNode *node, SimTask *task, int64_t now);

/* Result and log are with the server: nothing is left to do. */
extern bool task_is_over(const SimTask *task);
extern void task_forget(SimNode *node, SimTask *task);
extern void task_drop(SimNode *node, SimTask *task);
extern void task_new_session(SimTask *task);

/* What became of the commands; with --exec. */
extern void task_reap(Sim *sim);

/* log.c */
extern void log_reset(SimLog *log);
extern void log_on_ack(SimTask *task, const UdEnvelope *envelope);
extern int64_t log_written(const SimOptions *options, const SimTask *task, int64_t now);
extern uint32_t log_append(SimNode *node, UdBuf *out, int64_t now);
extern bool log_is_done(const SimTask *task);

#endif							/* BENCH_SIM_H */
