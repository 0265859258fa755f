/*
 * check_docker.c
 *	  The Docker client, and unidesk-init inside a container, on a real engine.
 *
 * Uses the engine at $DOCKER_SOCKET or /var/run/docker.sock and the image
 * $UNIDESK_TEST_IMAGE or unidesk-base/debian:trixie; says so and passes with
 * no checks where either is missing.  unidesk-init is $UNIDESK_INIT or the
 * one built beside this program.  Everything made here carries the label
 * unidesk.test=docker or a tag in unidesk-test-docker and is removed, also
 * what an earlier run left behind.
 */
#include <check.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/docker.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/protocol.h"
#include "common/reasons.h"
#include "common/run_files.h"

#define LABEL "unidesk.test=docker"
#define REPOSITORY "unidesk-test-docker"
#define BUILD_TAG REPOSITORY ":build"
#define OTHER_TAG REPOSITORY ":other"

static const char *const labels[] = {LABEL, NULL};
static const char *base_image;
static Docker *docker;
static UdError err;
static char work_dir[64];
static pid_t tar_pid;

#define assert_ok(call) \
	do { \
		int			result_ = (call); \
		ck_assert_msg(result_ == 0, "%s: %d %s", #call, result_, err.message); \
	} while (0)

static const char *
socket_path(void)
{
	const char *path = getenv("DOCKER_SOCKET");

	return path ? path : "/var/run/docker.sock";
}

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static const char *
work_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", work_dir, name);
	return path;
}

