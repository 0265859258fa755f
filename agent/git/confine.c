/*
 * confine.c
 *	  What a unidesk-git that needs no network may read: Landlock.
 *
 * A mistake in a parser then shows nobody else's repository, nor anything else
 * of the machine.  It also keeps libgit2 from its habit of reading all
 * certificate authorities when it starts, which took three quarters of the
 * time that writing a small tree took.
 */
#include "agent/git/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"

#define READ_FILES LANDLOCK_ACCESS_FS_READ_FILE
#define READ_ALL (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

/* What does not exist needs no rule. */
static void
allow(int rules, const char *path, uint64_t access)
{
	ud_auto_fd int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access,
		.parent_fd = fd,
	};

	if (fd >= 0)
		syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

void
confine_reading(const char *mirror, const char *into)
{
	const struct landlock_ruleset_attr handled = {
		.handled_access_fs = READ_ALL | LANDLOCK_ACCESS_FS_EXECUTE,
	};
	ud_auto_free char *lock = ud_asprintf("%s.lock", mirror);

	/* The first member alone: kernels know the rest or do not. */
	ud_auto_fd int rules = (int) syscall(SYS_landlock_create_ruleset, &handled,
										 offsetof(struct landlock_ruleset_attr, handled_access_fs) + sizeof(handled.handled_access_fs), 0);

	if (rules < 0)
		return;
	allow(rules, mirror, READ_ALL);
	allow(rules, lock, READ_FILES);
	if (into != NULL)
		allow(rules, into, READ_ALL);
	syscall(SYS_landlock_restrict_self, rules, 0);
}
