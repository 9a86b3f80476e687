/* SPDX-License-Identifier: MIT */
/*
 * Giving up what is not needed any more: a program that serves disks to a guest opens its files,
 * makes its sockets, and enters the sandbox. If the guest then finds its way into it, there is not
 * much to be had.
 *
 *   user       another user and group, without supplementary groups, if one is named
 *   privileges nothing that is executed gains any (PR_SET_NO_NEW_PRIVS), and nothing is executed
 *   files      Landlock: no path can be opened, made, renamed or changed; files can be removed from
 *              the folders that are named, because sockets are removed at the end. What is open
 *              stays open.
 *   calls      seccomp: system calls that the program does not need fail, or end it
 *
 * What is not there on this host (an old kernel, a build without libseccomp) is left out and said;
 * what is there and fails is an error. After an error the program is to end: it may be half in.
 *
 * It is entered once, by the first thread, before any other is started: threads get all of it from
 * who starts them. All files that are needed later are open by then: what a thread opens by name
 * fails with EACCES or EPERM, also in libraries.
 */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <vblk/types.h>

#define VBLK_SANDBOX_KILL	 (1u << 0) /* a call that is not allowed ends the process (SIGSYS) */
#define VBLK_SANDBOX_IO_URING	 (1u << 1) /* allow the use of io_uring rings that are there */
#define VBLK_SANDBOX_NO_LANDLOCK (1u << 2)
#define VBLK_SANDBOX_NO_SECCOMP	 (1u << 3)

struct vblk_sandbox_options {
	uint32_t flags;	  /* VBLK_SANDBOX_* */
	const char *user; /* "user", "user:group", names or numbers; NULL: stay who we are */
	/* From which files may be removed. */
	const char *const *folders;
	size_t folder_count;
	/*
	 * Called with one line, without a newline, as in "files: no path can be opened": `report`
	 * for each step that was done or left out as wanted, `warn` for one that this host does not
	 * have, and for a user who may not remove files from the folders. Either may be NULL;
	 * without `warn`, `report` gets those as well.
	 */
	void (*report)(void *context, const char *line);
	void (*warn)(void *context, const char *line);
	void *context;
};

/*
 * Returns 0; -EINVAL if what was asked for is wrong (no such user or folder); or another negative
 * errno. With an error there is one line of text in `message`, which begins with "sandbox: ".
 */
VBLK_MUST_USE int vblk_sandbox_enter(const struct vblk_sandbox_options *options, char *message,
				     size_t message_size);

#endif