static void
setup(void)
{
	docker = docker_open(socket_path(), &err);
	ck_assert_msg(docker != NULL, "%s", err.message);
	strcpy(work_dir, "/tmp/unidesk-docker-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(work_dir));
	tar_pid = 0;
}

static void
teardown(void)
{
	static const char *const names[] = {"Dockerfile", "filler", "log", "exit", "exit.new", "control"};

	if (tar_pid > 0)
	{
		kill(tar_pid, SIGKILL);
		waitpid(tar_pid, NULL, 0);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(work_path(names[i]));
	ck_assert_int_eq(rmdir(work_dir), 0);
	docker_close(docker);
}

/* Remove what tests made, now or in an earlier run. */
static void
remove_all(Docker *keeper)
{
	DockerContainer *containers;
	int			count;

	if (docker_list(keeper, labels, &containers, &count, &err) != 0)
		return;
	for (int i = 0; i < count; i++)
		if (docker_remove(keeper, containers[i].id, &err) != 0)
			fprintf(stderr, "%s\n", err.message);
	docker_container_list_free(containers, count);
	if (docker_image_remove(keeper, BUILD_TAG, &err) != 0 && err.code != UD_ENOENT)
		fprintf(stderr, "%s\n", err.message);
	if (docker_image_remove(keeper, OTHER_TAG, &err) != 0 && err.code != UD_ENOENT)
		fprintf(stderr, "%s\n", err.message);
}

/* A build context with one Dockerfile and a file of filler_bytes, as a tar. */
static int
start_context(const char *dockerfile, off_t filler_bytes)
{
	int			pipe_fds[2];
	FILE	   *file = fopen(work_path("Dockerfile"), "w");

	ck_assert_ptr_nonnull(file);
	fputs(dockerfile, file);
	fclose(file);
	if (filler_bytes > 0)
	{
		file = fopen(work_path("filler"), "w");
		ck_assert_ptr_nonnull(file);
		for (off_t i = 0; i < filler_bytes; i += 16)
			fprintf(file, "%015lld\n", (long long) i);
		fclose(file);
	}
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	tar_pid = fork();
	ck_assert_int_ge(tar_pid, 0);
	if (tar_pid == 0)
	{
		dup2(pipe_fds[1], STDOUT_FILENO);
		execlp("tar", "tar", "-C", work_dir, "-c", ".", (char *) NULL);
		_exit(99);
	}
	close(pipe_fds[1]);
	return pipe_fds[0];
}

/* What a build told on its way. */
typedef struct Told
{
	size_t		output;
	int			containers;
	int			images;
	char		image[8][80];
} Told;

static void
count_output(void *arg, const char *text, size_t len)
{
	(void) text;
	((Told *) arg)->output += len;
}

static void
note_made(void *arg, bool container, const char *id)
{
	Told	   *told = arg;

	if (container)
		told->containers++;
	else if (told->images < 8)
		snprintf(told->image[told->images++], sizeof(told->image[0]), "%s", id);
}

START_TEST(engine)
{
	DockerInfo	info;
	Docker	   *nowhere;

	assert_ok(docker_ping(docker, &err));
	assert_ok(docker_info(docker, &info, &err));
	ck_assert_str_ne(info.engine_id, "");
	ck_assert_str_ne(info.version, "");
	ck_assert_int_eq(strncmp(info.api_version, "1.4", 3), 0);
	ck_assert_str_ne(info.kernel, "");
	ck_assert_str_ne(info.arch, "");
	ck_assert_int_ge(info.cpus_milli, 1000);
	ck_assert_int_gt(info.memory, 0);

	nowhere = docker_open("/nonexistent/docker.sock", &err);
	ck_assert_ptr_null(nowhere);
	ck_assert_int_eq(err.code, UD_EIO);
	ck_assert_int_eq(err.reason, UD_REASON_NODE_ENGINE_ERROR);
}

END_TEST

START_TEST(images)
{
	DockerImage image;

	assert_ok(docker_image_inspect(docker, base_image, &image, &err));
	ck_assert_int_eq(strncmp(image.id, "sha256:", 7), 0);
	ck_assert_ptr_nonnull(image.user);
	ck_assert_ptr_nonnull(image.entrypoint);
	ck_assert_ptr_nonnull(image.cmd);
	docker_image_release(&image);
	ck_assert_int_eq(docker_image_remove(docker, OTHER_TAG, &err), UD_ENOENT);

	ck_assert_int_eq(docker_image_inspect(docker, REPOSITORY "/none:such", &image, &err), UD_ENOENT);
	ck_assert_ptr_nonnull(strstr(err.message, "No such image"));
	/* A name is never a way to another part of the engine. */
	ck_assert_int_eq(docker_image_inspect(docker, "../info", &image, &err), UD_EINVAL);
	ck_assert_int_eq(docker_image_inspect(docker, "a/../../info", &image, &err), UD_EINVAL);
	ck_assert_int_eq(docker_image_inspect(docker, "", &image, &err), UD_EINVAL);
	ck_assert_int_eq(docker_image_inspect(docker, "a?b=c d", &image, &err), UD_EINVAL);
}

END_TEST

/* Build the base image and steps, with what is common to all tests. */
static int
build(const char *steps, off_t filler_bytes, const char *name, int timeout_s,
	  const atomic_bool *cancel, char id[80], UdBuf *output)
{
	ud_auto_free char *text = ud_asprintf("FROM %s\n%s", base_image, steps);
	ud_auto_fd int fd = start_context(text, filler_bytes);
	DockerBuild request = {
		.tag = BUILD_TAG,
		.dockerfile = name,
		.labels = labels,
		.context_fd = fd,
		.memory = INT64_C(512) * 1024 * 1024,
		.cpus_milli = 1000,
		.timeout_s = timeout_s,
	};

	return docker_build(docker, &request, cancel, id, output, &err);
}

START_TEST(build_succeeds)
{
	ud_auto_buf UdBuf output = {0};
	Told		told = {0};
	ud_auto_free char *text = ud_asprintf("FROM %s\nENV A=b\nRUN echo so far so good\nCOPY filler /filler\n"
										  "USER 1000:1000\nENTRYPOINT [\"/bin/echo\", \"x y\"]\nCMD [\"z\"]\n",
										  base_image);
	ud_auto_fd int fd = start_context(text, 3000000);
	DockerBuild request = {
		.tag = BUILD_TAG,
		.dockerfile = "Dockerfile",
		.labels = labels,
		.context_fd = fd,
		.cpus_milli = 1000,
		.memory = INT64_C(512) * 1024 * 1024,
		.timeout_s = 120,
		.on_output = count_output,
		.on_made = note_made,
		.arg = &told,
	};
	DockerImage image;
	char		id[80];

	assert_ok(docker_build(docker, &request, NULL, id, &output, &err));
	ck_assert_uint_gt(told.output, 0);
	/* Not what FROM names, but each step and the labels. */
	ck_assert_int_eq(told.images, 7);
	ck_assert_int_ge(told.containers, 1);
	ck_assert_ptr_nonnull(strstr(ud_buf_text(&output), "so far so good"));
	assert_ok(docker_image_inspect(docker, BUILD_TAG, &image, &err));
	ck_assert_str_eq(image.id, id);
	ck_assert_str_eq(image.user, "1000:1000");
	ck_assert_str_eq(image.entrypoint[0], "/bin/echo");
	ck_assert_str_eq(image.entrypoint[1], "x y");
	ck_assert_ptr_null(image.entrypoint[2]);
	ck_assert_str_eq(image.cmd[0], "z");
	docker_image_release(&image);
	assert_ok(docker_image_remove(docker, BUILD_TAG, &err));
	/* The tag goes with its image, what is below it stays until it is named. */
	ck_assert_int_eq(docker_image_remove(docker, told.image[6], &err), UD_ENOENT);
	ck_assert_int_eq(docker_image_remove(docker, told.image[4], &err), UD_EEXIST);
	for (int i = 5; i >= 0; i--)
		assert_ok(docker_image_remove(docker, told.image[i], &err));
}

END_TEST

START_TEST(build_fails)
{
	ud_auto_buf UdBuf output = {0};
	char		id[80];

	ck_assert_int_eq(build("RUN echo it is broken; exit 3\n", 0, "Dockerfile", 120, NULL, id, &output), UD_EINVAL);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_BUILD_FAILED);
	ck_assert_ptr_nonnull(strstr(err.message, "non-zero code: 3"));
	ck_assert_ptr_nonnull(strstr(ud_buf_text(&output), "it is broken"));
	ck_assert_str_eq(id, "");
}

END_TEST

START_TEST(build_output_keeps_its_end)
{
	ud_auto_buf UdBuf output = {0};
	char		id[80];

	ck_assert_int_eq(build("RUN seq 1 20000; echo the end; exit 1\n", 0, "Dockerfile", 120, NULL, id, &output), UD_EINVAL);
	ck_assert_uint_le(output.len, 16384);
	ck_assert_uint_gt(output.len, 16000);
	ck_assert_ptr_nonnull(strstr(ud_buf_text(&output), "20000\nthe end\n"));
}

END_TEST

START_TEST(build_is_refused)
{
	ud_auto_buf UdBuf output = {0};
	char		id[80];

	/* The engine answers before it has read all of the context. */
	ck_assert_int_eq(build("", 20000000, "no/such.Dockerfile", 120, NULL, id, &output), UD_ENOENT);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_DOCKERFILE_NOT_FOUND);
	waitpid(tar_pid, NULL, 0);
	ck_assert_int_lt(build("NOSUCHWORD x\n", 20000000, "Dockerfile", 120, NULL, id, &output), 0);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_BUILD_FAILED);
	waitpid(tar_pid, NULL, 0);
	ck_assert_int_lt(build("COPY missing /\n", 0, "Dockerfile", 120, NULL, id, &output), 0);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_BUILD_FAILED);
}

