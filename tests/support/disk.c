/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/backing.h"

void disk_fill(struct vblk_backing *disk, uint64_t offset, uint8_t value, size_t length)
{
	uint8_t *bytes = malloc(length);
	struct iovec iov = { bytes, length };

	assert_non_null(bytes);
	memset(bytes, value, length);
	assert_int_equal(vblk_backing_pwritev(disk, &iov, 1, offset), length);
	free(bytes);
}

bool disk_is_filled(struct vblk_backing *disk, uint64_t offset, uint8_t value, size_t length)
{
	uint8_t *bytes = malloc(length);
	struct iovec iov = { bytes, length };
	bool filled = true;

	assert_non_null(bytes);
	assert_int_equal(vblk_backing_preadv(disk, &iov, 1, offset), length);
	for (size_t i = 0; i < length; i++)
		filled = filled && bytes[i] == value;
	free(bytes);
	return filled;
}

bool disk_is_asynchronous(void)
{
	return getenv("VBLK_TEST_URING") != NULL;
}

/* On a disk, where the kernel's own threads write and sync: in memory there is not much to wait
 * for. */
static struct vblk_backing *create_file(uint64_t size)
{
	char path[] = "/var/tmp/vblk-test-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct vblk_backing *disk;

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(vblk_backing_open_fd(fd, 0, &disk), 0);
	close(fd);
	return disk;
}

struct vblk_backing *disk_create(uint64_t size, uint8_t fill)
{
	struct vblk_backing *disk;

	if (disk_is_asynchronous())
		disk = create_file(size);
	else
		assert_int_equal(vblk_backing_create_memory(size, &disk), 0);
	if (fill != 0)
		disk_fill(disk, 0, fill, size);
	return disk;
}

struct vblk_backing *disk_create_faulty(uint64_t size, uint8_t fill,
					const struct vblk_faulty_rule *rules, size_t count)
{
	struct vblk_backing *base = disk_create(size, fill);
	struct vblk_backing *disk;

	assert_int_equal(vblk_faulty_create(base, rules, count, NULL, &disk), 0);
	vblk_backing_unref(base);
	return disk;
}

struct hooked {
	struct vblk_backing *base;
	void (*hook)(void *context);
	void *context;
};

static ssize_t hooked_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct hooked *hooked = context;

	hooked->hook(hooked->context);
	return vblk_backing_preadv(hooked->base, iov, count, offset);
}

static ssize_t hooked_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct hooked *hooked = context;

	hooked->hook(hooked->context);
	return vblk_backing_pwritev(hooked->base, iov, count, offset);
}

static int hooked_sync(void *context)
{
	struct hooked *hooked = context;

	hooked->hook(hooked->context);
	return vblk_backing_sync(hooked->base);
}

static void hooked_close(void *context)
{
	struct hooked *hooked = context;

	vblk_backing_unref(hooked->base);
	free(hooked);
}

struct vblk_backing *disk_create_hooked(uint64_t size, uint8_t fill, void (*hook)(void *context),
					void *context)
{
	static const struct vblk_backing_ops ops = {
		.preadv = hooked_preadv,
		.pwritev = hooked_pwritev,
		.sync = hooked_sync,
		.close = hooked_close,
	};
	struct hooked *hooked = calloc(1, sizeof(*hooked));
	struct vblk_backing_info info;
	struct vblk_backing *disk;

	assert_non_null(hooked);
	hooked->base = disk_create(size, fill);
	hooked->hook = hook;
	hooked->context = context;
	vblk_backing_get_info(hooked->base, &info);
	assert_int_equal(vblk_backing_create(&ops, hooked, &info, &disk), 0);
	return disk;
}
