/* SPDX-License-Identifier: MIT */
/* vhost-user messages: which are right, and what is said of those that are not. */
#include "vhost/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

#define ALL UINT64_MAX

static const struct vblk_vhost_terms all_terms = { ALL, ALL, ALL, ALL };

/* A request with its payload; only `size` bytes of it are handed on, at an odd address. */
struct sent {
	uint32_t request;
	uint32_t size;
	unsigned fds;
	union {
		uint64_t u64[34];
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct vblk_vhost_memory memory;
		struct vblk_vhost_slot slot;
		struct vblk_vhost_log log;
		struct vblk_vhost_config config;
		struct vblk_vhost_inflight_area inflight;
	};
};

static int decode(const struct sent *sent, const struct vblk_vhost_terms *terms,
		  struct vblk_vhost_message *message, const char **reason)
{
	struct vblk_vhost_header header = { sent->request, VBLK_VHOST_VERSION, sent->size };
	uint8_t *block = malloc(sent->size + 1);
	int ret;

	assert_non_null(block);
	memcpy(block + 1, &sent->u64, sent->size);
	ret = vblk_vhost_decode(&header, block + 1, sent->fds, terms, message, reason);
	free(block);
	return ret;
}

/* The reason ends what a log line says, so a part of it names the rule. */
static void assert_refused(const struct sent *sent, const char *why)
{
	struct vblk_vhost_message message, before;
	const char *reason = NULL;

	memset(&message, 0x5a, sizeof(message));
	before = message;
	assert_int_equal(decode(sent, &all_terms, &message, &reason), -EPROTO);
	assert_non_null(reason);
	if (!strstr(reason, why))
		fail_msg("request %u: '%s' does not say '%s'", sent->request, reason, why);
	assert_memory_equal(&message, &before, sizeof(message));
}

static struct vblk_vhost_message accepted(const struct sent *sent)
{
	struct vblk_vhost_message message;
	const char *reason = "";

	if (decode(sent, &all_terms, &message, &reason) != 0)
		fail_msg("request %u: refused: %s", sent->request, reason);
	assert_null(reason);
	assert_int_equal(message.header.request, sent->request);
	assert_int_equal(message.header.size, sent->size);
	return message;
}

/* It is accepted, and its payload begins with these bytes. */
static void assert_payload(const struct sent *sent, const void *payload, size_t size)
{
	struct vblk_vhost_message message = accepted(sent);

	assert_memory_equal(&message.u64, payload, size);
}

/* One good message of each request that is served. */
static const struct sent good[] = {
	{ VBLK_VHOST_GET_FEATURES, 0, 0, { { 0 } } },
	{ VBLK_VHOST_SET_FEATURES, 8, 0, { { 0x140000000 } } },
	{ VBLK_VHOST_SET_OWNER, 0, 0, { { 0 } } },
	{ VBLK_VHOST_RESET_OWNER, 0, 0, { { 0 } } },
	{ VBLK_VHOST_SET_MEM_TABLE, 40, 1, { .memory = { .count = 1 } } },
	{ VBLK_VHOST_SET_LOG_BASE, 16, 1, { .log = { 1, 0 } } },
	{ VBLK_VHOST_SET_LOG_FD, 0, 1, { { 0 } } },
	{ VBLK_VHOST_SET_VRING_NUM, 8, 0, { .state = { 255, 32768 } } },
	{ VBLK_VHOST_SET_VRING_ADDR, 40, 0, { .addr = { 255, 0, 16, 4, 2, 3 } } },
	{ VBLK_VHOST_SET_VRING_BASE, 8, 0, { .state = { 255, 65535 } } },
	{ VBLK_VHOST_GET_VRING_BASE, 8, 0, { .state = { 255, 0x12345678 } } },
	{ VBLK_VHOST_SET_VRING_KICK, 8, 1, { { 255 } } },
	{ VBLK_VHOST_SET_VRING_CALL, 8, 1, { { 255 } } },
	{ VBLK_VHOST_SET_VRING_ERR, 8, 1, { { 255 } } },
	{ VBLK_VHOST_GET_PROTOCOL_FEATURES, 0, 0, { { 0 } } },
	{ VBLK_VHOST_SET_PROTOCOL_FEATURES, 8, 0, { { 0x20b } } },
	{ VBLK_VHOST_GET_QUEUE_NUM, 0, 0, { { 0 } } },
	{ VBLK_VHOST_SET_VRING_ENABLE, 8, 0, { .state = { 255, 1 } } },
	{ VBLK_VHOST_SET_BACKEND_REQ_FD, 0, 1, { { 0 } } },
	{ VBLK_VHOST_GET_CONFIG, 16, 0, { .config = { 252, 4, 0, "" } } },
	{ VBLK_VHOST_SET_CONFIG, 16, 0, { .config = { 32, 4, 1, "abcd" } } },
	{ VBLK_VHOST_GET_INFLIGHT_FD, 24, 0, { .inflight = { 0, 0, 256, 32768, 0 } } },
	{ VBLK_VHOST_SET_INFLIGHT_FD, 24, 1, { .inflight = { 4096, 0, 1, 1, 0 } } },
	{ VBLK_VHOST_RESET_DEVICE, 0, 0, { { 0 } } },
	{ VBLK_VHOST_GET_MAX_MEM_SLOTS, 0, 0, { { 0 } } },
	{ VBLK_VHOST_ADD_MEM_REG, 40, 1, { .slot = { 0, { 1, 2, 3, 4 } } } },
	{ VBLK_VHOST_REM_MEM_REG, 40, 0, { .slot = { 0, { 1, 2, 3, 4 } } } },
	{ VBLK_VHOST_SET_STATUS, 8, 0, { { 255 } } },
	{ VBLK_VHOST_GET_STATUS, 0, 0, { { 0 } } },
};

