/* SPDX-License-Identifier: MIT */
/*
 * The registers of a 16550A serial port (National Semiconductor's data sheet), as far as drivers
 * use them: 16-byte receive FIFO, all four interrupt sources' priorities, loopback, modem lines
 * that say that somebody is there. The line is infinitely fast: a byte is sent the moment it is
 * written. Pure: no I/O, no lock; one thread at a time.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <vblk/types.h>

#define VMM_SERIAL_FIFO 16u

struct vmm_serial {
	uint8_t ier, lcr, mcr, scr, fcr;
	uint8_t dll, dlm;
	bool overrun;
	bool thre_pending; /* "transmitter empty" has happened and was not read from IIR */
	uint8_t fifo[VMM_SERIAL_FIFO];
	unsigned int first, count; /* of the received bytes in fifo */
};

/* As after power-on. */
void vmm_serial_init(struct vmm_serial *serial);

/* The guest reads register 0 to 7. Reading may change the interrupt line. */
uint8_t vmm_serial_read(struct vmm_serial *serial, unsigned int reg);

/* The guest writes register 0 to 7. Returns true if that sends a byte, which is in `*sent`. */
bool vmm_serial_write(struct vmm_serial *serial, unsigned int reg, uint8_t value, uint8_t *sent);

/* Level of the interrupt line. */
bool vmm_serial_interrupt(const struct vmm_serial *serial);

/*
 * How many bytes may be received now. 0 as long as the driver has not asked for receive
 * interrupts and let them through (OUT2): drivers try the registers out and empty the FIFO before
 * they start, and what came earlier would be lost.
 */
unsigned int vmm_serial_room(const struct vmm_serial *serial);

/* A byte arrives on the line. Beyond the size of the FIFO it is lost, as on the wire. */
void vmm_serial_receive(struct vmm_serial *serial, uint8_t byte);

#endif
