/* SPDX-License-Identifier: MIT */
/*
 * The words of vhost-user: what the two ends of its socket say to each other.
 *
 * The front end (a virtual machine monitor) asks, the back end (we) obeys and now and then replies;
 * on a second socket it is the other way round. A message is a header of three 32-bit numbers,
 * `size` bytes of payload, and descriptors beside it. All numbers are in the byte order of the
 * host: both ends live on it. The protocol is described by QEMU's docs/interop/vhost-user.rst; this
 * file says its numbers and layouts and nothing more. Structures that the kernel's vhost has too
 * come from <linux/vhost_types.h>.
 *
 * Whatever has a layout here has it on the wire. Messages are read and written by codec.h.
 */
#ifndef VBLK_VHOST_MESSAGE_H
#define VBLK_VHOST_MESSAGE_H

#include <assert.h>
#include <linux/vhost_types.h>
#include <vblk/types.h>

/* Requests of the front end. */
enum vblk_vhost_request {
	VBLK_VHOST_GET_FEATURES = 1,
	VBLK_VHOST_SET_FEATURES = 2,
	VBLK_VHOST_SET_OWNER = 3,
	VBLK_VHOST_RESET_OWNER = 4,
	VBLK_VHOST_SET_MEM_TABLE = 5,
	VBLK_VHOST_SET_LOG_BASE = 6,
	VBLK_VHOST_SET_LOG_FD = 7,
	VBLK_VHOST_SET_VRING_NUM = 8,
	VBLK_VHOST_SET_VRING_ADDR = 9,
	VBLK_VHOST_SET_VRING_BASE = 10,
	VBLK_VHOST_GET_VRING_BASE = 11,
	VBLK_VHOST_SET_VRING_KICK = 12,
	VBLK_VHOST_SET_VRING_CALL = 13,
	VBLK_VHOST_SET_VRING_ERR = 14,
	VBLK_VHOST_GET_PROTOCOL_FEATURES = 15,
	VBLK_VHOST_SET_PROTOCOL_FEATURES = 16,
	VBLK_VHOST_GET_QUEUE_NUM = 17,
	VBLK_VHOST_SET_VRING_ENABLE = 18,
	VBLK_VHOST_SEND_RARP = 19,
	VBLK_VHOST_NET_SET_MTU = 20,
	VBLK_VHOST_SET_BACKEND_REQ_FD = 21,
	VBLK_VHOST_IOTLB_MSG = 22,
	VBLK_VHOST_SET_VRING_ENDIAN = 23,
	VBLK_VHOST_GET_CONFIG = 24,
	VBLK_VHOST_SET_CONFIG = 25,
	VBLK_VHOST_CREATE_CRYPTO_SESSION = 26,
	VBLK_VHOST_CLOSE_CRYPTO_SESSION = 27,
	VBLK_VHOST_POSTCOPY_ADVISE = 28,
	VBLK_VHOST_POSTCOPY_LISTEN = 29,
	VBLK_VHOST_POSTCOPY_END = 30,
	VBLK_VHOST_GET_INFLIGHT_FD = 31,
	VBLK_VHOST_SET_INFLIGHT_FD = 32,
	VBLK_VHOST_GPU_SET_SOCKET = 33,
	VBLK_VHOST_RESET_DEVICE = 34,
	VBLK_VHOST_VRING_KICK = 35,
	VBLK_VHOST_GET_MAX_MEM_SLOTS = 36,
	VBLK_VHOST_ADD_MEM_REG = 37,
	VBLK_VHOST_REM_MEM_REG = 38,
	VBLK_VHOST_SET_STATUS = 39,
	VBLK_VHOST_GET_STATUS = 40,
	VBLK_VHOST_GET_SHARED_OBJECT = 41,
	VBLK_VHOST_SET_DEVICE_STATE_FD = 42,
	VBLK_VHOST_CHECK_DEVICE_STATE = 43,
	VBLK_VHOST_GET_SHMEM_CONFIG = 44,
	VBLK_VHOST_REQUESTS, /* one more than the last */
};

/* Requests of the back end, on the socket that SET_BACKEND_REQ_FD brought. */
enum vblk_vhost_backend_request {
	VBLK_VHOST_BACKEND_IOTLB_MSG = 1,
	VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG = 2,
	VBLK_VHOST_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
	VBLK_VHOST_BACKEND_VRING_CALL = 4,
	VBLK_VHOST_BACKEND_VRING_ERR = 5,
	VBLK_VHOST_BACKEND_SHARED_OBJECT_ADD = 6,
	VBLK_VHOST_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VBLK_VHOST_BACKEND_SHARED_OBJECT_LOOKUP = 8,
	VBLK_VHOST_BACKEND_SHMEM_MAP = 9,
	VBLK_VHOST_BACKEND_SHMEM_UNMAP = 10,
};

struct vblk_vhost_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, in bytes */
};

/* Header flags; the version is a number of two bits. All others are reserved. */
#define VBLK_VHOST_VERSION	   0x1u
#define VBLK_VHOST_VERSION_MASK	   0x3u
#define VBLK_VHOST_FLAG_REPLY	   0x4u
#define VBLK_VHOST_FLAG_NEED_REPLY 0x8u
#define VBLK_VHOST_FLAGS	   0xfu

/* The virtio feature bit that announces protocol features; no driver ever sees it. */
#define VBLK_VHOST_F_PROTOCOL_FEATURES 30u

/* The feature bit by which writes to guest memory are to be logged, for a migration. */
#define VBLK_VHOST_F_LOG_ALL 26u

