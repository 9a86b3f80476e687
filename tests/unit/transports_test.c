/* SPDX-License-Identifier: MIT */
/*
 * One driver, two front ends: seeded random programs of requests are done to a device behind the
 * register window, with its inline engine, and to one behind a vhost-user session, with a worker.
 * After each step all that a driver can see is the same, every byte of memory included, and so are
 * the numbers of calls to the disk; in the end every byte of the disk. What either has to do is the
 * business of other tests.
 */
#include "disk.h"
#include "expect.h"
#include "guest_transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/le.h"

#define PROGRAMS  60u
#define STEPS	  40u
#define DISK_SIZE 16384u
#define RAM_SIZE  0x20000u
#define QUEUE	  16u
#define W	  VRING_DESC_F_WRITE
#define BIT(n)	  ((uint64_t)1 << (n))

static const struct guest_region regions[] = { { 0, RAM_SIZE } };

enum side {
	REGISTERS,
	SESSION,
	SIDES,
};

struct pair {
	struct guest g[SIDES];
	struct vblk_backing *disk[SIDES];
	unsigned program;
	unsigned step;
};

/* splitmix64: the same numbers on every machine. */
static uint64_t random_state;

static uint64_t random_u64(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* From 0 to limit - 1. */
static uint32_t below(uint32_t limit)
{
	return (uint32_t)(random_u64() % limit);
}

static bool one_in(uint32_t count)
{
	return below(count) == 0;
}

/* ---- both at once ---- */

static uint64_t some_features(void)
{
	uint64_t features = BIT(VIRTIO_F_VERSION_1);
	static const unsigned others[] = {
		VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_BLK_F_FLUSH,
		VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD,	      VIRTIO_BLK_F_WRITE_ZEROES,
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(others); i++) {
		if (!one_in(3))
			features |= BIT(others[i]);
	}
	return features;
}

/* Of what was chosen, a read-only disk does not offer all. */
static void start(struct pair *pair)
{
	uint64_t features = some_features();

	for (unsigned i = 0; i < SIDES; i++)
		guest_start_with(&pair->g[i], features & guest_offered(&pair->g[i]));
}

static void create(struct pair *pair, unsigned program)
{
	struct guest_options options = {
		.device.engine = VBLK_ENGINE_INLINE,
		.regions = regions,
		.region_count = 1,
		.queue_size = QUEUE,
		.all_features = true,
	};

	random_state = program;
	pair->program = program;
	options.device.read_only = one_in(8);
	if (one_in(2))
		options.device.on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET;
	for (unsigned i = 0; i < SIDES; i++) {
		options.transport = i == REGISTERS ? &guest_mmio : &guest_vhost;
		pair->disk[i] = disk_create_faulty(DISK_SIZE, 0xab, NULL, 0);
		guest_create(&pair->g[i], &options, pair->disk[i]);
	}
	start(pair);
}

static void put_desc(struct pair *pair, uint16_t index, const struct guest_desc *desc,
		     uint16_t next)
{
	for (unsigned i = 0; i < SIDES; i++)
		guest_put_desc(&pair->g[i], index, desc->addr, desc->len, desc->flags, next);
}

static void put_header(struct pair *pair, uint32_t type, uint64_t sector)
{
	for (unsigned i = 0; i < SIDES; i++)
		guest_put_header(&pair->g[i], GUEST_HEADER, type, sector);
}

static void put_bytes(struct pair *pair, uint64_t address, const void *bytes, size_t length)
{
	for (unsigned i = 0; i < SIDES; i++)
		memcpy(guest_at(&pair->g[i], address), bytes, length);
}

static void offer(struct pair *pair, uint16_t head)
{
	for (unsigned i = 0; i < SIDES; i++)
		guest_offer(&pair->g[i], head);
}

/* ---- steps ---- */

static const uint32_t types[] = {
	VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,		 VIRTIO_BLK_T_IN,
	VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,	 VIRTIO_BLK_T_GET_ID,
	VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, 0xbeef,
};

static bool is_ranges(uint32_t type)
{
	return type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static void put_ranges(struct pair *pair)
{
	uint8_t raw[16];

	vblk_le64_put(raw, below(DISK_SIZE / 512 + 2));
	vblk_le32_put(raw + 8, 1 + below(4));
	vblk_le32_put(raw + 12, one_in(8) ? below(4) : 0);
	put_bytes(pair, GUEST_DATA, raw, sizeof(raw));
}

static uint32_t some_length(uint32_t type)
{
	if (type == VIRTIO_BLK_T_FLUSH && !one_in(8))
		return 0;
	if (type == VIRTIO_BLK_T_GET_ID)
		return below(40);
	if (is_ranges(type))
		return 16;
	return one_in(8) ? below(1500) : 512 * (1 + below(4));
}

/* Whatever a driver can get wrong about a descriptor, now and then. */
static void spoil(struct guest_desc *desc)
{
	switch (below(40)) {
	case 0:
		desc->addr = RAM_SIZE - below(64);
		break;
	case 1:
		desc->addr = random_u64();
		break;
	case 2:
		desc->len = below(64);
		break;
	case 3:
		desc->flags ^= W;
		break;
	case 4:
		desc->flags ^= VRING_DESC_F_NEXT;
		break;
	case 5:
		desc->flags ^= VRING_DESC_F_INDIRECT;
		break;
	default:
		break;
	}
}

static void request(struct pair *pair)
{
	uint32_t type = types[below(VBLK_ARRAY_SIZE(types))];
	uint16_t data_flags = type == VIRTIO_BLK_T_OUT || is_ranges(type) ? 0 : W;
	uint32_t length = some_length(type);
	uint16_t first = (uint16_t)(3 * below(5));
	struct guest_desc desc[] = {
		{ GUEST_HEADER, 16, VRING_DESC_F_NEXT },
		{ GUEST_DATA, length, (uint16_t)(data_flags | VRING_DESC_F_NEXT) },
		{ GUEST_STATUS, 1, W },
	};

	put_header(pair, type, below(DISK_SIZE / 512 + 1));
	if (is_ranges(type))
		put_ranges(pair);
	for (uint16_t i = 0; i < 3; i++) {
		uint16_t next = (uint16_t)(first + i + 1);

		if (i == 0 && length == 0)
			next++;
		spoil(&desc[i]);
		put_desc(pair, (uint16_t)(first + i), &desc[i], next);
	}
	offer(pair, one_in(40) ? (uint16_t)below(0x10000) : first);
}

/* The new rings are empty, as those of drivers are: only a worker looks at them before a
 * notification.
 */
static void reset(struct pair *pair)
{
	for (unsigned i = 0; i < SIDES; i++) {
		guest_reset(&pair->g[i]);
		guest_fill(&pair->g[i], 0x1000, 0, 0x2000);
	}
	start(pair);
}

static void resize(struct pair *pair)
{
	uint64_t size = 512ull * (1 + below(DISK_SIZE / 512));
	uint32_t flags = one_in(3) ? 0 : VBLK_RESIZE_SHRINK;
	int ret[SIDES];

	for (unsigned i = 0; i < SIDES; i++)
		ret[i] = guest_resize(&pair->g[i], size, flags);
	assert_int_equal(ret[REGISTERS], ret[SESSION]);
}

static void step(struct pair *pair)
{
	uint8_t bytes[64];
	uint16_t where = (uint16_t)random_u64();

	switch (below(16)) {
	case 0:
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random_u64();
		put_bytes(pair, GUEST_DATA + below(1024), bytes, sizeof(bytes));
		return;
	case 1:
		for (unsigned i = 0; i < SIDES; i++)
			guest_set_used_event(&pair->g[i],
					     (uint16_t)(guest_used_idx(&pair->g[i]) + where % 4));
		return;
	case 2:
		for (unsigned i = 0; i < SIDES; i++)
			guest_write_config(&pair->g[i], 32, where & 1);
		return;
	case 3:
		resize(pair);
		return;
	case 4:
		reset(pair);
		return;
	case 5:
		if (one_in(4)) {
			for (unsigned i = 0; i < SIDES; i++)
				guest_set_avail_idx(&pair->g[i], where);
		}
		break;
	default:
		for (unsigned count = 1 + below(3); count > 0; count--)
			request(pair);
		break;
	}
	for (unsigned i = 0; i < SIDES; i++)
		guest_kick(&pair->g[i]);
}

/* ---- what has to be the same ---- */

#define same(pair, a, b)                                                               \
	do {                                                                           \
		if ((a) != (b))                                                        \
			fail_msg("program %u, step %u: %s is not %s", (pair)->program, \
				 (pair)->step, #a, #b);                                \
	} while (0)

static void expect_same_bytes(struct pair *pair)
{
	const uint8_t *a = guest_at(&pair->g[REGISTERS], 0), *b = guest_at(&pair->g[SESSION], 0);

	for (size_t i = 0; memcmp(a, b, RAM_SIZE) != 0 && i < RAM_SIZE; i++) {
		if (a[i] != b[i])
			fail_msg("program %u, step %u: byte at %#zx is %#x and %#x", pair->program,
				 pair->step, i, a[i], b[i]);
	}
}

static void expect_same(struct pair *pair)
{
	struct guest *g = pair->g;
	struct vblk_metrics_snapshot counters = guest_metrics(&g[REGISTERS]);
	uint64_t interrupts = guest_take_interrupts(&g[REGISTERS]);

	expect_same_bytes(pair);
	same(pair, guest_status(&g[SESSION]), guest_status(&g[REGISTERS]));
	same(pair, guest_take_interrupts(&g[SESSION]), interrupts);
	same(pair, guest_capacity(&g[SESSION]), guest_capacity(&g[REGISTERS]));
	expect_counters_at(&g[SESSION], &counters, __FILE__, __LINE__);
	for (enum vblk_faulty_op op = 0; op < VBLK_FAULTY_OPS; op++)
		same(pair, vblk_faulty_calls(pair->disk[SESSION], op),
		     vblk_faulty_calls(pair->disk[REGISTERS], op));
	same(pair, guest_metrics(&g[SESSION]).notifications, counters.notifications);
	same(pair, guest_metrics(&g[SESSION]).bytes_discarded, counters.bytes_discarded);
	same(pair, guest_metrics(&g[SESSION]).bytes_zeroed, counters.bytes_zeroed);
}

static void expect_same_disk(struct pair *pair)
{
	static uint8_t bytes[SIDES][DISK_SIZE];

	for (unsigned i = 0; i < SIDES; i++) {
		const struct iovec iov = { bytes[i], DISK_SIZE };

		assert_int_equal(vblk_backing_preadv(pair->disk[i], &iov, 1, 0), DISK_SIZE);
	}
	same(pair, memcmp(bytes[REGISTERS], bytes[SESSION], DISK_SIZE), 0);
}

static void test_a_driver_cannot_tell_the_front_ends_apart(void **state)
{
	(void)state;
	for (unsigned program = 0; program < PROGRAMS; program++) {
		struct pair pair;

		create(&pair, program);
		for (pair.step = 0; pair.step < STEPS; pair.step++) {
			step(&pair);
			expect_same(&pair);
		}
		expect_same_disk(&pair);
		for (unsigned i = 0; i < SIDES; i++)
			guest_destroy(&pair.g[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_driver_cannot_tell_the_front_ends_apart),
	};

	return cmocka_run_group_tests_name("transports", tests, NULL, NULL);
}
