/*
 * check_init.c
 *	  unidesk-init as a process: started, signalled and read back from outside.
 *
 * Runs the built program ($UNIDESK_INIT, or unidesk-init in the current
 * directory) with a temporary run directory.  Outside a container it is no
 * PID 1; it makes itself the reaper of its descendants instead.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/protocol.h"
#include "common/run_files.h"
#include "common/clock.h"
#include "init/control.h"

static char run_dir[64];
static pid_t init_pid;
static UdExitRecord record;

/* What the log holds, by stream and as a whole. */
static UdBuf whole;
static UdBuf streams[UD_LOG_MARKER + 1];
static uint64_t log_bytes;
static int	marker_count;

static void
setup(void)
{
	strcpy(run_dir, "/tmp/unidesk-init-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(run_dir));
	init_pid = 0;
}

static const char *
run_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", run_dir, name);
	return path;
}

static void
teardown(void)
{
	static const char *const names[] = {"log", "exit", "exit.new", "control", "control.new", "seen", "alive"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(run_path(names[i]));
	ck_assert_int_eq(rmdir(run_dir), 0);
	ud_buf_release(&whole);
	for (int i = 0; i <= UD_LOG_MARKER; i++)
		ud_buf_release(&streams[i]);
}

static void
sleep_ms(int ms)
{
	usleep((useconds_t) ms * 1000);
}

/* Start unidesk-init with up to two options and a program of at most 3 words. */
static void
start_init(const char *budget, const char *grace, const char *a, const char *b, const char *c)
{
	const char *program = getenv("UNIDESK_INIT");

	init_pid = fork();
	ck_assert_int_ge(init_pid, 0);
	if (init_pid == 0)
	{
		int			null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDERR_FILENO);
		execl(program ? program : "./unidesk-init", "unidesk-init", "--run-dir", run_dir,
			  "--log-budget", budget ? budget : "104857600", "--grace", grace ? grace : "0",
			  "--", a, b, c, (char *) NULL);
		_exit(99);
	}
}

static void
start_shell(const char *script)
{
	start_init(NULL, NULL, "/bin/sh", "-c", script);
}

/* Wait until the log file holds records: the program runs and has spoken. */
static void
wait_for_output(void)
{
	struct stat st;

	for (int i = 0; i < 500; i++)
	{
		if (stat(run_path("log"), &st) == 0 && st.st_size > 0)
			return;
		sleep_ms(10);
	}
	ck_abort_msg("no output came");
}

/* Wait until the program has printed text, which stands in one record. */
static void
wait_for_text(const char *text)
{
	char		bytes[8192];

	for (int i = 0; i < 1000; i++)
	{
		FILE	   *file = fopen(run_path("log"), "rb");
		size_t		len = 0;

		if (file != NULL)
		{
			len = fread(bytes, 1, sizeof(bytes), file);
			fclose(file);
		}
		if (memmem(bytes, len, text, strlen(text)) != NULL)
			return;
		sleep_ms(10);
	}
	ck_abort_msg("\"%s\" was not printed", text);
}

static void
read_log(void)
{
	FILE	   *file = fopen(run_path("log"), "rb");
	UdLogRecord header;
	uint64_t	offset = 0;
	static char payload[UD_LOG_RECORD_BYTES_MAX];

	ck_assert_ptr_nonnull(file);
	marker_count = 0;
	log_bytes = 0;
	while (fread(&header, 1, sizeof(header), file) == sizeof(header))
	{
		ck_assert_uint_eq(header.magic, UD_LOG_RECORD_MAGIC);
		ck_assert_uint_gt(header.length, 0);
		ck_assert_uint_le(header.length, UD_LOG_RECORD_BYTES_MAX);
		ck_assert_uint_eq(header.offset, offset);
		ck_assert_int_ge(header.stream, UD_LOG_STDOUT);
		ck_assert_int_le(header.stream, UD_LOG_MARKER);
		ck_assert_int_eq(fread(payload, 1, header.length, file), header.length);
		offset += header.length;
		log_bytes += sizeof(header) + header.length;
		marker_count += header.stream == UD_LOG_MARKER;
		ud_buf_append(&whole, payload, header.length);
		ud_buf_append(&streams[header.stream], payload, header.length);
	}
	ck_assert(feof(file));
	fclose(file);
	ck_assert_uint_eq(offset, record.log_end);
}

