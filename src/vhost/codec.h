/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing vhost-user messages. Pure: no descriptor is touched, nothing is allocated,
 * nothing is kept but what the caller keeps. Any thread.
 *
 * What arrives goes three ways. The assembler takes bytes as the socket hands them out, in pieces
 * of any length, and says when they are a message; it never takes a byte of the next one, whose
 * descriptors would then be taken for this one's. vblk_vhost_decode judges the message by itself
 * and by what was negotiated: every rule about the form of a message is checked there and nowhere
 * else. What it cannot know stays with the session: how many rings there are, whether memory can be
 * mapped, what may be done in which state.
 *
 * Errors come with a text of static storage that says what is wrong and what would be right, to be
 * put behind the name of the request (vblk_vhost_request_name).
 */
#ifndef VBLK_VHOST_CODEC_H
#define VBLK_VHOST_CODEC_H

#include "vhost/message.h"

/* What the two ends have agreed on so far. */
struct vblk_vhost_terms {
	uint64_t features_offered; /* bits of the answer to GET_FEATURES */
	uint64_t protocol_offered; /* bits of the answer to GET_PROTOCOL_FEATURES */
	uint64_t features;	   /* what SET_FEATURES took of it; 0 before */
	uint64_t protocol;	   /* what SET_PROTOCOL_FEATURES took of it; 0 before */
};

/* The payload of SET_VRING_KICK, _CALL and _ERR, taken apart. */
struct vblk_vhost_ring_fd {
	uint32_t index;
	bool has_fd; /* the one descriptor that came along; if not, there is none */
};

/*
 * A message that keeps all rules. Which member is set follows from header.request:
 *
 *   u64       SET_FEATURES, SET_PROTOCOL_FEATURES (subsets of what was offered), SET_STATUS (8
 * bits) state     SET_VRING_NUM (num is a power of two up to VBLK_VHOST_RING_SIZE), SET_VRING_BASE
 * (num has 16 bits), GET_VRING_BASE (num means nothing), SET_VRING_ENABLE (num is 0 or 1) addr
 * SET_VRING_ADDR: aligned as a split ring's parts are ring_fd   SET_VRING_KICK, SET_VRING_CALL,
 * SET_VRING_ERR memory    SET_MEM_TABLE: with as many descriptors as regions; each is judged by
 * regions.h region    ADD_MEM_REG (with its descriptor), REM_MEM_REG (with one to be closed, or
 * none) log       SET_LOG_BASE: at least one byte, its end below 2^63 config    GET_CONFIG,
 * SET_CONFIG: 1 to 256 bytes that end at 256 or below inflight  GET_INFLIGHT_FD, SET_INFLIGHT_FD:
 * at least one queue of at least one entry; of SET, an area whose end is below 2^63
 *
 * Ring indices are below VBLK_VHOST_RINGS_MAX.
 */
struct vblk_vhost_message {
	struct vblk_vhost_header header;
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct vblk_vhost_ring_fd ring_fd;
		struct vblk_vhost_memory memory;
		struct vblk_vhost_region region;
		struct vblk_vhost_log log;
		struct vblk_vhost_config config;
		struct vblk_vhost_inflight_area inflight;
	};
};

/* The name of a front end's request, as "SET_OWNER"; "unknown request" for other numbers. */
const char *vblk_vhost_request_name(uint32_t request);

/*
 * Judges a request of the front end: its header, header->size bytes of payload (of any alignment;
 * not read before the size is known to be right), and how many descriptors came along.
 *
 * Returns 0 and the message;
 *   -EPROTO      it breaks a rule, and nothing that follows it can be trusted;
 *   -EOPNOTSUPP  it is none that a block device serves. It was not looked into any further, and the
 *                session can go on if it is able to answer: see vblk_vhost_reply_to.
 * With an error *reason says why, and the message is not set. Descriptors are the caller's, always.
 */
VBLK_MUST_USE int vblk_vhost_decode(const struct vblk_vhost_header *header, const void *payload,
				    unsigned fds, const struct vblk_vhost_terms *terms,
				    struct vblk_vhost_message *message, const char **reason);

/* Judges the front end's reply to back-end request `request`: 0 and *result, or -EPROTO. */
VBLK_MUST_USE int vblk_vhost_decode_ack(const struct vblk_vhost_header *header, const void *payload,
					unsigned fds, uint32_t request, uint64_t *result,
					const char **reason);

