/* SPDX-License-Identifier: MIT */
/*
 * A stress test: devices, each with a driver that behaves, and everything around them that does
 * not. It goes on for as long as it is told to, and ends at the first thing that is wrong.
 *
 * Every few seconds all devices are destroyed and all threads gather at a gate. What the process
 * holds then must be what it held before the first device, and every pause must have been
 * acknowledged. The run's choices follow from a seed; what the threads make of them does not, so
 * a failure may take more than one try to come again.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/eventfd.h"
#include "fail.h"
#include "options.h"
#include "station.h"
#include "watch.h"

#define FIRST_ROUND_S	3u
#define ROUND_S		5u
#define LINE_S		10u
#define GATE_PATIENCE_S 120u

struct run {
	struct soak soak;
	struct watch first; /* before there were devices */
	struct watch warm;  /* after the first round */
	struct watch last;
	bool warmed_up;
	bool terminal;
	uint64_t begin;
	uint64_t next_line;
	pthread_t thread[SOAK_DEVICES_MAX + SOAK_STORMS + 2];
	unsigned threads;
	sigset_t signals; /* that end the run early, but in good order */
	int signal;	  /* which did, or 0 */
};

uint64_t soak_now(void)
{
	static const struct vblk_clock clock = { NULL, NULL };

	return vblk_clock_now(&clock);
}

void soak_sleep_us(uint32_t us)
{
	struct timespec time = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&time, NULL);
}

static uint64_t seconds_since(uint64_t begin)
{
	return (soak_now() - begin) / VBLK_NSEC_PER_SEC;
}

static void print_result(struct run *run)
{
	struct soak_counts *c = &run->soak.counts;
	const struct {
		const char *name;
		uint64_t value;
	} table[] = {
		{ "resets", soak_counted(&c->resets) },
		{ "pauses", soak_counted(&c->pauses) },
		{ "looks at a frozen machine", soak_counted(&c->freezes) },
		{ "devices made", soak_counted(&c->devices) },
		{ "requests", soak_counted(&c->requests) },
		{ "of them failed by the disk", soak_counted(&c->faults) },
		{ "taken by resets", soak_counted(&c->taken) },
		{ "MiB verified", soak_counted(&c->verified) >> 20 },
		{ "changes of limits", soak_counted(&c->limits) },
		{ "waits for tokens", soak_counted(&c->waits) },
		{ "storms", soak_counted(&c->storms) },
		{ "hanging workers given up", soak_counted(&c->detaches) },
		{ "descriptors as at first", run->last.descriptors },
		{ "threads as at first", run->last.threads },
		{ "KiB allocated", run->last.heap >> 10 },
		{ "MiB resident", run->last.resident >> 20 },
	};

	printf("ok soak: %" PRIu64 " s%s with %" PRIu32 " devices", seconds_since(run->begin),
	       run->signal ? ", ended by a signal before its time," : "",
	       run->soak.options.devices);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		printf(", %" PRIu64 " %s", table[i].value, table[i].name);
	putchar('\n');
}

/* On a terminal the same line over and over, elsewhere one now and then. */
static void show_progress(struct run *run)
{
	struct soak_counts *c = &run->soak.counts;

	if (run->soak.options.quiet || soak_now() < run->next_line)
		return;
	run->next_line += (run->terminal ? 1 : LINE_S) * VBLK_NSEC_PER_SEC;
	printf("%ssoak: %" PRIu64 " s, %" PRIu64 " resets, %" PRIu64 " pauses, %" PRIu64
	       " requests, %" PRIu64 " MiB verified%s",
	       run->terminal ? "\r" : "", seconds_since(run->begin), soak_counted(&c->resets),
	       soak_counted(&c->pauses), soak_counted(&c->requests),
	       soak_counted(&c->verified) >> 20, run->terminal ? "\033[K" : "\n");
	fflush(stdout);
}

static void start_thread(struct run *run, void *(*main)(void *), void *argument)
{
	if (pthread_create(&run->thread[run->threads], NULL, main, argument) != 0)
		soak_fail("no thread can be made");
	run->threads++;
}

