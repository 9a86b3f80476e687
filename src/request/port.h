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
 * log_limit         holds back messages that the guest causes; a reset does not refill it, or a
 *                   guest could talk on by resetting the device.
 */
#ifndef VBLK_REQUEST_PORT_H
#define VBLK_REQUEST_PORT_H

#include <stdatomic.h>
#include <vblk/types.h>

#include "base/clock.h"
#include "base/log.h"

struct vblk_port {
	atomic_uint refs;
	_Atomic uint32_t device_status;
	_Atomic uint32_t interrupt_status;
	int irq_fd; /* eventfd, owned */
	int err_fd; /* written with NEEDS_RESET; owned; -1: none */
	void (*interrupt)(void *context);
	void *interrupt_context;
	struct vblk_log log;
	struct vblk_log_limit log_limit;
	struct vblk_clock clock;      /* what the limit counts by */
	uint32_t instance;	      /* names the device in messages */
	struct vblk_metrics *metrics; /* owned reference */
};

/*
 * Creates a port with its eventfd and one reference. `interrupt` may be NULL: then the eventfd is
 * written. Takes a reference of `metrics`. Returns 0, -ENOMEM, -EMFILE or -ENFILE.
 */
VBLK_MUST_USE int vblk_port_create(void (*interrupt)(void *context), void *interrupt_context,
				   const struct vblk_log *log, struct vblk_metrics *metrics,
				   struct vblk_port **port);

/*
 * Says whose port it is, for messages, and by which clock they are limited: that of its drains.
 * Before anybody else has it; without this it is instance 0 on CLOCK_MONOTONIC.
 */
void vblk_port_set_owner(struct vblk_port *port, uint32_t instance, const struct vblk_clock *clock);

struct vblk_port *vblk_port_ref(struct vblk_port *port);
void vblk_port_unref(struct vblk_port *port);

/* Sets VIRTIO_MMIO_INT_* bits that the driver will read in InterruptStatus. */
void vblk_port_set_interrupt_status(struct vblk_port *port, uint32_t bits);

/*
 * Raises the interrupt. Never blocks. Returns 0 or the negative errno of an eventfd that cannot be
 * written. Says nothing: who holds a lease logs that with vblk_port_log behind it, because a log
 * callback may take its time.
 */
VBLK_MUST_USE int vblk_port_signal(struct vblk_port *port);

/*
 * Tells the driver that the device has lost its way (specification 2.1.2): NEEDS_RESET, and a
 * configuration change interrupt to make it look. Returns as vblk_port_signal, and is as silent.
 */
VBLK_MUST_USE int vblk_port_signal_needs_reset(struct vblk_port *port);

/* Logs what one of the two returned, if it is an error. */
void vblk_port_log(struct vblk_port *port, int error);

/* The same two for those who hold no lease: an error is logged at once. */
void vblk_port_raise(struct vblk_port *port);
void vblk_port_set_needs_reset(struct vblk_port *port);

/* Forgets every interrupt and both registers. Only while nothing drains. */
void vblk_port_reset(struct vblk_port *port);

/* Tells the driver to look at the configuration space: it has changed. */
void vblk_port_set_config_changed(struct vblk_port *port);

/* Adds an eventfd that is written when NEEDS_RESET is set. Returns 0 or a negative errno. */
VBLK_MUST_USE int vblk_port_add_error_fd(struct vblk_port *port);

#endif
