/*
 * config.h
 *	  The bridge's configuration: environment variables, each checked.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdint.h>

#include "common/error.h"
#include "common/log.h"

#define BRIDGE_NAME_BYTES_MAX 63

typedef struct BridgeConfig
{
	/* UNIDESK_DATABASE: libpq keywords without password; NULL-terminated. */
	char	  **keywords;		/* owned */
	char	  **values;			/* owned */
	char	   *password_file;	/* UNIDESK_DATABASE_PASSWORD_FILE, or NULL */
	char	   *listen_address; /* UNIDESK_LISTEN, numeric */
	char	   *listen_port;
	char	   *name;			/* UNIDESK_BRIDGE_NAME, default the host's */
	int			connections_max;	/* UNIDESK_MAX_CONNECTIONS */
	int			per_address_max;	/* UNIDESK_MAX_PER_ADDRESS; 0: no limit */
	UdLogLevel	log_level;		/* UNIDESK_LOG_LEVEL */
} BridgeConfig;

/* Read all of it from the environment. */
extern int	config_read(BridgeConfig *config, UdError *err) UD_MUSTCHECK;

/* Only UNIDESK_LISTEN, for --health. */
extern int	config_read_listen(BridgeConfig *config, UdError *err) UD_MUSTCHECK;
extern void config_release(BridgeConfig *config);

/*
 * The password without the file's last newline, owned by the caller; NULL and
 * no error when no file is configured.
 */
extern int	config_password(const BridgeConfig *config, char **password, UdError *err) UD_MUSTCHECK;

#endif							/* CONFIG_H */
