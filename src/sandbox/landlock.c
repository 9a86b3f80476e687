/* SPDX-License-Identifier: MIT */
/*
 * Files by Landlock. The C library has no functions for it. A right that is handled and granted
 * nowhere is gone; which rights there are depends on the kernel's version of the interface.
 */
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel may know more than the headers that this is compiled with. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

/* Rights by the version that brought them; version 4 is about the network. */
static uint64_t known_rights(int version)
{
	uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (version >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (version >= 5)
		rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return rights;
}

static int allow_removal(int rules, const char *folder, const struct vblk_sandbox_text *text)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = LANDLOCK_ACCESS_FS_REMOVE_FILE,
	};
	int ret = 0;

	beneath.parent_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (beneath.parent_fd < 0) {
		ret = errno == ENOENT || errno == ENOTDIR ? -EINVAL : -errno;
		return vblk_sandbox_say(text, ret, "folder '%s': %s", folder, strerror(errno));
	}
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		ret = vblk_sandbox_say(text, -errno, "folder '%s': %s", folder, strerror(errno));
	close(beneath.parent_fd);
	return ret;
}

int vblk_sandbox_landlock(const struct vblk_sandbox_options *options,
			  const struct vblk_sandbox_text *text)
{
	const long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attributes = { 0 };
	int rules, ret = 0;

	if (version < 0)
		return vblk_sandbox_say(text, VBLK_SANDBOX_NOT_HERE,
					"this kernel has no Landlock (%s)", strerror(errno));
	attributes.handled_access_fs = known_rights((int)version);
	/* The length names the interface's first version, which every kernel takes. */
	rules = (int)syscall(SYS_landlock_create_ruleset, &attributes,
			     sizeof(attributes.handled_access_fs), 0);
	if (rules < 0)
		return vblk_sandbox_say(text, -errno, "Landlock: %s", strerror(errno));
	for (size_t i = 0; i < options->folder_count && !ret; i++)
		ret = allow_removal(rules, options->folders[i], text);
	if (!ret && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		ret = vblk_sandbox_say(text, -errno, "Landlock: %s", strerror(errno));
	close(rules);
	if (ret)
		return ret;
	return vblk_sandbox_say(text, 0, "no path can be opened (Landlock %ld)", version);
}
