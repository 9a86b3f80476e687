/* SPDX-License-Identifier: MIT */
/* The system calls that the sandbox forbids, and those that it must not. */
#include "sandbox_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "mock_guest.h"

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

static int try_io_uring_register(void)
{
	return error_of(syscall(SYS_io_uring_register, -1, 0, NULL, 0));
}

static int try_io_uring_unregister_files(void)
{
	return error_of(syscall(SYS_io_uring_register, -1, 3, NULL, 0));
}

static int try_io_uring_enter(void)
{
	return error_of(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
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
		{ "io_uring_setup", try_io_uring, EPERM },
		{ "io_uring_enter", try_io_uring_enter, EPERM },
		{ "io_uring_register", try_io_uring_register, EPERM },
		{ "io_uring_register: its end", try_io_uring_unregister_files, EPERM },
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

/* A ring that is made inside could do what the filter forbids. */
static void rings_are_used_on_request_and_never_made(void **state)
{
	const unsigned flags = VBLK_SANDBOX_IO_URING | VBLK_SANDBOX_NO_LANDLOCK;

	(void)state;
	need_filter();
	assert_int_not_equal(inside(flags, NULL, try_io_uring_enter), EPERM);
	assert_int_equal(inside(flags, NULL, try_io_uring), EPERM);
	assert_int_equal(inside(flags, NULL, try_io_uring_register), EPERM);
	assert_int_not_equal(inside(flags, NULL, try_io_uring_unregister_files), EPERM);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(forbidden_calls_fail),
		ONE(a_forbidden_call_can_end_the_process),
		ONE(rings_are_used_on_request_and_never_made),
		ONE(needed_calls_work),
		ONE(abort_still_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
