/* SPDX-License-Identifier: MIT */
/*
 * What every other public header needs: visibility, result checking, C++.
 *
 * Conventions of the whole library:
 *  - A function that can fail returns 0 (or a count) or a negative errno, and its results go
 *    through its last parameters. Such functions are marked VBLK_MUST_USE.
 *  - Objects named `struct vblk_memory`, `vblk_backing`, `vblk_metrics` and `vblk_park` are
 *    reference counted: whoever creates one owns a reference and gives it back with *_unref();
 *    the library takes references of its own for as long as it needs the object.
 *  - Guest-physical addresses and lengths are in bytes, sectors are 512 bytes, times are
 *    nanoseconds of CLOCK_MONOTONIC, unless a name says otherwise.
 *  - "Specification" means Virtual I/O Device (VIRTIO) Version 1.2.
 */
#ifndef VBLK_TYPES_H
#define VBLK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define VBLK_BEGIN_DECLS extern "C" {
#define VBLK_END_DECLS	 }
#else
#define VBLK_BEGIN_DECLS
#define VBLK_END_DECLS
#endif

#define VBLK_API      __attribute__((visibility("default")))
#define VBLK_MUST_USE __attribute__((warn_unused_result))

/* Unit of `capacity` and of a request's `sector` (specification 5.2.4, 5.2.6). */
#define VBLK_SECTOR_SIZE 512u

struct vblk_backing;
struct vblk_device;
struct vblk_log;
struct vblk_memory;
struct vblk_metrics;
struct vblk_park;

#endif
