/* SPDX-License-Identifier: MIT */
/*
 * A stamp is only ever compared as a whole: what is read from the disk is never taken apart, and
 * so cannot be misunderstood.
 */
#include "image/stamp.h"

#include "image/fs.h"
#include "image/info.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HASH_PRIME UINT64_C(0x100000001b3)

uint64_t vblk_image_hash(uint64_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * HASH_PRIME;
	return hash;
}

int vblk_image_stamp_take(int fd, struct vblk_image_stamp *stamp)
{
	uint8_t *head = calloc(1, VBLK_IMAGE_HEAD_SIZE);
	const char *fs;
	struct stat st;
	ssize_t length;

	if (!head)
		return -ENOMEM;
	length = fstat(fd, &st) < 0 ? -errno : vblk_image_read_head(fd, head);
	if (length >= 0) {
		fs = vblk_image_probe(head, (size_t)length);
		*stamp = (struct vblk_image_stamp){
			.bytes = (uint64_t)st.st_size,
			.seconds = st.st_mtim.tv_sec,
			.nanoseconds = (uint32_t)st.st_mtim.tv_nsec,
			.head = vblk_image_hash(VBLK_IMAGE_HASH_START, head, (size_t)length),
		};
		snprintf(stamp->fs, sizeof(stamp->fs), "%s", fs ? fs : "none");
	}
	free(head);
	return length < 0 ? (int)length : 0;
}

void vblk_image_stamp_format(const struct vblk_image_stamp *stamp, char text[VBLK_IMAGE_STAMP_TEXT])
{
	snprintf(text, VBLK_IMAGE_STAMP_TEXT,
		 "vblk template 1\nfilesystem %s\nbytes %" PRIu64 "\nchanged %" PRId64 ".%09" PRIu32
		 "\nhead %016" PRIx64 "\n",
		 stamp->fs, stamp->bytes, stamp->seconds, stamp->nanoseconds, stamp->head);
}

bool vblk_image_stamp_matches(const struct vblk_image_stamp *stamp, const char *text, size_t length)
{
	char expected[VBLK_IMAGE_STAMP_TEXT];

	vblk_image_stamp_format(stamp, expected);
	return length == strlen(expected) && memcmp(text, expected, length) == 0;
}