/* All threads come to the gate, which is closed. */
static void start(struct run *run)
{
	struct soak *soak = &run->soak;
	const unsigned count = soak->options.devices;

	gate_init(&soak->gate, count + SOAK_STORMS + 2);
	if (vblk_eventfd_create(&soak->parked_fd) < 0)
		soak_fail("no descriptors are left");
	soak->station = calloc(count, sizeof(*soak->station));
	if (!soak->station)
		soak_fail("no memory");
	for (unsigned i = 0; i < count; i++)
		station_init(&soak->station[i], soak, i);
	for (unsigned i = 0; i < count; i++)
		start_thread(run, soak_driver, &soak->station[i]);
	start_thread(run, soak_controller, soak);
	start_thread(run, soak_meddler, soak);
	for (unsigned i = 0; i < SOAK_STORMS; i++)
		start_thread(run, soak_storm, soak);
}

/* Brings all threads to the gate; devices and their workers end on the way. */
static void gather(struct run *run)
{
	struct soak *soak = &run->soak;
	unsigned missing;

	gate_close(&soak->gate);
	for (unsigned i = 0; i < soak->options.devices; i++) {
		if (vblk_eventfd_signal(soak->station[i].wake_fd) < 0)
			soak_fail("a driver cannot be woken");
	}
	missing = gate_wait(&soak->gate, GATE_PATIENCE_S);
	if (missing > 0)
		soak_fail("%u threads are stuck", missing);
}

/* What is left when all devices are gone. */
static void inspect(struct run *run)
{
	struct soak *soak = &run->soak;

	soak_take_acks(soak);
	if (soak->received != atomic_load(&soak->promised))
		soak_fail("%" PRIu64 " pauses were promised, %" PRIu64 " acknowledged",
			  atomic_load(&soak->promised), soak->received);
	watch_take(&run->last);
	watch_expect_same(&run->first, &run->last);
	if (run->warmed_up)
		watch_expect_no_growth(&run->warm, &run->last);
	else
		watch_remember(&run->warm);
	run->warmed_up = true;
}

static bool is_over(const struct run *run)
{
	struct soak_counts *counts = (struct soak_counts *)&run->soak.counts;
	const struct soak_options *options = &run->soak.options;

	return seconds_since(run->begin) >= options->seconds &&
	       soak_counted(&counts->resets) >= options->cycles &&
	       soak_counted(&counts->pauses) >= options->cycles;
}

/* Lets the threads work for `seconds`. Returns false if the run shall end. */
static bool go_on(struct run *run, uint32_t seconds)
{
	const uint64_t end = soak_now() + seconds * VBLK_NSEC_PER_SEC;
	const struct timespec tick = { 0, 200000000 };

	gate_open(&run->soak.gate);
	while (soak_now() < end) {
		int signal = sigtimedwait(&run->signals, NULL, &tick);

		if (signal > 0)
			run->signal = signal;
		if (is_over(run) || run->signal)
			return false;
		show_progress(run);
	}
	return true;
}

static void work(struct run *run)
{
	bool more = true;

	gather(run);
	watch_take(&run->first);
	for (uint32_t seconds = FIRST_ROUND_S; more; seconds = ROUND_S) {
		more = go_on(run, seconds);
		gather(run);
		inspect(run);
	}
}

static void finish(struct run *run)
{
	struct soak *soak = &run->soak;

	atomic_store(&soak->stop, true);
	gate_open(&soak->gate);
	for (unsigned i = 0; i < run->threads; i++)
		pthread_join(run->thread[i], NULL);
	for (unsigned i = 0; i < soak->options.devices; i++)
		station_destroy(&soak->station[i]);
	free(soak->station);
	close(soak->parked_fd);
	gate_destroy(&soak->gate);
}

int main(int argc, char **argv)
{
	struct run *run = calloc(1, sizeof(*run));
	char repeat[128];
	int status;

	if (!run)
		return 1;
	watch_init();
	options_read(&run->soak.options, argc, argv);
	soak_fail_init(options_repeat(&run->soak.options, repeat, sizeof(repeat)));
	run->terminal = isatty(STDOUT_FILENO);
	run->begin = soak_now();
	run->next_line = run->begin + VBLK_NSEC_PER_SEC;
	sigemptyset(&run->signals);
	sigaddset(&run->signals, SIGINT);
	sigaddset(&run->signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &run->signals, NULL);
	if (!run->soak.options.quiet)
		printf("soak: %s\n", repeat);
	start(run);
	work(run);
	finish(run);
	if (run->terminal && !run->soak.options.quiet)
		putchar('\n');
	print_result(run);
	status = run->signal ? 128 + run->signal : 0;
	free(run);
	return status;
}