static const struct sent *find_good(uint32_t request)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(good); i++) {
		if (good[i].request == request)
			return &good[i];
	}
	return NULL;
}

static void test_requests_of_a_block_device_are_served(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(good); i++)
		accepted(&good[i]);
}

static void test_all_other_requests_are_not_supported(void **state)
{
	(void)state;
	for (uint32_t request = 0; request < 300; request++) {
		struct sent sent = { .request = request };
		struct vblk_vhost_message message;
		const char *reason = NULL;

		if (find_good(request))
			continue;
		assert_int_equal(decode(&sent, &all_terms, &message, &reason), -EOPNOTSUPP);
		assert_non_null(strstr(reason, "no request that a block device serves"));
	}
}

static void test_requests_have_names(void **state)
{
	(void)state;
	assert_string_equal(vblk_vhost_request_name(0), "unknown request");
	assert_string_equal(vblk_vhost_request_name(1), "GET_FEATURES");
	assert_string_equal(vblk_vhost_request_name(43), "CHECK_DEVICE_STATE");
	assert_string_equal(vblk_vhost_request_name(44), "GET_SHMEM_CONFIG");
	assert_string_equal(vblk_vhost_request_name(45), "unknown request");
	assert_string_equal(vblk_vhost_request_name(UINT32_MAX), "unknown request");
	for (uint32_t request = 1; request < VBLK_VHOST_REQUESTS; request++)
		assert_string_not_equal(vblk_vhost_request_name(request), "unknown request");
}

static void test_header_of_a_request(void **state)
{
	static const struct {
		uint32_t flags;
		const char *why;
	} cases[] = {
		{ 0x1, NULL },
		{ 0x9, NULL },
		{ 0x0, "version" },
		{ 0x2, "version" },
		{ 0x3, "version" },
		{ 0x5, "marked as a reply" },
		{ 0xd, "marked as a reply" },
		{ 0x11, "reserved" },
		{ 0x80000001, "reserved" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct vblk_vhost_header header = { VBLK_VHOST_SET_OWNER, cases[i].flags, 0 };
		struct vblk_vhost_message message;
		const char *reason;
		int ret = vblk_vhost_decode(&header, NULL, 0, &all_terms, &message, &reason);

		assert_int_equal(ret, cases[i].why ? -EPROTO : 0);
		if (cases[i].why)
			assert_non_null(strstr(reason, cases[i].why));
	}
}

/* Sizes from none to one too many; those with a range of sizes have tests of their own. */
static void test_payload_has_the_size_of_its_kind(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(good); i++) {
		struct sent sent = good[i];

		if (sent.request == VBLK_VHOST_SET_MEM_TABLE ||
		    sent.request == VBLK_VHOST_GET_INFLIGHT_FD ||
		    sent.request == VBLK_VHOST_SET_INFLIGHT_FD)
			continue;
		for (sent.size = 0; sent.size <= VBLK_VHOST_PAYLOAD_MAX; sent.size++) {
			if (sent.size != good[i].size)
				assert_refused(&sent, "payload");
		}
	}
}