END_TEST

/* True when a process with these words in its command line exists. */
static bool
process_exists(const char *words)
{
	DIR		   *proc = opendir("/proc");
	struct dirent *entry;
	bool		found = false;

	while (proc != NULL && !found && (entry = readdir(proc)) != NULL)
	{
		char		path[300];
		char		text[512] = "";
		ssize_t		len;
		ud_auto_fd int fd = -1;

		if (!isdigit((unsigned char) entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		for (ssize_t i = 0; i < len; i++)
			if (text[i] == '\0')
				text[i] = ' ';
		found = strncmp(text, words, strlen(words)) == 0;
	}
	closedir(proc);
	return found;
}

static atomic_bool cancel_flag;

static void *
cancel_when_running(void *words)
{
	for (int i = 0; i < 300 && !process_exists(words); i++)
		usleep(100000);
	atomic_store(&cancel_flag, true);
	return NULL;
}

static void *
cancel_soon(void *arg)
{
	(void) arg;
	usleep(300000);
	atomic_store(&cancel_flag, true);
	return NULL;
}

START_TEST(build_is_cancelled)
{
	static char words[] = "sleep 4711.5";
	ud_auto_buf UdBuf output = {0};
	pthread_t	thread;
	char		id[80];

	atomic_store(&cancel_flag, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_when_running, words), 0);
	ck_assert_int_eq(build("RUN [\"sleep\", \"4711.5\"]\n", 0, "Dockerfile", 60, &cancel_flag, id, &output),
					 UD_ECANCELLED);
	pthread_join(thread, NULL);
	ck_assert_ptr_nonnull(strstr(ud_buf_text(&output), "Step 2/"));
	/* Closing the connection ended the step in the engine too. */
	for (int i = 0; i < 100 && process_exists(words); i++)
		usleep(100000);
	ck_assert(!process_exists(words));
}

END_TEST

START_TEST(build_of_a_silent_source)
{
	ud_auto_buf UdBuf output = {0};
	pthread_t	thread;
	char		id[80];
	int			pipe_fds[2];
	double		started;
	DockerBuild request = {
		.tag = BUILD_TAG,
		.dockerfile = "Dockerfile",
		.labels = labels,
		.timeout_s = 1,
	};

	/* Nothing ever comes out of the pipe: neither limit may wait for it. */
	ck_assert_int_eq(pipe(pipe_fds), 0);
	request.context_fd = pipe_fds[0];
	started = now_s();
	ck_assert_int_eq(docker_build(docker, &request, NULL, id, &output, &err), UD_ETIMEDOUT);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_TIMEOUT);
	atomic_store(&cancel_flag, false);
	request.timeout_s = 60;
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
	ck_assert_int_eq(docker_build(docker, &request, &cancel_flag, id, &output, &err), UD_ECANCELLED);
	pthread_join(thread, NULL);
	ck_assert_double_lt(now_s() - started, 5);
	/* And its end without a byte is an error, not a wait. */
	close(pipe_fds[1]);
	ck_assert_int_lt(docker_build(docker, &request, NULL, id, &output, &err), 0);
	ck_assert_double_lt(now_s() - started, 15);
	close(pipe_fds[0]);
}

