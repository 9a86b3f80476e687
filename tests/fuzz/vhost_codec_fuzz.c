/* SPDX-License-Identifier: MIT */
/*
 * A stream of vhost-user messages, good and bad, chopped into pieces.
 *
 * A program writes the stream; then it goes through the assembler and the decoder as from a socket.
 * Messages begin and end where they do by their headers alone, however they were chopped. One that
 * is accepted says the same as its bytes and is within the limits of the protocol; one that is
 * refused has a reason and leaves nothing behind. The tables of memory that come out of it are held
 * against a model (memory_model.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory_model.h"
#include "records.h"
#include "vhost/codec.h"

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define STREAM_MAX (RECORDS_MAX * (VBLK_VHOST_MESSAGE_MAX + 64))
#define HEADER	   sizeof(struct vblk_vhost_header)

/*
 * What a step does and what its arguments a[0..6] mean.
 *
 * MESSAGE  a[0] request, a[1] descriptors (0: as many as are right), a[2] flags, a[3] what is added
 *          to the right size, a[4] regions or bytes of configuration, a[5..6] first number
 * PATCH    of the last message: a[0] where, a[1..2] a number, a[3] its size
 * REGION   of the last message: a[0] which, a[1..4] guest, size, user, offset in pages, a[5] and
 *          a[6] what is off by how much
 * RAW      a[0] how many, a[1..6] bytes
 * CHOP     a[0..6] lengths of pieces in turn, 0: to the end
 * TERMS    a[0] a bit that was not agreed on, a[1] where
 */
