/*
 * unidesk.c
 *	  Entry of the library: settings, shared memory, worker.
 */
#include "unidesk.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "shared.h"
#include "worker.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM < 160000
extern PGDLLEXPORT void _PG_init(void);
#endif

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("unidesk must be loaded at server start"),
				 errhint("Add unidesk to shared_preload_libraries and restart the server.")));
	unidesk_define_settings();
	if (IsBinaryUpgrade)
		return;
	unidesk_shared_setup();
	if (unidesk_worker)
		unidesk_worker_setup();
}