END_TEST

/* A container that runs script in a shell, made but not started. */
static void
create_shell(const char *name, const char *script, char id[80])
{
	const char *const entrypoint[] = {"/bin/sh", "-c", NULL};
	const char *const command[] = {script, NULL};
	const char *const environment[] = {"GREETING=hello world", NULL};
	const char *const own_labels[] = {LABEL, "unidesk.test.name=a=b", NULL};
	DockerCreate create = {
		.name = name,
		.image = base_image,
		.entrypoint = entrypoint,
		.command = command,
		.environment = environment,
		.labels = own_labels,
		.memory = INT64_C(64) * 1024 * 1024,
		.shm_size = INT64_C(16) * 1024 * 1024,
		.cpus_milli = 500,
		.pids_limit = 50,
		.stop_timeout_s = 3,
	};

	assert_ok(docker_create(docker, &create, id, &err));
	ck_assert_uint_eq(strlen(id), 64);
}

START_TEST(container_life)
{
	char		id[80];
	int			code = 0;
	double		started;
	DockerContainer container;

	create_shell("unidesk-test-docker-life", "trap 'exit 7' TERM; while :; do sleep 0.05; done", id);
	assert_ok(docker_start(docker, id, &err));
	assert_ok(docker_start(docker, id, &err));
	started = now_s();
	ck_assert_int_eq(docker_wait(docker, id, 1, NULL, -1, &code, &err), UD_ETIMEDOUT);
	ck_assert_double_ge(now_s() - started, 0.9);
	assert_ok(docker_inspect(docker, id, &container, &err));
	ck_assert_str_eq(container.state, "running");
	ck_assert_str_eq(container.name, "unidesk-test-docker-life");
	docker_container_release(&container);

	assert_ok(docker_kill(docker, id, "TERM", &err));
	assert_ok(docker_wait(docker, id, 20, NULL, -1, &code, &err));
	ck_assert_int_eq(code, 7);
	ck_assert_int_eq(docker_kill(docker, id, "TERM", &err), UD_EEXIST);
	assert_ok(docker_inspect(docker, id, &container, &err));
	ck_assert_str_eq(container.state, "exited");
	ck_assert_int_eq(container.exit_code, 7);
	ck_assert(!container.oom_killed);
	docker_container_release(&container);

	assert_ok(docker_remove(docker, id, &err));
	assert_ok(docker_remove(docker, id, &err));
	ck_assert_int_eq(docker_inspect(docker, id, &container, &err), UD_ENOENT);
	ck_assert_int_eq(docker_kill(docker, id, "TERM", &err), UD_ENOENT);
	ck_assert_int_eq(docker_wait(docker, id, 1, NULL, -1, &code, &err), UD_ENOENT);
	ck_assert_int_eq(docker_start(docker, id, &err), UD_ENOENT);
}

