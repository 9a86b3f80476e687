/* SPDX-License-Identifier: MIT */
/* Laying out requests. */
#include "driver.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Headers and status bytes of up to 16 requests in flight, behind the usual place of rings. */
#define SLOTS	    0x2200ull
#define SLOT_SIZE   0x40u
#define SLOT_STATUS 0x28u
/* Indirect tables, of any request. */
#define TABLE	    0xfffff900ull
#define TABLE_INNER 0x2a00ull

/* A chain on its way into memory. */
struct layout {
	struct driver *driver;
	uint64_t table;
	uint16_t first; /* descriptor of the queue */
	unsigned count; /* in this table */
	bool indirect;	/* this table is not the queue's */
};

void driver_init(struct driver *driver, uint64_t sectors, unsigned budget)
{
	*driver = (struct driver){ .size = 256, .sectors = sectors, .budget = budget };
}

void driver_put_desc(uint64_t table, uint32_t index, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	uint8_t raw[16];

	for (unsigned i = 0; i < 8; i++)
		raw[i] = (uint8_t)(addr >> 8 * i);
	for (unsigned i = 0; i < 4; i++)
		raw[8 + i] = (uint8_t)(len >> 8 * i);
	for (unsigned i = 0; i < 2; i++) {
		raw[12 + i] = (uint8_t)(flags >> 8 * i);
		raw[14 + i] = (uint8_t)(next >> 8 * i);
	}
	arena_put(table + 16ull * index, raw, sizeof(raw));
}

void driver_put_header(uint64_t address, uint32_t type, uint64_t sector)
{
	arena_put32(address, type);
	arena_put32(address + 4, 0);
	arena_put64(address + 8, sector);
}

void driver_set_avail_idx(struct driver *driver, uint16_t value)
{
	driver->avail_idx = value;
	arena_put16(driver->avail + 2, value);
}

void driver_offer(struct driver *driver, uint16_t head)
{
	arena_put16(driver->avail + 4 + 2ull * (driver->avail_idx % driver->size), head);
	driver_set_avail_idx(driver, (uint16_t)(driver->avail_idx + 1));
}

uint64_t driver_address(const struct driver *driver, uint8_t where, uint16_t offset)
{
	switch (where & 15) {
	case 0:
		return ARENA_LOW + offset % ARENA_LOW_SIZE;
	case 1:
		return ARENA_NEXT + offset % ARENA_NEXT_SIZE;
	case 2:
		return ARENA_SHREDS + offset % ARENA_SHREDS_SIZE;
	case 3:
		return ARENA_FOUR_G + offset % ARENA_FOUR_G_SIZE;
	case 4:
		return ARENA_TOP + offset % ARENA_TOP_SIZE;
	case 5:
		return ARENA_HOLE - offset % 64;
	case 6:
		return ARENA_NEXT - offset % 64;
	case 7:
		return ARENA_SHREDS + ARENA_SHREDS_SIZE - offset % 64;
	case 8:
		return ARENA_HOLE + offset % 0x3000;
	case 9:
		return driver->desc + offset % 4096;
	case 10:
		return driver->avail + offset % 1024;
	case 11:
		return driver->used + offset % 4096;
	case 12:
		return SLOTS + offset % (16 * SLOT_SIZE);
	case 13:
		return UINT64_MAX - offset % 64;
	case 14:
		return ARENA_BIG + ((uint64_t)offset << (where >> 4)) % ARENA_BIG_SIZE;
	default:
		return (uint64_t)offset << 4 * (where >> 4);
	}
}

uint32_t driver_length(uint8_t what, uint8_t detail)
{
	const uint32_t most = 1u << 20;

	switch (what & 15) {
	case 1:
		return 512 * (detail % 16 + 1u);
	case 2:
		return detail;
	case 3:
		return 512 * (detail % 8 + 1u) - 1;
	case 4:
		return 0;
	case 5:
		return 20;
	case 6:
		return 19 + detail % 4;
	case 7:
		return most - 2 + detail % 4;
	case 8:
		return most;
	case 9:
		return most + 1;
	case 10:
		return UINT32_MAX - detail;
	case 11:
		return UINT32_MAX / 128 + detail;
	case 12:
		return 256;
	case 13:
		return 1024;
	case 14:
		return 16 * detail;
	default:
		return 512;
	}
}

static uint64_t pick_sector(const struct driver *driver, uint8_t a)
{
	static const uint64_t odd[] = { 0x7fffffffffffff, 0x80000000000000, 0x7fffffffffffffff,
					UINT64_MAX,	  0xffffffff,	    0x100000000 };

	if (a <= 200)
		return a;
	if (a < 200 + 32)
		return driver->sectors - 16 + (a - 200u);
	return odd[a % COUNT(odd)];
}

static uint32_t pick_type(uint8_t a, uint8_t detail)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
					  VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,	 VIRTIO_BLK_T_OUT };

	switch (a & 7) {
	case 6:
		return detail;
	case 7:
		return VIRTIO_BLK_T_DISCARD;
	default:
		return types[a & 7];
	}
}

