/* SPDX-License-Identifier: MIT */
/* From the description of a disk to a device: opening the file and saying what is wrong with it. */
#ifndef CMD_DISK_H
#define CMD_DISK_H

#include "cmd/disk_spec.h"

/*
 * Opens and locks the file of a disk and creates a device on it, whose messages of level warning
 * and above go to standard error. Nothing on disk is changed, but for a template that is made in
 * the cache; for that, SIGCHLD has its default action from then on.
 *
 * Returns 0 and a device; or a negative errno with one line of text in `message`, -EINVAL if and
 * only if what was asked for is wrong.
 */
VBLK_MUST_USE int cmd_disk_open(const struct cmd_disk_spec *spec, struct vblk_device **device,
				char *message, size_t message_size);

/* Whether rules for failing may be set while the disk is in use, or only those given now. */
enum cmd_disk_faults {
	CMD_DISK_FAULTS_GIVEN,
	CMD_DISK_FAULTS_ANY_TIME, /* the backing is one of backing/faulty.h */
};

/*
 * Waits until nobody else has the disk's file locked, at most so long. A process that was killed
 * keeps its lock for as long as the kernel takes to finish what it had begun for it. A disk from a
 * template is nobody else's.
 */
void cmd_disk_await(const struct cmd_disk_spec *spec, uint32_t timeout_ms);

/* Only opens and locks the file. As above. */
VBLK_MUST_USE int cmd_disk_open_backing(const struct cmd_disk_spec *spec,
					enum cmd_disk_faults faults, struct vblk_backing **backing,
					char *message, size_t message_size);

/*
 * What a disk is called: by its serial number, or by its file. It is in `spec`. Several may be
 * called the same; cmd/disk_names.h has what control clients call them.
 */
const char *cmd_disk_name(const struct cmd_disk_spec *spec);

/* What the description says for a device. It points into the description. */
void cmd_disk_options(const struct cmd_disk_spec *spec, struct vblk_device_options *options);

/* The line of text for a disk that the library refused with `code`. Returns what to return. */
VBLK_MUST_USE int cmd_disk_failed(const struct cmd_disk_spec *spec, int code, char *message,
				  size_t message_size);

#endif
