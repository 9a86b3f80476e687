/* SPDX-License-Identifier: MIT */
/*
 * Opening a disk. Most of this is about messages: the usual mistakes are told apart, because each
 * has another cure.
 */
#include "cmd/disk.h"

#include "cmd/progress.h"
#include "image/template.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vblk/backing.h>

#include "base/clock.h"

/* What is wrong with a file that could not be opened, and what would be right; NULL: nobody's
 * fault. */
static const char *explain(const struct cmd_disk_spec *spec, int code)
{
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
		return "does not exist: create it first, for example with truncate -s 1G";
	case -EISDIR:
		return "is a directory: a file or a block device is wanted";
	case -EOPNOTSUPP:
		return "is on a file system without O_DIRECT: leave direct away";
	case -ENODEV:
	case -ENXIO:
		return "is neither a regular file nor a block device";
	case -EAGAIN:
		return "is locked: another vblk has it open (or it is given twice); share it "
		       "with ro everywhere";
	case -EROFS:
	case -EACCES:
	case -EPERM:
		if (!spec->read_only && access(spec->path, R_OK) == 0)
			return "cannot be written: add ro to use it read-only, or make it "
			       "writable";
		return "cannot be read: permission is missing";
	case -ETXTBSY:
		return "is a program that runs just now, or a file in use as swap";
	case -ELOOP:
	case -ENAMETOOLONG:
		return "is no path that can be followed";
	default:
		return NULL;
	}
}

static int open_failed(const struct cmd_disk_spec *spec, int code, char *message, size_t size)
{
	const char *text = explain(spec, code);

	if (!text) {
		snprintf(message, size, "cannot open '%s': %s", spec->path, strerror(-code));
		return code == -EINVAL ? -EIO : code;
	}
	snprintf(message, size, "'%s' %s", spec->path, text);
	return -EINVAL;
}

static int check_size(const struct cmd_disk_spec *spec, const struct vblk_backing *backing,
		      char *message, size_t size)
{
	struct vblk_backing_info info;

	vblk_backing_get_info(backing, &info);
	if (spec->size || info.size_bytes >= VBLK_SECTOR_SIZE)
		return 0;
	snprintf(message, size,
		 "'%s' has %" PRIu64 " bytes: a disk has at least one sector, 512 (make the file "
		 "larger, or give size=)",
		 cmd_disk_spec_name(spec), info.size_bytes);
	return -EINVAL;
}

const char *cmd_disk_name(const struct cmd_disk_spec *spec)
{
	const char *name = cmd_disk_spec_name(spec);
	const char *slash = strrchr(name, '/');

	if (spec->serial)
		return spec->serial;
	return slash ? slash + 1 : name;
}

void cmd_disk_options(const struct cmd_disk_spec *spec, struct vblk_device_options *options)
{
	*options = (struct vblk_device_options){
		.capacity_bytes = spec->size,
		.read_only = spec->read_only,
		.serial = spec->serial,
		.throttle = spec->throttle,
		.placement = spec->placement,
		.on_undeliverable = spec->on_undeliverable,
		.features = spec->features,
		.engine = spec->engine == CMD_DISK_URING ? VBLK_ENGINE_URING : VBLK_ENGINE_WORKER,
		.poll_us = spec->poll_us,
		.queues = spec->queues,
		.log = { .fn = vblk_log_to_stdio, .max_level = VBLK_LOG_WARN },
	};
}

int cmd_disk_failed(const struct cmd_disk_spec *spec, int code, char *message, size_t message_size)
{
	snprintf(message, message_size, "cannot make a disk of '%s': %s", cmd_disk_spec_name(spec),
		 strerror(-code));
	/* What a user can get wrong has been checked before. */
	return code == -EINVAL ? -EIO : code;
}

