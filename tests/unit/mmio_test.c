/* SPDX-License-Identifier: MIT */
/*
 * The register window: what each offset reads and writes, in which width and in which state. The
 * tables here are those of the contract's section 1 with decision D-SHM; every offset that they do
 * not name is tried too.
 */
#include "disk.h"
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/le.h"
#include "device/device.h"

#define CONFIG 0x100u
#define BIT(n) ((uint64_t)1 << (n))

static const struct guest_options inline_options = { .device.engine = VBLK_ENGINE_INLINE };

static void create(struct guest *g)
{
	guest_create(g, &inline_options, disk_create(4096, 0));
}

static void plant_status(struct guest *g, uint32_t status)
{
	atomic_store(&g->device->port->device_status, status);
}

/* All that a register access may change. */
struct registers {
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint64_t accepted;
	uint64_t desc, avail, used;
	uint32_t size, ready;
	uint32_t status, interrupt_status, generation;
	uint32_t memory_bound, dead;
};

static struct registers look(const struct guest *g)
{
	const struct vblk_device *device = g->device;
	struct registers now;

	memset(&now, 0, sizeof(now));
	now.device_features_sel = device->device_features_sel;
	now.driver_features_sel = device->driver_features_sel;
	now.queue_sel = device->queue_sel;
	now.accepted = device->accepted;
	now.desc = device->queue[0].layout.desc;
	now.avail = device->queue[0].layout.avail;
	now.used = device->queue[0].layout.used;
	now.size = device->queue[0].layout.size;
	now.ready = device->queue[0].layout.ready;
	now.status = atomic_load(&device->port->device_status);
	now.interrupt_status = atomic_load(&device->port->interrupt_status);
	now.generation = atomic_load(&device->config_generation);
	now.memory_bound = atomic_load(&device->memory_bound);
	now.dead = device->dead;
	return now;
}

static void assert_unchanged(const struct guest *g, const struct registers *before)
{
	struct registers now = look(g);

	assert_memory_equal(&now, before, sizeof(now));
}

/* A device in the middle of its life, with every register at a value of its own. */
static void create_busy(struct guest *g)
{
	create(g);
	guest_negotiate(g);
	guest_write32(g, VIRTIO_MMIO_QUEUE_NUM, 64);
	guest_write32(g, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1230);
	guest_write32(g, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0x11);
	guest_write32(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x4562);
	guest_write32(g, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0x22);
	guest_write32(g, VIRTIO_MMIO_QUEUE_USED_LOW, 0x7894);
	guest_write32(g, VIRTIO_MMIO_QUEUE_USED_HIGH, 0x33);
	guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
	guest_write32(g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	atomic_store(&g->device->port->interrupt_status, 3);
	atomic_store(&g->device->config_generation, 0xdeadbeef);
}

/* The value of each offset that reads as anything but 0, on create_busy(). */
static uint32_t expected_read(uint64_t offset)
{
	switch (offset) {
	case 0x000:
		return 0x74726976;
	case 0x004:
	case 0x008:
		return 2;
	case 0x010:
		return 1; /* VERSION_1, the high half being selected */
	case 0x034:
		return 256;
	case 0x044:
		return 1;
	case 0x060:
		return 3;
	case 0x070:
		return 0xb;
	case 0x0b0:
	case 0x0b4:
	case 0x0b8:
	case 0x0bc:
		return 0xffffffff; /* D-SHM */
	case 0x0fc:
		return 0xdeadbeef;
	default:
		return 0;
	}
}

static void test_M1_M2_M4_reads_by_offset_and_width(void **state)
{
	static const size_t widths[] = { 0, 1, 2, 3, 4, 5, 8 };
	struct registers before;
	struct guest g;

	(void)state;
	create_busy(&g);
	before = look(&g);
	for (uint64_t offset = 0; offset < CONFIG; offset++) {
		for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
			uint8_t got[12], want[12];

			memset(got, 0x5a, sizeof(got));
			memset(want, 0x5a, sizeof(want));
			memset(want, 0xff, widths[w]);
			if (widths[w] == 4)
				vblk_le32_put(want, expected_read(offset));
			vblk_mmio_read(g.device, offset, got, widths[w]);
			if (memcmp(got, want, sizeof(got)) != 0)
				fail_msg("wrong: %zu bytes at %#llx", widths[w],
					 (unsigned long long)offset);
		}
	}
	assert_unchanged(&g, &before); /* reading InterruptStatus does not clear it either */
	plant_status(&g, 0);
	guest_destroy(&g);
}

static void test_16_1_1_magic_version_device_vendor(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_DEVICE_ID), 2);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_VENDOR_ID), 0);
	guest_destroy(&g);
}

