/*
 * version.h
 *	  The library's version and that of the objects in the database.
 */
#ifndef UNIDESK_VERSION_H
#define UNIDESK_VERSION_H

#include "postgres.h"

#include "executor/spi.h"

/* The extension's objects in this database, compared with UNIDESK_VERSION. */
typedef enum UnideskInstalled
{
	UNIDESK_INSTALLED_NONE,
	UNIDESK_INSTALLED_OLDER,
	UNIDESK_INSTALLED_SAME,
	UNIDESK_INSTALLED_NEWER
} UnideskInstalled;

/* Inside a transaction; *version is the objects', palloc'd, NULL for none. */
extern UnideskInstalled unidesk_installed(char **version);

/* What to do about older or newer objects: a sentence. */
extern const char *unidesk_version_hint(UnideskInstalled installed);

/* SPI_prepare, whose errors tell of older or newer objects. */
extern SPIPlanPtr unidesk_prepare(const char *sql, int count, Oid *types, int options);

#endif							/* UNIDESK_VERSION_H */
