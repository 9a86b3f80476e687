/* SPDX-License-Identifier: MIT */
/*
 * vhost-user on the wire: which answer a message gets and how it looks, what we ask for ourselves,
 * and how messages come out of a stream of bytes.
 */
#include "vhost/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define ALL  UINT64_MAX
#define NEED VBLK_VHOST_FLAG_NEED_REPLY

static void test_reply_follows_from_request_and_agreement(void **state)
{
	static const uint64_t acks = 1ull << VBLK_VHOST_PROTOCOL_REPLY_ACK;
	static const struct {
		uint32_t request;
		enum vblk_vhost_reply reply;
	} own[] = {
		{ VBLK_VHOST_GET_FEATURES, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_SET_LOG_BASE, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_VRING_BASE, VBLK_VHOST_REPLY_STATE },
		{ VBLK_VHOST_GET_PROTOCOL_FEATURES, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_QUEUE_NUM, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_IOTLB_MSG, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_CONFIG, VBLK_VHOST_REPLY_CONFIG },
		{ VBLK_VHOST_CREATE_CRYPTO_SESSION, VBLK_VHOST_REPLY_FOREIGN },
		{ VBLK_VHOST_POSTCOPY_ADVISE, VBLK_VHOST_REPLY_FOREIGN },
		{ VBLK_VHOST_POSTCOPY_END, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_INFLIGHT_FD, VBLK_VHOST_REPLY_INFLIGHT },
		{ VBLK_VHOST_GET_MAX_MEM_SLOTS, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_STATUS, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_SHARED_OBJECT, VBLK_VHOST_REPLY_FOREIGN },
		{ VBLK_VHOST_SET_DEVICE_STATE_FD, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_CHECK_DEVICE_STATE, VBLK_VHOST_REPLY_U64 },
		{ VBLK_VHOST_GET_SHMEM_CONFIG, VBLK_VHOST_REPLY_FOREIGN },
	};

	(void)state;
	for (uint32_t request = 0; request < 50; request++) {
		struct vblk_vhost_header plain = { request, VBLK_VHOST_VERSION, 0 };
		struct vblk_vhost_header asks = { request, VBLK_VHOST_VERSION | NEED, 0 };
		enum vblk_vhost_reply reply = VBLK_VHOST_REPLY_NONE;

		for (size_t i = 0; i < VBLK_ARRAY_SIZE(own); i++)
			reply = own[i].request == request ? own[i].reply : reply;
		assert_int_equal(vblk_vhost_reply_to(&plain, ALL), reply);
		assert_int_equal(vblk_vhost_reply_to(&asks, ~acks), reply);
		if (reply == VBLK_VHOST_REPLY_NONE)
			reply = VBLK_VHOST_REPLY_ACK;
		assert_int_equal(vblk_vhost_reply_to(&asks, acks), reply);
	}
}

static void assert_frame(const struct vblk_vhost_frame *frame, uint32_t request, uint32_t flags,
			 const void *payload, uint32_t size)
{
	struct vblk_vhost_header header = { request, flags, size };

	assert_int_equal(frame->length, 12 + size);
	assert_memory_equal(frame->bytes, &header, sizeof(header));
	assert_memory_equal(frame->bytes + 12, payload, size);
}

static void test_replies_on_the_wire(void **state)
{
	struct vhost_vring_state ring = { 3, 0xabcd };
	struct vblk_vhost_frame frame;
	uint64_t value = 0x1122334455667788;

	(void)state;
	vblk_vhost_encode_u64(&frame, 1, value);
	assert_frame(&frame, 1, 5, &value, 8);
	vblk_vhost_encode_state(&frame, 11, 3, 0xabcd);
	assert_frame(&frame, 11, 5, &ring, 8);
	value = 0;
	vblk_vhost_encode_ack(&frame, 5, 0);
	assert_frame(&frame, 5, 5, &value, 8);
	value = EINVAL;
	vblk_vhost_encode_ack(&frame, 5, -EINVAL);
	assert_frame(&frame, 5, 5, &value, 8);
}

