/* SPDX-License-Identifier: MIT */
/*
 * A drain of the model: rings, requests, limits. Every store goes where and when docs/contract.md
 * says, for rings and buffers of a hostile driver overlap as they like.
 */
#include "device_model.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "check.h"
#include "disk_model.h"

#define SERIAL_BYTES	20u
#define INTERRUPTS_MAX	16u
#define WINDOW		256u	      /* vectors in one call to the backing */
#define ZEROS_MAX	(1ull << 20)  /* that are written in one call */
#define RANGE_STEP	(64ull << 20) /* of a range in one call */
#define PIECES_PER_SPAN (ARENA_SHRED_COUNT + 2)

/* The data of one request, cut where the host's memory is. */
static struct {
	unsigned count;
	struct {
		uint8_t *at;
		uint64_t len;
	} piece[ORACLE_DESC_MAX * PIECES_PER_SPAN];
} data;

/* A little-endian value of 2 or 4 bytes that must lie in one region. */
static uint8_t *cell(uint64_t base, uint64_t offset, unsigned size)
{
	uint64_t run;
	uint8_t *at;

	if (base + offset < base)
		return NULL;
	at = arena_at(MODEL, base + offset, size, &run);
	return at && run == size ? at : NULL;
}

static bool load16(uint64_t base, uint64_t offset, uint16_t *value)
{
	const uint8_t *at = cell(base, offset, 2);

	if (at)
		*value = (uint16_t)(at[0] | at[1] << 8);
	return at != NULL;
}

static bool store(uint64_t base, uint64_t offset, unsigned size, uint32_t value)
{
	uint8_t *at = cell(base, offset, size);

	for (unsigned i = 0; at && i < size; i++)
		at[i] = (uint8_t)(value >> 8 * i);
	return at != NULL;
}

static uint64_t ring_slot(const struct model_layout *layout, uint16_t index, unsigned size)
{
	return 4 + (uint64_t)(index % layout->size) * size;
}

/* --- What a drain tells the driver --- */

static void clear_stall(struct model *model)
{
	if (!model->drain->stalled)
		return;
	model->drain->stalled = false;
	model->counters.throttled_now--;
	model_leave_line(model, model->turn);
}

static void poison(struct model *model, bool invalid_idx)
{
	model->drain->poisoned = true;
	clear_stall(model);
	if (invalid_idx)
		model->counters.invalid_avail_idx++;
	else
		model->counters.io_errors++;
	model->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	model->interrupt_status |= VIRTIO_MMIO_INT_CONFIG;
	model->counters.interrupts++;
}

static void interrupt(struct model *model)
{
	struct model_drain *drain = model->drain;
	uint16_t wanted, added;

	model->interrupt_status |= VIRTIO_MMIO_INT_VRING;
	if (drain->event_idx &&
	    load16(drain->layout.avail, 4 + 2ull * drain->layout.size, &wanted)) {
		added = drain->num_added;
		drain->num_added = 0;
		/* Due if the element that the driver waits for is among the last `added`. */
		if ((uint16_t)(drain->next_used - 1 - wanted) >= added)
			return;
	}
	model->counters.interrupts++;
}

static void ask_for_silence(struct model *model)
{
	struct model_drain *drain = model->drain;

	if (!drain->event_idx)
		(void)store(drain->layout.used, 0, 2, VRING_USED_F_NO_NOTIFY);
}

/*
 * Asks to be notified. Returns whether there is more all the same. If that cannot be and nothing
 * else brings us back, a strict device says so.
 */
static bool ask_for_notification(struct model *model, bool last)
{
	struct model_drain *drain = model->drain;
	uint16_t idx;
	bool ok;

	if (drain->event_idx)
		ok = store(drain->layout.used, 4 + 8ull * drain->layout.size, 2, drain->next_avail);
	else
		ok = store(drain->layout.used, 0, 2, 0);
	ok = ok && load16(drain->layout.avail, 2, &idx);
	if (!ok && last && model->options.strict)
		poison(model, false);
	return ok && idx != drain->next_avail;
}

