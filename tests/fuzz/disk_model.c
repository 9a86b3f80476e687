/* SPDX-License-Identifier: MIT */
/* Both disks of the device fuzzer. */
#include "disk_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backing/backing.h"
#include "check.h"

/* More calls than any program of the fuzzer can cause, if drains are bounded. */
#define CALLS_MAX 200000u

/* A disk of the device's side. */
struct observed {
	struct vblk_backing *memory;
	struct vblk_backing *faulty;
	bool plain;
};

static struct {
	struct observed *observed;
	size_t size;
	uint8_t bytes[DISK_SIZE_MAX]; /* the model's */
	bool written[SIDES];
	bool zeroing; /* the device's last call but for writes was one for zeros */
	bool interleaved;
	unsigned calls[SIDES];
	uint64_t notes[SIDES]; /* a hash of all calls */
	struct vblk_faulty_rule rule[DISK_RULES];
	size_t rules;
	bool ruled;
	uint64_t rule_calls[VBLK_FAULTY_OPS];
	struct disk_hook hook[DISK_HOOKS];
	size_t hooks;
} disk;

uint64_t disk_now[SIDES];

static void note(enum side side, uint64_t value)
{
	disk.notes[side] = (disk.notes[side] ^ value) * 0x100000001b3ull;
}

static void run_hook(enum side side, const struct disk_hook *hook)
{
	uint8_t counter[2];
	uint16_t value;

	arena_flip(side, hook->address, hook->bits);
	if (hook->add == 0 || !arena_get(side, hook->counter, counter, sizeof(counter)))
		return;
	value = (uint16_t)((counter[0] | counter[1] << 8) + hook->add);
	arena_flip(side, hook->counter, (uint8_t)(counter[0] ^ value));
	arena_flip(side, hook->counter + 1, (uint8_t)(counter[1] ^ value >> 8));
}

/* Every call on either side begins here. */
static void begin(enum side side, enum vblk_faulty_op op, uint64_t offset, uint64_t bytes)
{
	unsigned call = ++disk.calls[side];

	FUZZ_CHECK(call < CALLS_MAX, "more than %u calls to the backing: a drain does not end",
		   CALLS_MAX);
	note(side, op);
	note(side, offset);
	note(side, bytes);
	for (size_t i = 0; i < disk.hooks; i++) {
		if (call - disk.hook[i].first < disk.hook[i].times)
			run_hook(side, &disk.hook[i]);
	}
}

/* Zeros of the device's own are written where the backing could not make any. */
static bool is_zeros(const struct iovec *vector)
{
	const uint8_t *bytes = vector->iov_base;

	if (!disk.zeroing && !disk.observed->plain && !disk.interleaved)
		return false;
	for (size_t i = 0; i < vector->iov_len; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static bool is_guest(const struct iovec *vector)
{
	return arena_holds(vector->iov_base, vector->iov_len);
}

static bool is_guest_or_zeros(const struct iovec *vector)
{
	return is_guest(vector) || is_zeros(vector);
}

static uint64_t check_vectors(const struct iovec *iov, int count,
			      bool (*is_right)(const struct iovec *vector))
{
	uint64_t bytes = 0;

	FUZZ_CHECK(count > 0 && count <= 1024, "%d vectors in one call", count);
	for (int i = 0; i < count; i++) {
		FUZZ_CHECK(iov[i].iov_len > 0, "vector %d is empty", i);
		FUZZ_CHECK(is_right(&iov[i]),
			   "vector %d of %zu bytes is not in one region of guest memory", i,
			   iov[i].iov_len);
		bytes += iov[i].iov_len;
	}
	return bytes;
}

static ssize_t observed_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct observed *observed = context;

	disk.zeroing = false;
	begin(REAL, VBLK_FAULTY_PREADV, offset, check_vectors(iov, count, is_guest));
	return vblk_backing_preadv(observed->faulty, iov, count, offset);
}

static ssize_t observed_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct observed *observed = context;

	begin(REAL, VBLK_FAULTY_PWRITEV, offset, check_vectors(iov, count, is_guest_or_zeros));
	disk.written[REAL] = true;
	return vblk_backing_pwritev(observed->faulty, iov, count, offset);
}

static int observed_sync(void *context)
{
	struct observed *observed = context;

	disk.zeroing = false;
	begin(REAL, VBLK_FAULTY_SYNC, 0, 0);
	return vblk_backing_sync(observed->faulty);
}

