/* SPDX-License-Identifier: MIT */
/*
 * The message codec. A table has a row for each request; a request points to the kind of its
 * payload, which knows its sizes and how it is taken apart. What is true of one request alone is a
 * function in its row.
 */
#include "vhost/codec.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/checked.h"

enum payload {
	PAYLOAD_NONE,
	PAYLOAD_U64,
	PAYLOAD_STATE,
	PAYLOAD_ADDR,
	PAYLOAD_RING_FD,
	PAYLOAD_MEMORY,
	PAYLOAD_SLOT,
	PAYLOAD_LOG,
	PAYLOAD_CONFIG,
	PAYLOAD_INFLIGHT,
	PAYLOAD_FOREIGN, /* the request is not for a block device */
};

/* What has to be agreed on before a request may be sent. */
enum gate {
	GATE_NONE,
	GATE_OFFERED,	 /* we offered the protocol feature */
	GATE_NEGOTIATED, /* the front end took the protocol feature */
	GATE_RINGS,	 /* the front end took the virtio feature PROTOCOL_FEATURES */
};

/* Sets the message's payload; NULL, or what is wrong with it. */
typedef const char *(*parse_fn)(const void *payload, uint32_t size, unsigned fds,
				struct vblk_vhost_message *message);
/* Looks at a message that was taken apart; NULL, or what is wrong with it. */
typedef const char *(*check_fn)(const struct vblk_vhost_message *message,
				const struct vblk_vhost_terms *terms);

struct kind {
	uint16_t min;
	uint16_t max;
	const char *rule; /* said when the size is not in between */
	parse_fn parse;
};

struct row {
	const char *name;
	enum payload payload;
	uint8_t fds_min;
	uint8_t fds_max;
	enum vblk_vhost_reply reply;
	enum gate gate;
	enum vblk_vhost_protocol_feature feature;
	check_fn check;
};

static const char *parse_none(const void *payload, uint32_t size, unsigned fds,
			      struct vblk_vhost_message *message)
{
	(void)payload;
	(void)size;
	(void)fds;
	(void)message;
	return NULL;
}

static const char *parse_u64(const void *payload, uint32_t size, unsigned fds,
			     struct vblk_vhost_message *message)
{
	(void)fds;
	memcpy(&message->u64, payload, size);
	return NULL;
}

static const char *check_index(uint32_t index)
{
	return index < VBLK_VHOST_RINGS_MAX ? NULL : "the ring's index is above 255";
}

static const char *parse_state(const void *payload, uint32_t size, unsigned fds,
			       struct vblk_vhost_message *message)
{
	(void)fds;
	memcpy(&message->state, payload, size);
	return check_index(message->state.index);
}

static const char *parse_addr(const void *payload, uint32_t size, unsigned fds,
			      struct vblk_vhost_message *message)
{
	const struct vhost_vring_addr *addr = &message->addr;

	(void)fds;
	memcpy(&message->addr, payload, size);
	if (addr->flags & ~(1u << VHOST_VRING_F_LOG))
		return "a reserved flag is set; only bit 0 has a meaning";
	if (addr->desc_user_addr % VRING_DESC_ALIGN_SIZE != 0)
		return "the descriptor table's address is not a multiple of 16";
	if (addr->used_user_addr % VRING_USED_ALIGN_SIZE != 0)
		return "the used ring's address is not a multiple of 4";
	if (addr->avail_user_addr % VRING_AVAIL_ALIGN_SIZE != 0)
		return "the available ring's address is not a multiple of 2";
	/* Without the flag the address is not used, and front ends put anything there. */
	if (addr->flags && addr->log_guest_addr % VRING_USED_ALIGN_SIZE != 0)
		return "the log's address is not a multiple of 4";
	return check_index(addr->index);
}

static const char *parse_ring_fd(const void *payload, uint32_t size, unsigned fds,
				 struct vblk_vhost_message *message)
{
	uint64_t value;

	memcpy(&value, payload, size);
	if (value & ~(VBLK_VHOST_RING_FD_INDEX | VBLK_VHOST_RING_FD_NONE))
		return "a reserved bit is set; bits 0 to 7 are an index, bit 8 is a flag";
	message->ring_fd.index = (uint32_t)(value & VBLK_VHOST_RING_FD_INDEX);
	message->ring_fd.has_fd = !(value & VBLK_VHOST_RING_FD_NONE);
	if (message->ring_fd.has_fd && fds == 0)
		return "no descriptor came along; without one, bit 8 has to be set";
	if (!message->ring_fd.has_fd && fds > 0)
		return "a descriptor came along; with one, bit 8 has to be clear";
	return NULL;
}

