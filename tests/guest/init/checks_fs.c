/* SPDX-License-Identifier: MIT */
/*
 * An ext4 that the host made: files are written with their checksums in a MANIFEST beside them (as
 * sha256sum writes them), and after a new mount read and compared. The host reads the same
 * manifest, without the guest, and compares its checksum with the one printed here.
 */
#include "guest.h"
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS	      12u
#define MAX_FILE      (64u << 10)
#define FILE_STREAM   UINT64_C(0x66696c65)
#define MANIFEST      MOUNT_POINT "/MANIFEST"
#define MANIFEST_SIZE (GUEST_FILES * 128u)
#define FSYNC_EACH    50u

static bool mount_disk(const struct disk *disk, unsigned long flags, struct report *report)
{
	if (mount(disk->path, MOUNT_POINT, "ext4", flags | MS_NOATIME, NULL))
		return fail_errno(report, "mount");
	return true;
}

/* The sizes at which something changes first, then any, small ones more often. */
static size_t file_size(struct random *random, unsigned int number)
{
	static const size_t edges[] = {
		0, 1, SECTOR - 1, SECTOR, SECTOR + 1, 4095, 4096, 4097, MAX_FILE - 1, MAX_FILE,
	};
	uint64_t most = UINT64_C(1) << random_below(random, 17);

	return number < ARRAY_SIZE(edges) ? edges[number] : (size_t)random_below(random, most);
}

static bool write_all(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length > 0) {
		ssize_t put = write(fd, at, length);

		if (put <= 0)
			return false;
		at += put;
		length -= (size_t)put;
	}
	return true;
}

static bool write_file(const char *path, const void *data, size_t length, bool sync)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	bool good;

	if (fd < 0)
		return false;
	good = write_all(fd, data, length) && (!sync || !fsync(fd));
	return !close(fd) && good;
}

static void digest(const void *data, size_t length, char hex[SHA256_HEX])
{
	struct sha256 sha;

	sha256_init(&sha);
	sha256_add(&sha, data, length);
	sha256_end(&sha, hex);
}

/* Writes one file, and its line at `line`. Returns the line's length, or 0 and errno. */
static size_t write_numbered(const struct guest *guest, unsigned int number, char *line,
			     size_t size, uint64_t *bytes)
{
	unsigned char data[MAX_FILE];
	struct random random = random_stream(guest->seed, FILE_STREAM + number);
	const size_t length = file_size(&random, number);
	char path[64], hex[SHA256_HEX];

	snprintf(path, sizeof(path), MOUNT_POINT "/data/d%02u/f%03u", number % FOLDERS, number);
	random_fill(&random, data, length);
	if (!write_file(path, data, length, number % FSYNC_EACH == 0))
		return 0;
	*bytes += length;
	digest(data, length, hex);
	return (size_t)snprintf(line, size, "%s  %s\n", hex, path + strlen(MOUNT_POINT "/"));
}

static bool make_folders(void)
{
	char path[64];

	if (mkdir(MOUNT_POINT "/data", 0755))
		return false;
	for (unsigned int i = 0; i < FOLDERS; i++) {
		snprintf(path, sizeof(path), MOUNT_POINT "/data/d%02u", i);
		if (mkdir(path, 0755))
			return false;
	}
	return true;
}

bool check_fs_write(struct guest *guest, struct disk *disk, struct report *report)
{
	char manifest[MANIFEST_SIZE];
	size_t used = 0;
	uint64_t bytes = 0;

	if (guest->files > GUEST_FILES)
		return fail(report, "%" PRIu64 " files are more than %u", guest->files,
			    GUEST_FILES);
	if (!mount_disk(disk, 0, report))
		return false;
	if (!make_folders())
		return fail_errno(report, "mkdir");
	for (unsigned int i = 0; i < guest->files; i++) {
		size_t line =
			write_numbered(guest, i, manifest + used, sizeof(manifest) - used, &bytes);

		if (!line)
			return fail(report, "file %u: %s", i, strerror(errno));
		used += line;
	}
	if (!write_file(MANIFEST, manifest, used, false))
		return fail_errno(report, MANIFEST);
	digest(manifest, used, guest->manifest);
	return ok(report, "%" PRIu64 " files, %" PRIu64 " bytes, in %u folders", guest->files,
		  bytes, FOLDERS);
}