static int observed_discard(void *context, uint64_t offset, uint64_t bytes)
{
	struct observed *observed = context;

	disk.zeroing = false;
	disk.written[REAL] = true;
	note(REAL, 0);
	begin(REAL, VBLK_FAULTY_DISCARD, offset, bytes);
	return vblk_backing_discard(observed->faulty, offset, bytes);
}

static int observed_write_zeroes(void *context, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	struct observed *observed = context;

	disk.zeroing = true;
	disk.written[REAL] = true;
	note(REAL, flags);
	begin(REAL, VBLK_FAULTY_WRITE_ZEROES, offset, bytes);
	return vblk_backing_write_zeroes(observed->faulty, offset, bytes, flags);
}

static int grow(enum side side, uint64_t bytes)
{
	note(side, bytes);
	return DISK_CANNOT_GROW(bytes) ? -ENOSPC : 0;
}

static int observed_grow(void *context, uint64_t bytes)
{
	(void)context;
	return grow(REAL, bytes);
}

static void observed_close(void *context)
{
	struct observed *observed = context;

	vblk_backing_unref(observed->faulty);
	vblk_backing_unref(observed->memory);
	free(observed);
}

static const struct vblk_backing_ops observed_ops = {
	.preadv = observed_preadv,
	.pwritev = observed_pwritev,
	.sync = observed_sync,
	.discard = observed_discard,
	.write_zeroes = observed_write_zeroes,
	.grow = observed_grow,
	.close = observed_close,
};

static const struct vblk_backing_ops plain_ops = {
	.preadv = observed_preadv,
	.pwritev = observed_pwritev,
	.sync = observed_sync,
	.grow = observed_grow,
	.close = observed_close,
};

static void let_time_pass(void *context, uint64_t ns)
{
	(void)context;
	disk_now[REAL] += ns;
}

struct vblk_backing *disk_create(size_t size, bool plain)
{
	const struct vblk_faulty_sleep sleep = { .fn = let_time_pass };
	const struct vblk_backing_info info = { .size_bytes = size };
	struct observed *observed = calloc(1, sizeof(*observed));
	struct vblk_backing *backing;

	if (!observed || vblk_backing_create_memory(size, &observed->memory) < 0 ||
	    vblk_faulty_create(observed->memory, NULL, 0, &sleep, &observed->faulty) < 0 ||
	    vblk_backing_create(plain ? &plain_ops : &observed_ops, observed, &info, &backing) < 0)
		abort();
	observed->plain = plain;
	return backing;
}

static uint8_t initial_byte(size_t i)
{
	return (uint8_t)(i * 3 + i / 512 + 1);
}

static void restore(void)
{
	struct iovec all = { disk.bytes, disk.size };

	for (size_t i = 0; i < disk.size; i++)
		disk.bytes[i] = initial_byte(i);
	if (vblk_backing_pwritev(disk.observed->memory, &all, 1, 0) != (ssize_t)disk.size)
		abort();
}

void disk_interleave(void)
{
	disk.interleaved = true;
}

void disk_use(struct vblk_backing *backing, size_t size)
{
	struct observed *observed = backing->context;
	bool same = observed == disk.observed && !disk.written[REAL] && !disk.written[MODEL];

	disk.observed = observed;
	disk.size = size;
	if (!same)
		restore();
	memset(disk.written, 0, sizeof(disk.written));
	memset(disk.calls, 0, sizeof(disk.calls));
	memset(disk.notes, 0, sizeof(disk.notes));
	memset(disk.rule_calls, 0, sizeof(disk.rule_calls));
	disk.rules = 0;
	disk.ruled = false;
	disk.hooks = 0;
	disk.zeroing = false;
	disk_now[REAL] = disk_now[MODEL] = 0;
}

static void set_rules(void)
{
	memset(disk.rule_calls, 0, sizeof(disk.rule_calls));
	if (vblk_faulty_set_rules(disk.observed->faulty, disk.rule, disk.rules) < 0)
		abort();
}

void disk_add_rule(const struct vblk_faulty_rule *rule)
{
	if (disk.rules == DISK_RULES)
		return;
	disk.ruled = true;
	disk.rule[disk.rules++] = *rule;
	set_rules();
}

void disk_clear_rules(void)
{
	if (disk.rules == 0)
		return;
	disk.rules = 0;
	set_rules();
}

bool disk_may_fail(void)
{
	return disk.ruled;
}