/* Wait for unidesk-init, read exit record and log, return its exit code. */
static int
finish_init(void)
{
	int			status;
	int			fd;

	ck_assert_int_eq(waitpid(init_pid, &status, 0), init_pid);
	ck_assert(WIFEXITED(status));
	fd = open(run_path("exit"), O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &record, sizeof(record)), sizeof(record));
	close(fd);
	ck_assert_uint_eq(record.magic, UD_EXIT_MAGIC);
	ck_assert_int_ge(record.ended_realtime_ns, record.started_realtime_ns);
	ck_assert_int_ge(record.run_ns, 0);
	read_log();
	return WEXITSTATUS(status);
}

/* As the agent does it: aside, then renamed. */
static void
write_control(const UdControl *control)
{
	char		aside[128];
	int			fd;

	strcpy(aside, run_path("control.new"));
	fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, control, sizeof(*control)), sizeof(*control));
	close(fd);
	ck_assert_int_eq(rename(aside, run_path("control")), 0);
}

static UdControl
control_with_lease(int lease_ms, uint32_t grace_s)
{
	ControlClocks clocks = {0};
	UdControl	control = {
		.magic = UD_CONTROL_MAGIC,
		.has_lease = 1,
		.grace_s = grace_s,
	};

	control_clocks_read(&clocks);
	ck_assert_uint_eq(strlen(clocks.boot_id), 36);
	strcpy(control.boot_id, clocks.boot_id);
	control.written_boot_ns = clocks.boot_ns;
	control.written_realtime_ns = clocks.realtime_ns;
	control.deadline_boot_ns = clocks.boot_ns + lease_ms * NS_PER_MS;
	return control;
}

#define assert_text(buf, text) ck_assert_str_eq(ud_buf_text(&(buf)), text)

