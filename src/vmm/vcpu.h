/* SPDX-License-Identifier: MIT */
/*
 * One virtual processor and the thread that runs it.
 *
 * The thread ends when the machine has a reason to stop, and it is one that finds such reasons:
 * a reset, a power-off, a failure. A vCPU is in the kernel nearly all of its time, so it must be
 * kicked to see that somebody else has stopped the machine, or closed the gate.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "vmm/bus.h"
#include "vmm/gate.h"

#include <signal.h>

/* Sent to vCPU threads only; its handler does nothing but interrupt system calls. */
#define VMM_KICK_SIGNAL SIGRTMIN

/* Whether anything can still happen on a vCPU. */
enum vmm_probe {
	VMM_PROBE_IDLE,	 /* nobody has asked */
	VMM_PROBE_ASKED, /* asked, not answered yet */
	VMM_PROBE_ALIVE,
	VMM_PROBE_DEAD, /* halted with interrupts off, or never started */
};

struct vmm_vcpu {
	unsigned int id;
	int fd;
	struct kvm_run *run; /* shared with the kernel */
	size_t run_size;
	struct vmm_bus *bus;
	struct vmm_gate *gate;
	struct vmm_stop *stop;
	FILE *diagnostics;
	pthread_t thread;
	bool started;
	_Atomic(int) probe; /* enum vmm_probe */
	atomic_bool parked; /* it waits at the gate, and its registers are all in KVM */
};

struct vmm_vcpu_options {
	unsigned int id;
	unsigned int cpus; /* of the whole machine */
	bool kvm_pvm;	   /* see vmm/quirks.h */
	uint64_t entry;	   /* where the first vCPU starts; the others wait */
};

/* Returns 0, or a negative errno with `error` filled in; destroy it in either case. */
VBLK_MUST_USE int vmm_vcpu_create(struct vmm_vcpu *vcpu, const struct vmm_kvm *kvm,
				  const struct vmm_vcpu_options *options, struct vmm_bus *bus,
				  struct vmm_gate *gate, struct vmm_stop *stop,
				  struct vmm_error *error);

/* Starts the thread; a failure's registers go to `diagnostics`. Returns 0 or a negative errno. */
VBLK_MUST_USE int vmm_vcpu_start(struct vmm_vcpu *vcpu, FILE *diagnostics);

/* Makes the thread leave the guest once. Only while it is started. */
void vmm_vcpu_kick(struct vmm_vcpu *vcpu);

/* Kicks until the thread has ended. The machine must have a reason to stop. */
void vmm_vcpu_join(struct vmm_vcpu *vcpu);

/* Not while the thread runs. */
void vmm_vcpu_destroy(struct vmm_vcpu *vcpu);

/* Writes the registers of a vCPU, whose thread calls this, for a person to read. */
void vmm_vcpu_dump(const struct vmm_vcpu *vcpu, FILE *out);

#endif