/*
 * The array may be longer than what is used of it: front ends send what their structure has room
 * for, and User-mode Linux has room for two.
 */
static const char *parse_memory(const void *payload, uint32_t size, unsigned fds,
				struct vblk_vhost_message *message)
{
	struct vblk_vhost_memory *memory = &message->memory;
	size_t header = offsetof(struct vblk_vhost_memory, region);
	size_t room = (size - header) / sizeof(memory->region[0]);

	memcpy(memory, payload, size);
	if ((size - header) % sizeof(memory->region[0]) != 0)
		return "the payload ends within a region; it is 8 bytes and 32 for each region";
	if (memory->count > VBLK_VHOST_TABLE_MAX)
		return "there are more than 8 regions";
	if (memory->count > room)
		return "there are more regions than the payload has room for";
	if (memory->count != fds)
		return "there are not as many descriptors as regions";
	memset(&memory->region[memory->count], 0,
	       (VBLK_VHOST_TABLE_MAX - memory->count) * sizeof(memory->region[0]));
	return NULL;
}

static const char *parse_slot(const void *payload, uint32_t size, unsigned fds,
			      struct vblk_vhost_message *message)
{
	struct vblk_vhost_slot slot;

	(void)fds;
	memcpy(&slot, payload, size);
	message->region = slot.region;
	return NULL;
}

/* Offsets in files are signed. */
static bool ends_in_file(uint64_t offset, uint64_t size)
{
	uint64_t end;

	return vblk_add_u64(offset, size, &end) && end <= INT64_MAX;
}

static const char *parse_log(const void *payload, uint32_t size, unsigned fds,
			     struct vblk_vhost_message *message)
{
	(void)fds;
	memcpy(&message->log, payload, size);
	if (message->log.size == 0)
		return "the log is empty";
	if (!ends_in_file(message->log.offset, message->log.size))
		return "the log's end is above 2^63";
	return NULL;
}

static const char *parse_config(const void *payload, uint32_t size, unsigned fds,
				struct vblk_vhost_message *message)
{
	const struct vblk_vhost_config *config = &message->config;
	uint64_t end;

	(void)fds;
	memcpy(&message->config, payload, size);
	if (size - VBLK_VHOST_CONFIG_HEADER != config->size)
		return "the payload is not 12 bytes and as many as it announces";
	if (!vblk_add_u64(config->offset, config->size, &end) || end > VBLK_VHOST_CONFIG_MAX)
		return "it passes the end of the configuration space, which has 256 bytes";
	if (config->flags > VBLK_VHOST_CONFIG_MIGRATION)
		return "the flags are above 1";
	return NULL;
}

static const char *parse_inflight(const void *payload, uint32_t size, unsigned fds,
				  struct vblk_vhost_message *message)
{
	struct vblk_vhost_inflight_area *area = &message->inflight;

	(void)fds;
	memcpy(area, payload, size);
	area->padding = 0;
	if (size != sizeof(*area) && size != VBLK_VHOST_INFLIGHT_SHORT)
		return "the payload is neither 20 nor 24 bytes";
	if (area->queues == 0 || area->queues > VBLK_VHOST_RINGS_MAX)
		return "the number of queues is not 1 to 256";
	if (area->queue_size == 0 || area->queue_size > VBLK_VHOST_RING_SIZE)
		return "the size of a queue is not 1 to 32768";
	return NULL;
}

static const struct kind kinds[] = {
	[PAYLOAD_NONE] = { 0, 0, "there is a payload, and none belongs to it", parse_none },
	[PAYLOAD_U64] = { 8, 8, "the payload is not 8 bytes, one number", parse_u64 },
	[PAYLOAD_STATE] = { 8, 8, "the payload is not 8 bytes, an index and a number",
			    parse_state },
	[PAYLOAD_ADDR] = { 40, 40, "the payload is not 40 bytes, a ring's addresses", parse_addr },
	[PAYLOAD_RING_FD] = { 8, 8, "the payload is not 8 bytes, one number", parse_ring_fd },
	[PAYLOAD_MEMORY] = { 8, sizeof(struct vblk_vhost_memory),
			     "the payload is not 8 bytes and 32 for each of up to 8 regions",
			     parse_memory },
	[PAYLOAD_SLOT] = { 40, 40, "the payload is not 40 bytes, padding and a region",
			   parse_slot },
	[PAYLOAD_LOG] = { 16, 16, "the payload is not 16 bytes, a size and an offset", parse_log },
	[PAYLOAD_CONFIG] = { VBLK_VHOST_CONFIG_HEADER + 1, VBLK_VHOST_PAYLOAD_MAX,
			     "the payload is not 12 bytes and 1 to 256 of configuration space",
			     parse_config },
	[PAYLOAD_INFLIGHT] = { VBLK_VHOST_INFLIGHT_SHORT, sizeof(struct vblk_vhost_inflight_area),
			       "the payload is neither 20 nor 24 bytes", parse_inflight },
};

