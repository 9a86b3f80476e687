/* SPDX-License-Identifier: MIT */
/* What control clients can do with a vblk boot: with its disks, and with the machine. */
#include "cmd/boot.h"

#if defined(__x86_64__)

#include "cmd/cmd.h"
#include "device/device.h"
#include <errno.h>
#include <stdio.h>
#include <vblk/inspect.h>

static struct vblk_device *device_of(const void *context, unsigned int disk)
{
	return ((const struct boot *)context)->devices[disk];
}

static void get_stats(void *context, unsigned int disk, struct vblk_control_disk *state)
{
	struct vblk_device *device = device_of(context, disk);
	struct vblk_device_state now = { .size = sizeof(now) };

	if (vblk_device_inspect(device, &now))
		return;
	state->capacity_bytes = now.capacity_bytes;
	state->connected = true; /* to the machine around it */
	state->paused = now.paused && vmm_disk_is_held(((struct boot *)context)->vmm, disk);
	state->throttle = now.throttle;
	vblk_metrics_read(vblk_device_metrics(device), &state->counters);
	state->metrics = vblk_device_metrics(device);
	state->workers_abandoned = vblk_disk_abandoned(device->disk);
}

static int set_throttle(void *context, unsigned int disk, const struct vblk_throttle *throttle,
			char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	return vblk_device_set_throttle(device_of(context, disk), throttle);
}

static int pause_disk(void *context, unsigned int disk, char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	vmm_pause_disk(((struct boot *)context)->vmm, disk);
	return 0;
}

static bool is_paused(void *context, unsigned int disk)
{
	return vblk_device_is_paused(device_of(context, disk));
}

static int resume_disk(void *context, unsigned int disk, char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	vmm_resume_disk(((struct boot *)context)->vmm, disk);
	return 0;
}

static int resize_disk(void *context, unsigned int disk, uint64_t bytes, char *message,
		       size_t message_size)
{
	const int ret = vblk_device_resize(device_of(context, disk), bytes, VBLK_RESIZE_SHRINK);

	return cmd_control_resized(ret, bytes, message, message_size);
}

static int set_faults(void *context, unsigned int disk, const char *const *texts, size_t count,
		      char *message, size_t message_size)
{
	return cmd_control_set_faults(((struct boot *)context)->backings[disk], texts, count,
				      message, message_size);
}

static void quit(void *context)
{
	struct boot *boot = context;

	boot->status = CMD_OK;
	vmm_end(boot->vmm);
}

static int freeze(void *context, struct vblk_control_freeze *freeze, char *message,
		  size_t message_size)
{
	struct vmm_freeze_report report;
	struct vmm_error error;
	int ret = boot_freeze(context, &report, &error);

	if (ret) {
		snprintf(message, message_size, "%s", error.text);
		return ret;
	}
	*freeze = (struct vblk_control_freeze){
		.vcpus = report.vcpus,
		.disks = report.disks,
		.left_out = report.disks_left_out,
		.took_us = report.elapsed_ns / 1000,
	};
	return 0;
}

static int thaw(void *context, char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	boot_thaw(context);
	return 0;
}

static int dump(void *context, char *message, size_t message_size)
{
	struct boot *boot = context;
	char path[VMM_PATH_SIZE];
	struct vmm_error error;
	int ret;

	if (!boot->options.dump_dir) {
		snprintf(message, message_size,
			 "there is no place for dumps: vblk boot needs --dump-dir for that");
		return -EOPNOTSUPP;
	}
	ret = boot_dump(boot, "control", path, &error);
	snprintf(message, message_size, "%s", ret ? error.text : path);
	return ret;
}

static const struct vblk_control_ops ops = {
	.stats = get_stats,
	.throttle = set_throttle,
	.pause = pause_disk,
	.is_paused = is_paused,
	.resume = resume_disk,
	.resize = resize_disk,
	.fault = set_faults,
	.quit = quit,
	.freeze = freeze,
	.thaw = thaw,
	.dump = dump,
};

int boot_control_open(struct boot *boot)
{
	const struct cmd_control_options options = {
		.name = BOOT_NAME,
		.path = boot->options.control,
		.disks = boot->names,
		.disk_count = boot->options.vmm.disks,
		.ops = &ops,
		.context = boot,
	};

	return cmd_control_open(&boot->control, &options);
}

#endif
