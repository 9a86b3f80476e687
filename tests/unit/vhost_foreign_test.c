/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a front end sends and that may hang: which are taken, and what becomes of a
 * server that is sent a file of a FUSE file system which answers nothing any more. The file system
 * is a child process that speaks just enough of the protocol for its one file to be opened.
 */
#include "vhost_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vhost/foreign_fd.h"

#define LIMIT_SECONDS 60

/* ---- which are taken ---- */

static int open_file(const char *folder)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/vblk-foreign-XXXXXX", folder);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void expect_judgement(int fd, bool prompt)
{
	const char *reason;

	assert_true(fd >= 0);
	assert_int_equal(vblk_vhost_fd_is_prompt(fd, &reason), prompt);
	if (!prompt)
		assert_non_null(reason);
	close(fd);
}

static void test_what_a_front_end_needs_is_taken(void **state)
{
	int pipes[2], sockets[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	expect_judgement(memfd_create("m", MFD_CLOEXEC), true);
	expect_judgement(open_file("/dev/shm"), true);
	expect_judgement(eventfd(0, EFD_CLOEXEC), true);
	expect_judgement(pipes[0], true);
	expect_judgement(pipes[1], true);
	expect_judgement(sockets[0], true);
	expect_judgement(sockets[1], true);
}

static void test_file_is_taken_if_its_file_system_has_a_disk(void **state)
{
	int fd = open_file("/tmp");
	struct stat about;

	(void)state;
	assert_int_equal(fstat(fd, &about), 0);
	/* Whatever /tmp is here; where it is tmpfs, seals say that it is in memory. */
	expect_judgement(fd, fcntl(fd, F_GET_SEALS) >= 0 || major(about.st_dev) != 0);
}

static void test_what_may_hang_is_not_taken(void **state)
{
	(void)state;
	expect_judgement(open("/proc/self/status", O_RDONLY | O_CLOEXEC), false);
	expect_judgement(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), false);
	expect_judgement(open("/dev/null", O_RDWR | O_CLOEXEC), false);
	expect_judgement(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), false);
}

/* ---- a file system that hangs ---- */

struct hanging {
	pid_t server;
	char folder[64];
	int fd; /* of its one file */
};

static void answer(int fd, const struct fuse_in_header *to, int error, const void *data,
		   size_t size)
{
	const struct fuse_out_header header = { (uint32_t)(sizeof(header) + size), error,
						to->unique };
	const struct iovec iov[2] = { { (void *)(uintptr_t)&header, sizeof(header) },
				      { (void *)(uintptr_t)data, size } };

	if (writev(fd, iov, size > 0 ? 2 : 1) < 0)
		_exit(2);
}

/* Knows a folder with a file; of the file itself it says nothing. Does not return. */
static void serve_file_system(int fd)
{
	static union {
		struct fuse_in_header header;
		char bytes[0x21000];
	} in;

	bool met = false;

	/* Whoever hangs in it can be ended only when it ends. */
	alarm(LIMIT_SECONDS);
	while (read(fd, &in, sizeof(in)) > 0) {
		const struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION,
						    .minor = FUSE_KERNEL_MINOR_VERSION,
						    .max_write = 4096 };
		const struct fuse_attr_out root = {
			.attr = { .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2 }
		};
		const struct fuse_entry_out file = {
			.nodeid = 2,
			.entry_valid = 1000,
			.attr = { .ino = 2,
				  .mode = S_IFREG | 0600,
				  .nlink = 1,
				  .size = FRONT_SIZE },
		};
		const struct fuse_open_out opened = { .fh = 1 };

		/* An emulated processor may have another byte order than the kernel. */
		if (!met && in.header.opcode != FUSE_INIT)
			break;
		met = true;
		if (in.header.opcode == FUSE_INIT)
			answer(fd, &in.header, 0, &init, sizeof(init));
		else if (in.header.opcode == FUSE_GETATTR && in.header.nodeid == 1)
			answer(fd, &in.header, 0, &root, sizeof(root));
		else if (in.header.opcode == FUSE_LOOKUP)
			answer(fd, &in.header, 0, &file, sizeof(file));
		else if (in.header.opcode == FUSE_OPEN)
			answer(fd, &in.header, 0, &opened, sizeof(opened));
	}
	_exit(0);
}

/* Without its server, every call on the file fails at once. */
static void end_hanging(struct hanging *hanging)
{
	assert_int_equal(kill(hanging->server, SIGKILL), 0);
	assert_int_equal(waitpid(hanging->server, NULL, 0), hanging->server);
}

static void unmount(struct hanging *hanging)
{
	if (hanging->fd >= 0)
		close(hanging->fd);
	assert_int_equal(umount2(hanging->folder, MNT_DETACH), 0);
	assert_int_equal(rmdir(hanging->folder), 0);
}

static bool mount_at(const char *folder, int fd)
{
	char options[128];

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd,
		 getuid(), getgid());
	return mount("vblk", folder, "fuse", MS_NOSUID | MS_NODEV, options) == 0;
}