static void test_M3_writes_of_other_widths_are_dropped(void **state)
{
	static const size_t widths[] = { 0, 1, 2, 3, 5, 8 };
	static const uint8_t ones[8] = { 1, 0, 0, 0, 1, 0, 0, 0 };
	static const uint8_t zeros[8] = { 0 };
	struct registers before;
	struct guest g;

	(void)state;
	create_busy(&g);
	before = look(&g);
	for (uint64_t offset = 0; offset < CONFIG; offset++) {
		for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
			vblk_mmio_write(g.device, offset, ones, widths[w]);
			vblk_mmio_write(g.device, offset, zeros, widths[w]);
			assert_unchanged(&g, &before);
		}
	}
	assert_string_equal(g.log, "");
	plant_status(&g, 0);
	guest_destroy(&g);
}

/* What a write of 4 bytes does between FEATURES_OK and DRIVER_OK. */
static void apply_write(struct registers *r, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case 0x014:
		r->device_features_sel = value;
		break;
	case 0x024:
		r->driver_features_sel = value;
		break;
	case 0x030:
		r->queue_sel = value;
		break;
	case 0x038:
		r->size = value;
		break;
	case 0x044:
		r->ready = value == 1;
		break;
	case 0x064:
		r->interrupt_status &= ~value;
		break;
	case 0x080:
		r->desc = (r->desc & ~(uint64_t)UINT32_MAX) | value;
		break;
	case 0x084:
		r->desc = (r->desc & UINT32_MAX) | (uint64_t)value << 32;
		break;
	case 0x090:
		r->avail = (r->avail & ~(uint64_t)UINT32_MAX) | value;
		break;
	case 0x094:
		r->avail = (r->avail & UINT32_MAX) | (uint64_t)value << 32;
		break;
	case 0x0a0:
		r->used = (r->used & ~(uint64_t)UINT32_MAX) | value;
		break;
	case 0x0a4:
		r->used = (r->used & UINT32_MAX) | (uint64_t)value << 32;
		break;
	default:
		break;
	}
}

/*
 * 0x80 is legal wherever anything is: a size, an address, a selector. Alignment and sizes are the
 * business of other tests, and so is Status.
 * Rules: M-8, M-9
 */
static void test_M_writes_by_offset(void **state)
{
	static const uint32_t values[] = { 0x80, 1 };

	(void)state;
	for (uint64_t offset = 0; offset <= CONFIG; offset++) {
		for (size_t v = 0; v < 2; v++) {
			struct registers want;
			struct guest g;

			if (values[v] == 1 && offset != 0x044 && (offset & 3) == 0)
				continue;
			if (offset == 0x070)
				continue;
			create_busy(&g);
			want = look(&g);
			apply_write(&want, offset, values[v]);
			guest_write32(&g, offset, values[v]);
			assert_unchanged(&g, &want);
			expect_interrupts(&g, 0, want.interrupt_status); /* M-8 */
			plant_status(&g, 0);
			guest_destroy(&g);
		}
	}
}

/* Rules: M-7 */
static void test_M5_features_gate_by_status(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	for (uint32_t status = 0; status < 256; status++) {
		bool open = (status & 0x1) && (status & 0x2) && !(status & 0x8);

		for (uint32_t sel = 0; sel < 4; sel++) {
			uint64_t want = 0x1111111122222222;

			g.device->accepted = want;
			plant_status(&g, status);
			guest_write32(&g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, sel);
			guest_write32(&g, VIRTIO_MMIO_DRIVER_FEATURES, 0x33333333);
			if (open && sel == 0)
				want = 0x1111111133333333;
			else if (open && sel == 1)
				want = 0x3333333322222222;
			assert_int_equal(g.device->accepted, want);
		}
	}
	assert_string_equal(g.log, ""); /* M-7 */
	plant_status(&g, 0);
	guest_destroy(&g);
}

static const uint64_t queue_registers[] = {
	0x038, 0x044, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4
};

/* Rules: M-7 */
static void test_M6_queue_gate_by_status_and_selector(void **state)
{
	static const uint32_t selectors[] = { 0, 1, 2, 99, 0x10000, UINT32_MAX };
	struct guest g;

	(void)state;
	create(&g);
	for (uint32_t status = 0; status < 256; status++) {
		bool open = (status & 0x1) && (status & 0x2) && (status & 0x8) && !(status & 0x4);

		for (size_t s = 0; s < sizeof(selectors) / sizeof(selectors[0]); s++) {
			for (size_t r = 0; r < 8; r++) {
				uint32_t value = queue_registers[r] == 0x044 ? 1 : 0x80;
				struct registers want;

				vblk_queue_layout_reset(&g.device->queue[0].layout, 256);
				plant_status(&g, status);
				guest_write32(&g, VIRTIO_MMIO_QUEUE_SEL, selectors[s]);
				want = look(&g);
				if (open && selectors[s] == 0)
					apply_write(&want, queue_registers[r], value);
				guest_write32(&g, queue_registers[r], value);
				assert_unchanged(&g, &want);
			}
		}
	}
	assert_string_equal(g.log, ""); /* M-7 */
	plant_status(&g, 0);
	guest_destroy(&g);
}

