/*
 * body.c
 *	  JSON bodies of what a node sends, of the size that the agent's have.
 */
#include "sim.h"

#include "common/reasons.h"

/* Resources enough for any number of small tasks but for CPUs. */
#define NODE_MEMORY INT64_C(1099511627776)
#define NODE_CACHE "{\"images\":0,\"images_budget\":20000000000,\"mirrors\":0,\"mirrors_budget\":10000000000}"

static void
body_engine(const SimNode *node, UdBuf *out)
{
	ud_buf_printf(out, "\"engine_id\":\"%s-%d\",\"engine_version\":\"20.10.24\",\"api_version\":\"1.41\",\"os\":\"simulated\","
				  "\"kernel\":\"6.1.0\",\"arch\":\"x86_64\",\"live_restore\":false", node->sim->machine, node->index);
}

static void
body_attempts(const SimNode *node, UdBuf *out)
{
	const char *comma = "";

	ud_buf_printf(out, "\"attempts\":[");
	for (const SimTask *task = node->tasks; task != NULL; task = task->next)
	{
		ud_buf_printf(out, "%s{\"incarnation\":\"%016llx\",\"task\":%lld,\"attempt\":%d,\"state\":\"%s\"}", comma,
					  (unsigned long long) task->fence.incarnation, (long long) task->fence.task,
					  task->fence.attempt, ud_attempt_state_name(task->state));
		comma = ",";
	}
	ud_buf_printf(out, "]");
}

void
body_hello(const SimNode *node, UdBuf *out)
{
	ud_buf_printf(out, "{\"proto_min\":1,\"proto_max\":1,\"agent_version\":\"" AGENT_VERSION "\",\"data_id\":\"%s\",\"seal\":\"%s\","
				  "\"boot_id\":\"00000000-0000-4000-8000-%.12s\",\"up_s\":%lld,", node->data_id, node->seal,
				  node->sim->machine, (long long) (clock_ns(CLOCK_MONOTONIC) / NS_PER_S));
	body_engine(node, out);
	ud_buf_printf(out, ",\"hostname\":\"simulated-%d\",\"resources\":{\"cpus_milli\":%d,\"memory\":%lld,\"disk\":%lld,\"gpus\":[]},"
				  "\"cache\":" NODE_CACHE ",\"labels\":{},\"last_rev\":%lld,", node->index, node->sim->options->cpus * 1000,
				  (long long) NODE_MEMORY, (long long) NODE_MEMORY, (long long) node->last_rev);
	body_attempts(node, out);
	ud_buf_printf(out, "}");
}

void
body_inventory(const SimNode *node, UdBuf *out)
{
	ud_buf_printf(out, "{");
	body_engine(node, out);
	ud_buf_printf(out, ",");
	body_attempts(node, out);
	ud_buf_printf(out, "}");
}

void
body_beat(const SimNode *node, UdBuf *out)
{
	int			running = 0;

	for (const SimTask *task = node->tasks; task != NULL; task = task->next)
		if (task->state == UD_ATTEMPT_RUNNING || task->state == UD_ATTEMPT_STOPPING)
			running++;
	ud_buf_printf(out, "{\"load\":0.1,\"memory_free\":%lld,\"disk_free\":%lld,\"cache\":" NODE_CACHE ",\"running\":%d,\"engine\":\"ok\"}",
				  (long long) NODE_MEMORY, (long long) NODE_MEMORY, running);
}

void
body_report(const SimTask *task, UdBuf *out)
{
	int64_t		run_ms = task->ended_ns > 0 && task->started_ns > 0 ? (task->ended_ns - task->started_ns) / NS_PER_MS : 0;

	if (task->state < UD_ATTEMPT_RUNNING)
	{
		ud_buf_printf(out, "{}");
		return;
	}
	ud_buf_printf(out, "{\"stage_ms\":{\"fetch\":0,\"build\":0,\"stage_in\":0");
	if (!UD_ATTEMPT_IS_TERMINAL(task->state))
	{
		ud_buf_printf(out, "}}");
		return;
	}
	ud_buf_printf(out, ",\"run\":%lld}", (long long) run_ms);
	if (task->state == UD_ATTEMPT_SUCCEEDED || task->state == UD_ATTEMPT_FAILED)
		ud_buf_printf(out, ",\"exit_code\":%d", task->exit_code);
	if (task->reason != UD_REASON_NONE)
		ud_buf_printf(out, ",\"reason\":\"%s\"", ud_reason_text(task->reason));
	if (task->started_ns > 0)
		ud_buf_printf(out, ",\"log_end\":%lld,\"checkpoint\":false", (long long) task->log.end);
	ud_buf_printf(out, "}");
}