END_TEST

START_TEST(wait_is_cancelled)
{
	char		id[80];
	int			code;
	pthread_t	thread;
	double		started = now_s();

	create_shell("unidesk-test-docker-wait", "sleep 100", id);
	assert_ok(docker_start(docker, id, &err));
	atomic_store(&cancel_flag, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
	ck_assert_int_eq(docker_wait(docker, id, 60, &cancel_flag, -1, &code, &err), UD_ECANCELLED);
	pthread_join(thread, NULL);
	ck_assert_double_lt(now_s() - started, 20);
	assert_ok(docker_remove(docker, id, &err));
}

END_TEST

START_TEST(creation_is_refused)
{
	const char *const entrypoint[] = {"/no/such/program", NULL};
	DockerMount mount = {
		.source = "/no/such/directory",
		.target = "/in",
	};
	DockerCreate create = {
		.name = "unidesk-test-docker-refused",
		.image = base_image,
		.entrypoint = entrypoint,
		.labels = labels,
	};
	char		id[80];
	char		other[80];

	assert_ok(docker_create(docker, &create, id, &err));
	ck_assert_int_eq(docker_create(docker, &create, other, &err), UD_EEXIST);
	ck_assert_int_eq(err.reason, UD_REASON_NODE_NAME_CONFLICT);
	ck_assert_int_eq(docker_start(docker, id, &err), UD_EINVAL);
	ck_assert_int_eq(err.reason, UD_REASON_RUN_START_FAILED);
	assert_ok(docker_remove(docker, id, &err));

	create.image = REPOSITORY ":none";
	ck_assert_int_eq(docker_create(docker, &create, id, &err), UD_ENOENT);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_IMAGE_GONE);
	/* A bind whose source is missing is refused, not made up. */
	create.image = base_image;
	create.mounts = &mount;
	create.mount_count = 1;
	ck_assert_int_eq(docker_create(docker, &create, id, &err), UD_EINVAL);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_CREATE_FAILED);
	ck_assert_int_eq(access("/no/such/directory", F_OK), -1);
}

END_TEST

