/* SPDX-License-Identifier: MIT */
/* The bus: who answers, what ends the machine, and the clock behind its two ports. */
#include "vmm/bus.h"

#include "mock_guest.h"

#include "base/checked.h"
#include "base/le.h"
#include "vmm/layout.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS	 10000
#define SHORT_MS 100 /* for what should have happened already */

struct fixture {
	struct vmm_kvm kvm;
	struct vmm_stop stop;
	struct vmm_gate gate;
	struct vmm_console console;
	struct vmm_bus bus;
	int out[2]; /* a pipe in the place of standard output */
};

static int set_up(void **state)
{
	static struct fixture fixture;
	static struct vmm_error error;

	memset(&fixture, 0, sizeof(fixture));
	fixture.kvm.machine = -1;
	if (pipe2(fixture.out, O_NONBLOCK | O_CLOEXEC) || vmm_stop_init(&fixture.stop, &error) ||
	    vmm_gate_init(&fixture.gate, &fixture.stop, &error) ||
	    vmm_console_init(&fixture.console, &fixture.kvm, &fixture.stop, &fixture.gate,
			     fixture.out[1], &error))
		return -1;
	vmm_bus_init(&fixture.bus, &fixture.console, &fixture.stop);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	vmm_bus_destroy(&fixture->bus);
	vmm_console_destroy(&fixture->console);
	vmm_gate_destroy(&fixture->gate);
	vmm_stop_destroy(&fixture->stop);
	close(fixture->out[0]);
	close(fixture->out[1]);
	return 0;
}

static void nobody_answers(void **state)
{
	static const uint16_t ports[] = { 0x60, 0x80, 0x2f8, 0x3f7, 0x400, 0xcf8, 0xcf9, 0xffff };
	static const uint64_t addresses[] = {
		VMM_DISK_BASE, VMM_DISK_BASE - 8, VMM_DISK_BASE + VMM_MAX_DISKS * VMM_DISK_STRIDE,
		VMM_IOAPIC,    UINT64_MAX - 7,
	};
	struct fixture *fixture = *state;
	uint8_t data[8];

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(ports); i++) {
		memset(data, 0, sizeof(data));
		vmm_bus_port_write(&fixture->bus, ports[i], data, 1, 1);
		vmm_bus_port_read(&fixture->bus, ports[i], data, 1, 1);
		assert_int_equal(data[0], 0xff);
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(addresses); i++) {
		memset(data, 0, sizeof(data));
		vmm_bus_memory_write(&fixture->bus, addresses[i], data, 8);
		vmm_bus_memory_read(&fixture->bus, addresses[i], data, 8);
		assert_memory_equal(data, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	}
	assert_int_equal(vmm_stop_reason(&fixture->stop), VMM_END_NONE);
}

static void resets(void **state)
{
	static const struct {
		const char *name;
		uint16_t port;
		uint32_t value;
		size_t size;
		enum vmm_end end;
	} table[] = {
		{ "keyboard controller", 0x64, 0xfe, 1, VMM_END_REBOOT },
		{ "another command of it", 0x64, 0xaa, 1, VMM_END_NONE },
		{ "its data port", 0x60, 0xfe, 1, VMM_END_NONE },
		{ "reset register", 0xcf9, 0x06, 1, VMM_END_REBOOT },
		{ "the step before", 0xcf9, 0x02, 1, VMM_END_NONE },
		{ "PCI configuration address", 0xcf8, 0x80000400, 4, VMM_END_NONE },
		{ "two bytes there", 0xcf9, 0x0404, 2, VMM_END_NONE },
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct fixture *fixture;

		print_message("%s\n", table[i].name);
		tear_down(state);
		assert_int_equal(set_up(state), 0);
		fixture = *state;
		vmm_bus_port_write(&fixture->bus, table[i].port, (const uint8_t *)&table[i].value,
				   table[i].size, 1);
		assert_int_equal(vmm_stop_reason(&fixture->stop), table[i].end);
	}
}

static void keyboard_controller_is_ready(void **state)
{
	struct fixture *fixture = *state;
	uint8_t value = 0xff;

	vmm_bus_port_read(&fixture->bus, 0x64, &value, 1, 1);
	assert_int_equal(value, 0);
}

static void string_output_reaches_the_console(void **state)
{
	struct fixture *fixture = *state;
	char text[16] = "";

	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT, (const uint8_t *)"hello", 1, 5);
	assert_int_equal(read(fixture->out[0], text, sizeof(text)), 5);
	assert_string_equal(text, "hello");
}

static void wide_access_reaches_consecutive_ports(void **state)
{
	struct fixture *fixture = *state;
	uint8_t data[2] = { 0x5a, 0xa5 };
	uint8_t value = 0;

	/* Scratch register and the port behind the console's last. */
	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT + 7, data, 2, 1);
	vmm_bus_port_read(&fixture->bus, VMM_SERIAL_PORT + 7, &value, 1, 1);
	assert_int_equal(value, 0x5a);
	vmm_bus_port_read(&fixture->bus, VMM_SERIAL_PORT + 7, data, 2, 1);
	assert_int_equal(data[0], 0x5a);
	assert_int_equal(data[1], 0xff);
}

