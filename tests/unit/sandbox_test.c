/* SPDX-License-Identifier: MIT */
/* Who the process becomes, which paths are left to it, and what is told of each step. */
#include "sandbox_fixture.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static char elsewhere[80]; /* a file in another folder */

static int try_unlink(void)
{
	return error_of(unlinkat(AT_FDCWD, path, 0));
}

static int try_unlink_elsewhere(void)
{
	return error_of(unlinkat(AT_FDCWD, elsewhere, 0));
}

static void paths_are_closed_without_the_filter_too(void **state)
{
	static const struct {
		const char *name;
		int (*act)(void);
	} table[] = {
		{ "open", try_open },	  { "create", try_create }, { "truncate", try_truncate },
		{ "rename", try_rename }, { "execve", try_execve },
	};

	(void)state;
	need_landlock();
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		print_message("%s\n", table[i].name);
		assert_int_equal(inside(VBLK_SANDBOX_NO_SECCOMP, NULL, table[i].act), EACCES);
	}
}

static void files_are_removed_from_the_named_folder_only(void **state)
{
	(void)state;
	need_landlock();
	snprintf(elsewhere, sizeof(elsewhere), "%s-elsewhere", folder);
	close(open(elsewhere, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	assert_int_equal(inside(0, NULL, try_unlink_elsewhere), EACCES);
	assert_int_equal(unlink(elsewhere), 0);
	assert_int_equal(inside(0, NULL, try_unlink), 0);
}

static int look_at_privileges(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1;
}

static void no_privileges_can_be_gained(void **state)
{
	(void)state;
	assert_int_equal(inside(VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK, NULL,
				look_at_privileges),
			 0);
}

static int look_at_user(void)
{
	uid_t uid[3];
	gid_t gid[3];

	if (getresuid(&uid[0], &uid[1], &uid[2]) || getresgid(&gid[0], &gid[1], &gid[2]))
		return 1;
	for (unsigned int i = 0; i < 3; i++)
		if (uid[i] != 65534 || gid[i] != 65534)
			return 2;
	if (getgroups(0, NULL) != 0)
		return 3;
	return setuid(0) == 0 || setgid(0) == 0 ? 4 : 0;
}

static void another_user_is_become_wholly(void **state)
{
	const uint32_t flags = VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK;

	(void)state;
	need_root();
	assert_int_equal(setgroups(1, &(gid_t){ 1 }), 0);
	assert_int_equal(inside(flags, NOBODY, look_at_user), 0);
	assert_int_equal(setgroups(0, NULL), 0);
	assert_int_equal(inside(flags, "nobody", look_at_user), 0);
	assert_int_equal(inside(flags, "nobody:nogroup", look_at_user), 0);
	/* And all of it together. */
	if (has_landlock()) {
		assert_int_not_equal(inside(0, NOBODY, try_open), 0);
		assert_int_not_equal(inside(0, NOBODY, try_open), ENTERED_NOT);
	}
}

static char warned[512];

/* 0: nothing is said of the folder; 1: it is, and files stay in it. */
static int find_warning(void)
{
	const bool told = strstr(warned, "it may not remove files from") && strstr(warned, folder);

	if (told != (unlinkat(AT_FDCWD, path, 0) < 0))
		return 2;
	return told;
}

static int become_nobody(void)
{
	static const char *folders[] = { folder };
	const struct vblk_sandbox_options options = {
		.flags = VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK,
		.user = NOBODY,
		.folders = folders,
		.folder_count = 1,
		.warn = report_missing,
		.context = warned,
	};

	return vblk_sandbox_enter(&options, message, sizeof(message)) ? ENTERED_NOT
								      : find_warning();
}

static void a_folder_that_keeps_its_files_is_told(void **state)
{
	static const struct {
		uid_t owner;
		mode_t mode;
		int told;
	} table[] = {
		{ 0, 0755, 1 },	    { 0, 01777, 1 }, { 0, 0700, 1 },
		{ 65534, 0500, 1 }, { 0, 0777, 0 },  { 65534, 0700, 0 },
	};

	(void)state;
	need_root();
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const pid_t child = fork();

		print_message("%o\n", table[i].mode);
		if (child == 0) {
			if (chown(folder, table[i].owner, table[i].owner) ||
			    chmod(folder, table[i].mode))
				_exit(100);
			_exit(become_nobody());
		}
		assert_int_equal(wait_for(child), table[i].told << 8);
		close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	}
}

static int find_message(const char *user, const char *expected)
{
	if (enter(0, user) != -EINVAL)
		return 1;
	return strcmp(message, expected) == 0 ? 0 : 2;
}

static void users_that_are_not_there_are_refused(void **state)
{
	static const struct {
		const char *user;
		const char *message;
	} table[] = {
		{ "vblk-nobody", "sandbox: user: there is no user 'vblk-nobody'" },
		{ "", "sandbox: user: there is no user ''" },
		{ "-1", "sandbox: user: there is no user '-1'" },
		{ "4294967295", "sandbox: user: there is no user '4294967295'" },
		{ "0:vblk-none", "sandbox: user: there is no group 'vblk-none'" },
		{ "0:", "sandbox: user: there is no group ''" },
		{ "4000000000",
		  "sandbox: user: user 4000000000 has no group of its own: say which, "
		  "as in 4000000000:GROUP" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const pid_t child = fork();

		if (child == 0)
			_exit(find_message(table[i].user, table[i].message));
		print_message("%s\n", table[i].user);
		assert_int_equal(wait_for(child), 0);
	}
}

/* Who is not root cannot become another, and does not go on as if. */
static int become_without_right(void)
{
	if (enter(0, "0:0") != -EPERM)
		return 1;
	if (strcmp(message, "sandbox: user: only root can become '0:0': start as root, or as that "
			    "user") != 0)
		return 2;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 3;
	return enter(VBLK_SANDBOX_NO_SECCOMP, NOBODY) == 0 ? 0 : 4;
}

static void only_root_becomes_another(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(inside(VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK, NOBODY,
				become_without_right),
			 0);
}

static void a_folder_that_is_missing_is_refused(void **state)
{
	static const char *folders[] = { "/vblk-no-such-folder" };
	const struct vblk_sandbox_options options = { .folders = folders, .folder_count = 1 };
	pid_t child;

	(void)state;
	need_landlock();
	child = fork();
	if (child == 0)
		_exit(vblk_sandbox_enter(&options, message, sizeof(message)) == -EINVAL &&
				      strcmp(message, "sandbox: files: folder "
						      "'/vblk-no-such-folder': No such file or "
						      "directory") == 0
			      ? 0
			      : 1);
	assert_int_equal(wait_for(child), 0);
}

/* One line for each step; a step that was left out is told as well. */
static int count_lines(void)
{
	int count = 0;

	for (const char *c = lines; *c; c++)
		count += *c == '\n';
	if (!strstr(lines, "user: not restricted: no other user was named") ||
	    !strstr(lines, "privileges: none can be gained\n"))
		return 100;
	return count;
}

static int look_for_left_out(void)
{
	return strstr(lines, "files: not restricted: as wanted\n") &&
			       strstr(lines, "calls: not restricted: as wanted\n")
		       ? 0
		       : 1;
}

static void each_step_is_told(void **state)
{
	(void)state;
	assert_int_equal(inside(0, NULL, count_lines), 4);
	assert_int_equal(
		inside(VBLK_SANDBOX_NO_SECCOMP | VBLK_SANDBOX_NO_LANDLOCK, NULL, look_for_left_out),
		0);
}

/* From here on the kernel says that it has no such call. */
static bool take_call_away(unsigned int call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { VBLK_ARRAY_SIZE(code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int enter_old_kernel(bool with_missing)
{
	char missing[512] = "";
	struct vblk_sandbox_options options = { .flags = VBLK_SANDBOX_NO_SECCOMP,
						.report = report };

	if (with_missing) {
		options.warn = report_missing;
		options.context = missing;
	}
	if (!take_call_away(SYS_landlock_create_ruleset))
		return ENTERED_NOT;
	if (vblk_sandbox_enter(&options, message, sizeof(message)))
		return 1;
	return strcmp(strstr(with_missing ? missing : lines, "files: "),
		      with_missing ? "files: not restricted: this kernel has no Landlock (Function "
				     "not implemented)"
				   : "files: not restricted: this kernel has no Landlock (Function "
				     "not implemented)\ncalls: not restricted: as wanted\n") == 0
		       ? 0
		       : 2;
}

static void what_the_host_lacks_is_told_and_left_out(void **state)
{
	(void)state;
	need_filter();
	for (unsigned int i = 0; i < 2; i++) {
		const pid_t child = fork();

		if (child == 0)
			_exit(enter_old_kernel(i));
		assert_int_equal(wait_for(child), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(paths_are_closed_without_the_filter_too),
		ONE(files_are_removed_from_the_named_folder_only),
		ONE(no_privileges_can_be_gained),
		ONE(another_user_is_become_wholly),
		ONE(a_folder_that_keeps_its_files_is_told),
		ONE(users_that_are_not_there_are_refused),
		ONE(only_root_becomes_another),
		ONE(a_folder_that_is_missing_is_refused),
		ONE(each_step_is_told),
		ONE(what_the_host_lacks_is_told_and_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
