/* SPDX-License-Identifier: MIT */
/*
 * vblk serve with two disks, as a process of its own, in which the thread of the first disk fares
 * badly: what becomes of that disk, of the other, and of the process when it is told to end.
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/unix_socket.h"
#include "process.h"
#include "vhost/message.h"
#include "vhost/thread.h"

#define DISK_SIZE 4096
#define LIMIT_MS  10000

#define LONGEST_END_MS 40000

enum fate {
	GOES_ON,
	FAILS,	   /* its next wait ends with EBADF */
	WILL_HANG, /* it does not come back from what it does next */
	HANGS,	   /* it is there */
	ALL_FAIL,  /* as FAILS, of both disks */
};

static _Atomic enum fate *fate; /* of the first disk's thread, shared with the daemon */

struct daemon {
	char folder[64];
	pid_t pid;
	int passed_fd; /* the socket of the first disk, passed on; -1: it is made */
	char log[4096];
};

static bool is_meant(const char *thread)
{
	return strcmp(thread, "vblk0/front") == 0 ||
	       (strcmp(thread, "vblk1/front") == 0 && atomic_load(fate) == ALL_FAIL);
}

/* The linker puts this in the place of the library's (--wrap). What is real has waited by then. */
int __real_epoll_wait(int fd, struct epoll_event *events, int count, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int count, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
	const int ret = __real_epoll_wait(fd, events, count, timeout);
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	if (atomic_load(fate) == GOES_ON || !is_meant(name))
		return ret;
	if (atomic_load(fate) == WILL_HANG) {
		atomic_store(fate, HANGS);
		for (;;)
			pause();
	}
	errno = EBADF;
	return -1;
}

/* A thread that hangs is not waited for as long as it would be, which is bounded. */
int __real_vblk_vhost_thread_join(struct vblk_vhost_thread *thread, uint32_t timeout_ms);
int __wrap_vblk_vhost_thread_join(struct vblk_vhost_thread *thread, uint32_t timeout_ms);
int __wrap_vblk_vhost_thread_join(struct vblk_vhost_thread *thread, uint32_t timeout_ms)
{
	const bool is_stuck =
		vblk_vhost_server_disk(thread->server)->instance == 0 && atomic_load(fate) == HANGS;

	if (timeout_ms > LONGEST_END_MS)
		abort();
	return __real_vblk_vhost_thread_join(thread, is_stuck ? 1 : timeout_ms);
}

static const char *path_of(const struct daemon *daemon, const char *name)
{
	static char path[96]; /* fits an address */

	snprintf(path, sizeof(path), "%s/%s", daemon->folder, name);
	return path;
}

static bool exists(const struct daemon *daemon, const char *name)
{
	return access(path_of(daemon, name), F_OK) == 0;
}

/* In the child. */
static int serve(const struct daemon *daemon)
{
	static char words[4][160];
	int log_fd;
	char *argv[] = { (char *)"serve", (char *)"--sandbox", (char *)"off", (char *)"--socket",
			 words[0],	  (char *)"--disk",    words[1],      (char *)"--socket",
			 words[2],	  (char *)"--disk",    words[3],      NULL };

	if (daemon->passed_fd >= 0) {
		argv[3] = (char *)"--fd";
		snprintf(words[0], sizeof(words[0]), "%d", daemon->passed_fd);
	} else {
		snprintf(words[0], sizeof(words[0]), "%s", path_of(daemon, "a"));
	}
	snprintf(words[1], sizeof(words[1]), "path=%s", path_of(daemon, "a.img"));
	snprintf(words[2], sizeof(words[2]), "%s", path_of(daemon, "b"));
	snprintf(words[3], sizeof(words[3]), "path=%s", path_of(daemon, "b.img"));
	log_fd = open(path_of(daemon, "log"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (log_fd < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		return CMD_FAILED;
	return cmd_serve((int)(sizeof(argv) / sizeof(argv[0])) - 1, argv);
}

static int try_to_connect(const struct daemon *daemon, const char *name)
{
	char message[512];
	int fd = -1;

	(void)!vblk_unix_connect(path_of(daemon, name), LIMIT_MS, &fd, message, sizeof(message));
	return fd;
}

static bool is_up(void *context)
{
	const int fd = try_to_connect(context, "b");

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void make_file(const struct daemon *daemon, const char *name)
{
	FILE *file = fopen(path_of(daemon, name), "we");

	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), DISK_SIZE), 0);
	fclose(file);
}

static struct daemon *create(void)
{
	struct daemon *daemon = calloc(1, sizeof(*daemon));

	assert_non_null(daemon);
	atomic_store(fate, GOES_ON);
	daemon->passed_fd = -1;
	strcpy(daemon->folder, "/tmp/vblk-serve-XXXXXX");
	assert_non_null(mkdtemp(daemon->folder));
	make_file(daemon, "a.img");
	make_file(daemon, "b.img");
	return daemon;
}

static void start(struct daemon *daemon)
{
	fflush(NULL);
	daemon->pid = fork();
	assert_true(daemon->pid >= 0);
	if (daemon->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(serve(daemon));
	}
	assert_true(process_wait(is_up, daemon));
}

static int setup(void **state)
{
	struct daemon *daemon = create();

	*state = daemon;
	start(daemon);
	return 0;
}

/* The socket of the first disk is there before, and is not ours. */
static int setup_passed_on(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct daemon *daemon = create();

	*state = daemon;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path_of(daemon, "a"));
	daemon->passed_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(daemon->passed_fd > STDERR_FILENO);
	assert_int_equal(
		bind(daemon->passed_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(daemon->passed_fd, 1), 0);
	start(daemon);
	close(daemon->passed_fd);
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {
		"a", "a.lock", "b", "b.lock", "a.img", "b.img", "log"
	};
	struct daemon *daemon = *state;

	if (daemon->pid > 0) { /* the test has failed */
		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, NULL, 0);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(daemon, names[i]));
	rmdir(daemon->folder);
	free(daemon);
	return 0;
}

