/* SPDX-License-Identifier: MIT */
/*
 * The fault injector.
 *
 * Each call is counted and matched against the rules under the lock. That gives a plan: how long
 * to sleep, whether to hang, what to return. The plan is a copy and is carried out without the
 * lock, so that a slow or hanging call holds up no other, and the rules may change meanwhile.
 *
 * A call that hangs remembers how many releases there have been and waits for one more. So a
 * release frees exactly the calls that hang at that moment, however late they wake.
 */
#include "backing/faulty.h"

#include "backing/call.h"
#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ERRNO 4095

struct faulty {
	struct vblk_backing *base;
	struct vblk_faulty_sleep sleep;

	/* Without the lock: a disk that has no rules costs next to nothing. */
	atomic_bool has_rules;
	_Atomic uint64_t calls[VBLK_FAULTY_OPS];

	pthread_mutex_t lock;	/* guards all below */
	pthread_cond_t changed; /* `hanging` or `releases` did */
	struct vblk_faulty_rule *rules;
	size_t rule_count;
	uint64_t releases;
	unsigned int hanging;
};

/* What to do with one call. */
struct plan {
	uint64_t delay_ns;
	bool hang;
	bool pass; /* no rule decides the result */
	enum vblk_faulty_action action;
	uint64_t value;
};

static bool rule_is_valid(const struct vblk_faulty_rule *rule)
{
	if ((unsigned int)rule->op >= VBLK_FAULTY_OPS)
		return false;
	switch (rule->action) {
	case VBLK_FAULTY_ERROR:
		return rule->value >= 1 && rule->value <= MAX_ERRNO;
	case VBLK_FAULTY_SHORT:
		return rule->op == VBLK_FAULTY_PREADV || rule->op == VBLK_FAULTY_PWRITEV;
	case VBLK_FAULTY_EXCESS:
		return rule->value >= 1 && rule->value <= INT32_MAX;
	case VBLK_FAULTY_ZERO:
	case VBLK_FAULTY_DELAY:
	case VBLK_FAULTY_HANG:
		return true;
	}
	return false;
}

static bool rule_matches(const struct vblk_faulty_rule *rule, enum vblk_faulty_op op, uint64_t call)
{
	uint64_t first = rule->first ? rule->first : 1;
	uint64_t every = rule->every ? rule->every : 1;

	if (rule->op != op || call < first || (call - first) % every != 0)
		return false;
	return rule->count == 0 || (call - first) / every < rule->count;
}

static struct plan plan_call(const struct vblk_faulty_rule *rules, size_t count,
			     enum vblk_faulty_op op, uint64_t call)
{
	struct plan plan = { .pass = true };

	for (size_t i = 0; i < count; i++) {
		if (!rule_matches(&rules[i], op, call))
			continue;
		if (rules[i].action == VBLK_FAULTY_DELAY) {
			if (__builtin_add_overflow(plan.delay_ns, rules[i].value, &plan.delay_ns))
				plan.delay_ns = UINT64_MAX;
		} else if (rules[i].action == VBLK_FAULTY_HANG) {
			plan.hang = true;
		} else if (plan.pass) {
			plan.pass = false;
			plan.action = rules[i].action;
			plan.value = rules[i].value;
		}
	}
	return plan;
}

static void hang(struct faulty *faulty)
{
	uint64_t seen;

	pthread_mutex_lock(&faulty->lock);
	seen = faulty->releases;
	faulty->hanging++;
	pthread_cond_broadcast(&faulty->changed);
	while (faulty->releases == seen)
		pthread_cond_wait(&faulty->changed, &faulty->lock);
	pthread_mutex_unlock(&faulty->lock);
}

/* Counts a call, makes it wait as the rules say, and returns what else to do. */
static struct plan begin_call(struct faulty *faulty, enum vblk_faulty_op op)
{
	struct plan plan = { .pass = true };

	if (!atomic_load(&faulty->has_rules)) {
		atomic_fetch_add(&faulty->calls[op], 1);
		return plan;
	}
	pthread_mutex_lock(&faulty->lock);
	plan = plan_call(faulty->rules, faulty->rule_count, op,
			 atomic_fetch_add(&faulty->calls[op], 1) + 1);
	pthread_mutex_unlock(&faulty->lock);

	if (plan.delay_ns > 0)
		faulty->sleep.fn(faulty->sleep.context, plan.delay_ns);
	if (plan.hang)
		hang(faulty);
	return plan;
}

typedef ssize_t (*transfer_fn)(struct vblk_backing *backing, const struct iovec *iov, int count,
			       uint64_t offset);

static ssize_t read_base(struct vblk_backing *backing, const struct iovec *iov, int count,
			 uint64_t offset)
{
	return vblk_backing_preadv(backing, iov, count, offset);
}

static ssize_t write_base(struct vblk_backing *backing, const struct iovec *iov, int count,
			  uint64_t offset)
{
	return vblk_backing_pwritev(backing, iov, count, offset);
}

