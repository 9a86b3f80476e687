/* SPDX-License-Identifier: MIT */
/*
 * What devices cost that have nothing to do: idle [--devices N] [--seconds N] [--json]
 *
 * Each device gets one request, so that all it needs is there, and is left alone. Wake-ups are
 * context switches of all threads but this one, which sleeps. Memory is what became resident since
 * before the first device: the library's own, and the touched part of the workers' stacks, for
 * what a guest and a disk would bring is there before.
 */
#include "station.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DISK_SIZE      (1u << 20)
#define DEVICES_MAX    10000u
#define SECONDS_MAX    3600u
#define FDS_PER_DEVICE 16u

struct settings {
	uint64_t devices;
	uint64_t seconds;
	bool json;
};

struct cost {
	uint64_t wakeups;
	uint64_t resident_bytes;
};

/* The number behind `key` in a file of /proc, 0 if there is none. */
static uint64_t read_number(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[256];
	uint64_t value = 0;

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			value += strtoull(line + strlen(key), NULL, 10);
	if (file)
		fclose(file);
	return value;
}

/* Context switches of all threads but this one. */
static uint64_t count_switches(void)
{
	DIR *tasks = opendir("/proc/self/task");
	uint64_t sum = 0;

	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		char path[300];

		if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == gettid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		sum += read_number(path, "voluntary_ctxt_switches:");
		sum += read_number(path, "nonvoluntary_ctxt_switches:");
	}
	if (!tasks)
		station_fail("/proc/self/task", -errno);
	closedir(tasks);
	return sum;
}

static uint64_t resident(void)
{
	return read_number("/proc/self/smaps_rollup", "Rss:") * 1024;
}

static void allow_descriptors(uint64_t devices)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		station_fail("getrlimit", -errno);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < devices * FDS_PER_DEVICE)
		station_fail("too few descriptors are allowed (ulimit -Hn)", 0);
}

static void sleep_for(uint64_t seconds)
{
	struct timespec left = { .tv_sec = (time_t)seconds };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static void measure(const struct settings *settings, struct cost *cost)
{
	const size_t each = station_memory_size(1);
	struct station *stations = calloc(settings->devices, sizeof(*stations));
	struct vblk_order order = { .blocks = 1, .read_percent = 100 };
	struct vblk_backing *backing;
	uint8_t *memory = mmap(NULL, each * settings->devices, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t before;

	if (!stations || memory == MAP_FAILED || vblk_backing_create_memory(DISK_SIZE, &backing))
		station_fail("no memory", 0);
	memset(stations, 1, settings->devices * sizeof(*stations));
	vblk_order_init(&order, 0);
	before = resident();
	for (uint64_t i = 0; i < settings->devices; i++) {
		station_start(&stations[i], backing, VBLK_ENGINE_WORKER, 1, memory + i * each);
		station_round(&stations[i], &order);
	}
	cost->resident_bytes = resident() - before;
	sleep_for(1); /* until the last worker has gone to sleep */
	before = count_switches();
	sleep_for(settings->seconds);
	cost->wakeups = count_switches() - before;
	for (uint64_t i = 0; i < settings->devices; i++)
		station_stop(&stations[i]);
	vblk_backing_unref(backing);
	munmap(memory, each * settings->devices);
	free(stations);
}

static void read_options(int argc, char **argv, struct settings *settings)
{
	static const struct option names[] = {
		{ "devices", required_argument, NULL, 'd' },
		{ "seconds", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'd')
			settings->devices = station_count("devices", DEVICES_MAX);
		else if (option == 's')
			settings->seconds = station_count("seconds", SECONDS_MAX);
		else if (option == 'j')
			settings->json = true;
		else
			exit(2);
	}
	if (optind < argc) {
		fprintf(stderr, "idle: '%s': there are only options\n", argv[optind]);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct settings settings = { .devices = 1000, .seconds = 10 };
	struct cost cost;

	read_options(argc, argv, &settings);
	allow_descriptors(settings.devices);
	measure(&settings, &cost);
	printf(settings.json ? "{\"devices\": %" PRIu64 ", \"seconds\": %" PRIu64
			       ", \"wakeups\": %" PRIu64 ", \"bytes_per_device\": %.0f}\n"
			     : "%" PRIu64 " idle devices: %" PRIu64 " s, %" PRIu64
			       " wake-ups, %.0f bytes each, stacks included\n",
	       settings.devices, settings.seconds, cost.wakeups,
	       (double)cost.resident_bytes / (double)settings.devices);
	return 0;
}