/* --- What becomes of a chain --- */

/* A chain that the driver will not get back: returns whether the queue can go on. */
static bool drop(struct model *model)
{
	if (model->options.strict) {
		poison(model, false);
		return false;
	}
	model->counters.io_errors++;
	return true;
}

static bool publish(struct model *model, uint16_t head, uint8_t status, uint32_t length)
{
	struct model_drain *drain = model->drain;
	uint64_t slot = ring_slot(&drain->layout, drain->next_used, 8);
	uint64_t used = drain->layout.used;
	uint64_t run;
	uint8_t *at = arena_at(MODEL, drain->request.status_addr, 1, &run);

	if (!at)
		return drop(model);
	*at = status;
	if (!store(used, slot, 4, head) || !store(used, slot + 4, 4, length) ||
	    !store(used, 2, 2, (uint16_t)(drain->next_used + 1)))
		return drop(model);
	drain->next_used++;
	drain->num_added++;
	drain->published++;
	return true;
}

/* --- Moving data --- */

/* Cuts the data into pieces; false if any of it is not mapped. */
static bool map_data(struct model *model)
{
	const struct oracle_request *request = &model->drain->request;

	data.count = 0;
	for (unsigned i = 0; i < request->spans; i++) {
		uint64_t address = request->span[i].addr;
		uint64_t left = request->span[i].len, run;

		if (!arena_is_mapped(address, left))
			return false;
		for (; left > 0; address += run, left -= run) {
			data.piece[data.count].at = arena_at(MODEL, address, left, &run);
			data.piece[data.count++].len = run;
		}
	}
	model->effort += data.count;
	return true;
}

/* Moves `count` bytes between the disk at `offset` and the data from byte `from` on. */
static void copy(bool to_guest, uint64_t offset, uint64_t from, uint64_t count)
{
	for (unsigned i = 0; count > 0; i++) {
		uint64_t part = data.piece[i].len;

		if (from >= part) {
			from -= part;
			continue;
		}
		part = part - from < count ? part - from : count;
		if (to_guest)
			memcpy(data.piece[i].at + from, disk_model_at(offset), part);
		else
			memcpy(disk_model_at(offset), data.piece[i].at + from, part);
		from = 0;
		offset += part;
		count -= part;
	}
}

/* Up to where a call reaches that begins at byte `done`: the end of its window of vectors. */
static uint64_t window_end(uint64_t done)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < data.count; i++) {
		if (i % WINDOW == 0 && end > done)
			break;
		end += data.piece[i].len;
	}
	return end;
}

/* Returns a negative errno, or 0 and the bytes moved. `interrupts` is counted up. */
static int64_t move(const struct oracle_request *request, enum vblk_faulty_op op, uint64_t *done,
		    unsigned *interrupts)
{
	*done = 0;
	while (*done < request->data_len) {
		uint64_t offset = request->sector * 512 + *done;
		uint64_t want = window_end(*done) - *done, moved;
		int64_t ret = disk_model_call(op, offset, want, &moved);

		copy(op == VBLK_FAULTY_PREADV, offset, *done, moved);
		if (ret == -EINTR && ++*interrupts <= INTERRUPTS_MAX)
			continue;
		if (ret <= 0)
			return ret;
		if ((uint64_t)ret > want)
			return -EIO;
		*done += (uint64_t)ret;
	}
	return 0;
}

static bool sync_disk(unsigned interrupts)
{
	uint64_t moved;
	int64_t ret;

	do
		ret = disk_model_call(VBLK_FAULTY_SYNC, 0, 0, &moved);
	while (ret == -EINTR && ++interrupts <= INTERRUPTS_MAX);
	return ret == 0;
}