void disk_done(void)
{
	disk_clear_rules();
}

void disk_add_hook(const struct disk_hook *hook)
{
	if (disk.hooks < DISK_HOOKS)
		disk.hook[disk.hooks++] = *hook;
}

static bool is_for(const struct vblk_faulty_rule *rule, enum vblk_faulty_op op, uint64_t call)
{
	uint64_t first = rule->first ? rule->first : 1;
	uint64_t every = rule->every ? rule->every : 1;

	if (rule->op != op || call < first || (call - first) % every)
		return false;
	return !rule->count || (call - first) / every < rule->count;
}

/* What the memory behind the rules does with a call: returns it, and how much moves. */
static int64_t move(enum vblk_faulty_op op, uint64_t offset, uint64_t want, uint64_t *moved)
{
	uint64_t left = offset < disk.size ? disk.size - offset : 0;

	if (op == VBLK_FAULTY_SYNC)
		return 0;
	if (op == VBLK_FAULTY_WRITE_ZEROES && want > left)
		return -ENOSPC;
	if (op == VBLK_FAULTY_WRITE_ZEROES || op == VBLK_FAULTY_DISCARD) {
		memset(disk.bytes + (disk.size - left), 0, want < left ? want : left);
		return 0;
	}
	*moved = want < left ? want : left;
	if (op == VBLK_FAULTY_PWRITEV && *moved == 0)
		return -ENOSPC;
	return (int64_t)*moved;
}

int64_t disk_model_call(enum vblk_faulty_op op, uint64_t offset, uint64_t want, uint64_t *moved)
{
	const struct vblk_faulty_rule *decides = NULL;
	uint64_t call;
	int64_t ret;

	begin(MODEL, op, offset, want);
	call = ++disk.rule_calls[op];
	for (size_t i = 0; i < disk.rules; i++) {
		if (!is_for(&disk.rule[i], op, call))
			continue;
		if (disk.rule[i].action == VBLK_FAULTY_DELAY)
			disk_now[MODEL] += disk.rule[i].value;
		else if (!decides)
			decides = &disk.rule[i];
	}
	disk.written[MODEL] |= op != VBLK_FAULTY_PREADV && op != VBLK_FAULTY_SYNC;
	*moved = 0;
	if (!decides)
		return move(op, offset, want, moved);
	switch (decides->action) {
	case VBLK_FAULTY_ERROR:
		return -(int64_t)decides->value;
	case VBLK_FAULTY_SHORT:
		if (decides->value == 0)
			return 0;
		return move(op, offset, want < decides->value ? want : decides->value, moved);
	case VBLK_FAULTY_EXCESS:
		ret = move(op, offset, want, moved);
		return ret < 0 ? ret : (int64_t)(want + decides->value);
	default:
		return 0;
	}
}

int64_t disk_model_range(enum vblk_faulty_op op, uint64_t offset, uint64_t bytes, bool unmap)
{
	uint64_t moved;

	/* The observer, with the operations that are missing, is not asked. */
	if (disk.observed->plain)
		return -EOPNOTSUPP;
	note(MODEL, unmap);
	return disk_model_call(op, offset, bytes, &moved);
}

int disk_model_grow(uint64_t bytes)
{
	return grow(MODEL, bytes);
}

uint8_t *disk_model_at(uint64_t offset)
{
	return disk.bytes + offset;
}

unsigned disk_calls(enum side side)
{
	return disk.calls[side];
}

void disk_expect_same(bool bytes)
{
	uint8_t real[DISK_SIZE_MAX];
	struct iovec all = { real, disk.size };

	FUZZ_CHECK(disk.calls[REAL] == disk.calls[MODEL] && disk.notes[REAL] == disk.notes[MODEL],
		   "%u calls to the backing, should be %u, or others", disk.calls[REAL],
		   disk.calls[MODEL]);
	FUZZ_CHECK(disk_now[REAL] == disk_now[MODEL], "the clocks differ");
	if (!bytes || (!disk.written[REAL] && !disk.written[MODEL]))
		return;
	if (vblk_backing_preadv(disk.observed->memory, &all, 1, 0) != (ssize_t)disk.size)
		abort();
	for (size_t i = 0; i < disk.size; i++)
		FUZZ_CHECK(real[i] == disk.bytes[i],
			   "byte %zu of the disk is 0x%02x, should be 0x%02x", i, real[i],
			   disk.bytes[i]);
}