START_TEST(exact_bytes)
{
	static const char expected[] = "a\0b\xff\xfe\x80\xc3\nlast line without newline";

	start_shell("printf 'a\\000b\\377\\376\\200\\303\\nlast line without newline'; printf 'apart' >&2; exit 7");
	ck_assert_int_eq(finish_init(), 7);
	ck_assert_int_eq(record.code, 7);
	ck_assert_int_eq(record.signal, 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
	ck_assert_int_eq(record.start_failed, 0);
	ck_assert_uint_eq(record.log_cut, 0);
	ck_assert_uint_eq(streams[UD_LOG_STDOUT].len, sizeof(expected) - 1);
	ck_assert_mem_eq(streams[UD_LOG_STDOUT].data, expected, sizeof(expected) - 1);
	assert_text(streams[UD_LOG_STDERR], "apart");
	ck_assert_int_eq(marker_count, 0);
}

END_TEST

START_TEST(arrival_order)
{
	start_shell("echo 1; sleep 0.1; echo 2 >&2; sleep 0.1; echo 3; sleep 0.1; echo 4 >&2");
	ck_assert_int_eq(finish_init(), 0);
	assert_text(whole, "1\n2\n3\n4\n");
	assert_text(streams[UD_LOG_STDERR], "2\n4\n");
}

END_TEST

START_TEST(no_output)
{
	start_init(NULL, NULL, "true", NULL, NULL);
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_uint_eq(record.log_end, 0);
}

END_TEST

START_TEST(large_output)
{
	int64_t		started = clock_ns(CLOCK_MONOTONIC);
	static const char line[] = "a line of output as long as a program would write it\n";
	const char *at;

	start_shell("yes 'a line of output as long as a program would write it' | head -c 20000000; echo end >&2");
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_uint_eq(streams[UD_LOG_STDOUT].len, 20000000);
	assert_text(streams[UD_LOG_STDERR], "end\n");
	ck_assert_uint_eq(record.log_cut, 0);
	/* Every line is whole: nothing was lost or doubled at a record's edge. */
	at = ud_buf_text(&streams[UD_LOG_STDOUT]);
	for (size_t i = 0; i + sizeof(line) - 1 <= 20000000; i += sizeof(line) - 1)
		if (memcmp(at + i, line, sizeof(line) - 1) != 0)
			ck_abort_msg("wrong bytes at %zu", i);
	/* Generous: the machine may be busy. */
	ck_assert_int_lt(clock_ns(CLOCK_MONOTONIC) - started, 10 * NS_PER_S);
}

END_TEST

START_TEST(budget)
{
	char		expected[128];
	const char *text;
	int			first;
	int			last;

	start_init("65536", NULL, "/bin/sh", "-c", "i=100000; while [ $i -lt 130000 ]; do echo $i; i=$((i + 1)); done");
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_uint_le(log_bytes, 65536);
	ck_assert_uint_gt(log_bytes, 65536 * 3 / 4);
	ck_assert_int_eq(marker_count, 1);
	snprintf(expected, sizeof(expected), "unidesk: %llu bytes of output were cut here\n",
			 (unsigned long long) record.log_cut);
	assert_text(streams[UD_LOG_MARKER], expected);
	/* All that was written is there, or counted as cut. */
	ck_assert_uint_eq(streams[UD_LOG_STDOUT].len + record.log_cut, 30000 * 7);
	text = ud_buf_text(&whole);
	first = atoi(text);
	ck_assert_int_eq(first, 100000);
	last = atoi(text + whole.len - 7);
	ck_assert_int_eq(last, 129999);
	/* The marker stands between head and tail. */
	ck_assert_ptr_nonnull(strstr(text, expected));
	ck_assert_ptr_ne(strstr(text, expected), text);
	ck_assert(strstr(text, expected) + strlen(expected) < text + whole.len);
}

END_TEST

START_TEST(budget_not_reached)
{
	/* More than the head, yet within head and tail: nothing may be cut. */
	start_init("65536", NULL, "/bin/sh", "-c", "head -c 45000 /dev/zero");
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_uint_eq(streams[UD_LOG_STDOUT].len, 45000);
	ck_assert_uint_eq(record.log_cut, 0);
	ck_assert_int_eq(marker_count, 0);
}

END_TEST

START_TEST(killed_by_a_signal)
{
	start_shell("kill -SEGV $$");
	ck_assert_int_eq(finish_init(), 128 + SIGSEGV);
	ck_assert_int_eq(record.code, -1);
	ck_assert_int_eq(record.signal, SIGSEGV);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
}

END_TEST

START_TEST(term_from_outside)
{
	start_shell("trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	kill(init_pid, SIGTERM);
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_OUTSIDE);

	/*
	 * The shell remarks on the end of its sleep on stderr: the group was
	 * meant.
	 */
	assert_text(streams[UD_LOG_STDOUT], "up\nsaved\n");
}

END_TEST

START_TEST(term_announced)
{
	UdControl	control = {
		.magic = UD_CONTROL_MAGIC,
		.stop_announced = 1,
	};

	start_shell("trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	/* Init must look at the moment of the TERM, not at its last tick. */
	write_control(&control);
	kill(init_pid, SIGTERM);
	ck_assert_int_eq(finish_init(), 3);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_AGENT);
}

END_TEST

START_TEST(term_ignored_is_killed_after_grace)
{
	int64_t		started;

	start_init(NULL, "1", "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	started = clock_ns(CLOCK_MONOTONIC);
	kill(init_pid, SIGTERM);
	ck_assert_int_eq(finish_init(), 128 + SIGKILL);
	ck_assert_int_ge(clock_ns(CLOCK_MONOTONIC) - started, 900 * NS_PER_MS);
	ck_assert_int_eq(record.signal, SIGKILL);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_OUTSIDE);
}

END_TEST

START_TEST(signals_are_forwarded)
{
	start_shell("trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'exit 5' USR2; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	kill(init_pid, SIGUSR1);
	wait_for_text("usr1\n");
	kill(init_pid, SIGHUP);
	wait_for_text("hup\n");
	kill(init_pid, SIGUSR2);
	ck_assert_int_eq(finish_init(), 5);
	assert_text(streams[UD_LOG_STDOUT], "up\nusr1\nhup\n");
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
}

END_TEST

START_TEST(lease_ends_a_task)
{
	UdControl	control = control_with_lease(700, 5);

	write_control(&control);
	start_shell("trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.02; done");
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_LEASE);
	ck_assert_int_ge(clock_ns(CLOCK_BOOTTIME), control.deadline_boot_ns);
	assert_text(streams[UD_LOG_STDOUT], "up\nterm\n");
}

END_TEST

START_TEST(lease_kills_after_grace)
{
	UdControl	control = control_with_lease(300, 1);

	write_control(&control);
	start_shell("trap '' TERM; echo up; while :; do sleep 0.02; done");
	ck_assert_int_eq(finish_init(), 128 + SIGKILL);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_LEASE);
	ck_assert_int_ge(clock_ns(CLOCK_BOOTTIME), control.deadline_boot_ns + NS_PER_S);
}

END_TEST

