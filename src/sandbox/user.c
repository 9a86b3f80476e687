/* SPDX-License-Identifier: MIT */
/*
 * Becoming somebody else. The C library changes the identity of all threads, and says so for the
 * first one; that there is no way back is tried out.
 */
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 256

struct identity {
	uid_t uid;
	gid_t gid;
};

/* A number that is an id: -1 means "as it is" to the kernel. */
static bool read_id(const char *name, uint32_t *id)
{
	unsigned long long number;
	char *end;

	if (*name < '0' || *name > '9')
		return false;
	errno = 0;
	number = strtoull(name, &end, 10);
	if (errno || *end || number >= UINT32_MAX)
		return false;
	*id = (uint32_t)number;
	return true;
}

static int find_group(const char *name, gid_t *gid, const struct vblk_sandbox_text *text)
{
	const struct group *group = getgrnam(name);

	if (group)
		*gid = group->gr_gid;
	else if (!read_id(name, gid))
		return vblk_sandbox_say(text, -EINVAL, "there is no group '%s'", name);
	return 0;
}

static int find_identity(const char *wanted, struct identity *identity,
			 const struct vblk_sandbox_text *text)
{
	char name[NAME_MAX_BYTES];
	const struct passwd *user;
	char *group;

	if (strlen(wanted) >= sizeof(name))
		return vblk_sandbox_say(text, -EINVAL, "the name is too long");
	snprintf(name, sizeof(name), "%s", wanted);
	group = strchr(name, ':');
	if (group)
		*group++ = '\0';
	user = getpwnam(name);
	if (user)
		identity->uid = user->pw_uid;
	else if (!read_id(name, &identity->uid))
		return vblk_sandbox_say(text, -EINVAL, "there is no user '%s'", name);
	if (group)
		return find_group(group, &identity->gid, text);
	if (!user)
		user = getpwuid(identity->uid);
	if (!user)
		return vblk_sandbox_say(
			text, -EINVAL, "user %s has no group of its own: say which, as in %s:GROUP",
			name, name);
	identity->gid = user->pw_gid;
	return 0;
}

/* Whether we are this user, wholly, and only this group's. */
static bool is_already(const struct identity *identity)
{
	uid_t uid[3] = { 0 };
	gid_t gid[3] = { 0 };

	return getresuid(&uid[0], &uid[1], &uid[2]) == 0 &&
	       getresgid(&gid[0], &gid[1], &gid[2]) == 0 && uid[0] == identity->uid &&
	       uid[1] == identity->uid && uid[2] == identity->uid && gid[0] == identity->gid &&
	       gid[1] == identity->gid && gid[2] == identity->gid;
}

/*
 * Whether we may remove files from a folder that we have made when we were somebody else. It is the
 * folder's business; only where it is sticky does it matter whose the file is.
 */
static bool can_remove_from(const char *folder)
{
	struct stat there;

	return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0 &&
	       stat(folder, &there) == 0 &&
	       (!(there.st_mode & S_ISVTX) || geteuid() == 0 || there.st_uid == geteuid());
}

/* As who we are now: what was left by the way. */
static int tell_identity(const struct vblk_sandbox_options *options,
			 const struct identity *identity, const struct vblk_sandbox_text *text)
{
	const unsigned int uid = identity->uid, gid = identity->gid;

	for (size_t i = 0; i < options->folder_count; i++) {
		if (!can_remove_from(options->folders[i]))
			return vblk_sandbox_say(
				text, VBLK_SANDBOX_DONE_BUT,
				"user %u, group %u, no other group; it may not remove files from "
				"'%s': what was made there stays behind at the end, and is replaced "
				"at the next start; in a folder of that user's own it does not",
				uid, gid, options->folders[i]);
	}
	return vblk_sandbox_say(text, 0, "user %u, group %u, no other group", uid, gid);
}

int vblk_sandbox_user(const struct vblk_sandbox_options *options,
		      const struct vblk_sandbox_text *text)
{
	struct identity identity = { 0 };
	int ret;

	if (!options->user)
		return vblk_sandbox_say(text, VBLK_SANDBOX_NOT_WANTED,
					"no other user was named; it is user %u",
					(unsigned int)geteuid());
	ret = find_identity(options->user, &identity, text);
	if (ret)
		return ret;
	if (geteuid() != 0) {
		if (is_already(&identity))
			return vblk_sandbox_say(text, 0, "user %u, as before",
						(unsigned int)identity.uid);
		return vblk_sandbox_say(text, -EPERM,
					"only root can become '%s': start as root, or as that user",
					options->user);
	}
	if (setgroups(0, NULL) < 0 || setresgid(identity.gid, identity.gid, identity.gid) < 0 ||
	    setresuid(identity.uid, identity.uid, identity.uid) < 0)
		return vblk_sandbox_say(text, -errno, "cannot become '%s': %s", options->user,
					strerror(errno));
	if (!is_already(&identity) || getgroups(0, NULL) != 0 ||
	    (identity.uid != 0 && setuid(0) == 0))
		return vblk_sandbox_say(text, -EPERM, "'%s' could become root again",
					options->user);
	return tell_identity(options, &identity, text);
}