static void test_config_is_answered_in_the_size_it_was_asked_for(void **state)
{
	struct vblk_vhost_message message = {
		.header = { VBLK_VHOST_GET_CONFIG, VBLK_VHOST_VERSION, 12 + 200 },
		.config = { .offset = 8, .size = 200 },
	};
	struct vblk_vhost_config want = message.config;
	struct vblk_vhost_frame frame;
	uint8_t space[200];

	(void)state;
	memset(space, 0xc3, sizeof(space));
	memset(want.data, 0xc3, sizeof(space));
	vblk_vhost_encode_config(&frame, &message, space);
	assert_frame(&frame, 24, 5, &want, 12 + 200);
	vblk_vhost_encode_config(&frame, &message, NULL);
	assert_frame(&frame, 24, 5, "", 0);
}

static void test_inflight_is_answered_in_the_size_it_was_asked_for(void **state)
{
	struct vblk_vhost_inflight_area area = { 4096, 0, 2, 128, 0 };
	struct vblk_vhost_frame frame;

	(void)state;
	for (uint32_t size = 20; size <= 24; size += 4) {
		struct vblk_vhost_message message = {
			.header = { VBLK_VHOST_GET_INFLIGHT_FD, VBLK_VHOST_VERSION, size },
			.inflight = { 0, 0, 2, 128, 0 },
		};

		vblk_vhost_encode_inflight(&frame, &message, &area);
		assert_frame(&frame, 31, 5, &area, size);
	}
}

static void test_own_request_on_the_wire(void **state)
{
	struct vblk_vhost_frame frame;

	(void)state;
	vblk_vhost_encode_request(&frame, VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG, false);
	assert_frame(&frame, 2, 1, "", 0);
	vblk_vhost_encode_request(&frame, VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG, true);
	assert_frame(&frame, 2, 9, "", 0);
}

static void test_answer_to_own_request(void **state)
{
	static const struct {
		struct vblk_vhost_header header;
		unsigned fds;
		const char *why;
	} cases[] = {
		{ { 2, 5, 8 }, 0, NULL },	   { { 2, 1, 8 }, 0, "not marked as a reply" },
		{ { 2, 6, 8 }, 0, "version" },	   { { 3, 5, 8 }, 0, "another request" },
		{ { 2, 5, 4 }, 0, "8 bytes" },	   { { 2, 5, 16 }, 0, "8 bytes" },
		{ { 2, 5, 8 }, 1, "descriptors" },
	};
	uint64_t payload[2] = { 0x1234, 0 };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		uint64_t result = 99;
		const char *reason;
		int ret = vblk_vhost_decode_ack(&cases[i].header, payload, cases[i].fds, 2, &result,
						&reason);

		assert_int_equal(ret, cases[i].why ? -EPROTO : 0);
		assert_int_equal(result, cases[i].why ? 99 : 0x1234);
		if (cases[i].why)
			assert_non_null(strstr(reason, cases[i].why));
	}
}

/* Two messages, 20 and 12 bytes long, as a stream. */
static size_t two_messages(uint8_t *stream)
{
	struct vblk_vhost_header first = { VBLK_VHOST_SET_FEATURES, 1, 8 };
	struct vblk_vhost_header second = { VBLK_VHOST_SET_OWNER, 1, 0 };
	uint64_t features = 0x123456789;

	memcpy(stream, &first, 12);
	memcpy(stream + 12, &features, 8);
	memcpy(stream + 20, &second, 12);
	return 32;
}

static void test_message_arrives_in_pieces_of_any_length(void **state)
{
	uint8_t stream[32];
	size_t length = two_messages(stream);

	(void)state;
	for (size_t piece = 1; piece <= length; piece++) {
		struct vblk_vhost_assembler a;
		unsigned messages = 0;

		vblk_vhost_assembler_start(&a, VBLK_VHOST_REQUESTS_ONLY);
		for (size_t at = 0, taken; at < length; at += taken) {
			size_t end = (at / piece + 1) * piece;
			enum vblk_vhost_progress progress = vblk_vhost_assembler_feed(
				&a, stream + at, (end < length ? end : length) - at, &taken);

			assert_true(taken > 0);
			if (progress != VBLK_VHOST_READY) {
				assert_int_equal(progress, VBLK_VHOST_MORE);
				continue;
			}
			assert_int_equal(at + taken, messages ? 32 : 20);
			assert_memory_equal(&a.header, stream + (messages ? 20 : 0), 12);
			assert_memory_equal(vblk_vhost_assembler_payload(&a),
					    stream + (messages ? 32 : 12), a.header.size);
			vblk_vhost_assembler_start(&a, VBLK_VHOST_REQUESTS_ONLY);
			messages++;
		}
		assert_int_equal(messages, 2);
	}
}

