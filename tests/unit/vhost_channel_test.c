/* SPDX-License-Identifier: MIT */
/* Messages over a socket: in pieces, with descriptors, with too many of them, and to nobody. */
#include "vhost/channel.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
	struct vblk_vhost_channel channel;
	int fd; /* the front end's */
	size_t fds;
	const char *reason;
};

static void begin(struct scene *scene)
{
	int pair[2];

	scene->fds = process_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	scene->fd = pair[0];
	vblk_vhost_channel_open(&scene->channel, pair[1], VBLK_VHOST_REQUESTS_ONLY);
}

/* No descriptor is left, whatever came and whoever took it. */
static void end(struct scene *scene)
{
	vblk_vhost_channel_close(&scene->channel);
	if (scene->fd >= 0)
		close(scene->fd);
	assert_int_equal(process_fds(), scene->fds);
}

static int read_on(struct scene *scene)
{
	return vblk_vhost_channel_read(&scene->channel, &scene->reason);
}

/* Bytes with `count` descriptors. */
static void say(struct scene *scene, const void *bytes, size_t length, unsigned count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count > 0) {
		struct cmsghdr *c;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &(int){ STDERR_FILENO },
			       sizeof(int));
	}
	assert_int_equal(sendmsg(scene->fd, &message, 0), length);
}

struct message {
	struct vblk_vhost_header header;
	uint8_t payload[8];
};

static const struct message set_features = {
	{ VBLK_VHOST_SET_FEATURES, VBLK_VHOST_VERSION, 8 },
	{ 1, 2, 3, 4, 5, 6, 7, 8 },
};

static void test_message_is_there_when_its_last_byte_is(void **state)
{
	const uint8_t *bytes = (const uint8_t *)&set_features;
	struct scene scene;

	(void)state;
	begin(&scene);
	assert_int_equal(read_on(&scene), 0);
	for (size_t i = 0; i < sizeof(set_features); i++) {
		assert_int_equal(read_on(&scene), 0);
		say(&scene, bytes + i, 1, 0);
	}
	assert_int_equal(read_on(&scene), 1);
	assert_memory_equal(vblk_vhost_assembler_payload(&scene.channel.assembler),
			    set_features.payload, 8);
	assert_int_equal(read_on(&scene), 1);
	vblk_vhost_channel_next(&scene.channel);
	assert_int_equal(read_on(&scene), 0);
	end(&scene);
}

static void test_messages_in_one_piece_come_one_by_one(void **state)
{
	struct message two[2] = { set_features, set_features };
	struct scene scene;

	(void)state;
	two[1].payload[0] = 0x77;
	begin(&scene);
	say(&scene, two, sizeof(two), 0);
	assert_int_equal(read_on(&scene), 1);
	vblk_vhost_channel_next(&scene.channel);
	assert_int_equal(read_on(&scene), 1);
	assert_memory_equal(vblk_vhost_assembler_payload(&scene.channel.assembler), two[1].payload,
			    8);
	vblk_vhost_channel_next(&scene.channel);
	assert_int_equal(read_on(&scene), 0);
	end(&scene);
}

static void test_descriptors_belong_to_the_message_that_they_came_with(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	say(&scene, &set_features, sizeof(set_features), 2);
	say(&scene, &set_features, sizeof(set_features), 3);
	assert_int_equal(read_on(&scene), 1);
	assert_int_equal(scene.channel.fd_count, 2);
	assert_int_equal(process_fds(), scene.fds + 2 + 2);
	vblk_vhost_channel_next(&scene.channel);
	assert_int_equal(process_fds(), scene.fds + 2);
	assert_int_equal(read_on(&scene), 1);
	assert_int_equal(scene.channel.fd_count, 3);
	end(&scene);
}

static void test_descriptors_are_closed_on_exec(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	say(&scene, &set_features, sizeof(set_features), 1);
	assert_int_equal(read_on(&scene), 1);
	assert_int_equal(fcntl(scene.channel.fds[0], F_GETFD), FD_CLOEXEC);
	end(&scene);
}

static void test_taken_descriptor_stays_open(void **state)
{
	struct scene scene;
	int fd;

	(void)state;
	begin(&scene);
	say(&scene, &set_features, sizeof(set_features), 3);
	assert_int_equal(read_on(&scene), 1);
	fd = vblk_vhost_channel_take_fd(&scene.channel, 1);
	assert_true(fd >= 0);
	assert_int_equal(vblk_vhost_channel_take_fd(&scene.channel, 1), -1);
	assert_int_equal(vblk_vhost_channel_take_fd(&scene.channel, 3), -1);
	vblk_vhost_channel_next(&scene.channel);
	assert_int_equal(process_fds(), scene.fds + 3);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	close(fd);
	end(&scene);
}

static void test_eight_descriptors_are_the_most_at_once(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	say(&scene, &set_features, sizeof(set_features), 8);
	assert_int_equal(read_on(&scene), 1);
	assert_int_equal(scene.channel.fd_count, 8);
	vblk_vhost_channel_next(&scene.channel);
#ifndef EMULATED /* it keeps the ninth to itself, and says nothing */
	say(&scene, &set_features, sizeof(set_features), 9);
	assert_int_equal(read_on(&scene), -EMFILE);
	assert_non_null(strstr(scene.reason, "too many"));
#endif
	end(&scene);
}

