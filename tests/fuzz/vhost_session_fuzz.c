/* SPDX-License-Identifier: MIT */
/*
 * Front ends from hell: messages, good and bad, with descriptors of all kinds, against a server as
 * vblk serve has it, with real sockets, real mappings and real workers.
 *
 * There are two disks (vhost_rig.h). A program is one connection (vhost_client.h), or several. Its
 * steps send messages, spoil them, lay out requests in shared memory, cut that memory short, and
 * pause, limit and resize the disk meanwhile. The server is served on the fuzzer's thread after
 * each step. Whatever happened, it must not stay busy without being asked; a connection that it
 * ends has a line that says why; and when the front end has gone, there is no descriptor and no
 * mapping more than before, and the next one is served.
 *
 * How many messages were sent is told at the end, and how many workers were given up for being
 * late, which only a machine that is busy elsewhere does to them; VBLK_FUZZ_MESSAGES=N ends the run
 * when N were.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "check.h"
#include "records.h"
#include "vhost_client.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/*
 * What a step does and what its arguments a[0..6] mean.
 *
 * MESSAGE  as of client_send
 * PATCH    of the next message: a[0] where, a[1..2] what is added to the number there
 * FDS      of the following messages: a[0] which of the pool comes first, a[1] step to the next
 * START    the usual start of a ring: a[0] which, a[1] its base, a[2] which messages are left out
 * OFFER    a request: a[0] ring, a[1] type, a[2] sector, a[3] details, a[4] how far avail.idx moves
 * SPOIL    a[0..1] where in shared memory, a[2..6] bytes
 * CUT      a[0] the length in pages of the file that guest memory is in
 * RAW      a[0] how many, a[1..6] bytes
 * CONTROL  a[0] what the owner of the disk does, a[1..2] how much
 * AGAIN    the front end goes, and comes again; a[0] odd: to the disk that is served by io_uring
 */
enum op {
	OP_MESSAGE,
	OP_PATCH,
	OP_FDS,
	OP_START,
	OP_OFFER,
	OP_SPOIL,
	OP_CUT,
	OP_RAW,
	OP_CONTROL,
	OP_AGAIN,
	OPS,
};

const uint8_t fuzz_phrases[][RECORD_SIZE] = {
	{ OP_START },
	{ OP_START, 1 },
	{ OP_START, 0, 1, 0 },
	{ OP_OFFER, 0, VIRTIO_BLK_T_IN },
	{ OP_OFFER, 0, VIRTIO_BLK_T_OUT, 1 },
	{ OP_OFFER, 1, VIRTIO_BLK_T_WRITE_ZEROES },
	{ OP_OFFER, 0, VIRTIO_BLK_T_IN, 0, 0, 40 },
	{ OP_MESSAGE, VBLK_VHOST_GET_FEATURES },
	{ OP_MESSAGE, VBLK_VHOST_SET_FEATURES, 0, 1, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_PROTOCOL_FEATURES, 0, 0, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_OWNER },
	{ OP_MESSAGE, VBLK_VHOST_RESET_OWNER },
	{ OP_MESSAGE, VBLK_VHOST_SET_MEM_TABLE, 0, 1, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_MEM_TABLE, 0, 1, 0, 3 },
	{ OP_MESSAGE, VBLK_VHOST_SET_LOG_BASE, 0, 0, 0, 0, 0, 8 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_NUM, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_ADDR, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_BASE, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_GET_VRING_BASE },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_KICK, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_CALL, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_ERR, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_VRING_ENABLE, 0, 1, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_SET_BACKEND_REQ_FD, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_GET_CONFIG, 0, 0, 0, 59 },
	{ OP_MESSAGE, VBLK_VHOST_SET_CONFIG, 0, 1, 0, 0, 32 },
	{ OP_MESSAGE, VBLK_VHOST_GET_INFLIGHT_FD },
	{ OP_MESSAGE, VBLK_VHOST_SET_INFLIGHT_FD, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_RESET_DEVICE, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_ADD_MEM_REG, 0, 1, 0, 4 },
	{ OP_MESSAGE, VBLK_VHOST_REM_MEM_REG, 0, 1, 0, 4 },
	{ OP_MESSAGE, VBLK_VHOST_SET_STATUS, 0, 1, 0, 0, 15 },
	{ OP_MESSAGE, VBLK_VHOST_SET_STATUS, 0, 1 },
	{ OP_MESSAGE, VBLK_VHOST_GET_STATUS },
	{ OP_FDS, 4 },
	{ OP_FDS, 2, 1 },
	{ OP_CUT },
	{ OP_CUT, 8 },
	{ OP_CONTROL, 0, 1 },
	{ OP_CONTROL, 1, 8 },
	{ OP_CONTROL, 2 },
	{ OP_AGAIN },
	{ OP_AGAIN, 1 },
};
const size_t fuzz_phrase_count = COUNT(fuzz_phrases);

/* How far each ring's driver is. */
static uint16_t avail[VHOST_RIG_QUEUES];

static uint64_t messages_max;

static void start(const uint8_t a[7])
{
	uint8_t ring = a[0] % VHOST_RIG_QUEUES, out = a[2];

	if (!(out & 1)) {
		client_send_well(VBLK_VHOST_SET_PROTOCOL_FEATURES, 1, 0, POOL_MEMORY);
		client_send_well(VBLK_VHOST_SET_FEATURES, 1, 0, POOL_MEMORY);
	}
	if (!(out & 2))
		client_send_well(VBLK_VHOST_SET_MEM_TABLE, a[3] & 1, 0, POOL_MEMORY);
	client_send_well(VBLK_VHOST_SET_VRING_NUM, 0, ring, POOL_MEMORY);
	client_send_well(VBLK_VHOST_SET_VRING_BASE, a[1], ring, POOL_MEMORY);
	if (!(out & 4))
		client_send_well(VBLK_VHOST_SET_VRING_ADDR, 0, ring, POOL_MEMORY);
	if (!(out & 8))
		client_send_well(VBLK_VHOST_SET_VRING_CALL, 0, ring, POOL_CALL);
	if (!(out & 16))
		client_send_well(VBLK_VHOST_SET_VRING_KICK, 0, ring, POOL_KICK);
	if (!(out & 32))
		client_send_well(VBLK_VHOST_SET_VRING_ENABLE, 0, ring, POOL_MEMORY);
}

