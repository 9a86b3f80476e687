/* SPDX-License-Identifier: MIT */
/* What the parts of vblk boot share. */
#ifndef CMD_BOOT_H
#define CMD_BOOT_H

#include "cmd/control_socket.h"
#include "cmd/disk_spec.h"
#include "vmm/vmm.h"

#define BOOT_NAME "boot"

/* What comes after a panic of the guest, once it is frozen and dumped. */
enum boot_after {
	BOOT_EXIT,
	BOOT_FREEZE, /* it stays as it is */
	BOOT_CONTINUE,
};

struct boot_options {
	struct vmm_options vmm;
	struct cmd_disk_spec specs[VMM_MAX_DISKS];
	char *append; /* owned; the user's words, and what is said of the disks */
	uint32_t timeout_s;
	bool stats;
	const char *dump_dir; /* NULL: no dumps */
	const char *panic_on; /* NULL: the console is not watched */
	enum boot_after on_panic;
	const char *control; /* NULL: no control socket */
	bool help;
};

struct boot {
	struct boot_options options;
	struct vblk_backing *backings[VMM_MAX_DISKS]; /* as many as have been opened, then NULL */
	struct vblk_device *devices[VMM_MAX_DISKS];   /* likewise */
	const char **names; /* owned; what control clients call them, no two the same */
	struct vmm *vmm;
	int status;	   /* with VMM_END_ASKED */
	bool panic_dumped; /* that happens once in a run */
	struct cmd_control control;
};

/* boot_options.c: the command line. Returns an exit status; free it in any case. */
int boot_options_parse(struct boot_options *options, int argc, char **argv);
void boot_options_free(struct boot_options *options);
void boot_print_help(void);

/*
 * boot_freeze.c: what is done while the guest runs. All say on standard error what they did; with
 * an error its text is in `error` and not said.
 */
int boot_freeze(struct boot *boot, struct vmm_freeze_report *report, struct vmm_error *error);
void boot_thaw(struct boot *boot);
/* Freezes for as long as it takes, unless the guest is frozen already. Needs a dump_dir. */
int boot_dump(struct boot *boot, const char *reason, char path[VMM_PATH_SIZE],
	      struct vmm_error *error);
/* The guest has ended by a failure: dumps it, if there is a dump_dir. */
void boot_take_failure(struct boot *boot);
/* The event callback of vmm_run(). */
void boot_take_event(void *context, enum vmm_event event);

/* boot_control.c: opens the control socket, if there is to be one. Returns an exit status. */
int boot_control_open(struct boot *boot);

#endif