/* In pieces, and in the midst of others: the gate is closed when the write returns. */
static void a_watched_text_closes_the_gate(void **state)
{
	struct fixture *fixture = *state;
	eventfd_t seen;

	vmm_console_watch(&fixture->console, "panic");
	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT, (const uint8_t *)"papa", 1, 4);
	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT, (const uint8_t *)"ni", 1, 2);
	assert_false(vmm_gate_is_closed(&fixture->gate));
	assert_int_equal(eventfd_read(fixture->console.seen_fd, &seen), -1);
	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT, (const uint8_t *)"c!", 1, 2);
	assert_true(vmm_gate_is_closed(&fixture->gate));
	assert_int_equal(eventfd_read(fixture->console.seen_fd, &seen), 0);
	vmm_gate_open(&fixture->gate);
	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT, (const uint8_t *)"panic", 1, 5);
	assert_true(vmm_gate_is_closed(&fixture->gate));
}

static void output_that_cannot_be_written_ends_the_machine(void **state)
{
	struct fixture *fixture = *state;
	int ends[2];

	/* Writing to the reading end of a pipe fails at once and without a signal. */
	assert_int_equal(pipe(ends), 0);
	fixture->console.output = ends[0];
	vmm_bus_port_write(&fixture->bus, VMM_SERIAL_PORT, (const uint8_t *)"x", 1, 1);
	assert_int_equal(vmm_stop_reason(&fixture->stop), VMM_END_FAILED);
	assert_string_equal(
		fixture->stop.error.text,
		"cannot write the guest's console to standard output: Bad file descriptor");
	close(ends[0]);
	close(ends[1]);
}

static void first_reason_wins(void **state)
{
	struct fixture *fixture = *state;
	struct vmm_error error = { .text = "late" };

	assert_true(vmm_stop_request(&fixture->stop, VMM_END_TIMEOUT));
	assert_false(vmm_stop_request(&fixture->stop, VMM_END_REBOOT));
	assert_false(vmm_stop_fail(&fixture->stop, &error));
	assert_int_equal(vmm_stop_reason(&fixture->stop), VMM_END_TIMEOUT);
	assert_string_equal(fixture->stop.error.text, "");
}

static void clock_registers(void **state)
{
	/* 2026-11-21 08:09:50 UTC, a Saturday */
	const time_t now = 1795248590;
	static const struct {
		uint8_t index, value;
	} table[] = {
		{ 0x00, 0x50 }, { 0x02, 0x09 }, { 0x04, 0x08 }, { 0x06, 0x07 }, { 0x07, 0x21 },
		{ 0x08, 0x11 }, { 0x09, 0x26 }, { 0x32, 0x20 }, { 0x0a, 0x26 }, { 0x0b, 0x02 },
		{ 0x0d, 0x80 }, { 0x0c, 0x00 }, { 0x01, 0x00 },
	};
	struct vmm_rtc rtc = { 0 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		print_message("register %02x\n", table[i].index);
		/* The highest bit of the index switches NMIs and is not part of it. */
		vmm_rtc_write(&rtc, 0x70, table[i].index | 0x80);
		vmm_rtc_write(&rtc, 0x71, 0x77);
		assert_int_equal(vmm_rtc_read(&rtc, 0x71, now), table[i].value);
	}
	assert_int_equal(vmm_rtc_read(&rtc, 0x70, now), 0xff);
}

/* Through the bus, as a guest's driver does it. */
static void write_status(struct fixture *fixture, uint32_t value)
{
	uint8_t data[4];

	vblk_le32_put(data, value);
	vmm_bus_memory_write(&fixture->bus, VMM_DISK_BASE + VIRTIO_MMIO_STATUS, data, sizeof(data));
}

static void connect(struct fixture *fixture, struct guest *guest)
{
	fixture->bus.devices[0] = guest->device;
	fixture->bus.device_count = 1;
}

static void a_reset_does_not_let_a_held_device_go(void **state)
{
	struct fixture *fixture = *state;
	struct guest guest;

	guest_create_filled(&guest, NULL, 4096, 0xab);
	connect(fixture, &guest);
	vmm_bus_hold(&fixture->bus, 0);
	assert_int_equal(vblk_device_wait_paused(guest.device, LONG_MS), 0);
	guest_reset(&guest); /* past the bus: what the driver keeps in memory */
	write_status(fixture, 0);
	guest_start(&guest);
	guest_request(&guest, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&guest);
	assert_int_equal(vblk_device_wait_paused(guest.device, SHORT_MS), 0);
	assert_int_equal(guest_used_idx(&guest), 0);

	vmm_bus_let_go(&fixture->bus, 0);
	vblk_device_resume(guest.device);
	assert_true(guest_wait_used(&guest, 1));
	guest_destroy(&guest);
}

/* A pause of somebody else ends with the reset, also where there was a hold before. */
static void a_reset_ends_another_pause(void **state)
{
	struct fixture *fixture = *state;
	struct guest guest;

	guest_create_filled(&guest, NULL, 4096, 0xab);
	connect(fixture, &guest);
	vmm_bus_hold(&fixture->bus, 0);
	vmm_bus_let_go(&fixture->bus, 0);
	vblk_device_pause(guest.device);
	guest_reset(&guest);
	write_status(fixture, 0);
	guest_start(&guest);
	guest_request(&guest, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(&guest);
	assert_true(guest_wait_used(&guest, 1));
	guest_destroy(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(resets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keyboard_controller_is_ready, set_up, tear_down),
		cmocka_unit_test_setup_teardown(string_output_reaches_the_console, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_watched_text_closes_the_gate, set_up, tear_down),
		cmocka_unit_test_setup_teardown(wide_access_reaches_consecutive_ports, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(output_that_cannot_be_written_ends_the_machine,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(first_reason_wins, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reset_does_not_let_a_held_device_go, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_reset_ends_another_pause, set_up, tear_down),
		cmocka_unit_test(clock_registers),
	};

	return cmocka_run_group_tests_name("vmm_bus", tests, NULL, NULL);
}