static const char *check_features(const struct vblk_vhost_message *message,
				  const struct vblk_vhost_terms *terms)
{
	return message->u64 & ~terms->features_offered ? "a bit is set that was not offered" : NULL;
}

static const char *check_protocol(const struct vblk_vhost_message *message,
				  const struct vblk_vhost_terms *terms)
{
	return message->u64 & ~terms->protocol_offered ? "a bit is set that was not offered" : NULL;
}

static const char *check_num(const struct vblk_vhost_message *message,
			     const struct vblk_vhost_terms *terms)
{
	uint32_t num = message->state.num;

	(void)terms;
	if (num == 0 || num > VBLK_VHOST_RING_SIZE || (num & (num - 1)) != 0)
		return "the ring's size is no power of two up to 32768";
	return NULL;
}

static const char *check_base(const struct vblk_vhost_message *message,
			      const struct vblk_vhost_terms *terms)
{
	(void)terms;
	return message->state.num > UINT16_MAX ? "the index of a split ring is above 65535" : NULL;
}

static const char *check_enable(const struct vblk_vhost_message *message,
				const struct vblk_vhost_terms *terms)
{
	(void)terms;
	return message->state.num > 1 ? "it is neither 0 nor 1" : NULL;
}

static const char *check_status(const struct vblk_vhost_message *message,
				const struct vblk_vhost_terms *terms)
{
	(void)terms;
	return message->u64 > UINT8_MAX ? "a device status has 8 bits" : NULL;
}

/* The area that is handed out is ours to choose, so what a GET says of it means nothing. */
static const char *check_area(const struct vblk_vhost_message *message,
			      const struct vblk_vhost_terms *terms)
{
	(void)terms;
	if (message->inflight.size == 0)
		return "the area is empty";
	if (!ends_in_file(message->inflight.offset, message->inflight.size))
		return "the area's end is above 2^63";
	return NULL;
}

#define REQUEST(request) [VBLK_VHOST_##request] = { .name = #request
#define SENDS(kind)	 .payload = PAYLOAD_##kind
#define FDS(min, max)	 .fds_min = (min), .fds_max = (max)
#define GETS(kind)	 .reply = VBLK_VHOST_REPLY_##kind
#define OFFERED(bit)	 .gate = GATE_OFFERED, .feature = VBLK_VHOST_PROTOCOL_##bit
#define NEGOTIATED(bit)	 .gate = GATE_NEGOTIATED, .feature = VBLK_VHOST_PROTOCOL_##bit
#define CHECK(function)     \
	.check = (function) \
	}
#define END }

