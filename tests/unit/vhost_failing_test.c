/* SPDX-License-Identifier: MIT */
/*
 * A front end's life in which one call into the host fails: each in turn, from its knock to its
 * end. Whatever fails, it is answered, or told, or loses its connection; requests are answered or
 * their ring is known to be lost; and whoever comes next is served as ever.
 */
#include "disk.h"
#include "failing.h"
#include "process.h"
#include "vhost_front.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (64u * SECTOR)
#define RINGS	  2u
#define LOG_SIZE  0x8000u

/* More calls than this in one life would mean that something runs in circles. */
#define CALLS_MAX 2000u

static size_t own_threads;

static int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

struct story {
	struct front_host host;
	struct front front;
	int log_fd;
	int backend[2];
	atomic_uint lost;
};

static void note_loss(void *context, int error)
{
	(void)error;
	atomic_fetch_add((atomic_uint *)context, 1);
}

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

static void story_begin(struct story *story)
{
	const uint32_t cpus[] = { 0, 1 };
	const struct vblk_vhost_server_options options = {
		.device = { .worker_lost = note_loss,
			    .worker_lost_context = &story->lost,
			    .placement = { .cpus = cpus, .cpu_count = 2 } },
		.queues = RINGS,
	};

	atomic_init(&story->lost, 0);
	front_host_start(&story->host, &options, create_file());
	front_open(&story->front, &story->host);
	front_disconnect(&story->front);
	story->front.features = ~0ull;
	story->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(story->log_fd, LOG_SIZE), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, story->backend),
		0);
}

static void story_end(struct story *story)
{
	front_close(&story->front);
	front_host_stop(&story->host);
	close(story->log_fd);
	close(story->backend[0]);
	close(story->backend[1]);
}

/* Serves until the front end is let in, or sent away. A server that could not has a timer. */
static bool is_let_in(struct story *story)
{
	struct vblk_vhost_server *server = story->host.server;
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(server), .events = POLLIN };
	struct pollfd own = { .fd = story->front.fd, .events = POLLIN };

	while (!vblk_vhost_server_is_connected(server)) {
		if (poll(&own, 1, 0) > 0)
			return false;
		assert_int_equal(poll(&pfd, 1, 10000), 1);
		vblk_vhost_server_serve(server);
	}
	return true;
}

struct reply {
	struct vblk_vhost_header header;
	uint8_t payload[VBLK_VHOST_PAYLOAD_MAX];
	int fd;
};