static void test_descriptors_of_all_pieces_count(void **state)
{
	const uint8_t *bytes = (const uint8_t *)&set_features;
	struct scene scene;

	(void)state;
	begin(&scene);
	say(&scene, bytes, 4, 5);
	say(&scene, bytes + 4, 9, 3);
	assert_int_equal(read_on(&scene), 0);
	assert_int_equal(scene.channel.fd_count, 8);
	say(&scene, bytes + 13, 7, 2);
	assert_int_equal(read_on(&scene), -EPROTO);
	assert_non_null(strstr(scene.reason, "more than 8 descriptors"));
	end(&scene);
}

static void test_descriptors_that_we_have_no_room_for_are_missed(void **state)
{
	struct scene scene;
	int ret;

	(void)state;
	begin(&scene);
	say(&scene, &set_features, sizeof(set_features), 4);
	process_limit_fds(2);
	ret = read_on(&scene);
	process_unlimit_fds();
	assert_int_equal(ret, -EMFILE);
	assert_non_null(strstr(scene.reason, "descriptors of a message are missing"));
	end(&scene);
}

static void test_end_between_messages_and_within_one(void **state)
{
	struct scene scene;

	(void)state;
	for (size_t length = 0; length < sizeof(set_features); length += 5) {
		begin(&scene);
		if (length > 0)
			say(&scene, &set_features, length, 2);
		close(scene.fd);
		scene.fd = -1;
		assert_int_equal(read_on(&scene), -ECONNRESET);
		assert_null(scene.reason);
		end(&scene);
	}
}

static void test_what_is_no_message_is_told(void **state)
{
	static const struct vblk_vhost_header bad = { VBLK_VHOST_SET_OWNER, 0, 0 };
	struct scene scene;

	(void)state;
	begin(&scene);
	say(&scene, &bad, sizeof(bad), 1);
	assert_int_equal(read_on(&scene), -EPROTO);
	assert_non_null(strstr(scene.reason, "version"));
	end(&scene);
}

static void test_answer_travels_with_its_descriptor(void **state)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	uint8_t bytes[64];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct vblk_vhost_frame frame;
	struct scene scene;
	int fd;

	(void)state;
	begin(&scene);
	vblk_vhost_encode_u64(&frame, VBLK_VHOST_GET_FEATURES, 0x1234);
	assert_int_equal(vblk_vhost_channel_send(&scene.channel, &frame, scene.channel.fd), 0);
	assert_int_equal(recvmsg(scene.fd, &message, 0), frame.length);
	assert_memory_equal(bytes, frame.bytes, frame.length);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	close(fd);
	assert_int_equal(vblk_vhost_channel_send(&scene.channel, &frame, -1), 0);
	message.msg_controllen = sizeof(control.bytes);
	assert_int_equal(recvmsg(scene.fd, &message, 0), frame.length);
	assert_null(CMSG_FIRSTHDR(&message));
	end(&scene);
}

static void test_front_end_that_does_not_read_is_given_up(void **state)
{
	struct vblk_vhost_frame frame;
	struct scene scene;
	unsigned sent = 0;
	int ret;

	(void)state;
	begin(&scene);
	scene.channel.send_ms = 1;
	vblk_vhost_encode_u64(&frame, VBLK_VHOST_GET_FEATURES, 0);
	do {
		ret = vblk_vhost_channel_send(&scene.channel, &frame, -1);
		sent++;
	} while (ret == 0 && sent < 1000000);
	assert_int_equal(ret, -ETIMEDOUT);
	end(&scene);
}

static void test_answer_to_nobody_is_an_error_and_no_signal(void **state)
{
	struct vblk_vhost_frame frame;
	struct scene scene;

	(void)state;
	begin(&scene);
	close(scene.fd);
	scene.fd = -1;
	vblk_vhost_encode_u64(&frame, VBLK_VHOST_GET_FEATURES, 0);
	assert_int_equal(vblk_vhost_channel_send(&scene.channel, &frame, -1), -EPIPE);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_is_there_when_its_last_byte_is),
		cmocka_unit_test(test_messages_in_one_piece_come_one_by_one),
		cmocka_unit_test(test_descriptors_belong_to_the_message_that_they_came_with),
		cmocka_unit_test(test_descriptors_are_closed_on_exec),
		cmocka_unit_test(test_taken_descriptor_stays_open),
		cmocka_unit_test(test_eight_descriptors_are_the_most_at_once),
		cmocka_unit_test(test_descriptors_of_all_pieces_count),
		cmocka_unit_test(test_descriptors_that_we_have_no_room_for_are_missed),
		cmocka_unit_test(test_end_between_messages_and_within_one),
		cmocka_unit_test(test_what_is_no_message_is_told),
		cmocka_unit_test(test_answer_travels_with_its_descriptor),
		cmocka_unit_test(test_front_end_that_does_not_read_is_given_up),
		cmocka_unit_test(test_answer_to_nobody_is_an_error_and_no_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
