/*
 * fetch.c
 *	  Bring one commit into a mirror.
 *
 * The exact commit is asked for, so that other branches cost nothing; a
 * server that does not give out single commits is asked for its heads and
 * tags instead.  Each fetched commit keeps a ref of its own: refs are what
 * the next fetch tells the server it need not send again.
 */
#include "agent/git/fetch.h"

#include <git2.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/git/answer.h"
#include "agent/git/dial.h"
#include "agent/git/mirror.h"
#include "agent/git/status.h"
#include "agent/git/url.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/reasons.h"

#define PROGRESS_EVERY_MS 500

typedef struct Fetch
{
	const FetchRequest *request;
	FetchResult *result;
	git_repository *repo;
	git_oid		commit;
	int64_t		progress_at_ms;
	bool		got_objects;	/* of the request under way */
	bool		is_too_large;
} Fetch;

static int
on_transfer(const git_indexer_progress *stats, void *arg)
{
	Fetch	   *fetch = arg;
	int64_t		now = clock_ms();

	fetch->got_objects = fetch->got_objects || stats->received_objects > 0;
	fetch->is_too_large = fetch->result->received_bytes + stats->received_bytes > fetch->request->bytes_max;
	if (fetch->is_too_large)
		return GIT_EUSER;
	if (now - fetch->progress_at_ms < PROGRESS_EVERY_MS)
		return 0;
	fetch->progress_at_ms = now;
	status_progress("received %u of %u objects, %.1f MB", stats->received_objects, stats->total_objects,
					(double) stats->received_bytes / 1e6);
	return 0;
}

/* Only what verifies; plain http has no certificate and does not come here. */
static int
on_certificate(git_cert *cert, int valid, const char *host, void *arg)
{
	(void) cert;
	(void) host;
	(void) arg;
	return valid ? 0 : GIT_ECERTIFICATE;
}

static git_fetch_options
fetch_options(Fetch *fetch)
{
	git_fetch_options options;

	git_fetch_options_init(&options, GIT_FETCH_OPTIONS_VERSION);
	options.callbacks.transfer_progress = on_transfer;
	options.callbacks.certificate_check = on_certificate;
	options.callbacks.payload = fetch;
	options.prune = GIT_FETCH_NO_PRUNE;
	options.update_fetchhead = 0;
	options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
	options.proxy_opts.type = GIT_PROXY_NONE;	/* dial.c has its own way */
	options.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
	return options;
}

/* One request with these refspecs; libgit2's return code. */
static int
fetch_refspecs(Fetch *fetch, char **refspecs, size_t count)
{
	git_fetch_options options = fetch_options(fetch);
	git_strarray specs = {
		.strings = refspecs,
		.count = count,
	};
	git_remote *remote = NULL;
	const git_indexer_progress *stats;
	int			rc;

	dial_clear_failure();
	answer_clear();
	fetch->got_objects = false;
	rc = git_remote_create_anonymous(&remote, fetch->repo, fetch->request->url);
	if (rc == 0)
		rc = git_remote_fetch(remote, &specs, &options, NULL);
	if (remote != NULL)
	{
		stats = git_remote_stats(remote);
		fetch->result->received_bytes += stats->received_bytes;
		fetch->result->received_objects += stats->received_objects;
	}
	git_remote_free(remote);
	return rc;
}

static bool
last_error_has(const char *text)
{
	const git_error *last = git_error_last();

	return last != NULL && last->message != NULL && strcasestr(last->message, text) != NULL;
}

static bool
last_error_is_throttle(void)
{
	return last_error_has("status code: 429") || last_error_has("rate limit")
		|| last_error_has("rate-limit") || last_error_has("too many requests")
		|| last_error_has("temporarily limiting")
		|| (last_error_has("status code: 403") && answer_retry_after_s() > 0);
}