/* Takes the reply, if there is one, and closes what else came with it. */
static bool take_reply(struct story *story, struct reply *reply)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { reply, offsetof(struct reply, fd) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c;

	reply->fd = -1;
	if (recvmsg(story->front.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return false;
	c = CMSG_FIRSTHDR(&message);
	if (c)
		memcpy(&reply->fd, CMSG_DATA(c), sizeof(reply->fd));
	return true;
}

/* Says something that is answered. False if the connection has come to its end instead. */
static bool say(struct story *story, uint32_t request, const void *payload, size_t size, int fd,
		struct reply *reply)
{
	struct vblk_vhost_header header = { request, VBLK_VHOST_VERSION, (uint32_t)size };

	if (story->front.acks)
		header.flags |= VBLK_VHOST_FLAG_NEED_REPLY;
	return front_try_send(&story->front, &header, payload, size, &fd, fd >= 0) &&
	       take_reply(story, reply);
}

/*
 * Asks for a change. One that is refused is asked for again, and then there is nothing to refuse:
 * only one call fails. A region may be there, or gone, already: it was the rings that could not go
 * on with it.
 */
static bool change_to(struct story *story, uint32_t request, const void *payload, size_t size,
		      int fd)
{
	struct reply reply;
	uint64_t answer;

	for (unsigned tries = 0; tries < 2; tries++) {
		if (!say(story, request, payload, size, fd, &reply))
			return false;
		assert_int_equal(reply.header.size, sizeof(answer));
		memcpy(&answer, reply.payload, sizeof(answer));
		if (answer == 0 || (tries > 0 && (answer == EEXIST || answer == ENOENT)))
			return true;
	}
	fail_msg("%u is refused twice: %llu", request, (unsigned long long)answer);
	return false;
}

static bool tell_u64(struct story *story, uint32_t request, uint64_t value)
{
	return change_to(story, request, &value, sizeof(value), -1);
}

static bool tell_fd(struct story *story, uint32_t request, uint64_t ring, int fd)
{
	return change_to(story, request, &ring, sizeof(ring), fd);
}

static bool tell_state(struct story *story, uint32_t request, uint32_t ring, uint32_t num)
{
	const struct vhost_vring_state state = { ring, num };

	return change_to(story, request, &state, sizeof(state), -1);
}

static bool negotiate(struct story *story)
{
	const struct vblk_vhost_header protocol = { VBLK_VHOST_SET_PROTOCOL_FEATURES,
						    VBLK_VHOST_VERSION, sizeof(uint64_t) };
	struct reply reply;
	uint64_t features, offered;

	if (!say(story, VBLK_VHOST_GET_FEATURES, NULL, 0, -1, &reply))
		return false;
	memcpy(&features, reply.payload, sizeof(features));
	if (!say(story, VBLK_VHOST_GET_PROTOCOL_FEATURES, NULL, 0, -1, &reply))
		return false;
	memcpy(&offered, reply.payload, sizeof(offered));
	if (!front_try_send(&story->front, &protocol, &offered, sizeof(offered), NULL, 0))
		return false;
	story->front.acks = true;
	return change_to(story, VBLK_VHOST_SET_OWNER, NULL, 0, -1) &&
	       tell_u64(story, VBLK_VHOST_SET_FEATURES, features);
}

static bool share(struct story *story)
{
	const struct vblk_vhost_memory memory = {
		.count = 1,
		.region = { { FRONT_GUEST, FRONT_SIZE, FRONT_USER, 0 } },
	};
	const struct vblk_vhost_log log = { .size = LOG_SIZE };
	struct vblk_vhost_inflight_area area = { .queues = RINGS, .queue_size = FRONT_RING_SIZE };
	struct reply reply;
	bool goes_on;
	int record_fd;

	if (!change_to(story, VBLK_VHOST_SET_MEM_TABLE, &memory, 8 + sizeof(memory.region[0]),
		       story->front.memory_fd) ||
	    !change_to(story, VBLK_VHOST_SET_LOG_BASE, &log, sizeof(log), story->log_fd) ||
	    !change_to(story, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, story->backend[1]) ||
	    !say(story, VBLK_VHOST_GET_INFLIGHT_FD, &area, sizeof(area), -1, &reply))
		return false;
	/* Without a record it goes on too. */
	if (reply.fd < 0)
		return true;
	record_fd = reply.fd;
	memcpy(&area, reply.payload, sizeof(area));
	goes_on = change_to(story, VBLK_VHOST_SET_INFLIGHT_FD, &area, sizeof(area), record_fd);
	close(record_fd);
	return goes_on;
}

static bool start_ring(struct story *story, uint32_t index)
{
	struct front *f = &story->front;
	const uint64_t desc = FRONT_USER + (uint64_t)(front_desc(f, index) - f->memory);
	const struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = desc,
		.avail_user_addr = desc + (uint64_t)(front_avail(f, index) - front_desc(f, index)),
		.used_user_addr = desc + (uint64_t)(front_used(f, index) - front_desc(f, index)),
	};
	const struct front_ring *ring = &f->ring[index];

	return tell_state(story, VBLK_VHOST_SET_VRING_NUM, index, FRONT_RING_SIZE) &&
	       tell_state(story, VBLK_VHOST_SET_VRING_BASE, index, 0) &&
	       change_to(story, VBLK_VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1) &&
	       tell_fd(story, VBLK_VHOST_SET_VRING_CALL, index, ring->call_fd) &&
	       tell_fd(story, VBLK_VHOST_SET_VRING_ERR, index, ring->err_fd) &&
	       tell_fd(story, VBLK_VHOST_SET_VRING_KICK, index, ring->kick_fd) &&
	       tell_state(story, VBLK_VHOST_SET_VRING_ENABLE, index, 1);
}

/* What is waited for: all answers, or that the ring or the whole connection is lost. */
static bool is_over(void *context)
{
	struct story *story = context;
	struct front *f = &story->front;
	struct pollfd fds[1 + RINGS] = { { .fd = f->fd, .events = POLLIN } };
	bool answered = true;

	for (uint32_t i = 0; i < RINGS; i++) {
		fds[1 + i] = (struct pollfd){ .fd = f->ring[i].err_fd, .events = POLLIN };
		answered &= front_used_idx(f, i) == f->ring[i].avail_idx;
	}
	return answered || atomic_load(&story->lost) > 0 || poll(fds, 1 + RINGS, 0) > 0;
}

static bool use_rings(struct story *story)
{
	struct front *f = &story->front;

	for (uint32_t i = 0; i < RINGS; i++) {
		if (!tell_state(story, VBLK_VHOST_SET_VRING_ENABLE, i, 1))
			return false;
		front_offer(f, i, 0, VIRTIO_BLK_T_OUT, 8, SECTOR);
		front_offer(f, i, 1, VIRTIO_BLK_T_IN, 0, 4 * SECTOR);
		front_offer(f, i, 2, VIRTIO_BLK_T_FLUSH, 0, 0);
		front_kick(f, i);
	}
	assert_true(process_wait(is_over, story));
	return true;
}

/* A later change, with the rings running: they stop, and go on. */
static bool change(struct story *story)
{
	const struct vblk_vhost_config config = { .offset = 0, .size = 60 };
	struct vblk_vhost_slot slot = {
		.region = { FRONT_GUEST + FRONT_SIZE, 0x4000, FRONT_USER + FRONT_SIZE, 0 },
	};
	struct reply reply;
	int ret;

	ret = vblk_vhost_server_resize(story->host.server, 2ull * DISK_SIZE, false);
	assert_true(ret == 0 || ret == -EIO || ret == -ENOSPC || ret == -EAGAIN);
	return say(story, VBLK_VHOST_GET_CONFIG, &config, VBLK_VHOST_CONFIG_HEADER + 60, -1,
		   &reply) &&
	       change_to(story, VBLK_VHOST_ADD_MEM_REG, &slot, sizeof(slot), story->log_fd) &&
	       change_to(story, VBLK_VHOST_REM_MEM_REG, &slot, sizeof(slot), -1) &&
	       use_rings(story);
}

static bool stop(struct story *story)
{
	struct reply reply;

	for (uint32_t i = 0; i < RINGS; i++) {
		const struct vhost_vring_state ring = { .index = i };

		if (!say(story, VBLK_VHOST_GET_VRING_BASE, &ring, sizeof(ring), -1, &reply))
			return false;
	}
	return change_to(story, VBLK_VHOST_RESET_DEVICE, NULL, 0, -1);
}

static void live(struct story *story)
{
	front_knock(&story->front, &story->host);
	if (!is_let_in(story) || !negotiate(story) || !share(story))
		return;
	for (uint32_t i = 0; i < RINGS; i++) {
		if (!start_ring(story, i))
			return;
	}
	if (use_rings(story) && change(story))
		(void)stop(story);
}

static void expect_as_ever(struct story *story)
{
	struct front *f = &story->front;

	front_disconnect(f);
	for (uint32_t i = 0; i < RINGS; i++) {
		memset(front_desc(f, i), 0, 0x8000);
		f->ring[i].avail_idx = 0;
		vblk_eventfd_clear(f->ring[i].call_fd);
		vblk_eventfd_clear(f->ring[i].kick_fd);
	}
	f->acks = false;
	f->features = ~(1ull << VBLK_VHOST_F_LOG_ALL);
	front_knock(f, &story->host);
	assert_true(is_let_in(story));
	front_start(f, RINGS);
	for (uint32_t i = 0; i < RINGS; i++) {
		assert_int_equal(front_do(f, i, 0, VIRTIO_BLK_T_OUT, 8, SECTOR), VIRTIO_BLK_S_OK);
		assert_int_equal(front_do(f, i, 1, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
		assert_int_equal(front_do(f, i, 2, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	}
}

/* Returns whether the call came before the life was over. */
static bool tell(const char *name, unsigned k)
{
	unsigned mappings = front_count_mappings("memfd:");
	size_t blocks = failing_blocks();
	size_t fds = process_fds();
	struct story *story = test_calloc(1, sizeof(*story));
	bool failed;

	story_begin(story);
	failing_arm(name, k);
	live(story);
	failed = failing_disarm();
	expect_as_ever(story);
	story_end(story);
	test_free(story);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), fds);
	assert_int_equal(front_count_mappings("memfd:"), mappings);
	assert_int_equal(failing_blocks(), blocks);
	return failed;
}

static void test_life_of_a_front_end(void **state)
{
	static const char *const names[] = {
		"accept4",
		"calloc",
		"dup3",
		"epoll_create1",
		"epoll_ctl",
		"epoll_wait",
		"eventfd",
		"fcntl64",
		"fdatasync",
		"fstat64",
		"fstatfs64",
		"ftruncate64",
		"malloc",
		"memfd_create",
		"mmap64",
		"pread64",
		"pthread_create",
		"pwrite64",
		"read",
		"realloc",
		"recvmsg",
		"sched_setaffinity",
		"sendmsg",
		"timerfd_create",
		"timerfd_settime",
		"write",
		NULL,
	};

	(void)state;
	for (const char *const *name = names; *name; name++) {
		unsigned k = 1;

		while (tell(*name, k))
			assert_true(++k < CALLS_MAX);
		print_message("%s: %u\n", *name, k - 1);
		if (k == 1)
			fail_msg("%s is never called", *name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life_of_a_front_end),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