static void test_assembler_asks_for_what_is_missing_and_no_more(void **state)
{
	struct vblk_vhost_assembler a;
	uint8_t stream[32];
	size_t room;

	(void)state;
	two_messages(stream);
	vblk_vhost_assembler_start(&a, VBLK_VHOST_REQUESTS_ONLY);
	memcpy(vblk_vhost_assembler_space(&a, &room), stream, 5);
	assert_int_equal(room, 12);
	assert_int_equal(vblk_vhost_assembler_took(&a, 5), VBLK_VHOST_MORE);
	memcpy(vblk_vhost_assembler_space(&a, &room), stream + 5, 7);
	assert_int_equal(room, 7);
	assert_int_equal(vblk_vhost_assembler_took(&a, 7), VBLK_VHOST_MORE);
	memcpy(vblk_vhost_assembler_space(&a, &room), stream + 12, 8);
	assert_int_equal(room, 8);
	assert_int_equal(vblk_vhost_assembler_took(&a, 8), VBLK_VHOST_READY);
	vblk_vhost_assembler_space(&a, &room);
	assert_int_equal(room, 0);
}

/* It is known by the header alone, and no payload is waited for. */
static void test_bad_header_breaks_the_stream_for_good(void **state)
{
	static const struct {
		struct vblk_vhost_header header;
		enum vblk_vhost_direction direction;
		const char *why;
	} cases[] = {
		{ { 1, 0, 8 }, VBLK_VHOST_REQUESTS_ONLY, "version" },
		{ { 1, 5, 8 }, VBLK_VHOST_REQUESTS_ONLY, "marked as a reply" },
		{ { 1, 1, 8 }, VBLK_VHOST_REPLIES_ONLY, "not marked" },
		{ { 1, 17, 8 }, VBLK_VHOST_REQUESTS_ONLY, "reserved" },
		{ { 1, 1, VBLK_VHOST_PAYLOAD_MAX + 1 }, VBLK_VHOST_REQUESTS_ONLY, "268" },
		{ { 1, 1, UINT32_MAX }, VBLK_VHOST_REQUESTS_ONLY, "268" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_vhost_assembler a;
		uint8_t stream[40] = { 0 };
		size_t taken, room;

		memcpy(stream, &cases[i].header, 12);
		vblk_vhost_assembler_start(&a, cases[i].direction);
		assert_int_equal(vblk_vhost_assembler_feed(&a, stream, sizeof(stream), &taken),
				 VBLK_VHOST_BROKEN);
		assert_int_equal(taken, 12);
		assert_non_null(strstr(a.reason, cases[i].why));
		vblk_vhost_assembler_space(&a, &room);
		assert_int_equal(room, 0);
		assert_int_equal(vblk_vhost_assembler_feed(&a, stream, sizeof(stream), &taken),
				 VBLK_VHOST_BROKEN);
		assert_int_equal(taken, 0);
	}
}

static void test_longest_message_fits(void **state)
{
	struct vblk_vhost_header header = { VBLK_VHOST_SET_CONFIG, 1, VBLK_VHOST_PAYLOAD_MAX };
	uint8_t stream[VBLK_VHOST_MESSAGE_MAX] = { 0 };
	struct vblk_vhost_assembler a;
	size_t taken;

	(void)state;
	memcpy(stream, &header, sizeof(header));
	vblk_vhost_assembler_start(&a, VBLK_VHOST_REQUESTS_ONLY);
	assert_int_equal(vblk_vhost_assembler_feed(&a, stream, sizeof(stream), &taken),
			 VBLK_VHOST_READY);
	assert_int_equal(taken, 280);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply_follows_from_request_and_agreement),
		cmocka_unit_test(test_replies_on_the_wire),
		cmocka_unit_test(test_config_is_answered_in_the_size_it_was_asked_for),
		cmocka_unit_test(test_inflight_is_answered_in_the_size_it_was_asked_for),
		cmocka_unit_test(test_own_request_on_the_wire),
		cmocka_unit_test(test_answer_to_own_request),
		cmocka_unit_test(test_message_arrives_in_pieces_of_any_length),
		cmocka_unit_test(test_assembler_asks_for_what_is_missing_and_no_more),
		cmocka_unit_test(test_bad_header_breaks_the_stream_for_good),
		cmocka_unit_test(test_longest_message_fits),
	};

	return cmocka_run_group_tests_name("vhost_wire", tests, NULL, NULL);
}