START_TEST(list_by_label)
{
	static const char *const both[] = {LABEL, "unidesk.test.name=a=b", NULL};
	static const char *const by_key[] = {LABEL, "unidesk.test.name", NULL};
	static const char *const neither[] = {LABEL, "unidesk.test.name=a", NULL};
	DockerContainer *containers;
	char		first[80];
	char		second[80];
	int			count;

	create_shell("unidesk-test-docker-list-1", "true", first);
	create_shell("unidesk-test-docker-list-2", "true", second);
	assert_ok(docker_list(docker, both, &containers, &count, &err));
	ck_assert_int_eq(count, 2);
	ck_assert_str_eq(containers[0].state, "created");
	ck_assert_int_eq(strncmp(containers[0].name, "unidesk-test-docker-list-", 25), 0);
	ck_assert_int_eq(strncmp(containers[0].image_id, "sha256:", 7), 0);
	ck_assert_str_eq(docker_container_label(&containers[0], "unidesk.test.name"), "a=b");
	ck_assert_str_eq(docker_container_label(&containers[1], "unidesk.test"), "docker");
	ck_assert_ptr_null(docker_container_label(&containers[1], "unidesk"));
	docker_container_list_free(containers, count);
	assert_ok(docker_list(docker, by_key, &containers, &count, &err));
	ck_assert_int_eq(count, 2);
	docker_container_list_free(containers, count);
	assert_ok(docker_list(docker, neither, &containers, &count, &err));
	ck_assert_int_eq(count, 0);
	docker_container_list_free(containers, count);
	assert_ok(docker_remove(docker, first, &err));
	assert_ok(docker_remove(docker, second, &err));
}

END_TEST

START_TEST(read_files)
{
	ud_auto_buf UdBuf file = {0};
	char		id[80];
	int			code;

	create_shell("unidesk-test-docker-files", "printf 'a\\000b' > /made; ln -s /made /link; head -c 2000000 /dev/zero > /large", id);
	assert_ok(docker_read_file(docker, id, "/etc/passwd", 65536, &file, &err));
	ck_assert_int_eq(strncmp(ud_buf_text(&file), "root:", 5), 0);
	ck_assert_int_eq(docker_read_file(docker, id, "/made", 65536, &file, &err), UD_ENOENT);
	assert_ok(docker_start(docker, id, &err));
	assert_ok(docker_wait(docker, id, 30, NULL, -1, &code, &err));
	ud_buf_reset(&file);
	assert_ok(docker_read_file(docker, id, "/made", 3, &file, &err));
	ck_assert_uint_eq(file.len, 3);
	ck_assert_mem_eq(file.data, "a\0b", 3);
	ck_assert_int_eq(docker_read_file(docker, id, "/made", 2, &file, &err), UD_EINVAL);
	ck_assert_int_eq(docker_read_file(docker, id, "/large", 65536, &file, &err), UD_EINVAL);
	ck_assert_int_eq(docker_read_file(docker, id, "/etc", 65536, &file, &err), UD_EINVAL);
	ck_assert_int_eq(docker_read_file(docker, id, "/link", 65536, &file, &err), UD_EINVAL);
	ck_assert_uint_eq(file.len, 3);
	assert_ok(docker_remove(docker, id, &err));
}

END_TEST

