/* SPDX-License-Identifier: MIT */
/* What control clients can do with a vblk boot: with its disks, and with the machine. */
#include "cmd/boot.h"

#if defined(__x86_64__)

#include "cmd/cmd.h"

#ifdef VBLK_HAVE_JANSSON

#include "backing/faulty.h"
#include "cmd/fault_spec.h"
#include "cmd/size.h"
#include "device/device.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <vblk/inspect.h>

#ifndef VBLK_VERSION
#define VBLK_VERSION "unknown"
#endif

#define MESSAGE_SIZE 2048

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
	int ret = vblk_device_resize(device_of(context, disk), bytes, VBLK_RESIZE_SHRINK);

	if (ret < 0)
		snprintf(message, message_size, "cannot have %llu bytes: %s",
			 (unsigned long long)bytes, strerror(-ret));
	return ret;
}

static int set_faults(void *context, unsigned int disk, const char *const *texts, size_t count,
		      char *message, size_t message_size)
{
	const struct cmd_message why = { message, message_size };
	struct vblk_faulty_rule rules[VBLK_CONTROL_RULES_MAX];
	int ret = 0;

	if (count > VBLK_CONTROL_RULES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count && ret == 0; i++)
		ret = cmd_fault_parse(texts[i], &rules[i], &why);
	if (ret < 0)
		return ret;
	return vblk_faulty_set_rules(((struct boot *)context)->backings[disk], rules, count);
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

static int failed(int code, const char *text)
{
	cmd_complain(BOOT_NAME, "--control: %s", text);
	return code == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
}

int boot_control_open(struct boot *boot)
{
	struct vblk_control_options options = {
		.version = VBLK_VERSION,
		.disks = boot->names,
		.disk_count = boot->options.vmm.disks,
		.ops = &ops,
		.context = boot,
		.parse_size = cmd_size_parse,
		.log = { .fn = vblk_log_to_stdio, .max_level = VBLK_LOG_WARN },
	};
	char message[MESSAGE_SIZE];
	int ret;

	if (!boot->options.control)
		return CMD_OK;
	ret = vblk_unix_listen(boot->options.control, &boot->control_listener, message,
			       sizeof(message));
	if (ret < 0)
		return failed(ret, message);
	boot->has_control_listener = true;
	options.listen_fd = boot->control_listener.fd;
	ret = vblk_control_server_create(&options, &boot->control);
	return ret < 0 ? failed(ret == -EINVAL ? -EIO : ret, strerror(-ret)) : CMD_OK;
}

int boot_control_fd(const struct boot *boot)
{
	return boot->control ? vblk_control_server_fd(boot->control) : -1;
}

void boot_control_run(struct boot *boot)
{
	vblk_control_server_run(boot->control);
}

void boot_control_check(struct boot *boot)
{
	if (boot->control)
		vblk_control_server_check(boot->control);
}

void boot_control_close(struct boot *boot)
{
	vblk_control_server_destroy(boot->control);
	if (boot->has_control_listener)
		vblk_unix_listener_close(&boot->control_listener);
}

#else

int boot_control_open(struct boot *boot)
{
	if (!boot->options.control)
		return CMD_OK;
	cmd_complain(BOOT_NAME,
		     "--control '%s': this vblk was built without jansson and has no control "
		     "socket",
		     boot->options.control);
	return CMD_BAD_INPUT;
}

int boot_control_fd(const struct boot *boot)
{
	(void)boot;
	return -1;
}

void boot_control_run(struct boot *boot)
{
	(void)boot;
}

void boot_control_check(struct boot *boot)
{
	(void)boot;
}

void boot_control_close(struct boot *boot)
{
	(void)boot;
}

#endif

#endif
