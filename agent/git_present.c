/*
 * git_present.c
 *	  What need not be asked of unidesk-git once more.
 *
 * A start of unidesk-git costs many times what looking at one file costs, and
 * most tasks use commits that are here.  That a mirror's URL is allowed stays
 * true while the list of hosts does; whether the commit is
 * kept is looked at each time, because mirrors are removed to make room and
 * damaged ones forget.
 */
#include "agent/git_present.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/git.h"
#include "common/buf.h"
#include "common/cleanup.h"

/* One that is not remembered is asked about again. */
#define ALLOWED_MAX 256
#define COMMIT_DIGITS 40

static pthread_mutex_t allowed_mutex = PTHREAD_MUTEX_INITIALIZER;
static char allowed[ALLOWED_MAX][GIT_MIRROR_NAME_BYTES];

/* The list of hosts that they were allowed by. */
static char *allowed_by;

/* Another list: what was allowed is to be asked again. */
static void
allowed_check_list(const char *hosts)
{
	if (allowed_by != NULL && strcmp(allowed_by, hosts) == 0)
		return;
	free(allowed_by);
	allowed_by = ud_strdup(hosts);
	memset(allowed, 0, sizeof(allowed));
}

/* Where it would stand: its name is a hash, so its first digits are as good. */
static char *
allowed_slot(const char *name)
{
	unsigned	slot = 0;

	for (int i = 0; i < 4 && name[i] != '\0'; i++)
		slot = slot * 16 + (unsigned) (name[i] & 15) + (name[i] > '9' ? 9 : 0);
	return allowed[slot % ALLOWED_MAX];
}

static const char *
mirror_name(const char *mirror)
{
	const char *slash = strrchr(mirror, '/');

	return slash == NULL ? mirror : slash + 1;
}

void
git_present_allow(const GitSetup *setup, const char *mirror)
{
	const char *name = mirror_name(mirror);

	if (strlen(name) >= GIT_MIRROR_NAME_BYTES)
		return;
	pthread_mutex_lock(&allowed_mutex);
	allowed_check_list(setup->allowed_hosts);
	strcpy(allowed_slot(name), name);
	pthread_mutex_unlock(&allowed_mutex);
}

bool
git_present(const GitSetup *setup, const char *mirror, const char *commit)
{
	const char *name = mirror_name(mirror);
	ud_auto_free char *ref = NULL;
	struct stat info;
	bool		known;

	if (strlen(commit) != COMMIT_DIGITS || strspn(commit, "0123456789abcdef") != COMMIT_DIGITS)
		return false;
	pthread_mutex_lock(&allowed_mutex);
	allowed_check_list(setup->allowed_hosts);
	known = strcmp(allowed_slot(name), name) == 0;
	pthread_mutex_unlock(&allowed_mutex);
	if (!known)
		return false;
	ref = ud_asprintf("%s/refs/unidesk/%s", mirror, commit);
	return lstat(ref, &info) == 0 && S_ISREG(info.st_mode);
}