static bool is_in_range(const struct model *model, const struct oracle_request *request)
{
	uint64_t sectors = model->capacity_bytes / 512;

	return request->data_len <= model->capacity_bytes &&
	       request->sector <= sectors - request->data_len / 512;
}

/* D-STABLE, D-WCE */
static bool is_write_through(const struct model *model)
{
	return model->drain->stable_writes || model->write_through;
}

/* --- Requests. Each returns the bytes for the used length, or -1. --- */

static int64_t read_disk(struct model *model)
{
	const struct oracle_request *request = &model->drain->request;
	unsigned interrupts = 0;
	uint64_t done, left;

	if (!is_in_range(model, request) || !map_data(model) ||
	    move(request, VBLK_FAULTY_PREADV, &done, &interrupts) < 0)
		return -1;
	left = done;
	for (unsigned i = 0; i < data.count; i++) {
		uint64_t whole = left < data.piece[i].len ? left : data.piece[i].len;

		memset(data.piece[i].at + whole, 0, data.piece[i].len - whole);
		left -= whole;
	}
	model->counters.reads_completed++;
	model->counters.bytes_read += done;
	return (int64_t)request->data_len;
}

static int64_t write_disk(struct model *model)
{
	const struct oracle_request *request = &model->drain->request;
	unsigned interrupts = 0;
	uint64_t done;

	if (!is_in_range(model, request) || !map_data(model) ||
	    move(request, VBLK_FAULTY_PWRITEV, &done, &interrupts) < 0 || done < request->data_len)
		return -1;
	if (is_write_through(model) && !sync_disk(interrupts))
		return -1;
	model->counters.writes_completed++;
	model->counters.bytes_written += request->data_len;
	return 0;
}

/* What the backing cannot zero is written. */
static bool write_zeros(struct model *model, uint64_t offset, uint64_t bytes, unsigned *interrupts)
{
	while (bytes > 0) {
		uint64_t want = bytes < ZEROS_MAX ? bytes : ZEROS_MAX, moved;
		int64_t ret = disk_model_call(VBLK_FAULTY_PWRITEV, offset, want, &moved);

		model->effort++;
		if (moved > 0)
			memset(disk_model_at(offset), 0, moved);
		if (ret == -EINTR && ++*interrupts <= INTERRUPTS_MAX)
			continue;
		if (ret <= 0 || (uint64_t)ret > want)
			return false;
		offset += (uint64_t)ret;
		bytes -= (uint64_t)ret;
	}
	return true;
}

static bool change_range(struct model *model, const struct oracle_range *range,
			 unsigned *interrupts)
{
	bool discard = model->drain->request.type == VIRTIO_BLK_T_DISCARD;
	enum vblk_faulty_op op = discard ? VBLK_FAULTY_DISCARD : VBLK_FAULTY_WRITE_ZEROES;
	uint64_t offset = range->sector * 512, left = range->sectors * 512ull;

	while (left > 0) {
		uint64_t bytes = left < RANGE_STEP ? left : RANGE_STEP;
		int64_t ret = disk_model_range(op, offset, bytes, range->unmap);

		model->effort++;
		if (ret == -EINTR && ++*interrupts <= INTERRUPTS_MAX)
			continue;
		if (ret == -EOPNOTSUPP) {
			if (!discard && !write_zeros(model, offset, bytes, interrupts))
				return false;
		} else if (ret != 0) {
			return false;
		}
		offset += bytes;
		left -= bytes;
	}
	return true;
}

static int64_t change_ranges(struct model *model)
{
	const struct oracle_request *request = &model->drain->request;
	uint64_t sectors = model->capacity_bytes / 512, total = 0;
	unsigned interrupts = 0;

	for (unsigned i = 0; i < request->ranges; i++) {
		const struct oracle_range *range = &request->range[i];

		if (range->sector > sectors || sectors - range->sector < range->sectors)
			return -1;
		total += range->sectors * 512ull;
	}
	for (unsigned i = 0; i < request->ranges; i++) {
		if (!change_range(model, &request->range[i], &interrupts))
			return -1;
	}
	if (is_write_through(model) && !sync_disk(interrupts))
		return -1;
	if (request->type == VIRTIO_BLK_T_DISCARD) {
		model->counters.discards_completed++;
		model->counters.bytes_discarded += total;
	} else {
		model->counters.write_zeroes_completed++;
		model->counters.bytes_zeroed += total;
	}
	return 0;
}

