/*
 * identity.c
 *	  Which data directory this is, and what the server last sealed it with.
 */
#include "agent/identity.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "common/log.h"

#define IDENTITY_FILE "identity"
/* "<data id> <seal>\n", always of this length: see data_store_file. */
#define IDENTITY_BYTES (32 + 1 + 16 + 1)
#define HEX "0123456789abcdef"

static bool
identity_is_hex(const char *text, size_t digits)
{
	return strlen(text) == digits && strspn(text, HEX) == digits;
}

static int
identity_write(const DataDir *data, const Identity *identity, UdError *err)
{
	char		text[IDENTITY_BYTES + 1];

	snprintf(text, sizeof(text), "%s %s\n", identity->data_id, identity->seal);
	return data_store_file(data, IDENTITY_FILE, text, IDENTITY_BYTES, err);
}

static int
identity_make(const DataDir *data, Identity *identity, UdError *err)
{
	uint8_t		random[16];

	if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
		return ud_error(err, UD_EIO, 0, "no random numbers could be had: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(identity->data_id + 2 * i, 3, "%02x", random[i]);
	memset(identity->seal, '0', sizeof(identity->seal) - 1);
	identity->seal[sizeof(identity->seal) - 1] = '\0';
	return identity_write(data, identity, err);
}

int
identity_open(const DataDir *data, Identity *identity, UdError *err)
{
	ud_auto_buf UdBuf text = {0};
	int			result = data_read_file(data, IDENTITY_FILE, IDENTITY_BYTES, &text, err);

	memset(identity, 0, sizeof(*identity));
	if (result == UD_ENOENT)
	{
		if (identity_make(data, identity, err) < 0)
			return err->code;
		ud_info("this data directory is new: it is %s", identity->data_id);
		return 0;
	}
	if (result < 0 && result != UD_EINVAL)
		return result;
	if (result == 0 && text.len == IDENTITY_BYTES && text.data[32] == ' ' && text.data[IDENTITY_BYTES - 1] == '\n')
	{
		memcpy(identity->data_id, text.data, 32);
		memcpy(identity->seal, text.data + 33, 16);
	}
	if (!identity_is_hex(identity->data_id, 32) || !identity_is_hex(identity->seal, 16))
		return ud_error(err, UD_EINVAL, 0,
						"\"%s/" IDENTITY_FILE "\" is damaged, it says which data directory this is: empty the directory, or remove that file and let an administrator call unidesk.accept_machine",
						data->path);
	return 0;
}

int
identity_store_seal(const DataDir *data, Identity *identity, const char *seal, UdError *err)
{
	Identity	sealed = *identity;

	snprintf(sealed.seal, sizeof(sealed.seal), "%s", seal);
	if (identity_write(data, &sealed, err) < 0)
		return err->code;
	*identity = sealed;
	return 0;
}
