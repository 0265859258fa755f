/*
 * tar.c
 *	  Writing a tar stream.
 */
#include "agent/git/tar.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/reasons.h"

#define BLOCK 512

/* One header block, exactly as on the wire. */
typedef struct TarHeader
{
	char		name[100];
	char		mode[8];
	char		uid[8];
	char		gid[8];
	char		size[12];
	char		mtime[12];
	char		checksum[8];
	char		type;
	char		linkname[100];
	char		magic[8];
	char		user[32];
	char		group[32];
	char		device_major[8];
	char		device_minor[8];
	char		prefix[155];
	char		padding[12];
} TarHeader;

_Static_assert(sizeof(TarHeader) == BLOCK, "a tar header is one block");

void
tar_init(TarWriter *tar, int fd, int64_t mtime)
{
	tar->fd = fd;
	/* What eleven octal digits can hold. */
	tar->mtime = mtime < 0 ? 0 : mtime > INT64_C(077777777777) ? INT64_C(077777777777) : mtime;
	tar->used = 0;
}

static int
write_all(int fd, const uint8_t *data, size_t len, UdError *err)
{
	while (len > 0)
	{
		ssize_t		done = write(fd, data, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return ud_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED,
							"could not write the context: %s", strerror(errno));
		data += done;
		len -= (size_t) done;
	}
	return 0;
}

static int
flush(TarWriter *tar, UdError *err)
{
	int			rc = write_all(tar->fd, tar->buffer, tar->used, err);

	tar->used = 0;
	return rc;
}

static int
put(TarWriter *tar, const void *data, size_t len, UdError *err)
{
	if (tar->used + len > sizeof(tar->buffer))
	{
		int			rc = flush(tar, err);

		if (rc != 0)
			return rc;
		if (len > sizeof(tar->buffer))
			return write_all(tar->fd, data, len, err);
	}
	memcpy(tar->buffer + tar->used, data, len);
	tar->used += len;
	return 0;
}

/* Content, filled up to whole blocks. */
static int
put_content(TarWriter *tar, const void *data, size_t size, UdError *err)
{
	static const uint8_t zeroes[BLOCK];
	int			rc = put(tar, data, size, err);

	if (rc == 0 && size % BLOCK != 0)
		rc = put(tar, zeroes, BLOCK - size % BLOCK, err);
	return rc;
}

/* Digits and a NUL over the whole field. */
static void
octal(char *field, size_t width, uint64_t value)
{
	field[--width] = '\0';
	while (width > 0)
	{
		field[--width] = (char) ('0' + (value & 7));
		value >>= 3;
	}
}

static int
put_header(TarWriter *tar, char type, const char *name, size_t name_len, const char *target, size_t target_len,
		   unsigned mode, size_t size, UdError *err)
{
	TarHeader	header;
	unsigned	sum = 0;

	memset(&header, 0, sizeof(header));
	memcpy(header.name, name, name_len < sizeof(header.name) ? name_len : sizeof(header.name));
	memcpy(header.linkname, target, target_len < sizeof(header.linkname) ? target_len : sizeof(header.linkname));
	octal(header.mode, sizeof(header.mode), mode);
	octal(header.uid, sizeof(header.uid), 0);
	octal(header.gid, sizeof(header.gid), 0);
	octal(header.size, sizeof(header.size), size);
	octal(header.mtime, sizeof(header.mtime), (uint64_t) tar->mtime);
	header.type = type;
	memcpy(header.magic, "ustar  ", sizeof(header.magic));
	memset(header.checksum, ' ', sizeof(header.checksum));
	for (size_t i = 0; i < sizeof(header); i++)
		sum += ((const uint8_t *) &header)[i];
	octal(header.checksum, sizeof(header.checksum) - 1, sum);
	return put(tar, &header, sizeof(header), err);
}

/* An extra entry with a text too long for the header; the NUL belongs to it. */
static int
put_long(TarWriter *tar, char type, const char *text, size_t len, UdError *err)
{
	static const char name[] = "././@LongLink";
	int			rc = put_header(tar, type, name, strlen(name), "", 0, 0, len + 1, err);

	return rc != 0 ? rc : put_content(tar, text, len + 1, err);
}

static int
put_entry(TarWriter *tar, char type, const char *path, const char *target, unsigned mode, size_t size, UdError *err)
{
	size_t		path_len = strlen(path);
	size_t		target_len = strlen(target);
	int			rc = 0;

	if (target_len > sizeof(((TarHeader *) 0)->linkname))
		rc = put_long(tar, 'K', target, target_len, err);
	if (rc == 0 && path_len > sizeof(((TarHeader *) 0)->name))
		rc = put_long(tar, 'L', path, path_len, err);
	if (rc == 0)
		rc = put_header(tar, type, path, path_len, target, target_len, mode, size, err);
	return rc;
}

int
tar_directory(TarWriter *tar, const char *path, UdError *err)
{
	char		with_slash[4096 + 2];

	snprintf(with_slash, sizeof(with_slash), "%s/", path);
	return put_entry(tar, '5', with_slash, "", 0755, 0, err);
}

int
tar_file(TarWriter *tar, const char *path, bool executable, const void *data, size_t size, UdError *err)
{
	int			rc = put_entry(tar, '0', path, "", executable ? 0755 : 0644, size, err);

	return rc != 0 ? rc : put_content(tar, data, size, err);
}

int
tar_symlink(TarWriter *tar, const char *path, const char *target, UdError *err)
{
	return put_entry(tar, '2', path, target, 0777, 0, err);
}

int
tar_end(TarWriter *tar, UdError *err)
{
	static const uint8_t zeroes[2 * BLOCK];
	int			rc = put(tar, zeroes, sizeof(zeroes), err);

	return rc != 0 ? rc : flush(tar, err);
}
