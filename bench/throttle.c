/* SPDX-License-Identifier: MIT */
/*
 * What a limit really gives: throttle [--seconds N]
 *
 * For each line of the table a device with that limit, whose driver always has more to read than
 * it is given. All run at once, each on threads of its own; they hardly disturb each other, for
 * what a late thread was not given it gets later.
 *
 * A bucket is full at first and gives more than its rate until it is empty. So the time begins
 * only after a request had to wait: at the moment of an answer, and it ends at that of another.
 * What came after the first, up to and including the last, is what was given in between. From
 * answer to answer the rate does not depend on how requests divide the time.
 */
#include <vblk/vblk.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "driver.h"

#define BOUND_PERCENT	1.0
#define SECONDS_DEFAULT 10u
#define SECONDS_MAX	3600u
#define TURNS_PER_S	100u /* where there are more answers, several are taken at a time */

struct run {
	uint64_t iops;
	uint64_t bytes_per_s;
	uint32_t read_bytes;
	unsigned seconds;

	pthread_t thread;
	struct driver driver;
	double took;	 /* seconds */
	double measured; /* in the limit's unit, per second */
};

static const struct run table[] = {
	{ .iops = 100, .read_bytes = 4 << 10 },
	{ .iops = 1000, .read_bytes = 4 << 10 },
	{ .iops = 20000, .read_bytes = 4 << 10 },
	{ .bytes_per_s = 1000000, .read_bytes = 4 << 10 },
	{ .bytes_per_s = 1000000, .read_bytes = 1 << 20 }, /* more than the bucket holds */
	{ .bytes_per_s = 100000000, .read_bytes = 4 << 10 },
	{ .bytes_per_s = 100000000, .read_bytes = 1 << 20 },
	{ .bytes_per_s = 100000000, .read_bytes = 104 << 20 }, /* more than the bucket holds */
};

static double limit(const struct run *run)
{
	return (double)(run->iops ? run->iops : run->bytes_per_s);
}

/* What a request takes of the limit. */
static double price(const struct run *run)
{
	return run->iops ? 1.0 : (double)run->read_bytes;
}

static uint64_t now(void)
{
	static const struct vblk_clock clock = { NULL, NULL };

	return vblk_clock_now(&clock);
}

static void *measure(void *argument)
{
	struct run *run = argument;
	struct driver *driver = &run->driver;
	const struct vblk_throttle throttle = { .iops = run->iops, .bps = run->bytes_per_s };
	const unsigned batch = (unsigned)(limit(run) / price(run) / TURNS_PER_S);
	uint64_t begin, end, count = 0;

	driver_start(driver, &throttle, run->read_bytes);
	do {
		driver_turn(driver, batch);
	} while (driver_metrics(driver).throttled == 0);
	driver_turn(driver, batch); /* it may have answers from before the wait */
	begin = now();
	do {
		count += driver_turn(driver, batch);
		end = now();
	} while (end < begin + run->seconds * VBLK_NSEC_PER_SEC);
	driver_stop(driver);
	run->took = (double)(end - begin) / (double)VBLK_NSEC_PER_SEC;
	run->measured = (double)count * price(run) / run->took;
	return NULL;
}

static void print_limit(const struct run *run)
{
	if (run->iops)
		printf("%8" PRIu64 " IOPS", run->iops);
	else
		printf("%8" PRIu64 " MB/s", run->bytes_per_s / 1000000);
}

/* Prints the line of a run. Returns whether it is within the bound. */
static bool report(const struct run *run)
{
	const double unit = run->iops ? 1.0 : 1e6;
	const double error = (run->measured / limit(run) - 1.0) * 100.0;
	const bool fine = fabs(error) <= BOUND_PERCENT;

	print_limit(run);
	if (run->read_bytes >= 1 << 20)
		printf(" %6u MiB", (unsigned)(run->read_bytes >> 20));
	else
		printf(" %6u KiB", (unsigned)(run->read_bytes >> 10));
	printf(" %9.3f %12.4f %+9.4f  %s\n", run->took, run->measured / unit, error,
	       fine ? "ok" : "off");
	return fine;
}

static unsigned parse_seconds(const char *text)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < 1 || value > SECONDS_MAX) {
		fprintf(stderr, "throttle: --seconds '%s': give 1 to %u\n", text, SECONDS_MAX);
		exit(2);
	}
	return (unsigned)value;
}

static unsigned read_options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned seconds = SECONDS_DEFAULT;
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 's') {
			seconds = parse_seconds(optarg);
		} else if (option == 'h') {
			printf("throttle [--seconds N]: what limits really give, measured for N "
			       "seconds (%u)\n",
			       SECONDS_DEFAULT);
			exit(0);
		} else {
			exit(2);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "throttle: '%s': there are only options\n", argv[optind]);
		exit(2);
	}
	return seconds;
}

int main(int argc, char **argv)
{
	const unsigned seconds = read_options(argc, argv);
	static struct run runs[VBLK_ARRAY_SIZE(table)];
	bool fine = true;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(runs); i++) {
		runs[i] = table[i];
		runs[i].seconds = seconds;
		if (pthread_create(&runs[i].thread, NULL, measure, &runs[i]) != 0) {
			fputs("throttle: no thread can be made\n", stderr);
			return 1;
		}
	}
	puts("Limits, all at once; the time begins when the bucket, full at first, is empty");
	printf("%13s %10s %9s %12s %9s\n", "limit", "request", "seconds", "measured", "error %");
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(runs); i++) {
		pthread_join(runs[i].thread, NULL);
		fine = report(&runs[i]) && fine;
	}
	return fine ? 0 : 1;
}