/* Run script under unidesk-init as a user without rights; not waited for. */
static void
start_task(const char *name, const char *script, char id[80])
{
	static char init_path[PATH_MAX];
	const char *init = getenv("UNIDESK_INIT");
	const char *const entrypoint[] = {UD_INIT_MOUNT, NULL};
	const char *const command[] = {"--grace", "10", "--", "sh", "-c", script, NULL};
	ud_auto_free char *user = ud_asprintf("%u:%u", getuid() == 0 ? 1000 : getuid(), getuid() == 0 ? 1000 : getgid());
	DockerMount mounts[2] = {
		{
			.target = UD_INIT_MOUNT,
			.read_only = true,
		},
		{
			.source = work_dir,
			.target = UD_RUN_MOUNT,
		},
	};
	DockerCreate create = {
		.name = name,
		.image = base_image,
		.entrypoint = entrypoint,
		.command = command,
		.labels = labels,
		.user = user,
		.mounts = mounts,
		.mount_count = 2,
		.memory = INT64_C(64) * 1024 * 1024,
		.cpus_milli = 1000,
		.pids_limit = 100,
		.network_mode = "none",
		.stop_timeout_s = 15,
	};

	ck_assert_ptr_nonnull(realpath(init ? init : "../init/unidesk-init", init_path));
	mounts[0].source = init_path;
	if (getuid() == 0)
		ck_assert_int_eq(chown(work_dir, 1000, 1000), 0);
	assert_ok(docker_create(docker, &create, id, &err));
	assert_ok(docker_start(docker, id, &err));
}

/* Wait for the task and read what it left; the log's text is in output. */
static int
finish_task(const char *id, UdExitRecord *record, UdBuf *output)
{
	UdLogRecord header;
	uint64_t	offset = 0;
	int			code;
	FILE	   *file;

	assert_ok(docker_wait(docker, id, 60, NULL, -1, &code, &err));
	file = fopen(work_path("exit"), "rb");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fread(record, 1, sizeof(*record), file), sizeof(*record));
	fclose(file);
	file = fopen(work_path("log"), "rb");
	ck_assert_ptr_nonnull(file);
	while (fread(&header, 1, sizeof(header), file) == sizeof(header))
	{
		ck_assert_uint_eq(header.magic, UD_LOG_RECORD_MAGIC);
		ck_assert_uint_eq(header.offset, offset);
		ud_buf_reserve(output, header.length);
		ck_assert_int_eq(fread(output->data + output->len, 1, header.length, file), header.length);
		output->len += header.length;
		offset += header.length;
	}
	fclose(file);
	ck_assert_uint_eq(offset, record->log_end);
	assert_ok(docker_remove(docker, id, &err));
	return code;
}

START_TEST(task_under_init)
{
	ud_auto_buf UdBuf output = {0};
	UdExitRecord record;
	char		id[80];

	start_task("unidesk-test-docker-init",
			   "printf 'bytes \\377\\n'; tr '\\0' ' ' < /proc/1/cmdline | head -c 17; echo;"
			   " grep NoNewPrivs /proc/1/status; grep CapEff /proc/self/status;"
			   " (: > " UD_INIT_MOUNT ") 2>/dev/null || echo init is read-only;"
			   " sleep 1000 & exit 5", id);
	ck_assert_int_eq(finish_task(id, &record, &output), 5);
	ck_assert_str_eq(ud_buf_text(&output),
					 "bytes \377\n/.unidesk/init --\nNoNewPrivs:\t1\nCapEff:\t0000000000000000\ninit is read-only\n");
	ck_assert_int_eq(record.code, 5);
	ck_assert_int_eq(record.signal, 0);
	ck_assert_int_eq(record.oom, 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
	ck_assert_uint_eq(record.log_cut, 0);
}

END_TEST

/* Until the task has said something. */
static void
wait_for_log(void)
{
	struct stat st;

	for (int i = 0; i < 1000; i++)
	{
		if (stat(work_path("log"), &st) == 0 && st.st_size > 0)
			return;
		usleep(10000);
	}
	ck_abort_msg("the task said nothing");
}

START_TEST(task_is_stopped_from_outside)
{
	ud_auto_buf UdBuf output = {0};
	UdExitRecord record;
	char		id[80];

	start_task("unidesk-test-docker-outside", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done", id);
	wait_for_log();
	assert_ok(docker_kill(docker, id, "TERM", &err));
	ck_assert_int_eq(finish_task(id, &record, &output), 0);
	ck_assert_int_eq(record.code, 0);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_OUTSIDE);
}

END_TEST

START_TEST(task_stops_itself)
{
	ud_auto_buf UdBuf output = {0};
	UdExitRecord record;
	char		id[80];

	/* A task must not be able to make its own end look like the node's fault. */
	start_task("unidesk-test-docker-self", "trap 'exit 9' TERM; echo up; kill -TERM 1; while :; do sleep 0.05; done", id);
	ck_assert_int_eq(finish_task(id, &record, &output), 9);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
}

END_TEST

START_TEST(task_is_stopped_by_the_agent)
{
	ud_auto_buf UdBuf output = {0};
	UdExitRecord record;
	char		id[80];
	UdControl	control = {
		.magic = UD_CONTROL_MAGIC,
		.stop_announced = 1,
		.grace_s = 1,
	};
	FILE	   *file;

	start_task("unidesk-test-docker-agent", "trap '' TERM; echo up; while :; do sleep 0.05; done", id);
	wait_for_log();
	file = fopen(work_path("control"), "wb");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fwrite(&control, 1, sizeof(control), file), sizeof(control));
	fclose(file);
	assert_ok(docker_kill(docker, id, "TERM", &err));

	/*
	 * unidesk-init itself kills what ignores TERM, and still writes its
	 * record.
	 */
	ck_assert_int_eq(finish_task(id, &record, &output), 137);
	ck_assert_int_eq(record.signal, SIGKILL);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_AGENT);
}

