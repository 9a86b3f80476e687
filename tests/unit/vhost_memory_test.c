/* SPDX-License-Identifier: MIT */
/*
 * Guest memory that came as files: what cannot be memory, tables that change while somebody still
 * uses the former, files that are cut short, and that all of it is unmapped in the end.
 */
#include "vhost/guest_memory.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "base/sigbus.h"

#define PAGE   4096u
#define LENGTH (4 * PAGE)
#define GUEST  0x100000ull
#define USER   0x700000000000ull
#define HUGE   (2u << 20)

struct scene {
	struct vblk_vhost_guest_memory memory;
	struct vblk_vhost_account *account;
	int event_fd;
	int file; /* LENGTH bytes, the first of each page its number and 0x10 */
	size_t fds;
	const char *reason;
};

/* Pages mapped of the test's files. Not mappings: the kernel joins those that fit each other. */
static unsigned count_pages(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	unsigned count = 0;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "memfd:shared"))
			continue;
		assert_int_equal(sscanf(line, "%lx-%lx", &start, &end), 2);
		count += (unsigned)((end - start) / PAGE);
	}
	fclose(maps);
	return count;
}

static int make_file(unsigned flags, size_t length)
{
	int fd = memfd_create("shared", MFD_CLOEXEC | flags);

	if (fd >= 0)
		assert_int_equal(ftruncate(fd, (off_t)length), 0);
	return fd;
}

static void begin(struct scene *scene)
{
	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	assert_int_equal(vblk_sigbus_install(), 0);
	assert_int_equal(vblk_eventfd_create(&scene->event_fd), 0);
	scene->file = make_file(0, LENGTH);
	for (uint8_t i = 0; i < 4; i++)
		assert_int_equal(pwrite(scene->file, &(uint8_t){ 0x10 + i }, 1, i * PAGE), 1);
	assert_int_equal(vblk_vhost_account_create(scene->event_fd, &scene->account), 0);
	vblk_vhost_guest_memory_init(&scene->memory, scene->account);
}

static void end(struct scene *scene)
{
	vblk_vhost_guest_memory_clear(&scene->memory);
	vblk_vhost_account_unref(scene->account);
	assert_int_equal(count_pages(), 0);
	close(scene->file);
	close(scene->event_fd);
	assert_int_equal(process_fds(), scene->fds);
}

/* Pages `first` to `first` + `count` of the file, at the place of that number. */
static struct vblk_vhost_region region_of(uint64_t first, uint64_t count)
{
	return (struct vblk_vhost_region){
		.guest = GUEST + first * PAGE,
		.size = count * PAGE,
		.user = USER + first * PAGE,
		.offset = first * PAGE,
	};
}

static int set(struct scene *scene, const struct vblk_vhost_region *regions, unsigned count)
{
	struct vblk_vhost_memory table = { .count = count };
	int fds[VBLK_VHOST_TABLE_MAX];

	for (unsigned i = 0; i < count; i++) {
		table.region[i] = regions[i];
		fds[i] = scene->file;
	}
	return vblk_vhost_guest_memory_set(&scene->memory, &table, fds, &scene->reason);
}

static int add(struct scene *scene, struct vblk_vhost_region region, int fd)
{
	return vblk_vhost_guest_memory_add(&scene->memory, &region, fd, &scene->reason);
}

static uint8_t read_byte(struct vblk_memory *map, uint64_t guest)
{
	struct vblk_memory_view view;
	uint8_t byte = 0xff;

	vblk_memory_view_init(&view, map);
	assert_int_equal(vblk_memory_copy_in(&view, &byte, guest, 1), 0);
	return byte;
}

static bool is_mapped(struct vblk_memory *map, uint64_t guest)
{
	struct vblk_memory_view view;
	uint8_t byte;

	vblk_memory_view_init(&view, map);
	return vblk_memory_copy_in(&view, &byte, guest, 1) == 0;
}

static void test_region_is_where_its_file_is(void **state)
{
	const struct vblk_vhost_region region = { GUEST, 2 * PAGE - 32, USER, PAGE + 16 };
	struct scene scene;
	uint8_t byte = 0x99;

	(void)state;
	begin(&scene);
	assert_int_equal(add(&scene, region, scene.file), 0);
	assert_null(scene.reason);
	assert_int_equal(read_byte(scene.memory.map, GUEST + PAGE - 16), 0x12);
	assert_int_equal(pwrite(scene.file, &byte, 1, PAGE + 16), 1);
	assert_int_equal(read_byte(scene.memory.map, GUEST), 0x99);
	assert_false(is_mapped(scene.memory.map, GUEST + region.size));
	assert_false(is_mapped(scene.memory.map, GUEST - 1));
	end(&scene);
}