static uint64_t total_length(const struct iovec *iov, int count)
{
	uint64_t total = 0;

	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	return total;
}

/* Passes on the first `most` bytes, still as one call. */
static ssize_t transfer_short(struct faulty *faulty, transfer_fn transfer, const struct iovec *iov,
			      int count, uint64_t offset, uint64_t most)
{
	struct iovec *cut;
	int used = 0;
	ssize_t n;

	if (most == 0)
		return 0;
	if (total_length(iov, count) <= most)
		return transfer(faulty->base, iov, count, offset);

	cut = malloc((size_t)count * sizeof(*cut));
	if (!cut)
		return -ENOMEM;
	while (most > 0) {
		cut[used] = iov[used];
		if (cut[used].iov_len > most)
			cut[used].iov_len = most;
		most -= cut[used].iov_len;
		used++;
	}
	n = transfer(faulty->base, cut, used, offset);
	free(cut);
	return n;
}

static ssize_t faulty_transfer(struct faulty *faulty, enum vblk_faulty_op op, transfer_fn transfer,
			       const struct iovec *iov, int count, uint64_t offset)
{
	struct plan plan = begin_call(faulty, op);
	ssize_t n;

	if (!plan.pass && plan.action == VBLK_FAULTY_ERROR)
		return -(ssize_t)plan.value;
	if (!plan.pass && plan.action == VBLK_FAULTY_ZERO)
		return 0;
	if (!plan.pass && plan.action == VBLK_FAULTY_SHORT)
		return transfer_short(faulty, transfer, iov, count, offset, plan.value);

	n = transfer(faulty->base, iov, count, offset);
	if (!plan.pass && plan.action == VBLK_FAULTY_EXCESS && n >= 0)
		return (ssize_t)(total_length(iov, count) + plan.value);
	return n;
}

static ssize_t faulty_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	return faulty_transfer(context, VBLK_FAULTY_PREADV, read_base, iov, count, offset);
}

static ssize_t faulty_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	return faulty_transfer(context, VBLK_FAULTY_PWRITEV, write_base, iov, count, offset);
}

/* Whether a rule decides the result of a call that transfers nothing. */
static bool is_decided(const struct plan *plan, int *result)
{
	if (plan->pass || plan->action == VBLK_FAULTY_EXCESS)
		return false;
	*result = plan->action == VBLK_FAULTY_ERROR ? -(int)plan->value : 0;
	return true;
}

static int exceed(const struct plan *plan, int result)
{
	return !plan->pass && result == 0 ? (int)plan->value : result;
}

static int faulty_sync(void *context)
{
	struct faulty *faulty = context;
	struct plan plan = begin_call(faulty, VBLK_FAULTY_SYNC);
	int result;

	if (is_decided(&plan, &result))
		return result;
	return exceed(&plan, vblk_backing_sync(faulty->base));
}

static int faulty_discard(void *context, uint64_t offset, uint64_t bytes)
{
	struct faulty *faulty = context;
	struct plan plan = begin_call(faulty, VBLK_FAULTY_DISCARD);
	int result;

	if (is_decided(&plan, &result))
		return result;
	return exceed(&plan, vblk_backing_discard(faulty->base, offset, bytes));
}

static int faulty_write_zeroes(void *context, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	struct faulty *faulty = context;
	struct plan plan = begin_call(faulty, VBLK_FAULTY_WRITE_ZEROES);
	int result;

	if (is_decided(&plan, &result))
		return result;
	return exceed(&plan, vblk_backing_write_zeroes(faulty->base, offset, bytes, flags));
}

static int faulty_grow(void *context, uint64_t bytes)
{
	struct faulty *faulty = context;

	return vblk_backing_grow(faulty->base, bytes);
}

static void faulty_close(void *context)
{
	struct faulty *faulty = context;

	vblk_backing_unref(faulty->base);
	pthread_cond_destroy(&faulty->changed);
	pthread_mutex_destroy(&faulty->lock);
	free(faulty->rules);
	free(faulty);
}

/* Whether a rule has something to say of this call; it is counted if none has. */
static bool is_concerned(struct faulty *faulty, enum vblk_faulty_op op)
{
	bool concerned = false;
	uint64_t number;

	if (!atomic_load(&faulty->has_rules)) {
		atomic_fetch_add(&faulty->calls[op], 1);
		return false;
	}
	pthread_mutex_lock(&faulty->lock);
	number = atomic_load(&faulty->calls[op]) + 1;
	for (size_t i = 0; i < faulty->rule_count && !concerned; i++)
		concerned = rule_matches(&faulty->rules[i], op, number);
	if (!concerned)
		atomic_fetch_add(&faulty->calls[op], 1);
	pthread_mutex_unlock(&faulty->lock);
	return concerned;
}

/*
 * A call that a rule is for is made here, by its operation; others are none of our business, also
 * if they come back as not made: the base makes them then.
 */
