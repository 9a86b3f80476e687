/* SPDX-License-Identifier: MIT */
/*
 * Whether queues get into each other's way: scaling [--queues N] [--rounds N] [--ms N] [--json]
 *
 * A queue is driven and served by one thread on a processor of its own, by the inline engine, with
 * random 4 KiB reads of a disk in memory, 32 at a time. A device with the inline engine belongs to
 * one thread, so each queue is that of a device; they share the backing, which is what queues of
 * one device would share on the way of a request.
 *
 * One queue and all queues take turns. The rate is the requests per second of processor time,
 * summed over the queues: that is what they do where each has its processor to itself, whatever
 * else runs on this machine. The rate per second of real time is told, too.
 */
#include "station.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"

#define DEPTH	     32u
#define DISK_SIZE    (512ull << 20)
#define QUEUES_MAX   64u
#define ROUNDS_MAX   1000u
#define MS_MAX	     60000u
#define CLOCK_ROUNDS 16u /* rounds of requests between two looks at the clock */

struct settings {
	uint64_t queues;
	uint64_t rounds;
	uint64_t ms;
	bool json;
};

struct lane {
	struct station station;
	struct vblk_order order;
	cpu_set_t processor;
	pthread_t thread;
	pthread_barrier_t *start;
	uint64_t ns;  /* how long to run */
	double rate;  /* per second of processor time */
	double speed; /* per second */
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void *run_lane(void *argument)
{
	struct lane *lane = argument;
	uint64_t start, time, cpu, done = 0;

	if (pthread_setaffinity_np(pthread_self(), sizeof(lane->processor), &lane->processor))
		station_fail("a thread cannot be bound to its processor", 0);
	pthread_barrier_wait(lane->start);
	start = read_clock(CLOCK_MONOTONIC);
	cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
	do {
		for (unsigned i = 0; i < CLOCK_ROUNDS; i++)
			station_round(&lane->station, &lane->order);
		done += (uint64_t)CLOCK_ROUNDS * DEPTH;
		time = read_clock(CLOCK_MONOTONIC) - start;
	} while (time < lane->ns);
	cpu = read_clock(CLOCK_THREAD_CPUTIME_ID) - cpu;
	lane->rate = (double)done * 1e9 / (double)cpu;
	lane->speed = (double)done * 1e9 / (double)time;
	return NULL;
}

static void run_lanes(struct lane *lanes, uint64_t count, double *rate, double *speed)
{
	pthread_barrier_t start;

	if (pthread_barrier_init(&start, NULL, (unsigned)count))
		station_fail("no barrier can be made", 0);
	for (uint64_t i = 0; i < count; i++) {
		lanes[i].start = &start;
		if (pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]))
			station_fail("no thread can be made", 0);
	}
	*rate = *speed = 0;
	for (uint64_t i = 0; i < count; i++) {
		pthread_join(lanes[i].thread, NULL);
		*rate += lanes[i].rate;
		*speed += lanes[i].speed;
	}
	pthread_barrier_destroy(&start);
}

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, uint64_t count)
{
	qsort(values, count, sizeof(*values), by_size);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static void set_up(struct lane *lanes, const struct settings *settings,
		   struct vblk_backing *backing, uint8_t *memory)
{
	cpu_set_t allowed;
	size_t processor = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		station_fail("sched_getaffinity", -errno);
	if ((uint64_t)CPU_COUNT(&allowed) < settings->queues)
		station_fail("there are fewer processors than queues", 0);
	for (uint64_t i = 0; i < settings->queues; i++) {
		struct lane *lane = &lanes[i];

		while (!CPU_ISSET(processor, &allowed))
			processor++;
		CPU_ZERO(&lane->processor);
		CPU_SET(processor, &lane->processor);
		processor++;
		lane->ns = settings->ms * VBLK_NSEC_PER_MSEC;
		lane->order = (struct vblk_order){ .blocks = DISK_SIZE / STATION_BLOCK,
						   .random = true,
						   .read_percent = 100 };
		vblk_order_init(&lane->order, i);
		station_start(&lane->station, backing, VBLK_ENGINE_INLINE, DEPTH,
			      memory + i * station_memory_size(DEPTH));
	}
}

static void measure(const struct settings *settings)
{
	const size_t size = station_memory_size(DEPTH) * settings->queues;
	double *ratios = calloc(2 * settings->rounds, sizeof(*ratios));
	double *speedups = ratios + settings->rounds;
	struct lane *lanes = calloc(settings->queues, sizeof(*lanes));
	struct vblk_backing *backing;
	uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (!ratios || !lanes || memory == MAP_FAILED ||
	    vblk_backing_create_memory(DISK_SIZE, &backing))
		station_fail("no memory", 0);
	set_up(lanes, settings, backing, memory);
	for (uint64_t i = 0; i < settings->rounds; i++) {
		double rate, speed, one_rate, one_speed;

		run_lanes(lanes, 1, &one_rate, &one_speed);
		run_lanes(lanes, settings->queues, &rate, &speed);
		ratios[i] = rate / one_rate;
		speedups[i] = speed / one_speed;
	}
	printf(settings->json ? "{\"queues\": %" PRIu64 ", \"rounds\": %" PRIu64
				", \"ratio\": %.4f, \"ratio_real_time\": %.4f}\n"
			      : "%" PRIu64 " queues against one, %" PRIu64
				" rounds: %.2f times as much (real time: %.2f)\n",
	       settings->queues, settings->rounds, median(ratios, settings->rounds),
	       median(speedups, settings->rounds));
	for (uint64_t i = 0; i < settings->queues; i++)
		station_stop(&lanes[i].station);
	vblk_backing_unref(backing);
	munmap(memory, size);
	free(lanes);
	free(ratios);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "queues", required_argument, NULL, 'q' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "ms", required_argument, NULL, 'm' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct settings settings = { .queues = 2, .rounds = 5, .ms = 500 };
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'q')
			settings.queues = station_count("queues", QUEUES_MAX);
		else if (option == 'r')
			settings.rounds = station_count("rounds", ROUNDS_MAX);
		else if (option == 'm')
			settings.ms = station_count("ms", MS_MAX);
		else if (option == 'j')
			settings.json = true;
		else
			return 2;
	}
	if (optind < argc) {
		fprintf(stderr, "scaling: '%s': there are only options\n", argv[optind]);
		return 2;
	}
	measure(&settings);
	return 0;
}
