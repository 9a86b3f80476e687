/* SPDX-License-Identifier: MIT */
/*
 * What holds for any request, tried with seeded random ones: nothing hangs or is lost, every chain
 * is answered or counted, and how a request is cut into descriptors makes no difference. The rings
 * lie where no random address can hit them, so what is asked of them is exact.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define CASES	  256u
#define DISK_SIZE 4096u
#define SECTOR	  VBLK_SECTOR_SIZE
#define W	  VRING_DESC_F_WRITE
#define MIB	  (1u << 20)

/* Random addresses are below 16 MiB; the first MiB is there. */
#define RANDOM_LIMIT (16u * MIB)
#define RINGS	     (32u * MIB)
#define SAFE	     (RINGS + 0x8000u) /* for what no random request shall touch */

static const struct guest_region regions[] = { { 0, MIB }, { RINGS, 0x10000 } };

static struct guest_options away(void)
{
	return (struct guest_options){
		.device.engine = VBLK_ENGINE_INLINE,
		.regions = regions,
		.region_count = 2,
		.desc = RINGS,
		.avail = RINGS + 0x2000,
		.used = RINGS + 0x4000,
	};
}

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
static uint32_t random_below(uint32_t limit)
{
	return (uint32_t)(random_u64() % limit);
}

/* Fails with the number of the case, which is its seed. */
#define check(number, condition)                                             \
	do {                                                                 \
		if (!(condition))                                            \
			fail_msg("case %u: not %s", (number), (#condition)); \
	} while (0)

/* Creates the guest of case `number`, and its numbers. */
static void start(struct guest *g, unsigned number)
{
	const struct guest_options options = away();

	random_state = number;
	guest_create(g, &options, disk_create(DISK_SIZE, 0));
	guest_start(g);
}

static uint8_t safe_status(struct guest *g)
{
	return *guest_at(g, SAFE + 0x100);
}

/* A request as it should be, beside all that came before. */
static void expect_still_serving(struct guest *g, unsigned number)
{
	const struct guest_desc desc[] = { { SAFE, 16, 0 },
					   { SAFE + 0x200, 20, W },
					   { SAFE + 0x100, 1, W } };
	uint16_t used_idx = guest_used_idx(g);

	guest_put_header(g, SAFE, VIRTIO_BLK_T_GET_ID, 0);
	*guest_at(g, SAFE + 0x100) = GUEST_SENTINEL;
	guest_offer(g, guest_chain(g, desc, 3));
	guest_kick(g);
	check(number, guest_used_idx(g) == (uint16_t)(used_idx + 1));
	check(number, safe_status(g) == VIRTIO_BLK_S_OK);
	check(number, guest_status(g) == 0xf);
}

/* Chains of raw descriptors that lead anywhere, also into each other and through themselves. */
static void test_16_8_1_progress_under_random_chains(void **state)
{
	(void)state;
	for (unsigned number = 0; number < CASES; number++) {
		struct vblk_metrics_snapshot m;
		uint16_t count, used;
		struct guest g;

		start(&g, number);
		count = (uint16_t)(1 + random_below(200));
		for (uint16_t i = 0; i < count; i++) {
			/* Half of them are small enough to be good for something. */
			uint32_t reach = random_below(2) ? MIB : RANDOM_LIMIT;
			uint32_t len = random_below(2) ? 1024 : 8 * MIB;

			guest_put_desc(&g, i, random_below(reach), random_below(len),
				       (uint16_t)random_below(8), (uint16_t)random_u64());
			guest_offer(&g, i);
		}
		guest_kick(&g);
		vblk_device_run(g.device);
		m = guest_metrics(&g);
		used = guest_used_idx(&g);
		check(number, used <= count);
		check(number, used + m.io_errors >= count);
		check(number, m.io_errors <= 2u * count);
		check(number, m.reads_completed + m.writes_completed + m.flushes_completed <= used);
		check(number, m.throttled == 0 && m.invalid_avail_idx == 0);
		check(number, (guest_take_interrupts(&g) > 0) == (used > 0));
		g.next_desc = 210;
		expect_still_serving(&g, number);
		guest_destroy(&g);
	}
}

static void test_16_8_2_random_header_address(void **state)
{
	(void)state;
	for (unsigned number = 0; number < CASES; number++) {
		struct guest_desc desc[] = { { 0, 16, 0 },
					     { GUEST_DATA, SECTOR, W },
					     { GUEST_STATUS, 1, W } };
		struct guest g;
		bool mapped;

		start(&g, number);
		desc[0].addr = random_below(random_below(2) ? MIB + 64 : RANDOM_LIMIT);
		*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
		mapped = desc[0].addr + 16 <= MIB;
		guest_offer(&g, guest_chain(&g, desc, 3));
		guest_kick(&g);
		/* Memory is all zeros, which reads sector 0; but for the sentinel. */
		if (desc[0].addr + 16 > GUEST_STATUS && desc[0].addr <= GUEST_STATUS)
			check(number, guest_status_byte(&g) <= VIRTIO_BLK_S_UNSUPP);
		else
			check(number, guest_status_byte(&g) ==
					      (mapped ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR));
		check(number, guest_used_idx(&g) == 1);
		expect_still_serving(&g, number);
		guest_destroy(&g);
	}
}

/* What a request of one data descriptor must give, from the gates alone. */
static uint8_t expected_status(uint32_t type, uint32_t len)
{
	if (len > MIB)
		return VIRTIO_BLK_S_IOERR;
	switch (type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return len > 0 && len % SECTOR == 0 && len <= DISK_SIZE ? VIRTIO_BLK_S_OK
									: VIRTIO_BLK_S_IOERR;
	case VIRTIO_BLK_T_FLUSH:
		return len == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
	case VIRTIO_BLK_T_GET_ID:
		return len >= 20 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

static uint32_t random_length(void)
{
	switch (random_below(4)) {
	case 0:
		return random_below(8 * MIB);
	case 1:
		return random_below(17) * SECTOR;
	case 2:
		return MIB - 2 + random_below(4);
	default:
		return random_below(64);
	}
}

static void test_16_8_3_random_data_length(void **state)
{
	(void)state;
	for (unsigned number = 0; number < 4 * CASES; number++) {
		uint32_t type, len;
		struct guest g;

		start(&g, number);
		type = random_below(9);
		len = random_length();
		guest_request(&g, type, 0, len);
		guest_kick(&g);
		check(number, guest_status_byte(&g) == expected_status(type, len));
		check(number, guest_used_idx(&g) == 1);
		expect_still_serving(&g, number);
		guest_destroy(&g);
	}
}

/* All there are instead of some: INDIRECT leads into zeros, and so to no status. */
static void test_16_8_4_all_flags_of_a_data_descriptor(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags < 0x10000; flags += flags < 16 ? 1 : 0x7f) {
		bool indirect = flags & VRING_DESC_F_INDIRECT;
		struct guest g;

		start(&g, flags);
		guest_put_header(&g, GUEST_HEADER, VIRTIO_BLK_T_IN, 0);
		*guest_at(&g, GUEST_STATUS) = GUEST_SENTINEL;
		guest_put_desc(&g, 0, GUEST_HEADER, 16, VRING_DESC_F_NEXT, 1);
		guest_put_desc(&g, 1, GUEST_DATA, SECTOR, (uint16_t)(flags | VRING_DESC_F_NEXT), 2);
		guest_put_desc(&g, 2, GUEST_STATUS, 1, W, 0);
		guest_offer(&g, 0);
		guest_kick(&g);
		check(flags, guest_used_idx(&g) == !indirect);
		if (indirect)
			check(flags, guest_status_byte(&g) == GUEST_SENTINEL);
		else
			check(flags, guest_status_byte(&g) ==
					     (flags & W ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR));
		check(flags, guest_metrics(&g).io_errors == (indirect || !(flags & W)));
		g.next_desc = 3;
		expect_still_serving(&g, flags);
		guest_destroy(&g);
	}
}

static void test_16_8_5_stalls_of_random_shapes(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH };

	(void)state;
	for (unsigned number = 0; number < CASES; number++) {
		struct guest_options options = away();
		struct guest_desc desc[10];
		struct bare_drain bare;
		uint32_t type, sector, count, bytes = 0;
		bool fits;

		random_state = number;
		options.device.throttle.iops = 1;
		bare_drain_create(&bare, &options, disk_create(DISK_SIZE, 0));
		bare.drain.config.disk->throttle->state.ops.available = 0;
		type = types[random_below(3)];
		sector = random_below(8);
		count = 1 + random_below(8);
		desc[0] = (struct guest_desc){ GUEST_HEADER, 16, 0 };
		for (uint32_t i = 1; i <= count; i++) {
			uint32_t len = SECTOR * (1 + random_below(4));

			desc[i] = (struct guest_desc){ 0x10000 * i, len,
						       type == VIRTIO_BLK_T_IN ? W : 0 };
			bytes += len;
		}
		desc[count + 1] = (struct guest_desc){ GUEST_STATUS, 1, W };
		guest_put_header(&bare.guest, GUEST_HEADER, type, sector);
		*guest_at(&bare.guest, GUEST_STATUS) = GUEST_SENTINEL;
		guest_offer(&bare.guest, guest_chain(&bare.guest, desc, count + 2));
		if (type ==
		    VIRTIO_BLK_T_FLUSH) { /* it has data, and is refused before all limits */
			bare_drain_run(&bare, VBLK_DRAIN_DONE);
			expect_answer(&bare.guest, VIRTIO_BLK_S_IOERR, 1);
			expect_counters(&bare.guest, .io_errors = 1);
			bare_drain_destroy(&bare);
			continue;
		}
		check(number, bare_drain_run(&bare, VBLK_DRAIN_STALLED) == VBLK_NSEC_PER_SEC);
		expect_answer(&bare.guest, GUEST_SENTINEL, 0);
		expect_counters(&bare.guest, .throttled = 1, .throttled_now = 1);
		check(number, bare.drain.queue.next_avail == 0);
		bare.guest.now_ns += VBLK_NSEC_PER_SEC;
		bare_drain_run(&bare, VBLK_DRAIN_DONE);
		fits = sector * SECTOR + bytes <= DISK_SIZE;
		expect_answer(&bare.guest, fits ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR, 1);
		check(number, guest_metrics(&bare.guest).throttled_now == 0);
		check(number, guest_metrics(&bare.guest).io_errors == !fits);
		bare_drain_destroy(&bare);
	}
}

/* A run of bytes of one direction, in pieces that lie apart. */
struct pieces {
	struct guest_desc desc[130];
	size_t count;
	uint64_t next; /* where the next piece may lie */
};

static void cut(struct pieces *p, uint32_t length, uint16_t flags, size_t most)
{
	size_t last = p->count + most - 1;

	while (length > 0) {
		/* Also nothing at all, now and then; the last of them takes what is left. */
		uint32_t part = random_below(4) ? 1 + random_below(length) : 0;

		if (p->count == last)
			part = length;
		p->next += 1 + random_below(40);
		p->desc[p->count++] = (struct guest_desc){ p->next, part, flags };
		p->next += part;
		length -= part;
	}
}

/* The `index`th byte of the pieces of a direction. */
static uint8_t *byte_of(struct guest *g, const struct pieces *p, uint16_t flags, uint32_t index)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->desc[i].flags != flags)
			continue;
		if (index < p->desc[i].len)
			return guest_at(g, p->desc[i].addr + index);
		index -= p->desc[i].len;
	}
	fail_msg("no byte %u", index);
	return NULL;
}

