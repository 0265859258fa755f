/*
 * environment.c
 *	  Variables of the environment that look like settings and are none.
 */
#include "common/environment.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#define PREFIX "UNIDESK_"
#define NAME_BYTES_SHOWN 64

static bool
is_known(const char *name, size_t len, const char *const *known)
{
	for (; *known != NULL; known++)
		if (strlen(*known) == len && memcmp(*known, name, len) == 0)
			return true;
	return false;
}

void
ud_environment_warn(const char *const *known)
{
	for (char **variable = environ; *variable != NULL; variable++)
	{
		size_t		len = strcspn(*variable, "=");

		if (strncmp(*variable, PREFIX, strlen(PREFIX)) != 0 || is_known(*variable, len, known))
			continue;
		ud_warning("%.*s is not a setting of this program and has no effect: compare its name with docs/settings.md",
				   (int) (len < NAME_BYTES_SHOWN ? len : NAME_BYTES_SHOWN), *variable);
	}
}
