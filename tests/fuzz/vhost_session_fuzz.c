/* SPDX-License-Identifier: MIT */
/*
 * Front ends from hell: messages, good and bad, with descriptors of all kinds, against a server as
 * vblk serve has it, with real sockets, real mappings and real workers.
 *
 * There are two disks, one in memory and one that is a file, whose calls io_uring makes where it is
 * to be had. A program is one connection, or several. Its steps send messages, spoil them, lay out
 * requests in shared memory, cut that memory short, and pause, limit and resize the disk meanwhile.
 * The server is served on the fuzzer's thread after each step. Whatever happened, it must not stay
 * busy without being asked; a connection that it ends has a line that says why; and when the front
 * end has gone, there is no descriptor and no mapping more than before, and the next one is served.
 *
 * How many messages were sent is told at the end; VBLK_FUZZ_MESSAGES=N ends the run when N were.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vblk/backing.h>

#include "base/le.h"
#include "check.h"
#include "records.h"
#include "vhost/server.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define DISK_SIZE   0x20000u
#define MEMORY_SIZE 0x20000u
#define GUEST	    0x40000000ull
#define USER	    0x7f0000000000ull
#define QUEUES	    2u
#define RING_SIZE   16u
#define TURNS_MAX   1000u
#define MAPS_EVERY  64u
#define DISKS	    2u

/* What is done by other threads, or by a timer, is waited for so many times so long. */
#define TRIES_MAX 500u
#define TRY_MS	  10

/*
 * What a step does and what its arguments a[0..6] mean.
 *
 * MESSAGE  a[0] request, a[1] descriptors (0: as many as are right), a[2] flags, a[3] what is added
 *          to the right size, a[4] details, a[5..6] first number
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

/* Descriptors to be sent. What is named here has a place of its own. */
enum pool {
	POOL_MEMORY, /* MEMORY_SIZE bytes: guest memory */
	POOL_KICK,
	POOL_CALL,
	POOL_LARGE,    /* a file with room for a record of requests in flight */
	POOL_SMALL,    /* a file of a page */
	POOL_READONLY, /* the same, not to be written */
	POOL_PIPE_IN,
	POOL_PIPE_OUT,
	POOL_SOCKET,
	POOL_NULL,
	POOL_FOLDER,
	POOL_OWN, /* the front end's own end */
	POOL_SIZE,
};

static struct {
	struct {
		struct vblk_vhost_server *server;
		struct sockaddr_un address;
		socklen_t address_length;
	} disk[DISKS];
	struct vblk_vhost_server *server; /* of the disk that the front end has come to */
	int pool[POOL_SIZE];
	int other_socket;
	uint8_t *memory;
	size_t fds;
	unsigned maps;
	uint64_t inputs;
	uint64_t messages;
	uint64_t messages_max;
	atomic_uint complaints;
	atomic_uint lost;
} rig;

/* One connection, and what the next message is made of. */
static struct {
	int fd;
	bool open;
	uint8_t first_fd;
	uint8_t fd_step;
	bool patched;
	uint8_t patch_at;
	uint64_t patch_by;
	uint16_t avail[QUEUES];
} run;

/* ---- what there is once ---- */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void hear(void *context, enum vblk_log_level level, const char *message,
		 const struct vblk_log_field *fields, size_t count)
{
	(void)context;
	FUZZ_CHECK(message && (count == 0 || fields), "a line without a text");
	FUZZ_TRACE("     log: %s", message);
	if (level <= VBLK_LOG_WARN)
		atomic_fetch_add(&rig.complaints, 1);
}

static void hear_loss(void *context, int error)
{
	(void)context;
	(void)error;
	atomic_fetch_add(&rig.lost, 1);
}

static int make_file(size_t length)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)length) < 0)
		die("memfd");
	return fd;
}

