/* SPDX-License-Identifier: MIT */
/*
 * The sandbox from inside: each test is a child process that enters it and then tries something.
 * What the child finds comes back as its exit status.
 */
#ifndef TESTS_UNIT_SANDBOX_FIXTURE_H
#define TESTS_UNIT_SANDBOX_FIXTURE_H

#include "sandbox/sandbox.h"

#include "base/checked.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTERED_NOT 200 /* the child could not enter */
#define NOBODY	    "65534:65534"

static char folder[64];
static char path[80];
static char message[512];
static char lines[2048];

static inline int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/vblk-sandbox-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static inline void report(void *context, const char *line)
{
	(void)context;
	strncat(lines, line, sizeof(lines) - strlen(lines) - 1);
	strncat(lines, "\n", sizeof(lines) - strlen(lines) - 1);
}

static inline void report_missing(void *context, const char *line)
{
	strcpy(context, line);
}

static inline int enter(uint32_t flags, const char *user)
{
	static const char *folders[] = { folder };
	const struct vblk_sandbox_options options = {
		.flags = flags,
		.user = user,
		.folders = folders,
		.folder_count = 1,
		.report = report,
	};

	lines[0] = '\0';
	return vblk_sandbox_enter(&options, message, sizeof(message));
}

static inline int wait_for(pid_t child)
{
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* What `act` returns in a child that is in the sandbox; -1 if a signal ended it. */
static inline int inside(uint32_t flags, const char *user, int (*act)(void))
{
	const pid_t child = fork();
	int status;

	if (child == 0)
		_exit(enter(flags, user) ? ENTERED_NOT : act());
	status = wait_for(child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static inline int look_for_filter(void)
{
	return strstr(lines, "(seccomp)") ? 1 : 0;
}

static inline void need_filter(void)
{
	if (inside(0, NULL, look_for_filter) != 1) {
		print_message("there is no seccomp here\n");
		skip();
	}
}

static inline void need_landlock(void)
{
	if (!has_landlock()) {
		print_message("this kernel has no Landlock\n");
		skip();
	}
}

static inline void need_root(void)
{
	if (geteuid() != 0) {
		print_message("only root can become another user\n");
		skip();
	}
}

/* The number of the error, or 0 if it worked. */
static inline int error_of(long result)
{
	return result < 0 ? errno : 0;
}

static inline int try_open(void)
{
	return error_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static inline int try_create(void)
{
	char name[96];

	snprintf(name, sizeof(name), "%s/new", folder);
	return error_of(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

static inline int try_truncate(void)
{
	return error_of(truncate(path, 0));
}

static inline int try_rename(void)
{
	char name[96];

	snprintf(name, sizeof(name), "%s/new", folder);
	return error_of(rename(path, name));
}

static inline int try_execve(void)
{
	char *const argv[] = { (char *)"/bin/true", NULL };

	return error_of(execv("/bin/true", argv));
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
