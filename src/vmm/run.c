/* SPDX-License-Identifier: MIT */
/*
 * Running a machine: the calling thread starts the vCPUs and then minds everything else - the
 * clock, the signals, the console's input - until there is a reason to stop.
 *
 * Signals come through a descriptor. They are blocked before the first vCPU thread is made, which
 * inherits that, so that no thread is ever interrupted by one at a bad moment.
 *
 * A kernel without ACPI switches a machine off by halting every processor with interrupts off,
 * and KVM does not say when that happens. So the vCPUs are asked twice a second. One round proves
 * nothing, as a vCPU that was seen asleep can have been woken by one that was asked later; two
 * rounds in a row in which all were found asleep do.
 */
#include "vmm/machine.h"

#include "base/eventfd.h"
#include "vmm/terminal.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PROBE_INTERVAL_MS 500
#define PROBE_ROUNDS	  2u

struct runner {
	struct vmm *vmm;
	const struct vmm_run_options *options;
	int signal_fd;
	int timer_fd;
	int signal;		  /* that ended the run, or 0 */
	unsigned int dead_rounds; /* in a row */
	uint64_t next_probe_ms;
	sigset_t old_mask;
	struct sigaction old_kick;
	struct sigaction old_pipe;
};

static void ignore_kick(int signal)
{
	(void)signal;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_ignored(int signal)
{
	struct sigaction action;

	return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void set_signals(struct runner *runner, sigset_t *heard)
{
	struct sigaction kick = { .sa_handler = ignore_kick };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t blocked;

	sigemptyset(heard);
	sigaddset(heard, SIGINT);
	sigaddset(heard, SIGTERM);
	sigaddset(heard, SIGUSR1);
	sigaddset(heard, SIGUSR2);
	if (!is_ignored(SIGHUP)) /* nohup(1) */
		sigaddset(heard, SIGHUP);
	blocked = *heard;
	sigaddset(&blocked, VMM_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &blocked, &runner->old_mask);

	sigemptyset(&kick.sa_mask);
	sigemptyset(&ignore.sa_mask);
	sigaction(VMM_KICK_SIGNAL, &kick, &runner->old_kick);
	sigaction(SIGPIPE, &ignore, &runner->old_pipe);
}

static void restore_signals(const struct runner *runner)
{
	sigaction(VMM_KICK_SIGNAL, &runner->old_kick, NULL);
	sigaction(SIGPIPE, &runner->old_pipe, NULL);
	pthread_sigmask(SIG_SETMASK, &runner->old_mask, NULL);
}

/* Hears, but does not take, what calls a freeze off: everything but the wish for one. */
static int open_call_off(const struct runner *runner, const sigset_t *heard,
			 struct vmm_error *error)
{
	sigset_t set = *heard;

	sigdelset(&set, SIGUSR1);
	runner->vmm->call_off_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (runner->vmm->call_off_fd < 0)
		return vmm_error_host(error, -errno, "cannot create a signalfd");
	return 0;
}

static int open_descriptors(struct runner *runner, const sigset_t *heard, struct vmm_error *error)
{
	const struct itimerspec timeout = { .it_value.tv_sec = runner->options->timeout_s };

	runner->signal_fd = signalfd(-1, heard, SFD_CLOEXEC | SFD_NONBLOCK);
	if (runner->signal_fd < 0)
		return vmm_error_host(error, -errno, "cannot create a signalfd");
	runner->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (runner->timer_fd < 0 || timerfd_settime(runner->timer_fd, 0, &timeout, NULL) < 0)
		return vmm_error_host(error, -errno, "cannot create a timer");
	return open_call_off(runner, heard, error);
}

static void tell(const struct runner *runner, enum vmm_event event)
{
	runner->options->event(runner->options->context, event);
}

static void take_signal(struct runner *runner)
{
	struct signalfd_siginfo info;

	if (read(runner->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGUSR1:
		tell(runner, VMM_EVENT_FREEZE);
		break;
	case SIGUSR2:
		tell(runner, VMM_EVENT_THAW);
		break;
	default:
		if (vmm_stop_request(&runner->vmm->stop, VMM_END_SIGNAL))
			runner->signal = (int)info.ssi_signo;
	}
}

static bool all_dead(const struct vmm *vmm)
{
	for (unsigned int i = 0; i < vmm->vcpu_count; i++)
		if (atomic_load(&vmm->vcpus[i].probe) != VMM_PROBE_DEAD)
			return false;
	return true;
}

/* Looks at the answers of the last round and starts the next. */
static void probe(struct runner *runner)
{
	struct vmm *vmm = runner->vmm;

	runner->next_probe_ms = now_ms() + PROBE_INTERVAL_MS;
	/* Who waits at the gate cannot answer. */
	if (vmm_is_frozen(vmm)) {
		runner->dead_rounds = 0;
		return;
	}
	runner->dead_rounds = all_dead(vmm) ? runner->dead_rounds + 1 : 0;
	if (runner->dead_rounds >= PROBE_ROUNDS) {
		vmm_stop_request(&vmm->stop, VMM_END_HALT);
		return;
	}
	for (unsigned int i = 0; i < vmm->vcpu_count; i++) {
		atomic_store(&vmm->vcpus[i].probe, VMM_PROBE_ASKED);
		vmm_vcpu_kick(&vmm->vcpus[i]);
	}
}

static int until_probe(const struct runner *runner)
{
	uint64_t now = now_ms();

	return now < runner->next_probe_ms ? (int)(runner->next_probe_ms - now) : 0;
}

/* The descriptors that the thread waits for. */
enum minded {
	STOP,
	SIGNAL,
	TIMER,
	PARKED,
	WATCHED,
	SEEN,
	INPUT,
	MINDED_COUNT
};

static void answer(struct runner *runner, const struct pollfd *fds)
{
	struct vmm *vmm = runner->vmm;

	if (fds[SIGNAL].revents)
		take_signal(runner);
	if (fds[PARKED].revents) {
		vblk_eventfd_clear(vmm->gate.parked_fd);
		tell(runner, VMM_EVENT_PARKED);
	}
	if (fds[WATCHED].revents)
		tell(runner, VMM_EVENT_WATCHED);
	if (fds[SEEN].revents) {
		vblk_eventfd_clear(vmm->console.seen_fd);
		tell(runner, VMM_EVENT_SEEN);
	}
	if (fds[TIMER].revents) {
		tell(runner, VMM_EVENT_TIMEOUT);
		vmm_stop_request(&vmm->stop, VMM_END_TIMEOUT);
	}
	if (fds[INPUT].revents)
		vmm_console_feed(&vmm->console);
	if (until_probe(runner) == 0)
		probe(runner);
}

static void mind(struct runner *runner)
{
	struct vmm *vmm = runner->vmm;
	struct pollfd fds[MINDED_COUNT] = {
		[STOP] = { .fd = vmm->stop.fd, .events = POLLIN },
		[SIGNAL] = { .fd = runner->signal_fd, .events = POLLIN },
		[TIMER] = { .fd = runner->timer_fd, .events = POLLIN },
		[PARKED] = { .fd = vmm->gate.parked_fd, .events = POLLIN },
		[WATCHED] = { .fd = runner->options->watch_fd, .events = POLLIN },
		[SEEN] = { .fd = vmm->console.seen_fd, .events = POLLIN },
		[INPUT] = { .events = POLLIN },
	};

	runner->next_probe_ms = now_ms() + PROBE_INTERVAL_MS;
	while (vmm_stop_reason(&vmm->stop) == VMM_END_NONE) {
		/* Input changes the serial port, which is part of what is frozen. */
		fds[INPUT].fd = vmm_is_frozen(vmm) ? -1 : vmm_console_poll_fd(&vmm->console);
		fds[INPUT].revents = 0;
		if (poll(fds, MINDED_COUNT, until_probe(runner)) < 0)
			continue; /* EINTR; the others cannot be */
		answer(runner, fds);
	}
}

static int start_vcpus(struct vmm *vmm, FILE *diagnostics, struct vmm_error *error)
{
	for (unsigned int i = 0; i < vmm->vcpu_count; i++) {
		int ret = vmm_vcpu_start(&vmm->vcpus[i], diagnostics);

		if (ret)
			return vmm_error_host(error, ret, "cannot start vCPU %u", i);
	}
	return 0;
}

void vmm_run(struct vmm *vmm, const struct vmm_run_options *options, struct vmm_result *result,
	     struct vmm_error *error)
{
	struct runner runner = { .vmm = vmm, .options = options, .signal_fd = -1, .timer_fd = -1 };
	sigset_t heard;
	int ret;

	vmm->call_off_fd = -1;
	set_signals(&runner, &heard);
	ret = open_descriptors(&runner, &heard, error);
	if (options->watch_for)
		vmm_console_watch(&vmm->console, options->watch_for);
	if (!ret && vmm_terminal_prepare(STDIN_FILENO))
		vmm->console.input = STDIN_FILENO;
	if (!ret)
		ret = start_vcpus(vmm, options->diagnostics, error);
	if (ret)
		vmm_stop_fail(&vmm->stop, error);
	else
		mind(&runner);

	for (unsigned int i = 0; i < vmm->vcpu_count; i++)
		vmm_vcpu_join(&vmm->vcpus[i]);
	vmm->over = true;
	vmm_terminal_restore();
	if (vmm->call_off_fd >= 0)
		close(vmm->call_off_fd);
	vmm->call_off_fd = -1;
	if (runner.timer_fd >= 0)
		close(runner.timer_fd);
	if (runner.signal_fd >= 0)
		close(runner.signal_fd);
	restore_signals(&runner);

	result->end = vmm_stop_reason(&vmm->stop);
	result->signal = runner.signal;
	*error = vmm->stop.error;
}