/* Protocol feature bits. */
enum vblk_vhost_protocol_feature {
	VBLK_VHOST_PROTOCOL_MQ = 0,
	VBLK_VHOST_PROTOCOL_LOG_SHMFD = 1,
	VBLK_VHOST_PROTOCOL_RARP = 2,
	VBLK_VHOST_PROTOCOL_REPLY_ACK = 3,
	VBLK_VHOST_PROTOCOL_MTU = 4,
	VBLK_VHOST_PROTOCOL_BACKEND_REQ = 5,
	VBLK_VHOST_PROTOCOL_CROSS_ENDIAN = 6,
	VBLK_VHOST_PROTOCOL_CRYPTO_SESSION = 7,
	VBLK_VHOST_PROTOCOL_PAGEFAULT = 8,
	VBLK_VHOST_PROTOCOL_CONFIG = 9,
	VBLK_VHOST_PROTOCOL_BACKEND_SEND_FD = 10,
	VBLK_VHOST_PROTOCOL_HOST_NOTIFIER = 11,
	VBLK_VHOST_PROTOCOL_INFLIGHT_SHMFD = 12,
	VBLK_VHOST_PROTOCOL_RESET_DEVICE = 13,
	VBLK_VHOST_PROTOCOL_INBAND_NOTIFICATIONS = 14,
	VBLK_VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
	VBLK_VHOST_PROTOCOL_STATUS = 16,
	VBLK_VHOST_PROTOCOL_XEN_MMAP = 17,
	VBLK_VHOST_PROTOCOL_SHARED_OBJECT = 18,
	VBLK_VHOST_PROTOCOL_DEVICE_STATE = 19,
	VBLK_VHOST_PROTOCOL_SHMEM = 20,
};

/* Limits of the protocol. */
#define VBLK_VHOST_TABLE_MAX  8u     /* regions in one SET_MEM_TABLE */
#define VBLK_VHOST_FDS_MAX    8u     /* descriptors beside one message */
#define VBLK_VHOST_CONFIG_MAX 256u   /* bytes of configuration space */
#define VBLK_VHOST_RINGS_MAX  256u   /* a ring's index has 8 bits */
#define VBLK_VHOST_RING_SIZE  32768u /* entries of a split ring, at most */

/*
 * Regions of guest memory that this back end takes, what it answers to GET_MAX_MEM_SLOTS. It is
 * what the kernel's own vhost takes, so that a machine may move between the two.
 */
#define VBLK_VHOST_SLOTS_MAX 509u

/* The payload of SET_VRING_KICK, _CALL and _ERR: a ring's index and "no descriptor". */
#define VBLK_VHOST_RING_FD_INDEX 0xffull
#define VBLK_VHOST_RING_FD_NONE	 0x100ull

/* A piece of guest memory: where the guest sees it, where the front end, and where in its file. */
struct vblk_vhost_region {
	uint64_t guest;
	uint64_t size;
	uint64_t user;
	uint64_t offset;
};

struct vblk_vhost_memory {
	uint32_t count;
	uint32_t padding;
	struct vblk_vhost_region region[VBLK_VHOST_TABLE_MAX];
};

struct vblk_vhost_slot {
	uint64_t padding;
	struct vblk_vhost_region region;
};

struct vblk_vhost_log {
	uint64_t size;
	uint64_t offset; /* in the file that came along */
};

/* What a write to the configuration space is for. */
enum vblk_vhost_config_flags {
	VBLK_VHOST_CONFIG_WRITABLE = 0,	 /* the driver wrote a field that it may write */
	VBLK_VHOST_CONFIG_MIGRATION = 1, /* the state of a machine that moved here */
};

struct vblk_vhost_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VBLK_VHOST_CONFIG_MAX]; /* `size` of them are on the wire */
};

#define VBLK_VHOST_CONFIG_HEADER offsetof(struct vblk_vhost_config, data)

/*
 * Where the shared record of requests in flight is (inflight_layout.h). Compilers add the padding;
 * front ends send the structure with it or without.
 */
struct vblk_vhost_inflight_area {
	uint64_t size;
	uint64_t offset;
	uint16_t queues;
	uint16_t queue_size;
	uint32_t padding;
};

#define VBLK_VHOST_INFLIGHT_SHORT offsetof(struct vblk_vhost_inflight_area, padding)

/* The longest message: anything longer is not for a block device. */
#define VBLK_VHOST_PAYLOAD_MAX sizeof(struct vblk_vhost_config)
#define VBLK_VHOST_MESSAGE_MAX (sizeof(struct vblk_vhost_header) + VBLK_VHOST_PAYLOAD_MAX)

static_assert(sizeof(struct vblk_vhost_header) == 12, "header");
static_assert(sizeof(struct vhost_vring_state) == 8, "ring state");
static_assert(sizeof(struct vhost_vring_addr) == 40, "ring addresses");
static_assert(sizeof(struct vblk_vhost_memory) == 264, "memory table");
static_assert(sizeof(struct vblk_vhost_slot) == 40, "memory slot");
static_assert(sizeof(struct vblk_vhost_log) == 16, "log");
static_assert(sizeof(struct vblk_vhost_config) == 268, "configuration space");
static_assert(sizeof(struct vblk_vhost_inflight_area) == 24, "inflight area");
static_assert(VBLK_VHOST_INFLIGHT_SHORT == 20, "inflight area without its padding");
static_assert(sizeof(struct vblk_vhost_memory) <= VBLK_VHOST_PAYLOAD_MAX, "longest payload");

#endif
