/* SPDX-License-Identifier: MIT */
/* A resize of a disk whose file system hangs: its owner is told so, and goes on. */
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_SIZE 0x40000u
#define LARGER	  ((uint64_t)2 * DISK_SIZE)
#define SOON_MS	  50u
#define LONG_MS	  60000u

struct scene {
	struct front_host host;
	struct vblk_disk *disk; /* borrowed of the server */
	size_t fds;
	int gate[2];	    /* growing takes a byte from here, and waits for it */
	int result;	    /* of growing */
	atomic_uint grown;  /* how often */
	atomic_bool closed; /* the file */
};

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static ssize_t move_nothing(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	(void)context;
	(void)iov;
	(void)count;
	(void)offset;
	return -EIO;
}

static int grow_when_told(void *context, uint64_t bytes)
{
	struct scene *scene = context;
	char byte;

	assert_int_equal(bytes, LARGER);
	assert_int_equal(read(scene->gate[0], &byte, 1), 1);
	atomic_fetch_add(&scene->grown, 1);
	return scene->result;
}

static void note_close(void *context)
{
	atomic_store(&((struct scene *)context)->closed, true);
}

static bool is_closed(void *context)
{
	return atomic_load(&((struct scene *)context)->closed);
}

static void begin(struct scene *scene, uint32_t timeout_ms)
{
	static const struct vblk_backing_ops ops = {
		.preadv = move_nothing,
		.pwritev = move_nothing,
		.grow = grow_when_told,
		.close = note_close,
	};
	const struct vblk_backing_info info = { .size_bytes = DISK_SIZE };
	const struct vblk_vhost_server_options options = { .resize_timeout_ms = timeout_ms };
	struct vblk_backing *backing;

	memset(scene, 0, sizeof(*scene));
	scene->fds = process_fds();
	assert_int_equal(pipe(scene->gate), 0);
	assert_int_equal(vblk_backing_create(&ops, scene, &info, &backing), 0);
	front_host_start(&scene->host, &options, backing);
	scene->disk = vblk_vhost_server_disk(scene->host.server);
}

static void let_go(struct scene *scene)
{
	assert_int_equal(write(scene->gate[1], "", 1), 1);
}

/* Nobody stops anything here: whoever had a part in it may be the last. */
static void end(struct scene *scene)
{
	assert_true(process_wait(is_closed, scene));
	assert_true(process_wait_threads(own_threads));
	close(scene->gate[0]);
	close(scene->gate[1]);
	assert_int_equal(process_fds(), scene->fds);
}

static int resize(struct scene *scene, uint64_t bytes)
{
	return vblk_vhost_server_resize(scene->host.server, bytes, true);
}

static void test_file_that_answers(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, LONG_MS);
	let_go(&scene);
	assert_int_equal(resize(&scene, LARGER), 0);
	assert_int_equal(vblk_disk_capacity(scene.disk), LARGER);
	scene.result = -ENOSPC;
	assert_int_equal(resize(&scene, DISK_SIZE), 0); /* which asks nobody */
	let_go(&scene);
	assert_int_equal(resize(&scene, LARGER), -ENOSPC);
	assert_int_equal(vblk_disk_capacity(scene.disk), DISK_SIZE);
	assert_int_equal(scene.grown, 2);
	front_host_stop(&scene.host);
	end(&scene);
}

static void test_file_that_hangs_does_not_hold_up_the_owner(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, SOON_MS);
	assert_int_equal(resize(&scene, LARGER), -ETIMEDOUT);
	assert_int_equal(resize(&scene, LARGER), -EBUSY);
	assert_int_equal(vblk_disk_capacity(scene.disk), DISK_SIZE);
	/* To be shorter takes no file. */
	assert_int_equal(resize(&scene, DISK_SIZE / 2), 0);
	assert_int_equal(vblk_disk_capacity(scene.disk), DISK_SIZE / 2);
	/* It answers, and nobody wants that any more. */
	let_go(&scene);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(scene.grown, 1);
	assert_int_equal(vblk_disk_capacity(scene.disk), DISK_SIZE / 2);
	let_go(&scene);
	assert_int_not_equal(resize(&scene, LARGER), -EBUSY); /* whether or not it is in time */
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(scene.grown, 2);
	front_host_stop(&scene.host);
	end(&scene);
}

static void test_server_may_go_before_the_file_answers(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, SOON_MS);
	assert_int_equal(resize(&scene, LARGER), -ETIMEDOUT);
	front_host_stop(&scene.host);
	assert_int_equal(process_threads(), own_threads + 1);
	let_go(&scene);
	end(&scene);
}

static void test_no_thread_is_to_be_had(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene, LONG_MS);
	process_forbid_threads();
	assert_int_equal(resize(&scene, LARGER), -EAGAIN);
	process_allow_threads();
	assert_int_equal(vblk_disk_capacity(scene.disk), DISK_SIZE);
	let_go(&scene);
	assert_int_equal(resize(&scene, LARGER), 0);
	front_host_stop(&scene.host);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_that_answers),
		cmocka_unit_test(test_file_that_hangs_does_not_hold_up_the_owner),
		cmocka_unit_test(test_server_may_go_before_the_file_answers),
		cmocka_unit_test(test_no_thread_is_to_be_had),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