/* Puts the fault injector between the device and its backing. */
static int add_faults(const struct cmd_disk_spec *spec, struct vblk_backing **backing,
		      char *message, size_t size)
{
	struct vblk_backing *faulty;
	int ret = vblk_faulty_create(*backing, spec->faults, spec->fault_count, NULL, &faulty);

	if (ret) {
		snprintf(message, size, "cannot make faults for '%s': %s", cmd_disk_spec_name(spec),
			 strerror(-ret));
		return ret == -EINVAL ? -EIO : ret;
	}
	vblk_backing_unref(*backing);
	*backing = faulty;
	return 0;
}

static uint32_t file_flags(const struct cmd_disk_spec *spec)
{
	return (spec->read_only ? VBLK_FILE_READ_ONLY : 0) | (spec->direct ? VBLK_FILE_DIRECT : 0);
}

#define LOOK_AGAIN_NS 10000000

void cmd_disk_await(const struct cmd_disk_spec *spec, uint32_t timeout_ms)
{
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_NS };
	uint32_t flags = file_flags(spec);
	uint64_t end_ns = vblk_clock_now(NULL) + timeout_ms * UINT64_C(1000000);
	struct vblk_backing *backing;
	int ret;

	if (!spec->path)
		return; /* its file is made for it */
	while ((ret = vblk_backing_open_file(spec->path, flags, &backing)) == -EAGAIN &&
	       vblk_clock_now(NULL) < end_ns)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	if (ret == 0)
		vblk_backing_unref(backing);
}

static int open_at(const struct cmd_disk_spec *spec, const char *path,
		   struct vblk_backing **backing)
{
	if (spec->engine == CMD_DISK_MMAP)
		return vblk_backing_map_file(path, file_flags(spec), backing);
	return vblk_backing_open_file(path, file_flags(spec), backing);
}

static int open_path(const struct cmd_disk_spec *spec, struct vblk_backing **backing, char *message,
		     size_t size)
{
	int ret = open_at(spec, spec->path, backing);

	return ret ? open_failed(spec, ret, message, size) : 0;
}

static int open_template(const struct cmd_disk_spec *spec, struct vblk_backing **backing,
			 char *message, size_t size)
{
	struct vblk_image_failure failure;
	char path[32];
	int fd, ret;

	signal(SIGCHLD, SIG_DFL); /* or nobody could be told how the formatter ended */
	ret = vblk_image_throw_away(spec->template_fs, spec->template_bytes, &cmd_progress, &fd,
				    &failure);
	if (ret) {
		snprintf(message, size, "template=%s: %s", spec->template, failure.text);
		return ret;
	}
	/* The file has no name, but what is open can be opened once more by its number. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = open_at(spec, path, backing);
	close(fd);
	return ret ? cmd_disk_failed(spec, ret, message, size) : 0;
}

int cmd_disk_open_backing(const struct cmd_disk_spec *spec, enum cmd_disk_faults faults,
			  struct vblk_backing **backing, char *message, size_t message_size)
{
	struct vblk_backing *opened = NULL;
	int ret;

	if (spec->template)
		ret = open_template(spec, &opened, message, message_size);
	else
		ret = open_path(spec, &opened, message, message_size);
	if (ret)
		return ret;
	ret = check_size(spec, opened, message, message_size);
	if (!ret && (spec->fault_count || faults == CMD_DISK_FAULTS_ANY_TIME))
		ret = add_faults(spec, &opened, message, message_size);
	if (ret)
		vblk_backing_unref(opened);
	else
		*backing = opened;
	return ret;
}

int cmd_disk_open(const struct cmd_disk_spec *spec, struct vblk_device **device, char *message,
		  size_t message_size)
{
	struct vblk_device_options options;
	struct vblk_backing *backing;
	int ret =
		cmd_disk_open_backing(spec, CMD_DISK_FAULTS_GIVEN, &backing, message, message_size);

	if (ret)
		return ret;
	cmd_disk_options(spec, &options);
	ret = vblk_device_create(&options, backing, device);
	vblk_backing_unref(backing);
	return ret ? cmd_disk_failed(spec, ret, message, message_size) : 0;
}