static unsigned pick_count(uint8_t a, uint32_t type)
{
	static const uint8_t counts[] = { 1, 0, 2, 3, 4, 16, 127, 128, 129, 130, 200 };

	if (a == 0 && type == VIRTIO_BLK_T_FLUSH)
		return 0;
	return a < COUNT(counts) ? counts[a] : a % 8u;
}

/* Where data descriptor `i` of `len` bytes lies. Legal places keep to mapped memory. */
static uint64_t pick_place(const struct driver *driver, uint8_t a, uint8_t detail, unsigned i,
			   uint32_t len)
{
	uint64_t step = (uint64_t)i * len % 0x800;

	switch (a >> 4) {
	case 1:
		return ARENA_FOUR_G + 0x200 + step;
	case 2:
		return ARENA_TOP + step;
	case 3:
		return ARENA_SHREDS + (len < ARENA_SHREDS_SIZE ? step % 0x200 : 0);
	case 4:
		return ARENA_NEXT - 256;
	case 5:
		return ARENA_HOLE - 16ull * detail;
	case 6:
		return ARENA_HOLE;
	case 7:
		return driver->avail + detail;
	case 8:
		return driver->used + detail;
	case 9:
		return driver->desc + 16ull * detail;
	case 10:
		return SLOTS;
	case 11:
		return i % 2 ? ARENA_NEXT + step : ARENA_SHREDS;
	case 12:
		return i == detail ? ARENA_HOLE : ARENA_NEXT + step;
	case 13:
		return ARENA_NEXT + step + detail;
	case 14:
		return UINT64_MAX - len + 1 + (detail & 1);
	case 15:
		return ARENA_BIG + ((uint64_t)detail << 12);
	default:
		return ARENA_NEXT + step + 0x200;
	}
}

static void add(struct layout *layout, uint64_t addr, uint32_t len, bool writable)
{
	uint16_t flags = VRING_DESC_F_NEXT | (writable ? VRING_DESC_F_WRITE : 0);
	unsigned index = layout->indirect ? layout->count
					  : (layout->first + layout->count) % layout->driver->size;
	unsigned next = layout->indirect ? index + 1 : (index + 1) % layout->driver->size;

	driver_put_desc(layout->table, index, addr, len, flags, (uint16_t)next);
	layout->count++;
}

/* Takes the NEXT off the descriptor that was added last, or leads it back to the start. */
static void finish(struct layout *layout, bool circle)
{
	unsigned last = layout->count - 1;
	uint64_t at;

	if (layout->count == 0)
		return;
	if (!layout->indirect)
		last = (layout->first + last) % layout->driver->size;
	at = layout->table + 16ull * last;
	if (circle) {
		arena_put16(at + 14, layout->indirect ? 0 : layout->first);
		return;
	}
	for (int side = 0; side < SIDES; side++) {
		uint8_t flags;

		if (arena_get((enum side)side, at + 12, &flags, 1))
			arena_flip((enum side)side, at + 12, flags & VRING_DESC_F_NEXT);
	}
}

/* Goes on in an indirect table at `table`, to which the next descriptor leads. */
static void enter_table(struct layout *layout, uint64_t table, unsigned entries)
{
	unsigned index = layout->indirect ? layout->count
					  : (layout->first + layout->count) % layout->driver->size;

	driver_put_desc(layout->table, index, table, 16 * entries, VRING_DESC_F_INDIRECT, 0);
	layout->table = table;
	layout->count = 0;
	layout->indirect = true;
}

static void add_header(struct layout *layout, uint64_t at, uint8_t shape)
{
	switch (shape & 7) {
	case 1:
		add(layout, at, 8, false);
		add(layout, at + 8, 8, false);
		break;
	case 2:
		add(layout, at, 1, false);
		add(layout, at + 1, 0, false);
		add(layout, at + 1, 15, false);
		break;
	case 3:
		add(layout, at, 24, false);
		break;
	case 4:
		add(layout, at, 15, false);
		break;
	case 5:
		add(layout, at, 16, true);
		break;
	case 6: /* not all of it is mapped, or what follows it is not even an address */
		if (at % (2 * SLOT_SIZE) == 0)
			add(layout, ARENA_HOLE - 8, 16, false);
		else
			add(layout, UINT64_MAX - 15, 16 + 512, false);
		break;
	case 7:
		add(layout, at, 16 + 512, false);
		break;
	default:
		add(layout, at, 16, false);
		break;
	}
}

static void add_status(struct layout *layout, uint64_t at, uint8_t shape)
{
	switch (shape >> 3 & 7) {
	case 1:
		add(layout, at - 4, 5, true);
		break;
	case 2:
		add(layout, at, 1, false);
		break;
	case 3:
		add(layout, at, 0, true);
		break;
	case 4:
		add(layout, ARENA_HOLE, 1, true);
		break;
	case 5:
		add(layout, UINT64_MAX, 2, true);
		break;
	case 6: /* the last byte of the data is the status */
		break;
	case 7:
		add(layout, ARENA_NEXT + 0x1000, 513, true);
		break;
	default:
		add(layout, at, 1, true);
		break;
	}
}

