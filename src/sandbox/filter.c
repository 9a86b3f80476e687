/* SPDX-License-Identifier: MIT */
/*
 * The list of system calls. Everything that is not in the table fails with EPERM, or ends the
 * process. Names that the processor does not have are passed over by the library.
 *
 * Not there on purpose: open and its relatives, execve, socket, connect, bind, ptrace, mount, any
 * change of identity, and memory that can be executed. Where a call does many things, only those
 * that are used are there.
 */
#include "sandbox/steps.h"

#ifdef VBLK_HAVE_SECCOMP

#include "base/checked.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

/*
 * A call, under one condition on one argument: (argument & mask) == value. No mask: always. A call
 * with several rows is allowed if one of them fits. Arguments of 32 bits are compared as such: the
 * kernel does not look at the other half either.
 */
struct allowed {
	int call;
	unsigned int argument;
	uint64_t mask;
	uint64_t value;
	const char *reason;
};

#ifdef __s390x__
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif

#define UNREGISTER_FILES 3 /* IORING_UNREGISTER_FILES; older headers have no io_uring */

#define WHOLE	      UINT64_MAX
#define WORD	      ((uint64_t)UINT32_MAX)
#define ALL_BUT(bits) (WORD & ~(uint64_t)(bits))

/* What the C library wants of a thread; it may leave out or add the second ones. */
#define THREAD (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)
#define THREAD_MAY                                                                     \
	(CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | \
	 CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_DETACHED)
#define CALL(name, reason)                      \
	{                                       \
		SCMP_SYS(name), 0, 0, 0, reason \
	}
#define CALL_IF(name, argument, mask, value, reason)          \
	{                                                     \
		SCMP_SYS(name), argument, mask, value, reason \
	}

static const struct allowed allowed[] = {
	CALL(preadv, "a disk's reads"),
	CALL(preadv2, "the same, with flags"),
	CALL(pread64, "reads of one piece"),
	CALL(pwritev, "a disk's writes"),
	CALL(pwritev2, "the same, with flags"),
	CALL(pwrite64, "writes of one piece"),
	CALL(fdatasync, "a disk's flushes"),
	CALL_IF(fallocate, 1,
		ALL_BUT(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE), 0,
		"discard, write zeroes; no bytes move to another place"),
	CALL(ftruncate, "a disk that grows; the record of requests in flight"),
	CALL(lseek, "stdio at the end"),
	CALL(fstat, "the size of a disk or of memory"),
	CALL(newfstatat, "fstat in newer C libraries; is the socket still ours"),
	CALL(statx, "what a front end sent; fstat where there is no other"),
	CALL(fstatfs, "the page size of memory that a front end sends"),
	CALL_IF(ioctl, 1, WORD, BLKGETSIZE64, "the size of a block device that was resized"),
	CALL_IF(ioctl, 1, WORD, TCGETS, "stdio asks if it writes to a terminal"),

	CALL(read, "eventfds, timers, signals"),
	CALL(write, "eventfds, log lines"),
	CALL(writev, "the C library's last words"),
	CALL(close, "descriptors that a front end sent"),
	CALL(dup3, "a call descriptor takes the place of the former one"),
	CALL_IF(fcntl, 1, WORD, F_DUPFD_CLOEXEC, "a worker's own descriptors"),
	CALL_IF(fcntl, 1, WORD, F_GETFL, "O_NONBLOCK for a descriptor that a front end sent"),
	CALL_IF(fcntl, 1, WORD, F_SETFL, "the same"),
	CALL_IF(fcntl, 1, WORD, F_GET_SEALS, "is what a front end sent in memory"),
	CALL_IF(fcntl, 1, WORD, F_ADD_SEALS, "the record of requests in flight keeps its size"),
	CALL(eventfd2, "a new device's notifications"),
	CALL(timerfd_create, "a worker's timer"),
	CALL(timerfd_settime, "waiting for tokens"),
	CALL(epoll_create1, "a worker's wait"),
	CALL(epoll_ctl, "what it waits for"),
	CALL(epoll_wait, "waiting"),
	CALL(epoll_pwait, "the same, where there is no other"),
	CALL(poll, "waiting for one descriptor"),
	CALL(ppoll, "the same, where there is no other"),

	CALL(accept4, "front ends and control clients"),
	CALL(recvmsg, "messages with descriptors"),
	CALL(sendmsg, "the same"),
	CALL(recvfrom, "control requests"),
	CALL_IF(getsockopt, 2, WORD, SO_DOMAIN, "is what a front end sent a Unix socket"),
	CALL_IF(sendto, 4, WHOLE, 0,
		"their replies; to whom the socket is connected, and no other"),
	CALL_IF(unlinkat, 2, WORD, 0, "removing a socket; where from, Landlock says"),

	CALL_IF(mmap, 2, PROT_EXEC, 0, "memory tables, stacks, the heap"),
	CALL_IF(mprotect, 2, PROT_EXEC, 0, "guard pages of stacks, the heap"),
	CALL(munmap, "memory tables, stacks"),
	CALL(mremap, "realloc"),
	CALL(madvise, "stacks of threads that ended, the heap"),
	CALL(msync, "the flush of a disk that is mapped"),
	CALL(brk, "the heap"),
	CALL(memfd_create, "the record of requests in flight"),

	CALL_IF(clone, CLONE_FLAGS, ALL_BUT(THREAD_MAY), THREAD,
		"worker threads; no processes, no namespaces"),
	CALL(set_robust_list, "the start of a thread"),
	CALL(rseq, "the start of a thread"),
	CALL(set_tid_address, "the start of a thread"),
	CALL(gettid, "the start of a thread"),
	CALL(futex, "locks"),
	CALL(membarrier, "fences of the C library"),
	CALL_IF(prctl, 0, WORD, PR_SET_NAME, "a thread's name"),
	CALL(sched_setaffinity, "a disk's processors"),
	CALL_IF(sched_setscheduler, 1, WORD, SCHED_OTHER, "a worker's policy is the usual one"),
	CALL(sched_get_priority_min, "the same"),
	CALL(sched_get_priority_max, "the same"),
	CALL(sched_getaffinity, "how many arenas the heap has"),
	CALL(sched_yield, "locks"),
	CALL(getpid, "raise, abort"),
	CALL(exit, "the end of a thread"),
	CALL(exit_group, "the end"),

	CALL(rt_sigaction, "guards against files that were cut short; abort"),
	CALL(rt_sigprocmask, "workers have all signals blocked"),
	CALL(rt_sigreturn, "the end of a handler"),
	CALL(sigaltstack, "handlers of a thread"),
	CALL(restart_syscall, "a wait that a signal interrupted"),

	CALL(clock_gettime, "time, where it is not read in user mode"),
	CALL(clock_getres, "the same"),
	CALL(gettimeofday, "the same"),
	CALL(clock_nanosleep, "a delay that a fault rule wants"),
	CALL(nanosleep, "the same"),
	CALL(getrandom, "seeds of hash tables and of the heap"),
};

