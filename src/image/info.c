/* SPDX-License-Identifier: MIT */
/* The size of a block device is asked for, and all of it is allocated. */
#include "image/info.h"

#include "image/fs.h"
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_BLOCK 512u /* the unit of st_blocks, everywhere */

ssize_t vblk_image_read_head(int fd, uint8_t *head)
{
	size_t done = 0;

	while (done < VBLK_IMAGE_HEAD_SIZE) {
		ssize_t n = pread(fd, head + done, VBLK_IMAGE_HEAD_SIZE - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int take_size(int fd, struct vblk_image_info *info)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		info->bytes = (uint64_t)st.st_size;
		info->allocated = (uint64_t)st.st_blocks * STAT_BLOCK;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return -ENODEV;
	if (ioctl(fd, BLKGETSIZE64, &info->bytes) < 0)
		return -errno;
	info->allocated = info->bytes;
	return 0;
}

int vblk_image_info_take(int fd, struct vblk_image_info *info)
{
	uint8_t *head = malloc(VBLK_IMAGE_HEAD_SIZE);
	ssize_t length;
	int ret = head ? take_size(fd, info) : -ENOMEM;

	if (!ret) {
		length = vblk_image_read_head(fd, head);
		if (length < 0)
			ret = (int)length;
		else
			info->fs = vblk_image_probe(head, (size_t)length);
	}
	free(head);
	return ret;
}
