/* SPDX-License-Identifier: MIT */
#include "watch.h"

#include <dirent.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fail.h"
#include "soak.h"

#define PATIENCE_S 20u

/* Of the sanitizers, which replace malloc and know to the byte what is allocated. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
extern size_t __sanitizer_get_allocated_size(const volatile void *p) __attribute__((weak));
extern int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void *p,
									 size_t size),
						     void (*free_hook)(const volatile void *p))
	__attribute__((weak));

#define HEAP_SLACK_SANITIZED (4u << 10)

/* Malloc counts as given out what threads keep at hand for themselves, each up to so much. */
#define HEAP_SLACK_PER_THREAD (256u << 10)

/*
 * Against pages that nobody gives back. Beneath a sanitizer the resident set is mostly its own:
 * shadows, and memory that it keeps from being used again for a while.
 */
#define RESIDENT_SLACK		 (16u << 20)
#define RESIDENT_SLACK_SANITIZED (512u << 20)

/* How many pieces of each size are in use, beneath a sanitizer; large ones are in the last. */
#define SIZES 65536u

static atomic_int in_use[SIZES];
static int remembered[SIZES];

static bool is_sanitized(void)
{
	return __sanitizer_get_current_allocated_bytes != NULL;
}

static void count_piece(size_t size, int n)
{
	size_t at = size < SIZES ? size : SIZES - 1;

	atomic_fetch_add_explicit(&in_use[at], n, memory_order_relaxed);
}

static void on_malloc(const volatile void *p, size_t size)
{
	(void)p;
	count_piece(size, 1);
}

static void on_free(const volatile void *p)
{
	if (p)
		count_piece(__sanitizer_get_allocated_size(p), -1);
}

void watch_init(void)
{
	if (is_sanitized() && !__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free))
		soak_fail("the sanitizer does not tell what is allocated");
}

/* Appends of which sizes there are more pieces than were remembered. */
static void describe_growth(char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < SIZES && used + 40 < size; i++) {
		int more = atomic_load(&in_use[i]) - remembered[i];

		if (more > 0)
			used += (size_t)snprintf(text + used, size - used, ", %d of %zu bytes%s",
						 more, i, i == SIZES - 1 ? " or more" : "");
	}
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

void watch_remember(struct watch *before)
{
	watch_take(before);
	for (size_t i = 0; i < SIZES; i++)
		remembered[i] = atomic_load(&in_use[i]);
}

static bool has_grown(size_t before, size_t now, size_t slack)
{
	return now > before + slack;
}

void watch_expect_no_growth(const struct watch *before, struct watch *now)
{
	const size_t heap_slack = is_sanitized() ? HEAP_SLACK_SANITIZED
						 : now->threads * (size_t)HEAP_SLACK_PER_THREAD;
	const size_t resident_slack = is_sanitized() ? RESIDENT_SLACK_SANITIZED : RESIDENT_SLACK;
	const uint64_t end = soak_now() + PATIENCE_S * VBLK_NSEC_PER_SEC;
	char growth[512];

	while (has_grown(before->heap, now->heap, heap_slack) && soak_now() < end) {
		soak_sleep_us(1000);
		watch_take(now);
	}
	if (has_grown(before->heap, now->heap, heap_slack)) {
		describe_growth(growth, sizeof(growth));
		soak_fail("memory leaks: %zu bytes are allocated, %zu were after the first round%s",
			  now->heap, before->heap, growth);
	}
	if (has_grown(before->resident, now->resident, resident_slack))
		soak_fail("memory leaks: %zu KiB are resident, %zu were after the first round",
			  now->resident >> 10, before->resident >> 10);
}
