/* SPDX-License-Identifier: MIT */
/* Registers, status machine and lifecycle of the model. */
#include "device_model.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "disk_model.h"

#define BIT(n)		((uint64_t)1 << (n))
#define QUEUE_SIZE_MAX	256u
#define CONFIG_BYTES	60u
#define WRITEBACK	32u /* the byte that a driver may write */
#define SLEEP_MAX_NS	1000000000ull
#define ALL_DRIVER_BITS 0xfu

unsigned model_queues(const struct model *model)
{
	return model->options.queues ? model->options.queues : 1;
}

static void reset_queues(struct model *model)
{
	model->queues = model_queues(model);
	for (unsigned i = 0; i < MODEL_QUEUES; i++)
		model->queue[i].layout = (struct model_layout){ .size = QUEUE_SIZE_MAX };
}

static void forget_engines(struct model *model)
{
	model->running = false;
	model->resting = false;
	model->line_length = 0;
	for (unsigned i = 0; i < MODEL_QUEUES; i++) {
		struct model_queue *queue = &model->queue[i];

		queue->running = false;
		queue->pending = false;
		queue->waiting = false;
		queue->in_line = false;
	}
}

void model_init(struct model *model, const struct model_options *options)
{
	memset(model, 0, offsetof(struct model, queue));
	model->options = *options;
	model->capacity_bytes = options->capacity_bytes;
	throttle_model_init(&model->throttle, &model->limits, disk_now[MODEL]);
	reset_queues(model);
	forget_engines(model);
}

uint64_t model_offered(const struct model *model)
{
	uint64_t features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |
			    BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
			    BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH);

	if (model->options.read_only)
		features |= BIT(VIRTIO_BLK_F_RO);
	if (!model->options.all)
		return features;
	features |= BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
		    BIT(VIRTIO_BLK_F_CONFIG_WCE);
	if (model_queues(model) > 1)
		features |= BIT(VIRTIO_BLK_F_MQ);
	if (model->options.read_only)
		return features;
	features |= BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	return model->options.plain ? features : features | BIT(VIRTIO_BLK_F_DISCARD);
}

/* --- Engine --- */

static void wake_first(struct model *model)
{
	if (model->line_length > 0)
		model->queue[model->line[0]].pending = true;
}

void model_leave_line(struct model *model, struct model_queue *queue)
{
	unsigned at = 0;

	if (!queue->in_line)
		return;
	queue->in_line = false;
	while (&model->queue[model->line[at]] != queue)
		at++;
	model->line_length--;
	memmove(model->line + at, model->line + at + 1,
		(model->line_length - at) * sizeof(model->line[0]));
	if (at == 0)
		wake_first(model);
}

static void take_turn(struct model *model, struct model_queue *queue)
{
	model->turn = queue;
	model->drain = &queue->drain;
}

static void run_queue(struct model *model, struct model_queue *queue)
{
	uint64_t wait_ns = 0;
	enum model_outcome outcome;

	if (!queue->running || model->resting)
		return;
	queue->pending = false;
	take_turn(model, queue);
	outcome = model_drain_run(model, &wait_ns);
	queue->pending |= outcome == MODEL_MORE;
	queue->waiting = outcome == MODEL_STALLED;
	if (wait_ns < 1)
		wait_ns = 1;
	if (wait_ns > SLEEP_MAX_NS)
		wait_ns = SLEEP_MAX_NS;
	queue->deadline_ns = disk_now[MODEL] + wait_ns;
}

void model_run(struct model *model)
{
	for (unsigned i = 0; i < model_queues(model); i++)
		run_queue(model, &model->queue[i]);
}

/* The first queue always, the others if they are ready. */
static void start(struct model *model)
{
	if (!(model->status & VIRTIO_CONFIG_S_DRIVER_OK) || !model->bound)
		return;
	model->running = true;
	throttle_model_init(&model->throttle, &model->limits, disk_now[MODEL]);
	for (unsigned i = 0; i < model_queues(model); i++) {
		struct model_queue *queue = &model->queue[i];

		if (i > 0 && !queue->layout.ready)
			continue;
		queue->running = true;
		queue->waiting = false;
		take_turn(model, queue);
		model_drain_start(model);
		if (queue->pending)
			run_queue(model, queue);
	}
}

static void stop(struct model *model)
{
	forget_engines(model);
	model->counters.throttled_now = 0;
}

static void notify(struct model *model, uint32_t index)
{
	struct model_queue *queue = &model->queue[index];

	queue->pending = true;
	if (!queue->running)
		return;
	model->counters.notifications++;
	run_queue(model, queue);
}