static void make_pool(void)
{
	char path[64];
	int pipes[2], sockets[2];

	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0)
		die("pipe");
	rig.pool[POOL_MEMORY] = make_file(MEMORY_SIZE);
	rig.pool[POOL_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.pool[POOL_CALL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rig.pool[POOL_LARGE] = make_file(0x10000);
	rig.pool[POOL_SMALL] = make_file(0x1000);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig.pool[POOL_SMALL]);
	rig.pool[POOL_READONLY] = open(path, O_RDONLY | O_CLOEXEC);
	rig.pool[POOL_PIPE_IN] = pipes[0];
	rig.pool[POOL_PIPE_OUT] = pipes[1];
	rig.pool[POOL_SOCKET] = sockets[0];
	rig.other_socket = sockets[1];
	rig.pool[POOL_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	rig.pool[POOL_FOLDER] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig.memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  rig.pool[POOL_MEMORY], 0);
	if (rig.memory == MAP_FAILED)
		die("mmap");
}

/* A second passes with each look, so that the limit on messages holds none back. */
static uint64_t read_clock(void *context)
{
	static _Atomic uint64_t now;

	(void)context;
	return atomic_fetch_add(&now, 1000000000);
}

static int listen_for(unsigned disk)
{
	struct sockaddr_un *address = &rig.disk[disk].address;
	socklen_t *length = &rig.disk[disk].address_length;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address->sun_family = AF_UNIX;
	*length = sizeof(*address);
	if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, length) < 0 || listen(fd, 4) < 0)
		die("socket");
	return fd;
}

static void make_server(unsigned disk, enum vblk_engine_kind engine, struct vblk_backing *backing)
{
	const struct vblk_vhost_server_options options = {
		.device = {
			.engine = engine,
			.log = { hear, NULL, VBLK_LOG_INFO },
			.clock = read_clock,
			.stop_timeout_ms = 60000,
			.worker_lost = hear_loss,
		},
		.queues = QUEUES,
	};

	if (vblk_vhost_server_create(&options, backing, listen_for(disk), &rig.disk[disk].server) <
	    0)
		die("server");
	vblk_backing_unref(backing);
}

static void make_servers(void)
{
	struct vblk_backing *backing;
	int fd = make_file(DISK_SIZE);

	if (vblk_backing_create_memory(DISK_SIZE, &backing) < 0)
		die("disk");
	make_server(0, VBLK_ENGINE_WORKER, backing);
	if (vblk_backing_open_fd(fd, 0, &backing) < 0)
		die("file");
	close(fd);
	make_server(1, VBLK_ENGINE_URING, backing);
	rig.server = rig.disk[0].server;
}

/* ---- what must not grow ---- */

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	if (!dir)
		die("/proc/self/fd");
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static unsigned count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	if (!maps)
		die("/proc/self/maps");
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "/memfd:") != NULL;
	fclose(maps);
	return count;
}

/* A thread of the server's may still be closing some. */
static size_t count_fds_to(size_t expected)
{
	size_t fds = count_fds();

	for (unsigned tries = 0; fds > expected && tries < TRIES_MAX; tries++) {
		(void)poll(NULL, 0, TRY_MS);
		fds = count_fds();
	}
	return fds;
}

static void expect_nothing_left(void)
{
	size_t fds = count_fds_to(rig.fds);

	FUZZ_CHECK(fds == rig.fds, "%zu descriptors are open, %zu were", fds, rig.fds);
	FUZZ_CHECK(atomic_load(&rig.lost) == 0, "a worker is lost");
	if (rig.inputs++ % MAPS_EVERY == 0) {
		unsigned maps = count_maps();

		FUZZ_CHECK(maps == rig.maps, "%u files are mapped, %u were", maps, rig.maps);
	}
}

/* ---- the connection ---- */

static void serve(void)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(rig.server), .events = POLLIN };

	for (unsigned turns = 0; poll(&pfd, 1, 0) > 0; turns++) {
		FUZZ_CHECK(turns < TURNS_MAX, "the server is busy without end");
		vblk_vhost_server_serve(rig.server);
	}
}

