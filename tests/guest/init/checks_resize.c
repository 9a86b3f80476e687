/* SPDX-License-Identifier: MIT */
/*
 * A disk that the host makes larger while its file system is mounted. The host waits for the line
 * of resize-ready, grows the disk, and the file system follows without an unmount.
 */
#include "guest.h"
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Of fs/ext4/ext4.h: the kernel does not publish it to programs. Takes the size in blocks. */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

#define GROWN	   MOUNT_POINT "/GROWN"
#define CHUNK	   (64u << 10)
#define STREAM	   UINT64_C(0x67726f77)
#define WAIT_MS	   30000u
#define WAIT_EACH  20
#define FREE_SHARE 4u /* one in this many bytes gained is left free */

bool check_resize_ready(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t bytes = disk_bytes(disk);

	if (bytes >= guest->resize)
		return fail(report, "%" PRIu64 " bytes already, vblk.resize is %" PRIu64, bytes,
			    guest->resize);
	return ok(report, "%" PRIu64 " bytes, waiting for %" PRIu64, bytes, guest->resize);
}

/* Until /sys says so; false and a failed report after WAIT_MS. */
static bool wait_for_size(const struct guest *guest, const struct disk *disk, unsigned int *took,
			  struct report *report)
{
	for (*took = 0; *took < WAIT_MS; *took += WAIT_EACH) {
		if (disk_number(disk, "size") * SECTOR == guest->resize)
			return true;
		poll(NULL, 0, WAIT_EACH);
	}
	return fail(report, "%" PRIu64 " bytes after %u s, expected %" PRIu64,
		    disk_number(disk, "size") * SECTOR, WAIT_MS / 1000, guest->resize);
}

/* The bytes of the file are those of a stream, and it takes three quarters of what was gained. */
static uint64_t grown_size(const struct guest *guest, const struct disk *disk)
{
	const uint64_t gained = guest->resize - disk->size;

	return (gained - gained / FREE_SHARE) / CHUNK * CHUNK;
}

static bool write_grown(const struct guest *guest, uint64_t size, struct report *report)
{
	static unsigned char data[CHUNK];
	struct random random = random_stream(guest->seed, STREAM);
	const int fd = open(GROWN, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	bool good = true;

	if (fd < 0)
		return fail_errno(report, GROWN);
	for (uint64_t done = 0; good && done < size; done += CHUNK) {
		random_fill(&random, data, CHUNK);
		good = write(fd, data, CHUNK) == (ssize_t)CHUNK;
	}
	good = (good && !fsync(fd)) || fail_errno(report, GROWN);
	close(fd);
	return good;
}

static bool resize_fs(const struct guest *guest, struct report *report)
{
	const int fd = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statvfs fs;
	uint64_t blocks;
	bool done;

	if (fd < 0 || fstatvfs(fd, &fs))
		return fail_errno(report, MOUNT_POINT);
	blocks = guest->resize / fs.f_bsize;
	done = !ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) || fail_errno(report, "EXT4_IOC_RESIZE_FS");
	close(fd);
	return done;
}

/* More is written than the file system had room for before. */
bool check_fs_grow(struct guest *guest, struct disk *disk, struct report *report)
{
	struct statvfs before, after;
	const uint64_t size = grown_size(guest, disk);
	unsigned int took;

	if (statvfs(MOUNT_POINT, &before))
		return fail_errno(report, MOUNT_POINT);
	if (!wait_for_size(guest, disk, &took, report) || !resize_fs(guest, report))
		return false;
	if (statvfs(MOUNT_POINT, &after))
		return fail_errno(report, MOUNT_POINT);
	if (size <= before.f_bavail * before.f_bsize)
		return fail(report, "%" PRIu64 " bytes would have fitted before", size);
	if (!write_grown(guest, size, report))
		return false;
	return ok(report,
		  "%" PRIu64 " bytes after %u ms; the file system went from %" PRIu64 " to %" PRIu64
		  " bytes and took %" PRIu64,
		  disk_bytes(disk), took, (uint64_t)before.f_blocks * before.f_frsize,
		  (uint64_t)after.f_blocks * after.f_frsize, size);
}

static bool verify_grown(const struct guest *guest, uint64_t size, struct report *report)
{
	static unsigned char data[CHUNK], wanted[CHUNK];
	struct random random = random_stream(guest->seed, STREAM);
	const int fd = open(GROWN, O_RDONLY | O_CLOEXEC);
	uint64_t done = 0;

	if (fd < 0)
		return fail_errno(report, GROWN);
	for (; done < size; done += CHUNK) {
		random_fill(&random, wanted, CHUNK);
		if (read(fd, data, CHUNK) != (ssize_t)CHUNK || memcmp(data, wanted, CHUNK) != 0)
			break;
	}
	close(fd);
	return done == size ||
	       fail(report, "%s: wrong bytes within %u of %" PRIu64, GROWN, CHUNK, done);
}

/* After a new mount. */
bool check_fs_grown(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t size = grown_size(guest, disk);
	bool good;

	if (mount(disk->path, MOUNT_POINT, "ext4", MS_NOATIME, NULL))
		return fail_errno(report, "mount");
	good = verify_grown(guest, size, report);
	if (umount(MOUNT_POINT) && good)
		return fail_errno(report, "umount");
	return good && ok(report, "%" PRIu64 " bytes", size);
}
