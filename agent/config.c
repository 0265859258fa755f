/*
 * config.c
 *	  Reading and checking the environment.
 *
 * Each variable is checked here, once, so that a typing error is an error at
 * the start with a sentence that says what to do, never a strange node later.
 */
#include "agent/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/update.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/environment.h"
#include "common/hostlist.h"
#include "common/log.h"
#include "common/reasons.h"

#define TOKEN_BYTES_MIN 16
#define TOKEN_BYTES_MAX 1024
#define GPU_MEMORY_MAX (INT64_C(1) << 50)
#define FETCH_BYTES_DEFAULT INT64_C(20000000000)
#define SIZE_MAX_BYTES (INT64_C(1) << 60)

static const char *const config_names[] = {
	"UNIDESK_URL", "UNIDESK_TOKEN_FILE", "UNIDESK_TOKEN", "UNIDESK_DATA", "UNIDESK_DATA_HOST", "UNIDESK_VOLUME",
	"UNIDESK_DOCKER_SOCKET", "UNIDESK_TASK_NETWORK", "UNIDESK_CA_FILE", "UNIDESK_INIT", "UNIDESK_GIT",
	"UNIDESK_GIT_UID", "UNIDESK_ALLOWED_GIT_HOSTS", "UNIDESK_MAX_FETCH_BYTES", "UNIDESK_IMAGE_BUDGET",
	"UNIDESK_MIRROR_BUDGET", "UNIDESK_UPDATE_IMAGES", "UNIDESK_DEBUG", "UNIDESK_GPUS", "UNIDESK_LABELS", NULL
};

/* The variable's value, or NULL when it is not set or empty. */
static const char *
config_text(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

/* A number between min and max out of text, all of it. */
static bool
config_number(const char *text, int64_t min, int64_t max, int64_t *value)
{
	char	   *end;
	long long	number;

	if (!isdigit((unsigned char) text[0]))
		return false;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || number < min || number > max)
		return false;
	*value = number;
	return true;
}

static bool
config_is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char) *text <= 0x20 || (unsigned char) *text >= 0x7f)
			return false;
	return true;
}

/* host[:port] or [v6][:port] into config; rest ends at end. */
static int
config_authority(AgentConfig *config, const char *from, const char *end, UdError *err)
{
	ud_auto_free char *authority = strndup(from, (size_t) (end - from));
	char	   *host = authority;
	char	   *port;
	int64_t		number = config->url_tls ? 443 : 80;

	if (strchr(authority, '@') != NULL)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL must not contain a user or password: give the token by UNIDESK_TOKEN_FILE");
	if (host[0] == '[')
	{
		char	   *close = strchr(host, ']');

		if (close == NULL)
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL has an address with \"[\" but without \"]\"");
		*close = '\0';
		host++;
		port = close[1] == ':' ? close + 1 : NULL;
		if (port == NULL && close[1] != '\0')
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL has something else than a port after \"]\"");
	}
	else
		port = strchr(host, ':');
	if (port != NULL)
	{
		*port = '\0';
		if (!config_number(port + 1, 1, 65535, &number))
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL has port \"%.32s\": use a number from 1 to 65535", port + 1);
	}
	if (host[0] == '\0')
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL names no host: use for example wss://server.example/agent");
	config->url_host = ud_strdup(host);
	config->url_port = (int) number;
	return 0;
}

static int
config_url(AgentConfig *config, UdError *err)
{
	const char *url = config_text("UNIDESK_URL");
	const char *rest;
	const char *end;

	if (url == NULL)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL is not set: set it to the server's address, for example wss://server.example/agent");
	if (!config_is_printable(url))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL contains blanks or characters that are not ASCII");
	if (strncasecmp(url, "wss://", 6) == 0)
		config->url_tls = true;
	else if (strncasecmp(url, "ws://", 5) != 0)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL is \"%.200s\": it must begin with wss:// (or ws:// inside a private network)", url);
	rest = url + (config->url_tls ? 6 : 5);
	end = rest + strcspn(rest, "/?#");
	if (*end == '?' || *end == '#' || strpbrk(end, "?#") != NULL)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_URL must not have a query or fragment: tokens never go into a URL");
	if (config_authority(config, rest, end, err) < 0)
		return err->code;
	config->url_path = ud_strdup(end[0] == '\0' || strcmp(end, "/") == 0 ? "/agent" : end);
	return 0;
}

static bool
config_is_private_v4(uint32_t address)
{
	return address >> 24 == 10 || address >> 24 == 127 || address >> 20 == 0xac1 || address >> 16 == 0xc0a8 ||
		address >> 16 == 0xa9fe || address >> 22 == 0x191;
}

