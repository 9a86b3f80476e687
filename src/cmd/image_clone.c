/* SPDX-License-Identifier: MIT */
/*
 * vblk image clone: a copy of an image. The original has the lock of a reader meanwhile, so that
 * nobody who keeps to locks writes to it.
 */
#include "cmd/image.h"
#include "cmd/progress.h"
#include "image/copy.h"
#include "image/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "image clone"

struct clone {
	const char *source;
	const char *path;
	enum vblk_image_existing existing;
	bool verbose;
};

static const char help[] =
	"vblk image clone: make a copy of an image\n"
	"\n"
	"Usage:\n"
	"  vblk image clone SOURCE PATH [--force] [--verbose]\n"
	"\n"
	"Where the file system can share blocks between files (btrfs, xfs), the copy is made\n"
	"at once and takes no space. Elsewhere the bytes are copied, and holes stay holes.\n"
	"\n"
	"Options:\n"
	"  --force    replace a file that exists, unless another vblk has it open\n"
	"  --verbose  say how it was done; on a terminal that is said in any case\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  failure while running; there is no new file, and an old one is as it was\n"
	"  2  bad input; nothing was created or changed\n"
	"\n"
	"Examples:\n"
	"  vblk image clone base.img test.img\n"
	"  vblk image clone \"$(vblk image template btrfs:1G)\" data.img";

static int lock_source(int fd, const char *path, struct vblk_image_failure *failure)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	/* A file system without locks has nobody who holds one. */
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
		return 0;
	return vblk_image_refuse(failure, "'%s' is in use: another vblk writes to it", path);
}

static int open_source(const char *path, int *fd, struct vblk_image_failure *failure)
{
	struct stat st;
	int ret;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return vblk_image_path_fail(failure, -errno, "open", path);
	if (fstat(*fd, &st) < 0 || !S_ISREG(st.st_mode))
		ret = vblk_image_refuse(failure, "'%s' is not a regular file", path);
	else
		ret = lock_source(*fd, path, failure);
	if (ret)
		close(*fd);
	return ret;
}

/* Whether a copy would replace its own original. */
static bool is_same(int fd, const char *path)
{
	struct stat one, other;

	return fstat(fd, &one) == 0 && stat(path, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

static void say_how(const struct clone *clone, enum vblk_image_copied how, const char *host_fs)
{
	if (!clone->verbose && isatty(STDERR_FILENO) != 1)
		return;
	if (how == VBLK_IMAGE_REFLINKED)
		cmd_complain(NAME, "shares its blocks with the original");
	else if (how == VBLK_IMAGE_COPIED)
		cmd_complain(NAME, "copied: no reflinks on %s", host_fs);
	else
		cmd_complain(NAME, "copied: the files are on different file systems");
}

static int make(const struct clone *clone)
{
	const char *source = clone->source, *path = clone->path;
	struct vblk_image_failure failure;
	struct vblk_image_new_file file = { .fd = -1 };
	enum vblk_image_copied how;
	const char *host_fs = "";
	int from, ret = open_source(source, &from, &failure);

	if (ret)
		return cmd_image_failed(NAME, ret, &failure);
	if (is_same(from, path))
		ret = vblk_image_refuse(&failure, "'%s' and '%s' are the same file", source, path);
	if (!ret)
		ret = vblk_image_new_file_open(path, clone->existing, &file, &failure);
	if (!ret) {
		host_fs = vblk_image_host_fs(file.fd);
		ret = vblk_image_copy(from, file.fd, &cmd_progress, &how, &failure);
		if (ret) {
			ret = vblk_image_path_fail(&failure, ret, "copy the image to", path);
			vblk_image_new_file_abandon(&file);
		} else {
			ret = vblk_image_new_file_commit(&file, &failure);
		}
	}
	close(from);
	if (ret)
		return cmd_image_failed(NAME, ret, &failure);
	say_how(clone, how, host_fs);
	return CMD_OK;
}

int cmd_image_clone(int argc, char **argv)
{
	struct clone clone = { 0 };
	bool force = false;
	const struct cmd_image_flag flags[] = {
		{ "force", &force },
		{ "verbose", &clone.verbose },
		{ 0 },
	};
	const struct cmd_image_syntax syntax = { NAME, help, flags };
	char **operands;
	int count, status = cmd_image_options(&syntax, argc, argv, &operands, &count);

	if (status || !operands)
		return status;
	status = cmd_image_operands(NAME, count, 2, "SOURCE PATH");
	if (status)
		return status;
	clone.source = operands[0];
	clone.path = operands[1];
	clone.existing = force ? VBLK_IMAGE_REPLACE : VBLK_IMAGE_KEEP;
	return make(&clone);
}
