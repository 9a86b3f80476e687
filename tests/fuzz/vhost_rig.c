/* SPDX-License-Identifier: MIT */
/* The servers, what can be sent to them, and what they must not keep. */
#include "vhost_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

#include "check.h"

#define DISK_SIZE  0x20000u
#define LARGE_SIZE 0x10000
#define SMALL_SIZE 0x1000
#define TURNS_MAX  1000u
#define MAPS_EVERY 64u

/* What is done by other threads, or by a timer, is waited for so many times so long. */
#define TRIES_MAX 500u
#define TRY_MS	  10

static struct {
	struct {
		struct vblk_vhost_server *server;
		struct sockaddr_un address;
		socklen_t address_length;
	} disk[VHOST_RIG_DISKS];
	int other_socket;
	uint8_t *memory;
	size_t fds;
	unsigned maps;
	uint64_t inputs;
	atomic_uint complaints;
	atomic_int lost;  /* a worker, and why: a positive errno */
	atomic_uint late; /* workers that were given up */
} own;

struct vhost_rig vhost_rig;

/* ---- what there is once ---- */

void vhost_rig_die(const char *what)
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
		atomic_fetch_add(&own.complaints, 1);
}

static void hear_loss(void *context, int error)
{
	(void)context;
	if (error == -ETIMEDOUT)
		atomic_fetch_add(&own.late, 1);
	else
		atomic_store(&own.lost, -error);
}

static int make_file(size_t length)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)length) < 0)
		vhost_rig_die("memfd");
	return fd;
}

static void make_pool(void)
{
	char path[64];
	int pipes[2], sockets[2];

	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0)
		vhost_rig_die("pipe");
	vhost_rig.pool[POOL_MEMORY] = make_file(VHOST_RIG_MEMORY);
	vhost_rig.pool[POOL_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vhost_rig.pool[POOL_CALL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vhost_rig.pool[POOL_LARGE] = make_file(LARGE_SIZE);
	vhost_rig.pool[POOL_SMALL] = make_file(SMALL_SIZE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", vhost_rig.pool[POOL_SMALL]);
	vhost_rig.pool[POOL_READONLY] = open(path, O_RDONLY | O_CLOEXEC);
	vhost_rig.pool[POOL_PIPE_IN] = pipes[0];
	vhost_rig.pool[POOL_PIPE_OUT] = pipes[1];
	vhost_rig.pool[POOL_SOCKET] = sockets[0];
	own.other_socket = sockets[1];
	vhost_rig.pool[POOL_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	vhost_rig.pool[POOL_FOLDER] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	own.memory = mmap(NULL, VHOST_RIG_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED,
			  vhost_rig.pool[POOL_MEMORY], 0);
	if (own.memory == MAP_FAILED)
		vhost_rig_die("mmap");
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
	struct sockaddr_un *address = &own.disk[disk].address;
	socklen_t *length = &own.disk[disk].address_length;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address->sun_family = AF_UNIX;
	*length = sizeof(*address);
	if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, length) < 0 || listen(fd, 4) < 0)
		vhost_rig_die("socket");
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
		.queues = VHOST_RIG_QUEUES,
	};

	if (vblk_vhost_server_create(&options, backing, listen_for(disk), &own.disk[disk].server) <
	    0)
		vhost_rig_die("server");
	vblk_backing_unref(backing);
}

static void make_servers(void)
{
	struct vblk_backing *backing;
	int fd = make_file(DISK_SIZE);

	if (vblk_backing_create_memory(DISK_SIZE, &backing) < 0)
		vhost_rig_die("disk");
	make_server(0, VBLK_ENGINE_WORKER, backing);
	if (vblk_backing_open_fd(fd, 0, &backing) < 0)
		vhost_rig_die("file");
	close(fd);
	make_server(1, VBLK_ENGINE_URING, backing);
	vhost_rig.server = own.disk[0].server;
}

void vhost_rig_init(void)
{
	make_pool();
	make_servers();
}

/* ---- what it does ---- */

void vhost_rig_serve(void)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(vhost_rig.server), .events = POLLIN };

	for (unsigned turns = 0; poll(&pfd, 1, 0) > 0; turns++) {
		FUZZ_CHECK(turns < TURNS_MAX, "the server is busy without end");
		vblk_vhost_server_serve(vhost_rig.server);
	}
}

/* The server lets a front end wait until it could close what the last one had sent. */
static void wait_until_connected(void)
{
	struct pollfd pfd = { .fd = vblk_vhost_server_fd(vhost_rig.server), .events = POLLIN };

	vhost_rig_serve();
	for (unsigned tries = 0;
	     tries < TRIES_MAX && !vblk_vhost_server_is_connected(vhost_rig.server); tries++) {
		(void)poll(&pfd, 1, TRY_MS);
		vhost_rig_serve();
	}
}