/* clang-format off */
static const struct row rows[VBLK_VHOST_REQUESTS] = {
	REQUEST(GET_FEATURES), SENDS(NONE), GETS(U64), END,
	REQUEST(SET_FEATURES), SENDS(U64), CHECK(check_features),
	REQUEST(SET_OWNER), SENDS(NONE), END,
	REQUEST(RESET_OWNER), SENDS(NONE), END,
	REQUEST(SET_MEM_TABLE), SENDS(MEMORY), FDS(0, VBLK_VHOST_TABLE_MAX), END,
	REQUEST(SET_LOG_BASE), SENDS(LOG), FDS(1, 1), GETS(U64), NEGOTIATED(LOG_SHMFD), END,
	REQUEST(SET_LOG_FD), SENDS(NONE), FDS(1, 1), END,
	REQUEST(SET_VRING_NUM), SENDS(STATE), CHECK(check_num),
	REQUEST(SET_VRING_ADDR), SENDS(ADDR), END,
	REQUEST(SET_VRING_BASE), SENDS(STATE), CHECK(check_base),
	REQUEST(GET_VRING_BASE), SENDS(STATE), GETS(STATE), END,
	REQUEST(SET_VRING_KICK), SENDS(RING_FD), FDS(0, 1), END,
	REQUEST(SET_VRING_CALL), SENDS(RING_FD), FDS(0, 1), END,
	REQUEST(SET_VRING_ERR), SENDS(RING_FD), FDS(0, 1), END,
	REQUEST(GET_PROTOCOL_FEATURES), SENDS(NONE), GETS(U64), END,
	REQUEST(SET_PROTOCOL_FEATURES), SENDS(U64), CHECK(check_protocol),
	REQUEST(GET_QUEUE_NUM), SENDS(NONE), GETS(U64), OFFERED(MQ), END,
	REQUEST(SET_VRING_ENABLE), SENDS(STATE), .gate = GATE_RINGS, CHECK(check_enable),
	REQUEST(SEND_RARP), SENDS(FOREIGN), END,
	REQUEST(NET_SET_MTU), SENDS(FOREIGN), END,
	REQUEST(SET_BACKEND_REQ_FD), SENDS(NONE), FDS(1, 1), OFFERED(BACKEND_REQ), END,
	REQUEST(IOTLB_MSG), SENDS(FOREIGN), GETS(U64), END,
	REQUEST(SET_VRING_ENDIAN), SENDS(FOREIGN), END,
	REQUEST(GET_CONFIG), SENDS(CONFIG), GETS(CONFIG), NEGOTIATED(CONFIG), END,
	REQUEST(SET_CONFIG), SENDS(CONFIG), NEGOTIATED(CONFIG), END,
	REQUEST(CREATE_CRYPTO_SESSION), SENDS(FOREIGN), GETS(FOREIGN), END,
	REQUEST(CLOSE_CRYPTO_SESSION), SENDS(FOREIGN), END,
	REQUEST(POSTCOPY_ADVISE), SENDS(FOREIGN), GETS(FOREIGN), END,
	REQUEST(POSTCOPY_LISTEN), SENDS(FOREIGN), END,
	REQUEST(POSTCOPY_END), SENDS(FOREIGN), GETS(U64), END,
	REQUEST(GET_INFLIGHT_FD), SENDS(INFLIGHT), GETS(INFLIGHT), NEGOTIATED(INFLIGHT_SHMFD), END,
	REQUEST(SET_INFLIGHT_FD), SENDS(INFLIGHT), FDS(1, 1), NEGOTIATED(INFLIGHT_SHMFD),
		CHECK(check_area),
	REQUEST(GPU_SET_SOCKET), SENDS(FOREIGN), END,
	REQUEST(RESET_DEVICE), SENDS(NONE), OFFERED(RESET_DEVICE), END,
	REQUEST(VRING_KICK), SENDS(FOREIGN), END,
	REQUEST(GET_MAX_MEM_SLOTS), SENDS(NONE), GETS(U64), NEGOTIATED(CONFIGURE_MEM_SLOTS), END,
	REQUEST(ADD_MEM_REG), SENDS(SLOT), FDS(1, 1), NEGOTIATED(CONFIGURE_MEM_SLOTS), END,
	REQUEST(REM_MEM_REG), SENDS(SLOT), FDS(0, 1), NEGOTIATED(CONFIGURE_MEM_SLOTS), END,
	REQUEST(SET_STATUS), SENDS(U64), NEGOTIATED(STATUS), CHECK(check_status),
	REQUEST(GET_STATUS), SENDS(NONE), GETS(U64), NEGOTIATED(STATUS), END,
	REQUEST(GET_SHARED_OBJECT), SENDS(FOREIGN), GETS(FOREIGN), END,
	REQUEST(SET_DEVICE_STATE_FD), SENDS(FOREIGN), GETS(U64), END,
	REQUEST(CHECK_DEVICE_STATE), SENDS(FOREIGN), GETS(U64), END,
	REQUEST(GET_SHMEM_CONFIG), SENDS(FOREIGN), GETS(FOREIGN), END,
};
/* clang-format on */

static const struct row *find_row(uint32_t request)
{
	return request < VBLK_VHOST_REQUESTS && rows[request].name ? &rows[request] : NULL;
}

const char *vblk_vhost_request_name(uint32_t request)
{
	const struct row *row = find_row(request);

	return row ? row->name : "unknown request";
}

/* What can be said of a message before its payload is there. NULL: nothing against it. */
static const char *check_header(const struct vblk_vhost_header *header,
				enum vblk_vhost_direction direction)
{
	bool is_reply = header->flags & VBLK_VHOST_FLAG_REPLY;