static int faulty_async_fd(void *context, const struct vblk_call *call)
{
	static const enum vblk_faulty_op ops[] = {
		[VBLK_CALL_PREADV] = VBLK_FAULTY_PREADV,
		[VBLK_CALL_PWRITEV] = VBLK_FAULTY_PWRITEV,
		[VBLK_CALL_SYNC] = VBLK_FAULTY_SYNC,
		[VBLK_CALL_DISCARD] = VBLK_FAULTY_DISCARD,
		[VBLK_CALL_WRITE_ZEROES] = VBLK_FAULTY_WRITE_ZEROES,
	};
	struct faulty *faulty = context;
	int fd = vblk_backing_async_fd(faulty->base, call);

	if (fd < 0 || !call)
		return fd;
	return is_concerned(faulty, ops[call->op]) ? -1 : fd;
}

static const struct vblk_backing_ops faulty_ops = {
	.preadv = faulty_preadv,
	.pwritev = faulty_pwritev,
	.sync = faulty_sync,
	.discard = faulty_discard,
	.write_zeroes = faulty_write_zeroes,
	.grow = faulty_grow,
	.close = faulty_close,
};

static struct faulty *faulty_of(struct vblk_backing *backing)
{
	assert(backing->ops == &faulty_ops);
	return backing->context;
}

static void sleep_for_real(void *context, uint64_t ns)
{
	struct timespec left = {
		.tv_sec = (time_t)(ns / VBLK_NSEC_PER_SEC),
		.tv_nsec = (long)(ns % VBLK_NSEC_PER_SEC),
	};

	(void)context;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static int copy_rules(const struct vblk_faulty_rule *rules, size_t count,
		      struct vblk_faulty_rule **copied)
{
	for (size_t i = 0; i < count; i++) {
		if (!rule_is_valid(&rules[i]))
			return -EINVAL;
	}
	*copied = NULL;
	if (count == 0)
		return 0;
	*copied = calloc(count, sizeof(**copied));
	if (!*copied)
		return -ENOMEM;
	memcpy(*copied, rules, count * sizeof(*rules));
	return 0;
}

int vblk_faulty_create(struct vblk_backing *base, const struct vblk_faulty_rule *rules,
		       size_t count, const struct vblk_faulty_sleep *sleep,
		       struct vblk_backing **backing)
{
	struct vblk_backing_info info;
	struct faulty *faulty;
	int err;

	faulty = calloc(1, sizeof(*faulty));
	if (!faulty)
		return -ENOMEM;
	err = copy_rules(rules, count, &faulty->rules);
	if (err) {
		free(faulty);
		return err;
	}
	faulty->rule_count = count;
	atomic_init(&faulty->has_rules, count > 0);
	if (sleep)
		faulty->sleep = *sleep;
	if (!faulty->sleep.fn)
		faulty->sleep.fn = sleep_for_real;
	pthread_mutex_init(&faulty->lock, NULL);
	pthread_cond_init(&faulty->changed, NULL);
	faulty->base = vblk_backing_ref(base);
	vblk_backing_get_info(base, &info);
	err = vblk_backing_create(&faulty_ops, faulty, &info, backing);
	if (!err) {
		(*backing)->async_fd = faulty_async_fd;
		(*backing)->counted = base;
	}
	return err;
}

int vblk_faulty_set_rules(struct vblk_backing *backing, const struct vblk_faulty_rule *rules,
			  size_t count)
{
	struct faulty *faulty = faulty_of(backing);
	struct vblk_faulty_rule *fresh, *old;
	int err;

	err = copy_rules(rules, count, &fresh);
	if (err)
		return err;
	pthread_mutex_lock(&faulty->lock);
	old = faulty->rules;
	faulty->rules = fresh;
	faulty->rule_count = count;
	for (size_t op = 0; op < VBLK_FAULTY_OPS; op++)
		atomic_store(&faulty->calls[op], 0);
	atomic_store(&faulty->has_rules, count > 0);
	pthread_mutex_unlock(&faulty->lock);
	free(old);
	return 0;
}

uint64_t vblk_faulty_calls(struct vblk_backing *backing, enum vblk_faulty_op op)
{
	return atomic_load(&faulty_of(backing)->calls[op]);
}

void vblk_faulty_wait_hanging(struct vblk_backing *backing, unsigned int count)
{
	struct faulty *faulty = faulty_of(backing);

	pthread_mutex_lock(&faulty->lock);
	while (faulty->hanging < count)
		pthread_cond_wait(&faulty->changed, &faulty->lock);
	pthread_mutex_unlock(&faulty->lock);
}

void vblk_faulty_release(struct vblk_backing *backing)
{
	struct faulty *faulty = faulty_of(backing);

	pthread_mutex_lock(&faulty->lock);
	faulty->releases++;
	faulty->hanging = 0;
	pthread_cond_broadcast(&faulty->changed);
	pthread_mutex_unlock(&faulty->lock);
}