/* Selectors and the acknowledgement work in any state. */
static void test_M_ungated_registers_by_status(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	for (uint32_t status = 0; status < 256; status++) {
		plant_status(&g, status);
		atomic_store(&g.device->port->interrupt_status, 3);
		guest_write32(&g, VIRTIO_MMIO_DEVICE_FEATURES_SEL, status + 7);
		guest_write32(&g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, status + 8);
		guest_write32(&g, VIRTIO_MMIO_QUEUE_SEL, status + 9);
		guest_write32(&g, VIRTIO_MMIO_INTERRUPT_ACK, 1);
		assert_int_equal(g.device->device_features_sel, status + 7);
		assert_int_equal(g.device->driver_features_sel, status + 8);
		assert_int_equal(g.device->queue_sel, status + 9);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
		assert_int_equal(guest_status(&g), status);
	}
	plant_status(&g, 0);
	guest_destroy(&g);
}

static void test_16_1_23_45_queue_selector(void **state)
{
	static const uint32_t selectors[] = { 1, 99, UINT32_MAX };
	struct guest g;

	(void)state;
	create_busy(&g);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_NUM_MAX), 256);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 1);
	for (size_t i = 0; i < 3; i++) {
		guest_write32(&g, VIRTIO_MMIO_QUEUE_SEL, selectors[i]);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	guest_write32(&g, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 1);
	plant_status(&g, 0);
	guest_destroy(&g);
}

/* Rules: Q-5 */
static void test_16_15_queue_ready_is_1_or_not(void **state)
{
	static const uint32_t values[] = { 0, 2, 3, 0x101, 0x10001, UINT32_MAX };
	struct guest g;

	(void)state;
	create(&g);
	guest_negotiate(&g);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 1);
		guest_write32(&g, VIRTIO_MMIO_QUEUE_READY, values[i]);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	guest_destroy(&g);
}

static void test_Q1_16_15_queue_num_by_table(void **state)
{
	static const struct {
		uint32_t value;
		uint16_t size;
	} cases[] = {
		{ 1, 1 },	 { 2, 2 },	     { 128, 128 },     { 256, 256 },
		{ 0, 64 },	 { 3, 64 },	     { 255, 64 },      { 257, 64 },
		{ 512, 64 },	 { 0x8000, 64 },     { 0x10100, 256 }, { 0x10000, 64 },
		{ 0x10003, 64 }, { UINT32_MAX, 64 },
	};
	struct guest g;

	(void)state;
	create(&g);
	guest_negotiate(&g);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		guest_write32(&g, VIRTIO_MMIO_QUEUE_NUM, 64);
		assert_int_equal(g.device->queue[0].layout.size, 64);
		guest_write32(&g, VIRTIO_MMIO_QUEUE_NUM, cases[i].value);
		assert_int_equal(g.device->queue[0].layout.size, cases[i].size);
	}
	assert_true(guest_logged(&g, "driver wrote an illegal queue size"));
	guest_destroy(&g);
}

static void test_Q2_16_15_misaligned_addresses_are_dropped(void **state)
{
	static const struct {
		uint64_t low;
		uint32_t align;
	} rings[] = { { 0x080, 16 }, { 0x090, 2 }, { 0x0a0, 4 } };
	struct guest g;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct registers before;

		create_busy(&g);
		for (uint32_t odd = 1; odd < rings[i].align; odd++) {
			before = look(&g);
			guest_write32(&g, rings[i].low, 0x100 + odd);
			assert_unchanged(&g, &before);
		}
		assert_true(guest_logged(&g, "misaligned ring address"));
		apply_write(&before, rings[i].low, rings[i].align);
		guest_write32(&g, rings[i].low, rings[i].align);
		assert_unchanged(&g, &before);
		plant_status(&g, 0);
		guest_destroy(&g);
	}
}

static void test_16_1_42_address_needs_features_ok(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	assert_int_equal(g.device->queue[0].layout.desc, 0);
	guest_negotiate(&g);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	assert_int_equal(g.device->queue[0].layout.desc, 0x1000);
	guest_destroy(&g);
}