static int64_t flush_disk(struct model *model)
{
	if (!sync_disk(0))
		return -1;
	model->counters.flushes_completed++;
	return 0;
}

/* Bytes go out one by one up to the first that has no place. */
static int64_t tell_serial(const struct model *model)
{
	const struct oracle_request *request = &model->drain->request;
	unsigned told = 0;

	if (request->data_len < SERIAL_BYTES)
		return -1;
	for (unsigned i = 0; i < request->spans; i++) {
		uint64_t part = request->span[i].len;

		if (part > SERIAL_BYTES - told)
			part = SERIAL_BYTES - told;
		/* As a whole it is judged by its end, so one that wraps is not begun. */
		if (part > 0 && part - 1 > UINT64_MAX - request->span[i].addr)
			return -1;
		for (uint64_t k = 0; k < part; k++) {
			uint64_t run;
			uint8_t *at = arena_at(MODEL, request->span[i].addr + k, 1, &run);

			if (!at)
				return -1;
			*at = told < strlen(model->options.serial)
				      ? (uint8_t)model->options.serial[told]
				      : 0;
			told++;
		}
	}
	return SERIAL_BYTES;
}

static bool carry_out(struct model *model, uint16_t head)
{
	int64_t length;

	switch (model->drain->request.type) {
	case VIRTIO_BLK_T_IN:
		length = read_disk(model);
		break;
	case VIRTIO_BLK_T_OUT:
		length = write_disk(model);
		break;
	case VIRTIO_BLK_T_FLUSH:
		length = flush_disk(model);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		length = change_ranges(model);
		break;
	default:
		length = tell_serial(model);
		break;
	}
	if (length >= 0)
		return publish(model, head, VIRTIO_BLK_S_OK, (uint32_t)length + 1);
	model->counters.io_errors++;
	return publish(model, head, VIRTIO_BLK_S_IOERR, 1);
}

/* --- The drain --- */

void model_drain_start(struct model *model)
{
	struct model_drain *drain = model->drain;

	memset(drain, 0, offsetof(struct model_drain, chain));
	drain->taken = 0;
	drain->published = 0;
	drain->layout = model->turn->layout;
	drain->event_idx = model->accepted >> VIRTIO_RING_F_EVENT_IDX & 1;
	drain->stable_writes = !(model->accepted >> VIRTIO_BLK_F_FLUSH & 1) &&
			       !(model->accepted >> VIRTIO_BLK_F_CONFIG_WCE & 1);
	drain->rules = (struct oracle_rules){
		.read_only = model->options.read_only,
		.discard = model->accepted >> VIRTIO_BLK_F_DISCARD & 1,
		.write_zeroes = model->accepted >> VIRTIO_BLK_F_WRITE_ZEROES & 1,
	};
}

enum step {
	SERVED,
	EMPTY,
	STALLED,
	BROKEN,
};

/* Takes a head off the available ring. */
static enum step take(struct model *model, uint16_t *head)
{
	struct model_drain *drain = model->drain;
	const struct model_layout *layout = &drain->layout;
	uint16_t idx, ahead;

	if (layout->avail == 0 || !load16(layout->avail, 2, &idx)) {
		poison(model, false);
		return BROKEN;
	}
	ahead = (uint16_t)(idx - drain->next_avail);
	if (ahead > layout->size) {
		poison(model, true);
		return BROKEN;
	}
	if (ahead == 0) {
		clear_stall(model);
		return EMPTY;
	}
	if (!load16(layout->avail, ring_slot(layout, drain->next_avail, 2), head)) {
		poison(model, false);
		return BROKEN;
	}
	return SERVED;
}

