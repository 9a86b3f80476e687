/* SPDX-License-Identifier: MIT */
/* The steps of a program. */
#include "twins.h"
#include "disk.h"
#include "guest_transport.h"
#include "twins_expect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/checked.h"
#include "base/le.h"

#define QUEUE	  16u
#define SLOTS	  5u
#define ALL_SLOTS 0x1fu
#define WRITEBACK 32u /* the byte of configuration space that a driver may write */
#define W	  VRING_DESC_F_WRITE
#define BIT(n)	  ((uint64_t)1 << (n))

/* Bytes of memory that only the two rings are in. */
#define RINGS	   0x1000u
#define RINGS_SIZE 0x2000u

/* Where a slot has its parts; its descriptors are 3 * slot and the two behind it. */
#define HEADER_AT(slot) (0x4000u + 0x20u * (slot))
#define STATUS_AT(slot) (0x4010u + 0x20u * (slot))
#define TABLE_AT(slot)	(0x4800u + 0x40u * (slot))
#define DATA_AT(slot)	(0x5000u + 0x1000u * (slot))

static const struct guest_region regions[] = { { 0, TWINS_RAM_SIZE } };

static uint16_t u16(const uint8_t *at)
{
	return vblk_le16_get(at);
}

/* ---- the driver ---- */

/* Of what was chosen, a disk may not offer all. */
static void start(struct twins *twins, uint8_t left_out)
{
	static const unsigned features[] = {
		VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_BLK_F_FLUSH,
		VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD,	      VIRTIO_BLK_F_WRITE_ZEROES,
	};
	uint64_t accepted = BIT(VIRTIO_F_VERSION_1);

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(features); i++) {
		if (!(left_out >> i & 1))
			accepted |= BIT(features[i]);
	}
	twins_expect_same_number(twins, "what is offered", guest_offered(&twins->g[REGISTERS]),
				 guest_offered(&twins->g[SESSION]));
	for_each_twin (guest, twins)
		guest_start_with(guest, accepted & guest_offered(guest));
	twins->left_out = left_out & 0x3f;
	twins->wild = false;
	twins->in_ring = 0;
	twins->errors_at_reset = guest_metrics(&twins->g[REGISTERS]).io_errors;
}

/* The queue is drained as often as there is something to do without waiting. */
static void finish(struct twins *twins)
{
	struct guest *guest = &twins->g[REGISTERS];
	uint64_t when;

	while (vblk_device_next_deadline(guest->device, &when) && when <= guest->now_ns)
		guest_run(guest);
}

/* Whose request waits for tokens looks again; who waits for a notification does not. */
static void set_limits(struct twins *twins)
{
	for_each_twin (guest, twins)
		assert_int_equal(guest_set_throttle(guest, &twins->limits), 0);
	finish(twins);
}

/*
 * An eventfd does not tell how often it was signalled while the device rested. And while a request
 * waits for tokens a worker does not look at it, when the inline engine does, and may find that the
 * driver has changed it to one that needs none; so both are made to look.
 */
static void notify(struct twins *twins)
{
	if (twins->paused && twins->notified)
		return;
	for_each_twin (guest, twins)
		guest_kick(guest);
	twins->notified = true;
	twins->looked |= !twins->paused;
	if (twins->before[REGISTERS].throttled_now > 0)
		set_limits(twins);
	finish(twins);
}

/*
 * Whether a driver may write to the chains of these slots (a bit for each), or to the rings. While
 * a request waits for tokens both are looked at whenever the worker's timer says so, and what is
 * wrong with them is found then; that is no matter of programs.
 */
static bool may_write(const struct twins *twins, unsigned slots)
{
	return twins->before[REGISTERS].throttled_now == 0 ||
	       !(twins->wild || (twins->in_ring & slots));
}

static void put_bytes(struct twins *twins, uint64_t address, const void *bytes, size_t length)
{
	for_each_twin (guest, twins)
		memcpy(guest_at(guest, address), bytes, length);
}

