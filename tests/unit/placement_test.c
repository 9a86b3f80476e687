/* SPDX-License-Identifier: MIT */
/* Where workers run. */
#include "mock_guest.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/placement.h"

/* The processors that this process may use, and the first of them. */
static cpu_set_t allowed;
static uint32_t first_cpu;

static int find_cpus(void **state)
{
	(void)state;
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return -1;
	while (!CPU_ISSET(first_cpu, &allowed))
		first_cpu++;
	return 0;
}

/* The thread id of the device's worker; 0: there is none. */
static pid_t worker_of(struct guest *g)
{
	char wanted[32], path[300], name[32];
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	pid_t found = 0;

	assert_non_null(tasks);
	snprintf(wanted, sizeof(wanted), "vblk%u/0\n", vblk_device_instance(g->device));
	while ((task = readdir(tasks)) && !found) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
		comm = fopen(path, "r");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) && strcmp(name, wanted) == 0)
			found = atoi(task->d_name);
		fclose(comm);
	}
	closedir(tasks);
	return found;
}

/* Starts the device and waits until its worker has served a request, hence been placed. */
static cpu_set_t cpus_of_started(struct guest *g)
{
	cpu_set_t set;

	guest_start(g);
	guest_request(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(g);
	assert_true(guest_wait_used(g, 1));
	assert_int_equal(sched_getaffinity(worker_of(g), sizeof(set), &set), 0);
	return set;
}

static void assert_only_first_cpu(const cpu_set_t *set)
{
	assert_int_equal(CPU_COUNT(set), 1);
	assert_true(CPU_ISSET(first_cpu, set));
}

/* What each of `count` workers gets of the processors 2, 3, 5 and 8, as a mask. */
static void expect_deal(unsigned count, const unsigned long *masks)
{
	static const uint32_t list[] = { 8, 3, 5, 2 };
	const struct vblk_placement placement = { .cpus = list, .cpu_count = 4 };
	struct vblk_cpus cpus = { 0 }, share;

	assert_int_equal(vblk_cpus_from_placement(&placement, &cpus), 0);
	for (unsigned i = 0; i < count; i++) {
		unsigned long mask = 0;

		vblk_cpus_deal(&cpus, i, count, &share);
		assert_true(share.restricted);
		for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
			mask |= CPU_ISSET(cpu, &share.set) ? 1ul << cpu : 0;
		assert_int_equal(mask, masks[i]);
	}
}

static void test_MQ_8_processors_are_dealt_out_in_turn(void **state)
{
	static const unsigned long one[] = { 0x12c }, two[] = { 0x24, 0x108 },
				   three[] = { 0x104, 0x8, 0x20 }, four[] = { 4, 8, 0x20, 0x100 },
				   six[] = { 4, 8, 0x20, 0x100, 4, 8 };
	struct vblk_cpus cpus = { 0 }, share;

	(void)state;
	expect_deal(1, one);
	expect_deal(2, two);
	expect_deal(3, three);
	expect_deal(4, four);
	expect_deal(6, six);
	/* Where there is nothing to be dealt out, all get the same. */
	vblk_cpus_deal(&cpus, 1, 2, &share);
	assert_false(share.restricted);
	cpus.restricted = true;
	vblk_cpus_deal(&cpus, 1, 2, &share);
	assert_true(share.restricted);
	assert_int_equal(CPU_COUNT(&share.set), 0);
}

/* Rules: W-1 D-PLACE */
static void test_pinned_worker_runs_on_its_processor(void **state)
{
	const uint32_t ignored[] = { 1000 };
	struct guest_options options = {
		.device.placement = { true, first_cpu, ignored, 1 },
	};
	struct guest g;
	cpu_set_t set;

	(void)state;
	guest_create_filled(&g, &options, 4096, 0xab);
	set = cpus_of_started(&g);
	assert_only_first_cpu(&set);
	assert_true(guest_logged(&g, "worker placed"));
	guest_destroy(&g);
}

/* Rules: W-1 D-PLACE */
static void test_restricted_worker_skips_processors_that_are_not_there(void **state)
{
	const uint32_t list[] = { first_cpu, CPU_SETSIZE - 1, CPU_SETSIZE, UINT32_MAX };
	struct guest_options options = {
		.device.placement = { .cpus = list, .cpu_count = 4 },
	};
	struct guest g;
	cpu_set_t set;

	(void)state;
	guest_create_filled(&g, &options, 4096, 0xab);
	set = cpus_of_started(&g);
	assert_only_first_cpu(&set);
	guest_destroy(&g);
}

/* Rules: W-1 */
static void test_worker_without_placement_inherits(void **state)
{
	struct guest g;
	cpu_set_t set;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	set = cpus_of_started(&g);
	assert_true(CPU_EQUAL(&set, &allowed));
	assert_false(guest_logged(&g, "placed"));
	guest_destroy(&g);
}

/* Rules: W-1 */
static void test_impossible_placement_warns_and_serves(void **state)
{
	static const struct vblk_placement impossible[] = {
		{ true, CPU_SETSIZE - 1, NULL, 0 },
		{ true, UINT32_MAX, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct guest_options options = { .device.placement = impossible[i] };
		struct guest g;
		cpu_set_t set;

		guest_create_filled(&g, &options, 4096, 0xab);
		set = cpus_of_started(&g);
		assert_true(CPU_EQUAL(&set, &allowed));
		assert_true(guest_logged(&g, "cannot be placed"));
		guest_destroy(&g);
	}
}

/* A vCPU that sets DRIVER_OK: pinned, and if `priority` is not 0, with real-time priority. */
struct vcpu {
	struct guest *guest;
	int priority;
	int error; /* of what made it so */
};

static void *start_device(void *argument)
{
	struct vcpu *vcpu = argument;
	const struct sched_param param = { .sched_priority = vcpu->priority };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(first_cpu, &one);
	vcpu->error = sched_setaffinity(0, sizeof(one), &one) < 0 ? errno : 0;
	if (vcpu->priority > 0)
		vcpu->error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	if (vcpu->error == 0)
		guest_start(vcpu->guest);
	return NULL;
}

/* Returns the worker's thread id, or 0 if the host does not let a thread have its priority. */
static pid_t start_by_vcpu(struct guest *g, int priority)
{
	struct vcpu vcpu = { .guest = g, .priority = priority };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, start_device, &vcpu), 0);
	pthread_join(thread, NULL);
	if (vcpu.error != 0)
		return 0;
	guest_request(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_kick(g);
	assert_true(guest_wait_used(g, 1));
	return worker_of(g);
}

/* Rules: W-1 */
static void test_worker_of_a_pinned_vcpu_runs_where_its_creator_may(void **state)
{
	struct guest g;
	cpu_set_t set;
	pid_t worker;

	(void)state;
	if (CPU_COUNT(&allowed) < 2) {
		print_message("there is only one processor\n");
		skip();
	}
	guest_create_filled(&g, NULL, 4096, 0xab);
	worker = start_by_vcpu(&g, 0);
	assert_int_equal(sched_getaffinity(worker, sizeof(set), &set), 0);
	assert_true(CPU_EQUAL(&set, &allowed));
	guest_destroy(&g);
}

/* Rules: W-1 */
static void test_worker_of_a_real_time_vcpu_has_no_priority(void **state)
{
	struct guest g;
	pid_t worker;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	worker = start_by_vcpu(&g, 1);
	if (worker == 0) {
		guest_destroy(&g);
		print_message("real-time priority is not allowed here\n");
		skip();
	}
	assert_int_equal(sched_getscheduler(worker), SCHED_OTHER);
	guest_destroy(&g);
}

/* Rules: D-PLACE */
static void test_placement_counts_for_the_worker_of_a_pinned_vcpu_too(void **state)
{
	const uint32_t list[] = { first_cpu, first_cpu + 1 };
	struct guest_options options = {
		.device.placement = { .cpus = list, .cpu_count = 2 },
	};
	struct guest g;
	cpu_set_t set;
	pid_t worker;

	(void)state;
	if (!CPU_ISSET(first_cpu + 1, &allowed)) {
		print_message("there are no two processors side by side\n");
		skip();
	}
	guest_create_filled(&g, &options, 4096, 0xab);
	worker = start_by_vcpu(&g, 0);
	assert_int_equal(sched_getaffinity(worker, sizeof(set), &set), 0);
	assert_int_equal(CPU_COUNT(&set), 2);
	guest_destroy(&g);
}

static void *do_nothing(void *argument)
{
	return argument;
}

/* Processors that were there when the device was created, and are no longer, or never known. */
static void test_home_that_is_gone_hinders_nobody(void **state)
{
	struct vblk_cpus cpus = { .home_known = true };
	pthread_t thread;
	void *result;

	(void)state;
	CPU_SET(CPU_SETSIZE - 1, &cpus.home);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(vblk_cpus_create_thread(&cpus, do_nothing, &cpus, &thread), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, &cpus);
		cpus.home_known = false;
	}
}