static void test_payload_above_the_longest_is_refused(void **state)
{
	struct vblk_vhost_header header = { VBLK_VHOST_SET_CONFIG, 1, VBLK_VHOST_PAYLOAD_MAX + 1 };
	struct vblk_vhost_message message;
	const char *reason;

	(void)state;
	assert_int_equal(vblk_vhost_decode(&header, NULL, 0, &all_terms, &message, &reason),
			 -EPROTO);
	assert_non_null(strstr(reason, "more than 268 bytes"));
}

static void test_descriptors_are_as_many_as_the_request_wants(void **state)
{
	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(good); i++) {
		struct sent sent = good[i];

		for (sent.fds = 0; sent.fds < 10; sent.fds++) {
			if (sent.fds == good[i].fds ||
			    (sent.request == VBLK_VHOST_REM_MEM_REG && sent.fds == 1))
				accepted(&sent);
			else
				assert_refused(&sent, "descriptor");
		}
	}
}

static void test_requests_wait_for_their_feature(void **state)
{
	/* What each needs: bits of one of the four numbers of the terms. */
	static const struct {
		uint32_t request;
		struct vblk_vhost_terms least;
		const char *why;
	} cases[] = {
		{ VBLK_VHOST_GET_FEATURES, { 0, 0, 0, 0 }, NULL },
		{ VBLK_VHOST_SET_MEM_TABLE, { 0, 0, 0, 0 }, NULL },
		{ VBLK_VHOST_SET_VRING_NUM, { 0, 0, 0, 0 }, NULL },
		{ VBLK_VHOST_SET_VRING_KICK, { 0, 0, 0, 0 }, NULL },
		{ VBLK_VHOST_GET_PROTOCOL_FEATURES, { 0, 0, 0, 0 }, NULL },
		{ VBLK_VHOST_GET_QUEUE_NUM, { 0, 1ull << 0, 0, 0 }, "not offered" },
		{ VBLK_VHOST_SET_BACKEND_REQ_FD, { 0, 1ull << 5, 0, 0 }, "not offered" },
		{ VBLK_VHOST_RESET_DEVICE, { 0, 1ull << 13, 0, 0 }, "not offered" },
		{ VBLK_VHOST_SET_LOG_BASE, { 0, 0, 0, 1ull << 1 }, "not negotiated" },
		{ VBLK_VHOST_GET_CONFIG, { 0, 0, 0, 1ull << 9 }, "not negotiated" },
		{ VBLK_VHOST_SET_CONFIG, { 0, 0, 0, 1ull << 9 }, "not negotiated" },
		{ VBLK_VHOST_GET_INFLIGHT_FD, { 0, 0, 0, 1ull << 12 }, "not negotiated" },
		{ VBLK_VHOST_SET_INFLIGHT_FD, { 0, 0, 0, 1ull << 12 }, "not negotiated" },
		{ VBLK_VHOST_GET_MAX_MEM_SLOTS, { 0, 0, 0, 1ull << 15 }, "not negotiated" },
		{ VBLK_VHOST_ADD_MEM_REG, { 0, 0, 0, 1ull << 15 }, "not negotiated" },
		{ VBLK_VHOST_REM_MEM_REG, { 0, 0, 0, 1ull << 15 }, "not negotiated" },
		{ VBLK_VHOST_SET_STATUS, { 0, 0, 0, 1ull << 16 }, "not negotiated" },
		{ VBLK_VHOST_GET_STATUS, { 0, 0, 0, 1ull << 16 }, "not negotiated" },
		{ VBLK_VHOST_SET_VRING_ENABLE, { 0, 0, 1ull << 30, 0 }, "bit 30" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		const struct vblk_vhost_terms *least = &cases[i].least;
		struct vblk_vhost_terms most = { ~least->features_offered, ~least->protocol_offered,
						 ~least->features, ~least->protocol };
		const struct sent *sent = find_good(cases[i].request);
		struct vblk_vhost_message message;
		const char *reason;

		assert_int_equal(decode(sent, least, &message, &reason), 0);
		assert_int_equal(decode(sent, &most, &message, &reason),
				 cases[i].why ? -EPROTO : 0);
		if (cases[i].why)
			assert_non_null(strstr(reason, cases[i].why));
	}
}

static void test_features_are_of_those_that_were_offered(void **state)
{
	static const uint32_t requests[] = { VBLK_VHOST_SET_FEATURES,
					     VBLK_VHOST_SET_PROTOCOL_FEATURES };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(requests); i++) {
		struct vblk_vhost_terms terms = { i ? ALL : 0xf0, i ? 0xf0 : ALL, 0, 0 };
		struct sent sent = { requests[i], 8, 0, { { 0xf0 } } };
		struct vblk_vhost_message message;
		const char *reason;

		assert_int_equal(decode(&sent, &terms, &message, &reason), 0);
		assert_int_equal(message.u64, 0xf0);
		sent.u64[0] = 1ull << 63;
		assert_int_equal(decode(&sent, &terms, &message, &reason), -EPROTO);
		assert_non_null(strstr(reason, "not offered"));
	}
}