static void put_header_in_pieces(struct guest *g, const struct pieces *p, uint32_t type,
				 uint64_t sector)
{
	guest_put_header(g, SAFE, type, sector);
	for (uint32_t i = 0; i < 16; i++)
		*byte_of(g, p, 0, i) = *guest_at(g, SAFE + i);
}

static void test_D_LAYOUT_any_cut_reads_the_same(void **state)
{
	(void)state;
	for (unsigned number = 0; number < CASES; number++) {
		struct pieces p = { .next = 0x1000 };
		uint32_t sectors, length;
		struct guest g;

		start(&g, number);
		for (uint32_t i = 0; i < 8; i++)
			disk_fill(g.backing, i * SECTOR, (uint8_t)(0x10 + i), SECTOR);
		sectors = 1 + random_below(8);
		length = sectors * SECTOR;
		cut(&p, 16, 0, 16);
		cut(&p, length + 1, W, 100);
		put_header_in_pieces(&g, &p, VIRTIO_BLK_T_IN, 8 - sectors);
		*byte_of(&g, &p, W, length) = GUEST_SENTINEL;
		guest_offer(&g, guest_chain(&g, p.desc, p.count));
		guest_kick(&g);
		check(number, *byte_of(&g, &p, W, length) == VIRTIO_BLK_S_OK);
		for (uint32_t i = 0; i < length; i++)
			check(number, *byte_of(&g, &p, W, i) == 0x10 + 8 - sectors + i / SECTOR);
		check(number, guest_used_elem(&g, 0).len == length + 1);
		expect_counters(&g, .reads_completed = 1, .bytes_read = length);
		expect_still_serving(&g, number);
		guest_destroy(&g);
	}
}