/* Rules: Q-5 */
static void test_16_1_51_queue_is_fixed_after_driver_ok(void **state)
{
	struct registers before;
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	before = look(&g);
	for (size_t r = 0; r < 8; r++)
		guest_write32(&g, queue_registers[r], 0x40);
	assert_unchanged(&g, &before);
	assert_int_equal(before.size, 256);
	assert_int_equal(before.ready, 1);
	guest_destroy(&g);
}

/* Rules: E-3 */
static void test_16_1_40_41_features_between_driver_and_features_ok(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_accept(&g, 0xcafebabedeadbeef);
	assert_int_equal(g.device->accepted, 0);
	guest_set_status(&g, 0x1);
	guest_set_status(&g, 0x3);
	guest_accept(&g, 0xcafebabedeadbeef);
	assert_int_equal(g.device->accepted, 0xcafebabedeadbeef);
	guest_accept(&g, BIT(VIRTIO_F_VERSION_1));
	guest_set_status(&g, 0xb);
	guest_accept(&g, 0);
	assert_int_equal(g.device->accepted, BIT(VIRTIO_F_VERSION_1));
	guest_destroy(&g);
}

static void test_16_1_36_37_interrupt_acknowledge_clears_what_it_names(void **state)
{
	static const uint32_t values[] = { 0, 1, 2, 3, 4, 0xfffffffe, UINT32_MAX };
	struct guest g;

	(void)state;
	create(&g);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		vblk_port_set_interrupt_status(g.device->port, 3);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
		guest_write32(&g, VIRTIO_MMIO_INTERRUPT_ACK, values[i]);
		assert_int_equal(guest_read32(&g, VIRTIO_MMIO_INTERRUPT_STATUS), 3 & ~values[i]);
	}
	guest_destroy(&g);
}

static void test_16_4_19_acknowledge_after_a_completion(void **state)
{
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&g);
	expect_interrupts(&g, 1, VIRTIO_MMIO_INT_VRING);
	guest_write32(&g, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	expect_interrupts(&g, 0, 0);
	guest_destroy(&g);
}

static void test_M_only_a_notify_of_queue_0_acts(void **state)
{
	static const uint32_t values[] = { 1, 2, 0x100, 0x10000, UINT32_MAX };
	struct guest g;

	(void)state;
	create(&g);
	guest_start(&g);
	guest_request(&g, VIRTIO_BLK_T_IN, 0, 512);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		guest_write32(&g, VIRTIO_MMIO_QUEUE_NOTIFY, values[i]);
	expect_answer(&g, GUEST_SENTINEL, 0);
	assert_int_equal(guest_metrics(&g).notifications, 0);
	guest_write32(&g, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	expect_answer(&g, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(guest_metrics(&g).notifications, 1);
	guest_destroy(&g);
}

/* Rules: M-9 */
static void test_D_SHM_writes_to_selectors_are_ignored(void **state)
{
	struct registers before;
	struct guest g;

	(void)state;
	create_busy(&g);
	before = look(&g);
	guest_write32(&g, VIRTIO_MMIO_SHM_SEL, 1);
	guest_write32(&g, 0x0c0, 1); /* QueueReset */
	assert_unchanged(&g, &before);
	assert_int_equal(guest_read32(&g, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	assert_int_equal(guest_read32(&g, 0x0c0), 0);
	plant_status(&g, 0);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_M1_M2_M4_reads_by_offset_and_width),
		cmocka_unit_test(test_16_1_1_magic_version_device_vendor),
		cmocka_unit_test(test_M3_writes_of_other_widths_are_dropped),
		cmocka_unit_test(test_M_writes_by_offset),
		cmocka_unit_test(test_M5_features_gate_by_status),
		cmocka_unit_test(test_M6_queue_gate_by_status_and_selector),
		cmocka_unit_test(test_M_ungated_registers_by_status),
		cmocka_unit_test(test_16_1_23_45_queue_selector),
		cmocka_unit_test(test_16_15_queue_ready_is_1_or_not),
		cmocka_unit_test(test_Q1_16_15_queue_num_by_table),
		cmocka_unit_test(test_Q2_16_15_misaligned_addresses_are_dropped),
		cmocka_unit_test(test_16_1_42_address_needs_features_ok),
		cmocka_unit_test(test_16_1_51_queue_is_fixed_after_driver_ok),
		cmocka_unit_test(test_16_1_40_41_features_between_driver_and_features_ok),
		cmocka_unit_test(test_16_1_36_37_interrupt_acknowledge_clears_what_it_names),
		cmocka_unit_test(test_16_4_19_acknowledge_after_a_completion),
		cmocka_unit_test(test_M_only_a_notify_of_queue_0_acts),
		cmocka_unit_test(test_D_SHM_writes_to_selectors_are_ignored),
	};

	return cmocka_run_group_tests_name("mmio", tests, NULL, NULL);
}
