/* SPDX-License-Identifier: MIT */
/*
 * The terminal, on a pseudo-terminal, in a child process that may die of a signal: what it has
 * left of the settings is seen from the other side.
 */
#include "vmm/terminal.h"

#include "base/sigbus.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096u

/* How a child has ended, and what the terminal was like then. */
struct outcome {
	int status;
	bool restored;
};

struct fixture {
	int master;
	int slave;
	struct outcome *outcome; /* shared with the children */
};

static int set_up(void **state)
{
	static struct fixture fixture;
	char name[64];

	fixture.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fixture.master < 0 || grantpt(fixture.master) || unlockpt(fixture.master) ||
	    ptsname_r(fixture.master, name, sizeof(name)))
		return -1;
	fixture.slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	fixture.outcome = mmap(NULL, sizeof(struct outcome), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fixture.slave < 0 || fixture.outcome == MAP_FAILED)
		return -1;
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	munmap(fixture->outcome, sizeof(struct outcome));
	close(fixture->slave);
	close(fixture->master);
	return 0;
}

/* A page whose file has none any more. */
static uint8_t *map_nothing(void)
{
	int fd = memfd_create("vblk-test", MFD_CLOEXEC);
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static bool is_echoing(int fd)
{
	struct termios now;

	return tcgetattr(fd, &now) == 0 && now.c_lflag & ECHO;
}

static bool is_same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag &&
	       memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/* The leader outlives who crashes: its own end would give the terminal its first settings back. */
static int lead(const struct fixture *fixture, int (*body)(int fd))
{
	const struct rlimit no_core = { 0, 0 };
	struct termios before, after;
	pid_t child;

	if (setsid() < 0 || ioctl(fixture->slave, TIOCSCTTY, 0) ||
	    tcgetattr(fixture->slave, &before))
		return 1;
	child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		/* A sanitizer has taken them. */
		signal(SIGBUS, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		_exit(body(fixture->slave));
	}
	if (waitpid(child, &fixture->outcome->status, 0) != child ||
	    tcgetattr(fixture->slave, &after))
		return 1;
	fixture->outcome->restored = is_same(&before, &after);
	return 0;
}

static int run(const struct fixture *fixture, int (*body)(int fd))
{
	pid_t leader = fork();
	int status;

	assert_true(leader >= 0);
	if (leader == 0)
		_exit(lead(fixture, body));
	assert_int_equal(waitpid(leader, &status, 0), leader);
	assert_int_equal(status, 0);
	assert_true(fixture->outcome->restored);
	return fixture->outcome->status;
}

static int prepare_and_restore(int fd)
{
	if (!vmm_terminal_prepare(fd) || is_echoing(fd))
		return 1;
	vmm_terminal_restore();
	return is_echoing(fd) ? 0 : 2;
}

static void settings_are_put_back(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(run(fixture, prepare_and_restore), 0);
}

/* Once in a process: ThreadSanitizer leaves the signal blocked behind a jump out of its handler. */
static int copy_from_nothing(void)
{
	const uint8_t *nothing = map_nothing();
	uint8_t byte;

	return nothing && vblk_sigbus_copy(&byte, nothing, 1) == -EIO ? 0 : 2;
}

static int copy_while_prepared(int fd)
{
	int ret;

	if (vblk_sigbus_install() || !vmm_terminal_prepare(fd))
		return 1;
	ret = copy_from_nothing();
	vmm_terminal_restore();
	return ret;
}

static int copy_when_restored(int fd)
{
	if (vblk_sigbus_install() || !vmm_terminal_prepare(fd))
		return 1;
	vmm_terminal_restore();
	return copy_from_nothing();
}

/* A mapped disk that is cut short fails its requests, terminal or not, and also behind it. */
static void a_mapped_disk_keeps_its_guard(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(run(fixture, copy_while_prepared), 0);
	assert_int_equal(run(fixture, copy_when_restored), 0);
}

static int touch_nothing(int fd)
{
	volatile uint8_t *nothing = map_nothing();

	vmm_terminal_catch_crashes();
	if (!nothing || vblk_sigbus_install() || !vmm_terminal_prepare(fd))
		return 1;
	return *nothing + 10;
}

/* What the guard of mapped disks does not know goes through it: the end, and no other. */
static void a_crash_behind_the_guard_restores(void **state)
{
	const struct fixture *fixture = *state;
	int status = run(fixture, touch_nothing);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static int crash(int fd)
{
	if (!vmm_terminal_prepare(fd))
		return 1;
	raise(SIGSEGV);
	return 2;
}

static void a_crash_restores(void **state)
{
	const struct fixture *fixture = *state;
	int status = run(fixture, crash);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(settings_are_put_back),
		TEST(a_mapped_disk_keeps_its_guard),
		TEST(a_crash_behind_the_guard_restores),
		TEST(a_crash_restores),
	};

	return cmocka_run_group_tests_name("vmm_terminal", tests, NULL, NULL);
}