/* With the file system its cache goes, so that the next mount reads from the disk. */
bool check_fs_unmount(struct guest *guest, struct disk *disk, struct report *report)
{
	(void)guest;
	(void)disk;
	sync();
	if (umount(MOUNT_POINT))
		return fail_errno(report, "umount");
	return ok(report, "synced and unmounted");
}

bool check_fs_read_only(struct guest *guest, struct disk *disk, struct report *report)
{
	int fd, error;

	(void)guest;
	if (!mount_disk(disk, MS_RDONLY, report))
		return false;
	fd = open(MOUNT_POINT "/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	error = errno;
	if (fd >= 0)
		close(fd);
	if (umount(MOUNT_POINT))
		return fail_errno(report, "umount");
	if (fd >= 0 || error != EROFS)
		return fail(report, "creating a file: %s, expected EROFS",
			    fd >= 0 ? "no error" : strerror(error));
	return ok(report, "creating a file: %s", strerror(error));
}

/* The digest of a file; false and errno. */
static bool digest_file(const char *path, char hex[SHA256_HEX])
{
	unsigned char data[MAX_FILE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct sha256 sha;
	ssize_t got;

	if (fd < 0)
		return false;
	sha256_init(&sha);
	while ((got = read(fd, data, sizeof(data))) > 0)
		sha256_add(&sha, data, (size_t)got);
	close(fd);
	sha256_end(&sha, hex);
	return got == 0;
}

/* Compares one file with its line of the manifest, "DIGEST  PATH". */
static bool verify_line(char *line, struct report *report)
{
	char path[sizeof(MOUNT_POINT) + 256], hex[SHA256_HEX];

	line[strcspn(line, "\n")] = '\0';
	if (strlen(line) < SHA256_HEX + 2)
		return fail(report, "the manifest has a line '%s'", line);
	line[SHA256_HEX - 1] = '\0';
	snprintf(path, sizeof(path), MOUNT_POINT "/%s", line + SHA256_HEX + 1);
	if (!digest_file(path, hex))
		return fail_errno(report, path);
	if (strcmp(hex, line) != 0)
		return fail(report, "%s: checksum %s, expected %s", path, hex, line);
	return true;
}

static bool verify_files(const struct guest *guest, struct report *report)
{
	FILE *file;
	char line[256], hex[SHA256_HEX];
	unsigned int files = 0;
	bool good = true;

	if (!digest_file(MANIFEST, hex))
		return fail_errno(report, MANIFEST);
	if (guest->manifest[0] && strcmp(hex, guest->manifest) != 0)
		return fail(report, "the manifest is not the one that was written");
	file = fopen(MANIFEST, "re");
	if (!file)
		return fail_errno(report, MANIFEST);
	while (good && fgets(line, sizeof(line), file)) {
		good = verify_line(line, report);
		files++;
	}
	fclose(file);
	if (good && !files)
		return fail(report, "the manifest is empty");
	return good && ok(report, "%u files, manifest %s", files, hex);
}

bool check_fs_verify(struct guest *guest, struct disk *disk, struct report *report)
{
	bool good;

	if (guest->mode != MODE_RO && !guest->manifest[0])
		return fail(report, "no files were written");
	if (!mount_disk(disk, guest->mode == MODE_RO ? MS_RDONLY : 0, report))
		return false;
	good = verify_files(guest, report);
	if (umount(MOUNT_POINT) && good)
		return fail_errno(report, "umount");
	return good;
}
