/* SPDX-License-Identifier: MIT */
#include "watch.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fail.h"
#include "soak.h"

#define PATIENCE_S 20u

/* Of the sanitizers, which replace malloc and know to the byte what is allocated. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

#define HEAP_SLACK_SANITIZED (4u << 10)

/* Malloc counts as given out what threads keep at hand for themselves, each up to so much. */
#define HEAP_SLACK_PER_THREAD (256u << 10)

/*
 * Against pages that nobody gives back. Beneath a sanitizer the resident set is mostly its own:
 * shadows, and memory that it keeps from being used again for a while.
 */
#define RESIDENT_SLACK		 (16u << 20)
#define RESIDENT_SLACK_SANITIZED (512u << 20)

static bool is_sanitized(void)
{
	return __sanitizer_get_current_allocated_bytes != NULL;
}

static unsigned count_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	unsigned count = 0;
	struct dirent *entry;

	if (!dir)
		soak_fail("%s cannot be read", folder);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static size_t heap_in_use(void)
{
	struct mallinfo2 info;

	if (is_sanitized())
		return __sanitizer_get_current_allocated_bytes();
	info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static size_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long total, pages;

	if (!file || fscanf(file, "%lu %lu", &total, &pages) != 2)
		soak_fail("/proc/self/statm cannot be read");
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

void watch_take(struct watch *watch)
{
	watch->descriptors = count_entries("/proc/self/fd");
	watch->threads = count_entries("/proc/self/task");
	watch->heap = heap_in_use();
	watch->resident = resident();
}

/* Appends what the descriptors are that are open now, the last ones first. */
static void describe_descriptors(char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int fd = 1023; fd > 2 && used + 40 < size; fd--) {
		char path[32], target[64];
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		used += (size_t)snprintf(text + used, size - used, " %d=%.30s", fd, target);
	}
}

void watch_expect_same(const struct watch *before, struct watch *now)
{
	const uint64_t end = soak_now() + PATIENCE_S * VBLK_NSEC_PER_SEC;
	char open[256];

	while (now->descriptors != before->descriptors || now->threads != before->threads) {
		if (soak_now() > end) {
			describe_descriptors(open, sizeof(open));
			soak_fail("descriptors: %u, %u at first; threads: %u, %u at first; open "
				  "are%s",
				  now->descriptors, before->descriptors, now->threads,
				  before->threads, open);
		}
		soak_sleep_us(1000);
		watch_take(now);
	}
}

void watch_expect_no_growth(const struct watch *before, const struct watch *now)
{
	const size_t heap_slack = is_sanitized() ? HEAP_SLACK_SANITIZED
						 : now->threads * (size_t)HEAP_SLACK_PER_THREAD;
	const size_t resident_slack = is_sanitized() ? RESIDENT_SLACK_SANITIZED : RESIDENT_SLACK;

	if (now->heap > before->heap + heap_slack)
		soak_fail("memory leaks: %zu bytes are allocated, %zu were after the first round",
			  now->heap, before->heap);
	if (now->resident > before->resident + resident_slack)
		soak_fail("memory leaks: %zu KiB are resident, %zu were after the first round",
			  now->resident >> 10, before->resident >> 10);
}
