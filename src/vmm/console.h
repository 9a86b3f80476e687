/* SPDX-License-Identifier: MIT */
/*
 * The serial console: the port's registers on one side, two descriptors on the other.
 *
 * vCPU threads call vmm_console_read and _write; the thread that runs the machine polls and feeds.
 * Output is written by the vCPU that sends it, so a guest is as slow as whoever reads it. But when
 * the gate is closed, what there is no room for is left behind, and written when vCPUs go on.
 *
 * A text can be watched for. The vCPU that sends its last byte closes the gate before it goes on,
 * so what the guest would do next, reboot for example, does not happen.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "vmm/gate.h"
#include "vmm/kvm.h"
#include "vmm/matcher.h"
#include "vmm/serial.h"
#include "vmm/stop.h"
#include "vmm/vmm.h"

/* A vCPU brings at most a page of bytes in one exit, and makes none while it waits at the gate. */
#define VMM_CONSOLE_LEFT (VMM_MAX_CPUS * 4096u)

struct vmm_console {
	const struct vmm_kvm *kvm;
	struct vmm_gate *gate;
	struct vmm_stop *stop;
	int input;     /* or -1: there is none, or it has ended */
	int output;    /* never -1 */
	int room_fd;   /* eventfd: the guest has made room for input */
	int seen_fd;   /* eventfd: the text was seen */
	bool watching; /* for a text */
	pthread_mutex_t output_lock;
	size_t left_count; /* under it, as the bytes */
	uint8_t left[VMM_CONSOLE_LEFT];
	atomic_bool has_left;
	pthread_mutex_t lock;
	struct vmm_serial serial; /* under the lock, as the next three */
	struct vmm_matcher matcher;
	bool line; /* level of the interrupt line */
	bool full; /* the feeder waits for room */
};

/*
 * Without input, until `input` is set before the guest runs. Neither descriptor is owned. `kvm`,
 * `stop` and `gate` must live longer. Returns 0, or
 * a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_console_init(struct vmm_console *console, const struct vmm_kvm *kvm,
				   struct vmm_stop *stop, struct vmm_gate *gate, int output,
				   struct vmm_error *error);

void vmm_console_destroy(struct vmm_console *console);

/* Watches for `text`; before the guest runs. */
void vmm_console_watch(struct vmm_console *console, const char *text);

/* The guest accesses register 0 to 7. Any thread. */
uint8_t vmm_console_read(struct vmm_console *console, unsigned int reg);
void vmm_console_write(struct vmm_console *console, unsigned int reg, uint8_t value);

/*
 * Writes what was left behind at a closed gate. A vCPU calls it whenever it is about to enter the
 * guest; nearly always there is nothing.
 */
void vmm_console_go_on(struct vmm_console *console);

/*
 * The descriptor to poll for reading: the input if the guest has room for a byte, or else
 * room_fd, which says when it has; -1 if there is no input. Only the feeding thread.
 */
int vmm_console_poll_fd(struct vmm_console *console);

/* To be called when that descriptor is readable. Never blocks. Only the feeding thread. */
void vmm_console_feed(struct vmm_console *console);

#endif
