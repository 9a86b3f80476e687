/* SPDX-License-Identifier: MIT */
/*
 * The folder of a dump while it is made: without a name that anybody looks for, until all of it is
 * there and on disk.
 *
 * Several processes may make dumps in one place, also from containers with process numbers of
 * their own. Whoever makes one holds a lock on its folder (flock), so what a process that was
 * killed has left is known by its lock being free, and is removed by the next.
 */
#ifndef VMM_DUMP_FOLDER_H
#define VMM_DUMP_FOLDER_H

#include "vmm/error.h"

#define VMM_DUMP_CORE "vmcore"
#define VMM_DUMP_JSON "dump.json"

struct vmm_dump_folder {
	const char *path; /* of the place; the caller's */
	int place;	  /* descriptors; -1: not open */
	int inside;	  /* the new folder, locked */
	char name[32];	  /* of the new folder; empty: there is none */
	bool published;
};

/*
 * Makes a new folder below `path`, which is made too if it is missing, and removes what others have
 * left there. Returns 0, or a negative errno with `error` filled in; close it in either case.
 */
VBLK_MUST_USE int vmm_dump_folder_open(struct vmm_dump_folder *folder, const char *path,
				       struct vmm_error *error);

/*
 * Gives it the name dump-N, with the first number that is free; nothing is ever overwritten.
 * Returns 0 with the new name in `name`, or a negative errno with `error` filled in.
 */
VBLK_MUST_USE int vmm_dump_folder_publish(struct vmm_dump_folder *folder, struct vmm_error *error);

/* Removes the folder with both files if it was not published. */
void vmm_dump_folder_close(struct vmm_dump_folder *folder);

/* "dump: cannot write PATH/what: ..."; returns `code`. */
int vmm_dump_folder_failed(const struct vmm_dump_folder *folder, int code, const char *what,
			   struct vmm_error *error);

#endif