/* A request of `count` data descriptors of `len` bytes; the rest as driver_request. */
static uint16_t lay_out(struct driver *driver, const uint8_t a[6], uint32_t type, unsigned count,
			uint32_t len)
{
	uint64_t at = SLOTS + (uint64_t)(driver->slot % 16) * SLOT_SIZE;
	struct layout layout = {
		.driver = driver,
		.table = driver->desc,
		.first = driver->next_desc % driver->size,
	};
	unsigned nesting = a[0] >> 3 & 3;
	bool in = type != VIRTIO_BLK_T_OUT && type != VIRTIO_BLK_T_DISCARD &&
		  type != VIRTIO_BLK_T_WRITE_ZEROES;

	driver->budget -= count + 4;
	driver->slot++;
	driver_put_header(at, type, pick_sector(driver, a[1]));
	if ((a[4] & 7) == 6)
		driver_put_header(UINT64_MAX - 15, type, pick_sector(driver, a[1]));
	if (nesting & 1)
		enter_table(&layout, TABLE, count + 4);
	add_header(&layout, at, a[4]);
	if (nesting & 2)
		enter_table(&layout, nesting == 2 ? TABLE : TABLE_INNER, count + 4);
	for (unsigned i = 0; i < count; i++) {
		bool wrong = i == count - 1 ? a[0] >> 5 & 1 : a[0] >> 6 & 1;
		uint32_t more = i == count - 1 && (a[4] >> 3 & 7) == 6 ? 1 : 0;

		add(&layout, pick_place(driver, a[3], a[5], i, len), len + more, in != wrong);
	}
	add_status(&layout, at + SLOT_STATUS, a[4]);
	finish(&layout, a[0] >> 7);
	driver->next_desc =
		(uint16_t)((layout.first + (layout.indirect ? 2 : layout.count)) % driver->size);
	return layout.first;
}

uint16_t driver_request(struct driver *driver, const uint8_t a[6], bool *made)
{
	uint32_t type = pick_type(a[0], a[5]);
	unsigned count = pick_count(a[2], type);
	uint32_t len = a[3] & 15		     ? driver_length(a[3], a[5])
		       : type == VIRTIO_BLK_T_GET_ID ? 20
						     : 512;

	*made = driver->budget >= count + 4;
	return *made ? lay_out(driver, a, type, count, len) : 0;
}

#define RANGE_BYTES 16u
#define RANGES_MOST 17u

static void put_range(uint8_t raw[RANGE_BYTES], uint64_t sector, uint32_t sectors, uint32_t flags)
{
	for (unsigned i = 0; i < 8; i++)
		raw[i] = (uint8_t)(sector >> 8 * i);
	for (unsigned i = 0; i < 4; i++) {
		raw[8 + i] = (uint8_t)(sectors >> 8 * i);
		raw[12 + i] = (uint8_t)(flags >> 8 * i);
	}
}

uint16_t driver_ranges(struct driver *driver, const uint8_t a[6], bool *made)
{
	static const uint32_t sizes[] = { 1,  0,       8,	16,	  15,	    17,
					  32, 0x20000, 0x20001, 0x400000, 0x400001, UINT32_MAX };
	static const uint8_t counts[] = { 1, 2, 3, 16, RANGES_MOST, 0, 4, 5 };
	unsigned ranges = counts[a[3] & 7], count = a[3] & 8 ? 2 : 1;
	uint32_t len = ranges * RANGE_BYTES / count;
	uint8_t raw[RANGES_MOST * RANGE_BYTES] = { 0 };

	*made = driver->budget >= count + 4;
	if (!*made)
		return 0;
	for (unsigned i = 0; i < ranges; i++)
		put_range(raw + (size_t)RANGE_BYTES * i, pick_sector(driver, a[1]) + i,
			  sizes[a[2] % COUNT(sizes)], i == ranges - 1 ? a[5] : 0);
	for (unsigned i = 0; i < count; i++)
		arena_put(pick_place(driver, a[3], a[5], i, len), raw + (size_t)len * i, len);
	return lay_out(driver, a, a[0] & 1 ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_DISCARD,
		       count, len);
}

void driver_requests(struct driver *driver, const uint8_t a[7], unsigned count,
		     driver_layer lay_out_one)
{
	for (unsigned i = 0; i < count; i++) {
		bool made;
		uint16_t head;

		if ((a[6] >> 6) == 2)
			driver->next_desc = 0;
		head = lay_out_one(driver, a, &made);
		if (!made)
			return;
		if ((a[6] >> 6) == 3)
			head = (uint16_t)(head + driver->size);
		if ((a[6] >> 6) == 1)
			driver_offer(driver, head);
		if (!(a[6] & 0x20))
			driver_offer(driver, head);
	}
}
