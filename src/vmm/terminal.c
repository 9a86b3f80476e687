/* SPDX-License-Identifier: MIT */
/*
 * Setting and restoring the terminal. Signals that end the process in an orderly way are handled
 * in vmm/run.c; those of a crash are caught here, only to restore the terminal and let them do
 * what they would have done. A signal that somebody answers already is left to him: mapped disks
 * live on after SIGBUS (base/sigbus.h).
 */
#include "vmm/terminal.h"

#include "base/checked.h"
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static const int crash_signals[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV };

static struct {
	struct termios settings;
	volatile sig_atomic_t prepared;
	int fd;
	bool exit_handler;
} saved;

/* Only what may be called in a signal handler. */
static void put_back(void)
{
	if (!saved.prepared)
		return;
	saved.prepared = 0;
	tcsetattr(saved.fd, TCSANOW, &saved.settings);
}

/*
 * Who has taken a signal after us may call this: then the current action is not ours, and would
 * only call it again.
 */
static void on_crash(int number)
{
	put_back();
	signal(number, SIG_DFL);
	raise(number); /* delivered when the handler returns, if it is blocked until then */
}

void vmm_terminal_catch_crashes(void)
{
	struct sigaction action = { .sa_handler = on_crash }, current;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(crash_signals); i++)
		if (sigaction(crash_signals[i], NULL, &current) == 0 &&
		    !(current.sa_flags & SA_SIGINFO) && current.sa_handler == SIG_DFL)
			sigaction(crash_signals[i], &action, NULL);
}

bool vmm_terminal_prepare(int fd)
{
	struct termios settings;

	if (!isatty(fd))
		return true;
	/* Reading or setting another job's terminal would stop this process. */
	if (tcgetpgrp(fd) != getpgrp() || tcgetattr(fd, &saved.settings) < 0)
		return false;

	settings = saved.settings;
	settings.c_iflag &= (tcflag_t) ~(ICRNL | INLCR | IGNCR | IXON | ISTRIP);
	settings.c_lflag &= (tcflag_t) ~(ICANON | ECHO | ECHONL | IEXTEN);
	settings.c_cc[VSUSP] = _POSIX_VDISABLE;
	settings.c_cc[VQUIT] = _POSIX_VDISABLE;
	settings.c_cc[VMIN] = 1;
	settings.c_cc[VTIME] = 0;

	saved.fd = fd;
	if (!saved.exit_handler)
		saved.exit_handler = atexit(put_back) == 0;
	vmm_terminal_catch_crashes();
	saved.prepared = 1;
	if (tcsetattr(fd, TCSANOW, &settings) < 0) {
		vmm_terminal_restore();
		return false;
	}
	return true;
}

void vmm_terminal_restore(void)
{
	put_back();
}