static void test_D_LAYOUT_any_cut_writes_the_same(void **state)
{
	(void)state;
	for (unsigned number = 0; number < CASES; number++) {
		struct pieces p = { .next = 0x1000 };
		uint32_t sectors, length;
		struct guest g;

		start(&g, number);
		sectors = 1 + random_below(8);
		length = sectors * SECTOR;
		cut(&p, 16 + length, 0, 100);
		cut(&p, 1, W, 8);
		put_header_in_pieces(&g, &p, VIRTIO_BLK_T_OUT, 8 - sectors);
		for (uint32_t i = 0; i < length; i++)
			*byte_of(&g, &p, 0, 16 + i) = (uint8_t)(0x20 + i / SECTOR);
		guest_offer(&g, guest_chain(&g, p.desc, p.count));
		guest_kick(&g);
		check(number, *byte_of(&g, &p, W, 0) == VIRTIO_BLK_S_OK);
		check(number, guest_used_elem(&g, 0).len == 1);
		for (uint32_t i = 0; i < 8; i++) {
			uint8_t want = i < 8 - sectors ? 0 : (uint8_t)(0x20 + i - (8 - sectors));

			check(number, disk_is_filled(g.backing, i * SECTOR, want, SECTOR));
		}
		expect_counters(&g, .writes_completed = 1, .bytes_written = length);
		guest_destroy(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_16_8_1_progress_under_random_chains),
		cmocka_unit_test(test_16_8_2_random_header_address),
		cmocka_unit_test(test_16_8_3_random_data_length),
		cmocka_unit_test(test_16_8_4_all_flags_of_a_data_descriptor),
		cmocka_unit_test(test_16_8_5_stalls_of_random_shapes),
		cmocka_unit_test(test_D_LAYOUT_any_cut_reads_the_same),
		cmocka_unit_test(test_D_LAYOUT_any_cut_writes_the_same),
	};

	return cmocka_run_group_tests_name("drain_property", tests, NULL, NULL);
}
