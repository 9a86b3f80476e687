/* SPDX-License-Identifier: MIT */
/* Bringing the disks of a guest to rest, and what is said about it. */
#include "cmd/rest.h"

#include "backing/faulty.h"
#include "mock_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define SECTOR	    VBLK_SECTOR_SIZE
#define LONG_ENOUGH 10000u /* ms */

/* What is written to standard error, until heard(). */
struct ear {
	int own;
	int memory;
	char text[512];
};

static void listen_to_stderr(struct ear *ear)
{
	ear->own = dup(STDERR_FILENO);
	ear->memory = memfd_create("stderr", 0);
	assert_true(ear->own >= 0 && ear->memory >= 0);
	assert_int_equal(dup2(ear->memory, STDERR_FILENO), STDERR_FILENO);
}

static const char *heard(struct ear *ear)
{
	ssize_t got;

	fflush(stderr);
	assert_int_equal(dup2(ear->own, STDERR_FILENO), STDERR_FILENO);
	got = pread(ear->memory, ear->text, sizeof(ear->text) - 1, 0);
	assert_true(got >= 0);
	ear->text[got] = '\0';
	close(ear->memory);
	close(ear->own);
	return ear->text;
}

/* Checks "vblk t: disk 0 at rest after N us" for the disks 0 to count - 1. */
static void assert_all_at_rest(const char *text, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int disk = 99;
		unsigned long long us;
		int length = 0;

		assert_int_equal(sscanf(text, "vblk t: disk %u at rest after %llu us%n", &disk, &us,
					&length),
				 2);
		assert_int_equal(disk, i);
		assert_true(length > 0 && text[length] == '\n');
		assert_true(us < LONG_ENOUGH * 1000ull);
		text += length + 1;
	}
	assert_string_equal(text, "");
}

static void disks_that_nobody_uses_are_at_rest(void **state)
{
	struct vblk_device *devices[2];
	struct guest g[2];
	struct ear ear;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		guest_create_filled(&g[i], NULL, SECTOR, 0);
		devices[i] = g[i].device;
	}
	listen_to_stderr(&ear);
	cmd_rest_begin("t", devices, 2, 0);
	assert_all_at_rest(heard(&ear), 2);
	listen_to_stderr(&ear);
	cmd_rest_end("t", devices, 2);
	assert_string_equal(heard(&ear), "vblk t: disk 0 goes on\nvblk t: disk 1 goes on\n");
	for (unsigned int i = 0; i < 2; i++)
		guest_destroy(&g[i]);
}

/* Twice is as good as once, and what was asked for meanwhile is served in the end. */
static void disks_in_use_rest_until_the_end(void **state)
{
	struct guest g;
	struct ear ear;

	(void)state;
	guest_create_filled(&g, NULL, SECTOR, 0xab);
	guest_start(&g);
	for (unsigned int i = 0; i < 2; i++) {
		listen_to_stderr(&ear);
		cmd_rest_begin("t", &g.device, 1, LONG_ENOUGH);
		assert_all_at_rest(heard(&ear), 1);
		assert_true(vblk_device_is_paused(g.device));
	}
	guest_request(&g, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&g);
	assert_true(vblk_device_is_paused(g.device));
	assert_int_equal(guest_used_idx(&g), 0);

	listen_to_stderr(&ear);
	cmd_rest_end("t", &g.device, 1);
	assert_string_equal(heard(&ear), "vblk t: disk 0 goes on\n");
	assert_true(guest_wait_used(&g, 1));
	assert_int_equal(guest_status_byte(&g), VIRTIO_BLK_S_OK);
	guest_destroy(&g);
}

/* The one that hangs does not keep the other from its rest, and rests when it can. */
static void a_disk_that_hangs_is_named(void **state)
{
	static const struct vblk_faulty_rule rule = { .op = VBLK_FAULTY_PREADV,
						      .action = VBLK_FAULTY_HANG };
	struct vblk_backing *memory, *faulty;
	struct vblk_device *devices[2];
	struct guest hanging, idle;
	struct ear ear;
	const char *text;

	(void)state;
	assert_int_equal(vblk_backing_create_memory(SECTOR, &memory), 0);
	assert_int_equal(vblk_faulty_create(memory, &rule, 1, NULL, &faulty), 0);
	vblk_backing_unref(memory);
	guest_create(&hanging, NULL, faulty);
	guest_create_filled(&idle, NULL, SECTOR, 0);
	devices[0] = hanging.device;
	devices[1] = idle.device;
	guest_start(&hanging);
	guest_request(&hanging, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(&hanging);
	vblk_faulty_wait_hanging(faulty, 1);

	listen_to_stderr(&ear);
	cmd_rest_begin("t", devices, 2, 1);
	text = heard(&ear);
	assert_ptr_equal(strstr(text, "vblk t: disk 1 at rest after "), text);
	text = strchr(text, '\n');
	assert_non_null(text);
	assert_string_equal(text + 1, "vblk t: disk 0 is not at rest after 1 ms: a call to its "
				      "file has not returned\n");

	vblk_faulty_release(faulty);
	assert_int_equal(vblk_device_wait_paused(hanging.device, LONG_ENOUGH), 0);
	guest_destroy(&hanging);
	guest_destroy(&idle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disks_that_nobody_uses_are_at_rest),
		cmocka_unit_test(disks_in_use_rest_until_the_end),
		cmocka_unit_test(a_disk_that_hangs_is_named),
	};

	return cmocka_run_group_tests_name("cmd_rest", tests, NULL, NULL);
}
