/* SPDX-License-Identifier: MIT */
/* Looking at a drain step by step. */
#include "drain_watch.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <string.h>

#include "backing/call.h"
#include "check.h"
#include "disk_model.h"
#include "oracle.h"
#include "request/disk.h"

/* What is known of a head that was taken. */
struct taken {
	enum oracle_kind kind;
	uint8_t status; /* of a reply */
	uint32_t type;
	uint64_t data_len;
	uint64_t status_addr;
	bool sound; /* only the disk can make it fail */
	bool walked;
	bool claimed;
	bool prepared;
};

static struct taken taken[VBLK_QUEUE_SIZE_MAX];
static uint64_t in_flight[VBLK_QUEUE_SIZE_MAX / 64];
static unsigned nowhere; /* heads out of range that were taken */

struct watch watch;
bool watch_record[VBLK_QUEUE_SIZE_MAX];
int watch_record_error;

void watch_reset(void (*happens)(enum moment moment))
{
	watch = (struct watch){ .happens = happens };
	memset(watch_record, 0, sizeof(watch_record));
	watch_record_error = 0;
}

void watch_begin(struct vblk_drain *drain)
{
	watch.drain = drain;
	watch.quiet = false;
	nowhere = 0;
	memset(in_flight, 0, sizeof(in_flight));
	memset(taken, 0, sizeof(taken));
}

static uint16_t size(void)
{
	return watch.drain->queue.layout.size;
}

static bool is_taken(uint16_t head)
{
	return head < size() && in_flight[head / 64] >> head % 64 & 1;
}

static void give_back(uint16_t head)
{
	in_flight[head / 64] &= ~(1ull << head % 64);
}

static void take(uint16_t head)
{
	in_flight[head / 64] |= 1ull << head % 64;
	taken[head] = (struct taken){ .walked = false };
}

unsigned watch_in_flight(void)
{
	unsigned heads = 0;

	FUZZ_CHECK(memcmp(in_flight, watch.drain->queue.in_flight, sizeof(in_flight)) == 0,
		   "what the queue thinks is in flight is not what was taken");
	for (size_t i = 0; i < sizeof(in_flight) / sizeof(in_flight[0]); i++)
		heads += (unsigned)__builtin_popcountll(in_flight[i]);
	return heads + nowhere;
}

static bool is_held(void)
{
	return atomic_load(&watch.drain->lease.state) & VBLK_LEASE_HELD;
}

static void expect_held(const char *what)
{
	FUZZ_CHECK(!watch.drain || is_held(), "%s, and the lease is not held", what);
}

void watch_moment(enum moment moment)
{
	if (watch.happens)
		watch.happens(moment);
}

/*
 * The linker's names. Whatever is not about the drain that is looked at goes through as it is.
 * NOLINTBEGIN(cert-dcl51-cpp,bugprone-reserved-identifier)
 */
#define WRAP(type, name, parameters)   \
	type __real_##name parameters; \
	type __wrap_##name parameters; \
	type __wrap_##name parameters

/* --- Heads --- */

WRAP(int, vblk_queue_pop, (struct vblk_queue * queue, uint16_t *head))
{
	int ret;

	/* One that was cut off may be looked at, and whatever is found is left there. */
	FUZZ_CHECK(!watch.drain->poisoned || watch.drain->cut_off,
		   "a chain is taken from a poisoned queue");
	ret = __real_vblk_queue_pop(queue, head);
	if (ret != 1)
		return ret;
	FUZZ_TRACE("        takes head %u", *head);
	watch.popped++;
	if (*head >= size()) {
		nowhere++;
		return ret;
	}
	FUZZ_CHECK(!is_taken(*head), "head %u is taken, and was not given back", *head);
	take(*head);
	return ret;
}

WRAP(void, vblk_queue_adopt, (struct vblk_queue * queue, uint16_t head))
{
	FUZZ_CHECK(head < size() && !is_taken(head), "head %u is adopted twice", head);
	take(head);
	taken[head].claimed = true;
	__real_vblk_queue_adopt(queue, head);
}

WRAP(void, vblk_queue_drop, (struct vblk_queue * queue, uint16_t head))
{
	const struct taken *of = &taken[head % VBLK_QUEUE_SIZE_MAX];

	FUZZ_TRACE("        drops head %u", head);
	watch.dropped++;
	if (head >= size()) {
		FUZZ_CHECK(nowhere > 0, "head %u is dropped, and was not taken", head);
		nowhere--;
		return;
	}
	FUZZ_CHECK(is_taken(head), "head %u is dropped, and was not taken", head);
	FUZZ_CHECK(of->kind == ORACLE_DROP || !arena_is_mapped(of->status_addr, 1),
		   "head %u is dropped, and could be answered", head);
	give_back(head);
	__real_vblk_queue_drop(queue, head);
}