	if ((header->flags & VBLK_VHOST_VERSION_MASK) != VBLK_VHOST_VERSION)
		return "the version in its flags is not 1";
	if (header->flags & ~VBLK_VHOST_FLAGS)
		return "a reserved flag is set; bits 4 to 31 have to be clear";
	if (is_reply && direction == VBLK_VHOST_REQUESTS_ONLY)
		return "it is marked as a reply; a request has bit 2 clear";
	if (!is_reply && direction == VBLK_VHOST_REPLIES_ONLY)
		return "it is not marked as a reply; a reply has bit 2 set";
	if (header->size > VBLK_VHOST_PAYLOAD_MAX)
		return "its payload has more than 268 bytes, the most a block device takes";
	return NULL;
}

static const char *check_gate(const struct row *row, const struct vblk_vhost_terms *terms)
{
	uint64_t bit = 1ull << row->feature;

	switch (row->gate) {
	case GATE_OFFERED:
		return terms->protocol_offered & bit
			       ? NULL
			       : "the protocol feature that it belongs to was not offered";
	case GATE_NEGOTIATED:
		return terms->protocol & bit
			       ? NULL
			       : "the protocol feature that it belongs to was not negotiated";
	case GATE_RINGS:
		return terms->features & 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES
			       ? NULL
			       : "feature bit 30, PROTOCOL_FEATURES, was not negotiated";
	default:
		return NULL;
	}
}

static const char *check_fds(const struct row *row, unsigned fds)
{
	if (fds < row->fds_min)
		return "no descriptor came along, and it needs one";
	if (fds > row->fds_max)
		return row->fds_max == 0 ? "descriptors came along, and none belongs to it"
					 : "more descriptors came along than belong to it";
	return NULL;
}

static const char *decode(const struct row *row, const void *payload, unsigned fds,
			  const struct vblk_vhost_terms *terms, struct vblk_vhost_message *message)
{
	const struct kind *kind = &kinds[row->payload];
	uint32_t size = message->header.size;
	const char *wrong = check_gate(row, terms);

	if (wrong)
		return wrong;
	if (size < kind->min || size > kind->max)
		return kind->rule;
	wrong = check_fds(row, fds);
	if (wrong)
		return wrong;
	wrong = kind->parse(payload, size, fds, message);
	if (!wrong && row->check)
		wrong = row->check(message, terms);
	return wrong;
}

int vblk_vhost_decode(const struct vblk_vhost_header *header, const void *payload, unsigned fds,
		      const struct vblk_vhost_terms *terms, struct vblk_vhost_message *message,
		      const char **reason)
{
	const struct row *row = find_row(header->request);
	struct vblk_vhost_message made = { .header = *header };

	*reason = check_header(header, VBLK_VHOST_REQUESTS_ONLY);
	if (*reason)
		return -EPROTO;
	if (!row || row->payload == PAYLOAD_FOREIGN) {
		*reason = "no request that a block device serves";
		return -EOPNOTSUPP;
	}
	*reason = decode(row, payload, fds, terms, &made);
	if (*reason)
		return -EPROTO;
	*message = made;
	return 0;
}

int vblk_vhost_decode_ack(const struct vblk_vhost_header *header, const void *payload, unsigned fds,
			  uint32_t request, uint64_t *result, const char **reason)
{
	*reason = check_header(header, VBLK_VHOST_REPLIES_ONLY);
	if (!*reason && header->request != request)
		*reason = "it answers another request than the one that was sent";
	if (!*reason && header->size != sizeof(*result))
		*reason = kinds[PAYLOAD_U64].rule;
	if (!*reason && fds > 0)
		*reason = "descriptors came along, and none belongs to it";
	if (*reason)
		return -EPROTO;
	memcpy(result, payload, sizeof(*result));
	return 0;
}

enum vblk_vhost_reply vblk_vhost_reply_to(const struct vblk_vhost_header *header, uint64_t protocol)
{
	const struct row *row = find_row(header->request);

	if (row && row->reply != VBLK_VHOST_REPLY_NONE)
		return row->reply;
	if (header->flags & VBLK_VHOST_FLAG_NEED_REPLY &&
	    protocol & 1ull << VBLK_VHOST_PROTOCOL_REPLY_ACK)
		return VBLK_VHOST_REPLY_ACK;
	return VBLK_VHOST_REPLY_NONE;
}

