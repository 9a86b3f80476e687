/* SPDX-License-Identifier: MIT */
/*
 * How a device speaks up of its own accord: the two registers that a drain may change while vCPUs
 * read them, and the interrupt. Shared between the front end and whoever drains, by reference, so
 * that a worker that outlives its device still has something to talk to.
 *
 * device_status     the front end moves it by compare-and-swap; a drain only ever ORs
 *                   NEEDS_RESET into it.
 * interrupt_status  a drain ORs bits into it before it raises the interrupt; the driver's
 *                   acknowledgement clears them.
 */
#ifndef VBLK_REQUEST_PORT_H
#define VBLK_REQUEST_PORT_H

#include <stdatomic.h>
#include <vblk/log.h>
#include <vblk/types.h>

struct vblk_port {
	atomic_uint refs;
	_Atomic uint32_t device_status;
	_Atomic uint32_t interrupt_status;
	int irq_fd; /* eventfd, owned */
	void (*interrupt)(void *context);
	void *interrupt_context;
	struct vblk_log log;
	struct vblk_metrics *metrics; /* owned reference */
};

/*
 * Creates a port with its eventfd and one reference. `interrupt` may be NULL: then the eventfd is
 * written. Takes a reference of `metrics`. Returns 0, -ENOMEM, -EMFILE or -ENFILE.
 */
VBLK_MUST_USE int vblk_port_create(void (*interrupt)(void *context), void *interrupt_context,
				   const struct vblk_log *log, struct vblk_metrics *metrics,
				   struct vblk_port **port);

struct vblk_port *vblk_port_ref(struct vblk_port *port);
void vblk_port_unref(struct vblk_port *port);

/* Sets VIRTIO_MMIO_INT_* bits that the driver will read in InterruptStatus. */
void vblk_port_set_interrupt_status(struct vblk_port *port, uint32_t bits);

/* Raises the interrupt. Never blocks; an error is logged. */
void vblk_port_raise(struct vblk_port *port);

/*
 * Tells the driver that the device has lost its way (specification 2.1.2): NEEDS_RESET, and a
 * configuration change interrupt to make it look.
 */
void vblk_port_set_needs_reset(struct vblk_port *port);

/* Forgets every interrupt and both registers. Only while nothing drains. */
void vblk_port_reset(struct vblk_port *port);

#endif