END_TEST

START_TEST(task_runs_out_of_memory)
{
	ud_auto_buf UdBuf output = {0};
	UdExitRecord record;
	char		id[80];

	start_task("unidesk-test-docker-oom", "exec tail /dev/zero", id);
	ck_assert_int_eq(finish_task(id, &record, &output), 137);
	ck_assert_int_eq(record.signal, SIGKILL);
	ck_assert_int_eq(record.oom, 1);
	ck_assert_int_eq(record.stopped_by, UD_STOPPED_SELF);
}

END_TEST

static Suite *
make_suite(void)
{
	Suite	   *suite = suite_create("agent/docker");
	TCase	   *tcase = tcase_create("engine");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 180);
	tcase_add_test(tcase, engine);
	tcase_add_test(tcase, images);
	tcase_add_test(tcase, build_succeeds);
	tcase_add_test(tcase, build_fails);
	tcase_add_test(tcase, build_output_keeps_its_end);
	tcase_add_test(tcase, build_is_refused);
	tcase_add_test(tcase, build_is_cancelled);
	tcase_add_test(tcase, build_of_a_silent_source);
	tcase_add_test(tcase, container_life);
	tcase_add_test(tcase, wait_is_cancelled);
	tcase_add_test(tcase, creation_is_refused);
	tcase_add_test(tcase, list_by_label);
	tcase_add_test(tcase, read_files);
	tcase_add_test(tcase, task_under_init);
	tcase_add_test(tcase, task_is_stopped_from_outside);
	tcase_add_test(tcase, task_stops_itself);
	tcase_add_test(tcase, task_is_stopped_by_the_agent);
	tcase_add_test(tcase, task_runs_out_of_memory);
	suite_add_tcase(suite, tcase);
	return suite;
}

int
main(void)
{
	SRunner    *runner;
	Docker	   *keeper;
	DockerImage image;
	int			failed;

	base_image = getenv("UNIDESK_TEST_IMAGE");
	if (base_image == NULL)
		base_image = "unidesk-base/debian:trixie";
	keeper = docker_open(socket_path(), &err);
	if (keeper == NULL || docker_image_inspect(keeper, base_image, &image, &err) != 0)
	{
		printf("agent/docker: SKIPPED, 0 checks: %s\n", err.message);
		docker_close(keeper);
		return EXIT_SUCCESS;
	}
	docker_image_release(&image);
	remove_all(keeper);
	runner = srunner_create(make_suite());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	remove_all(keeper);
	docker_close(keeper);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
