/*
 * config.c
 *	  The bridge's configuration: environment variables, each checked.
 *
 * The password is read anew at each connection attempt, so that it can be
 * changed without a restart, and so that it is in memory only while needed.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/environment.h"

#define LISTEN_DEFAULT "0.0.0.0:8080"
#define CONNECTIONS_DEFAULT 10000
#define CONNECTIONS_LIMIT 1000000
#define PER_ADDRESS_DEFAULT 1000
#define PASSWORD_BYTES_MAX 1024

static const char *const names[] = {
	"UNIDESK_DATABASE", "UNIDESK_DATABASE_PASSWORD_FILE", "UNIDESK_LISTEN", "UNIDESK_BRIDGE_NAME",
	"UNIDESK_MAX_CONNECTIONS", "UNIDESK_MAX_PER_ADDRESS", "UNIDESK_LOG_LEVEL", NULL
};

/* NULL when the variable is missing or empty. */
static const char *
env_get(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static int
read_number(const char *name, int value_default, int min, int max, int *value, UdError *err)
{
	const char *text = env_get(name);
	char	   *end;
	long		number;

	*value = value_default;
	if (text == NULL)
		return 0;
	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9' || number < min || number > max)
		return ud_error(err, UD_EINVAL, 0, "%s must be a whole number from %d to %d, not \"%s\"",
						name, min, max, text);
	*value = (int) number;
	return 0;
}

/* "address:port" with a numeric address, an IPv6 one in brackets. */
static int
split_listen(const char *text, BridgeConfig *config)
{
	const char *colon = strrchr(text, ':');
	const char *start = text;
	const char *end = colon;
	char	   *rest;
	long		port;

	if (colon == NULL || colon == text || colon[1] < '0' || colon[1] > '9')
		return UD_EINVAL;
	port = strtol(colon + 1, &rest, 10);
	if (*rest != '\0' || port < 1 || port > 65535)
		return UD_EINVAL;
	if (*start == '[')
	{
		start++;
		end--;
		if (*end != ']')
			return UD_EINVAL;
	}
	else if (memchr(start, ':', (size_t) (end - start)) != NULL)
		return UD_EINVAL;
	config->listen_address = ud_asprintf("%.*s", (int) (end - start), start);
	config->listen_port = ud_asprintf("%ld", port);
	return 0;
}

int
config_read_listen(BridgeConfig *config, UdError *err)
{
	const char *text = env_get("UNIDESK_LISTEN");
	struct addrinfo hints = {0};
	struct addrinfo *found;

	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	hints.ai_socktype = SOCK_STREAM;
	if (text == NULL)
		text = LISTEN_DEFAULT;
	if (split_listen(text, config) != 0 ||
		getaddrinfo(config->listen_address, config->listen_port, &hints, &found) != 0)
		return ud_error(err, UD_EINVAL, 0,
						"UNIDESK_LISTEN must be a numeric address and a port like \"%s\" or \"[::]:8080\", not \"%s\"",
						LISTEN_DEFAULT, text);
	freeaddrinfo(found);
	return 0;
}

/* Copy what is set; a password is refused, it belongs into a file. */
static int
copy_conninfo(BridgeConfig *config, const PQconninfoOption *options, UdError *err)
{
	size_t		count = 0;

	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
		if (option->val != NULL)
			count++;
	config->keywords = ud_calloc(count + 1, sizeof(char *));
	config->values = ud_calloc(count + 1, sizeof(char *));
	count = 0;
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		if (option->val == NULL)
			continue;
		if (strcmp(option->keyword, "password") == 0)
			return ud_error(err, UD_EINVAL, 0,
							"UNIDESK_DATABASE must not contain a password: use UNIDESK_DATABASE_PASSWORD_FILE");
		config->keywords[count] = ud_strdup(option->keyword);
		config->values[count] = ud_strdup(option->val);
		count++;
	}
	return 0;
}

static int
read_database(BridgeConfig *config, UdError *err)
{
	const char *text = env_get("UNIDESK_DATABASE");
	char	   *message = NULL;
	PQconninfoOption *options;
	int			result;

	if (text == NULL)
		return ud_error(err, UD_EINVAL, 0,
						"UNIDESK_DATABASE must be set, for example to \"host=postgres dbname=unidesk user=unidesk_bridge\"");
	options = PQconninfoParse(text, &message);
	if (options == NULL)
	{
		/* The text itself may hold a password: libpq quotes only keywords. */
		result = ud_error(err, UD_EINVAL, 0, "UNIDESK_DATABASE is not a connection string: %s",
						  message != NULL ? message : "out of memory");
		PQfreemem(message);
		return result;
	}
	result = copy_conninfo(config, options, err);
	PQconninfoFree(options);
	return result;
}

