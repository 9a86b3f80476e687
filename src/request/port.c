/* SPDX-License-Identifier: MIT */
/* The device's own voice: status bits and the interrupt. */
#include "request/port.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/log.h"
#include "metrics/metrics.h"

int vblk_port_create(void (*interrupt)(void *context), void *interrupt_context,
		     const struct vblk_log *log, struct vblk_metrics *metrics,
		     struct vblk_port **port)
{
	struct vblk_port *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	p->err_fd = -1;
	ret = vblk_eventfd_create(&p->irq_fd);
	if (ret < 0) {
		free(p);
		return ret;
	}
	atomic_init(&p->refs, 1);
	atomic_init(&p->device_status, 0);
	atomic_init(&p->interrupt_status, 0);
	p->interrupt = interrupt;
	p->interrupt_context = interrupt_context;
	p->log = *log;
	vblk_log_limit_init(&p->log_limit);
	p->metrics = vblk_metrics_ref(metrics);
	*port = p;
	return 0;
}

void vblk_port_set_owner(struct vblk_port *port, uint32_t instance, const struct vblk_clock *clock)
{
	port->instance = instance;
	port->clock = *clock;
}

struct vblk_port *vblk_port_ref(struct vblk_port *port)
{
	atomic_fetch_add_explicit(&port->refs, 1, memory_order_relaxed);
	return port;
}

void vblk_port_unref(struct vblk_port *port)
{
	if (!port || atomic_fetch_sub_explicit(&port->refs, 1, memory_order_acq_rel) != 1)
		return;
	vblk_metrics_unref(port->metrics);
	close(port->irq_fd);
	if (port->err_fd >= 0)
		close(port->err_fd);
	free(port);
}

int vblk_port_add_error_fd(struct vblk_port *port)
{
	return vblk_eventfd_create(&port->err_fd);
}

void vblk_port_set_interrupt_status(struct vblk_port *port, uint32_t bits)
{
	atomic_fetch_or_explicit(&port->interrupt_status, bits, memory_order_release);
}

int vblk_port_signal(struct vblk_port *port)
{
	vblk_metrics_add_interrupt(port->metrics);
	if (!port->interrupt)
		return vblk_eventfd_signal(port->irq_fd);
	port->interrupt(port->interrupt_context);
	return 0;
}

int vblk_port_signal_needs_reset(struct vblk_port *port)
{
	atomic_fetch_or_explicit(&port->device_status, VIRTIO_CONFIG_S_NEEDS_RESET,
				 memory_order_seq_cst);
	vblk_port_set_interrupt_status(port, VIRTIO_MMIO_INT_CONFIG);
	/* Whoever is told by this has the interrupt too, whose failure is reported. */
	if (port->err_fd >= 0 && vblk_eventfd_signal(port->err_fd) < 0)
		vblk_metrics_add_error(port->metrics, VBLK_ERROR_INTERRUPT);
	return vblk_port_signal(port);
}

void vblk_port_set_config_changed(struct vblk_port *port)
{
	vblk_port_set_interrupt_status(port, VIRTIO_MMIO_INT_CONFIG);
	vblk_port_raise(port);
}

/* Limited: a guest can have as many interrupts as it likes. */
void vblk_port_log(struct vblk_port *port, int error)
{
	if (error < 0)
		vblk_log_emit_limited(&port->log, &port->log_limit, vblk_clock_now(&port->clock),
				      VBLK_LOG_WARN, "cannot raise the interrupt",
				      VBLK_FIELD_UINT("instance", port->instance),
				      VBLK_FIELD_INT("error", error));
}

void vblk_port_raise(struct vblk_port *port)
{
	vblk_port_log(port, vblk_port_signal(port));
}

void vblk_port_set_needs_reset(struct vblk_port *port)
{
	vblk_port_log(port, vblk_port_signal_needs_reset(port));
}

void vblk_port_reset(struct vblk_port *port)
{
	/* With an error descriptor it is a front end's, who reads it, and might make that block. */
	if (port->err_fd < 0)
		vblk_eventfd_clear(port->irq_fd);
	atomic_store_explicit(&port->interrupt_status, 0, memory_order_release);
	atomic_store_explicit(&port->device_status, 0, memory_order_release);
}
