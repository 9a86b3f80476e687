/* SPDX-License-Identifier: MIT */
/*
 * vblk boot: from options to a machine, and the exit status that tells how it ended. What the
 * machine is made of is in src/vmm; what is done while it runs, in boot_freeze.c and
 * boot_control.c.
 *
 * The order of the work is the order in which mistakes are found: options, kernel and initramfs,
 * disks, and only then /dev/kvm. Nothing is created or changed before all of them are good.
 */
#include "cmd/boot.h"
#include "cmd/cmd.h"

#if defined(__x86_64__)

#include "cmd/disk.h"
#include "cmd/disk_names.h"
#include "cmd/mount_words.h"
#include "cmd/stats.h"
#include "vmm/terminal.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <vblk/backing.h>
#include <vblk/metrics.h>

#define NAME	     BOOT_NAME
#define MESSAGE_SIZE VMM_ERROR_TEXT_SIZE

static int report(const struct vmm_error *error)
{
	cmd_complain(NAME, "%s", error->text);
	return error->bad_input ? CMD_BAD_INPUT : CMD_FAILED;
}

static int open_disk(struct boot *boot, unsigned int index, char *message, size_t message_size)
{
	const struct cmd_disk_spec *spec = &boot->options.specs[index];
	struct vblk_device_options options;
	int ret = cmd_disk_open_backing(
		spec, boot->options.control ? CMD_DISK_FAULTS_ANY_TIME : CMD_DISK_FAULTS_GIVEN,
		&boot->backings[index], message, message_size);

	if (ret)
		return ret;
	cmd_disk_options(spec, &options);
	ret = vblk_device_create(&options, boot->backings[index], &boot->devices[index]);
	return ret ? cmd_disk_failed(spec, ret, message, message_size) : 0;
}

static int open_disks(struct boot *boot)
{
	char message[MESSAGE_SIZE];

	if (cmd_disk_names(boot->options.specs, boot->options.vmm.disks, &boot->names)) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	for (unsigned int i = 0; i < boot->options.vmm.disks; i++) {
		int ret = open_disk(boot, i, message, sizeof(message));

		if (ret) {
			cmd_complain(NAME, "--disk: %s", message);
			return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
		}
	}
	return CMD_OK;
}

/* The counters are read when the worker has stopped: then they are final. */
static void close_disks(struct boot *boot, bool stats)
{
	for (unsigned int i = 0; i < boot->options.vmm.disks; i++) {
		struct vblk_metrics *metrics;

		vblk_backing_unref(boot->backings[i]);
		if (!boot->devices[i])
			continue;
		metrics = vblk_metrics_ref(vblk_device_metrics(boot->devices[i]));
		vblk_device_destroy(boot->devices[i]);
		if (stats)
			cmd_stats_print(i, metrics);
		vblk_metrics_unref(metrics);
	}
}

static int run(struct boot *boot)
{
	const struct vmm_run_options options = {
		.timeout_s = boot->options.timeout_s,
		.diagnostics = stderr,
		.watch_for = boot->options.panic_on,
		.watch_fd = cmd_control_fd(&boot->control),
		.event = boot_take_event,
		.context = boot,
	};
	struct vmm_result result;
	struct vmm_error error;

	vmm_run(boot->vmm, &options, &result, &error);
	switch (result.end) {
	case VMM_END_REBOOT:
	case VMM_END_HALT:
		return CMD_OK;
	case VMM_END_TIMEOUT:
		cmd_complain(NAME, "timed out after %" PRIu32 " s", boot->options.timeout_s);
		return CMD_TIMED_OUT;
	case VMM_END_SIGNAL:
		return CMD_SIGNAL + result.signal;
	case VMM_END_ASKED:
		return boot->status;
	default:
		boot_take_failure(boot);
		return report(&error);
	}
}

/* From checked options to an exit status. */
static int boot_guest(struct boot *boot)
{
	struct vmm_plan *plan = NULL;
	struct vmm_error error;
	bool ran = false;
	int status;

	/* A wish for a freeze that comes before or after the guest runs is no reason to die. */
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	/* Before a mapped disk takes SIGBUS, which then goes on to this if it is nothing of his. */
	vmm_terminal_catch_crashes();
	if (cmd_mount_words(boot->options.specs, boot->options.vmm.disks, boot->options.vmm.append,
			    &boot->options.append)) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	boot->options.vmm.append = boot->options.append;
	if (vmm_plan_create(&boot->options.vmm, &plan, &error)) {
		status = report(&error);
		goto cleanup;
	}
	status = open_disks(boot);
	if (status)
		goto cleanup;
	if (vmm_create(plan, boot->devices, &boot->vmm, &error)) {
		status = report(&error);
		goto cleanup;
	}
	status = boot_control_open(boot);
	if (status)
		goto cleanup;
	/* The files are in the guest's memory now. */
	vmm_plan_destroy(plan);
	plan = NULL;
	status = run(boot);
	ran = true;

cleanup:
	cmd_control_close(&boot->control);
	vmm_destroy(boot->vmm);
	close_disks(boot, boot->options.stats && ran);
	vmm_plan_destroy(plan);
	return status;
}

int cmd_boot(int argc, char **argv)
{
	struct boot boot = { .status = CMD_OK };
	int status = boot_options_parse(&boot.options, argc, argv);

	if (!status && boot.options.help)
		boot_print_help();
	else if (!status)
		status = boot_guest(&boot);
	boot_options_free(&boot.options);
	free(boot.names);
	return status;
}

#else

int cmd_boot(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	cmd_complain("boot", "needs an x86-64 host");
	return CMD_BAD_INPUT;
}

#endif