/* Reads answers, so that the server never waits; their descriptors are dropped by the kernel. */
static void read_answers(void)
{
	uint8_t bytes[4096];
	ssize_t got;

	do
		got = recv(run.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (got > 0);
	if (got < 0 && errno == EAGAIN)
		return;
	run.open = false;
	FUZZ_TRACE("     cut off");
	FUZZ_CHECK(atomic_load(&rig.complaints) > 0, "a connection was ended without a line");
}

/* The server lets a front end wait until it could close what the last one had sent. */
static void wait_until_connected(void)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(rig.server), .events = POLLIN };

	serve();
	for (unsigned tries = 0; tries < TRIES_MAX && !vblk_vhost_server_is_connected(rig.server);
	     tries++) {
		(void)poll(&pfd, 1, TRY_MS);
		serve();
	}
}

static void open_connection(unsigned disk)
{
	rig.server = rig.disk[disk].server;
	run.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (run.fd < 0 || connect(run.fd, (struct sockaddr *)&rig.disk[disk].address,
				  rig.disk[disk].address_length) < 0)
		die("connect");
	run.open = true;
	rig.pool[POOL_OWN] = run.fd;
	atomic_store(&rig.complaints, 0);
	wait_until_connected();
	FUZZ_CHECK(vblk_vhost_server_is_connected(rig.server), "a front end is not served");
}

/* The server may hold this end too, and then closing it says nothing. */
static void close_connection(void)
{
	shutdown(run.fd, SHUT_RDWR);
	close(run.fd);
	serve();
	FUZZ_CHECK(!vblk_vhost_server_is_connected(rig.server), "a front end has gone unnoticed");
}

static void send_bytes(const void *bytes, size_t length, unsigned fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (!run.open)
		return;
	if (fds > 0) {
		struct cmsghdr *c;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fds);
		for (unsigned i = 0; i < fds; i++) {
			int fd = rig.pool[(run.first_fd + i * run.fd_step) % POOL_SIZE];

			memcpy(CMSG_DATA(c) + i * sizeof(fd), &fd, sizeof(fd));
		}
	}
	if (sendmsg(run.fd, &message, MSG_NOSIGNAL) < 0)
		FUZZ_TRACE("     cannot be sent: %s", strerror(errno));
	serve();
	read_answers();
}

/* ---- messages ---- */

static uint32_t compose_memory(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	unsigned count = 1 + a[4] % 8u;
	uint64_t part = (MEMORY_SIZE / 0x1000 / count) * 0x1000ull;

	*fds = count;
	payload[0] = count;
	for (unsigned i = 0; i < count; i++) {
		payload[1 + 4 * i] = GUEST + i * part;
		payload[2 + 4 * i] = part;
		payload[3 + 4 * i] = USER + i * part;
		payload[4 + 4 * i] = i * part;
	}
	return 8 + 32 * count;
}

static uint32_t compose_slot(const uint8_t a[7], uint64_t payload[40], bool adds, unsigned *fds)
{
	*fds = adds;
	payload[1] = GUEST + (a[4] + 1ull) * MEMORY_SIZE;
	payload[2] = 0x1000;
	payload[3] = USER + (a[4] + 1ull) * MEMORY_SIZE;
	payload[4] = 0;
	return 40;
}

static uint32_t compose_ring(const uint8_t a[7], uint64_t payload[40])
{
	uint64_t at = USER + (a[5] % QUEUES) * 0x2000ull;

	payload[0] = a[5] % QUEUES;
	payload[1] = at;
	payload[2] = at + 0x800;
	payload[3] = at + 0x400;
	return 40;
}

static uint32_t compose_state(const uint8_t a[7], uint64_t payload[40])
{
	uint64_t number = a[0] == VBLK_VHOST_SET_VRING_NUM	? RING_SIZE
			  : a[0] == VBLK_VHOST_SET_VRING_ENABLE ? (a[4] + 1u) % 2
								: a[4];

	payload[0] = a[5] % QUEUES | number << 32;
	return 8;
}

static uint32_t compose_record(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	*fds = a[0] == VBLK_VHOST_SET_INFLIGHT_FD;
	payload[0] = QUEUES * vblk_vhost_inflight_stride(a[5] & 1 ? 1024 : RING_SIZE);
	payload[2] = QUEUES | (uint64_t)RING_SIZE << 16;
	return a[4] & 1 ? 20 : 24;
}

