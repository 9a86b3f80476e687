/* SPDX-License-Identifier: MIT */
/* What a thread says to its processor while it looks at memory that another will change. */
#ifndef VBLK_BASE_RELAX_H
#define VBLK_BASE_RELAX_H

static inline void vblk_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ volatile("yield");
#endif
}

#endif
