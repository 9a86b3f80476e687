/* SPDX-License-Identifier: MIT */
/* Several processes that use the disk at once, each on its own processor and so its own queue. */
#include "guest.h"
#include "random.h"
#include "raw.h"
#include "workers.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_SECTORS (PAGE / SECTOR)
#define PASSES	      4u
#define QUEUES_MAX    64u
#define SETTLE_MS     2000 /* in which a bucket that was full is emptied */
#define NSEC_PER_SEC  UINT64_C(1000000000)

/* Queues that the kernel uses: it takes no more than it has processors. */
static unsigned int count_queues(const struct disk *disk)
{
	char path[64];
	struct dirent *entry;
	unsigned int count = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/sys/block/%s/mq", disk->name);
	folder = opendir(path);
	if (!folder)
		return 0;
	while ((entry = readdir(folder)))
		count += isdigit((unsigned char)entry->d_name[0]) ? 1 : 0;
	closedir(folder);
	return count;
}

bool check_queues(struct guest *guest, struct disk *disk, struct report *report)
{
	const unsigned int count = count_queues(disk);
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (guest->queues && count != guest->queues)
		return fail(report, "%u, expected %" PRIu64 " (on %ld processors)", count,
			    guest->queues, processors);
	return ok(report, "%u on %ld processors", count, processors);
}

/* Of the numbers that a text begins with. */
static uint64_t sum_of_numbers(const char *text)
{
	uint64_t sum = 0;

	for (;;) {
		char *end;
		const uint64_t number = strtoull(text, &end, 10);

		if (end == text)
			return sum;
		sum += number;
		text = end;
	}
}

/*
 * How often each queue has interrupted. Returns for how many queues the kernel tells: those that
 * share one interrupt are not told apart.
 */
static unsigned int queue_interrupts(uint64_t counts[QUEUES_MAX])
{
	FILE *file = fopen("/proc/interrupts", "re");
	char line[1024];
	unsigned int queues = 0;

	if (!file)
		return 0;
	while (queues < QUEUES_MAX && fgets(line, sizeof(line), file)) {
		const char *at = strchr(line, ':');

		if (!at || !strstr(line, "-req."))
			continue;
		counts[queues] = sum_of_numbers(at + 1);
		queues++;
	}
	fclose(file);
	return queues;
}

struct parallel {
	const char *path;
	uint64_t start, blocks;
	const unsigned char *data; /* of all blocks */
	unsigned int workers;
};

/* Every so many-th block is this worker's: neighbours are written by others at the same time. */
static bool write_and_read_own(unsigned int number, void *context, struct report *report)
{
	const struct parallel *all = context;
	const int fd = open(all->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	unsigned char *block = aligned_alloc(PAGE, PAGE);

	if (fd < 0 || !block)
		return fail_errno(report, all->path);
	for (unsigned int pass = 0; pass < PASSES; pass++) {
		for (uint64_t i = number; i < all->blocks; i += all->workers) {
			memcpy(block, all->data + i * PAGE, PAGE);
			if (pwrite(fd, block, PAGE, (off_t)(all->start + i * PAGE)) != PAGE)
				return fail(report, "write of block %" PRIu64 ": %s", i,
					    strerror(errno));
		}
		for (uint64_t i = number; i < all->blocks; i += all->workers) {
			memset(block, 0xa5, PAGE);
			if (pread(fd, block, PAGE, (off_t)(all->start + i * PAGE)) != PAGE ||
			    memcmp(block, all->data + i * PAGE, PAGE) != 0)
				return fail(report, "block %" PRIu64 " holds other bytes", i);
		}
	}
	return true;
}

bool check_raw_parallel(struct guest *guest, struct disk *disk, struct report *report)
{
	struct parallel all = { .path = disk->path, .workers = (unsigned int)guest->workers };
	struct workers workers;
	unsigned char *data;
	uint64_t before[QUEUES_MAX], after[QUEUES_MAX];
	unsigned int told;
	struct raw raw;

	if (!raw_open(guest, disk, O_RDONLY, &raw, report))
		return false;
	all.start = raw.start;
	all.blocks = raw_model_sectors(raw.model) / BLOCK_SECTORS;
	data = malloc(all.blocks * PAGE);
	if (!data)
		return fail_errno(report, "buffer");
	raw_model_write(raw.model, 0, all.blocks * BLOCK_SECTORS, data);
	raw_close(&raw);
	all.data = data;
	told = queue_interrupts(before);
	if (!workers_start(&workers, all.workers, write_and_read_own, &all, report) ||
	    !workers_join(&workers, report))
		return false;
	free(data);
	if (queue_interrupts(after) != told)
		return fail(report, "queues came or went");
	for (unsigned int i = 0; i < told; i++)
		if (after[i] == before[i])
			return fail(report, "queue %u of %u did not interrupt", i, told);
	return ok(report,
		  "%u workers, %" PRIu64
		  " blocks, %u times; %u queues have interrupts of their own",
		  all.workers, all.blocks, PASSES, told);
}

struct load {
	const char *path;
	uint64_t start, blocks, seed;
	atomic_bool stop;
	atomic_ullong reads;
};

static bool read_anywhere(unsigned int number, void *context, struct report *report)
{
	struct load *load = context;
	struct random random = random_stream(load->seed, number);
	const int fd = open(load->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unsigned char *block = aligned_alloc(PAGE, PAGE);

	if (fd < 0 || !block)
		return fail_errno(report, load->path);
	while (!atomic_load(&load->stop)) {
		const uint64_t at = load->start + random_below(&random, load->blocks) * PAGE;

		if (pread(fd, block, PAGE, (off_t)at) != PAGE)
			return fail(report, "read at %" PRIu64 ": %s", at, strerror(errno));
		atomic_fetch_add(&load->reads, 1);
	}
	return true;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* How many random reads a second there are, in hundredths, once a burst is over. */
bool check_raw_load(struct guest *guest, struct disk *disk, struct report *report)
{
	struct load *load = workers_memory(sizeof(*load));
	struct workers workers;
	uint64_t reads, took, rate;
	struct raw raw;

	if (!load)
		return fail_errno(report, "shared memory");
	if (!raw_open(guest, disk, O_RDONLY, &raw, report))
		return false;
	load->path = disk->path;
	load->seed = guest->seed;
	load->start = raw.start;
	load->blocks = raw_model_sectors(raw.model) / BLOCK_SECTORS;
	raw_close(&raw);
	if (!workers_start(&workers, (unsigned int)guest->workers, read_anywhere, load, report))
		return false;
	poll(NULL, 0, SETTLE_MS);
	took = now_ns();
	reads = atomic_load(&load->reads);
	poll(NULL, 0, (int)guest->seconds * 1000);
	reads = atomic_load(&load->reads) - reads;
	took = now_ns() - took;
	atomic_store(&load->stop, true);
	if (!workers_join(&workers, report))
		return false;
	rate = reads * 100 * NSEC_PER_SEC / took;
	return ok(report,
		  "%" PRIu64 ".%02" PRIu64 " a second: %" PRIu64 " reads of %u bytes in %" PRIu64
		  " ms by %" PRIu64 " workers",
		  rate / 100, rate % 100, reads, PAGE, took / 1000000, guest->workers);
}