/* Waits for its end, and returns its status; its lines are in `log`. */
static int await_end(struct daemon *daemon)
{
	int status;
	FILE *log;

	assert_int_equal(waitpid(daemon->pid, &status, 0), daemon->pid);
	daemon->pid = 0;
	log = fopen(path_of(daemon, "log"), "re");
	assert_non_null(log);
	daemon->log[fread(daemon->log, 1, sizeof(daemon->log) - 1, log)] = '\0';
	fclose(log);
	print_message("%s", daemon->log);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The same when it was told to end. */
static int end(struct daemon *daemon)
{
	assert_int_equal(kill(daemon->pid, SIGTERM), 0);
	return await_end(daemon);
}

static void assert_served(const struct daemon *daemon, const char *name)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_GET_FEATURES, VBLK_VHOST_VERSION, 0 };
	const int fd = try_to_connect(daemon, name);
	struct pollfd answer = { .fd = fd, .events = POLLIN };

	assert_true(fd >= 0);
	assert_int_equal(send(fd, &header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	assert_int_equal(poll(&answer, 1, LIMIT_MS), 1);
	assert_true(answer.revents & POLLIN);
	assert_true(recv(fd, (char[64]){ 0 }, 64, 0) > (ssize_t)sizeof(header));
	close(fd);
}

/* All its lines are this one: in it is what is wanted, and nothing is behind it. */
static void assert_only_line(const struct daemon *daemon, const char *wanted)
{
	assert_non_null(strstr(daemon->log, wanted));
	assert_ptr_equal(strchr(daemon->log, '\n'), daemon->log + strlen(daemon->log) - 1);
}

static void an_end_is_quiet(void **state)
{
	struct daemon *daemon = *state;

	assert_served(daemon, "a");
	assert_served(daemon, "b");
	assert_int_equal(end(daemon), CMD_OK);
	assert_string_equal(daemon->log, "");
	assert_false(exists(daemon, "a"));
	assert_false(exists(daemon, "b"));
}

static bool has_let_go(void *context)
{
	return !exists(context, "a.lock");
}

/*
 * The first disk is given up when its front end goes, and who waits in its line is sent away. Both
 * are there before: afterwards nobody can connect.
 */
static void give_up_the_first(const struct daemon *daemon)
{
	struct pollfd knocks = { .events = POLLIN };
	int served;

	assert_served(daemon, "a");
	served = try_to_connect(daemon, "a");
	knocks.fd = try_to_connect(daemon, "a");
	assert_true(served >= 0 && knocks.fd >= 0);
	atomic_store(fate, FAILS);
	assert_int_equal(shutdown(served, SHUT_WR), 0);
	assert_int_equal(poll(&knocks, 1, LIMIT_MS), 1);
	assert_true(recv(knocks.fd, (char[1]){ 0 }, 1, 0) <= 0);
	close(knocks.fd);
	close(served);
}

static void a_disk_that_nobody_serves_has_no_socket(void **state)
{
	struct daemon *daemon = *state;

	give_up_the_first(daemon);
	assert_false(exists(daemon, "a"));
	assert_true(process_wait(has_let_go, daemon));
	assert_served(daemon, "b");
	assert_int_equal(end(daemon), CMD_FAILED);
	assert_only_line(daemon, "cannot wait for events: the disk is not served any more");
	assert_false(exists(daemon, "b"));
}

/* Who has started it may do so again, and is told that there is something to do. */
static void without_a_disk_it_ends(void **state)
{
	struct daemon *daemon = *state;
	int a = try_to_connect(daemon, "a"), b = try_to_connect(daemon, "b");

	assert_true(a >= 0 && b >= 0);
	atomic_store(fate, ALL_FAIL);
	close(a);
	close(b);
	assert_int_equal(await_end(daemon), CMD_FAILED);
	assert_non_null(strstr(daemon->log, "serve: no disk is served any more\n"));
	assert_false(exists(daemon, "a"));
	assert_false(exists(daemon, "b"));
}

/* Also by another number. If they were not, they would be served for ever. */
static void two_disks_on_one_socket_are_refused(void **state)
{
	const struct sockaddr unnamed = { .sa_family = AF_UNIX };
	struct daemon *daemon = create();
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0), same = dup(fd);
	char words[4][160];
	char *argv[] = {
		(char *)"serve", (char *)"--fd", words[0],	   (char *)"--disk", words[1],
		(char *)"--fd",	 words[2],	 (char *)"--disk", words[3],	     NULL
	};

	*state = daemon;
	assert_int_equal(bind(fd, &unnamed, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(words[0], sizeof(words[0]), "%d", fd);
	snprintf(words[1], sizeof(words[1]), "path=%s", path_of(daemon, "a.img"));
	snprintf(words[2], sizeof(words[2]), "%d", same);
	snprintf(words[3], sizeof(words[3]), "path=%s", path_of(daemon, "b.img"));
	assert_int_equal(cmd_serve(9, argv), CMD_BAD_INPUT);
	strcpy(words[2], words[0]);
	assert_int_equal(cmd_serve(9, argv), CMD_BAD_INPUT);
	close(fd);
	close(same);
}

/* Nobody listens there then, but its name is for others to remove. */
static void a_socket_that_was_passed_on_is_let_go(void **state)
{
	struct daemon *daemon = *state;

	give_up_the_first(daemon);
	assert_int_equal(try_to_connect(daemon, "a"), -1);
	assert_true(exists(daemon, "a"));
	assert_served(daemon, "b");
	assert_int_equal(end(daemon), CMD_FAILED);
}

/* Its name may be another's by then. */
static void a_socket_of_another_stays(void **state)
{
	struct daemon *daemon = *state;
	struct pollfd knocks = { .events = POLLIN };
	char own[160];

	knocks.fd = try_to_connect(daemon, "a"); /* who is served until it goes */
	assert_true(knocks.fd >= 0);
	snprintf(own, sizeof(own), "%s", path_of(daemon, "a"));
	assert_int_equal(unlink(own), 0);
	make_file(daemon, "a");
	atomic_store(fate, FAILS);
	assert_int_equal(shutdown(knocks.fd, SHUT_WR), 0);
	assert_int_equal(poll(&knocks, 1, LIMIT_MS), 1);
	close(knocks.fd);
	assert_int_equal(end(daemon), CMD_FAILED);
	assert_true(exists(daemon, "a"));
}

static bool hangs(void *context)
{
	(void)context;
	return atomic_load(fate) == HANGS;
}

/* As in a call to a file of a front end, whose file system hangs (--memory any). */
static void a_disk_that_hangs_does_not_hold_up_the_end(void **state)
{
	struct daemon *daemon = *state;
	int fd;

	assert_served(daemon, "a");
	atomic_store(fate, WILL_HANG);
	fd = try_to_connect(daemon, "a");
	assert_true(fd >= 0);
	assert_true(process_wait(hangs, NULL));
	assert_served(daemon, "b");
	assert_int_equal(end(daemon), CMD_FAILED);
	assert_only_line(daemon, "disk 'a.img': ends although its thread hangs");
	assert_false(exists(daemon, "a"));
	assert_false(exists(daemon, "b"));
	close(fd);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(an_end_is_quiet),
		ONE(a_disk_that_nobody_serves_has_no_socket),
		cmocka_unit_test_setup_teardown(a_socket_that_was_passed_on_is_let_go,
						setup_passed_on, teardown),
		ONE(a_socket_of_another_stays),
		ONE(a_disk_that_hangs_does_not_hold_up_the_end),
		ONE(without_a_disk_it_ends),
		cmocka_unit_test_setup_teardown(two_disks_on_one_socket_are_refused, NULL,
						teardown),
	};

	fate = mmap(NULL, sizeof(*fate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fate == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
