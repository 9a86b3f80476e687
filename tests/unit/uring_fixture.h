/* SPDX-License-Identifier: MIT */
/*
 * What the tests of io_uring share: a file, its ring, and what a flight would do with calls that
 * are over. Tests are skipped where there is no io_uring.
 */
#ifndef VBLK_TESTS_URING_FIXTURE_H
#define VBLK_TESTS_URING_FIXTURE_H

#include "disk.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/uring.h"

#ifdef HAVE_LIBURING
#include "backing/ring.h"
#endif

#define FILE_SIZE 16384u
#define ENTRIES	  8u

struct rig {
	int fd;
	struct vblk_backing *backing;
	struct vblk_aio *aio;
	size_t fds; /* open before */
};

/* A file on a disk, whose calls all go through the ring; or one in memory. */
static inline int open_somewhere(bool in_memory)
{
	char path[] = "/var/tmp/vblk-uring-XXXXXX";
	int fd;

	if (in_memory)
		return memfd_create("vblk-uring", MFD_CLOEXEC);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static inline void begin(struct rig *rig, bool in_memory)
{
	uint8_t content[FILE_SIZE];
	int ret;

	*rig = (struct rig){ .fds = process_fds() };
	memset(content, 0xab, sizeof(content));
	rig->fd = open_somewhere(in_memory);
	assert_true(rig->fd >= 0);
	assert_int_equal(pwrite(rig->fd, content, FILE_SIZE, 0), FILE_SIZE);
	assert_int_equal(vblk_backing_open_fd(rig->fd, 0, &rig->backing), 0);
	ret = vblk_uring_create(rig->backing, ENTRIES, &rig->aio);
	if (ret == -ENOSYS || ret == -EPERM || ret == -EOPNOTSUPP)
		skip();
	assert_int_equal(ret, 0);
}

static inline void end(struct rig *rig)
{
	vblk_aio_destroy(rig->aio);
	vblk_backing_unref(rig->backing);
	close(rig->fd);
	assert_int_equal(process_fds(), rig->fds);
}

/* What a flight does with a call that is over: see backing/call.h. */
static inline void fetch(struct vblk_call *call)
{
	size_t left = call->result > 0 ? (size_t)call->result : 0;
	const uint8_t *from = call->staged;

	for (int i = 0; from && left > 0; i++) {
		size_t part = call->iov[i].iov_len < left ? call->iov[i].iov_len : left;

		memcpy(call->iov[i].iov_base, from, part);
		from += part;
		left -= part;
	}
	call->staged = NULL;
}

static inline struct vblk_call *wait_for_one(struct rig *rig)
{
	struct vblk_call *call = vblk_aio_reap(rig->aio);

	if (!call) {
		vblk_aio_wait(rig->aio);
		call = vblk_aio_reap(rig->aio);
	}
	assert_non_null(call);
	fetch(call);
	return call;
}

#endif
