/* SPDX-License-Identifier: MIT */
/* vblk image template: sees to it that a template is there, and says where. */
#include "cmd/image.h"
#include "cmd/progress.h"
#include "cmd/template_spec.h"
#include "image/template.h"

#include <signal.h>
#include <stdio.h>

#define NAME	     "image template"
#define MESSAGE_SIZE 1024

static const char help[] =
	"vblk image template: an image with an empty file system, made once\n"
	"\n"
	"Usage:\n"
	"  vblk image template FS:SIZE\n"
	"  vblk image template --clear\n"
	"\n"
	"Prints the path of the template, which is made by mkfs.FS if it is not there. It is\n"
	"kept for its size, file system and version of mkfs.FS, and is not to be written to:\n"
	"clone it. Several processes may ask for it at once; one of them makes it.\n"
	"\n"
	"FS is btrfs (from 109M on), ext4 (2M) or xfs (300M), SIZE a multiple of 512.\n"
	"\n"
	"Options:\n"
	"  --clear  remove all templates but those that are made just now; print how many\n"
	"\n"
	"Templates are in templates/ in $VBLK_CACHE_DIR, which is by default\n"
	"$XDG_CACHE_HOME/vblk or ~/.cache/vblk.\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  failure while running, mkfs.FS's own among them; nothing is left behind\n"
	"  2  bad input, or no mkfs.FS, or a folder that cannot be written to\n"
	"\n"
	"Examples:\n"
	"  vblk image template ext4:256M\n"
	"  vblk image clone \"$(vblk image template xfs:1G)\" data.img";

static int clear(void)
{
	struct vblk_image_failure failure;
	struct vblk_image_cache cache;
	int ret = vblk_image_cache_open(&cache, &failure);

	if (ret)
		return cmd_image_failed(NAME, ret, &failure);
	printf("%u\n", vblk_image_cache_clear(&cache));
	vblk_image_cache_close(&cache);
	return CMD_OK;
}

static int make(const char *text)
{
	char message_text[MESSAGE_SIZE];
	const struct cmd_message message = { message_text, sizeof(message_text) };
	struct vblk_image_template template;
	struct vblk_image_failure failure;
	const struct vblk_image_fs *fs;
	uint64_t bytes;
	int ret;

	if (cmd_template_parse(text, &fs, &bytes, &message)) {
		cmd_complain(NAME, "%s", message_text);
		return CMD_BAD_INPUT;
	}
	signal(SIGCHLD, SIG_DFL); /* or nobody could be told how the formatter ended */
	ret = vblk_image_template_open(fs, bytes, &cmd_progress, &template, &failure);
	if (ret)
		return cmd_image_failed(NAME, ret, &failure);
	puts(template.path);
	vblk_image_template_close(&template);
	return CMD_OK;
}

int cmd_image_template(int argc, char **argv)
{
	bool clears = false;
	const struct cmd_image_flag flags[] = { { "clear", &clears }, { 0 } };
	const struct cmd_image_syntax syntax = { NAME, help, flags };
	char **operands;
	int count, status = cmd_image_options(&syntax, argc, argv, &operands, &count);

	if (status || !operands)
		return status;
	status = cmd_image_operands(NAME, count, clears ? 0 : 1,
				    clears ? "nothing but --clear" : "FS:SIZE");
	if (status)
		return status;
	return clears ? clear() : make(operands[0]);
}
