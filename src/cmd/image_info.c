/* SPDX-License-Identifier: MIT */
/* vblk image info. */
#include "cmd/image.h"
#include "image/fs.h"
#include "image/info.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "image info"

static const char help[] =
	"vblk image info: how large an image is, and what is in it\n"
	"\n"
	"Usage:\n"
	"  vblk image info PATH [--json]\n"
	"\n"
	"PATH is a file or a block device. Printed are its size and the space it takes, in\n"
	"bytes, and the file system that it begins with: ext2, ext3, ext4, xfs, btrfs, or none\n"
	"of these.\n"
	"\n"
	"Options:\n"
	"  --json  as one object: size, allocated, filesystem (null for none)\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  failure while running\n"
	"  2  bad input\n"
	"\n"
	"Examples:\n"
	"  vblk image info root.img\n"
	"  vblk image info --json root.img | jq -r .filesystem";

static void print_text(const struct vblk_image_info *info)
{
	char size[VBLK_IMAGE_SIZE_TEXT];

	vblk_image_size_text(info->bytes, size);
	printf("size        %" PRIu64 " (%s)\n", info->bytes, size);
	printf("allocated   %" PRIu64 "\n", info->allocated);
	printf("filesystem  %s\n", info->fs ? info->fs : "none");
}

static void print_json(const struct vblk_image_info *info)
{
	const char *quote = info->fs ? "\"" : "";

	printf("{\"size\": %" PRIu64 ", \"allocated\": %" PRIu64 ", \"filesystem\": %s%s%s}\n",
	       info->bytes, info->allocated, quote, info->fs ? info->fs : "null", quote);
}

static int look(const char *path, void (*print)(const struct vblk_image_info *info))
{
	struct vblk_image_failure failure;
	struct vblk_image_info info;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int ret;

	if (fd < 0)
		return cmd_image_failed(NAME, vblk_image_path_fail(&failure, -errno, "open", path),
					&failure);
	ret = vblk_image_info_take(fd, &info);
	close(fd);
	if (ret == -ENODEV)
		ret = vblk_image_refuse(&failure, "'%s' is neither a file nor a block device",
					path);
	else if (ret)
		ret = vblk_image_path_fail(&failure, ret, "read", path);
	if (ret)
		return cmd_image_failed(NAME, ret, &failure);
	print(&info);
	return CMD_OK;
}

int cmd_image_info(int argc, char **argv)
{
	bool json = false;
	const struct cmd_image_flag flags[] = { { "json", &json }, { 0 } };
	const struct cmd_image_syntax syntax = { NAME, help, flags };
	char **operands;
	int count, status = cmd_image_options(&syntax, argc, argv, &operands, &count);

	if (status || !operands)
		return status;
	status = cmd_image_operands(NAME, count, 1, "PATH");
	return status ? status : look(operands[0], json ? print_json : print_text);
}