static int
read_password_file(BridgeConfig *config, UdError *err)
{
	const char *path = env_get("UNIDESK_DATABASE_PASSWORD_FILE");
	char	   *password = NULL;
	struct stat info;
	int			result;

	if (path == NULL)
		return 0;
	config->password_file = ud_strdup(path);
	result = config_password(config, &password, err);
	/* Not refused: secrets of container engines are mounted like that. */
	if (result == 0 && stat(path, &info) == 0 && (info.st_mode & S_IRWXO) != 0)
		ud_warning("UNIDESK_DATABASE_PASSWORD_FILE \"%s\" is open to everybody on this machine: chmod 600 is better", path);
	if (password != NULL)
		explicit_bzero(password, strlen(password));
	free(password);
	return result;
}

static int
read_name(BridgeConfig *config, UdError *err)
{
	const char *text = env_get("UNIDESK_BRIDGE_NAME");
	char		host[256] = "";

	if (text == NULL)
	{
		if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
			return ud_error(err, UD_EINVAL, 0, "UNIDESK_BRIDGE_NAME is not set and this host has no name");
		host[BRIDGE_NAME_BYTES_MAX] = '\0';
		text = host;
	}
	if (strlen(text) > BRIDGE_NAME_BYTES_MAX ||
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(text))
		return ud_error(err, UD_EINVAL, 0,
						"UNIDESK_BRIDGE_NAME must be 1 to %d letters, digits, dots, dashes or underscores, not \"%s\"",
						BRIDGE_NAME_BYTES_MAX, text);
	config->name = ud_strdup(text);
	return 0;
}

static int
read_log_level(BridgeConfig *config, UdError *err)
{
	static const char *const levels[] = {"debug", "info", "warning", "error"};
	const char *text = env_get("UNIDESK_LOG_LEVEL");

	config->log_level = UD_LOG_INFO;
	if (text == NULL)
		return 0;
	for (int i = UD_LOG_DEBUG; i <= UD_LOG_ERROR; i++)
		if (strcmp(text, levels[i]) == 0)
		{
			config->log_level = (UdLogLevel) i;
			return 0;
		}
	return ud_error(err, UD_EINVAL, 0,
					"UNIDESK_LOG_LEVEL must be debug, info, warning or error, not \"%s\"", text);
}

int
config_read(BridgeConfig *config, UdError *err)
{
	int			result = read_log_level(config, err);

	if (result == 0)
		result = config_read_listen(config, err);
	if (result == 0)
		result = read_name(config, err);
	if (result == 0)
		result = read_number("UNIDESK_MAX_CONNECTIONS", CONNECTIONS_DEFAULT, 1,
							 CONNECTIONS_LIMIT, &config->connections_max, err);
	if (result == 0)
		result = read_number("UNIDESK_MAX_PER_ADDRESS", PER_ADDRESS_DEFAULT, 0,
							 CONNECTIONS_LIMIT, &config->per_address_max, err);
	if (result == 0)
		result = read_database(config, err);
	if (result == 0)
		result = read_password_file(config, err);
	if (result == 0)
		ud_environment_warn(names);
	return result;
}

void
config_release(BridgeConfig *config)
{
	for (size_t i = 0; config->keywords != NULL && config->keywords[i] != NULL; i++)
	{
		free(config->keywords[i]);
		free(config->values[i]);
	}
	free(config->keywords);
	free(config->values);
	free(config->password_file);
	free(config->listen_address);
	free(config->listen_port);
	free(config->name);
	memset(config, 0, sizeof(*config));
}

int
config_password(const BridgeConfig *config, char **password, UdError *err)
{
	char		text[PASSWORD_BYTES_MAX + 2];
	struct stat info;
	ssize_t		len;
	ud_auto_fd int fd = -1;

	*password = NULL;
	if (config->password_file == NULL)
		return 0;
	/* Not blocking: nobody may ever write into what could be a pipe. */
	fd = open(config->password_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && fstat(fd, &info) == 0 && !S_ISREG(info.st_mode))
		return ud_error(err, UD_EINVAL, 0, "UNIDESK_DATABASE_PASSWORD_FILE \"%s\" is not a regular file",
						config->password_file);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len < 0)
		return ud_error(err, UD_EINVAL, 0, "could not read UNIDESK_DATABASE_PASSWORD_FILE \"%s\": %s",
						config->password_file, strerror(errno));
	text[len] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	if (text[0] == '\0' || len > PASSWORD_BYTES_MAX)
	{
		explicit_bzero(text, sizeof(text));
		return ud_error(err, UD_EINVAL, 0,
						"UNIDESK_DATABASE_PASSWORD_FILE \"%s\" must hold a password of 1 to %d bytes on its first line",
						config->password_file, PASSWORD_BYTES_MAX);
	}
	*password = ud_strdup(text);
	explicit_bzero(text, sizeof(text));
	return 0;
}
