/* SPDX-License-Identifier: MIT */
/*
 * `closed` is what counts; open_fd only wakes. It stays readable until the gate closes again, so
 * that whoever opens need not know how many wait. A waiter that has not woken by then finds the
 * gate closed and stays.
 */
#include "vmm/gate.h"

#include "base/eventfd.h"
#include <poll.h>
#include <unistd.h>

int vmm_gate_init(struct vmm_gate *gate, const struct vmm_stop *stop, struct vmm_error *error)
{
	int ret;

	ret = vblk_eventfd_create(&gate->parked_fd);
	if (ret)
		return vmm_error_host(error, ret, "cannot create an eventfd");
	ret = vblk_eventfd_create(&gate->open_fd);
	if (ret) {
		close(gate->parked_fd);
		return vmm_error_host(error, ret, "cannot create an eventfd");
	}
	atomic_init(&gate->closed, false);
	pthread_mutex_init(&gate->lock, NULL);
	gate->stop = stop;
	return 0;
}

void vmm_gate_destroy(struct vmm_gate *gate)
{
	close(gate->open_fd);
	close(gate->parked_fd);
	pthread_mutex_destroy(&gate->lock);
}

void vmm_gate_clear(struct vmm_gate *gate)
{
	vblk_eventfd_clear(gate->parked_fd);
}

void vmm_gate_close(struct vmm_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	vblk_eventfd_clear(gate->open_fd);
	atomic_store_explicit(&gate->closed, true, memory_order_release);
	pthread_mutex_unlock(&gate->lock);
}

/* An eventfd of ours that is open takes a one: there is no error to answer. */
static void signal_fd(int fd)
{
	if (vblk_eventfd_signal(fd))
		return;
}

void vmm_gate_open(struct vmm_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	atomic_store_explicit(&gate->closed, false, memory_order_release);
	signal_fd(gate->open_fd);
	pthread_mutex_unlock(&gate->lock);
}

bool vmm_gate_is_closed(const struct vmm_gate *gate)
{
	return atomic_load_explicit(&gate->closed, memory_order_acquire);
}

void vmm_gate_pass(struct vmm_gate *gate, atomic_bool *parked)
{
	struct pollfd fds[] = {
		{ .fd = gate->open_fd, .events = POLLIN },
		{ .fd = gate->stop->fd, .events = POLLIN },
	};

	if (!vmm_gate_is_closed(gate))
		return;
	atomic_store_explicit(parked, true, memory_order_release);
	signal_fd(gate->parked_fd);
	while (vmm_gate_is_closed(gate) && vmm_stop_reason(gate->stop) == VMM_END_NONE)
		poll(fds, 2, -1); /* EINTR is a kick: there is nothing that it could want here */
	atomic_store_explicit(parked, false, memory_order_release);
}
