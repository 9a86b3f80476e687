/* SPDX-License-Identifier: MIT */
/*
 * Carrying out DISCARD and WRITE_ZEROES: all ranges of a request are held against the end of the
 * disk before the first of them is touched.
 *
 * Zeros that the backing cannot make by itself are written, in pieces, so that a worker that is to
 * stop or has lost its lease is not kept here. A discard that the backing cannot do has succeeded:
 * it was a hint (specification 5.2.6.2 promises nothing about the content afterwards).
 */
#ifndef VBLK_REQUEST_RANGES_H
#define VBLK_REQUEST_RANGES_H

#include "request/io.h"

/* One call to the backing concerns at most so many bytes. */
#define VBLK_RANGE_STEP_MAX (64u << 20)

/* As vblk_io_transfer, which calls it. */
struct vblk_transfer vblk_ranges_transfer(struct vblk_io *io, const struct vblk_request *request);

#endif