/* From libgit2's code and text to a reason of ours. */
static int
judge_transport(const Fetch *fetch, int rc, UdError *err)
{
	const UdError *dialled = dial_failure();
	const git_error *last = git_error_last();

	if (fetch->is_too_large)
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "repository sends more than the %llu bytes that this node fetches",
						(unsigned long long) fetch->request->bytes_max);
	if (last != NULL && last->klass == GIT_ERROR_NOMEMORY)
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "repository takes more memory to unpack than this node gives");
	if (last_error_has("failed to apply delta") || last_error_has("too many objects"))
		return mirror_git_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "repository cannot be unpacked here");
	if (dialled != NULL)
	{
		*err = *dialled;
		return err->code;
	}
	/* What our own refs lead to is not there. */
	if (rc == GIT_ENOTFOUND && last != NULL && last->klass == GIT_ERROR_ODB)
		return mirror_git_error(err, UD_EPROTO, UD_REASON_PREP_FETCH_FAILED, "mirror is damaged");
	if (last_error_is_throttle())
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_REPO_THROTTLED, "repository's host limits requests");
	if (rc == GIT_ECERTIFICATE)
		return mirror_git_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "repository's certificate is not valid");
	if (rc == GIT_EAUTH)
		return mirror_git_error(err, UD_EINVAL, UD_REASON_PREP_CREDENTIAL, "repository asks for a password, or does not exist");
	if (last_error_has("status code: 401") || last_error_has("status code: 403"))
		return mirror_git_error(err, UD_EINVAL, UD_REASON_PREP_CREDENTIAL, "repository refuses access");
	if (last_error_has("redirect"))
		return mirror_git_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "repository redirects elsewhere");
	if (last_error_has("status code: 4") || last_error_has("content-type"))
		return mirror_git_error(err, UD_EINVAL, UD_REASON_PREP_REPO_REFUSED, "there is no git repository at this URL");
	if (last_error_has("status code: 5"))
		return mirror_git_error(err, UD_EIO, UD_REASON_PREP_REPO_UNREACHABLE, "repository's host fails");
	return mirror_git_error(err, UD_EIO, UD_REASON_PREP_FETCH_FAILED, "could not fetch");
}

static int
transport_error(const Fetch *fetch, int rc, UdError *err)
{
	rc = judge_transport(fetch, rc, err);
	err->retry_after_s = answer_retry_after_s();
	return rc;
}

static int
fetch_heads_and_tags(Fetch *fetch, UdError *err)
{
	char		heads[] = "+refs/heads/*:refs/mirror/heads/*";
	char		tags[] = "+refs/tags/*:refs/mirror/tags/*";
	char	   *specs[] = {heads, tags};
	int			rc;

	fetch->result->used_fallback = true;
	status_progress("server gives out no single commits, fetching branches and tags");
	rc = fetch_refspecs(fetch, specs, 2);
	return rc == 0 ? 0 : transport_error(fetch, rc, err);
}

/*
 * A server that has no such commit just hangs up, as a broken line does.  It
 * is the commit when nothing of a pack came and the server still lists its refs.
 */
static bool
server_still_answers(Fetch *fetch)
{
	git_fetch_options options = fetch_options(fetch);
	git_remote_connect_options connect;
	git_remote *remote = NULL;
	bool		answers;

	git_remote_connect_options_init(&connect, GIT_REMOTE_CONNECT_OPTIONS_VERSION);
	connect.callbacks = options.callbacks;
	connect.proxy_opts = options.proxy_opts;
	connect.follow_redirects = options.follow_redirects;
	answers = git_remote_create_anonymous(&remote, fetch->repo, fetch->request->url) == 0
		&& git_remote_connect_ext(remote, GIT_DIRECTION_FETCH, &connect) == 0;
	git_remote_free(remote);
	return answers;
}

static int
fetch_exact(Fetch *fetch, UdError *err)
{
	char		spec[256];
	char	   *specs[] = {spec};
	const char *hex = fetch->request->commit;
	bool		ended_early;
	int			rc;

	snprintf(spec, sizeof(spec), "+%s:refs/unidesk/%s", hex, hex);
	rc = fetch_refspecs(fetch, specs, 1);
	if (rc == 0)
		return 0;
	if (last_error_has("cannot fetch a specific object"))
		return fetch_heads_and_tags(fetch, err);
	if (last_error_has("not our ref"))
		return ud_error(err, UD_ENOENT, UD_REASON_PREP_COMMIT_NOT_FOUND, "commit %s is not in the repository", hex);
	ended_early = rc == GIT_EEOF || last_error_has("unexpected EOF");
	(void) transport_error(fetch, rc, err);
	if (ended_early && dial_failure() == NULL && !fetch->got_objects && server_still_answers(fetch))
		return ud_error(err, UD_ENOENT, UD_REASON_PREP_COMMIT_NOT_FOUND, "commit %s is not in the repository", hex);
	return err->code;
}

