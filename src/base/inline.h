/* SPDX-License-Identifier: MIT */
/* For the few functions of a request's way that a compiler would rather call. */
#ifndef VBLK_BASE_INLINE_H
#define VBLK_BASE_INLINE_H

#define VBLK_ALWAYS_INLINE static inline __attribute__((always_inline))
#define VBLK_NEVER_INLINE  static __attribute__((noinline))

#endif