static void test_file_that_is_too_short_is_refused(void **state)
{
	struct vblk_vhost_region region = region_of(0, 5);
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(add(&scene, region, scene.file), -EINVAL);
	assert_non_null(strstr(scene.reason, "shorter"));
	region = region_of(0, 1);
	region.offset = LENGTH;
	assert_int_equal(add(&scene, region, scene.file), -EINVAL);
	assert_int_equal(scene.memory.regions.count, 0);
	assert_int_equal(scene.memory.regions.total, 0);
	assert_int_equal(count_pages(), 0);
	end(&scene);
}

static void test_what_is_no_file_is_refused(void **state)
{
	struct scene scene;
	int pipes[2], null = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	begin(&scene);
	assert_int_equal(add(&scene, region_of(0, 1), pipes[0]), -EINVAL);
	assert_non_null(strstr(scene.reason, "no regular file"));
	assert_int_equal(add(&scene, region_of(0, 1), null), -EINVAL);
	assert_int_equal(add(&scene, region_of(0, 1), folder), -EINVAL);
	assert_int_equal(add(&scene, region_of(0, 1), scene.event_fd), -EINVAL);
	assert_int_equal(add(&scene, region_of(0, 1), -1), -EBADF);
	end(&scene);
	close(pipes[0]);
	close(pipes[1]);
	close(null);
	close(folder);
}

static void test_file_that_cannot_be_written_is_refused(void **state)
{
	struct scene scene;
	char path[64];
	int fd;

	(void)state;
	begin(&scene);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", scene.file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(add(&scene, region_of(0, 1), fd), -EACCES);
	assert_non_null(strstr(scene.reason, "cannot be mapped"));
	close(fd);
	end(&scene);
}

static void test_region_that_overlaps_is_refused(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(add(&scene, region_of(0, 2), scene.file), 0);
	assert_int_equal(add(&scene, region_of(1, 2), scene.file), -EEXIST);
	assert_int_equal(add(&scene, region_of(2, 0), scene.file), -EINVAL);
	assert_int_equal(count_pages(), 2);
	assert_int_equal(read_byte(scene.memory.map, GUEST + PAGE), 0x11);
	end(&scene);
}

static void test_table_that_fails_leaves_the_former(void **state)
{
	const struct vblk_vhost_region good[] = { region_of(0, 2) };
	const struct vblk_vhost_region bad[] = { region_of(0, 1), region_of(1, 1),
						 region_of(2, 9) };
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(set(&scene, good, 1), 0);
	assert_int_equal(set(&scene, bad, 3), -EINVAL);
	assert_int_equal(scene.memory.regions.count, 1);
	assert_int_equal(count_pages(), 2);
	assert_int_equal(read_byte(scene.memory.map, GUEST + PAGE), 0x11);
	end(&scene);
}

static void test_no_memory_at_all_is_no_map(void **state)
{
	const struct vblk_vhost_region one[] = { region_of(0, 2) };
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(set(&scene, one, 1), 0);
	assert_int_equal(set(&scene, NULL, 0), 0);
	assert_null(scene.memory.map);
	assert_int_equal(count_pages(), 0);
	assert_int_equal(add(&scene, one[0], scene.file), 0);
	assert_int_equal(vblk_vhost_guest_memory_remove(&scene.memory, &one[0], &scene.reason), 0);
	assert_null(scene.memory.map);
	assert_int_equal(vblk_vhost_guest_memory_remove(&scene.memory, &one[0], &scene.reason),
			 -ENOENT);
	end(&scene);
}

static void test_former_map_stays_while_it_is_used(void **state)
{
	const struct vblk_vhost_region first[] = { region_of(0, 2) },
				       second[] = { region_of(2, 2) };
	struct vblk_memory *held;
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(set(&scene, first, 1), 0);
	held = vblk_memory_ref(scene.memory.map);
	assert_int_equal(set(&scene, second, 1), 0);
	assert_int_equal(read_byte(held, GUEST + PAGE), 0x11);
	assert_false(is_mapped(scene.memory.map, GUEST));
	assert_int_equal(count_pages(), 4);
	vblk_vhost_guest_memory_clear(&scene.memory);
	assert_int_equal(read_byte(held, GUEST), 0x10);
	vblk_memory_unref(held);
	end(&scene);
}

