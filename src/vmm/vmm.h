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
	VMM_END_ASKED,	 /* vmm_end() was called */
};

struct vmm_result {
	enum vmm_end end;
	int signal; /* with VMM_END_SIGNAL */
};

/* What the thread in vmm_run() is told of while the guest runs, or is frozen. */
enum vmm_event {
	VMM_EVENT_FREEZE,  /* SIGUSR1 */
	VMM_EVENT_THAW,	   /* SIGUSR2 */
	VMM_EVENT_SEEN,	   /* the watched text; the vCPU that sent it waits at the gate */
	VMM_EVENT_TIMEOUT, /* the time is up: the machine ends when the call returns */
	VMM_EVENT_PARKED,  /* a disk may have come to rest */
	VMM_EVENT_WATCHED, /* `watch_fd` is readable */
};

#define VMM_WATCH_MAX 255u

struct vmm_run_options {
	uint32_t timeout_s; /* 0: none */
	FILE *diagnostics;  /* where the registers of a vCPU go that failed */
	const char *
		watch_for; /* a text on the guest's console, of 1 to VMM_WATCH_MAX bytes; or NULL */
	int watch_fd;	   /* a descriptor of the caller's to wait for as well; -1: none */

	/*
	 * Called by the thread that called vmm_run(), while the vCPUs run; it may call the
	 * functions below. At VMM_EVENT_SEEN it has to, vmm_freeze() at least: a part of the guest
	 * waits. Signals, console input and the time limit wait as long. Of signals that
	 * come at the same time the kernel delivers SIGUSR1 first, and one of a kind. Required.
	 */
	void (*event)(void *context, enum vmm_event event);
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

/* --- For the event callback of vmm_run(); what freezes and dumps also behind vmm_run() --- */

/* How a freeze went. */
struct vmm_freeze_report {
	unsigned int vcpus;	 /* at rest */
	unsigned int disks;	 /* at rest */
	uint32_t disks_left_out; /* a bit for each that did not come to rest: its file hangs */
	uint64_t elapsed_ns;	 /* from the request until all were at rest */
};

/*
 * Brings all vCPUs and disks to rest: then nothing changes the guest's memory, its registers or the
 * disks' files. Returns 0, also if it is frozen already, with the report of that freeze; or
 * -ETIMEDOUT or -ECANCELED with `error` filled in, and then the guest goes on. It is called off if
 * the machine ends, or at SIGUSR2, SIGINT, SIGTERM or SIGHUP, which are then answered. vmm/freeze.h
 * has the limits of time.
 */
VBLK_MUST_USE int vmm_freeze(struct vmm *vmm, struct vmm_freeze_report *report,
			     struct vmm_error *error);

/* Lets the guest go on. Harmless if it is not frozen. */
void vmm_thaw(struct vmm *vmm);

/* Ends the machine: vmm_run() returns with VMM_END_ASKED. */
void vmm_end(struct vmm *vmm);

bool vmm_is_frozen(const struct vmm *vmm);

/* What a dump says of itself, and to whom. */
struct vmm_dump_about {
	const char *version; /* of the program */
	const char *reason;  /* a word: why it was made */
	/* Told often how many bytes of guest memory are dealt with, of how many; or NULL. */
	void (*progress)(void *context, uint64_t done, uint64_t total);
	void *context;
};

/* Room for the path of a dump. */
#define VMM_PATH_SIZE 4096

/* A dump that was made. */
struct vmm_dump_made {
	char path[VMM_PATH_SIZE];
	bool mappings_left_out; /* the kernel had more of them than a core file has room for */
};

/*
 * Writes what a frozen machine is like into a new folder `folder`/dump-N, N being the first number
 * from 1 on that is free: vmcore, for gdb (vmm/core_file.h), and dump.json. `folder` is made if it
 * is missing. The dump gets its name when it is complete and on disk, so one that has it is whole;
 * nothing is ever overwritten. Returns 0 with `made` filled in; or a negative errno with `error`
 * filled in, and nothing is left behind: -ECANCELED as vmm_freeze().
 */
VBLK_MUST_USE int vmm_dump(struct vmm *vmm, const char *folder, const struct vmm_dump_about *about,
			   struct vmm_dump_made *made, struct vmm_error *error);

/*
 * Brings one disk to rest, and lets it go on, while the guest runs or is frozen: a disk goes on
 * when neither a freeze nor this keeps it, and a reset by the guest does not end it. Neither waits:
 * VMM_EVENT_PARKED tells of a rest. The last says whether this does.
 */
void vmm_pause_disk(struct vmm *vmm, unsigned int disk);
void vmm_resume_disk(struct vmm *vmm, unsigned int disk);
bool vmm_disk_is_held(const struct vmm *vmm, unsigned int disk);

#endif