/* A name without a dot is one of this network or of Docker's. */
static bool
config_is_private_name(const char *host)
{
	static const char *const zones[] = {".localhost", ".local", ".internal", ".lan", ".home.arpa"};
	size_t		len = strlen(host);

	if (strchr(host, '.') == NULL)
		return true;
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		if (len > strlen(zones[i]) && strcasecmp(host + len - strlen(zones[i]), zones[i]) == 0)
			return true;
	return false;
}

bool
config_is_exposed(const AgentConfig *config)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (config->url_tls)
		return false;
	if (inet_pton(AF_INET, config->url_host, &v4) == 1)
		return !config_is_private_v4(ntohl(v4.s_addr));
	if (inet_pton(AF_INET6, config->url_host, &v6) == 1)
		return !IN6_IS_ADDR_LOOPBACK(&v6) && !IN6_IS_ADDR_LINKLOCAL(&v6) && (v6.s6_addr[0] & 0xfe) != 0xfc;
	return !config_is_private_name(config->url_host);
}

/* Take over the token, without the newline that editors leave behind. */
static int
config_token_text(AgentConfig *config, const char *text, const char *name, UdError *err)
{
	size_t		len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	config->token = strndup(text, len);
	if (len == 0)
		return ud_error(err, UD_EINVAL, 0, "%s is empty: put the token in that unidesk.create_node showed", name);
	if (len < TOKEN_BYTES_MIN || len > TOKEN_BYTES_MAX || !config_is_printable(config->token))
		return ud_error(err, UD_EINVAL, 0, "%s does not hold a node token: expected one line of %d to %d printable characters",
						name, TOKEN_BYTES_MIN, TOKEN_BYTES_MAX);
	return 0;
}

static int
config_token(AgentConfig *config, UdError *err)
{
	const char *path = config_text("UNIDESK_TOKEN_FILE");
	const char *direct = config_text("UNIDESK_TOKEN");
	char		text[TOKEN_BYTES_MAX + 3];
	struct stat info;
	ssize_t		got;
	ud_auto_fd int fd = -1;

	if (path == NULL && direct == NULL)
		return ud_error(err, UD_EINVAL, 0, "no node token: set UNIDESK_TOKEN_FILE to a file that holds it");
	if (path != NULL && direct != NULL)
		return ud_error(err, UD_EINVAL, 0, "both UNIDESK_TOKEN_FILE and UNIDESK_TOKEN are set: keep one");
	if (path == NULL)
		return config_token_text(config, direct, "UNIDESK_TOKEN", err);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &info) < 0)
		return ud_error(err, UD_EINVAL, 0, "could not open UNIDESK_TOKEN_FILE \"%.200s\": %s", path, strerror(errno));
	if (!S_ISREG(info.st_mode))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_TOKEN_FILE \"%.200s\" is not a regular file", path);
	if ((info.st_mode & S_IRWXO) != 0)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_TOKEN_FILE \"%.200s\" is open to everybody on this machine: run chmod 600 on it", path);
	got = read(fd, text, sizeof(text) - 1);
	if (got < 0)
		return ud_error(err, UD_EINVAL, 0, "could not read UNIDESK_TOKEN_FILE \"%.200s\": %s", path, strerror(errno));
	text[got] = '\0';
	return config_token_text(config, text, "UNIDESK_TOKEN_FILE", err);
}

/* A path variable with a default; it must be absolute. */
static int
config_path(const char *name, const char *fallback, char **out, UdError *err)
{
	const char *value = config_text(name);

	if (value == NULL)
		value = fallback;
	if (value == NULL)
		return 0;
	if (value[0] != '/')
		return ud_error(err, UD_EINVAL, 0, "%s is \"%.200s\": it must be an absolute path", name, value);
	if (strlen(value) >= 1024)
		return ud_error(err, UD_EINVAL, 0, "%s is longer than 1023 bytes", name);
	*out = ud_strdup(value);
	/* "/data/" and "/data" are the same to everybody. */
	for (size_t len = strlen(*out); len > 1 && (*out)[len - 1] == '/'; len--)
		(*out)[len - 1] = '\0';
	return 0;
}

static int
config_program(const char *name, const char *fallback, char **out, UdError *err)
{
	if (config_path(name, fallback, out, err) < 0)
		return err->code;
	if (access(*out, X_OK) != 0)
		return ud_error(err, UD_EINVAL, 0, "%s is \"%.200s\", which cannot be executed: %s", name, *out, strerror(errno));
	return 0;
}

/* A name of Docker's: [A-Za-z0-9][A-Za-z0-9_.-]*. */
static int
config_docker_name(const char *name, const char *fallback, char **out, UdError *err)
{
	const char *value = config_text(name);

	if (value == NULL)
		value = fallback;
	if (value == NULL)
		return 0;
	for (size_t i = 0; value[i]; i++)
		if (i > 200 || !(isalnum((unsigned char) value[i]) || (i > 0 && strchr("_.-", value[i]) != NULL)))
			return ud_error(err, UD_EINVAL, 0, "%s is \"%.200s\", which is no name of Docker's: use letters, digits, \"_\", \".\" and \"-\"", name, value);
	*out = ud_strdup(value);
	return 0;
}