WRAP(void, vblk_queue_undo_pop, (struct vblk_queue * queue, uint16_t head))
{
	FUZZ_TRACE("        puts head %u back", head);
	watch.popped--;
	if (head >= size()) {
		FUZZ_CHECK(nowhere > 0 || watch.lost, "head %u is put back", head);
		nowhere -= nowhere > 0;
	} else {
		/* When memory is lost, what was not published has not been answered. */
		FUZZ_CHECK(is_taken(head) || watch.lost, "head %u is put back", head);
		give_back(head);
	}
	__real_vblk_queue_undo_pop(queue, head);
}

/* A flush; or data that are in guest memory, and a place for them on the disk. */
static bool is_sound(const struct oracle_request *request)
{
	uint64_t sectors = vblk_disk_capacity(watch.drain->config.disk) / 512;

	if (request->kind != ORACLE_RUN || request->type == VIRTIO_BLK_T_FLUSH)
		return request->kind == ORACLE_RUN;
	if (request->type != VIRTIO_BLK_T_IN && request->type != VIRTIO_BLK_T_OUT)
		return false;
	for (unsigned i = 0; i < request->spans; i++) {
		if (!arena_is_mapped(request->span[i].addr, request->span[i].len))
			return false;
	}
	return request->data_len / 512 <= sectors &&
	       request->sector <= sectors - request->data_len / 512;
}

WRAP(bool, vblk_chain_walk_plain,
     (struct vblk_chain * chain, struct vblk_memory_view *view, const struct vblk_table *table,
      uint16_t head))
{
	const struct vblk_request_rules *rules = &watch.drain->config.rules;
	const struct oracle_rules same = { rules->read_only, rules->discard, rules->write_zeroes };
	static struct oracle_chain walked;
	static struct oracle_request request;

	oracle_walk(&walked, REAL, table->address, table->size, head);
	oracle_judge(&request, &walked, REAL, &same);
	FUZZ_TRACE("        head %u: %u descriptors, type %u, sector 0x%llx, %llu bytes, gate %u",
		   head, walked.count, request.type, (unsigned long long)request.sector,
		   (unsigned long long)request.data_len, request.gate);
	if (head < size()) {
		taken[head].kind = request.kind;
		taken[head].status = request.status;
		taken[head].type = request.type;
		taken[head].data_len = request.data_len;
		taken[head].status_addr = request.status_addr;
		taken[head].sound = is_sound(&request);
		taken[head].walked = true;
	}
	return __real_vblk_chain_walk_plain(chain, view, table, head);
}

/* --- Answers --- */

static uint32_t used_length(const struct taken *of, uint8_t status)
{
	if (of->kind == ORACLE_REPLY || status != VIRTIO_BLK_S_OK)
		return 1;
	if (of->type == VIRTIO_BLK_T_IN)
		return (uint32_t)of->data_len + 1;
	return of->type == VIRTIO_BLK_T_GET_ID ? VIRTIO_BLK_ID_BYTES + 1 : 1;
}

/* Returns the status, which has just been stored where the chain says. */
static uint8_t expect_answer(uint16_t head, uint32_t length)
{
	const struct taken *of = &taken[head];
	uint8_t status = 0xff;

	FUZZ_CHECK(of->walked && of->kind != ORACLE_DROP,
		   "head %u is published, and cannot be answered", head);
	FUZZ_CHECK(arena_get(REAL, of->status_addr, &status, 1),
		   "head %u is published, and has no status", head);
	if (of->kind == ORACLE_REPLY)
		FUZZ_CHECK(status == of->status, "head %u has status %u, should be %u", head,
			   status, of->status);
	else
		FUZZ_CHECK(status <= VIRTIO_BLK_S_IOERR, "head %u has status %u", head, status);
	FUZZ_CHECK(!of->sound || status == VIRTIO_BLK_S_OK || disk_may_fail(),
		   "head %u has failed, and the disk has not", head);
	FUZZ_CHECK(length == used_length(of, status), "head %u has length %u", head, length);
	FUZZ_CHECK(!watch.drain->config.journal.ops || (of->claimed && of->prepared),
		   "head %u is published, and not on record", head);
	return status;
}

static uint32_t number(const uint8_t *at, unsigned bytes)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint32_t)at[i] << 8 * i;
	return value;
}

static void expect_in_ring(const struct vblk_queue *queue, uint16_t slot, uint16_t head,
			   uint32_t length)
{
	uint64_t used = queue->layout.used;
	uint8_t idx[2], element[8];

	FUZZ_CHECK(arena_get(REAL, used + 2, idx, sizeof(idx)) &&
			   arena_get(REAL, used + 4 + 8ull * (slot % size()), element,
				     sizeof(element)),
		   "published where no memory is");
	FUZZ_CHECK(number(idx, 2) == (uint16_t)(slot + 1) && number(element, 4) == head &&
			   number(element + 4, 4) == length,
		   "used.idx %u, id %u, length %u, should be %u, %u, %u", number(idx, 2),
		   number(element, 4), number(element + 4, 4), (uint16_t)(slot + 1), head, length);
}

