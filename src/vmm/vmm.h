/* SPDX-License-Identifier: MIT */
/*
 * A microVM on KVM, for x86-64: memory, vCPUs, a serial console, a clock and virtio-mmio disks.
 *
 *     vmm_plan_create()   reads kernel and initramfs, checks that all fits; touches nothing
 *     vmm_create()        opens /dev/kvm, builds the machine, connects the devices
 *     vmm_run()           runs it until the guest or somebody else ends it
 *     vmm_destroy()       takes it down
 *
 * The caller creates the devices and keeps them until after vmm_destroy(); then it destroys them
 * and gives its references back. Guest memory goes with the last reference to it, which a device
 * with a stuck worker may hold longer than the machine lives.
 *
 * All functions are called from one thread, and vmm_run() installs a handler for SIGRTMIN and
 * blocks the signals that it listens to for as long as it runs.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include "vmm/error.h"
#include <stdio.h>

#define VMM_MAX_CPUS  32u /* more would not fit into the MP table */
#define VMM_MAX_DISKS 8u  /* interrupt lines that nothing else on such a machine uses */

struct vmm_options {
	const char *kernel;    /* path of an ELF vmlinux or a bzImage */
	const char *initrd;    /* path, or NULL */
	const char *append;    /* end of the command line, or NULL */
	uint64_t memory_bytes; /* multiple of the page size */
	unsigned int cpus;     /* 1 to VMM_MAX_CPUS */
	unsigned int disks;    /* 0 to VMM_MAX_DISKS */
};

struct vmm_plan;
struct vmm;

/*
 * Reads the files and decides where everything goes. `options` and what it points to are only
 * used during the call. Returns 0, or a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_plan_create(const struct vmm_options *options, struct vmm_plan **plan,
				  struct vmm_error *error);

/* NULL is ignored. */
void vmm_plan_destroy(struct vmm_plan *plan);

/*
 * Builds the machine. `devices` holds as many devices as the plan has disks, in the order in
 * which the guest shall find them; they must not have been given memory yet. The plan may go
 * afterwards. Returns 0, or a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_create(const struct vmm_plan *plan, struct vblk_device *const *devices,
			     struct vmm **vmm, struct vmm_error *error);

enum vmm_end {
	VMM_END_NONE,	 /* it still runs */
	VMM_END_REBOOT,	 /* the guest asked for a reset or to be switched off */
	VMM_END_HALT,	 /* all processors of the guest halted with interrupts off */
	VMM_END_TIMEOUT, /* the time was up */
	VMM_END_SIGNAL,	 /* SIGINT, SIGTERM or SIGHUP arrived */
	VMM_END_FAILED,	 /* the guest or the host failed; the error says how */
};

struct vmm_result {
	enum vmm_end end;
	int signal; /* with VMM_END_SIGNAL */
};

struct vmm_run_options {
	uint32_t timeout_s; /* 0: none */
	FILE *diagnostics;  /* where the registers of a vCPU go that failed */

	/*
	 * Called at SIGUSR1 and SIGUSR2, to bring what belongs to the machine to rest and to let
	 * it go on, by the thread that called vmm_run() and while the vCPUs run. Signals, console
	 * input and the time limit wait as long. Of signals that come at the same time the kernel
	 * delivers SIGUSR1 first, and one of a kind. NULL: nothing happens.
	 */
	void (*pause)(void *context);
	void (*resume)(void *context);
	void *context;
};

/*
 * Runs the guest. Its console goes to standard output and comes from standard input. When it
 * returns, no vCPU runs any more and the terminal is as it was. With VMM_END_FAILED `error` is
 * filled in.
 */
void vmm_run(struct vmm *vmm, const struct vmm_run_options *options, struct vmm_result *result,
	     struct vmm_error *error);

/* NULL is ignored. */
void vmm_destroy(struct vmm *vmm);

#endif