/* In a mount namespace of this process's own, which ends with it. Returns false without rights. */
static bool mount_hanging(struct hanging *hanging)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char path[80];
	int error;

	strcpy(hanging->folder, "/tmp/vblk-hanging-XXXXXX");
	assert_non_null(mkdtemp(hanging->folder));
	if (fd < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !mount_at(hanging->folder, fd)) {
		error = errno;
		if (fd >= 0)
			close(fd);
		rmdir(hanging->folder);
		errno = error;
		return false;
	}
	hanging->server = fork();
	if (hanging->server == 0)
		serve_file_system(fd);
	close(fd);
	snprintf(path, sizeof(path), "%s/memory", hanging->folder);
	hanging->fd = open(path, O_RDWR | O_CLOEXEC);
	if (hanging->fd >= 0)
		return true;
	error = errno;
	end_hanging(hanging);
	unmount(hanging);
	errno = error;
	return false;
}

static void begin_hanging(struct hanging *hanging)
{
	if (!mount_hanging(hanging)) {
		print_message("no FUSE file system can be mounted here: %s\n", strerror(errno));
		skip();
	}
}

static bool is_served(void *context)
{
	struct scene *scene = context;

	vblk_vhost_server_serve(scene->host.server);
	return vblk_vhost_server_is_connected(scene->host.server);
}

/*
 * The server goes on at once, and lets nobody in until the file is closed: there are never more
 * descriptors that hang than one front end has sent.
 */
static void expect_to_go_on(struct scene *scene, struct hanging *hanging)
{
	struct front *f = &scene->front;

	assert_true(front_is_cut_off(f));
	assert_int_equal(process_threads(), own_threads + 1);
	front_disconnect(f);
	front_knock(f, &scene->host);
	front_host_serve(&scene->host);
	assert_false(vblk_vhost_server_is_connected(scene->host.server));
	assert_true(front_host_logged(&scene->host, "front ends have to wait"));
	end_hanging(hanging);
	assert_true(process_wait(is_served, scene));
	assert_true(process_wait_threads(own_threads));
	f->acks = false;
	front_start(f, 1);
	assert_int_equal(front_do(f, 0, 0, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
	unmount(hanging);
	scene->fds = process_fds();
}

static void test_memory_that_hangs_is_not_touched(void **state)
{
	const struct vblk_vhost_memory memory = {
		.count = 1,
		.region = { { FRONT_GUEST, FRONT_SIZE, FRONT_USER, 0 } },
	};
	const struct vblk_vhost_header header = { VBLK_VHOST_SET_MEM_TABLE, VBLK_VHOST_VERSION,
						  8 + sizeof(memory.region[0]) };
	struct hanging hanging;
	struct scene scene;
	struct front *f;

	(void)state;
	begin_hanging(&hanging);
	f = begin(&scene, 1);
	front_negotiate(f);
	alarm(LIMIT_SECONDS); /* rather than hang with it */
	front_send(f, &header, &memory, header.size, &hanging.fd, 1);
	assert_true(front_host_logged(&scene.host, "is on a file system that may hang"));
	expect_to_go_on(&scene, &hanging);
	alarm(0);
	front_close(f);
	front_host_stop(&scene.host);
}

static void test_answers_with_what_hangs_end_the_connection(void **state)
{
	const struct vblk_vhost_header header = { VBLK_VHOST_BACKEND_CONFIG_CHANGE_MSG,
						  VBLK_VHOST_VERSION | VBLK_VHOST_FLAG_REPLY, 0 };
	struct hanging hanging;
	struct front backend;
	struct scene scene;
	struct front *f;
	int pair[2];

	(void)state;
	begin_hanging(&hanging);
	f = begin(&scene, 1);
	front_negotiate(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(front_put(f, VBLK_VHOST_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	alarm(LIMIT_SECONDS);
	backend = (struct front){ .host = &scene.host, .fd = pair[0] };
	front_send(&backend, &header, NULL, 0, &hanging.fd, 1);
	expect_to_go_on(&scene, &hanging);
	alarm(0);
	close(pair[0]);
	front_close(f);
	front_host_stop(&scene.host);
}

/* Who asks for it gets it: nothing is judged, and nothing has to wait. */
static void test_any_file_is_taken_on_request(void **state)
{
	const struct vblk_vhost_server_options options = { .any_files = true };
	int folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct scene scene = { .fds = process_fds() };
	struct front *f = &scene.front;

	(void)state;
	front_host_start(&scene.host, &options, disk_create(DISK_SIZE, FILL));
	front_open(f, &scene.host);
	front_negotiate(f);
	/* It is looked at, and refused as what it is. */
	assert_int_not_equal(front_put_ring_fd(f, VBLK_VHOST_SET_VRING_CALL, 7, folder), 0);
	assert_false(front_is_cut_off(f));
	end(&scene);
	close(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_front_end_needs_is_taken),
		cmocka_unit_test(test_file_is_taken_if_its_file_system_has_a_disk),
		cmocka_unit_test(test_what_may_hang_is_not_taken),
		cmocka_unit_test(test_memory_that_hangs_is_not_touched),
		cmocka_unit_test(test_answers_with_what_hangs_end_the_connection),
		cmocka_unit_test(test_any_file_is_taken_on_request),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