/* A size: bytes, or with kB, MB, GB, TB behind it, of 1024 each. */
static int
config_size(const char *name, int64_t *out, UdError *err)
{
	static const char *const units[] = {"", "kB", "MB", "GB", "TB"};
	const char *value = config_text(name);
	ud_auto_free char *digits = NULL;
	size_t		len;

	*out = -1;
	if (value == NULL)
		return 0;
	len = strspn(value, "0123456789");
	digits = strndup(value, len);
	for (int i = 0; i < 5; i++)
		if (strcmp(value + len, units[i]) == 0 && config_number(digits, 0, SIZE_MAX_BYTES >> (10 * i), out))
		{
			*out <<= 10 * i;
			return 0;
		}
	return ud_error(err, UD_EINVAL, 0, "%s is \"%.32s\": use bytes, or a number with kB, MB, GB or TB, for example 20GB", name, value);
}

static int
config_flag(const char *name, bool *out, UdError *err)
{
	const char *value = config_text(name);

	if (value == NULL || strcmp(value, "0") == 0)
		*out = false;
	else if (strcmp(value, "1") == 0)
		*out = true;
	else
		return ud_error(err, UD_EINVAL, 0, "%s is \"%.32s\": use 1 or 0", name, value);
	return 0;
}

static int
config_git_hosts(AgentConfig *config, UdError *err)
{
	const char *value = config_text("UNIDESK_ALLOWED_GIT_HOSTS");
	const char *bad;
	size_t		len;

	if (value == NULL)
		value = HOSTLIST_ANY;
	bad = hostlist_bad_item(value, &len);
	if (bad != NULL)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_ALLOWED_GIT_HOSTS has \"%.*s\": use host or host:port, separated by commas, or * for any public host",
						(int) (len < 100 ? len : 100), bad);
	config->allowed_git_hosts = ud_strdup(value);
	return 0;
}

static int
config_update_images(AgentConfig *config, UdError *err)
{
	const char *value = config_text("UNIDESK_UPDATE_IMAGES");
	const char *bad;
	size_t		len;

	if (value == NULL)
		return 0;
	bad = update_bad_pattern(value, &len);
	if (bad != NULL)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_UPDATE_IMAGES has \"%.*s\": use names of images, in which * stands for any characters but /, separated by commas, for example unidesk/agent:*",
						(int) (len < 100 ? len : 100), bad);
	config->update_images = ud_strdup(value);
	return 0;
}

/* One uuid[:memory_bytes[:model]]. */
static int
config_gpu(AgentConfig *config, char *item, UdError *err)
{
	AgentGpu   *gpu = &config->gpus[config->gpu_count];
	char	   *memory = strchr(item, ':');
	char	   *model = NULL;

	if (config->gpu_count >= AGENT_GPUS_MAX)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_GPUS names more than %d GPUs", AGENT_GPUS_MAX);
	if (memory != NULL)
	{
		*memory++ = '\0';
		model = strchr(memory, ':');
		if (model != NULL)
			*model++ = '\0';
		if (!config_number(memory, 1, GPU_MEMORY_MAX, &gpu->memory))
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_GPUS has memory \"%.64s\": use bytes, as in uuid:25000000000:model", memory);
	}
	if (item[0] == '\0' || strlen(item) >= sizeof(gpu->uuid) || !config_is_printable(item))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_GPUS has a bad uuid \"%.100s\": take it from nvidia-smi -L", item);
	for (int i = 0; i < config->gpu_count; i++)
		if (strcmp(config->gpus[i].uuid, item) == 0)
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_GPUS names \"%.100s\" twice", item);
	if (model != NULL && strlen(model) >= sizeof(gpu->model))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_GPUS has a model longer than %zu bytes", sizeof(gpu->model) - 1);
	strcpy(gpu->uuid, item);
	strcpy(gpu->model, model != NULL ? model : "");
	config->gpu_count++;
	return 0;
}

/* One key=value. */
static int
config_label(AgentConfig *config, char *item, UdError *err)
{
	char	   *value = strchr(item, '=');

	if (value == NULL || value == item)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_LABELS has \"%.100s\": use key=value,key=value", item);
	*value++ = '\0';
	if (strlen(item) > 63 || strlen(value) > 255)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_LABELS has \"%.64s\" with a key over 63 or a value over 255 bytes", item);
	for (int i = 0; i < config->label_count; i++)
		if (strcmp(config->labels[i].key, item) == 0)
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_LABELS names \"%.100s\" twice", item);
	if (config->label_count >= AGENT_LABELS_MAX)
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_LABELS names more than %d labels", AGENT_LABELS_MAX);
	config->labels[config->label_count].key = ud_strdup(item);
	config->labels[config->label_count].value = ud_strdup(value);
	config->label_count++;
	return 0;
}