static bool is_ranges(uint32_t type)
{
	return type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static uint32_t some_length(uint32_t type, uint8_t a)
{
	if (type == VIRTIO_BLK_T_FLUSH)
		return a % 8 == 7 ? 512 : 0;
	if (type == VIRTIO_BLK_T_GET_ID)
		return (20u + a) % 40u;
	if (is_ranges(type))
		return a % 8 == 7 ? 32 : 16;
	return a < 224 ? 512 * (1 + a % 8u) : 6u * a;
}

static void put_range(struct twins *twins, uint64_t address, const uint8_t a[7])
{
	uint8_t raw[32] = { 0 };

	vblk_le64_put(raw, a[2] % (TWINS_DISK_SIZE / 512 + 2));
	vblk_le32_put(raw + 8, 1 + a[4] % 8u);
	vblk_le32_put(raw + 12, a[5] < 32 ? 0 : a[5] % 4u);
	put_bytes(twins, address, raw, sizeof(raw));
}

/* Whatever a driver can get wrong about a descriptor. */
static void spoil(struct twins *twins, struct guest_desc desc[3], const uint8_t a[7])
{
	struct guest_desc *which = &desc[a[3] % 3];

	if (a[3] < 208)
		return;
	twins->wild = true;
	switch ((a[3] - 208) / 3 % 6) {
	case 0:
		which->addr = TWINS_RAM_SIZE - a[4] % 64u;
		break;
	case 1:
		which->addr = (uint64_t)a[4] << (a[5] & 63);
		break;
	case 2:
		which->len = u16(a + 4);
		break;
	case 3:
		which->flags ^= W;
		break;
	case 4:
		which->flags ^= VRING_DESC_F_NEXT;
		break;
	default:
		which->flags ^= VRING_DESC_F_INDIRECT;
		break;
	}
}

static void put_table(struct twins *twins, unsigned slot, const struct guest_desc desc[3],
		      bool has_data)
{
	uint8_t raw[48] = { 0 };
	uint16_t at = 0;

	for (unsigned i = 0; i < 3; i++) {
		if (i == 1 && !has_data)
			continue;
		vblk_le64_put(raw + 16 * at, desc[i].addr);
		vblk_le32_put(raw + 16 * at + 8, desc[i].len);
		vblk_le16_put(raw + 16 * at + 12, desc[i].flags);
		vblk_le16_put(raw + 16 * at + 14, (uint16_t)(at + 1));
		at++;
	}
	put_bytes(twins, TABLE_AT(slot), raw, sizeof(raw));
	for_each_twin (guest, twins)
		guest_put_desc(guest, (uint16_t)(3 * slot), TABLE_AT(slot), 16u * at,
			       VRING_DESC_F_INDIRECT, 0);
}

static void put_chain(struct twins *twins, unsigned slot, const struct guest_desc desc[3],
		      bool has_data)
{
	uint16_t first = (uint16_t)(3 * slot);

	for_each_twin (guest, twins) {
		for (uint16_t i = 0; i < 3; i++)
			guest_put_desc(guest, (uint16_t)(first + i), desc[i].addr, desc[i].len,
				       desc[i].flags,
				       (uint16_t)(first + i + (i == 0 && !has_data ? 2 : 1)));
	}
}

/* The same of the available ring, which more than there is room for would break. */
static bool may_offer(struct twins *twins)
{
	struct guest *guest = &twins->g[REGISTERS];
	uint16_t there = (uint16_t)(guest->avail_idx - guest_used_idx(guest));

	return twins->before[REGISTERS].throttled_now == 0 || (!twins->wild && there < QUEUE);
}

static void offer(struct twins *twins, uint16_t head)
{
	if (!may_offer(twins))
		return;
	twins->in_ring |= head < 3 * SLOTS ? 1u << head / 3 : ALL_SLOTS;
	for_each_twin (guest, twins)
		guest_offer(guest, head);
	twins->looked = false;
}

static void request(struct twins *twins, const uint8_t a[7])
{
	static const uint32_t types[] = {
		VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,		 VIRTIO_BLK_T_IN,
		VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,	 VIRTIO_BLK_T_GET_ID,
		VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, 0xbeef,
	};
	uint32_t type = types[a[0] % VBLK_ARRAY_SIZE(types)];
	uint16_t data_flags = type == VIRTIO_BLK_T_OUT || is_ranges(type) ? 0 : W;
	uint32_t length = some_length(type, a[1]);
	unsigned slot = (a[6] & 7u) % SLOTS;
	bool headless = a[6] >> 5 == 7;
	struct guest_desc desc[] = {
		{ HEADER_AT(slot), 16, VRING_DESC_F_NEXT },
		{ DATA_AT(slot), length, (uint16_t)(data_flags | VRING_DESC_F_NEXT) },
		{ STATUS_AT(slot), 1, W },
	};

	if (!may_write(twins, 1u << slot))
		return;
	for_each_twin (guest, twins)
		guest_put_header(guest, HEADER_AT(slot), type, a[2] % (TWINS_DISK_SIZE / 512 + 1));
	if (is_ranges(type))
		put_range(twins, DATA_AT(slot), a);
	spoil(twins, desc, a);
	if (a[6] & 0x08)
		put_table(twins, slot, desc, length > 0);
	else
		put_chain(twins, slot, desc, length > 0);
	if (a[6] & 0x10)
		return;
	twins->wild |= headless;
	offer(twins, headless ? u16(a + 4) : (uint16_t)(3 * slot));
	if (a[6] & 0x40)
		offer(twins, (uint16_t)(3 * slot));
	if (a[6] & 0x20)
		notify(twins);
}

static void poke(struct twins *twins, const uint8_t a[7])
{
	uint64_t address = 2ull * u16(a) % (TWINS_RAM_SIZE - 4);

	if (!may_write(twins, ALL_SLOTS))
		return;
	put_bytes(twins, address, a + 3, 1 + a[2] % 4u);
	twins->wild |= address < HEADER_AT(0);
}

static void put_desc(struct twins *twins, const uint8_t a[7])
{
	if (!may_write(twins, ALL_SLOTS))
		return;
	for_each_twin (guest, twins)
		guest_put_desc(guest, a[0] % QUEUE, 4ull * u16(a + 1), u16(a + 3), a[5], a[6]);
	twins->wild = true;
}

static void move_avail_idx(struct twins *twins, const uint8_t a[7])
{
	if (!may_write(twins, ALL_SLOTS))
		return;
	for_each_twin (guest, twins)
		guest_set_avail_idx(guest, (uint16_t)(guest->avail_idx + u16(a)));
	twins->wild = true;
	twins->looked = false;
}

static void set_used_event(struct twins *twins, uint8_t ahead)
{
	for_each_twin (guest, twins)
		guest_set_used_event(guest, (uint16_t)(guest_used_idx(guest) + (int8_t)ahead));
}

/* ---- the owner ---- */

static void resize(struct twins *twins, const uint8_t a[7])
{
	uint64_t full = TWINS_DISK_SIZE / 512;
	uint64_t size = 512 * (a[0] < 192 ? full - a[0] % 8u : 1 + a[0] % (full + 4));
	uint32_t flags = a[1] % 3 == 0 ? 0 : VBLK_RESIZE_SHRINK;
	int ret[TWINS_SIDES];

	for_each_twin (guest, twins)
		ret[guest - twins->g] = guest_resize(guest, size, flags);
	twins_expect_same_number(twins, "what resizing returns", (uint64_t)ret[REGISTERS],
				 (uint64_t)ret[SESSION]);
	twins->changes += ret[SESSION] == 0;
	twins_expect_same_config(twins);
}

/* One rule at a time, of those that take no time. */
static void break_disk(struct twins *twins, const uint8_t a[7])
{
	static const uint16_t errors[] = { EIO, EINTR, ENOSPC, EAGAIN, 4095, EOPNOTSUPP };
	static const uint16_t shorts[] = { 512, 1, 100, 0, 513, 1024, 511 };
	struct vblk_faulty_rule rule = {
		.op = (enum vblk_faulty_op)(a[0] % VBLK_FAULTY_OPS),
		.action = (enum vblk_faulty_action)(a[1] % VBLK_FAULTY_DELAY),
		.first = a[3] % 4,
		.every = a[4] % 4,
		.count = 1 + a[5] % 20u,
	};

	if (rule.action == VBLK_FAULTY_SHORT && rule.op > VBLK_FAULTY_PWRITEV)
		rule.action = VBLK_FAULTY_ERROR;
	if (rule.action == VBLK_FAULTY_ERROR)
		rule.value = errors[a[2] % VBLK_ARRAY_SIZE(errors)];
	else if (rule.action == VBLK_FAULTY_SHORT)
		rule.value = shorts[a[2] % VBLK_ARRAY_SIZE(shorts)];
	else
		rule.value = 1u + a[2];
	for (unsigned side = 0; side < TWINS_SIDES; side++)
		assert_int_equal(vblk_faulty_set_rules(twins->disk[side], &rule, 1), 0);
}

static void pause(struct twins *twins)
{
	bool follows[TWINS_SIDES];

	for_each_twin (guest, twins) {
		follows[guest - twins->g] = guest_pause(guest);
		assert_int_equal(guest_wait_paused(guest, 1000), 0);
	}
	twins_expect_same_number(twins, "what pausing returns", follows[REGISTERS],
				 follows[SESSION]);
	twins->notified &= twins->paused;
	twins->paused = true;
}

static void resume(struct twins *twins)
{
	for_each_twin (guest, twins)
		guest_resume(guest);
	twins->looked |= twins->paused && twins->notified;
	twins->paused = false;
	finish(twins);
}

static void throttle(struct twins *twins, const uint8_t a[7])
{
	twins->limits = (struct vblk_throttle){ .iops = u16(a), .bps = 512ull * u16(a + 2) };
	set_limits(twins);
}

static void pass_time(struct twins *twins, const uint8_t a[7])
{
	for_each_twin (guest, twins)
		guest->now_ns += a[0] * 1000000ull << a[1] % 8;
	set_limits(twins);
}

/* A queue that is poisoned, or rests, is another one afterwards. */
static void restart(struct twins *twins)
{
	if (twins->paused || twins->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	for_each_twin (guest, twins)
		guest_restart(guest);
	twins->looked = true;
	finish(twins);
}

/*
 * That a reset ends a pause too is a register window's own. The new rings are empty, as those of
 * drivers are: only a worker looks at them before a notification.
 */
static void reset(struct twins *twins, uint8_t left_out)
{
	resume(twins);
	twins_expect_same(twins);
	for_each_twin (guest, twins) {
		guest_reset(guest);
		guest_fill(guest, RINGS, 0, RINGS_SIZE);
	}
	start(twins, left_out);
	twins_expect_same_config(twins);
}

/* ---- programs ---- */

static void step(struct twins *twins, enum twins_op op, const uint8_t a[7])
{
	switch (op) {
	case TWINS_REQUEST:
		request(twins, a);
		break;
	case TWINS_NOTIFY:
		if (a[0] & 1)
			set_used_event(twins, a[1]);
		notify(twins);
		break;
	case TWINS_POKE:
		poke(twins, a);
		break;
	case TWINS_DESC:
		put_desc(twins, a);
		break;
	case TWINS_OFFER:
		offer(twins, u16(a));
		twins->wild = true;
		break;
	case TWINS_AVAIL_IDX:
		move_avail_idx(twins, a);
		break;
	case TWINS_WRITEBACK:
		for_each_twin (guest, twins)
			guest_write_config(guest, WRITEBACK, a[0]);
		twins_expect_same_config(twins);
		break;
	case TWINS_RESIZE:
		resize(twins, a);
		break;
	case TWINS_FAULT:
		break_disk(twins, a);
		break;
	case TWINS_PAUSE:
		pause(twins);
		break;
	case TWINS_RESUME:
		resume(twins);
		break;
	case TWINS_THROTTLE:
		throttle(twins, a);
		break;
	case TWINS_CLOCK:
		pass_time(twins, a);
		break;
	case TWINS_RESTART:
		restart(twins);
		break;
	default:
		reset(twins, a[0]);
		break;
	}
}

void twins_create(struct twins *twins, uint8_t kind, uint8_t left_out)
{
	struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.device.read_only = kind & TWINS_READ_ONLY,
		.device.on_undeliverable = kind & TWINS_STRICT ? VBLK_UNDELIVERABLE_NEEDS_RESET
							       : VBLK_UNDELIVERABLE_DROP,
		.regions = regions,
		.region_count = 1,
		.queue_size = QUEUE,
		.all_features = !(kind & TWINS_BASE),
	};

	*twins = (struct twins){ .program = twins->program };
	for (unsigned side = 0; side < TWINS_SIDES; side++) {
		options.transport = side == REGISTERS ? &guest_mmio : &guest_vhost;
		twins->disk[side] = disk_create_faulty(TWINS_DISK_SIZE, 0xab, NULL, 0);
		guest_create(&twins->g[side], &options, twins->disk[side]);
	}
	start(twins, left_out);
	twins_expect_same_config(twins);
	twins_expect_same(twins);
}

void twins_step(struct twins *twins, const uint8_t record[TWINS_RECORD])
{
	twins->step++;
	step(twins, (enum twins_op)(record[0] % TWINS_OPS), record + 1);
	twins_expect_same(twins);
}

void twins_destroy(struct twins *twins)
{
	twins_expect_same_disk(twins);
	for_each_twin (guest, twins)
		guest_destroy(guest);
}