/* What has to be sent back for a message, after it was served or refused. */
enum vblk_vhost_reply {
	VBLK_VHOST_REPLY_NONE,	   /* nothing: the front end does not listen */
	VBLK_VHOST_REPLY_ACK,	   /* vblk_vhost_encode_ack */
	VBLK_VHOST_REPLY_U64,	   /* vblk_vhost_encode_u64 */
	VBLK_VHOST_REPLY_STATE,	   /* vblk_vhost_encode_state */
	VBLK_VHOST_REPLY_CONFIG,   /* vblk_vhost_encode_config */
	VBLK_VHOST_REPLY_INFLIGHT, /* vblk_vhost_encode_inflight, and a descriptor beside it */
	VBLK_VHOST_REPLY_FOREIGN,  /* one that a block device has not: only closing is left */
};

/*
 * Which reply a request gets, by the protocol features as they are after it was served: a front
 * end that asks for an answer to the very message that negotiates answers is waiting for one.
 */
enum vblk_vhost_reply vblk_vhost_reply_to(const struct vblk_vhost_header *header,
					  uint64_t protocol);

/* A message to be sent. */
struct vblk_vhost_frame {
	uint32_t length;
	uint8_t bytes[VBLK_VHOST_MESSAGE_MAX];
};

/* Replies; `request` is the request that they answer. */
void vblk_vhost_encode_u64(struct vblk_vhost_frame *frame, uint32_t request, uint64_t value);
void vblk_vhost_encode_state(struct vblk_vhost_frame *frame, uint32_t request, uint32_t index,
			     uint32_t num);

/* The answer that a front end can ask for: `error` is 0 or a negative errno. */
void vblk_vhost_encode_ack(struct vblk_vhost_frame *frame, uint32_t request, int error);

/*
 * The answer to `message`, a GET_CONFIG that was decoded: message->config.size bytes at `data`. If
 * `data` is NULL, the answer without a payload that means failure.
 */
void vblk_vhost_encode_config(struct vblk_vhost_frame *frame,
			      const struct vblk_vhost_message *message, const void *data);

/*
 * The answer to `message`, a GET_INFLIGHT_FD that was decoded, in as many bytes as it had: the
 * front end compares. An area of 0 bytes, without a descriptor, means failure.
 */
void vblk_vhost_encode_inflight(struct vblk_vhost_frame *frame,
				const struct vblk_vhost_message *message,
				const struct vblk_vhost_inflight_area *area);

/* A back-end request that has no payload, such as CONFIG_CHANGE_MSG. */
void vblk_vhost_encode_request(struct vblk_vhost_frame *frame, uint32_t request, bool need_reply);

/* Which kind of message an assembler accepts. */
enum vblk_vhost_direction {
	VBLK_VHOST_REQUESTS_ONLY,
	VBLK_VHOST_REPLIES_ONLY,
};

enum vblk_vhost_progress {
	VBLK_VHOST_MORE,   /* bytes are missing */
	VBLK_VHOST_READY,  /* the message is there: header and payload may be read */
	VBLK_VHOST_BROKEN, /* the header is none: the stream cannot be followed any more */
};

/* Puts a message together. The members are for reading only. */
struct vblk_vhost_assembler {
	enum vblk_vhost_direction direction;
	enum vblk_vhost_progress progress;
	const char *reason; /* when broken: why */
	uint32_t filled;    /* bytes that are there; 0 means that no message has begun */
	struct vblk_vhost_header header;
	uint8_t bytes[VBLK_VHOST_MESSAGE_MAX];
};

/* Starts with an empty buffer, and again after a message was read. */
void vblk_vhost_assembler_start(struct vblk_vhost_assembler *assembler,
				enum vblk_vhost_direction direction);

/*
 * Where the next bytes belong, and in *room how many are missing: of the header at first, then of
 * the payload. *room is 0 when a message is ready or the stream is broken. The usual way: recvmsg
 * into this place, then vblk_vhost_assembler_took.
 */
void *vblk_vhost_assembler_space(struct vblk_vhost_assembler *assembler, size_t *room);

/* `length` bytes, at most *room, were put there. */
enum vblk_vhost_progress vblk_vhost_assembler_took(struct vblk_vhost_assembler *assembler,
						   size_t length);

/* Both at once, for bytes that are elsewhere: how many of them were taken is in *taken. */
enum vblk_vhost_progress vblk_vhost_assembler_feed(struct vblk_vhost_assembler *assembler,
						   const void *bytes, size_t length, size_t *taken);

/* The payload of a message that is ready. */
static inline const void *vblk_vhost_assembler_payload(const struct vblk_vhost_assembler *assembler)
{
	return assembler->bytes + sizeof(assembler->header);
}

#endif
