/* SPDX-License-Identifier: MIT */
/* What the guest's driver has learnt about the device: size, serial number, features, limits. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct feature {
	unsigned int bit;
	bool required; /* unless the host says what is */
	const char *name;
} features[] = {
	{ VIRTIO_BLK_F_SIZE_MAX, true, "SIZE_MAX" },
	{ VIRTIO_BLK_F_SEG_MAX, true, "SEG_MAX" },
	{ VIRTIO_BLK_F_GEOMETRY, false, "GEOMETRY" },
	{ VIRTIO_BLK_F_RO, false, "RO" },
	{ VIRTIO_BLK_F_BLK_SIZE, true, "BLK_SIZE" },
	{ VIRTIO_BLK_F_FLUSH, true, "FLUSH" },
	{ VIRTIO_BLK_F_TOPOLOGY, false, "TOPOLOGY" },
	{ VIRTIO_BLK_F_CONFIG_WCE, false, "CONFIG_WCE" },
	{ VIRTIO_BLK_F_MQ, false, "MQ" },
	{ VIRTIO_BLK_F_DISCARD, false, "DISCARD" },
	{ VIRTIO_BLK_F_WRITE_ZEROES, false, "WRITE_ZEROES" },
	{ VIRTIO_RING_F_INDIRECT_DESC, false, "INDIRECT_DESC" },
	{ VIRTIO_RING_F_EVENT_IDX, true, "EVENT_IDX" },
	{ VIRTIO_F_VERSION_1, true, "VERSION_1" },
};

bool check_size(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t bytes = disk_bytes(disk);
	const uint64_t sectors = disk_number(disk, "size");

	(void)guest;
	if (!bytes)
		return fail_errno(report, disk->path);
	if (sectors * SECTOR != bytes)
		return fail(report, "BLKGETSIZE64 says %" PRIu64 " bytes, /sys %" PRIu64 " sectors",
			    bytes, sectors);
	if (disk->size && bytes != disk->size)
		return fail(report, "%" PRIu64 " bytes, expected %" PRIu64, bytes, disk->size);
	return ok(report, "%" PRIu64 " bytes", bytes);
}

bool check_serial(struct guest *guest, struct disk *disk, struct report *report)
{
	char serial[64];

	(void)guest;
	if (!disk_attribute(disk, "serial", serial, sizeof(serial)))
		return fail_errno(report, "serial");
	if (disk->serial[0] && strcmp(serial, disk->serial) != 0)
		return fail(report, "'%s', expected '%s'", serial, disk->serial);
	return ok(report, "%s", serial);
}

/* Names the bits; the driver lists those that device and driver agreed on, bit 0 first. */
static void name_features(const char *bits, char *names, size_t size)
{
	size_t used = 0;

	names[0] = '\0';
	for (unsigned int bit = 0; bits[bit] && used < size; bit++) {
		const char *name = NULL;

		if (bits[bit] != '1')
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(features); i++)
			if (features[i].bit == bit)
				name = features[i].name;
		if (name)
			used += (size_t)snprintf(names + used, size - used, " %s", name);
		else
			used += (size_t)snprintf(names + used, size - used, " bit-%u", bit);
	}
}

static bool is_required(const struct guest *guest, const struct feature *feature)
{
	const size_t length = strlen(feature->name);

	if (!guest->need[0])
		return feature->required;
	for (const char *at = guest->need; *at;
	     at += strcspn(at, ",") + (at[strcspn(at, ",")] != 0))
		if (strcspn(at, ",") == length && !strncmp(at, feature->name, length))
			return true;
	return false;
}

bool check_features(struct guest *guest, struct disk *disk, struct report *report)
{
	char bits[80], names[256];

	if (!disk_attribute(disk, "device/features", bits, sizeof(bits)))
		return fail_errno(report, "features");
	if (strlen(bits) != 64)
		return fail(report, "'%s' is not a string of 64 bits", bits);
	name_features(bits, names, sizeof(names));
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		const bool set = bits[features[i].bit] == '1';

		if (is_required(guest, &features[i]) && !set)
			return fail(report, "%s is missing from%s", features[i].name, names);
		if (features[i].bit == VIRTIO_BLK_F_RO && set != (guest->mode == MODE_RO))
			return fail(report, "RO is %s%s", set ? "among" : "missing from", names);
	}
	return ok(report, "%s", names + 1);
}

bool check_block_size(struct guest *guest, struct disk *disk, struct report *report)
{
	const int fd = disk_open(disk, O_RDONLY);
	int logical = 0;
	unsigned int physical = 0;
	bool asked;

	(void)guest;
	if (fd < 0)
		return fail_errno(report, disk->path);
	asked = !ioctl(fd, BLKSSZGET, &logical) && !ioctl(fd, BLKPBSZGET, &physical);
	close(fd);
	if (!asked)
		return fail_errno(report, disk->path);
	if (logical != (int)SECTOR || disk_number(disk, "queue/logical_block_size") != SECTOR)
		return fail(report, "logical block size %d, expected %u", logical, SECTOR);
	return ok(report,
		  "logical %d, physical %u, max_sectors_kb %" PRIu64 ", max_segments %" PRIu64
		  ", max_segment_size %" PRIu64,
		  logical, physical, disk_number(disk, "queue/max_sectors_kb"),
		  disk_number(disk, "queue/max_segments"),
		  disk_number(disk, "queue/max_segment_size"));
}

bool check_read_only_flag(struct guest *guest, struct disk *disk, struct report *report)
{
	const int expected = guest->mode == MODE_RO;
	const int fd = disk_open(disk, O_RDONLY);
	char text[16];
	int flag = -1;

	if (fd < 0)
		return fail_errno(report, disk->path);
	if (ioctl(fd, BLKROGET, &flag))
		flag = -1;
	close(fd);
	if (!disk_attribute(disk, "ro", text, sizeof(text)))
		return fail_errno(report, "ro");
	if (flag != expected || strcmp(text, expected ? "1" : "0") != 0)
		return fail(report, "BLKROGET says %d, /sys '%s', expected %d", flag, text,
			    expected);
	return ok(report, "%d", flag);
}
