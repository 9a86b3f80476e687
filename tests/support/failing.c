/* SPDX-License-Identifier: MIT */
/*
 * The linker's --wrap turns a call of `name` into one of __wrap_name, and __real_name is what it
 * was before. Calls with a file offset go by the names that they have where it has 64 bits, which
 * is what all is compiled for.
 */
#include "failing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

static atomic_uint left;	   /* calls until one fails; 0: none will */
static const char *_Atomic wanted; /* NULL: any */
static const char *_Atomic failed;
static atomic_size_t blocks;

void failing_arm(const char *name, unsigned k)
{
	atomic_store(&failed, NULL);
	atomic_store(&wanted, name);
	atomic_store(&left, k);
}

const char *failing_disarm(void)
{
	atomic_store(&left, 0);
	return atomic_load(&failed);
}

size_t failing_blocks(void)
{
	return atomic_load(&blocks);
}

/* Whether this call is the one. */
static bool is_hit(const char *name)
{
	unsigned now = atomic_load(&left);
	const char *only = atomic_load(&wanted);

	if (now == 0 || (only && strcmp(only, name) != 0))
		return false;
	while (now > 0 && !atomic_compare_exchange_weak(&left, &now, now - 1))
		;
	if (now != 1)
		return false;
	atomic_store(&failed, name);
	return true;
}

#define WRAP(type, name, error, parameters, arguments) \
	type __real_##name parameters;                 \
	type __wrap_##name parameters;                 \
	type __wrap_##name parameters                  \
	{                                              \
		if (is_hit(#name)) {                   \
			errno = (error);               \
			return (type)-1;               \
		}                                      \
		return __real_##name arguments;        \
	}

WRAP(int, eventfd, EMFILE, (unsigned count, int flags), (count, flags))
WRAP(int, accept4, EMFILE, (int fd, struct sockaddr *address, socklen_t *length, int flags),
     (fd, address, length, flags))
WRAP(int, dup3, EMFILE, (int fd, int place, int flags), (fd, place, flags))
WRAP(int, epoll_create1, EMFILE, (int flags), (flags))
WRAP(int, epoll_ctl, ENOMEM, (int fd, int op, int other, struct epoll_event *event),
     (fd, op, other, event))
WRAP(int, epoll_wait, EBADF, (int fd, struct epoll_event *events, int count, int timeout),
     (fd, events, count, timeout))
WRAP(int, timerfd_create, EMFILE, (int clock, int flags), (clock, flags))
WRAP(int, timerfd_settime, ENOMEM,
     (int fd, int flags, const struct itimerspec *when, struct itimerspec *before),
     (fd, flags, when, before))
WRAP(int, memfd_create, EMFILE, (const char *name, unsigned flags), (name, flags))
WRAP(int, sched_getaffinity, EINVAL, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))
WRAP(int, sched_setaffinity, EINVAL, (pid_t pid, size_t size, const cpu_set_t *set),
     (pid, size, set))
WRAP(int, fstat64, EIO, (int fd, struct stat *about), (fd, about))
WRAP(int, fstatfs64, EIO, (int fd, struct statfs *about), (fd, about))
WRAP(int, ftruncate64, ENOSPC, (int fd, off_t size), (fd, size))
WRAP(int, fdatasync, EIO, (int fd), (fd))
WRAP(int, fallocate64, ENOSPC, (int fd, int mode, off_t offset, off_t length),
     (fd, mode, offset, length))
WRAP(ssize_t, read, EINTR, (int fd, void *data, size_t size), (fd, data, size))
WRAP(ssize_t, write, EINTR, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(ssize_t, recvmsg, ENOMEM, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, sendmsg, ENOBUFS, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags))
WRAP(ssize_t, pread64, EIO, (int fd, void *data, size_t size, off_t offset),
     (fd, data, size, offset))
WRAP(ssize_t, pwrite64, ENOSPC, (int fd, const void *data, size_t size, off_t offset),
     (fd, data, size, offset))
WRAP(void *, mmap64, ENOMEM,
     (void *address, size_t length, int protection, int flags, int fd, off_t offset),
     (address, length, protection, flags, fd, offset))

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);

/* Whatever the third argument is, if there is one, it fits a pointer. */
int __wrap_fcntl64(int fd, int command, ...)
{
	va_list list;
	void *argument;

	if (is_hit("fcntl64")) {
		errno = EMFILE;
		return -1;
	}
	va_start(list, command);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is right above */
	argument = va_arg(list, void *);
	va_end(list);
	return __real_fcntl64(fd, command, argument);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	va_list list;
	int mode = 0;

	if (is_hit("open64")) {
		errno = EMFILE;
		return -1;
	}
	va_start(list, flags);
	if (flags & O_CREAT) {
		/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): as above */
		mode = va_arg(list, int);
	}
	va_end(list);
	return __real_open64(path, flags, mode);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
			  void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
			  void *argument);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
			  void *argument)
{
	if (is_hit("pthread_create"))
		return EAGAIN;
	return __real_pthread_create(thread, attr, main, argument);
}

static void *count_block(void *block)
{
	if (block)
		atomic_fetch_add(&blocks, 1);
	return block;
}

#define WRAP_ALLOCATION(name, parameters, arguments)         \
	void *__real_##name parameters;                      \
	void *__wrap_##name parameters;                      \
	void *__wrap_##name parameters                       \
	{                                                    \
		if (is_hit(#name)) {                         \
			errno = ENOMEM;                      \
			return NULL;                         \
		}                                            \
		return count_block(__real_##name arguments); \
	}

WRAP_ALLOCATION(malloc, (size_t size), (size))
WRAP_ALLOCATION(calloc, (size_t count, size_t size), (count, size))
WRAP_ALLOCATION(aligned_alloc, (size_t alignment, size_t size), (alignment, size))

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);

void *__wrap_realloc(void *block, size_t size)
{
	if (is_hit("realloc")) {
		errno = ENOMEM;
		return NULL;
	}
	return block ? __real_realloc(block, size) : count_block(__real_realloc(NULL, size));
}

void __real_free(void *block);
void __wrap_free(void *block);

void __wrap_free(void *block)
{
	if (block)
		atomic_fetch_sub(&blocks, 1);
	__real_free(block);
}