static bool is_limited(const struct model *model)
{
	return !model->throttle.ops.unlimited || !model->throttle.bytes.unlimited;
}

/* Only the first in line may take; who may not, or gets none, is in line from then on. */
static bool may_pass(struct model *model, uint64_t *wait_ns)
{
	struct model_queue *queue = model->turn;
	bool first = model->line_length == 0 || &model->queue[model->line[0]] == queue;

	if (!is_limited(model))
		return true;
	if (first && throttle_model_take(&model->throttle, oracle_cost(&model->drain->request),
					 disk_now[MODEL], wait_ns)) {
		model_leave_line(model, queue);
		return true;
	}
	if (!first)
		*wait_ns = UINT64_MAX;
	if (!queue->in_line)
		model->line[model->line_length++] = (unsigned)(queue - model->queue);
	queue->in_line = true;
	return false;
}

static enum step serve(struct model *model, uint64_t *wait_ns)
{
	struct model_drain *drain = model->drain;
	struct oracle_request *request = &drain->request;
	enum step step;
	uint16_t head;
	bool goes_on;

	step = take(model, &head);
	if (step != SERVED)
		return step;
	oracle_walk(&drain->chain, MODEL, drain->layout.desc, drain->layout.size, head);
	oracle_judge(request, &drain->chain, MODEL, &drain->rules);
	model->effort += drain->chain.count;
	FUZZ_TRACE("        head %u: %u descriptors, type %u, sector 0x%llx, %llu bytes, gate %u",
		   head, drain->chain.count, request->type, (unsigned long long)request->sector,
		   (unsigned long long)request->data_len, request->gate);
	if (request->kind == ORACLE_RUN && !may_pass(model, wait_ns)) {
		model->counters.throttled++;
		model->counters.throttled_now += !drain->stalled;
		drain->stalled = true;
		return STALLED;
	}
	drain->next_avail++;
	drain->taken++;
	clear_stall(model);
	if (request->kind == ORACLE_DROP) {
		goes_on = drop(model);
	} else if (request->kind == ORACLE_REPLY) {
		if (request->is_error)
			model->counters.io_errors++;
		else if (request->status == VIRTIO_BLK_S_OK)
			model->counters.flushes_completed++;
		goes_on = publish(model, head, request->status, 1);
	} else {
		goes_on = carry_out(model, head);
	}
	return goes_on ? SERVED : BROKEN;
}

/*
 * As many chains as the queue is long; looking in vain counts as one. Whatever ends it but a
 * broken queue, the driver is asked to notify, and the queue is looked at once more.
 */
static enum model_outcome serve_all(struct model *model, uint64_t *wait_ns)
{
	unsigned looks = 0;
	bool asked = false, more = true;
	enum step step = SERVED;

	while (looks < model->drain->layout.size) {
		if (!asked)
			ask_for_silence(model);
		asked = true;
		step = serve(model, wait_ns);
		looks++;
		if (step == SERVED)
			continue;
		if (step == BROKEN)
			return MODEL_DONE;
		more = ask_for_notification(model, step != STALLED);
		asked = false;
		if (step == STALLED)
			return MODEL_STALLED;
		if (!more)
			return MODEL_DONE;
	}
	if (step == SERVED)
		more = ask_for_notification(model, true);
	return more ? MODEL_MORE : MODEL_DONE;
}

enum model_outcome model_drain_run(struct model *model, uint64_t *wait_ns)
{
	struct model_drain *drain = model->drain;
	enum model_outcome outcome;

	drain->taken = 0;
	drain->published = 0;
	if (!drain->layout.ready || drain->poisoned)
		return MODEL_DONE;
	model->drains++;
	outcome = serve_all(model, wait_ns);
	if (drain->published > 0)
		interrupt(model);
	return outcome;
}