/* The size and the descriptors that are right, and a payload that is good for something. */
static uint32_t compose(const uint8_t a[7], uint64_t payload[40], unsigned *fds)
{
	*fds = 0;
	switch (a[0]) {
	case VBLK_VHOST_SET_FEATURES:
		payload[0] = a[4] & 1 ? 1ull << VBLK_VHOST_F_PROTOCOL_FEATURES | 1ull << 32 : 0;
		payload[0] |= a[4] & 2 ? 1ull << VBLK_VHOST_F_LOG_ALL : 0;
		return 8;
	case VBLK_VHOST_SET_PROTOCOL_FEATURES:
		payload[0] = a[4] & 1 ? 0x1b22b : record_u64(a + 5);
		return 8;
	case VBLK_VHOST_SET_STATUS:
		payload[0] = a[5];
		return 8;
	case VBLK_VHOST_SET_MEM_TABLE:
		return compose_memory(a, payload, fds);
	case VBLK_VHOST_SET_LOG_BASE:
		*fds = 1;
		payload[0] = record_u64(a + 5);
		return 16;
	case VBLK_VHOST_SET_VRING_NUM:
	case VBLK_VHOST_SET_VRING_BASE:
	case VBLK_VHOST_GET_VRING_BASE:
	case VBLK_VHOST_SET_VRING_ENABLE:
		return compose_state(a, payload);
	case VBLK_VHOST_SET_VRING_ADDR:
		return compose_ring(a, payload);
	case VBLK_VHOST_SET_VRING_KICK:
	case VBLK_VHOST_SET_VRING_CALL:
	case VBLK_VHOST_SET_VRING_ERR:
		payload[0] = a[5] % QUEUES | (a[4] & 1 ? VBLK_VHOST_RING_FD_NONE : 0);
		*fds = !(a[4] & 1);
		return 8;
	case VBLK_VHOST_GET_CONFIG:
	case VBLK_VHOST_SET_CONFIG:
		payload[0] = a[5] | (a[4] + 1ull) << 32;
		payload[1] = (uint64_t)a[6] << 32;
		return 12 + a[4] + 1u;
	case VBLK_VHOST_SET_INFLIGHT_FD:
	case VBLK_VHOST_GET_INFLIGHT_FD:
		return compose_record(a, payload, fds);
	case VBLK_VHOST_ADD_MEM_REG:
	case VBLK_VHOST_REM_MEM_REG:
		return compose_slot(a, payload, a[0] == VBLK_VHOST_ADD_MEM_REG, fds);
	case VBLK_VHOST_SET_LOG_FD:
	case VBLK_VHOST_SET_BACKEND_REQ_FD:
		*fds = 1;
		return 0;
	default:
		return 0;
	}
}

static void send_message(const uint8_t a[7])
{
	struct {
		struct vblk_vhost_header header;
		uint8_t payload[320];
	} message;
	uint64_t payload[40] = { 0 };
	unsigned fds;
	uint32_t right = compose(a, payload, &fds);
	uint32_t size = right + (uint32_t)(int8_t)a[3];

	if (run.patched)
		payload[run.patch_at % COUNT(payload)] += run.patch_by;
	run.patched = false;
	if (a[1])
		fds = (a[1] - 1u) % 12;
	message.header = (struct vblk_vhost_header){ a[0], 1u | (a[2] & 1u) << 3, size };
	if (a[2] & 2)
		message.header.flags ^= 1u << (a[2] >> 2 & 31);
	memcpy(message.payload, payload, sizeof(payload));
	if (size > sizeof(payload))
		size = right;
	FUZZ_TRACE("     %s, %u bytes, %u descriptors", vblk_vhost_request_name(a[0]), size, fds);
	send_bytes(&message, sizeof(message.header) + size, fds);
	rig.messages++;
}