static void test_ring_numbers(void **state)
{
	static const struct {
		uint32_t request;
		struct vhost_vring_state payload;
		const char *why;
	} cases[] = {
		{ VBLK_VHOST_SET_VRING_NUM, { 0, 1 }, NULL },
		{ VBLK_VHOST_SET_VRING_NUM, { 0, 0 }, "power of two" },
		{ VBLK_VHOST_SET_VRING_NUM, { 0, 3 }, "power of two" },
		{ VBLK_VHOST_SET_VRING_NUM, { 0, 65536 }, "power of two" },
		{ VBLK_VHOST_SET_VRING_NUM, { 256, 1 }, "index" },
		{ VBLK_VHOST_SET_VRING_BASE, { 0, 65536 }, "above 65535" },
		{ VBLK_VHOST_SET_VRING_BASE, { 256, 0 }, "index" },
		{ VBLK_VHOST_GET_VRING_BASE, { UINT32_MAX, 0 }, "index" },
		{ VBLK_VHOST_SET_VRING_ENABLE, { 0, 0 }, NULL },
		{ VBLK_VHOST_SET_VRING_ENABLE, { 0, 2 }, "neither 0 nor 1" },
		{ VBLK_VHOST_SET_VRING_ENABLE, { 256, 0 }, "index" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct sent sent = { cases[i].request, 8, 0, { .state = cases[i].payload } };

		if (cases[i].why) {
			assert_refused(&sent, cases[i].why);
		} else {
			struct vblk_vhost_message message = accepted(&sent);

			assert_int_equal(message.state.index, cases[i].payload.index);
			assert_int_equal(message.state.num, cases[i].payload.num);
		}
	}
}

static void test_ring_addresses(void **state)
{
	static const struct {
		struct vhost_vring_addr payload;
		const char *why;
	} cases[] = {
		{ { 1, 0, 0x10, 0x24, 0x32, UINT64_MAX }, NULL },
		{ { 1, 1, 0x10, 0x24, 0x32, 0x4 }, NULL },
		{ { 1, 2, 0x10, 0x24, 0x32, 0x4 }, "reserved flag" },
		{ { 1, 0, 0x18, 0x24, 0x32, 0 }, "multiple of 16" },
		{ { 1, 0, 0x10, 0x22, 0x32, 0 }, "used ring's address is not a multiple of 4" },
		{ { 1, 0, 0x10, 0x24, 0x31, 0 }, "multiple of 2" },
		{ { 1, 1, 0x10, 0x24, 0x32, 0x2 }, "log's address is not a multiple of 4" },
		{ { 256, 0, 0x10, 0x24, 0x32, 0 }, "index" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct sent sent = {
			VBLK_VHOST_SET_VRING_ADDR, 40, 0, { .addr = cases[i].payload }
		};

		if (cases[i].why) {
			assert_refused(&sent, cases[i].why);
		} else {
			struct vblk_vhost_message message = accepted(&sent);

			assert_memory_equal(&message.addr, &cases[i].payload, 40);
		}
	}
}

static void test_ring_descriptor_and_its_bit_agree(void **state)
{
	static const struct {
		uint64_t payload;
		unsigned fds;
		const char *why;
	} cases[] = {
		{ 7, 1, NULL },
		{ 0x107, 0, NULL },
		{ 7, 0, "bit 8 has to be set" },
		{ 0x107, 1, "bit 8 has to be clear" },
		{ 0x207, 1, "reserved bit" },
		{ 1ull << 63, 1, "reserved bit" },
	};
	static const uint32_t requests[] = { VBLK_VHOST_SET_VRING_KICK, VBLK_VHOST_SET_VRING_CALL,
					     VBLK_VHOST_SET_VRING_ERR };

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases) * VBLK_ARRAY_SIZE(requests); i++) {
		size_t n = i / VBLK_ARRAY_SIZE(requests);
		struct sent sent = { requests[i % VBLK_ARRAY_SIZE(requests)],
				     8,
				     cases[n].fds,
				     { { cases[n].payload } } };

		if (cases[n].why) {
			assert_refused(&sent, cases[n].why);
		} else {
			struct vblk_vhost_message message = accepted(&sent);

			assert_int_equal(message.ring_fd.index, 7);
			assert_int_equal(message.ring_fd.has_fd, cases[n].fds);
		}
	}
}