START_TEST(lease_long_over_kills_at_once)
{
	UdControl	control = control_with_lease(60000, 2);

	/* As after a day's sleep: the wall clock is far beyond lease and grace. */
	start_shell("trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	control.written_realtime_ns -= 86400 * NS_PER_S;
	write_control(&control);
	ck_assert_int_eq(finish_init(), 128 + SIGKILL);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_LEASE);
}

END_TEST

START_TEST(lease_is_renewed)
{
	UdControl	control = control_with_lease(600, 1);
	int64_t		deadline = control.deadline_boot_ns;

	write_control(&control);
	start_shell("echo up; sleep 1.2; echo through");
	for (int i = 0; i < 4; i++)
	{
		sleep_ms(250);
		control = control_with_lease(600, 1);
		write_control(&control);
	}
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_int_ge(clock_ns(CLOCK_BOOTTIME), deadline);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
	assert_text(whole, "up\nthrough\n");
}

END_TEST

START_TEST(garbled_control_keeps_the_last)
{
	UdControl	control = control_with_lease(900, 1);
	UdControl	garbage;

	write_control(&control);
	start_shell("trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	memset(&garbage, 0x5a, sizeof(garbage));
	write_control(&garbage);
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_LEASE);
}

END_TEST

/* Bytes of the log file now. */
static off_t
log_size(void)
{
	struct stat st;

	ck_assert_int_eq(stat(run_path("log"), &st), 0);
	return st.st_size;
}

/* A control that freezes a ticking task, then one that lets it go on. */
static void
freeze_and_renew(UdControl control)
{
	off_t		size;

	write_control(&control);
	start_shell("i=0; while [ $i -lt 12 ]; do echo tick; i=$((i + 1)); sleep 0.05; done");
	sleep_ms(200);
	size = log_size();
	ck_assert_int_lt(size, 12 * 5);
	/* Another control of the same age is no renewal, wherever the clocks are. */
	control = control_with_lease(60000, 1);
	control.written_boot_ns -= NS_PER_S;
	write_control(&control);
	sleep_ms(1100);
	ck_assert_int_eq(log_size(), size);
	control = control_with_lease(60000, 1);
	write_control(&control);
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_uint_eq(whole.len, 12 * 5);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
}

START_TEST(paused_machine_freezes)
{
	UdControl	control = control_with_lease(60000, 1);

	control.written_realtime_ns -= 10 * NS_PER_S;
	freeze_and_renew(control);
}

END_TEST

START_TEST(other_boot_freezes)
{
	UdControl	control = control_with_lease(60000, 1);

	off_t		size;

	/* The task stops ticking; any control of this boot lets it go on. */
	strcpy(control.boot_id, "00000000-0000-0000-0000-000000000000");
	write_control(&control);
	start_shell("i=0; while [ $i -lt 12 ]; do echo tick; i=$((i + 1)); sleep 0.05; done");
	sleep_ms(200);
	size = log_size();
	sleep_ms(300);
	ck_assert_int_eq(log_size(), size);
	control = control_with_lease(60000, 1);
	write_control(&control);
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_uint_eq(whole.len, 12 * 5);
}

END_TEST

START_TEST(announced_stop_ends_a_frozen_task)
{
	UdControl	control = control_with_lease(60000, 20);

	start_shell("trap 'echo ended; exit 0' TERM; echo up; while :; do sleep 0.02; done");
	wait_for_output();
	control.written_realtime_ns -= 10 * NS_PER_S;
	write_control(&control);
	sleep_ms(1100);
	/* Announced without renewing the lease: the end is not to wait for that. */
	control.stop_announced = 1;
	write_control(&control);
	kill(init_pid, SIGTERM);
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_AGENT);
}

END_TEST

START_TEST(program_not_found)
{
	start_init(NULL, NULL, "no-such\nprogram", NULL, NULL);
	ck_assert_int_eq(finish_init(), 127);
	ck_assert_int_eq(record.code, 127);
	ck_assert_int_eq(record.start_failed, 1);
	ck_assert_int_eq(marker_count, 1);
	assert_text(whole, "unidesk: could not start \"no-such?program\": No such file or directory\n");
}

END_TEST

START_TEST(program_not_executable)
{
	start_init(NULL, NULL, "/etc/passwd", NULL, NULL);
	ck_assert_int_eq(finish_init(), 126);
	ck_assert_int_eq(record.start_failed, 1);
	assert_text(whole, "unidesk: could not start \"/etc/passwd\": Permission denied\n");
}

