/* SPDX-License-Identifier: MIT */
/* The serial port, driven the way drivers drive it. */
#include "vmm/serial.h"

#include "base/checked.h"
#include <linux/serial_reg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct vmm_serial fresh(void)
{
	struct vmm_serial serial;

	vmm_serial_init(&serial);
	return serial;
}

/* A write that must not send anything. */
static void put(struct vmm_serial *serial, unsigned int reg, uint8_t value)
{
	uint8_t byte;

	assert_false(vmm_serial_write(serial, reg, value, &byte));
}

/* As a driver leaves it when it listens: FIFO on, trigger at 8, interrupts let through. */
static struct vmm_serial listening(void)
{
	struct vmm_serial serial = fresh();

	put(&serial, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	put(&serial, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	put(&serial, UART_IER, UART_IER_RDI | UART_IER_RLSI);
	return serial;
}

static void reset_values(void **state)
{
	static const struct {
		unsigned int reg;
		uint8_t value;
	} table[] = {
		{ UART_RX, 0 },
		{ UART_IER, 0 },
		{ UART_IIR, UART_IIR_NO_INT },
		{ UART_LCR, 0 },
		{ UART_MCR, 0 },
		{ UART_LSR, UART_LSR_THRE | UART_LSR_TEMT },
		{ UART_MSR, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS },
		{ UART_SCR, 0 },
		{ 8, 0xff },
	};
	struct vmm_serial serial = fresh();

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_int_equal(vmm_serial_read(&serial, table[i].reg), table[i].value);
	assert_false(vmm_serial_interrupt(&serial));
	assert_int_equal(vmm_serial_room(&serial), 0);
}

static void registers_that_keep_what_is_written(void **state)
{
	static const struct {
		unsigned int reg;
		uint8_t kept;
	} table[] = {
		{ UART_IER, 0x0f },
		{ UART_MCR, 0x1f },
		{ UART_SCR, 0xff },
		{ UART_LCR, 0xff },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vmm_serial serial = fresh();

		put(&serial, table[i].reg, 0xff);
		assert_int_equal(vmm_serial_read(&serial, table[i].reg), table[i].kept);
	}
}

static void status_registers_are_read_only(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	put(&serial, UART_LSR, 0);
	put(&serial, UART_MSR, 0);
	assert_int_equal(vmm_serial_read(&serial, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	assert_int_equal(vmm_serial_read(&serial, UART_MSR),
			 UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
}

static void bytes_are_sent(void **state)
{
	struct vmm_serial serial = fresh();
	uint8_t byte = 0;

	(void)state;
	assert_true(vmm_serial_write(&serial, UART_TX, 'x', &byte));
	assert_int_equal(byte, 'x');
	assert_int_equal(vmm_serial_read(&serial, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}

static void divisor_is_behind_dlab(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	put(&serial, UART_IER, UART_IER_RDI);
	put(&serial, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	put(&serial, UART_DLL, 1); /* sends nothing */
	put(&serial, UART_DLM, 2);
	assert_int_equal(vmm_serial_read(&serial, UART_DLL), 1);
	assert_int_equal(vmm_serial_read(&serial, UART_DLM), 2);
	put(&serial, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(vmm_serial_read(&serial, UART_IER), UART_IER_RDI);
}

/* How Linux finds out that this is a 16550A. */
static void fifo_is_announced(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	put(&serial, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), 0xc0 | UART_IIR_NO_INT);
	put(&serial, UART_FCR, 0);
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), UART_IIR_NO_INT);
}

static void transmitter_interrupt(void **state)
{
	struct vmm_serial serial = fresh();
	uint8_t byte;

	(void)state;
	put(&serial, UART_MCR, UART_MCR_OUT2);
	assert_false(vmm_serial_interrupt(&serial));
	put(&serial, UART_IER, UART_IER_THRI);
	assert_true(vmm_serial_interrupt(&serial));
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), UART_IIR_THRI);
	/* Reading IIR was the answer; the next byte asks again. */
	assert_false(vmm_serial_interrupt(&serial));
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), UART_IIR_NO_INT);
	assert_true(vmm_serial_write(&serial, UART_TX, 'x', &byte));
	assert_true(vmm_serial_interrupt(&serial));
	put(&serial, UART_IER, 0);
	assert_false(vmm_serial_interrupt(&serial));
}

/* Linux tests for ports that forget this. */
static void transmitter_interrupt_comes_with_each_enabling(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		put(&serial, UART_IER, UART_IER_THRI);
		assert_int_equal(vmm_serial_read(&serial, UART_IIR), UART_IIR_THRI);
		put(&serial, UART_IER, 0);
		assert_int_equal(vmm_serial_read(&serial, UART_IIR), UART_IIR_NO_INT);
	}
}

static void out2_is_the_gate_of_the_interrupt(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	put(&serial, UART_IER, UART_IER_THRI);
	assert_false(vmm_serial_interrupt(&serial));
	put(&serial, UART_MCR, UART_MCR_OUT2);
	assert_true(vmm_serial_interrupt(&serial));
	put(&serial, UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	assert_false(vmm_serial_interrupt(&serial));
}

static void received_bytes_come_in_order(void **state)
{
	struct vmm_serial serial = listening();

	(void)state;
	for (unsigned int round = 0; round < 3; round++) {
		for (uint8_t i = 0; i < 10; i++)
			vmm_serial_receive(&serial, (uint8_t)('a' + i));
		for (uint8_t i = 0; i < 10; i++) {
			assert_true(vmm_serial_read(&serial, UART_LSR) & UART_LSR_DR);
			assert_int_equal(vmm_serial_read(&serial, UART_RX), 'a' + i);
		}
		assert_false(vmm_serial_read(&serial, UART_LSR) & UART_LSR_DR);
		assert_int_equal(vmm_serial_read(&serial, UART_RX), 0);
	}
}

static void receive_interrupt(void **state)
{
	struct vmm_serial serial = listening();

	(void)state;
	vmm_serial_receive(&serial, 'a');
	assert_true(vmm_serial_interrupt(&serial));
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), 0xc0 | 0x0c); /* below the trigger */
	for (unsigned int i = 1; i < 8; i++)
		vmm_serial_receive(&serial, 'a');
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), 0xc0 | UART_IIR_RDI);
	/* Reading IIR does not end it, reading the bytes does. */
	for (unsigned int i = 0; i < 8; i++) {
		assert_true(vmm_serial_interrupt(&serial));
		vmm_serial_read(&serial, UART_RX);
	}
	assert_false(vmm_serial_interrupt(&serial));
}