WRAP(int, vblk_queue_push, (struct vblk_queue * queue, uint16_t head, uint32_t length))
{
	uint16_t slot = queue->next_used;
	bool lost = watch.lost;
	uint8_t status;
	int ret;

	expect_held("a head is published");
	FUZZ_CHECK(!watch.drain->poisoned, "a poisoned queue publishes head %u", head);
	FUZZ_CHECK(is_taken(head), "head %u is published, and nobody has it", head);
	status = expect_answer(head, length);
	give_back(head);
	ret = __real_vblk_queue_push(queue, head, length);
	FUZZ_TRACE("        publishes head %u: %d", head, ret);
	if (ret < 0) {
		watch.failed += !watch.lost;
		return ret;
	}
	FUZZ_CHECK(!lost, "head %u is published, and memory was lost", head);
	watch.published++;
	watch.answered++;
	watch.errors += status == VIRTIO_BLK_S_IOERR;
	expect_in_ring(queue, slot, head, length);
	return ret;
}

/* --- The guest --- */

WRAP(int, vblk_memory_copy_out,
     (struct vblk_memory_view * view, uint64_t address, const void *from, uint64_t length))
{
	expect_held("guest memory is written");
	return __real_vblk_memory_copy_out(view, address, from, length);
}

WRAP(int, vblk_memory_zero, (struct vblk_memory_view * view, uint64_t address, uint64_t length))
{
	expect_held("zeros are stored");
	return __real_vblk_memory_zero(view, address, length);
}

WRAP(int, vblk_queue_disable_notifications, (struct vblk_queue * queue))
{
	expect_held("notifications are turned off");
	return __real_vblk_queue_disable_notifications(queue);
}

WRAP(int, vblk_queue_enable_notifications, (struct vblk_queue * queue))
{
	int ret;

	expect_held("notifications are turned on");
	ret = __real_vblk_queue_enable_notifications(queue);
	watch.quiet = ret < 0;
	return ret;
}

WRAP(void, vblk_port_set_interrupt_status, (struct vblk_port * port, uint32_t bits))
{
	expect_held("InterruptStatus is changed");
	watch.announced += bits == VIRTIO_MMIO_INT_VRING;
	__real_vblk_port_set_interrupt_status(port, bits);
}

WRAP(int, vblk_port_signal, (struct vblk_port * port))
{
	expect_held("an interrupt is raised");
	return __real_vblk_port_signal(port);
}

WRAP(int, vblk_port_signal_needs_reset, (struct vblk_port * port))
{
	expect_held("NEEDS_RESET is set");
	return __real_vblk_port_signal_needs_reset(port);
}

/* There is nobody to whom the processor could be left. */
WRAP(int, sched_yield, (void))
{
	return 0;
}

/* --- The disk --- */

WRAP(ssize_t, vblk_backing_perform, (struct vblk_backing * backing, const struct vblk_call *call))
{
	if (!watch.landing) {
		FUZZ_CHECK(!vblk_lease_is_revoked(&watch.drain->lease),
			   "a call is made, and the lease is gone");
		FUZZ_CHECK(!watch.lost, "a call is made, and memory was lost");
	}
	watch_moment(MOMENT_CALL);
	return __real_vblk_backing_perform(backing, call);
}

/* NOLINTEND(cert-dcl51-cpp,bugprone-reserved-identifier) */

/* --- The record --- */

static int record_open(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	(void)context;
	(void)used_idx;
	expect_held("the record is opened");
	watch_moment(MOMENT_RECORD);
	for (uint16_t head = 0; head < size(); head++) {
		if (watch_record[head])
			heads->head[heads->count++] = head;
	}
	return watch_record_error;
}

static void record_claim(void *context, uint16_t head)
{
	(void)context;
	expect_held("a head is claimed");
	FUZZ_CHECK(is_taken(head) && !taken[head].claimed, "head %u is claimed", head);
	taken[head].claimed = true;
	watch_record[head] = true;
	watch_moment(MOMENT_RECORD);
}

static void record_prepare(void *context, uint16_t head)
{
	(void)context;
	expect_held("a head is prepared");
	FUZZ_CHECK(is_taken(head) && taken[head].claimed, "head %u is prepared", head);
	taken[head].prepared = true;
	watch_moment(MOMENT_RECORD);
}

static void record_commit(void *context, uint16_t head, uint16_t used_idx)
{
	(void)context;
	expect_held("a head is committed");
	FUZZ_CHECK(!is_taken(head) && taken[head].prepared &&
			   used_idx == watch.drain->queue.next_used,
		   "head %u is committed at %u", head, used_idx);
	watch_record[head] = false;
	watch_moment(MOMENT_RECORD);
}

const struct vblk_journal_ops watch_journal = {
	.open = record_open,
	.claim = record_claim,
	.prepare = record_prepare,
	.commit = record_commit,
};