/* One message as it should be; which descriptor it has, if any. */
static void send_well(uint8_t request, uint8_t detail, uint8_t number, enum pool fd)
{
	const uint8_t a[7] = { request, 0, 0, 0, detail, number };
	uint8_t first = run.first_fd, step = run.fd_step;

	run.first_fd = (uint8_t)fd;
	run.fd_step = 0;
	send_message(a);
	run.first_fd = first;
	run.fd_step = step;
}

static void start(const uint8_t a[7])
{
	uint8_t ring = a[0] % QUEUES, out = a[2];

	if (!(out & 1)) {
		send_well(VBLK_VHOST_SET_PROTOCOL_FEATURES, 1, 0, POOL_MEMORY);
		send_well(VBLK_VHOST_SET_FEATURES, 1, 0, POOL_MEMORY);
	}
	if (!(out & 2))
		send_well(VBLK_VHOST_SET_MEM_TABLE, a[3] & 1, 0, POOL_MEMORY);
	send_well(VBLK_VHOST_SET_VRING_NUM, 0, ring, POOL_MEMORY);
	send_well(VBLK_VHOST_SET_VRING_BASE, a[1], ring, POOL_MEMORY);
	if (!(out & 4))
		send_well(VBLK_VHOST_SET_VRING_ADDR, 0, ring, POOL_MEMORY);
	if (!(out & 8))
		send_well(VBLK_VHOST_SET_VRING_CALL, 0, ring, POOL_CALL);
	if (!(out & 16))
		send_well(VBLK_VHOST_SET_VRING_KICK, 0, ring, POOL_KICK);
	if (!(out & 32))
		send_well(VBLK_VHOST_SET_VRING_ENABLE, 0, ring, POOL_MEMORY);
}

/* ---- the driver, and the owner of the disk ---- */

static void put(size_t at, const void *bytes, size_t length)
{
	/* By the file: it may be shorter than the mapping just now. */
	if (pwrite(rig.pool[POOL_MEMORY], bytes, length, (off_t)at) < 0)
		FUZZ_TRACE("     cannot be stored");
}

static void offer(const uint8_t a[7])
{
	size_t ring = a[0] % QUEUES, base = ring * 0x2000,
	       slot = 0x8000 + (size_t)(a[3] % 4) * 0x2000;
	uint8_t desc[48] = { 0 }, header[16] = { 0 }, idx[2], head[2] = { 0 };
	uint64_t one = 1;

	vblk_le32_put(header, a[1]);
	vblk_le64_put(header + 8, a[2]);
	vblk_le64_put(desc, GUEST + slot);
	vblk_le32_put(desc + 8, sizeof(header));
	vblk_le16_put(desc + 12, VRING_DESC_F_NEXT);
	vblk_le16_put(desc + 14, 1);
	vblk_le64_put(desc + 16, GUEST + slot + 0x1000);
	vblk_le32_put(desc + 24, 512u * (1 + a[3] / 32u));
	vblk_le16_put(desc + 28,
		      VRING_DESC_F_NEXT | (a[1] == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0));
	vblk_le16_put(desc + 30, 2);
	vblk_le64_put(desc + 32, GUEST + slot + 0x20);
	vblk_le32_put(desc + 40, 1);
	vblk_le16_put(desc + 44, VRING_DESC_F_WRITE);
	put(slot, header, sizeof(header));
	put(base, desc, sizeof(desc));
	put(base + 0x400 + 4 + 2 * (run.avail[ring] % RING_SIZE), head, sizeof(head));
	run.avail[ring] = (uint16_t)(run.avail[ring] + 1 + a[4]);
	vblk_le16_put(idx, run.avail[ring]);
	put(base + 0x400 + 2, idx, sizeof(idx));
	if (write(rig.pool[POOL_KICK], &one, sizeof(one)) < 0)
		FUZZ_TRACE("     cannot be kicked");
}