/* Header and payload; `size` is within the frame by the types of all callers. */
static void encode(struct vblk_vhost_frame *frame, uint32_t request, uint32_t flags,
		   const void *payload, size_t size)
{
	struct vblk_vhost_header header = { request, flags | VBLK_VHOST_VERSION, (uint32_t)size };

	memcpy(frame->bytes, &header, sizeof(header));
	if (size > 0)
		memcpy(frame->bytes + sizeof(header), payload, size);
	frame->length = (uint32_t)(sizeof(header) + size);
}

void vblk_vhost_encode_u64(struct vblk_vhost_frame *frame, uint32_t request, uint64_t value)
{
	encode(frame, request, VBLK_VHOST_FLAG_REPLY, &value, sizeof(value));
}

void vblk_vhost_encode_ack(struct vblk_vhost_frame *frame, uint32_t request, int error)
{
	vblk_vhost_encode_u64(frame, request, error < 0 ? (uint64_t) - (int64_t)error : 0);
}

void vblk_vhost_encode_state(struct vblk_vhost_frame *frame, uint32_t request, uint32_t index,
			     uint32_t num)
{
	struct vhost_vring_state state = { .index = index, .num = num };

	encode(frame, request, VBLK_VHOST_FLAG_REPLY, &state, sizeof(state));
}

void vblk_vhost_encode_config(struct vblk_vhost_frame *frame,
			      const struct vblk_vhost_message *message, const void *data)
{
	struct vblk_vhost_config config = {
		.offset = message->config.offset,
		.size = message->config.size,
		.flags = message->config.flags,
	};
	size_t size = 0;

	if (data) {
		memcpy(config.data, data, config.size);
		size = VBLK_VHOST_CONFIG_HEADER + config.size;
	}
	encode(frame, message->header.request, VBLK_VHOST_FLAG_REPLY, &config, size);
}

void vblk_vhost_encode_inflight(struct vblk_vhost_frame *frame,
				const struct vblk_vhost_message *message,
				const struct vblk_vhost_inflight_area *area)
{
	encode(frame, message->header.request, VBLK_VHOST_FLAG_REPLY, area, message->header.size);
}

void vblk_vhost_encode_request(struct vblk_vhost_frame *frame, uint32_t request, bool need_reply)
{
	encode(frame, request, need_reply ? VBLK_VHOST_FLAG_NEED_REPLY : 0, NULL, 0);
}

void vblk_vhost_assembler_start(struct vblk_vhost_assembler *assembler,
				enum vblk_vhost_direction direction)
{
	assembler->direction = direction;
	assembler->progress = VBLK_VHOST_MORE;
	assembler->reason = NULL;
	assembler->filled = 0;
	assembler->header = (struct vblk_vhost_header){ 0 };
}

void *vblk_vhost_assembler_space(struct vblk_vhost_assembler *assembler, size_t *room)
{
	size_t end = sizeof(assembler->header);

	/* The size in the header was checked when the header was complete. */
	if (assembler->filled >= sizeof(assembler->header))
		end += assembler->header.size;
	*room = assembler->progress == VBLK_VHOST_MORE ? end - assembler->filled : 0;
	return assembler->bytes + assembler->filled;
}

enum vblk_vhost_progress vblk_vhost_assembler_took(struct vblk_vhost_assembler *assembler,
						   size_t length)
{
	struct vblk_vhost_header *header = &assembler->header;
	bool had_header = assembler->filled >= sizeof(*header);

	assembler->filled += (uint32_t)length;
	if (assembler->progress != VBLK_VHOST_MORE || assembler->filled < sizeof(*header))
		return assembler->progress;
	if (!had_header) {
		memcpy(header, assembler->bytes, sizeof(*header));
		assembler->reason = check_header(header, assembler->direction);
	}
	if (assembler->reason)
		assembler->progress = VBLK_VHOST_BROKEN;
	else if (assembler->filled == sizeof(*header) + header->size)
		assembler->progress = VBLK_VHOST_READY;
	return assembler->progress;
}

enum vblk_vhost_progress vblk_vhost_assembler_feed(struct vblk_vhost_assembler *assembler,
						   const void *bytes, size_t length, size_t *taken)
{
	const uint8_t *from = bytes;
	size_t room;

	*taken = 0;
	for (;;) {
		void *to = vblk_vhost_assembler_space(assembler, &room);
		size_t piece = vblk_min_u64(room, length - *taken);

		if (piece == 0)
			return assembler->progress;
		memcpy(to, from + *taken, piece);
		vblk_vhost_assembler_took(assembler, piece);
		*taken += piece;
	}
}