/* ---- the driver, and the owner of the disk ---- */

static void put(size_t at, const void *bytes, size_t length)
{
	/* By the file: it may be shorter than the mapping just now. */
	if (pwrite(vhost_rig.pool[POOL_MEMORY], bytes, length, (off_t)at) < 0)
		FUZZ_TRACE("     cannot be stored");
}

static void offer(const uint8_t a[7])
{
	size_t ring = a[0] % VHOST_RIG_QUEUES, base = ring * CLIENT_RING_STEP,
	       slot = 0x8000 + (size_t)(a[3] % 4) * 0x2000;
	uint8_t desc[48] = { 0 }, header[16] = { 0 }, idx[2], head[2] = { 0 };
	uint64_t one = 1;

	vblk_le32_put(header, a[1]);
	vblk_le64_put(header + 8, a[2]);
	vblk_le64_put(desc, CLIENT_GUEST + slot);
	vblk_le32_put(desc + 8, sizeof(header));
	vblk_le16_put(desc + 12, VRING_DESC_F_NEXT);
	vblk_le16_put(desc + 14, 1);
	vblk_le64_put(desc + 16, CLIENT_GUEST + slot + 0x1000);
	vblk_le32_put(desc + 24, 512u * (1 + a[3] / 32u));
	vblk_le16_put(desc + 28,
		      VRING_DESC_F_NEXT | (a[1] == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0));
	vblk_le16_put(desc + 30, 2);
	vblk_le64_put(desc + 32, CLIENT_GUEST + slot + 0x20);
	vblk_le32_put(desc + 40, 1);
	vblk_le16_put(desc + 44, VRING_DESC_F_WRITE);
	put(slot, header, sizeof(header));
	put(base, desc, sizeof(desc));
	put(base + CLIENT_AVAIL + 4 + 2 * (avail[ring] % CLIENT_RING_SIZE), head, sizeof(head));
	avail[ring] = (uint16_t)(avail[ring] + 1 + a[4]);
	vblk_le16_put(idx, avail[ring]);
	put(base + CLIENT_AVAIL + 2, idx, sizeof(idx));
	if (write(vhost_rig.pool[POOL_KICK], &one, sizeof(one)) < 0)
		FUZZ_TRACE("     cannot be kicked");
}

static void control(const uint8_t a[7])
{
	const struct vblk_throttle limit = { .iops = a[1], .bps = 512ull * a[2] };

	switch (a[0] % 4) {
	case 0:
		(void)vblk_vhost_server_pause(vhost_rig.server);
		break;
	case 1:
		(void)!vblk_vhost_server_resize(vhost_rig.server, 512ull * (1 + a[1]), true);
		break;
	case 2:
		vblk_vhost_server_resume(vhost_rig.server);
		break;
	default:
		(void)!vblk_vhost_server_set_throttle(vhost_rig.server, &limit);
		break;
	}
}

static void step(enum op op, const uint8_t a[7])
{
	switch (op) {
	case OP_MESSAGE:
		client_send(a);
		break;
	case OP_PATCH:
		client.patched = true;
		client.patch_at = a[0];
		client.patch_by = record_u64(a + 1);
		break;
	case OP_FDS:
		client.first_fd = a[0];
		client.fd_step = a[1];
		break;
	case OP_START:
		start(a);
		break;
	case OP_OFFER:
		offer(a);
		break;
	case OP_SPOIL:
		put(record_u16(a) % VHOST_RIG_MEMORY, a + 2, 5);
		break;
	case OP_CUT:
		if (ftruncate(vhost_rig.pool[POOL_MEMORY], (off_t)(a[0] % 32u * 0x1000)) < 0)
			vhost_rig_die("ftruncate");
		break;
	case OP_RAW:
		client_send_bytes(a + 1, 1 + a[0] % 6u, 0);
		break;
	case OP_CONTROL:
		control(a);
		break;
	default:
		client_close();
		if (!vhost_rig_is_at(a[0] % VHOST_RIG_DISKS))
			vhost_rig_reset_disk();
		client_open(a[0] % VHOST_RIG_DISKS);
		break;
	}
	vhost_rig_serve();
}

/* ---- what libFuzzer calls ---- */

static void tell(void)
{
	fprintf(stderr, "stat::number_of_messages: %llu\n", (unsigned long long)client.messages);
	fprintf(stderr, "stat::number_of_late_workers: %u\n", vhost_rig_late());
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *limit = getenv("VBLK_FUZZ_MESSAGES");

	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	if (limit)
		messages_max = strtoull(limit, NULL, 10);
	vhost_rig_init();
	for (unsigned disk = 0; disk < VHOST_RIG_DISKS; disk++) {
		client_open(disk);
		client_close();
	}
	vhost_rig_count_maps();
	atexit(tell);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	client = (struct client){ .messages = client.messages };
	memset(avail, 0, sizeof(avail));
	vhost_rig_begin();
	client_open(0);
	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
	}
	client_close();
	vhost_rig_end();
	if (messages_max && client.messages >= messages_max) {
		tell();
		_Exit(0);
	}
	return 0;
}