static void test_status_has_eight_bits(void **state)
{
	struct sent sent = { VBLK_VHOST_SET_STATUS, 8, 0, { { 256 } } };

	(void)state;
	assert_refused(&sent, "8 bits");
}

static void test_memory_table_has_room_for_its_regions(void **state)
{
	(void)state;
	for (uint32_t count = 0; count <= 10; count++) {
		struct sent sent = { VBLK_VHOST_SET_MEM_TABLE,
				     0,
				     count < 8 ? count : 8,
				     { .memory = { .count = count, .padding = 1 } } };

		for (sent.size = 0; sent.size <= VBLK_VHOST_PAYLOAD_MAX; sent.size++) {
			if (count <= 8 && sent.size >= 8 + 32 * count && sent.size <= 264 &&
			    sent.size % 32 == 8)
				assert_int_equal(accepted(&sent).memory.count, count);
			else
				assert_refused(&sent, "region");
		}
		sent.size = sizeof(struct vblk_vhost_memory);
		if (count > 8)
			assert_refused(&sent, "more than 8 regions");
	}
}

static void test_memory_table_keeps_its_regions_and_no_more(void **state)
{
	struct sent sent = {
		VBLK_VHOST_SET_MEM_TABLE, 8 + 3 * 32, 2, { .memory = { .count = 2 } }
	};
	struct vblk_vhost_region none = { 0 };
	struct vblk_vhost_message message;

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		sent.memory.region[i] = (struct vblk_vhost_region){ 16 * i, i + 1, 99, i };
	message = accepted(&sent);
	assert_memory_equal(message.memory.region, sent.memory.region, 2 * sizeof(none));
	assert_memory_equal(&message.memory.region[2], &none, sizeof(none));
}

static void test_slot_has_its_region_behind_padding(void **state)
{
	static const struct vblk_vhost_region region = { 0x1000, 0x2000, 0x3000, 0x4000 };
	struct sent sent = { VBLK_VHOST_ADD_MEM_REG, 40, 1, { .slot = { 77, region } } };
	struct vblk_vhost_message message;

	(void)state;
	message = accepted(&sent);
	assert_memory_equal(&message.region, &region, sizeof(region));
}

static void test_log_ends_in_its_file(void **state)
{
	static const struct {
		struct vblk_vhost_log payload;
		const char *why;
	} cases[] = {
		{ { 16, INT64_MAX - 16 }, NULL },
		{ { 0, 0 }, "empty" },
		{ { 16, INT64_MAX - 15 }, "2^63" },
		{ { UINT64_MAX, 16 }, "2^63" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct sent sent = { VBLK_VHOST_SET_LOG_BASE, 16, 1, { .log = cases[i].payload } };

		if (cases[i].why)
			assert_refused(&sent, cases[i].why);
		else
			assert_payload(&sent, &cases[i].payload, 16);
	}
}

static void test_config_stays_in_its_space(void **state)
{
	static const struct {
		uint32_t offset, size, flags, sent;
		const char *why;
	} cases[] = {
		{ 0, 256, 0, 256, NULL },
		{ 255, 1, 1, 1, NULL },
		{ 0, 0, 0, 0, "payload" },
		{ 0, 257, 0, 256, "announces" },
		{ 0, 8, 0, 7, "announces" },
		{ 0, UINT32_MAX, 0, 256, "announces" },
		{ 1, 256, 0, 256, "passes the end" },
		{ 256, 1, 0, 1, "passes the end" },
		{ UINT32_MAX, 1, 0, 1, "passes the end" },
		{ 0, 4, 2, 4, "flags are above 1" },
	};

	(void)state;
	for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(cases); i++) {
		size_t n = i / 2;
		struct sent sent = { i % 2 ? VBLK_VHOST_GET_CONFIG : VBLK_VHOST_SET_CONFIG,
				     12 + cases[n].sent,
				     0,
				     { .config = { cases[n].offset, cases[n].size, cases[n].flags,
						   "data" } } };

		if (cases[n].why) {
			assert_refused(&sent, cases[n].why);
		} else {
			struct vblk_vhost_message message = accepted(&sent);

			assert_memory_equal(&message.config, &sent.config, 12 + cases[n].size);
		}
	}
}

