/* SPDX-License-Identifier: MIT */
/*
 * The sandbox from inside: each test is a child process that enters it and then tries something.
 * What the child finds comes back as its exit status.
 */
#include "sandbox/sandbox.h"

#include "base/checked.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mock_guest.h"

#define ENTERED_NOT 200 /* the child could not enter */
#define NOBODY	    "65534:65534"

static char folder[64];
static char path[80];
static char elsewhere[80]; /* a file in another folder */
static char message[512];
static char lines[2048];

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/vblk-sandbox-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void report(void *context, const char *line)
{
	(void)context;
	strncat(lines, line, sizeof(lines) - strlen(lines) - 1);
	strncat(lines, "\n", sizeof(lines) - strlen(lines) - 1);
}

static void report_missing(void *context, const char *line)
{
	strcpy(context, line);
}

static int enter(uint32_t flags, const char *user)
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

static int wait_for(pid_t child)
{
	int status;

	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* What `act` returns in a child that is in the sandbox; -1 if a signal ended it. */
static int inside(uint32_t flags, const char *user, int (*act)(void))
{
	const pid_t child = fork();
	int status;

	if (child == 0)
		_exit(enter(flags, user) ? ENTERED_NOT : act());
	status = wait_for(child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static int look_for_filter(void)
{
	return strstr(lines, "(seccomp)") ? 1 : 0;
}

static void need_filter(void)
{
	if (inside(0, NULL, look_for_filter) != 1) {
		print_message("there is no seccomp here\n");
		skip();
	}
}

static void need_landlock(void)
{
	if (!has_landlock()) {
		print_message("this kernel has no Landlock\n");
		skip();
	}
}

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("only root can become another user\n");
		skip();
	}
}

/* The number of the error, or 0 if it worked. */
static int error_of(long result)
{
	return result < 0 ? errno : 0;
}

static int try_open(void)
{
	return error_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int try_create(void)
{
	char name[96];

	snprintf(name, sizeof(name), "%s/new", folder);
	return error_of(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

static int try_truncate(void)
{
	return error_of(truncate(path, 0));
}

static int try_rename(void)
{
	char name[96];

	snprintf(name, sizeof(name), "%s/new", folder);
	return error_of(rename(path, name));
}

static int try_unlink(void)
{
	return error_of(unlinkat(AT_FDCWD, path, 0));
}

static int try_unlink_elsewhere(void)
{
	return error_of(unlinkat(AT_FDCWD, elsewhere, 0));
}

static int try_execve(void)
{
	char *const argv[] = { (char *)"/bin/true", NULL };

	return error_of(execv("/bin/true", argv));
}

static int try_inet(void)
{
	return error_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_unix(void)
{
	return error_of(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_ptrace(void)
{
	return error_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_fork(void)
{
	return error_of(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_clone3(void)
{
	return error_of(syscall(SYS_clone3, NULL, (size_t)0));
}

static int try_kill(void)
{
	return error_of(kill(getppid(), 0));
}

static int try_tgkill(void)
{
	return error_of(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int try_code(void)
{
	const void *code =
		mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return code == MAP_FAILED ? errno : 0;
}

static int try_mprotect(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? 1 : error_of(mprotect(page, 4096, PROT_EXEC));
}

static int try_prctl(void)
{
	return error_of(prctl(PR_SET_DUMPABLE, 1));
}

static int try_io_uring(void)
{
	return error_of(syscall(SYS_io_uring_setup, 0, NULL));
}

static int try_setuid(void)
{
	return error_of(syscall(SYS_setuid, getuid()));
}

static int try_owner(void)
{
	return error_of(fcntl(STDERR_FILENO, F_SETOWN, getpid()));
}

static int try_lease(void)
{
	return error_of(fcntl(STDERR_FILENO, F_SETLEASE, F_RDLCK));
}

static int try_collapse(void)
{
	return error_of(fallocate(STDERR_FILENO, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
}

static int try_rmdir(void)
{
	return error_of(unlinkat(AT_FDCWD, folder, AT_REMOVEDIR));
}

/* To somebody else than the socket is connected to. */
static int try_sendto(void)
{
	const struct sockaddr address = { .sa_family = AF_UNIX };

	return error_of(sendto(STDERR_FILENO, "", 1, MSG_NOSIGNAL, &address, sizeof(sa_family_t)));
}

/* The numbers are those of x86-64 and of most others; the filter looks before the kernel does. */
static int try_namespace(void)
{
	return error_of(syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWNET,
				NULL, NULL, NULL, NULL));
}

static int try_terminal(void)
{
	return error_of(ioctl(STDERR_FILENO, TIOCSTI, ""));
}

static int try_policy(void)
{
	const struct sched_param param = { .sched_priority = 1 };

	return error_of(sched_setscheduler(0, SCHED_FIFO, &param));
}

static void forbidden_calls_fail(void **state)
{
	static const struct {
		const char *name;
		int (*act)(void);
		int error;
	} table[] = {
		{ "open", try_open, EPERM },
		{ "create", try_create, EPERM },
		{ "truncate", try_truncate, EPERM },
		{ "rename", try_rename, EPERM },
		{ "execve", try_execve, EPERM },
		{ "socket AF_INET", try_inet, EPERM },
		{ "socket AF_UNIX", try_unix, EPERM },
		{ "ptrace", try_ptrace, EPERM },
		{ "fork", try_fork, EPERM },
		{ "clone3", try_clone3, ENOSYS },
		{ "kill", try_kill, EPERM },
		{ "tgkill of another", try_tgkill, EPERM },
		{ "mmap of code", try_code, EPERM },
		{ "mprotect to code", try_mprotect, EPERM },
		{ "prctl", try_prctl, EPERM },
		{ "io_uring", try_io_uring, EPERM },
		{ "setuid", try_setuid, EPERM },
		{ "fcntl F_SETOWN", try_owner, EPERM },
		{ "fcntl F_SETLEASE", try_lease, EPERM },
		{ "fallocate that moves bytes", try_collapse, EPERM },
		{ "unlinkat of a folder", try_rmdir, EPERM },
		{ "sendto an address", try_sendto, EPERM },
		{ "clone into a namespace", try_namespace, EPERM },
		{ "ioctl TIOCSTI", try_terminal, EPERM },
		{ "a real-time policy", try_policy, EPERM },
	};

	(void)state;
	need_filter();
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		print_message("%s\n", table[i].name);
		assert_int_equal(inside(VBLK_SANDBOX_NO_LANDLOCK, NULL, table[i].act),
				 table[i].error);
	}
}

static void a_forbidden_call_can_end_the_process(void **state)
{
	pid_t child;
	int status;

	(void)state;
	need_filter();
	child = fork();
	if (child == 0)
		_exit(enter(VBLK_SANDBOX_KILL, NULL) ? ENTERED_NOT : try_open());
	status = wait_for(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void io_uring_is_allowed_on_request(void **state)
{
	(void)state;
	need_filter();
	assert_int_not_equal(inside(VBLK_SANDBOX_IO_URING, NULL, try_io_uring), EPERM);
}

static void paths_are_closed_without_the_filter_too(void **state)
{
	static const struct {
		const char *name;
		int (*act)(void);
	} table[] = {
		{ "open", try_open },	  { "create", try_create }, { "truncate", try_truncate },
		{ "rename", try_rename }, { "execve", try_execve },
	};

	(void)state;
	need_landlock();
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		print_message("%s\n", table[i].name);
		assert_int_equal(inside(VBLK_SANDBOX_NO_SECCOMP, NULL, table[i].act), EACCES);
	}
}

static void files_are_removed_from_the_named_folder_only(void **state)
{
	(void)state;
	need_landlock();
	snprintf(elsewhere, sizeof(elsewhere), "%s-elsewhere", folder);
	close(open(elsewhere, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	assert_int_equal(inside(0, NULL, try_unlink_elsewhere), EACCES);
	assert_int_equal(unlink(elsewhere), 0);
	assert_int_equal(inside(0, NULL, try_unlink), 0);
}

/* --- What must still work: the returned number says what does not. --- */

static void *thread_main(void *context)
{
	cpu_set_t cpus;
	sigset_t all;

	sigfillset(&all);
	if (pthread_sigmask(SIG_BLOCK, &all, NULL) || prctl(PR_SET_NAME, "vblk0/0") ||
	    sched_getaffinity(0, sizeof(cpus), &cpus) || sched_setaffinity(0, sizeof(cpus), &cpus))
		return NULL;
	return context;
}

/* A worker is started, has its stack and its arena, and ends. */
static int use_threads(void)
{
	pthread_t thread;
	void *result;

	for (unsigned int i = 0; i < 3; i++) {
		if (pthread_create(&thread, NULL, thread_main, folder))
			return 1;
		if (pthread_join(thread, &result) || result != folder)
			return 2;
	}
	return 0;
}

static int disk_fd;

static int use_files(void)
{
	char bytes[512] = "";
	struct iovec piece = { bytes, sizeof(bytes) };
	struct stat there;

	if (pwritev(disk_fd, &piece, 1, 0) != sizeof(bytes) ||
	    preadv(disk_fd, &piece, 1, 0) != sizeof(bytes))
		return 1;
	if (pwrite(disk_fd, bytes, 1, 0) != 1 || pread(disk_fd, bytes, 1, 0) != 1)
		return 2;
	if (fdatasync(disk_fd) || ftruncate(disk_fd, 8192))
		return 3;
	if (fallocate(disk_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) &&
	    errno != EOPNOTSUPP)
		return 4;
	if (fstat(disk_fd, &there) || lstat(path, &there))
		return 5;
	return 0;
}

static int use_memory(void)
{
	const int fd = memfd_create("m", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *memory;
	void *block;

	if (fd < 0 || ftruncate(fd, 8192) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		return 1;
	memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return 2;
	*memory = 1;
	if (madvise(memory, 4096, MADV_DONTDUMP) || munmap(memory, 8192))
		return 3;
	block = malloc(64u << 20);
	if (!block)
		return 4;
	free(block);
	return 0;
}

static int listen_fd;
static int pair[2];

static int use_events(void)
{
	struct itimerspec spec = { .it_value = { .tv_nsec = 1 } };
	struct epoll_event event = { .events = EPOLLIN };
	const int epoll = epoll_create1(EPOLL_CLOEXEC);
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	const int kick = eventfd(0, EFD_CLOEXEC);
	const int own = fcntl(kick, F_DUPFD_CLOEXEC, 0);

	if (epoll < 0 || timer < 0 || kick < 0 || own < 0)
		return 1;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) ||
	    timerfd_settime(timer, 0, &spec, NULL))
		return 2;
	if (epoll_wait(epoll, &event, 1, 10000) != 1)
		return 3;
	if (eventfd_write(own, 1))
		return 4;
	return nanosleep(&(struct timespec){ .tv_nsec = 1 }, NULL) ? 5 : 0;
}

static int use_sockets(void)
{
	char byte = 1;
	struct iovec piece = { &byte, 1 };
	struct msghdr text = { .msg_iov = &piece, .msg_iovlen = 1 };

	if (accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) >= 0 || errno != EAGAIN)
		return 1;
	if (sendmsg(pair[0], &text, MSG_NOSIGNAL) != 1 || recvmsg(pair[1], &text, 0) != 1)
		return 2;
	return send(pair[0], &byte, 1, MSG_NOSIGNAL) == 1 && recv(pair[1], &byte, 1, 0) == 1 ? 0
											     : 3;
}

static int use_stdio(void)
{
	return fprintf(stderr, "a line from inside\n") > 0 ? 0 : 1;
}

/* A whole device with its worker, started and reset inside, on a file that was opened outside. */
static int use_device(void)
{
	struct guest guest;
	struct vblk_backing *disk;

	if (vblk_backing_open_fd(disk_fd, VBLK_FILE_NO_LOCK, &disk))
		return 1;
	guest_create(&guest, NULL, disk);
	for (unsigned int i = 0; i < 2; i++) {
		guest_start(&guest);
		guest_fill(&guest, GUEST_DATA, 0x5a, 512);
		guest_offer(&guest, guest_request(&guest, VIRTIO_BLK_T_OUT, 0, 512));
		guest_kick(&guest);
		if (!guest_wait_used(&guest, 1) || guest_status_byte(&guest) != VIRTIO_BLK_S_OK)
			return 2;
		vblk_device_pause(guest.device);
		if (vblk_device_wait_paused(guest.device, 10000))
			return 3;
		vblk_device_resume(guest.device);
		guest_reset(&guest);
	}
	guest_destroy(&guest);
	return 0;
}

/* abort() has to end the process as it does outside. */
static int use_abort(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void needed_calls_work(void **state)
{
	static const struct {
		const char *name;
		int (*act)(void);
	} table[] = {
		{ "threads", use_threads }, { "files", use_files },	{ "memory", use_memory },
		{ "events", use_events },   { "sockets", use_sockets }, { "stdio", use_stdio },
		{ "device", use_device },
	};

	(void)state;
	disk_fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(disk_fd, 4096), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Without a name the kernel finds one. */
	assert_int_equal(
		bind(listen_fd, &(struct sockaddr){ .sa_family = AF_UNIX }, sizeof(sa_family_t)),
		0);
	assert_int_equal(listen(listen_fd, 1), 0);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		print_message("%s\n", table[i].name);
		assert_int_equal(inside(0, NULL, table[i].act), 0);
		assert_int_equal(inside(VBLK_SANDBOX_KILL, NULL, table[i].act), 0);
	}
	close(disk_fd);
	close(listen_fd);
	close(pair[0]);
	close(pair[1]);
}

static void abort_still_ends_the_process(void **state)
{
	pid_t child;
	int status;

	(void)state;
	child = fork();
	if (child == 0)
		_exit(enter(0, NULL) ? ENTERED_NOT : use_abort());
	status = wait_for(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static int look_at_privileges(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1;
}

static void no_privileges_can_be_gained(void **state)
{
	(void)state;
	assert_int_equal(inside(VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK, NULL,
				look_at_privileges),
			 0);
}

static int look_at_user(void)
{
	uid_t uid[3];
	gid_t gid[3];

	if (getresuid(&uid[0], &uid[1], &uid[2]) || getresgid(&gid[0], &gid[1], &gid[2]))
		return 1;
	for (unsigned int i = 0; i < 3; i++)
		if (uid[i] != 65534 || gid[i] != 65534)
			return 2;
	if (getgroups(0, NULL) != 0)
		return 3;
	return setuid(0) == 0 || setgid(0) == 0 ? 4 : 0;
}

static void another_user_is_become_wholly(void **state)
{
	const uint32_t flags = VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK;

	(void)state;
	need_root();
	assert_int_equal(setgroups(1, &(gid_t){ 1 }), 0);
	assert_int_equal(inside(flags, NOBODY, look_at_user), 0);
	assert_int_equal(setgroups(0, NULL), 0);
	assert_int_equal(inside(flags, "nobody", look_at_user), 0);
	assert_int_equal(inside(flags, "nobody:nogroup", look_at_user), 0);
	/* And all of it together. */
	if (has_landlock()) {
		assert_int_not_equal(inside(0, NOBODY, try_open), 0);
		assert_int_not_equal(inside(0, NOBODY, try_open), ENTERED_NOT);
	}
}

static char warned[512];

/* 0: nothing is said of the folder; 1: it is, and files stay in it. */
static int find_warning(void)
{
	const bool told = strstr(warned, "it may not remove files from") && strstr(warned, folder);

	if (told != (unlinkat(AT_FDCWD, path, 0) < 0))
		return 2;
	return told;
}

static int become_nobody(void)
{
	static const char *folders[] = { folder };
	const struct vblk_sandbox_options options = {
		.flags = VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK,
		.user = NOBODY,
		.folders = folders,
		.folder_count = 1,
		.warn = report_missing,
		.context = warned,
	};

	return vblk_sandbox_enter(&options, message, sizeof(message)) ? ENTERED_NOT
								      : find_warning();
}

static void a_folder_that_keeps_its_files_is_told(void **state)
{
	static const struct {
		uid_t owner;
		mode_t mode;
		int told;
	} table[] = {
		{ 0, 0755, 1 },	    { 0, 01777, 1 }, { 0, 0700, 1 },
		{ 65534, 0500, 1 }, { 0, 0777, 0 },  { 65534, 0700, 0 },
	};

	(void)state;
	need_root();
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const pid_t child = fork();

		print_message("%o\n", table[i].mode);
		if (child == 0) {
			if (chown(folder, table[i].owner, table[i].owner) ||
			    chmod(folder, table[i].mode))
				_exit(100);
			_exit(become_nobody());
		}
		assert_int_equal(wait_for(child), table[i].told << 8);
		close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	}
}

static int find_message(const char *user, const char *expected)
{
	if (enter(0, user) != -EINVAL)
		return 1;
	return strcmp(message, expected) == 0 ? 0 : 2;
}

static void users_that_are_not_there_are_refused(void **state)
{
	static const struct {
		const char *user;
		const char *message;
	} table[] = {
		{ "vblk-nobody", "sandbox: user: there is no user 'vblk-nobody'" },
		{ "", "sandbox: user: there is no user ''" },
		{ "-1", "sandbox: user: there is no user '-1'" },
		{ "4294967295", "sandbox: user: there is no user '4294967295'" },
		{ "0:vblk-none", "sandbox: user: there is no group 'vblk-none'" },
		{ "0:", "sandbox: user: there is no group ''" },
		{ "4000000000",
		  "sandbox: user: user 4000000000 has no group of its own: say which, "
		  "as in 4000000000:GROUP" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const pid_t child = fork();

		if (child == 0)
			_exit(find_message(table[i].user, table[i].message));
		print_message("%s\n", table[i].user);
		assert_int_equal(wait_for(child), 0);
	}
}

/* Who is not root cannot become another, and does not go on as if. */
static int become_without_right(void)
{
	if (enter(0, "0:0") != -EPERM)
		return 1;
	if (strcmp(message, "sandbox: user: only root can become '0:0': start as root, or as that "
			    "user") != 0)
		return 2;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 3;
	return enter(VBLK_SANDBOX_NO_SECCOMP, NOBODY) == 0 ? 0 : 4;
}

static void only_root_becomes_another(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(inside(VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK, NOBODY,
				become_without_right),
			 0);
}

static void a_folder_that_is_missing_is_refused(void **state)
{
	static const char *folders[] = { "/vblk-no-such-folder" };
	const struct vblk_sandbox_options options = { .folders = folders, .folder_count = 1 };
	pid_t child;

	(void)state;
	need_landlock();
	child = fork();
	if (child == 0)
		_exit(vblk_sandbox_enter(&options, message, sizeof(message)) == -EINVAL &&
				      strcmp(message, "sandbox: files: folder "
						      "'/vblk-no-such-folder': No such file or "
						      "directory") == 0
			      ? 0
			      : 1);
	assert_int_equal(wait_for(child), 0);
}

/* One line for each step; a step that was left out is told as well. */
static int count_lines(void)
{
	int count = 0;

	for (const char *c = lines; *c; c++)
		count += *c == '\n';
	if (!strstr(lines, "user: not restricted: no other user was named") ||
	    !strstr(lines, "privileges: none can be gained\n"))
		return 100;
	return count;
}

static int look_for_left_out(void)
{
	return strstr(lines, "files: not restricted: as wanted\n") &&
			       strstr(lines, "calls: not restricted: as wanted\n")
		       ? 0
		       : 1;
}

static void each_step_is_told(void **state)
{
	(void)state;
	assert_int_equal(inside(0, NULL, count_lines), 4);
	assert_int_equal(
		inside(VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK, NULL, look_for_left_out),
		0);
}

/* From here on the kernel says that it has no such call. */
static bool take_call_away(unsigned int call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { VBLK_ARRAY_SIZE(code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int enter_old_kernel(bool with_missing)
{
	char missing[512] = "";
	struct vblk_sandbox_options options = { .flags = VBLK_SANDBOX_NO_SECCOMP,
						.report = report };

	if (with_missing) {
		options.warn = report_missing;
		options.context = missing;
	}
	if (!take_call_away(SYS_landlock_create_ruleset))
		return ENTERED_NOT;
	if (vblk_sandbox_enter(&options, message, sizeof(message)))
		return 1;
	return strcmp(strstr(with_missing ? missing : lines, "files: "),
		      with_missing ? "files: not restricted: this kernel has no Landlock (Function "
				     "not implemented)"
				   : "files: not restricted: this kernel has no Landlock (Function "
				     "not implemented)\ncalls: not restricted: as wanted\n") == 0
		       ? 0
		       : 2;
}

static void what_the_host_lacks_is_told_and_left_out(void **state)
{
	(void)state;
	need_filter();
	for (unsigned int i = 0; i < 2; i++) {
		const pid_t child = fork();

		if (child == 0)
			_exit(enter_old_kernel(i));
		assert_int_equal(wait_for(child), 0);
	}
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(forbidden_calls_fail),
		ONE(a_forbidden_call_can_end_the_process),
		ONE(io_uring_is_allowed_on_request),
		ONE(paths_are_closed_without_the_filter_too),
		ONE(files_are_removed_from_the_named_folder_only),
		ONE(needed_calls_work),
		ONE(abort_still_ends_the_process),
		ONE(no_privileges_can_be_gained),
		ONE(another_user_is_become_wholly),
		ONE(a_folder_that_keeps_its_files_is_told),
		ONE(users_that_are_not_there_are_refused),
		ONE(only_root_becomes_another),
		ONE(a_folder_that_is_missing_is_refused),
		ONE(each_step_is_told),
		ONE(what_the_host_lacks_is_told_and_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
