/* SPDX-License-Identifier: MIT */
/* One request after another: by system calls, or by copies. */
#include "plain.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* Carries one request out; returns 0 or a negative errno. */
typedef int request_fn(const struct plain *plain, void *context, enum vblk_driver_kind kind,
		       void *buffer, uint64_t offset);

static int run(struct plain *plain, request_fn *request, void *context)
{
	const uint32_t block = plain->options->block;
	uint64_t time = plain_begin(plain);

	for (uint32_t slot = 0; time < plain->end_ns; slot = (slot + 1) % plain->options->depth) {
		const enum vblk_driver_kind kind = vblk_order_kind(&plain->order);
		const uint64_t started = time;
		uint64_t offset = 0;
		int ret;

		if (kind != VBLK_DRIVER_FLUSH)
			offset = vblk_order_block(&plain->order) * block;
		ret = request(plain, context, kind, plain_buffer(plain, slot), offset);
		if (ret)
			return ret;
		time = plain_now();
		vblk_histogram_add(&plain->result->latency[kind], time - started);
	}
	return 0;
}

static int call(const struct plain *plain, void *context, enum vblk_driver_kind kind, void *buffer,
		uint64_t offset)
{
	const struct iovec iov = { buffer, plain->options->block };
	ssize_t done;

	(void)context;
	if (kind == VBLK_DRIVER_FLUSH)
		return fdatasync(plain->fd) < 0 ? -errno : 0;
	if (kind == VBLK_DRIVER_READ)
		done = preadv(plain->fd, &iov, 1, (off_t)offset);
	else
		done = pwritev(plain->fd, &iov, 1, (off_t)offset);
	if (done < 0)
		return -errno;
	return (size_t)done == iov.iov_len ? 0 : -EIO;
}

int plain_run_sync(struct plain *plain)
{
	return run(plain, call, NULL);
}

static int copy(const struct plain *plain, void *context, enum vblk_driver_kind kind, void *buffer,
		uint64_t offset)
{
	uint8_t *file = context;

	if (kind == VBLK_DRIVER_FLUSH)
		return msync(file, plain->bytes, MS_SYNC) < 0 ? -errno : 0;
	if (kind == VBLK_DRIVER_READ)
		memcpy(buffer, file + offset, plain->options->block);
	else
		memcpy(file + offset, buffer, plain->options->block);
	return 0;
}

int plain_run_copy(struct plain *plain)
{
	const int access = plain->options->read_percent == 100 ? PROT_READ : PROT_READ | PROT_WRITE;
	void *file = mmap(NULL, plain->bytes, access, MAP_SHARED | MAP_POPULATE, plain->fd, 0);
	int ret;

	if (file == MAP_FAILED)
		return -errno;
	ret = run(plain, copy, file);
	munmap(file, plain->bytes);
	return ret;
}
