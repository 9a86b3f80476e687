/* SPDX-License-Identifier: MIT */
/*
 * The handler of SIGBUS, and its table.
 *
 * A handler may interrupt anything, so the table is static and every word of it is atomic. What
 * says where an entry's range is changes under a version that is odd meanwhile. The handler takes
 * no entry whose version is odd or has moved while it looked, and need not look again: a range is
 * watched before it is touched and forgotten when nobody touches it, so the entry that it is
 * searching for stands still. Without that, an entry that is used anew could lend the start of one
 * range to the end of another, and answer for what lies between.
 */
#include "base/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct entry {
	_Atomic uintptr_t start;
	_Atomic uintptr_t end; /* 0: nothing is watched here */
	atomic_uint version;   /* of what says where the range is: start, end, page_shift */
	atomic_int event_fd;
	atomic_uint telling; /* threads between a look at event_fd and the end of its use */
	_Atomic uint8_t page_shift;
	atomic_bool taken;
	atomic_bool failed;
};

/* An entry as the handler found it. */
struct found {
	struct entry *entry; /* NULL: the address is not watched */
	uintptr_t start;
	uintptr_t end;
	uintptr_t page; /* bytes */
};

atomic_uint vblk_sigbus_failure_count;

static struct entry table[VBLK_SIGBUS_RANGES];
static atomic_int used; /* entries from here on were never taken */
static struct sigaction before;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

/* Where a copy that fails goes on, while there is one. Only its own thread looks at it. */
static _Thread_local sigjmp_buf *volatile way_out;

static bool read_entry(struct entry *entry, struct found *found)
{
	unsigned version = atomic_load(&entry->version);

	if (version % 2 != 0)
		return false;
	found->entry = entry;
	found->start = atomic_load(&entry->start);
	found->end = atomic_load(&entry->end);
	found->page = (uintptr_t)1 << atomic_load(&entry->page_shift);
	return atomic_load(&entry->version) == version;
}

static struct found find(uintptr_t address)
{
	int count = atomic_load(&used);
	struct found found;

	for (int i = 0; i < count; i++) {
		if (read_entry(&table[i], &found) && address >= found.start && address < found.end)
			return found;
	}
	return (struct found){ .entry = NULL };
}

/*
 * The flag comes before the count, so that who sees the count move finds the flag set; and both
 * before anything that the failure changes. The count moves with every failure: the thread that set
 * the flag may not have come further yet.
 */
static void put_on_record(struct entry *entry)
{
	atomic_store(&entry->failed, true);
	atomic_fetch_add(&vblk_sigbus_failure_count, 1);
}

static void tell(struct entry *entry)
{
	const uint64_t one = 1;
	ssize_t ignored;
	int fd;

	atomic_fetch_add(&entry->telling, 1);
	fd = atomic_load(&entry->event_fd);
	if (fd >= 0) {
		ignored = write(fd, &one, sizeof(one));
		(void)ignored;
	}
	atomic_fetch_sub(&entry->telling, 1);
}

static bool map_zeros(uintptr_t start, uintptr_t length)
{
	return mmap((void *)start, length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* Returns false if not even the whole range could be replaced. */
static bool replace(const struct found *found, uintptr_t address)
{
	uintptr_t offset = (address - found->start) & ~(found->page - 1);

	return map_zeros(found->start + offset, found->page) ||
	       map_zeros(found->start, found->end - found->start);
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
	bool is_access = info->si_code > 0; /* by the kernel: it has an address */
	uintptr_t address = (uintptr_t)info->si_addr;
	struct found found = { .entry = NULL };
	int saved = errno;

	if (is_access)
		found = find(address);
	if (found.entry)
		put_on_record(found.entry);
	if (is_access && way_out) {
		if (found.entry)
			tell(found.entry);
		errno = saved;
		siglongjmp(*way_out, 1);
	}
	if (found.entry && replace(&found, address))
		tell(found.entry);
	else
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

/* Takes an entry that is free. Returns its number, or -ENOSPC. */
static int take(void)
{
	for (int i = 0; i < VBLK_SIGBUS_RANGES; i++) {
		if (!atomic_load_explicit(&table[i].taken, memory_order_relaxed) &&
		    !atomic_exchange(&table[i].taken, true))
			return i;
	}
	return -ENOSPC;
}

int vblk_sigbus_watch(void *start, size_t length, size_t page, int event_fd)
{
	struct entry *entry;
	int range;

	if (page == 0 || (page & (page - 1)) != 0)
		return -EINVAL;
	range = take();
	if (range < 0)
		return range;
	entry = &table[range];
	atomic_store(&entry->failed, false);
	atomic_store(&entry->event_fd, event_fd);
	atomic_fetch_add(&entry->version, 1);
	atomic_store(&entry->start, (uintptr_t)start);
	atomic_store(&entry->end, (uintptr_t)start + length);
	atomic_store(&entry->page_shift, (uint8_t)__builtin_ctzll(page));
	atomic_fetch_add(&entry->version, 1);
	raise_used(range + 1);
	return range;
}

bool vblk_sigbus_has_failed(int range)
{
	return atomic_load(&table[range].failed);
}

void vblk_sigbus_mute(int range)
{
	struct entry *entry = &table[range];

	atomic_store(&entry->event_fd, -1);
	/* A handler that has seen the descriptor is a write to an eventfd away from its end. */
	while (atomic_load(&entry->telling) > 0)
		sched_yield();
}

void vblk_sigbus_forget(int range)
{
	struct entry *entry = &table[range];

	atomic_fetch_add(&entry->version, 1);
	atomic_store(&entry->start, 0);
	atomic_store(&entry->end, 0);
	atomic_fetch_add(&entry->version, 1);
	atomic_store(&entry->taken, false);
}
