/* SPDX-License-Identifier: MIT */
/*
 * A device's life in which one call into the host fails: each in turn, from the driver's first
 * register access to a reset. Whatever fails, requests are answered or the driver is told, the
 * embedder hears of a worker that is lost, and after a reset the device serves as ever.
 */
#include "disk.h"
#include "expect.h"
#include "failing.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/le.h"
#include "device/device.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (64u * SECTOR)
#define FEATURES                                                                          \
	((uint64_t)1 << VIRTIO_F_VERSION_1 | (uint64_t)1 << VIRTIO_BLK_F_FLUSH |          \
	 (uint64_t)1 << VIRTIO_BLK_F_DISCARD | (uint64_t)1 << VIRTIO_BLK_F_WRITE_ZEROES | \
	 (uint64_t)1 << VIRTIO_BLK_F_CONFIG_WCE | (uint64_t)1 << VIRTIO_BLK_F_MQ)

#define QUEUES	  2u
#define IDLE_RING 0xf0000u

/* More calls than this in one life would mean that something runs in circles. */
#define CALLS_MAX 2000u

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

struct loss {
	atomic_uint count;
	atomic_int error;
};

static void note_loss(void *context, int error)
{
	struct loss *loss = context;

	atomic_store(&loss->error, error);
	atomic_fetch_add(&loss->count, 1);
}

struct story {
	struct guest guest;
	struct loss loss;
	int parked_fd;
};

static struct vblk_backing *create_file(void)
{
	char path[] = "/tmp/vblk-failing-XXXXXX";
	struct vblk_backing *disk;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(vblk_backing_open_fd(fd, 0, &disk), 0);
	close(fd);
	return disk;
}

static void story_begin(struct story *story, enum vblk_engine_kind engine)
{
	const uint32_t cpus[] = { 0, 1 };
	const struct guest_options options = {
		.device = { .engine = engine,
			    .queues = QUEUES,
			    .worker_lost = note_loss,
			    .worker_lost_context = &story->loss,
			    .placement = { .cpus = cpus, .cpu_count = 2 } },
		.all_features = true,
	};

	atomic_init(&story->loss.count, 0);
	atomic_init(&story->loss.error, 0);
	story->parked_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(story->parked_fd >= 0);
	guest_create(&story->guest, &options, create_file());
}

static void story_end(struct story *story)
{
	guest_destroy(&story->guest);
	close(story->parked_fd);
}

/*
 * As guest_start, with more features, whether it succeeds or not, and with more queues, in which
 * there is never anything: their engines are what calls fail in.
 */
