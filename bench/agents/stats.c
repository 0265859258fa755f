/*
 * stats.c
 *	  What is counted and timed, and the report of it.
 */
#include "stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/protocol.h"

void
stats_init(SimStats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->began_ns = clock_ns(CLOCK_MONOTONIC);
	stats->real_offset_ns = clock_ns(CLOCK_REALTIME) - stats->began_ns;
}

void
stats_release(SimStats *stats)
{
	free(stats->handshake.us);
	free(stats->run.us);
	free(stats->ack.us);
	free(stats->rounds);
	free(stats->times);
}

void
stats_sample(Samples *samples, int64_t ns)
{
	int64_t		us = ns / 1000;

	if (samples->count == samples->size)
	{
		samples->size = samples->size == 0 ? 1024 : 2 * samples->size;
		samples->us = ud_realloc(samples->us, samples->size * sizeof(*samples->us));
	}
	samples->us[samples->count++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t) us;
}

void
stats_code(SimStats *stats, int code)
{
	int			i = 0;

	while (i < stats->code_count && stats->codes[i] != code)
		i++;
	if (i == STATS_CODES)
		return;
	if (i == stats->code_count)
		stats->codes[stats->code_count++] = code;
	stats->code_counts[i]++;
}

void
stats_task(SimStats *stats, const TaskTimes *times)
{
	stats_sample(&stats->run, times->ended_ns - times->assigned_ns);
	stats_sample(&stats->ack, times->acked_ns - times->ended_ns);
	if (stats->times_count == stats->times_size)
	{
		stats->times_size = stats->times_size == 0 ? 1024 : 2 * stats->times_size;
		stats->times = ud_realloc(stats->times, stats->times_size * sizeof(*stats->times));
	}
	stats->times[stats->times_count++] = *times;
}

void
stats_round_ended(SimStats *stats, int64_t now)
{
	stats->rounds = ud_realloc(stats->rounds, (stats->round_count + 1) * sizeof(*stats->rounds));
	stats->round.ended_ns = now;
	stats->rounds[stats->round_count++] = stats->round;
	memset(&stats->round, 0, sizeof(stats->round));
}

static int
stats_compare(const void *a, const void *b)
{
	uint32_t	left = *(const uint32_t *) a;
	uint32_t	right = *(const uint32_t *) b;

	return (left > right) - (left < right);
}

/* In milliseconds; sorts. */
static void
stats_print_samples(FILE *file, const char *name, Samples *samples)
{
	static const double percents[] = {50, 95, 99, 100};
	static const char *const names[] = {"p50", "p95", "p99", "max"};

	if (samples->count > 0)
		qsort(samples->us, samples->count, sizeof(*samples->us), stats_compare);
	fprintf(file, ",\n \"%s\": {\"count\": %zu", name, samples->count);
	for (int i = 0; i < 4 && samples->count > 0; i++)
	{
		size_t		at = (size_t) ((double) (samples->count - 1) * percents[i] / 100 + 0.5);

		fprintf(file, ", \"%s\": %.3f", names[i], samples->us[at] / 1000.0);
	}
	fputc('}', file);
}

static void
stats_print_messages(FILE *file, const char *name, const int64_t *counts)
{
	const char *comma = "";

	fprintf(file, ",\n \"%s\": {", name);
	for (int type = 0; type < 256; type++)
		if (counts[type] > 0)
		{
			const char *text = ud_message_type_name(type);

			fprintf(file, "%s\"%s\": %lld", comma, text != NULL ? text : "unknown", (long long) counts[type]);
			comma = ", ";
		}
	fputc('}', file);
}

static void
stats_print_connections(FILE *file, SimStats *stats)
{
	fprintf(file, ",\n \"connects\": %lld, \"welcomes\": %lld, \"failures\": %lld",
			(long long) stats->connects, (long long) stats->welcomes, (long long) stats->failures);
	fprintf(file, ",\n \"codes\": {");
	for (int i = 0; i < stats->code_count; i++)
		fprintf(file, "%s\"%d\": %lld", i > 0 ? ", " : "", stats->codes[i], (long long) stats->code_counts[i]);
	fprintf(file, "},\n \"online\": [");
	for (size_t i = 0; i < stats->round_count; i++)
	{
		const Round *round = &stats->rounds[i];
		double		seconds = (double) (round->ended_ns - round->began_ns) / NS_PER_S;

		fprintf(file, "%s{\"at_s\": %.3f, \"seconds\": %.3f, \"handshakes\": %lld, \"per_s\": %.1f}", i > 0 ? ", " : "",
				(double) (round->ended_ns - stats->began_ns) / NS_PER_S, seconds,
				(long long) round->handshakes, seconds > 0 ? (double) round->handshakes / seconds : 0);
	}
	fputc(']', file);
	stats_print_samples(file, "handshake_ms", &stats->handshake);
}