static void receiving_outranks_sending(void **state)
{
	struct vmm_serial serial = listening();

	(void)state;
	put(&serial, UART_IER, UART_IER_RDI | UART_IER_THRI);
	vmm_serial_receive(&serial, 'a');
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), 0xc0 | 0x0c);
	vmm_serial_read(&serial, UART_RX);
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), 0xc0 | UART_IIR_THRI);
}

static void overrun(void **state)
{
	struct vmm_serial serial = listening();

	(void)state;
	for (unsigned int i = 0; i < VMM_SERIAL_FIFO; i++)
		vmm_serial_receive(&serial, (uint8_t)i);
	assert_int_equal(vmm_serial_room(&serial), 0);
	vmm_serial_receive(&serial, 0xee);
	assert_int_equal(vmm_serial_read(&serial, UART_IIR), 0xc0 | UART_IIR_RLSI);
	assert_true(vmm_serial_read(&serial, UART_LSR) & UART_LSR_OE);
	assert_false(vmm_serial_read(&serial, UART_LSR) & UART_LSR_OE);
	for (unsigned int i = 0; i < VMM_SERIAL_FIFO; i++)
		assert_int_equal(vmm_serial_read(&serial, UART_RX), i);
	assert_false(vmm_serial_read(&serial, UART_LSR) & UART_LSR_DR);
}

static void room(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	/* Trying out the registers is not listening. */
	put(&serial, UART_IER, 0x0f);
	assert_int_equal(vmm_serial_room(&serial), 0);
	put(&serial, UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	assert_int_equal(vmm_serial_room(&serial), 0);
	put(&serial, UART_MCR, UART_MCR_OUT2);
	assert_int_equal(vmm_serial_room(&serial), 1);
	put(&serial, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(vmm_serial_room(&serial), 16);
	vmm_serial_receive(&serial, 'a');
	assert_int_equal(vmm_serial_room(&serial), 15);
	put(&serial, UART_IER, UART_IER_THRI);
	assert_int_equal(vmm_serial_room(&serial), 0);
}

static void emptying_the_fifo(void **state)
{
	static const struct {
		uint8_t before, written;
		unsigned int left;
	} table[] = {
		{ UART_FCR_ENABLE_FIFO, UART_FCR_ENABLE_FIFO, 1 },
		{ UART_FCR_ENABLE_FIFO, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT, 1 },
		{ UART_FCR_ENABLE_FIFO, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR, 0 },
		{ UART_FCR_ENABLE_FIFO, 0, 0 },
		{ 0, UART_FCR_ENABLE_FIFO, 1 },
		{ 0, 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct vmm_serial serial = fresh();

		print_message("FCR %02x, then %02x\n", table[i].before, table[i].written);
		put(&serial, UART_FCR, table[i].before);
		vmm_serial_receive(&serial, 'a');
		put(&serial, UART_FCR, table[i].written);
		assert_int_equal(vmm_serial_read(&serial, UART_LSR) & UART_LSR_DR, table[i].left);
	}
}

static void loopback(void **state)
{
	struct vmm_serial serial = fresh();

	(void)state;
	put(&serial, UART_MCR, UART_MCR_LOOP);
	put(&serial, UART_TX, 'x'); /* comes back instead of going out */
	assert_int_equal(vmm_serial_read(&serial, UART_RX), 'x');
}

static void loopback_of_the_modem_lines(void **state)
{
	static const struct {
		uint8_t out, in;
	} table[] = {
		{ 0, 0 },
		{ UART_MCR_RTS, UART_MSR_CTS },
		{ UART_MCR_DTR, UART_MSR_DSR },
		{ UART_MCR_OUT1, UART_MSR_RI },
		{ UART_MCR_OUT2, UART_MSR_DCD },
	};
	struct vmm_serial serial = fresh();

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		put(&serial, UART_MCR, UART_MCR_LOOP | table[i].out);
		assert_int_equal(vmm_serial_read(&serial, UART_MSR), table[i].in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_values),
		cmocka_unit_test(registers_that_keep_what_is_written),
		cmocka_unit_test(status_registers_are_read_only),
		cmocka_unit_test(bytes_are_sent),
		cmocka_unit_test(divisor_is_behind_dlab),
		cmocka_unit_test(fifo_is_announced),
		cmocka_unit_test(transmitter_interrupt),
		cmocka_unit_test(transmitter_interrupt_comes_with_each_enabling),
		cmocka_unit_test(out2_is_the_gate_of_the_interrupt),
		cmocka_unit_test(received_bytes_come_in_order),
		cmocka_unit_test(receive_interrupt),
		cmocka_unit_test(receiving_outranks_sending),
		cmocka_unit_test(overrun),
		cmocka_unit_test(room),
		cmocka_unit_test(emptying_the_fifo),
		cmocka_unit_test(loopback),
		cmocka_unit_test(loopback_of_the_modem_lines),
	};

	return cmocka_run_group_tests_name("vmm_serial", tests, NULL, NULL);
}