static void start(struct guest *g)
{
	guest_set_status(g, 0x1);
	guest_set_status(g, 0x3);
	guest_accept(g, FEATURES);
	guest_set_status(g, 0xb);
	for (uint32_t i = 0; i < QUEUES; i++) {
		guest_write32(g, VIRTIO_MMIO_QUEUE_SEL, i);
		guest_write32(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, i ? IDLE_RING : 0x1000);
		guest_write32(g, VIRTIO_MMIO_QUEUE_USED_LOW, i ? IDLE_RING + 0x1000 : 0x2000);
		guest_write32(g, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	guest_set_status(g, 0xf);
}

static bool needs_reset(struct guest *g)
{
	return guest_status(g) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* The worker of a queue that is left may go on after another has told the driver of its end. */
static bool is_over(void *context)
{
	struct guest *g = context;

	return guest_used_idx(g) == g->avail_idx ||
	       (needs_reset(g) && vblk_park_is_paused(g->device->queue[0].engine->park));
}

/* The driver waits for its answers, and gives up when it is told that there will be none. */
static void serve(struct guest *g)
{
	guest_kick(g);
	assert_true(process_wait(is_over, g));
}

static void put_range(struct guest *g, unsigned slot, uint64_t sector, uint32_t sectors)
{
	uint8_t *at = guest_at(g, guest_slot_data(slot));

	vblk_le64_put(at, sector);
	vblk_le32_put(at + 8, sectors);
	vblk_le32_put(at + 12, 0);
}

/* One of each type; a discard and its like carry their range to the device. */
static void put_range_request(struct guest *g, unsigned slot, uint32_t type)
{
	const uint64_t base = guest_slot_data(slot);
	struct guest_desc desc[] = {
		{ base + 2048, 16, 0 },
		{ base, 16, 0 },
		{ base + 3072, 1, VRING_DESC_F_WRITE },
	};

	guest_put_header(g, desc[0].addr, type, 0);
	put_range(g, slot, 8, 8);
	*guest_at(g, desc[2].addr) = GUEST_SENTINEL;
	guest_offer(g, guest_chain(g, desc, 3));
}

static uint8_t range_status(struct guest *g, unsigned slot)
{
	return *guest_at(g, guest_slot_data(slot) + 3072);
}

static void expect_fair(uint8_t status)
{
	assert_true(status == VIRTIO_BLK_S_OK || status == VIRTIO_BLK_S_IOERR ||
		    status == GUEST_SENTINEL);
}

static void use(struct guest *g)
{
	guest_request_at(g, 0, VIRTIO_BLK_T_OUT, 0, SECTOR);
	guest_request_at(g, 1, VIRTIO_BLK_T_IN, 0, 4 * SECTOR);
	guest_request_at(g, 2, VIRTIO_BLK_T_FLUSH, 0, 0);
	put_range_request(g, 3, VIRTIO_BLK_T_DISCARD);
	put_range_request(g, 4, VIRTIO_BLK_T_WRITE_ZEROES);
	serve(g);
	for (unsigned slot = 0; slot < 3; slot++)
		expect_fair(guest_slot_status(g, slot));
	expect_fair(range_status(g, 3));
	expect_fair(range_status(g, 4));
}

static bool is_stalled_or_over(void *context)
{
	struct guest *g = context;

	return guest_metrics(g).throttled_now > 0 || is_over(g);
}

/* A request waits for tokens until the limits are lifted, whatever became of the timer. */
static void use_throttled(struct guest *g)
{
	const struct vblk_throttle slow = { .iops = 1 };
	const struct vblk_throttle none = { 0 };

	assert_int_equal(vblk_device_set_throttle(g->device, &slow), 0);
	guest_request_at(g, 5, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(g, 6, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	assert_true(process_wait(is_stalled_or_over, g));
	assert_int_equal(vblk_device_set_throttle(g->device, &none), 0);
	assert_true(process_wait(is_over, g));
	expect_fair(guest_slot_status(g, 5));
	expect_fair(guest_slot_status(g, 6));
}

static bool is_known_lost(void *context)
{
	const struct loss *loss = context;

	return atomic_load(&loss->count) > 0;
}

/*
 * When the driver is told, the embedder is too. A worker that is stopped in between need not say
 * that it was ending anyway, so it is waited for.
 */
static void reset(struct story *story)
{
	struct guest *g = &story->guest;

	if (needs_reset(g)) {
		assert_true(process_wait(is_known_lost, &story->loss));
		assert_true(guest_read32(g, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	}
	guest_reset(g);
}

static void live(struct story *story)
{
	struct guest *g = &story->guest;
	int ret;

	start(g);
	use(g);
	ret = vblk_device_set_parked_fd(g->device, story->parked_fd);
	assert_true(ret == 0 || ret == -EMFILE);
	(void)vblk_device_pause(g->device);
	assert_int_equal(vblk_device_wait_paused(g->device, 10000), 0);
	guest_request_at(g, 7, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_kick(g);
	(void)vblk_device_resume(g->device);
	assert_true(process_wait(is_over, g));
	expect_fair(guest_slot_status(g, 7));
	use_throttled(g);
	ret = vblk_device_resize(g->device, (uint64_t)2 * DISK_SIZE, 0);
	assert_true(ret == 0 || ret == -EIO || ret == -ENOSPC);
	reset(story);
	start(g);
	use(g);
	reset(story);
}

static void expect_as_ever(struct story *story)
{
	struct guest *g = &story->guest;

	assert_int_equal(guest_status(g), 0);
	start(g);
	assert_int_equal(guest_status(g), 0xf);
	use(g);
	for (unsigned slot = 0; slot < 3; slot++)
		assert_int_equal(guest_slot_status(g, slot), VIRTIO_BLK_S_OK);
	assert_int_equal(range_status(g, 3), VIRTIO_BLK_S_OK);
	assert_int_equal(range_status(g, 4), VIRTIO_BLK_S_OK);
}

/* Returns whether the call came before the life was over. */
static bool tell(enum vblk_engine_kind engine, const char *name, unsigned k)
{
	size_t blocks = failing_blocks();
	size_t fds = process_fds();
	struct story *story = test_calloc(1, sizeof(*story));
	bool failed;

	story_begin(story, engine);
	failing_arm(name, k);
	live(story);
	failed = failing_disarm();
	expect_as_ever(story);
	assert_in_range(atomic_load(&story->loss.count), 0, 1);
	assert_true(atomic_load(&story->loss.error) != -ETIMEDOUT);
	story_end(story);
	test_free(story);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), fds);
	assert_int_equal(failing_blocks(), blocks);
	return failed;
}

/* Tells it with each call of each of these failing; each has to be called at all. */
static void tell_all(enum vblk_engine_kind engine, const char *const *names)
{
	for (; *names; names++) {
		unsigned k = 1;

		while (tell(engine, *names, k))
			assert_true(++k < CALLS_MAX);
		if (k == 1)
			fail_msg("%s is never called", *names);
	}
}

/* Rules: D-SPAWN, W-3, W-4, L-8 */
static void test_D_HOLE_4_a_life_with_a_worker(void **state)
{
	static const char *const names[] = { "calloc",
					     "eventfd",
					     "fcntl64",
					     "epoll_create1",
					     "epoll_ctl",
					     "epoll_wait",
					     "timerfd_create",
					     "timerfd_settime",
					     "pthread_create",
					     "sched_setaffinity",
					     "read",
					     "write",
					     "pread64",
					     "pwrite64",
					     "fdatasync",
					     "fallocate64",
					     "fstat64",
					     "ftruncate64",
					     NULL };

	(void)state;
	tell_all(VBLK_ENGINE_WORKER, names);
}

/* Rules: D-SPAWN */
static void test_a_life_inline(void **state)
{
	static const char *const names[] = { "malloc",	"fcntl64",     "read",	    "write",
					     "pread64", "pwrite64",    "fdatasync", "fallocate64",
					     "fstat64", "ftruncate64", NULL };

	(void)state;
	tell_all(VBLK_ENGINE_INLINE, names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_D_HOLE_4_a_life_with_a_worker),
		cmocka_unit_test(test_a_life_inline),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
