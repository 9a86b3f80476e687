/* SPDX-License-Identifier: MIT */
/*
 * What ThreadSanitizer has to be told of rings of io_uring.
 *
 * liburing makes and ends its rings by system calls of its own, of which the sanitizer does not
 * hear. To it a ring at an address where another one was is the same memory, touched by two threads
 * that know nothing of each other, and so is a descriptor with a ring's number. The kernel does
 * order them: one ends before the other begins. The linker puts these functions around liburing's,
 * and they say so.
 */
#include <liburing.h>
#include <stdatomic.h>

/* NOLINTBEGIN(cert-dcl51-cpp,bugprone-reserved-identifier): the names are the linker's. */
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
void __real_io_uring_queue_exit(struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring);

/* The sanitizer's own: a descriptor is about to be closed by a system call. */
extern void __sanitizer_syscall_pre_impl_close(long fd) __attribute__((weak));

static atomic_uint unmapped;

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	int ret = __real_io_uring_queue_init(entries, ring, flags);

	(void)atomic_load_explicit(&unmapped, memory_order_acquire);
	return ret;
}

void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	(void)atomic_fetch_add_explicit(&unmapped, 1, memory_order_acq_rel);
	if (__sanitizer_syscall_pre_impl_close)
		__sanitizer_syscall_pre_impl_close(ring->ring_fd);
	__real_io_uring_queue_exit(ring);
}
/* NOLINTEND(cert-dcl51-cpp,bugprone-reserved-identifier) */
