/*
 * version.c
 *	  The library and the objects in the database need not be of the same
 *	  version: a new library comes with a restart, new objects come with ALTER
 *	  EXTENSION unidesk UPDATE after it.
 *
 * Until then the worker stands still, and a function does what it can do with
 * the older tables: an error about something that is not there says what to do.
 */
#include "unidesk.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "version.h"

/* The version of the objects in this database; NULL when there are none. */
static char *
installed_version(void)
{
	Relation	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(UNIDESK_EXTENSION));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(extensions), &isnull);

		version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return version;
}

/* Versions are MAJOR.MINOR. */
static int
compare_versions(const char *a, const char *b)
{
	int			a_major = 0;
	int			a_minor = 0;
	int			b_major = 0;
	int			b_minor = 0;

	sscanf(a, "%d.%d", &a_major, &a_minor);
	sscanf(b, "%d.%d", &b_major, &b_minor);
	return a_major != b_major ? a_major - b_major : a_minor - b_minor;
}

UnideskInstalled
unidesk_installed(char **version)
{
	int			difference;

	*version = installed_version();
	if (*version == NULL)
		return UNIDESK_INSTALLED_NONE;
	difference = compare_versions(*version, UNIDESK_VERSION);
	return difference == 0 ? UNIDESK_INSTALLED_SAME :
		difference < 0 ? UNIDESK_INSTALLED_OLDER : UNIDESK_INSTALLED_NEWER;
}

const char *
unidesk_version_hint(UnideskInstalled installed)
{
	return installed == UNIDESK_INSTALLED_OLDER ?
		"Run ALTER EXTENSION unidesk UPDATE as a superuser." :
		"Install the files of the newer version and restart the server.";
}

typedef struct VersionContext
{
	UnideskInstalled installed;
	char	   *version;
} VersionContext;

/* Called when an ERROR is raised while the statement is analysed. */
static void
explain_version(void *arg)
{
	const VersionContext *context = arg;
	int			code = geterrcode();

	if (code == ERRCODE_UNDEFINED_TABLE || code == ERRCODE_UNDEFINED_COLUMN ||
		code == ERRCODE_UNDEFINED_FUNCTION || code == ERRCODE_UNDEFINED_OBJECT ||
		code == ERRCODE_DATATYPE_MISMATCH || code == ERRCODE_SYNTAX_ERROR)
		errhint("The extension's objects are of version %s and its library is of version %s. %s",
				context->version, UNIDESK_VERSION, unidesk_version_hint(context->installed));
}

SPIPlanPtr
unidesk_prepare(const char *sql, int count, Oid *types, int options)
{
	VersionContext context = {0};
	ErrorContextCallback callback = {0};
	SPIPlanPtr	plan;

	context.installed = unidesk_installed(&context.version);
	callback.callback = explain_version;
	callback.arg = &context;
	callback.previous = error_context_stack;
	if (context.installed == UNIDESK_INSTALLED_OLDER || context.installed == UNIDESK_INSTALLED_NEWER)
		error_context_stack = &callback;
	plan = SPI_prepare_cursor(sql, count, types, options);
	error_context_stack = callback.previous;
	return plan;
}
