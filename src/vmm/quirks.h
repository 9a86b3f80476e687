/* SPDX-License-Identifier: MIT */
/*
 * Hosts whose KVM is not a processor's.
 *
 * KVM-PVM runs guests without hardware virtualisation. A guest kernel that knows nothing of it
 * is run, in kernel mode, by KVM's instruction emulator, which lacks some instructions. Guests
 * are kept from using these: by CPUID (vmm/cpuid.c) and, where the processor shows through all
 * the same, by words on the kernel's command line. On any other host nothing here applies.
 */
#ifndef VMM_QUIRKS_H
#define VMM_QUIRKS_H

#include <stdbool.h>

/* Whether this host's /dev/kvm is KVM-PVM. */
bool vmm_host_is_kvm_pvm(void);

/* Words for the command line of a guest on KVM-PVM; the last is NULL. */
extern const char *const vmm_quirk_words[];

#endif
