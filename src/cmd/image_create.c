/* SPDX-License-Identifier: MIT */
/* vblk image create: a hole of a given size. */
#include "cmd/image.h"
#include "cmd/size.h"
#include "image/fs.h"
#include "image/new_file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "image create"

static const char help[] =
	"vblk image create: make an image that is empty and takes no space\n"
	"\n"
	"Usage:\n"
	"  vblk image create PATH SIZE [--force]\n"
	"\n"
	"SIZE is a multiple of 512, of at least 512: 4k, 64M, 1G. The image reads as zeros,\n"
	"and takes space as it is written to.\n"
	"\n"
	"Options:\n"
	"  --force  replace a file that exists, unless another vblk has it open\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  failure while running; there is no new file, and an old one is as it was\n"
	"  2  bad input; nothing was created or changed\n"
	"\n"
	"Examples:\n"
	"  vblk image create data.img 64M\n"
	"  vblk image create /dev/shm/fast.img 1G --force";

static int make(const char *path, uint64_t bytes, enum vblk_image_existing existing)
{
	struct vblk_image_failure failure;
	struct vblk_image_new_file file;
	int ret = vblk_image_fs_check_size(vblk_image_fs_find("raw"), bytes, &failure);

	if (!ret)
		ret = vblk_image_new_file_open(path, existing, &file, &failure);
	if (ret)
		return cmd_image_failed(NAME, ret, &failure);
	if (ftruncate(file.fd, (off_t)bytes) < 0) {
		ret = vblk_image_path_fail(&failure, -errno, "set the size of", path);
		vblk_image_new_file_abandon(&file);
	} else {
		ret = vblk_image_new_file_commit(&file, &failure);
	}
	return ret ? cmd_image_failed(NAME, ret, &failure) : CMD_OK;
}

int cmd_image_create(int argc, char **argv)
{
	bool force = false;
	const struct cmd_image_flag flags[] = { { "force", &force }, { 0 } };
	const struct cmd_image_syntax syntax = { NAME, help, flags };
	char **operands;
	uint64_t bytes;
	int ret, count, status = cmd_image_options(&syntax, argc, argv, &operands, &count);

	if (status || !operands)
		return status;
	status = cmd_image_operands(NAME, count, 2, "PATH SIZE");
	if (status)
		return status;
	ret = cmd_size_parse(operands[1], &bytes);
	if (!ret)
		return make(operands[0], bytes, force ? VBLK_IMAGE_REPLACE : VBLK_IMAGE_KEEP);
	cmd_complain(NAME,
		     ret == -ERANGE ? "'%s' is too large"
				    : "'%s' is no size: one like 512, 4k, 64M or 1G is wanted",
		     operands[1]);
	return CMD_BAD_INPUT;
}