static void test_regions_that_stay_are_not_mapped_again(void **state)
{
	const struct vblk_vhost_region gone = region_of(1, 1);
	struct vblk_memory *held;
	struct scene scene;

	(void)state;
	begin(&scene);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(add(&scene, region_of(i, 1), scene.file), 0);
	held = vblk_memory_ref(scene.memory.map);
	assert_int_equal(vblk_vhost_guest_memory_remove(&scene.memory, &gone, &scene.reason), 0);
	assert_false(is_mapped(scene.memory.map, GUEST + PAGE));
	assert_int_equal(read_byte(scene.memory.map, GUEST + 2 * PAGE), 0x12);
	assert_int_equal(read_byte(held, GUEST + PAGE), 0x11);
	assert_int_equal(add(&scene, region_of(3, 1), scene.file), 0);
	assert_int_equal(read_byte(scene.memory.map, GUEST + 3 * PAGE), 0x13);
	/* Slots have moved down; each region still has its own mapping. */
	assert_int_equal(*(uint8_t *)vblk_vhost_mapping_at(scene.memory.mapping[2]), 0x13);
	vblk_memory_unref(held);
	end(&scene);
}

static void test_page_that_is_cut_off_reads_as_zeros_and_is_told(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(add(&scene, region_of(0, 4), scene.file), 0);
	assert_int_equal(read_byte(scene.memory.map, GUEST), 0x10);
	assert_false(vblk_vhost_guest_memory_has_failed(&scene.memory));
	assert_int_equal(ftruncate(scene.file, PAGE), 0);
	assert_int_equal(vblk_eventfd_clear(scene.event_fd), 0);
	assert_int_equal(read_byte(scene.memory.map, GUEST + 2 * PAGE), 0);
	assert_int_equal(vblk_eventfd_clear(scene.event_fd), 1);
	assert_true(vblk_vhost_guest_memory_has_failed(&scene.memory));
	assert_true(vblk_vhost_map_has_failed(scene.memory.map));
	/* What is there is what it was. */
	assert_int_equal(read_byte(scene.memory.map, GUEST), 0x10);
	assert_int_equal(vblk_eventfd_clear(scene.event_fd), 0);
	end(&scene);
}

static void test_former_table_that_is_cut_short_is_not_told(void **state)
{
	struct vblk_memory *held;
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(add(&scene, region_of(0, 4), scene.file), 0);
	held = vblk_memory_ref(scene.memory.map);
	vblk_vhost_guest_memory_clear(&scene.memory);
	assert_int_equal(ftruncate(scene.file, 0), 0);
	assert_int_equal(read_byte(held, GUEST), 0);
	assert_int_equal(vblk_eventfd_clear(scene.event_fd), 0);
	assert_false(vblk_vhost_guest_memory_has_failed(&scene.memory));
	assert_true(vblk_vhost_map_has_failed(held));
	vblk_memory_unref(held);
	end(&scene);
}

static void test_mapping_begins_where_it_should(void **state)
{
	struct vblk_vhost_mapping_ref *mapping, *other;
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(vblk_vhost_mapping_create(scene.file, PAGE + 64, LENGTH, scene.account,
						   &mapping, &scene.reason),
			 -EINVAL);
	assert_int_equal(vblk_vhost_mapping_create(scene.file, 2 * PAGE - 64, 128, scene.account,
						   &mapping, &scene.reason),
			 0);
	assert_int_equal(((uint8_t *)vblk_vhost_mapping_at(mapping))[64], 0x12);
	other = vblk_vhost_mapping_ref(mapping);
	vblk_vhost_mapping_drop(mapping);
	assert_int_equal(count_pages(), 2);
	assert_false(vblk_vhost_mapping_has_failed(other));
	vblk_vhost_mapping_unref(other);
	vblk_vhost_mapping_drop(NULL);
	end(&scene);
}

/* Maps the file's first page, again and again, until there is no more room. */
static unsigned map_all(struct scene *scene, struct vblk_vhost_account *account,
			struct vblk_vhost_mapping_ref **mapping, int want)
{
	unsigned count = 0;
	int ret = 0;

	while (ret == 0) {
		assert_in_range(count, 0, VBLK_VHOST_MAPPINGS_MAX);
		ret = vblk_vhost_mapping_create(scene->file, 0, PAGE, account, &mapping[count],
						&scene->reason);
		count += ret == 0;
	}
	assert_int_equal(ret, want);
	return count;
}

