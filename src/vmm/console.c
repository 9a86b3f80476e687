/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes between the serial port and the world.
 *
 * The lock is held while the port's registers change and while its interrupt line follows them,
 * and never while output is written: a reader that does not read must not keep the feeding
 * thread, which also minds the clock and the signals, from its work.
 *
 * Nor may he keep a vCPU from the gate. Output waits for room, never in write(), and looks at the
 * gate and at the machine's end while it does. It does so by the clock, as a kick can come just
 * before it begins to wait. What has no room when the gate is closed is left for the way back.
 */
#include "vmm/console.h"

#include "vmm/layout.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOK_MS 10 /* between looks at the gate, at most */

int vmm_console_init(struct vmm_console *console, const struct vmm_kvm *kvm, struct vmm_stop *stop,
		     struct vmm_gate *gate, int output, struct vmm_error *error)
{
	console->room_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->room_fd < 0)
		return vmm_error_host(error, -errno, "cannot create an eventfd");
	console->seen_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->seen_fd < 0) {
		close(console->room_fd);
		return vmm_error_host(error, -errno, "cannot create an eventfd");
	}
	console->gate = gate;
	console->kvm = kvm;
	console->stop = stop;
	console->watching = false;
	console->input = -1;
	console->output = output;
	console->line = false;
	console->full = false;
	vmm_serial_init(&console->serial);
	pthread_mutex_init(&console->lock, NULL);
	pthread_mutex_init(&console->output_lock, NULL);
	console->left_count = 0;
	atomic_init(&console->has_left, false);
	return 0;
}

void vmm_console_destroy(struct vmm_console *console)
{
	close(console->seen_fd);
	close(console->room_fd);
	pthread_mutex_destroy(&console->output_lock);
	pthread_mutex_destroy(&console->lock);
}

void vmm_console_watch(struct vmm_console *console, const char *text)
{
	vmm_matcher_init(&console->matcher, text);
	console->watching = true;
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

/* --- Output, under its own lock --- */

static bool is_for_reading_alone(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
}

/*
 * Waits until write() has something to say: room, or what is wrong. Returns false if the gate is
 * closed before, or the machine ends.
 */
static bool wait_for_room(const struct vmm_console *console)
{
	struct pollfd fds[] = {
		{ .fd = console->output, .events = POLLOUT },
		{ .fd = console->stop->fd, .events = POLLIN },
	};

	while (vmm_stop_reason(console->stop) == VMM_END_NONE) {
		const bool closed = vmm_gate_is_closed(console->gate);

		fds[0].revents = 0; /* which an interrupted poll does not do */
		if (poll(fds, 2, closed ? 0 : LOOK_MS) > 0 && fds[0].revents)
			return true;
		if (closed)
			return false;
		/* What poll never finds writable. */
		if (is_for_reading_alone(console->output))
			return true;
	}
	return false;
}

/* Returns how many bytes have gone. */
static size_t put(struct vmm_console *console, const uint8_t *bytes, size_t count)
{
	struct vmm_error error;
	size_t done = 0;

	while (done < count && wait_for_room(console)) {
		if (write(console->output, bytes + done, 1) == 1) {
			done++;
		} else if (errno != EINTR && errno != EAGAIN) {
			vmm_error_host(&error, -errno,
				       "cannot write the guest's console to standard output");
			vmm_stop_fail(console->stop, &error);
		}
	}
	return done;
}

static void put_what_is_left(struct vmm_console *console)
{
	size_t gone = put(console, console->left, console->left_count);

	console->left_count -= gone;
	memmove(console->left, console->left + gone, console->left_count);
	atomic_store(&console->has_left, console->left_count > 0);
}

/* In the order in which bytes are sent. At the end of the machine there may be no room for all. */
static void send_byte(struct vmm_console *console, uint8_t byte)
{
	pthread_mutex_lock(&console->output_lock);
	if (console->left_count < sizeof(console->left))
		console->left[console->left_count++] = byte;
	put_what_is_left(console);
	pthread_mutex_unlock(&console->output_lock);
}

void vmm_console_go_on(struct vmm_console *console)
{
	/* Who has the lock writes all of it, or will come by here when the gate lets it. */
	if (!atomic_load(&console->has_left) || pthread_mutex_trylock(&console->output_lock))
		return;
	put_what_is_left(console);
	pthread_mutex_unlock(&console->output_lock);
}

/* --- The guest's side --- */

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
	seen = sent && console->watching && vmm_matcher_feed(&console->matcher, byte);
	settle(console);
	pthread_mutex_unlock(&console->lock);
	/* Before the byte is sent, which may have to wait for a reader. */
	if (seen) {
		vmm_gate_close(console->gate);
		eventfd_write(console->seen_fd, 1);
	}
	if (sent)
		send_byte(console, byte);
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