/* Rules: C-7 D-PLACE */
static void test_new_placement_counts_from_the_next_start(void **state)
{
	const struct vblk_placement pinned = { .pinned = true, .cpu = first_cpu };
	struct guest g;
	cpu_set_t set;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	set = cpus_of_started(&g);
	assert_int_equal(vblk_device_set_placement(g.device, &pinned), 0);
	assert_int_equal(sched_getaffinity(worker_of(&g), sizeof(set), &set), 0);
	assert_true(CPU_EQUAL(&set, &allowed));
	guest_reset(&g);
	set = cpus_of_started(&g);
	assert_only_first_cpu(&set);
	guest_destroy(&g);
}

static void test_count_without_a_list_is_refused(void **state)
{
	const struct vblk_placement wrong = { .cpu_count = 1 };
	const struct vblk_device_options options = { .placement = wrong };
	struct vblk_device *device;
	struct guest g;

	(void)state;
	guest_create_filled(&g, NULL, 4096, 0xab);
	assert_int_equal(vblk_device_set_placement(g.device, &wrong), -EINVAL);
	assert_int_equal(vblk_device_create(&options, g.backing, &device), -EINVAL);
	guest_destroy(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MQ_8_processors_are_dealt_out_in_turn),
		cmocka_unit_test(test_pinned_worker_runs_on_its_processor),
		cmocka_unit_test(test_restricted_worker_skips_processors_that_are_not_there),
		cmocka_unit_test(test_worker_without_placement_inherits),
		cmocka_unit_test(test_impossible_placement_warns_and_serves),
		cmocka_unit_test(test_worker_of_a_pinned_vcpu_runs_where_its_creator_may),
		cmocka_unit_test(test_worker_of_a_real_time_vcpu_has_no_priority),
		cmocka_unit_test(test_placement_counts_for_the_worker_of_a_pinned_vcpu_too),
		cmocka_unit_test(test_home_that_is_gone_hinders_nobody),
		cmocka_unit_test(test_new_placement_counts_from_the_next_start),
		cmocka_unit_test(test_count_without_a_list_is_refused),
	};

	return cmocka_run_group_tests_name("placement", tests, find_cpus, NULL);
}
