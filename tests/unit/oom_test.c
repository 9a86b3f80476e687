/* SPDX-License-Identifier: MIT */
/*
 * Making things in a process that has no more memory, descriptors or threads: each call into the
 * host fails in turn. Whatever fails, the maker says so by an errno, gives nothing out and keeps
 * nothing; and with nothing failing it makes what it was asked for.
 */
#include "bare_drain.h"
#include "disk.h"
#include "expect.h"
#include "failing.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <vblk/vblk.h>

#include "vhost/server.h"

#define DISK_SIZE 65536u
#define CALLS_MAX 100u

struct maker {
	/* Returns 0 and a thing, or a negative errno and none. */
	int (*make)(void **thing);
	void (*unmake)(void *thing);
	const char *forgiven; /* a call that may fail without harm */
};

static struct vblk_backing *disk;
static char path[] = "/tmp/vblk-oom-XXXXXX";

static int setup_group(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	close(fd);
	disk = disk_create(DISK_SIZE, 0);
	return 0;
}

static int teardown_group(void **state)
{
	(void)state;
	vblk_backing_unref(disk);
	return unlink(path);
}

/* Makes it with the k-th call failing, and lets it go. Returns whether there was such a call. */
static bool make_once(const struct maker *maker, unsigned k)
{
	size_t blocks = failing_blocks();
	size_t fds = process_fds();
	void *thing = NULL;
	const char *failed;
	int ret;

	failing_arm(NULL, k);
	ret = maker->make(&thing);
	failed = failing_disarm();
	if (ret == 0) {
		assert_non_null(thing);
		maker->unmake(thing);
	}
	if (!failed)
		assert_int_equal(ret, 0);
	else if (!maker->forgiven || strcmp(failed, maker->forgiven) != 0)
		assert_true(ret == -ENOMEM || ret == -EMFILE || ret == -EIO);
	assert_true(ret == 0 || !thing);
	assert_int_equal(process_fds(), fds);
	assert_int_equal(failing_blocks(), blocks);
	return failed;
}

static void make_all(const struct maker *maker)
{
	unsigned k = 1;

	while (make_once(maker, k))
		k++;
	assert_in_range(k, 2, CALLS_MAX);
}

static int make_device(enum vblk_engine_kind engine, void **thing)
{
	const struct vblk_device_options options = { .engine = engine };
	struct vblk_device *device = NULL;
	int ret = vblk_device_create(&options, disk, &device);

	*thing = device;
	return ret;
}

static int make_worker_device(void **thing)
{
	return make_device(VBLK_ENGINE_WORKER, thing);
}

static int make_inline_device(void **thing)
{
	return make_device(VBLK_ENGINE_INLINE, thing);
}

static void unmake_device(void *thing)
{
	vblk_device_destroy(thing);
}

static void test_D_CREATE_device_with_a_worker(void **state)
{
	(void)state;
	make_all(&(struct maker){ make_worker_device, unmake_device, "sched_getaffinity" });
}

static void test_D_CREATE_device_inline(void **state)
{
	(void)state;
	make_all(&(struct maker){ make_inline_device, unmake_device, "sched_getaffinity" });
}

/* A map of several regions, whose list grows. */
static int make_memory(void **thing)
{
	static _Alignas(VBLK_MEMORY_ALIGN) uint8_t block[4096];
	struct vblk_memory *memory = NULL;
	int ret = vblk_memory_create(NULL, NULL, &memory);

	for (uint64_t i = 0; ret == 0 && i < 40; i++)
		ret = vblk_memory_add_region(memory, 0x10000 * i, sizeof(block), block);
	if (ret < 0) {
		vblk_memory_unref(memory);
		memory = NULL;
	}
	*thing = memory;
	return ret;
}

static void unmake_memory(void *thing)
{
	vblk_memory_unref(thing);
}

static void test_guest_memory(void **state)
{
	(void)state;
	make_all(&(struct maker){ make_memory, unmake_memory, NULL });
}

static int make_file(void **thing)
{
	return vblk_backing_open_file(path, 0, (struct vblk_backing **)thing);
}

static int make_mapped(void **thing)
{
	return vblk_backing_map_file(path, 0, (struct vblk_backing **)thing);
}

static int make_anonymous(void **thing)
{
	return vblk_backing_create_memory(DISK_SIZE, (struct vblk_backing **)thing);
}

static int make_faulty(void **thing)
{
	static const struct vblk_faulty_rule rules[] = { FAULT(PREADV, ERROR, .value = EIO) };

	return vblk_faulty_create(disk, rules, 1, NULL, (struct vblk_backing **)thing);
}

static void unmake_backing(void *thing)
{
	vblk_backing_unref(thing);
}

static void test_backings(void **state)
{
	(void)state;
	make_all(&(struct maker){ make_file, unmake_backing, "fstatfs64" });
	make_all(&(struct maker){ make_mapped, unmake_backing, "fstatfs64" });
	make_all(&(struct maker){ make_anonymous, unmake_backing, NULL });
	make_all(&(struct maker){ make_faulty, unmake_backing, NULL });
}

static int make_server(void **thing)
{
	const struct vblk_vhost_server_options options = { .queues = 4 };
	const struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct vblk_vhost_server *server = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret;

	/* Only the family: the kernel finds a name, and it is in no file system. */
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 1), 0);
	ret = vblk_vhost_server_create(&options, disk, fd, &server);
	*thing = server;
	return ret;
}

static void unmake_server(void *thing)
{
	vblk_vhost_server_destroy(thing);
}

static void test_D_CREATE_vhost_server(void **state)
{
	(void)state;
	make_all(&(struct maker){ make_server, unmake_server, "sched_getaffinity" });
}

static int open_nothing(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	(void)context;
	(void)used_idx;
	heads->count = 0;
	return 0;
}

/* It is as if the record of requests in flight were unusable; a reset may find more memory. */
static void test_D_JOURNAL_no_memory_for_what_was_in_flight_poisons(void **state)
{
	static const struct vblk_journal_ops ops = { .open = open_nothing };
	struct bare_drain bare = { .retries = 0 };

	(void)state;
	bare_drain_create(&bare, NULL, disk_create(DISK_SIZE, 0));
	bare.drain.opened = false;
	bare.drain.config.journal = (struct vblk_journal){ &ops, NULL };
	guest_request(&bare.guest, VIRTIO_BLK_T_IN, 0, VBLK_SECTOR_SIZE);
	failing_arm("calloc", 1);
	bare_drain_run(&bare, VBLK_DRAIN_DONE);
	assert_string_equal(failing_disarm(), "calloc");
	expect_answer(&bare.guest, GUEST_SENTINEL, 0);
	expect_counters(&bare.guest, .io_errors = 1);
	assert_true(guest_status(&bare.guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
	bare_drain_destroy(&bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D_CREATE_device_with_a_worker),
		cmocka_unit_test(test_D_CREATE_device_inline),
		cmocka_unit_test(test_guest_memory),
		cmocka_unit_test(test_backings),
		cmocka_unit_test(test_D_CREATE_vhost_server),
		cmocka_unit_test(test_D_JOURNAL_no_memory_for_what_was_in_flight_poisons),
	};

	return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
