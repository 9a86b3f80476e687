/* SPDX-License-Identifier: MIT */
/*
 * The original is walked from one piece of data to the next. A piece is copied by the kernel
 * (copy_file_range), or, once that has refused, through a buffer; the second way can do everything
 * that the first can, so whatever the first says is reason enough for the second.
 */
#include "image/copy.h"

#include "base/checked.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STEP   (UINT64_C(8) << 20) /* bytes between two looks at the clock */
#define BUFFER ((size_t)1 << 20)
#define PAGE   ((size_t)4096)

#define XFS_SUPER_MAGIC_ 0x58465342 /* the kernel's header of XFS is not public */

struct copying {
	int from_fd;
	int to_fd;
	bool by_hand; /* the kernel does not copy between these */
	uint8_t *buffer;
};

/* ---- pieces of data ---- */

/*
 * Finds the next data at or after `*at`: [*at, *end). Returns 1; 0 if there is none; or a negative
 * errno. A file system that does not tell has data everywhere.
 */
static int next_data(int fd, uint64_t size, uint64_t *at, uint64_t *end)
{
	off_t data, hole;

	if (*at >= size)
		return 0;
	data = lseek(fd, (off_t)*at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return 0;
	if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
		return -errno;
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	if (data >= 0)
		*at = (uint64_t)data;
	*end = hole > data ? vblk_min_u64((uint64_t)hole, size) : size;
	return *at < size;
}

/* Reads all of it; -ENODATA if the file has become shorter. */
static int read_at(int fd, uint8_t *buffer, size_t length, uint64_t at)
{
	while (length > 0) {
		ssize_t n = pread(fd, buffer, length, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		buffer += n;
		length -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int write_at(int fd, const uint8_t *buffer, size_t length, uint64_t at)
{
	while (length > 0) {
		ssize_t n = pwrite(fd, buffer, length, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buffer += n;
		length -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* How many bytes of the buffer, in whole pages, are zero, or are not: as its first page. */
static size_t run_of(const uint8_t *buffer, size_t length, bool *zero)
{
	size_t run = vblk_min_u64(PAGE, length);

	*zero = all_zero(buffer, run);
	while (run < length) {
		const size_t page = vblk_min_u64(PAGE, length - run);

		if (all_zero(buffer + run, page) != *zero)
			break;
		run += page;
	}
	return run;
}

/* ---- copying ---- */

static int copy_through_buffer(const struct copying *copying, uint64_t at, uint64_t end)
{
	while (at < end) {
		const size_t length = vblk_min_u64(BUFFER, end - at);
		int ret = read_at(copying->from_fd, copying->buffer, length, at);
		bool zero;

		for (size_t done = 0, run; done < length && !ret; done += run) {
			run = run_of(copying->buffer + done, length - done, &zero);
			if (!zero)
				ret = write_at(copying->to_fd, copying->buffer + done, run,
					       at + done);
		}
		if (ret)
			return ret;
		at += length;
	}
	return 0;
}

static int copy_piece(struct copying *copying, uint64_t at, uint64_t end)
{
	while (at < end && !copying->by_hand) {
		loff_t from = (loff_t)at, to = (loff_t)at;
		ssize_t n =
			copy_file_range(copying->from_fd, &from, copying->to_fd, &to, end - at, 0);

		if (n > 0)
			at += (uint64_t)n;
		else if (n == 0 || errno != EINTR)
			copying->by_hand = true;
	}
	return copy_through_buffer(copying, at, end);
}

int vblk_image_copy_bytes(int from_fd, int to_fd, uint64_t size,
			  struct vblk_image_progress *progress)
{
	struct copying copying = { .from_fd = from_fd, .to_fd = to_fd, .buffer = malloc(BUFFER) };
	uint64_t at = 0, end = 0;
	int ret = copying.buffer ? 1 : -ENOMEM;

	while (ret == 1) {
		ret = next_data(from_fd, size, &at, &end);
		while (ret == 1 && at < end) {
			const uint64_t length = vblk_min_u64(STEP, end - at);
			const int failed = copy_piece(&copying, at, at + length);

			if (failed)
				ret = failed;
			at += length;
			vblk_image_progress_tell(progress,
						 "copying: %" PRIu64 " of %" PRIu64 " MiB",
						 at >> 20, size >> 20);
		}
	}
	free(copying.buffer);
	return ret;
}

static int copy_all(int from_fd, int to_fd, uint64_t size, const struct vblk_image_events *events)
{
	struct vblk_image_progress progress;
	int ret;

	if (ftruncate(to_fd, (off_t)size) < 0)
		return -errno;
	vblk_image_progress_begin(&progress, events);
	ret = vblk_image_copy_bytes(from_fd, to_fd, size, &progress);
	vblk_image_progress_end(&progress);
	return ret;
}

int vblk_image_copy(int from_fd, int to_fd, const struct vblk_image_events *events,
		    enum vblk_image_copied *how, struct vblk_image_failure *failure)
{
	struct stat from = { 0 }, to = { 0 };
	int ret;

	if (ioctl(to_fd, FICLONE, from_fd) == 0) {
		*how = VBLK_IMAGE_REFLINKED;
		return 0;
	}
	if (fstat(from_fd, &from) < 0 || fstat(to_fd, &to) < 0)
		ret = -errno;
	else
		ret = copy_all(from_fd, to_fd, (uint64_t)from.st_size, events);
	if (ret)
		return vblk_image_fail(failure, ret, "cannot copy the image");
	*how = from.st_dev == to.st_dev ? VBLK_IMAGE_COPIED : VBLK_IMAGE_COPIED_ACROSS;
	return 0;
}

/* ---- holes ---- */

static int punch(int fd, uint64_t at, uint64_t length)
{
	if (length == 0)
		return 0; /* fallocate(2) refuses it */
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length) < 0)
		return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	return 0;
}

/* `buffer` holds the bytes at `at`. */
static int dig_in_buffer(int fd, const uint8_t *buffer, size_t length, uint64_t at)
{
	int ret = 0;
	bool zero;

	for (size_t done = 0, run; done < length && !ret; done += run) {
		run = run_of(buffer + done, length - done, &zero);
		if (zero)
			ret = punch(fd, at + done, run);
	}
	return ret;
}

static int dig_in_data(int fd, uint8_t *buffer, uint64_t at, uint64_t end)
{
	int ret = 0;

	while (at < end && !ret) {
		const size_t length = vblk_min_u64(BUFFER, end - at);

		ret = read_at(fd, buffer, length, at);
		if (!ret)
			ret = dig_in_buffer(fd, buffer, length, at);
		at += length;
	}
	return ret;
}

/* Also between the pieces of data: space may be set aside there, which reads as a hole does. */
int vblk_image_dig_holes(int fd)
{
	uint8_t *buffer = malloc(BUFFER);
	uint64_t done = 0, at = 0, end = 0;
	struct stat st;
	int ret = buffer ? 0 : -ENOMEM;

	if (!ret && fstat(fd, &st) < 0)
		ret = -errno;
	while (!ret) {
		const int found = next_data(fd, (uint64_t)st.st_size, &at, &end);

		if (found < 0)
			ret = found;
		else
			ret = punch(fd, done, (found ? at : (uint64_t)st.st_size) - done);
		if (ret || !found)
			break;
		ret = dig_in_data(fd, buffer, at, end);
		done = at = end;
	}
	free(buffer);
	return ret;
}

const char *vblk_image_host_fs(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return "this file system";
	switch ((unsigned long)fs.f_type) {
	case EXT4_SUPER_MAGIC:
		return "ext4";
	case TMPFS_MAGIC:
		return "tmpfs";
	case BTRFS_SUPER_MAGIC:
		return "btrfs";
	case XFS_SUPER_MAGIC_:
		return "xfs";
	case OVERLAYFS_SUPER_MAGIC:
		return "overlayfs";
	case NFS_SUPER_MAGIC:
		return "nfs";
	default:
		return "this file system";
	}
}
