/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes between the serial port and the world.
 *
 * The lock is held while the port's registers change and while its interrupt line follows them,
 * and never while output is written: a reader that does not read must not keep the feeding
 * thread, which also minds the clock and the signals, from its work.
 */
#include "vmm/console.h"

#include "vmm/layout.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int vmm_console_init(struct vmm_console *console, const struct vmm_kvm *kvm, struct vmm_stop *stop,
		     int input, int output, struct vmm_error *error)
{
	console->room_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->room_fd < 0)
		return vmm_error_host(error, -errno, "cannot create an eventfd");
	console->seen_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->seen_fd < 0) {
		close(console->room_fd);
		return vmm_error_host(error, -errno, "cannot create an eventfd");
	}
	console->gate = NULL;
	console->kvm = kvm;
	console->stop = stop;
	console->input = input;
	console->output = output;
	console->line = false;
	console->full = false;
	vmm_serial_init(&console->serial);
	pthread_mutex_init(&console->lock, NULL);
	return 0;
}

void vmm_console_destroy(struct vmm_console *console)
{
	close(console->seen_fd);
	close(console->room_fd);
	pthread_mutex_destroy(&console->lock);
}

void vmm_console_watch(struct vmm_console *console, const char *text, struct vmm_gate *gate)
{
	vmm_matcher_init(&console->matcher, text);
	console->gate = gate;
}

/* With the lock held, after the registers have changed. */
static void settle(struct vmm_console *console)
{
	bool line = vmm_serial_interrupt(&console->serial);
	struct vmm_error error;

	if (line != console->line) {
		int ret = vmm_kvm_set_line(console->kvm, VMM_SERIAL_IRQ, line);

		console->line = line;
		if (ret) {
			vmm_error_host(&error, ret, "cannot set the console's interrupt line");
			vmm_stop_fail(console->stop, &error);
		}
	}
	if (console->full && vmm_serial_room(&console->serial)) {
		console->full = false;
		eventfd_write(console->room_fd, 1);
	}
}

/* The write is given up when the machine ends: the vCPU is interrupted by a signal then. */
static void put(struct vmm_console *console, uint8_t byte)
{
	struct vmm_error error;

	while (write(console->output, &byte, 1) != 1) {
		if (vmm_stop_reason(console->stop) != VMM_END_NONE)
			return;
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN) { /* somebody has made it non-blocking */
			usleep(1000);
			continue;
		}
		vmm_error_host(&error, -errno,
			       "cannot write the guest's console to standard output");
		vmm_stop_fail(console->stop, &error);
		return;
	}
}

uint8_t vmm_console_read(struct vmm_console *console, unsigned int reg)
{
	uint8_t value;

	pthread_mutex_lock(&console->lock);
	value = vmm_serial_read(&console->serial, reg);
	settle(console);
	pthread_mutex_unlock(&console->lock);
	return value;
}

void vmm_console_write(struct vmm_console *console, unsigned int reg, uint8_t value)
{
	bool sent, seen;
	uint8_t byte;

	pthread_mutex_lock(&console->lock);
	sent = vmm_serial_write(&console->serial, reg, value, &byte);
	seen = sent && console->gate && vmm_matcher_feed(&console->matcher, byte);
	settle(console);
	pthread_mutex_unlock(&console->lock);
	if (sent)
		put(console, byte);
	if (seen) {
		vmm_gate_close(console->gate);
		eventfd_write(console->seen_fd, 1);
	}
}

int vmm_console_poll_fd(struct vmm_console *console)
{
	int fd = console->input;

	if (fd < 0)
		return -1;
	pthread_mutex_lock(&console->lock);
	if (!vmm_serial_room(&console->serial)) {
		console->full = true;
		fd = console->room_fd;
	}
	pthread_mutex_unlock(&console->lock);
	return fd;
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

void vmm_console_feed(struct vmm_console *console)
{
	uint8_t bytes[VMM_SERIAL_FIFO];
	unsigned int room;
	eventfd_t ignored;
	ssize_t got;

	eventfd_read(console->room_fd, &ignored);
	pthread_mutex_lock(&console->lock);
	room = vmm_serial_room(&console->serial);
	pthread_mutex_unlock(&console->lock);
	/* It may have been the room that was reported, with no input waiting for it. */
	if (!room || console->input < 0 || !is_readable(console->input))
		return;

	/* Only this thread adds bytes, so the room can have grown since, but not shrunk below what
	 * a driver that has just emptied the port would lose anyway. */
	got = read(console->input, bytes, room);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		console->input = -1;
		return;
	}
	pthread_mutex_lock(&console->lock);
	for (ssize_t i = 0; i < got; i++)
		vmm_serial_receive(&console->serial, bytes[i]);
	settle(console);
	pthread_mutex_unlock(&console->lock);
}