/* There, of the kind wanted, and yet unreadable?  That is the mirror's fault. */
static bool
is_damaged(Fetch *fetch)
{
	git_odb    *odb = NULL;
	size_t		size;
	git_object_t type = GIT_OBJECT_COMMIT;
	bool		damaged;

	if (git_repository_odb(&odb, fetch->repo) != 0)
		return false;
	damaged = git_odb_exists(odb, &fetch->commit)
		&& (git_odb_read_header(&size, &type, odb, &fetch->commit) != 0 || type == GIT_OBJECT_COMMIT);
	git_odb_free(odb);
	return damaged;
}

/* Is the commit, received by whatever means, whole?  Then keep it. */
static int
accept_commit(Fetch *fetch, UdError *err)
{
	git_commit *commit = NULL;
	int			rc = mirror_commit(fetch->repo, &fetch->commit, &commit, err);

	git_commit_free(commit);
	if (rc == 0)
		rc = mirror_verify(fetch->repo, &fetch->commit, err);
	else if (is_damaged(fetch))
		rc = UD_EPROTO;
	if (rc == 0)
		rc = mirror_keep(fetch->repo, &fetch->commit, err);
	return rc;
}

/* UD_EPROTO: the mirror is damaged. */
static int
fetch_locked(Fetch *fetch, UdError *err)
{
	git_odb    *odb = NULL;
	bool		exists = false;
	int			rc = mirror_open_for_fetch(fetch->request->mirror, &fetch->repo, err);

	if (rc != 0)
		return rc;
	if (mirror_has(fetch->repo, &fetch->commit))
	{
		fetch->result->was_present = true;
		return 0;
	}
	/* An ancestor of something fetched before, or a tip of the fallback. */
	if (git_repository_odb(&odb, fetch->repo) == 0)
		exists = git_odb_exists(odb, &fetch->commit);
	git_odb_free(odb);
	if (exists)
	{
		fetch->result->was_present = true;
		return accept_commit(fetch, err);
	}
	rc = dial_check_target(err);
	if (rc == 0)
	{
		status_progress("fetching");
		rc = fetch_exact(fetch, err);
	}
	return rc == 0 ? accept_commit(fetch, err) : rc;
}

static int
fetch_parsed(Fetch *fetch, UdError *err)
{
	const char *path = fetch->request->mirror;
	ud_auto_fd int lock = -1;
	int			rc;

	/* Without the lock, which another fetch may hold for long. */
	if (mirror_open(path, &fetch->repo, err) == 0)
	{
		fetch->result->was_present = mirror_has(fetch->repo, &fetch->commit);
		git_repository_free(fetch->repo);
		fetch->repo = NULL;
		if (fetch->result->was_present)
			return 0;
	}
	lock = mirror_lock(path, err);
	if (lock < 0)
		return err->code;
	rc = fetch_locked(fetch, err);
	git_repository_free(fetch->repo);
	fetch->repo = NULL;
	if (rc != UD_EPROTO)
		return rc;

	/* Damaged on disk or by what a server sent: once more, from nothing. */
	status_progress("mirror is damaged, fetching it anew");
	mirror_remove(path);
	memset(fetch->result, 0, sizeof(*fetch->result));
	rc = fetch_locked(fetch, err);
	git_repository_free(fetch->repo);
	fetch->repo = NULL;
	if (rc == UD_EPROTO)
		mirror_remove(path);
	return rc;
}

int
fetch_run(const FetchRequest *request, FetchResult *result, UdError *err)
{
	RepoUrl		url;
	Fetch		fetch = {
		.request = request,
		.result = result,
	};
	int			rc;

	memset(result, 0, sizeof(*result));
	rc = url_parse(request->url, request->allowed_hosts, &url, err);
	if (rc == 0)
		rc = mirror_parse_commit(request->commit, &fetch.commit, err);
	if (rc == 0)
		rc = dial_register(&url, err);
	if (rc == 0)
		rc = answer_register(err);
	if (rc == 0)
		rc = fetch_parsed(&fetch, err);
	return rc;
}
