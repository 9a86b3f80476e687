/* SPDX-License-Identifier: MIT */
/* Everything that libvblk offers. */
#ifndef VBLK_VBLK_H
#define VBLK_VBLK_H

#include <vblk/backing.h>
#include <vblk/device.h>
#include <vblk/inspect.h>
#include <vblk/log.h>
#include <vblk/memory.h>
#include <vblk/metrics.h>
#include <vblk/mmio.h>
#include <vblk/types.h>

#endif
