/* SPDX-License-Identifier: MIT */
/*
 * The handler of SIGBUS, and its table.
 *
 * A handler may interrupt anything, so the table is static and every word of it is atomic. An entry
 * is written between two states that the handler skips; `end` is set last and cleared first, and a
 * range is only forgotten when nobody touches it, so that no handler is concerned with an entry
 * that goes.
 */
#include "base/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct entry {
	atomic_bool taken;
	atomic_bool failed;
	_Atomic uintptr_t start;
	_Atomic uintptr_t end; /* 0: nothing is watched here */
	atomic_int event_fd;
};

static struct entry table[VBLK_SIGBUS_RANGES];
static atomic_int used; /* entries from here on were never taken */
static struct sigaction before;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

/* Where a copy that fails goes on, while there is one. Only its own thread looks at it. */
static _Thread_local sigjmp_buf *volatile way_out;

static struct entry *find(uintptr_t address)
{
	int count = atomic_load(&used);

	for (int i = 0; i < count; i++) {
		if (address < atomic_load(&table[i].end) && address >= atomic_load(&table[i].start))
			return &table[i];
	}
	return NULL;
}

/* Returns false if the page could not be replaced. Called in the handler. */
static bool replace(struct entry *entry)
{
	const uint64_t one = 1;
	uintptr_t start = atomic_load(&entry->start);
	size_t length = atomic_load(&entry->end) - start;
	int fd = atomic_load(&entry->event_fd);
	ssize_t ignored;

	if (mmap((void *)start, length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return false;
	if (!atomic_exchange(&entry->failed, true) && fd >= 0) {
		ignored = write(fd, &one, sizeof(one));
		(void)ignored;
	}
	return true;
}

/* Not ours: what would have happened without us. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	if ((before.sa_flags & SA_SIGINFO) && before.sa_sigaction) {
		before.sa_sigaction(number, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
	} else {
		signal(number, SIG_DFL);
		raise(number); /* delivered when the handler returns */
	}
}

static void handle(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	struct entry *entry = NULL;

	if (info->si_code > 0) /* by the kernel, for an access: it has an address */
		entry = find((uintptr_t)info->si_addr);
	if (entry && replace(entry)) {
		errno = saved;
		return;
	}
	if (info->si_code > 0 && way_out)
		siglongjmp(*way_out, 1);
	pass_on(number, info, context);
	errno = saved;
}

/*
 * A sanitizer has functions of its own in the place of memcpy, and they cannot be left by a jump.
 * Then bytes are copied where it does not look.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define UNWATCHED_COPY
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define UNWATCHED_COPY
#endif
#endif

#ifdef UNWATCHED_COPY
__attribute__((no_sanitize("thread", "address", "undefined"), noinline)) static void copy(
	void *to, const void *from, size_t length)
{
	const volatile uint8_t *in = from;
	volatile uint8_t *out = to;

	for (size_t i = 0; i < length; i++)
		out[i] = in[i];
}
#else
static void copy(void *to, const void *from, size_t length)
{
	memcpy(to, from, length);
}
#endif

/* The mask of signals is not saved: the handler runs with that of the thread (SA_NODEFER). */
int vblk_sigbus_copy(void *to, const void *from, size_t length)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 0) != 0) {
		way_out = NULL;
		return -EIO;
	}
	way_out = &here;
	copy(to, from, length);
	/* The copy is over before there is no way out any more, whatever the compiler thinks. */
	atomic_signal_fence(memory_order_seq_cst);
	way_out = NULL;
	return 0;
}

int vblk_sigbus_install(void)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction current;
	int ret = 0;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&install_lock);
	if (sigaction(SIGBUS, NULL, &current) < 0) {
		ret = -errno;
	} else if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != handle) {
		before = current;
		if (sigaction(SIGBUS, &action, NULL) < 0)
			ret = -errno;
	}
	pthread_mutex_unlock(&install_lock);
	return ret;
}

static void raise_used(int count)
{
	int now = atomic_load(&used);

	while (now < count && !atomic_compare_exchange_weak(&used, &now, count))
		;
}

int vblk_sigbus_watch(void *start, size_t length, int event_fd)
{
	for (int i = 0; i < VBLK_SIGBUS_RANGES; i++) {
		struct entry *entry = &table[i];
		bool taken = false;

		if (!atomic_compare_exchange_strong(&entry->taken, &taken, true))
			continue;
		atomic_store(&entry->failed, false);
		atomic_store(&entry->event_fd, event_fd);
		atomic_store(&entry->start, (uintptr_t)start);
		raise_used(i + 1);
		atomic_store(&entry->end, (uintptr_t)start + length);
		return i;
	}
	return -ENOSPC;
}

bool vblk_sigbus_has_failed(int range)
{
	return atomic_load(&table[range].failed);
}

void vblk_sigbus_mute(int range)
{
	atomic_store(&table[range].event_fd, -1);
}

void vblk_sigbus_forget(int range)
{
	atomic_store(&table[range].end, 0);
	atomic_store(&table[range].taken, false);
}