static void test_account_has_an_end_and_others_go_on(void **state)
{
	static struct vblk_vhost_mapping_ref *mapping[VBLK_VHOST_MAPPINGS_MAX + 1];
	struct vblk_vhost_mapping_ref *one;
	struct vblk_vhost_account *other;
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(vblk_vhost_account_create(-1, &other), 0);
	assert_int_equal(map_all(&scene, scene.account, mapping, -ENOSPC), VBLK_VHOST_MAPPINGS_MAX);
	assert_non_null(strstr(scene.reason, "front ends of this disk"));
	assert_int_equal(add(&scene, region_of(0, 1), scene.file), -ENOSPC);
	assert_int_equal(count_pages(), VBLK_VHOST_MAPPINGS_MAX);
	assert_int_equal(vblk_vhost_mapping_create(scene.file, 0, PAGE, other, &one, &scene.reason),
			 0);
	vblk_vhost_mapping_drop(one);
	vblk_vhost_account_unref(other);
	/* What is given back can be had again. */
	vblk_vhost_mapping_drop(mapping[0]);
	assert_int_equal(add(&scene, region_of(0, 1), scene.file), 0);
	assert_int_equal(add(&scene, region_of(1, 1), scene.file), -ENOSPC);
	for (unsigned i = 1; i < VBLK_VHOST_MAPPINGS_MAX; i++)
		vblk_vhost_mapping_drop(mapping[i]);
	end(&scene);
}

/* A worker that was given up keeps its mappings longer than anybody the account. */
static void test_mapping_keeps_its_account(void **state)
{
	struct vblk_vhost_mapping_ref *mapping;
	struct vblk_vhost_account *account;
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(vblk_vhost_account_create(-1, &account), 0);
	assert_int_equal(
		vblk_vhost_mapping_create(scene.file, 0, PAGE, account, &mapping, &scene.reason),
		0);
	vblk_vhost_account_unref(account);
	vblk_vhost_mapping_drop(mapping);
	vblk_vhost_account_unref(NULL);
	end(&scene);
}

static void test_files_that_cannot_be_had_are_charged_to_nobody(void **state)
{
	static struct vblk_vhost_mapping_ref *mapping[VBLK_VHOST_MAPPINGS_MAX + 1];
	struct scene scene;
	char path[64];
	unsigned count;
	int fd;

	(void)state;
	begin(&scene);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", scene.file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(add(&scene, region_of(0, 5), scene.file), -EINVAL);
		assert_int_equal(add(&scene, region_of(0, 1), fd), -EACCES);
	}
	close(fd);
	count = map_all(&scene, scene.account, mapping, -ENOSPC);
	assert_int_equal(count, VBLK_VHOST_MAPPINGS_MAX);
	while (count > 0)
		vblk_vhost_mapping_drop(mapping[--count]);
	end(&scene);
}

/* A mapping of huge pages begins and ends with one, wherever its region lies. */
static void test_region_in_huge_pages(void **state)
{
	const struct vblk_vhost_region region = { GUEST, PAGE, USER, HUGE - PAGE };
	struct scene scene;
	int fd = make_file(MFD_HUGETLB | 21u << MAP_HUGE_SHIFT, 2 * HUGE);
	void *probe;

	(void)state;
	if (fd < 0)
		skip();
	probe = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (probe == MAP_FAILED) {
		close(fd);
		print_message("no huge pages are reserved\n");
		skip();
	}
	memset(probe, 0x42, HUGE);
	munmap(probe, HUGE);
	begin(&scene);
	assert_int_equal(add(&scene, region, fd), 0);
	assert_int_equal(read_byte(scene.memory.map, GUEST), 0x42);
	vblk_vhost_guest_memory_clear(&scene.memory);
	end(&scene);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_region_is_where_its_file_is),
		cmocka_unit_test(test_file_that_is_too_short_is_refused),
		cmocka_unit_test(test_what_is_no_file_is_refused),
		cmocka_unit_test(test_file_that_cannot_be_written_is_refused),
		cmocka_unit_test(test_region_that_overlaps_is_refused),
		cmocka_unit_test(test_table_that_fails_leaves_the_former),
		cmocka_unit_test(test_no_memory_at_all_is_no_map),
		cmocka_unit_test(test_former_map_stays_while_it_is_used),
		cmocka_unit_test(test_regions_that_stay_are_not_mapped_again),
		cmocka_unit_test(test_page_that_is_cut_off_reads_as_zeros_and_is_told),
		cmocka_unit_test(test_former_table_that_is_cut_short_is_not_told),
		cmocka_unit_test(test_mapping_begins_where_it_should),
		cmocka_unit_test(test_account_has_an_end_and_others_go_on),
		cmocka_unit_test(test_mapping_keeps_its_account),
		cmocka_unit_test(test_files_that_cannot_be_had_are_charged_to_nobody),
		cmocka_unit_test(test_region_in_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
