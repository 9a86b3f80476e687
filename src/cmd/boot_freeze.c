/* SPDX-License-Identifier: MIT */
/* Freezing and dumping a running guest: at a signal, at its panic, when its time is up, on request.
 */
#include "cmd/boot.h"

#if defined(__x86_64__)

#include "cmd/cmd.h"
#include "cmd/progress.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#ifndef VBLK_VERSION
#define VBLK_VERSION "unknown"
#endif

int boot_freeze(struct boot *boot, struct vmm_freeze_report *report, struct vmm_error *error)
{
	const bool was_frozen = vmm_is_frozen(boot->vmm);
	int ret = vmm_freeze(boot->vmm, report, error);

	if (ret || was_frozen)
		return ret;
	for (unsigned int i = 0; i < VMM_MAX_DISKS; i++)
		if (report->disks_left_out >> i & 1)
			cmd_complain(BOOT_NAME,
				     "freeze: disk %u is left out: a call to its file has not "
				     "returned for a second",
				     i);
	cmd_complain(BOOT_NAME, "freeze: parked %u vcpus and %u devices in %" PRIu64 " us",
		     report->vcpus, report->disks, report->elapsed_ns / 1000);
	return 0;
}

void boot_thaw(struct boot *boot)
{
	if (!vmm_is_frozen(boot->vmm))
		return;
	vmm_thaw(boot->vmm);
	cmd_complain(BOOT_NAME, "freeze: the guest goes on");
}

/*
 * The terminal is the guest's too, but a guest that is frozen says nothing, and what was said last
 * is a line of ours: there is nobody's text where this one comes and goes.
 */
static void show_progress(void *context, uint64_t done, uint64_t total)
{
	vblk_image_progress_tell(context, "dump: %" PRIu64 " %% of %" PRIu64 " MiB",
				 done * 100 / total, total >> 20);
}

int boot_dump(struct boot *boot, const char *reason, char path[VMM_PATH_SIZE],
	      struct vmm_error *error)
{
	struct vblk_image_progress progress;
	const struct vmm_dump_about about = {
		.version = VBLK_VERSION,
		.reason = reason,
		.progress = show_progress,
		.context = &progress,
	};
	const bool was_frozen = vmm_is_frozen(boot->vmm);
	struct vmm_freeze_report report;
	struct vmm_dump_made made;
	int ret = boot_freeze(boot, &report, error);

	if (ret)
		return ret;
	vblk_image_progress_begin(&progress, &cmd_progress);
	ret = vmm_dump(boot->vmm, boot->options.dump_dir, &about, &made, error);
	vblk_image_progress_end(&progress);
	if (!ret) {
		memcpy(path, made.path, sizeof(made.path));
		cmd_complain(BOOT_NAME, "dump: %s", path);
	}
	if (!ret && made.mappings_left_out)
		cmd_complain(BOOT_NAME, "dump: the guest's kernel has more mappings than a core "
					"file can name: some are left out");
	if (!was_frozen)
		boot_thaw(boot);
	return ret;
}

static void complain(const struct vmm_error *error)
{
	cmd_complain(BOOT_NAME, "%s", error->text);
}

/* Nobody waits for an answer: it goes to standard error. */
static void freeze_and_say(struct boot *boot)
{
	struct vmm_freeze_report report;
	struct vmm_error error;

	if (boot_freeze(boot, &report, &error))
		complain(&error);
}

/* Returns whether there is a dump. */
static bool dump_and_say(struct boot *boot, const char *reason)
{
	char path[VMM_PATH_SIZE];
	struct vmm_error error;

	if (boot_dump(boot, reason, path, &error) == 0)
		return true;
	complain(&error);
	return false;
}

/* A guest that goes on can say its panic's text as often as it likes: its disk is not the host's.
 */
static void dump_panic(struct boot *boot)
{
	if (!boot->options.dump_dir || !vmm_is_frozen(boot->vmm))
		return;
	if (boot->panic_dumped)
		cmd_complain(BOOT_NAME, "dump: there is one of an earlier panic, and no more are "
					"made");
	else
		boot->panic_dumped = dump_and_say(boot, "panic");
}

static void take_panic(struct boot *boot)
{
	freeze_and_say(boot);
	cmd_complain(BOOT_NAME, "panic: '%s' on the guest's console", boot->options.panic_on);
	dump_panic(boot);
	switch (boot->options.on_panic) {
	case BOOT_EXIT:
		boot->status = CMD_PANICKED;
		vmm_end(boot->vmm);
		break;
	case BOOT_FREEZE:
		break;
	case BOOT_CONTINUE:
		boot_thaw(boot);
		break;
	}
}

void boot_take_failure(struct boot *boot)
{
	if (!boot->options.dump_dir)
		return;
	/* Frozen first, it is not let go behind the dump: there is nothing that could go on. */
	freeze_and_say(boot);
	if (vmm_is_frozen(boot->vmm))
		dump_and_say(boot, "failure");
}

void boot_take_event(void *context, enum vmm_event event)
{
	struct boot *boot = context;

	switch (event) {
	case VMM_EVENT_FREEZE:
		if (boot->options.dump_dir)
			dump_and_say(boot, "signal");
		else
			freeze_and_say(boot);
		break;
	case VMM_EVENT_THAW:
		boot_thaw(boot);
		break;
	case VMM_EVENT_SEEN:
		take_panic(boot);
		break;
	case VMM_EVENT_TIMEOUT:
		if (boot->options.dump_dir)
			dump_and_say(boot, "timeout");
		break;
	case VMM_EVENT_PARKED:
		break;
	case VMM_EVENT_WATCHED:
		cmd_control_run(&boot->control);
		break;
	}
	/* A disk may have come to rest, or its acknowledgement gone to the freeze. */
	cmd_control_check(&boot->control);
}

#endif