/* Call each for every item of a comma-separated variable. */
static int
config_list(AgentConfig *config, const char *name, int (*each) (AgentConfig *, char *, UdError *), UdError *err)
{
	const char *value = config_text(name);
	ud_auto_free char *copy = NULL;
	char	   *rest;
	char	   *item;

	if (value == NULL)
		return 0;
	for (const char *c = value; *c; c++)
		if ((unsigned char) *c < 0x20 || (unsigned char) *c >= 0x7f)
			return ud_error(err, UD_EINVAL, 0, "%s contains characters that are not printable ASCII", name);
	copy = ud_strdup(value);
	rest = copy;
	while ((item = strsep(&rest, ",")) != NULL)
	{
		while (*item == ' ')
			item++;
		if (item[0] != '\0' && each(config, item, err) < 0)
			return err->code;
	}
	return 0;
}

int
config_load(AgentConfig *config, UdError *err)
{
	const char *git_uid = config_text("UNIDESK_GIT_UID");
	const char *fetch_bytes = config_text("UNIDESK_MAX_FETCH_BYTES");
	int64_t		uid = 0;

	memset(config, 0, sizeof(*config));
	if (config_url(config, err) < 0 ||
		config_token(config, err) < 0 ||
		config_path("UNIDESK_DATA", "/data", &config->data, err) < 0 ||
		config_path("UNIDESK_DATA_HOST", NULL, &config->data_host, err) < 0 ||
		config_docker_name("UNIDESK_VOLUME", "unidesk-data", &config->volume, err) < 0 ||
		config_path("UNIDESK_DOCKER_SOCKET", "/var/run/docker.sock", &config->docker_socket, err) < 0 ||
		config_docker_name("UNIDESK_TASK_NETWORK", NULL, &config->task_network, err) < 0 ||
		config_path("UNIDESK_CA_FILE", NULL, &config->ca_file, err) < 0 ||
		config_program("UNIDESK_INIT", "/usr/lib/unidesk/unidesk-init", &config->init_program, err) < 0 ||
		config_program("UNIDESK_GIT", "/usr/lib/unidesk/unidesk-git", &config->git_program, err) < 0 ||
		config_git_hosts(config, err) < 0 ||
		config_update_images(config, err) < 0 ||
		config_size("UNIDESK_IMAGE_BUDGET", &config->image_budget, err) < 0 ||
		config_size("UNIDESK_MIRROR_BUDGET", &config->mirror_budget, err) < 0 ||
		config_flag("UNIDESK_DEBUG", &config->debug, err) < 0 ||
		config_list(config, "UNIDESK_GPUS", config_gpu, err) < 0 ||
		config_list(config, "UNIDESK_LABELS", config_label, err) < 0)
		return err->code;
	if (git_uid != NULL && !config_number(git_uid, 0, INT32_MAX, &uid))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_GIT_UID is \"%.32s\": use the number of a user", git_uid);
	config->git_uid = (uid_t) uid;
	config->fetch_bytes_max = FETCH_BYTES_DEFAULT;
	if (fetch_bytes != NULL && !config_number(fetch_bytes, 1, INT64_MAX, &config->fetch_bytes_max))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_MAX_FETCH_BYTES is \"%.32s\": use a number of bytes", fetch_bytes);
	if (config->ca_file != NULL && access(config->ca_file, R_OK) != 0)
		return ud_error(err, UD_EINVAL, 0, "could not read UNIDESK_CA_FILE \"%.200s\": %s", config->ca_file, strerror(errno));
	if (config->task_network != NULL &&
		(strcmp(config->task_network, "host") == 0 || strcmp(config->task_network, "container") == 0))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_TASK_NETWORK must not be \"%s\": tasks never share the host's network", config->task_network);
	ud_environment_warn(config_names);
	if (config_is_exposed(config))
		ud_warning("UNIDESK_URL leads to \"%.200s\" without TLS: the node's token and all that tasks write can be read on the way; use wss://",
				   config->url_host);
	return 0;
}

void
config_release(AgentConfig *config)
{
	char	   *owned[] = {
		config->url_host, config->url_path, config->token, config->ca_file, config->data,
		config->volume, config->data_host, config->docker_socket, config->task_network,
		config->init_program, config->git_program, config->allowed_git_hosts, config->update_images,
	};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		free(owned[i]);
	for (int i = 0; i < config->label_count; i++)
	{
		free(config->labels[i].key);
		free(config->labels[i].value);
	}
	memset(config, 0, sizeof(*config));
}