/* First assignment to last end. */
static void
stats_print_tasks(FILE *file, SimStats *stats)
{
	int64_t		first = INT64_MAX;
	int64_t		last = 0;
	double		seconds = 0;

	for (size_t i = 0; i < stats->times_count; i++)
	{
		if (stats->times[i].assigned_ns < first)
			first = stats->times[i].assigned_ns;
		if (stats->times[i].acked_ns > last)
			last = stats->times[i].acked_ns;
	}
	if (last > first)
		seconds = (double) (last - first) / NS_PER_S;
	fprintf(file, ",\n \"assigned\": %lld, \"ended\": %lld, \"dropped\": %lld, \"busy_s\": %.3f, \"tasks_per_s\": %.1f",
			(long long) stats->assigned, (long long) stats->ended, (long long) stats->dropped,
			seconds, seconds > 0 ? (double) stats->times_count / seconds : 0);
	stats_print_samples(file, "assigned_to_end_sent_ms", &stats->run);
	stats_print_samples(file, "end_sent_to_acknowledged_ms", &stats->ack);
}

static int64_t
stats_us(const struct timeval *time)
{
	return (int64_t) time->tv_sec * 1000000 + time->tv_usec;
}

int
stats_write_report(SimStats *stats, const SimOptions *options, UdError *err)
{
	FILE	   *file = options->report != NULL ? fopen(options->report, "we") : stdout;
	struct rusage own;
	struct rusage children;

	if (file == NULL)
		return ud_error(err, UD_EIO, 0, "could not write --report \"%s\": %s", options->report, strerror(errno));
	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	fprintf(file, "{\"agents\": %d, \"seconds\": %.3f,\n \"cpu_user_us\": %lld, \"cpu_system_us\": %lld, \"cpu_children_us\": %lld, \"rss_max_kib\": %ld",
			options->agents, (double) (clock_ns(CLOCK_MONOTONIC) - stats->began_ns) / NS_PER_S,
			(long long) stats_us(&own.ru_utime), (long long) stats_us(&own.ru_stime),
			(long long) (stats_us(&children.ru_utime) + stats_us(&children.ru_stime)), own.ru_maxrss);
	fprintf(file, ",\n \"frames_in\": %lld, \"frames_out\": %lld, \"bytes_in\": %lld, \"bytes_out\": %lld",
			(long long) stats->frames_in, (long long) stats->frames_out,
			(long long) stats->bytes_in, (long long) stats->bytes_out);
	stats_print_messages(file, "messages_in", stats->messages_in);
	stats_print_messages(file, "messages_out", stats->messages_out);
	stats_print_connections(file, stats);
	stats_print_tasks(file, stats);
	fprintf(file, "}\n");
	if (fflush(file) != 0 || ferror(file))
		return ud_error(err, UD_EIO, 0, "could not write the report: %s", strerror(errno));
	if (file != stdout)
		fclose(file);
	return 0;
}

int
stats_write_times(const SimStats *stats, const char *path, UdError *err)
{
	FILE	   *file = fopen(path, "we");
	int			bad;

	if (file == NULL)
		return ud_error(err, UD_EIO, 0, "could not write --times \"%s\": %s", path, strerror(errno));
	for (size_t i = 0; i < stats->times_count; i++)
	{
		const TaskTimes *times = &stats->times[i];

		fprintf(file, "%lld\t%d\t%lld\t%lld\t%lld\n", (long long) times->task, times->attempt,
				(long long) ((times->assigned_ns + stats->real_offset_ns) / 1000),
				(long long) ((times->ended_ns + stats->real_offset_ns) / 1000),
				(long long) ((times->acked_ns + stats->real_offset_ns) / 1000));
	}
	bad = ferror(file);
	if (fclose(file) != 0 || bad)
		return ud_error(err, UD_EIO, 0, "could not write --times \"%s\"", path);
	return 0;
}