int vhost_rig_connect(unsigned disk)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	vhost_rig.server = own.disk[disk].server;
	if (fd < 0 || connect(fd, (struct sockaddr *)&own.disk[disk].address,
			      own.disk[disk].address_length) < 0)
		vhost_rig_die("connect");
	vhost_rig.pool[POOL_OWN] = fd;
	atomic_store(&own.complaints, 0);
	wait_until_connected();
	FUZZ_CHECK(vblk_vhost_server_is_connected(vhost_rig.server), "a front end is not served");
	return fd;
}

bool vhost_rig_is_at(unsigned disk)
{
	return vhost_rig.server == own.disk[disk].server;
}

bool vhost_rig_complained(void)
{
	return atomic_load(&own.complaints) > 0;
}

void vhost_rig_reset_disk(void)
{
	const struct vblk_throttle none = { 0 };

	vblk_vhost_server_resume(vhost_rig.server);
	(void)!vblk_vhost_server_set_throttle(vhost_rig.server, &none);
	(void)!vblk_vhost_server_resize(vhost_rig.server, DISK_SIZE, true);
}

static void reset(void)
{
	uint64_t count;
	char bytes[256];

	vhost_rig_reset_disk();
	if (ftruncate(vhost_rig.pool[POOL_MEMORY], 0) < 0 ||
	    ftruncate(vhost_rig.pool[POOL_MEMORY], VHOST_RIG_MEMORY) < 0 ||
	    ftruncate(vhost_rig.pool[POOL_LARGE], 0) < 0 ||
	    ftruncate(vhost_rig.pool[POOL_LARGE], LARGE_SIZE) < 0 ||
	    ftruncate(vhost_rig.pool[POOL_SMALL], SMALL_SIZE) < 0)
		vhost_rig_die("ftruncate");
	while (read(vhost_rig.pool[POOL_PIPE_IN], bytes, sizeof(bytes)) > 0)
		;
	while (recv(own.other_socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	while (recv(vhost_rig.pool[POOL_SOCKET], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	(void)!read(vhost_rig.pool[POOL_KICK], &count, sizeof(count));
	(void)!read(vhost_rig.pool[POOL_CALL], &count, sizeof(count));
}

/*
 * Closing what is not open does nothing here, and closes what somebody else has just opened where
 * threads are many. The linker puts this around all calls of close(2) in vblk's own code.
 * NOLINTBEGIN(cert-dcl51-cpp): the names are the linker's.
 */
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
	int ret = __real_close(fd);

	FUZZ_CHECK(ret == 0 || errno != EBADF, "descriptor %d is closed, and was not open", fd);
	return ret;
}
/* NOLINTEND(cert-dcl51-cpp) */

/* ---- what must not grow ---- */

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	if (!dir)
		vhost_rig_die("/proc/self/fd");
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
		vhost_rig_die("/proc/self/maps");
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

/*
 * When a front end has gone of itself, its workers have a second. That may be too little where a
 * machine is busy with other things, but the disks here do not hang, so that all of them end.
 */
static bool have_ended(void)
{
	bool ended = false;

	for (unsigned tries = 0; !ended && tries < TRIES_MAX; tries++) {
		ended = true;
		for (unsigned disk = 0; disk < VHOST_RIG_DISKS; disk++)
			ended = ended && vblk_vhost_server_is_at_rest(own.disk[disk].server);
		if (!ended)
			(void)poll(NULL, 0, TRY_MS);
	}
	return ended;
}

unsigned vhost_rig_late(void)
{
	return atomic_load(&own.late);
}

void vhost_rig_count_maps(void)
{
	own.maps = count_maps();
}

static void expect_nothing_left(void)
{
	size_t fds = count_fds_to(own.fds);

	FUZZ_CHECK(fds == own.fds, "%zu descriptors are open, %zu were", fds, own.fds);
	FUZZ_CHECK(atomic_load(&own.lost) == 0, "a worker is lost: %s",
		   strerror(atomic_load(&own.lost)));
	FUZZ_CHECK(have_ended(), "a worker that was given up does not end");
	if (own.inputs++ % MAPS_EVERY == 0) {
		unsigned maps = count_maps();

		FUZZ_CHECK(maps == own.maps, "%u files are mapped, %u were", maps, own.maps);
	}
}

/* libFuzzer opens files between two inputs. */
void vhost_rig_begin(void)
{
	own.fds = count_fds();
}

void vhost_rig_end(void)
{
	reset();
	expect_nothing_left();
}
