/* SPDX-License-Identifier: MIT */
/* From the description of a disk to a device that behaves as described. */
#include "cmd/disk.h"
#include "mock_guest.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECTOR VBLK_SECTOR_SIZE

static char path[] = "/tmp/vblk-cmd-disk.XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd < 0 || ftruncate(fd, 64 * SECTOR))
		return -1;
	return close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

/* A driver that has started the device of the disk `path=...` and these keys. */
static void start(struct guest *g, const char *keys)
{
	struct cmd_disk_spec spec;
	struct vblk_backing *unused;
	char text[256], message[512] = "";

	snprintf(text, sizeof(text), "path=%s%s", path, keys);
	assert_int_equal(vblk_backing_create_memory(SECTOR, &unused), 0);
	guest_create(g, NULL, unused);
	vblk_device_destroy(g->device);
	assert_int_equal(cmd_disk_spec_parse(text, &spec, message, sizeof(message)), 0);
	assert_int_equal(cmd_disk_open(&spec, &g->device, message, sizeof(message)), 0);
	cmd_disk_spec_free(&spec);
	assert_int_equal(vblk_device_set_memory(g->device, g->memory), 0);
	guest_start(g);
}

static uint8_t answer(struct guest *g, uint32_t type)
{
	const uint16_t next = (uint16_t)(guest_used_idx(g) + 1);

	guest_request(g, type, 0, type == VIRTIO_BLK_T_FLUSH ? 0 : SECTOR);
	guest_kick(g);
	assert_true(guest_wait_used(g, next));
	return guest_status_byte(g);
}

static void without_rules_nothing_fails(void **state)
{
	struct guest g;

	(void)state;
	start(&g, "");
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(answer(&g, VIRTIO_BLK_T_OUT), VIRTIO_BLK_S_OK);
		assert_int_equal(answer(&g, VIRTIO_BLK_T_IN), VIRTIO_BLK_S_OK);
		assert_int_equal(answer(&g, VIRTIO_BLK_T_FLUSH), VIRTIO_BLK_S_OK);
	}
	guest_destroy(&g);
}

static void rules_fail_their_calls_and_no_other(void **state)
{
	struct guest g;

	(void)state;
	start(&g, ",fault=write:error=EIO:every=2,fault=flush:error=ENOSPC:first=3");
	for (unsigned int call = 1; call <= 6; call++) {
		assert_int_equal(answer(&g, VIRTIO_BLK_T_OUT),
				 call % 2 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
		assert_int_equal(answer(&g, VIRTIO_BLK_T_IN), VIRTIO_BLK_S_OK);
		assert_int_equal(answer(&g, VIRTIO_BLK_T_FLUSH),
				 call < 3 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(guest_metrics(&g).io_errors, 3 + 4);
	guest_destroy(&g);
}

/* A chain without a place for the status. */
static void offer_undeliverable(struct guest *g)
{
	const struct guest_desc desc[] = { { GUEST_HEADER, 16, 0 }, { GUEST_DATA, SECTOR, 0 } };

	guest_put_header(g, GUEST_HEADER, VIRTIO_BLK_T_OUT, 0);
	guest_offer(g, guest_chain(g, desc, 2));
	guest_kick(g);
}

static void undeliverable_requests_are_dropped(void **state)
{
	static const char *const keys[] = { "", ",undeliverable=drop" };

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct guest g;

		start(&g, keys[i]);
		offer_undeliverable(&g);
		assert_int_equal(answer(&g, VIRTIO_BLK_T_IN), VIRTIO_BLK_S_OK);
		assert_int_equal(guest_status(&g), 0xf);
		guest_destroy(&g);
	}
}

static void undeliverable_requests_stop_the_disk_if_told_so(void **state)
{
	struct guest g;

	(void)state;
	start(&g, ",undeliverable=needs-reset");
	offer_undeliverable(&g);
	assert_true(guest_wait_interrupt(&g));
	assert_int_equal(guest_status(&g), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	guest_destroy(&g);
}

/* The thread that the device named vblkINSTANCE/0. */
static pid_t worker_of(const struct guest *g)
{
	char wanted[32];
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	pid_t found = 0;

	assert_non_null(tasks);
	snprintf(wanted, sizeof(wanted), "vblk%u/0\n", vblk_device_instance(g->device));
	while ((task = readdir(tasks)) && !found) {
		char file[300], name[32] = "";
		FILE *comm;

		snprintf(file, sizeof(file), "/proc/self/task/%s/comm", task->d_name);
		comm = fopen(file, "r");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) && strcmp(name, wanted) == 0)
			found = (pid_t)strtol(task->d_name, NULL, 10);
		fclose(comm);
	}
	closedir(tasks);
	assert_true(found);
	return found;
}

/* By a processor's number alone, as a list, and as a list of which the host has one part. */
static void workers_run_where_they_are_told(void **state)
{
	static const struct {
		const char *before, *behind;
	} keys[] = { { ",cpu=", "" }, { ",cpus=", "" }, { ",cpus=", ",,1023" } };
	cpu_set_t allowed, is;
	size_t cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	while (!CPU_ISSET(cpu, &allowed))
		cpu++;
	for (unsigned int i = 0; i < 3; i++) {
		struct guest g;
		char text[64];

		snprintf(text, sizeof(text), "%s%zu%s", keys[i].before, cpu, keys[i].behind);
		start(&g, text);
		/* It has been placed when it has served a request. */
		assert_int_equal(answer(&g, VIRTIO_BLK_T_IN), VIRTIO_BLK_S_OK);
		assert_int_equal(sched_getaffinity(worker_of(&g), sizeof(is), &is), 0);
		assert_int_equal(CPU_COUNT(&is), 1);
		assert_true(CPU_ISSET(cpu, &is));
		guest_destroy(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_rules_nothing_fails),
		cmocka_unit_test(rules_fail_their_calls_and_no_other),
		cmocka_unit_test(undeliverable_requests_are_dropped),
		cmocka_unit_test(undeliverable_requests_stop_the_disk_if_told_so),
		cmocka_unit_test(workers_run_where_they_are_told),
	};

	return cmocka_run_group_tests_name("cmd_disk", tests, setup, teardown);
}