enum op {
	OP_MESSAGE,
	OP_PATCH,
	OP_REGION,
	OP_RAW,
	OP_CHOP,
	OP_TERMS,
	OPS,
};

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_MESSAGE, VBLK_VHOST_SET_FEATURES },
	{ OP_MESSAGE, VBLK_VHOST_SET_OWNER, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_MEM_TABLE, 0, 0, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_MEM_TABLE, 0, 0, 0, 2 },
	{ OP_MESSAGE, VBLK_VHOST_SET_MEM_TABLE, 0, 0, 32, 8 },
	{ OP_MESSAGE, VBLK_VHOST_SET_LOG_BASE, 0, 0, 0, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_NUM },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_ADDR },
	{ OP_MESSAGE, VBLK_VHOST_GET_VRING_BASE },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_KICK, 0, 0, 0, 0, 3 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_CALL, 1, 0, 0, 0, 1, 8 },
	{ OP_MESSAGE, VBLK_VHOST_GET_CONFIG, 0, 0, 0, 60 },
	{ OP_MESSAGE, VBLK_VHOST_SET_CONFIG, 0, 0, 0, 1, 32 },
	{ OP_MESSAGE, VBLK_VHOST_SET_INFLIGHT_FD, 0, 0, 0, 0, 1, 12 },
	{ OP_MESSAGE, VBLK_VHOST_ADD_MEM_REG },
	{ OP_MESSAGE, VBLK_VHOST_REM_MEM_REG },
	{ OP_MESSAGE, VBLK_VHOST_SET_STATUS, 0, 0, 0, 0, 15 },
	{ OP_REGION, 0, 0, 16, 1 },
	{ OP_REGION, 0, 16, 16, 17, 16 },
	{ OP_REGION, 1, 16, 16, 17, 16 },
	{ OP_REGION, 0, 0xff, 1, 16, 0, 0, 0x80 },
	{ OP_REGION, 1, 0, 1, 17 },
	{ OP_REGION, 0, 0xf0, 1, 0xff, 0, 0, 0xc0 },
	{ OP_REGION, 1, 0xf1, 1, 0, 0, 0, 0x80 },
	{ OP_REGION, 0, 16, 16, 17, 16, 9, 1 },
	{ OP_PATCH, 16, 1 },
	{ OP_CHOP, 1 },
	{ OP_CHOP, 12, 8 },
	{ OP_CHOP, 7, 200, 3 },
	{ OP_TERMS, 15, 3 },
	{ OP_TERMS, 30, 2 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

static struct {
	uint8_t stream[STREAM_MAX];
	uint8_t fds[STREAM_MAX]; /* descriptors that travel with a byte */
	size_t length;
	size_t last; /* where the last message begins */
	size_t last_size;
	uint8_t pieces[7];
	struct vblk_vhost_terms terms;
} run;

/* The size and the descriptors that are right, and a payload to begin with. */
static uint32_t compose(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	payload[0] = record_u64(a + 5);
	*fds = 0;
	switch (a[0]) {
	case VBLK_VHOST_SET_FEATURES:
	case VBLK_VHOST_SET_PROTOCOL_FEATURES:
	case VBLK_VHOST_SET_STATUS:
		return 8;
	case VBLK_VHOST_SET_MEM_TABLE:
		*fds = a[4];
		payload[0] = a[4];
		return 8 + 32 * (a[4] % 9u);
	case VBLK_VHOST_SET_LOG_BASE:
		*fds = 1;
		return 16;
	case VBLK_VHOST_SET_VRING_NUM:
	case VBLK_VHOST_SET_VRING_BASE:
	case VBLK_VHOST_GET_VRING_BASE:
	case VBLK_VHOST_SET_VRING_ENABLE:
		payload[0] = a[5] | (1ull << a[6] % 33u) << 32;
		return 8;
	case VBLK_VHOST_SET_VRING_ADDR:
		payload[0] = a[5];
		return 40;
	case VBLK_VHOST_SET_VRING_KICK:
	case VBLK_VHOST_SET_VRING_CALL:
	case VBLK_VHOST_SET_VRING_ERR:
		*fds = payload[0] & 0x100 ? 0 : 1;
		return 8;
	case VBLK_VHOST_GET_CONFIG:
	case VBLK_VHOST_SET_CONFIG:
		payload[0] = a[5] | (a[4] + 1ull) << 32;
		payload[1] = a[6];
		return 12 + a[4] + 1u;
	case VBLK_VHOST_SET_INFLIGHT_FD:
	case VBLK_VHOST_GET_INFLIGHT_FD:
		*fds = a[0] == VBLK_VHOST_SET_INFLIGHT_FD;
		payload[2] = 0x800001;
		return a[4] & 1 ? 20 : 24;
	case VBLK_VHOST_ADD_MEM_REG:
	case VBLK_VHOST_REM_MEM_REG:
		*fds = a[0] == VBLK_VHOST_ADD_MEM_REG;
		return 40;
	case VBLK_VHOST_SET_LOG_FD:
	case VBLK_VHOST_SET_BACKEND_REQ_FD:
		*fds = 1;
		return 0;
	default:
		return 0;
	}
}

static void write_message(const uint8_t a[7])
{
	uint64_t payload[40] = { 0 };
	unsigned fds;
	uint32_t right = compose(a, payload, &fds);
	uint32_t size = right + (uint32_t)(int8_t)a[3];
	struct vblk_vhost_header header = { a[0], 1u | (a[2] & 1u) << 3, size };

	/* At times one of the 32 flags is the other way round. */
	if (a[2] & 2)
		header.flags ^= 1u << (a[2] >> 2 & 31);
	/* The payload is as long as the header says, and what does not fit is missing. */
	run.last_size = size <= sizeof(payload) ? size : right;
	run.last = run.length;
	run.fds[run.length] = (uint8_t)(a[1] ? a[1] - 1 : fds);
	memcpy(run.stream + run.length, &header, HEADER);
	memcpy(run.stream + run.length + HEADER, payload, run.last_size);
	run.length += HEADER + run.last_size;
}

static void patch(size_t at, const void *value, size_t size)
{
	if (at < run.last_size && size <= run.last_size - at)
		memcpy(run.stream + run.last + HEADER + at, value, size);
}

static void write_region(const uint8_t a[7])
{
	uint64_t numbers[4];
	uint64_t base = a[6] & 0x80 ? 0 - (uint64_t)0x100000 : 0;

	for (unsigned i = 0; i < 4; i++)
		numbers[i] = (uint64_t)a[1 + i] << 12;
	numbers[0] += base;
	numbers[2] += a[6] & 0x40 ? base : 0;
	numbers[a[5] & 3] += record_u64((const uint8_t[]){ a[6] & 63, a[5] >> 2 }) & ~15ull;
	patch(8 + 32 * (a[0] % 8u), numbers, sizeof(numbers));
}

static void write_raw(const uint8_t a[7])
{
	size_t count = 1 + a[0] % 6u;

	memcpy(run.stream + run.length, a + 1, count);
	run.length += count;
}

static void forbid(const uint8_t a[7])
{
	uint64_t *numbers[] = { &run.terms.features_offered, &run.terms.protocol_offered,
				&run.terms.features, &run.terms.protocol };

	*numbers[a[1] % COUNT(numbers)] &= ~(1ull << (a[0] & 63));
}

static void step(enum op op, const uint8_t a[7])
{
	uint64_t value = record_u64(a + 1);

	switch (op) {
	case OP_MESSAGE:
		write_message(a);
		break;
	case OP_PATCH:
		patch(a[0], &value, (size_t)1 << a[3] % 4);
		break;
	case OP_REGION:
		write_region(a);
		break;
	case OP_RAW:
		write_raw(a);
		break;
	case OP_CHOP:
		memcpy(run.pieces, a, sizeof(run.pieces));
		break;
	default:
		forbid(a);
		break;
	}
}

/* The payload once more, from what was made of it. Its bytes, or 0 if there is none to compare. */
static size_t encode(const struct vblk_vhost_message *message, struct vblk_vhost_config *payload)
{
	uint64_t ring_fd = message->ring_fd.index | (message->ring_fd.has_fd ? 0 : 0x100);

	switch (message->header.request) {
	case VBLK_VHOST_SET_VRING_KICK:
	case VBLK_VHOST_SET_VRING_CALL:
	case VBLK_VHOST_SET_VRING_ERR:
		memcpy(payload, &ring_fd, sizeof(ring_fd));
		return sizeof(ring_fd);
	case VBLK_VHOST_ADD_MEM_REG:
	case VBLK_VHOST_REM_MEM_REG:
		memcpy((uint8_t *)payload + 8, &message->region, sizeof(message->region));
		return 40;
	case VBLK_VHOST_SET_MEM_TABLE:
		memcpy(payload, &message->memory, sizeof(message->memory));
		return 8 + 32 * message->memory.count;
	case VBLK_VHOST_GET_INFLIGHT_FD:
	case VBLK_VHOST_SET_INFLIGHT_FD:
		memcpy(payload, &message->inflight, sizeof(message->inflight));
		return 20;
	default:
		memcpy(payload, &message->config, sizeof(*payload));
		return message->header.size;
	}
}

static void expect_limits(const struct vblk_vhost_message *message, unsigned fds)
{
	const struct vblk_vhost_config *config = &message->config;

	FUZZ_CHECK(fds <= VBLK_VHOST_FDS_MAX, "%u descriptors", fds);
	switch (message->header.request) {
	case VBLK_VHOST_SET_MEM_TABLE:
		FUZZ_CHECK(message->memory.count <= 8 && message->memory.count == fds,
			   "%u regions, %u descriptors", message->memory.count, fds);
		break;
	case VBLK_VHOST_SET_VRING_NUM:
		FUZZ_CHECK(__builtin_popcount(message->state.num) == 1, "a ring of %u",
			   message->state.num);
		FUZZ_CHECK(message->state.num <= 32768, "a ring of %u", message->state.num);
		__attribute__((fallthrough));
	case VBLK_VHOST_SET_VRING_BASE:
	case VBLK_VHOST_GET_VRING_BASE:
	case VBLK_VHOST_SET_VRING_ENABLE:
	case VBLK_VHOST_SET_VRING_ADDR:
		FUZZ_CHECK(message->state.index < 256, "ring %u", message->state.index);
		break;
	case VBLK_VHOST_SET_VRING_KICK:
	case VBLK_VHOST_SET_VRING_CALL:
	case VBLK_VHOST_SET_VRING_ERR:
		FUZZ_CHECK(message->ring_fd.index < 256, "ring %u", message->ring_fd.index);
		FUZZ_CHECK(fds == message->ring_fd.has_fd, "%u descriptors", fds);
		break;
	case VBLK_VHOST_GET_CONFIG:
	case VBLK_VHOST_SET_CONFIG:
		FUZZ_CHECK(config->size > 0 && (uint64_t)config->offset + config->size <= 256,
			   "%u bytes at %u", config->size, config->offset);
		break;
	default:
		break;
	}
}

static void expect_message(const struct vblk_vhost_message *message, const uint8_t *payload,
			   unsigned fds)
{
	struct vblk_vhost_config again;
	size_t size;

	/* Padding is not kept; what is not written again is taken from the message itself. */
	memset(&again, 0, sizeof(again));
	memcpy(&again, payload, message->header.size);
	size = encode(message, &again);
	if (message->header.request == VBLK_VHOST_SET_MEM_TABLE)
		FUZZ_CHECK(size <= message->header.size, "%zu bytes of regions", size);
	FUZZ_CHECK(memcmp(&again, payload, size) == 0, "a message of request %u is another",
		   message->header.request);
	expect_limits(message, fds);
}

static void decode(const struct vblk_vhost_assembler *assembler, unsigned fds)
{
	const struct vblk_vhost_header *header = &assembler->header;
	struct vblk_vhost_message message;
	const uint8_t *bytes = (const uint8_t *)&message;
	uint8_t untouched[sizeof(message)];
	const char *reason = NULL;
	uint8_t *payload = malloc(header->size ? header->size : 1);
	int ret;

	if (!payload)
		return;
	/* In a block of its own: AddressSanitizer watches where it ends. */
	memcpy(payload, vblk_vhost_assembler_payload(assembler), header->size);
	memset(&message, 0xa5, sizeof(message));
	memset(untouched, 0xa5, sizeof(untouched));
	ret = vblk_vhost_decode(header, payload, fds, &run.terms, &message, &reason);
	FUZZ_TRACE("     %s with %u bytes and %u descriptors: %d %s",
		   vblk_vhost_request_name(header->request), header->size, fds, ret,
		   reason ? reason : "");
	FUZZ_CHECK(ret == 0 || ret == -EPROTO || ret == -EOPNOTSUPP, "decoding returns %d", ret);
	FUZZ_CHECK((ret == 0) == (reason == NULL), "the reason is '%s'", reason ? reason : "none");
	if (ret == 0) {
		expect_message(&message, payload, fds);
		memory_model_apply(&message);
	} else {
		FUZZ_CHECK(memcmp(bytes, untouched, sizeof(untouched)) == 0,
			   "a refused message is set");
	}
	free(payload);
}

/* Where the message that begins at `at` ends, by its header; 0: it is not all there. */
static size_t message_end(size_t at, bool *broken)
{
	struct vblk_vhost_header header;

	*broken = false;
	if (run.length - at < HEADER)
		return 0;
	memcpy(&header, run.stream + at, HEADER);
	*broken = (header.flags & ~8u) != 1 || header.size > 268;
	if (*broken)
		return at + HEADER;
	return run.length - at - HEADER < header.size ? 0 : at + HEADER + header.size;
}

/* How long the piece is that begins here; pieces are at places of the stream, not of messages. */
static size_t next_piece(unsigned *turn, size_t at)
{
	size_t piece = run.pieces[(*turn)++ % COUNT(run.pieces)];

	return piece == 0 || piece > run.length - at ? run.length - at : piece;
}

static unsigned count_fds(size_t from, size_t to)
{
	unsigned fds = 0;

	for (size_t i = from; i < to; i++)
		fds += run.fds[i];
	return fds;
}

/* One message; where the stream goes on, or 0 if it ends here. */
static size_t receive(size_t begin, unsigned *turn)
{
	struct vblk_vhost_assembler assembler;
	enum vblk_vhost_progress progress = VBLK_VHOST_MORE;
	bool broken;
	size_t end = message_end(begin, &broken), at = begin, taken;

	vblk_vhost_assembler_start(&assembler, VBLK_VHOST_REQUESTS_ONLY);
	while (progress == VBLK_VHOST_MORE && at < run.length) {
		size_t piece = next_piece(turn, at);

		progress = vblk_vhost_assembler_feed(&assembler, run.stream + at, piece, &taken);
		FUZZ_CHECK(taken > 0 && taken <= piece, "%zu of %zu bytes are taken", taken, piece);
		at += taken;
	}
	FUZZ_CHECK((progress == VBLK_VHOST_MORE) == (end == 0), "progress is %d", (int)progress);
	FUZZ_CHECK((progress == VBLK_VHOST_BROKEN) == broken, "progress is %d", (int)progress);
	FUZZ_CHECK((assembler.reason != NULL) == broken, "the reason is wrong");
	if (end == 0)
		return 0;
	FUZZ_CHECK(at == end, "the message ends at %zu, should at %zu", at, end);
	if (broken)
		return 0;
	FUZZ_CHECK(memcmp(assembler.bytes, run.stream + begin, end - begin) == 0,
		   "other bytes came out than went in");
	decode(&assembler, count_fds(begin, end));
	return end;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *record;
	unsigned turn = 0;

	run.length = 0;
	run.last = 0;
	run.last_size = 0;
	memset(run.fds, 0, sizeof(run.fds));
	memset(run.pieces, 0, sizeof(run.pieces));
	run.terms = (struct vblk_vhost_terms){ UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	memory_model_begin();
	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
	}
	for (size_t at = 0; at < run.length;) {
		at = receive(at, &turn);
		if (at == 0)
			break;
	}
	return 0;
}