void model_bind(struct model *model)
{
	if (model->bound)
		return;
	model->bound = true;
	start(model);
}

bool model_pause(struct model *model)
{
	bool follows = model->running && !model->resting;

	model->resting = true;
	model->acknowledged += follows;
	return follows;
}

void model_resume(struct model *model)
{
	model->resting = false;
	for (unsigned i = 0; i < model_queues(model); i++) {
		if (model->queue[i].pending)
			run_queue(model, &model->queue[i]);
	}
}

bool model_is_paused(const struct model *model)
{
	return !model->running || model->resting;
}

static void wake_all(struct model *model)
{
	for (unsigned i = 0; i < model->line_length; i++) {
		model->queue[model->line[i]].pending = true;
		model->queue[model->line[i]].in_line = false;
	}
	model->line_length = 0;
}

bool model_set_throttle(struct model *model, const struct vblk_throttle *limits)
{
	if (!throttle_model_is_legal(limits))
		return false;
	model->limits = *limits;
	throttle_model_change(&model->throttle, limits, disk_now[MODEL]);
	if (limits->iops || limits->bps)
		wake_first(model);
	else
		wake_all(model);
	/* Who waits for tokens is looked at again. */
	for (unsigned i = 0; i < model_queues(model); i++) {
		struct model_queue *queue = &model->queue[i];

		if (!queue->running)
			continue;
		queue->pending |= queue->waiting;
		if (queue->pending)
			run_queue(model, queue);
	}
	return true;
}

int model_resize(struct model *model, uint64_t bytes, uint32_t flags)
{
	int ret = 0;

	if (flags > VBLK_RESIZE_SHRINK || bytes == 0 || bytes % 512 != 0)
		return -EINVAL;
	if (bytes > INT64_MAX)
		return -EFBIG;
	if (bytes < model->capacity_bytes && flags == 0)
		return -ERANGE;
	if (bytes > model->capacity_bytes && !model->options.read_only)
		ret = disk_model_grow(bytes);
	if (ret < 0)
		return ret;
	model->capacity_bytes = bytes;
	model->generation++;
	if (model->status & VIRTIO_CONFIG_S_DRIVER_OK) {
		model->interrupt_status |= VIRTIO_MMIO_INT_CONFIG;
		model->counters.interrupts++;
	}
	return 0;
}

bool model_deadline(const struct model *model, uint64_t *deadline_ns)
{
	bool any = false;

	for (unsigned i = 0; i < model_queues(model) && !model->resting; i++) {
		const struct model_queue *queue = &model->queue[i];
		uint64_t own = queue->pending ? disk_now[MODEL] : queue->deadline_ns;

		if (!queue->running || !(queue->pending || queue->waiting))
			continue;
		if (!any || own < *deadline_ns)
			*deadline_ns = own;
		any = true;
	}
	return any;
}

/* --- Registers --- */

static void reset(struct model *model)
{
	stop(model);
	model->status = 0;
	model->interrupt_status = 0;
	model->generation++;
	model->device_sel = 0;
	model->driver_sel = 0;
	model->queue_sel = 0;
	model->accepted = 0;
	model->write_through = false;
	reset_queues(model);
}

/* S-4: the bit that follows, where each has its turn. 0: none. */
static uint32_t due(uint32_t status)
{
	static const uint32_t order[] = { VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER,
					  VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK };
	uint32_t have = 0;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (status == have)
			return order[i];
		have |= order[i];
	}
	return 0;
}

static enum model_refusal write_status(struct model *model, uint32_t value)
{
	uint32_t added = value & ~model->status;

	if (value == 0) {
		reset(model);
		return MODEL_STORED;
	}
	if (model->status & ~value)
		return MODEL_WARNED;
	if (!added)
		return MODEL_IGNORED;
	if (added == VIRTIO_CONFIG_S_FAILED) {
		model->status = value;
		return MODEL_WARNED;
	}
	if (added != due(model->status))
		return MODEL_WARNED;
	if (added == VIRTIO_CONFIG_S_FEATURES_OK && (!(model->accepted & BIT(VIRTIO_F_VERSION_1)) ||
						     (model->accepted & ~model_offered(model))))
		return MODEL_WARNED;
	model->status = value;
	if (added == VIRTIO_CONFIG_S_FEATURES_OK && !(model->accepted >> VIRTIO_BLK_F_MQ & 1))
		model->queues = 1;
	if (added == VIRTIO_CONFIG_S_FEATURES_OK)
		model->write_through = (model->accepted >> VIRTIO_BLK_F_CONFIG_WCE & 1) &&
				       !(model->accepted >> VIRTIO_BLK_F_FLUSH & 1);
	if (added == VIRTIO_CONFIG_S_DRIVER_OK)
		start(model);
	return MODEL_STORED;
}

