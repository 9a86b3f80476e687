/* SPDX-License-Identifier: MIT */
/* What a stock Linux guest must be told under KVM-PVM, word by word. */
#include "vmm/quirks.h"

#include <stddef.h>
#include <unistd.h>

const char *const vmm_quirk_words[] = {
	/*
	 * xsave and xrstor are not emulated, and the guest sees XSAVE in CPUID even though it is
	 * filtered out: without this word the kernel dies on its first use of the FPU.
	 */
	"noxsave",
	/*
	 * More features that show through the filter and whose instructions (stac and clac,
	 * popcnt, rdfsbase, invpcid, rdpid) are not emulated or go another way: SMAP (308), SMEP
	 * (295), ERMS (297), FSRM (580), UMIP (514), FSGSBASE (288), RDPID (534), INVPCID (298),
	 * POPCNT (151). By number, because kernels before 5.18 do not know the names.
	 */
	"clearcpuid=308,295,297,580,514,288,534,298,151",
	/* What the mitigations add to every entry into the kernel is emulated too, and protects
	 * nothing: the guest's kernel does not run on the processor. */
	"mitigations=off",
	/* Write-protecting the kernel's text splits its large pages: half a second, emulated. */
	"rodata=off",
	NULL,
};

bool vmm_host_is_kvm_pvm(void)
{
	return access("/sys/module/kvm_pvm", F_OK) == 0;
}