static void test_inflight_area_has_queues(void **state)
{
	static const struct {
		struct vblk_vhost_inflight_area payload;
		uint32_t size;
		const char *why;     /* as a SET */
		const char *get_why; /* as a GET, which names no area yet */
	} cases[] = {
		{ { 64, INT64_MAX - 64, 1, 1, 99 }, 24, NULL, NULL },
		{ { 64, 0, 256, 32768, 99 }, 20, NULL, NULL },
		{ { 64, 0, 1, 1, 0 }, 19, "neither 20 nor 24", "neither 20 nor 24" },
		{ { 64, 0, 1, 1, 0 }, 21, "neither 20 nor 24", "neither 20 nor 24" },
		{ { 64, 0, 1, 1, 0 }, 25, "neither 20 nor 24", "neither 20 nor 24" },
		{ { 64, 0, 0, 1, 0 }, 24, "number of queues", "number of queues" },
		{ { 64, 0, 257, 1, 0 }, 24, "number of queues", "number of queues" },
		{ { 64, 0, 1, 0, 0 }, 24, "size of a queue", "size of a queue" },
		{ { 64, 0, 1, 32769, 0 }, 24, "size of a queue", "size of a queue" },
		{ { 0, 0, 1, 1, 0 }, 24, "empty", NULL },
		{ { 64, INT64_MAX - 63, 1, 1, 0 }, 24, "2^63", NULL },
		{ { UINT64_MAX, 1, 1, 1, 0 }, 24, "2^63", NULL },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		struct sent set = { VBLK_VHOST_SET_INFLIGHT_FD,
				    cases[i].size,
				    1,
				    { .inflight = cases[i].payload } };
		struct sent get = { VBLK_VHOST_GET_INFLIGHT_FD,
				    cases[i].size,
				    0,
				    { .inflight = cases[i].payload } };

		if (cases[i].why)
			assert_refused(&set, cases[i].why);
		else
			assert_payload(&set, &cases[i].payload, 20);
		if (cases[i].get_why)
			assert_refused(&get, cases[i].get_why);
		else
			assert_int_equal(accepted(&get).inflight.padding, 0);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_of_a_block_device_are_served),
		cmocka_unit_test(test_all_other_requests_are_not_supported),
		cmocka_unit_test(test_requests_have_names),
		cmocka_unit_test(test_header_of_a_request),
		cmocka_unit_test(test_payload_has_the_size_of_its_kind),
		cmocka_unit_test(test_payload_above_the_longest_is_refused),
		cmocka_unit_test(test_descriptors_are_as_many_as_the_request_wants),
		cmocka_unit_test(test_requests_wait_for_their_feature),
		cmocka_unit_test(test_features_are_of_those_that_were_offered),
		cmocka_unit_test(test_ring_numbers),
		cmocka_unit_test(test_ring_addresses),
		cmocka_unit_test(test_ring_descriptor_and_its_bit_agree),
		cmocka_unit_test(test_status_has_eight_bits),
		cmocka_unit_test(test_memory_table_has_room_for_its_regions),
		cmocka_unit_test(test_memory_table_keeps_its_regions_and_no_more),
		cmocka_unit_test(test_slot_has_its_region_behind_padding),
		cmocka_unit_test(test_log_ends_in_its_file),
		cmocka_unit_test(test_config_stays_in_its_space),
		cmocka_unit_test(test_inflight_area_has_queues),
	};

	return cmocka_run_group_tests_name("vhost_codec", tests, NULL, NULL);
}
