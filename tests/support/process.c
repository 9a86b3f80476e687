/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_LIMIT_S 10
#define FDS_MAX	     64

/* Larger than any address space, and small enough to survive rounding up to pages. */
#define STACK_TOO_LARGE ((size_t)1 << 60)

static struct rlimit fd_limit;
static pthread_attr_t usual_attr;

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	size_t count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

size_t process_fds(void)
{
	return count_entries("/proc/self/fd") - 1; /* less the one that we count with */
}

size_t process_threads(void)
{
	return count_entries("/proc/self/task");
}

static bool read_line(const char *tid, const char *file, char *line, int size)
{
	char path[320];
	FILE *in;
	bool got;

	snprintf(path, sizeof(path), "/proc/self/task/%s/%s", tid, file);
	in = fopen(path, "re");
	if (!in)
		return false;
	got = fgets(line, size, in) != NULL;
	fclose(in);
	return got;
}

/* What a thread is blocked in, or was when it had to give way: a system call, and what it is given.
 */
struct blocked {
	long number;
	unsigned long long argument[4];
};

/*
 * A thread that another processor is just waking still has its system call, for as long as that
 * processor takes to hear of it; but from the moment on at which it is woken it is not asleep.
 */
static bool is_asleep(const char *tid)
{
	char line[512];
	const char *name_end;

	if (!read_line(tid, "stat", line, sizeof(line)))
		return false;
	name_end = strrchr(line, ')');
	return name_end && strncmp(name_end, ") S", 3) == 0;
}

/* The kernel says "running" of a thread that runs. */
static bool is_blocked(const char *tid, struct blocked *in)
{
	char line[256];

	return read_line(tid, "syscall", line, sizeof(line)) &&
	       sscanf(line, "%ld %llx %llx %llx %llx", &in->number, &in->argument[0],
		      &in->argument[1], &in->argument[2], &in->argument[3]) == 5 &&
	       is_asleep(tid);
}

static bool some_thread(const char *name, bool (*is_it)(const struct blocked *in, long number),
			long number)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *task;
	struct blocked in;
	char line[64];
	bool found = false;

	assert_non_null(tasks);
	while (!found && (task = readdir(tasks))) {
		if (!read_line(task->d_name, "comm", line, sizeof(line)))
			continue;
		line[strcspn(line, "\n")] = '\0';
		found = strcmp(line, name) == 0 && is_blocked(task->d_name, &in) &&
			is_it(&in, number);
	}
	closedir(tasks);
	return found;
}

static bool is_in_call(const struct blocked *in, long number)
{
	return in->number == number;
}

bool process_thread_is_in(const char *name, long number)
{
	return some_thread(name, is_in_call, number);
}

/*
 * With a timeout of 0 it only asks, and will go on at once; on a busy machine it may have to give
 * way there all the same.
 */
static bool sleeps_in_epoll(const struct blocked *in, long number)
{
	return in->number == number && (int)in->argument[3] != 0;
}

bool process_thread_waits(const char *name)
{
#ifdef SYS_epoll_wait
	if (some_thread(name, sleeps_in_epoll, SYS_epoll_wait))
		return true;
#endif
	return some_thread(name, sleeps_in_epoll, SYS_epoll_pwait);
}

bool process_wait(bool (*is_true)(void *context), void *context)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!is_true(context)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > WAIT_LIMIT_S)
			return false;
		sched_yield();
	}
	return true;
}

static bool are_left(void *context)
{
	return process_threads() == *(const size_t *)context;
}

bool process_wait_threads(size_t count)
{
	return process_wait(are_left, &count);
}

/* New descriptors get the lowest free number, so the limit is the number of the first too many. */
void process_limit_fds(size_t more)
{
	int fds[FDS_MAX];
	struct rlimit limit;

	assert_true(more < FDS_MAX);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &fd_limit), 0);
	for (size_t i = 0; i <= more; i++) {
		fds[i] = dup(STDERR_FILENO);
		assert_true(fds[i] >= 0);
	}
	limit = fd_limit;
	limit.rlim_cur = (rlim_t)fds[more];
	for (size_t i = 0; i <= more; i++)
		close(fds[i]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void process_unlimit_fds(void)
{
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &fd_limit), 0);
}

void process_forbid_threads(void)
{
	pthread_attr_t attr;

	assert_int_equal(pthread_getattr_default_np(&usual_attr), 0);
	assert_int_equal(pthread_getattr_default_np(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, STACK_TOO_LARGE), 0);
	assert_int_equal(pthread_setattr_default_np(&attr), 0);
	pthread_attr_destroy(&attr);
}

void process_allow_threads(void)
{
	assert_int_equal(pthread_setattr_default_np(&usual_attr), 0);
	pthread_attr_destroy(&usual_attr);
}

static void *store_tid(void *argument)
{
	*(pid_t *)argument = gettid();
	return NULL;
}

static bool is_gone(void *context)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", *(const pid_t *)context);
	return access(path, F_OK) < 0;
}

size_t process_own_threads(void)
{
	pthread_t thread;
	pid_t tid;

	assert_int_equal(pthread_create(&thread, NULL, store_tid, &tid), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(process_wait(is_gone, &tid));
	return process_threads();
}