static void write_features(struct model *model, uint32_t value)
{
	const uint32_t driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	if ((model->status & driver) != driver || (model->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    model->driver_sel > 1)
		return;
	if (model->driver_sel)
		model->accepted = (uint32_t)model->accepted | (uint64_t)value << 32;
	else
		model->accepted = model->accepted >> 32 << 32 | value;
}

static bool queue_is_open(const struct model *model)
{
	const uint32_t ok =
		VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;

	return model->queue_sel < model->queues && (model->status & ok) == ok &&
	       !(model->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

static void write_size(struct model_layout *layout, uint16_t size)
{
	if (size >= 1 && size <= QUEUE_SIZE_MAX && __builtin_popcount(size) == 1)
		layout->size = size;
}

static void write_address(uint64_t *address, bool high, uint32_t value, unsigned align)
{
	uint64_t merged =
		high ? (uint32_t)*address | (uint64_t)value << 32 : *address >> 32 << 32 | value;

	if (merged % align == 0)
		*address = merged;
}

static void write_queue(struct model *model, uint64_t offset, uint32_t value)
{
	struct model_layout *layout = &model->queue[model->queue_sel % MODEL_QUEUES].layout;

	if (!queue_is_open(model))
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		write_size(layout, (uint16_t)value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		layout->ready = value == 1;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		write_address(&layout->desc, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value, 16);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		write_address(&layout->avail, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value, 2);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		write_address(&layout->used, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value, 4);
		break;
	default:
		break;
	}
}

enum model_refusal model_write(struct model *model, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		model->device_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		model->driver_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_features(model, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		model->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (value < model->queues)
			notify(model, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		model->interrupt_status &= ~value;
		break;
	case VIRTIO_MMIO_STATUS:
		return write_status(model, value);
	default:
		write_queue(model, offset, value);
		break;
	}
	return MODEL_STORED;
}

uint32_t model_read(const struct model *model, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return 'v' | 'i' << 8 | 'r' << 16 | 't' << 24;
	case VIRTIO_MMIO_VERSION:
	case VIRTIO_MMIO_DEVICE_ID:
		return 2;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return model->device_sel > 1
			       ? 0
			       : (uint32_t)(model_offered(model) >> 32 * model->device_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return model->queue_sel < model->queues ? QUEUE_SIZE_MAX : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return model->queue_sel < model->queues &&
		       model->queue[model->queue_sel].layout.ready;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return model->interrupt_status;
	case VIRTIO_MMIO_STATUS:
		return model->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return model->generation;
	default:
		return 0;
	}
}

void model_write_config(struct model *model, uint64_t offset, uint8_t value)
{
	if ((model->status & VIRTIO_CONFIG_S_FEATURES_OK) && offset == WRITEBACK && value < 2 &&
	    (model->accepted >> VIRTIO_BLK_F_CONFIG_WCE & 1))
		model->write_through = !value;
}

static void put(uint8_t *at, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* What other features than the base's describe: offset, size and value of each field. */
static void fill_rest(const struct model *model, uint8_t config[CONFIG_BYTES])
{
	config[24] = 3; /* physical blocks of 2^3 sectors */
	put(config + 26, 2, 8);
	config[WRITEBACK] = !model->write_through;
	put(config + 34, 2, model_queues(model));
	if (model_offered(model) >> VIRTIO_BLK_F_DISCARD & 1) {
		put(config + 36, 4, ORACLE_SECTORS_MAX);
		put(config + 40, 4, ORACLE_RANGES_MAX);
		put(config + 44, 4, 8);
	}
	if (model_offered(model) >> VIRTIO_BLK_F_WRITE_ZEROES & 1) {
		put(config + 48, 4, ORACLE_SECTORS_MAX);
		put(config + 52, 4, ORACLE_RANGES_MAX);
		config[56] = 1;
	}
}

void model_read_config(const struct model *model, uint64_t offset, uint8_t *bytes, size_t length)
{
	uint8_t config[CONFIG_BYTES] = { 0 };

	put(config, 8, model->capacity_bytes / 512);
	config[8 + 2] = 1 << 4; /* size_max: 2^20 */
	config[12] = 128;	/* seg_max */
	config[20 + 1] = 2;	/* blk_size: 512 */
	if (model->options.all)
		fill_rest(model, config);
	for (size_t i = 0; i < length; i++)
		bytes[i] =
			offset + i < CONFIG_BYTES && offset + i >= offset ? config[offset + i] : 0;
}