/*
 * Of io_uring only what a ring is used by. Rings were made before, and restricted to what disks
 * need (backing/ring.h): one that could be made now would do what this filter forbids.
 */
static const struct allowed allowed_io_uring[] = {
	CALL(io_uring_enter, "requests to rings that are there"),
	CALL_IF(io_uring_register, 1, WORD, UNREGISTER_FILES, "the end of such a ring"),
};

static int add(scmp_filter_ctx filter, const struct allowed *entry)
{
	const struct scmp_arg_cmp condition = {
		.arg = entry->argument,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = entry->mask,
		.datum_b = entry->value,
	};

	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, entry->call, entry->mask ? 1 : 0,
				      &condition);
}

static int add_all(scmp_filter_ctx filter, bool io_uring)
{
	/* Only ourselves: a signal to another process could end it. */
	const struct allowed own_signal = CALL_IF(tgkill, 0, WORD, (uint64_t)getpid(), "raise");
	int ret = add(filter, &own_signal);

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(allowed) && !ret; i++)
		ret = add(filter, &allowed[i]);
	for (size_t i = 0; io_uring && i < VBLK_ARRAY_SIZE(allowed_io_uring) && !ret; i++)
		ret = add(filter, &allowed_io_uring[i]);
	/* Its flags are in memory, where no filter can look: the C library then takes clone. */
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return ret;
}

int vblk_sandbox_filter(const struct vblk_sandbox_options *options,
			const struct vblk_sandbox_text *text)
{
	const bool kill = options->flags & VBLK_SANDBOX_KILL;
	scmp_filter_ctx filter;
	int ret;

	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL)
		return vblk_sandbox_say(text, VBLK_SANDBOX_NOT_HERE, "this kernel has no seccomp");
	filter = seccomp_init(kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return vblk_sandbox_say(text, -ENOMEM, "seccomp: %s", strerror(ENOMEM));
	ret = add_all(filter, options->flags & VBLK_SANDBOX_IO_URING);
	/* Threads that a library may have started are to be in it too. */
	if (!ret)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	if (ret)
		return vblk_sandbox_say(text, ret, "seccomp: %s", strerror(-ret));
	return vblk_sandbox_say(text, 0, "%zu are allowed%s, others %s (seccomp)",
				VBLK_ARRAY_SIZE(allowed),
				options->flags & VBLK_SANDBOX_IO_URING ? " and io_uring" : "",
				kill ? "end the process" : "fail");
}

#else

int vblk_sandbox_filter(const struct vblk_sandbox_options *options,
			const struct vblk_sandbox_text *text)
{
	(void)options;
	return vblk_sandbox_say(text, VBLK_SANDBOX_NOT_HERE,
				"this vblk was built without libseccomp");
}

#endif
