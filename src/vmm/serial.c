/* SPDX-License-Identifier: MIT */
/*
 * The 16550A's state machine. Register names and bits come from <linux/serial_reg.h>.
 *
 * The interrupt identification is computed, not stored: only "transmitter empty" has a memory of
 * its own, because reading IIR clears it although the transmitter stays empty.
 */
#include "vmm/serial.h"

#include <linux/serial_reg.h>
#include <string.h>

#define IER_IMPLEMENTED 0x0fu
#define MCR_IMPLEMENTED 0x1fu
#define FCR_KEPT	(UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK)
#define IIR_FIFO	0xc0u
#define IIR_TIMEOUT	0x0cu /* received bytes, fewer than the trigger level */
#define DIVISOR_RESET	12u   /* 9600 baud */

void vmm_serial_init(struct vmm_serial *serial)
{
	memset(serial, 0, sizeof(*serial));
	serial->dll = DIVISOR_RESET;
}

static bool has_fifo(const struct vmm_serial *serial)
{
	return serial->fcr & UART_FCR_ENABLE_FIFO;
}

static unsigned int fifo_size(const struct vmm_serial *serial)
{
	return has_fifo(serial) ? VMM_SERIAL_FIFO : 1;
}

static unsigned int trigger_level(const struct vmm_serial *serial)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return has_fifo(serial) ? levels[serial->fcr >> 6] : 1;
}

/* The most urgent source that is enabled, without the FIFO bits. */
static uint8_t identify(const struct vmm_serial *serial)
{
	if (serial->ier & UART_IER_RLSI && serial->overrun)
		return UART_IIR_RLSI;
	if (serial->ier & UART_IER_RDI && serial->count)
		return serial->count >= trigger_level(serial) ? UART_IIR_RDI : IIR_TIMEOUT;
	if (serial->ier & UART_IER_THRI && serial->thre_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

/* On a PC the interrupt goes through a gate that OUT2 opens; in loopback OUT2 is cut off. */
static bool gate_is_open(const struct vmm_serial *serial)
{
	return (serial->mcr & (UART_MCR_OUT2 | UART_MCR_LOOP)) == UART_MCR_OUT2;
}

bool vmm_serial_interrupt(const struct vmm_serial *serial)
{
	return gate_is_open(serial) && identify(serial) != UART_IIR_NO_INT;
}

unsigned int vmm_serial_room(const struct vmm_serial *serial)
{
	if (!(serial->ier & UART_IER_RDI) || !gate_is_open(serial) ||
	    serial->count >= fifo_size(serial))
		return 0;
	return fifo_size(serial) - serial->count;
}

static void empty_fifo(struct vmm_serial *serial)
{
	serial->first = 0;
	serial->count = 0;
}

void vmm_serial_receive(struct vmm_serial *serial, uint8_t byte)
{
	if (serial->count >= fifo_size(serial)) {
		serial->overrun = true;
		return;
	}
	serial->fifo[(serial->first + serial->count) % VMM_SERIAL_FIFO] = byte;
	serial->count++;
}

static uint8_t take_received(struct vmm_serial *serial)
{
	uint8_t byte;

	if (!serial->count)
		return 0;
	byte = serial->fifo[serial->first];
	serial->first = (serial->first + 1) % VMM_SERIAL_FIFO;
	serial->count--;
	return byte;
}

static uint8_t read_iir(struct vmm_serial *serial)
{
	uint8_t iir = identify(serial);

	if (iir == UART_IIR_THRI)
		serial->thre_pending = false;
	return (uint8_t)(iir | (has_fifo(serial) ? IIR_FIFO : 0));
}

static uint8_t read_lsr(struct vmm_serial *serial)
{
	uint8_t lsr = UART_LSR_THRE | UART_LSR_TEMT;

	if (serial->count)
		lsr |= UART_LSR_DR;
	if (serial->overrun)
		lsr |= UART_LSR_OE;
	serial->overrun = false;
	return lsr;
}

static uint8_t read_msr(const struct vmm_serial *serial)
{
	uint8_t msr = 0;

	if (!(serial->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (serial->mcr & UART_MCR_RTS)
		msr |= UART_MSR_CTS;
	if (serial->mcr & UART_MCR_DTR)
		msr |= UART_MSR_DSR;
	if (serial->mcr & UART_MCR_OUT1)
		msr |= UART_MSR_RI;
	if (serial->mcr & UART_MCR_OUT2)
		msr |= UART_MSR_DCD;
	return msr;
}

uint8_t vmm_serial_read(struct vmm_serial *serial, unsigned int reg)
{
	bool divisor = serial->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return divisor ? serial->dll : take_received(serial);
	case UART_IER:
		return divisor ? serial->dlm : serial->ier;
	case UART_IIR:
		return read_iir(serial);
	case UART_LCR:
		return serial->lcr;
	case UART_MCR:
		return serial->mcr;
	case UART_LSR:
		return read_lsr(serial);
	case UART_MSR:
		return read_msr(serial);
	case UART_SCR:
		return serial->scr;
	default:
		return 0xff;
	}
}

static void write_ier(struct vmm_serial *serial, uint8_t value)
{
	uint8_t before = serial->ier;

	serial->ier = value & IER_IMPLEMENTED;
	/* The transmitter is always empty: who starts to listen hears of it. */
	if (serial->ier & ~before & UART_IER_THRI)
		serial->thre_pending = true;
}

static void write_fcr(struct vmm_serial *serial, uint8_t value)
{
	/*
	 * Turning the FIFO off loses what is in it. Turning it on should, too, but drivers do that
	 * after they have begun to listen, and would lose the first byte of what is piped in.
	 */
	if (value & UART_FCR_CLEAR_RCVR || (has_fifo(serial) && !(value & UART_FCR_ENABLE_FIFO)))
		empty_fifo(serial);
	serial->fcr = (value & UART_FCR_ENABLE_FIFO) ? value & FCR_KEPT : 0;
}

/* Returns true if the byte leaves the port. */
static bool transmit(struct vmm_serial *serial, uint8_t value)
{
	serial->thre_pending = true;
	if (!(serial->mcr & UART_MCR_LOOP))
		return true;
	vmm_serial_receive(serial, value);
	return false;
}

bool vmm_serial_write(struct vmm_serial *serial, unsigned int reg, uint8_t value, uint8_t *sent)
{
	bool divisor = serial->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (!divisor) {
			*sent = value;
			return transmit(serial, value);
		}
		serial->dll = value;
		break;
	case UART_IER:
		if (divisor)
			serial->dlm = value;
		else
			write_ier(serial, value);
		break;
	case UART_FCR:
		write_fcr(serial, value);
		break;
	case UART_LCR:
		serial->lcr = value;
		break;
	case UART_MCR:
		serial->mcr = value & MCR_IMPLEMENTED;
		break;
	case UART_SCR:
		serial->scr = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
	return false;
}
