/* SPDX-License-Identifier: MIT */
/*
 * The description of a disk, the same for every sub-command:
 *
 *     path=FILE|template=FS:SIZE[,ro][,size=N][,serial=S][,iops=N][,iops-burst=N][,bps=N]
 *              [,bps-burst=N][,fault=RULE]...[,cpu=N|,cpus=LIST][,undeliverable=drop|needs-reset]
 *              [,features=all|base][,engine=sync|uring|mmap][,direct][,poll-us=N][,queues=N]
 *              [,no-mount]
 *
 *     path        the file or block device
 *     template    in place of path: a disk with an empty file system (btrfs, ext4, xfs) or nothing
 *                 (raw) on it, which is this disk's own and gone when it is closed
 *     no-mount    with template: do not tell the guest to mount it, see cmd/mount_words.h
 *     ro          read-only, for the guest and for us
 *     size        what the guest sees, in bytes; default: the size of the file
 *     serial      what the guest reads as the disk's serial number, at most 20 bytes
 *     iops        limit of operations per second, 0: none
 *     iops-burst  how many may come at once; default: as many as iops
 *     bps         limit of bytes per second, 0: none
 *     bps-burst   how many may come at once; default: as many as bps
 *     fault       a rule for failing on purpose, see cmd/fault_spec.h; more of them are more rules
 *     cpu         run the disk's worker on this processor
 *     cpus        run it on these, a list as in cmd/cpu_list.h, so 0-3,,5 here
 *     undeliverable   what to do with a request that has no place for an answer: drop it
 *                 (default), or take no more requests until the guest resets the disk
 *     features    what the guest is offered: all there is (default), or no more than reads, writes,
 *                 flushes and the event index
 *     engine      how the file is read and written: by system calls, one after the other (sync,
 *                 default), by io_uring, many at a time (uring), or by copies between memory and a
 *                 mapping of the file (mmap), which is faster if it is warm
 *     direct      past the host's page cache (O_DIRECT); not with engine=mmap
 *     poll-us     how many microseconds a worker looks at a ring that has run empty before it goes
 *                 to sleep, if the next request is likely to come so soon; 0: not at all
 *     queues      1 (default) to 16, each with a worker, for a guest with several processors; not
 *                 with features=base. The workers share the processors of cpus in turn.
 *
 * Sizes, bps and bps-burst are written as in cmd/size.h, iops and iops-burst as plain numbers. A
 * comma in a value is written twice. Each key but fault may be given once. Pure; any thread.
 */
#ifndef CMD_DISK_SPEC_H
#define CMD_DISK_SPEC_H

#include "backing/faulty.h"
#include "image/fs.h"
#include <vblk/device.h>

#define CMD_SERIAL_MAX 20 /* bytes (virtio 1.2, 5.2.6) */

enum cmd_disk_engine {
	CMD_DISK_SYNC,
	CMD_DISK_URING,
	CMD_DISK_MMAP,
};

struct cmd_disk_spec {
	/* Of path and template one is there. */
	char *path;	/* owned */
	char *template; /* owned; as it was given */
	const struct vblk_image_fs *template_fs;
	uint64_t template_bytes;
	bool no_mount;
	char *serial; /* owned; NULL: the device's default */
	bool read_only;
	uint64_t size; /* bytes; 0: the size of the file */
	struct vblk_throttle throttle;
	struct vblk_faulty_rule *faults; /* owned; in the order in which they were given */
	size_t fault_count;
	struct vblk_placement placement; /* its list is owned */
	enum vblk_undeliverable on_undeliverable;
	enum vblk_feature_set features;
	enum cmd_disk_engine engine;
	bool direct;
	uint32_t poll_us; /* as in struct vblk_device_options */
	uint16_t queues;  /* 0: not given */
};

/*
 * Takes a description apart. Returns 0, or -EINVAL or -ENOMEM with one line of text in `message`
 * that names the culprit and says what would be right. Free the spec after success only.
 */
VBLK_MUST_USE int cmd_disk_spec_parse(const char *text, struct cmd_disk_spec *spec, char *message,
				      size_t message_size);

/* What the disk is called in messages: its path, or FS:SIZE. It points into the description. */
const char *cmd_disk_spec_name(const struct cmd_disk_spec *spec);

void cmd_disk_spec_free(struct cmd_disk_spec *spec);

#endif