static void control(const uint8_t a[7])
{
	const struct vblk_throttle limit = { .iops = a[1], .bps = 512ull * a[2] };

	switch (a[0] % 4) {
	case 0:
		(void)vblk_vhost_server_pause(rig.server);
		break;
	case 1:
		(void)!vblk_vhost_server_resize(rig.server, 512ull * (1 + a[1]), true);
		break;
	case 2:
		vblk_vhost_server_resume(rig.server);
		break;
	default:
		(void)!vblk_vhost_server_set_throttle(rig.server, &limit);
		break;
	}
}

static void reset_disk(void)
{
	const struct vblk_throttle none = { 0 };

	vblk_vhost_server_resume(rig.server);
	(void)!vblk_vhost_server_set_throttle(rig.server, &none);
	(void)!vblk_vhost_server_resize(rig.server, DISK_SIZE, true);
}

static void step(enum op op, const uint8_t a[7])
{
	switch (op) {
	case OP_MESSAGE:
		send_message(a);
		break;
	case OP_PATCH:
		run.patched = true;
		run.patch_at = a[0];
		run.patch_by = record_u64(a + 1);
		break;
	case OP_FDS:
		run.first_fd = a[0];
		run.fd_step = a[1];
		break;
	case OP_START:
		start(a);
		break;
	case OP_OFFER:
		offer(a);
		break;
	case OP_SPOIL:
		put(record_u16(a) % MEMORY_SIZE, a + 2, 5);
		break;
	case OP_CUT:
		if (ftruncate(rig.pool[POOL_MEMORY], (off_t)(a[0] % 32u * 0x1000)) < 0)
			die("ftruncate");
		break;
	case OP_RAW:
		send_bytes(a + 1, 1 + a[0] % 6u, 0);
		break;
	case OP_CONTROL:
		control(a);
		break;
	default:
		close_connection();
		if (rig.server != rig.disk[a[0] % DISKS].server)
			reset_disk();
		open_connection(a[0] % DISKS);
		break;
	}
	serve();
}

/* ---- what libFuzzer calls ---- */

static void tell(void)
{
	fprintf(stderr, "stat::number_of_messages: %llu\n", (unsigned long long)rig.messages);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *limit = getenv("VBLK_FUZZ_MESSAGES");

	(void)argc;
	(void)argv;
	fuzz_start_tracing();
	if (limit)
		rig.messages_max = strtoull(limit, NULL, 10);
	make_pool();
	make_servers();
	for (unsigned disk = 0; disk < DISKS; disk++) {
		open_connection(disk);
		close_connection();
	}
	rig.maps = count_maps();
	atexit(tell);
	return 0;
}

static void reset(void)
{
	uint64_t count;
	char bytes[256];

	reset_disk();
	if (ftruncate(rig.pool[POOL_MEMORY], 0) < 0 ||
	    ftruncate(rig.pool[POOL_MEMORY], MEMORY_SIZE) < 0 ||
	    ftruncate(rig.pool[POOL_LARGE], 0) < 0 ||
	    ftruncate(rig.pool[POOL_LARGE], 0x10000) < 0 ||
	    ftruncate(rig.pool[POOL_SMALL], 0x1000) < 0)
		die("ftruncate");
	while (read(rig.pool[POOL_PIPE_IN], bytes, sizeof(bytes)) > 0)
		;
	while (recv(rig.other_socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	while (recv(rig.pool[POOL_SOCKET], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	(void)!read(rig.pool[POOL_KICK], &count, sizeof(count));
	(void)!read(rig.pool[POOL_CALL], &count, sizeof(count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *record;

	memset(&run, 0, sizeof(run));
	rig.fds = count_fds(); /* libFuzzer opens files between two inputs */
	open_connection(0);
	for (size_t i = 0; (record = record_at(data, size, i)); i++) {
		enum op op = (enum op)(record[0] % OPS);

		FUZZ_TRACE("%3zu: op %2d  %02x %02x %02x %02x %02x %02x %02x", i, op, record[1],
			   record[2], record[3], record[4], record[5], record[6], record[7]);
		step(op, record + 1);
	}
	close_connection();
	reset();
	expect_nothing_left();
	if (rig.messages_max && rig.messages >= rig.messages_max) {
		tell();
		_Exit(0);
	}
	return 0;
}