END_TEST

START_TEST(orphans_are_reaped)
{
	/* Twenty children of a parent that is gone: init has to take them. */
	start_shell("sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.05 & done';"
				"sleep 0.4; ps -o stat= --ppid $PPID | grep -c Z; echo checked");
	ck_assert_int_eq(finish_init(), 0);
	assert_text(whole, "0\nchecked\n");
}

END_TEST

START_TEST(background_process_holds_the_pipe)
{
	int64_t		started = clock_ns(CLOCK_MONOTONIC);

	start_shell("sleep 30 & (sleep 0.3; echo late) & echo done");
	ck_assert_int_eq(finish_init(), 0);
	ck_assert_int_lt(clock_ns(CLOCK_MONOTONIC) - started, 3 * NS_PER_S);
	/* What comes soon after the end still counts. */
	assert_text(whole, "done\nlate\n");
}

END_TEST

static int
open_alive(void)
{
	int			fd;

	ck_assert_int_eq(mkfifo(run_path("alive"), 0600), 0);
	fd = open(run_path("alive"), O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static int
events_of(int fd, int wait_ms)
{
	struct pollfd look = {
		.fd = fd,
		.events = POLLIN,
	};

	return poll(&look, 1, wait_ms) > 0 ? look.revents : 0;
}

START_TEST(its_end_is_told)
{
	int			fd = open_alive();
	UdExitRecord seen;
	int			exit_fd;

	start_shell("echo up; sleep 0.5");
	wait_for_text("up\n");
	ck_assert_int_eq(events_of(fd, 0), 0);
	ck_assert_int_eq(events_of(fd, 10000), POLLHUP);
	/* The record was there before. */
	exit_fd = open(run_path("exit"), O_RDONLY);
	ck_assert_int_eq(read(exit_fd, &seen, sizeof(seen)), sizeof(seen));
	close(exit_fd);
	close(fd);
	ck_assert_int_eq(finish_init(), 0);
}

END_TEST

/* Somebody that it cannot end: as PID 1 it could. */
START_TEST(who_is_left_is_told)
{
	int			fd = open_alive();

	start_shell("setsid sleep 1.5 >/dev/null 2>&1 & sleep 0.2");
	ck_assert_int_ne(events_of(fd, 10000) & POLLIN, 0);
	close(fd);
	ck_assert_int_eq(finish_init(), 0);
}

END_TEST

START_TEST(second_run_is_refused)
{
	int			status;

	start_shell("echo once");
	ck_assert_int_eq(finish_init(), 0);
	start_shell("echo twice");
	ck_assert_int_eq(waitpid(init_pid, &status, 0), init_pid);
	ck_assert_int_eq(WEXITSTATUS(status), 125);
	ud_buf_reset(&whole);
	read_log();
	assert_text(whole, "once\n");
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("init");
	TCase	   *tcase = tcase_create("process");
	SRunner    *runner;
	int			failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, exact_bytes);
	tcase_add_test(tcase, arrival_order);
	tcase_add_test(tcase, no_output);
	tcase_add_test(tcase, large_output);
	tcase_add_test(tcase, budget);
	tcase_add_test(tcase, budget_not_reached);
	tcase_add_test(tcase, killed_by_a_signal);
	tcase_add_test(tcase, term_from_outside);
	tcase_add_test(tcase, term_announced);
	tcase_add_test(tcase, term_ignored_is_killed_after_grace);
	tcase_add_test(tcase, signals_are_forwarded);
	tcase_add_test(tcase, lease_ends_a_task);
	tcase_add_test(tcase, lease_kills_after_grace);
	tcase_add_test(tcase, lease_long_over_kills_at_once);
	tcase_add_test(tcase, lease_is_renewed);
	tcase_add_test(tcase, garbled_control_keeps_the_last);
	tcase_add_test(tcase, paused_machine_freezes);
	tcase_add_test(tcase, other_boot_freezes);
	tcase_add_test(tcase, announced_stop_ends_a_frozen_task);
	tcase_add_test(tcase, program_not_found);
	tcase_add_test(tcase, program_not_executable);
	tcase_add_test(tcase, orphans_are_reaped);
	tcase_add_test(tcase, background_process_holds_the_pipe);
	tcase_add_test(tcase, its_end_is_told);
	tcase_add_test(tcase, who_is_left_is_told);
	tcase_add_test(tcase, second_run_is_refused);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
