/* SPDX-License-Identifier: MIT */
/*
 * vblk serve: disks for virtual machine monitors, over vhost-user.
 *
 * One thread waits for signals and control clients, and one per disk for its front ends, so that no
 * disk can hold up another. The I/O is done by the workers of the disks. The order of the work is
 * the order in which mistakes are found: options, disks, sockets, and then the sandbox, behind
 * which nothing can be opened any more, and which all threads are to be in.
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/eventfd.h"
#include "cmd/disk.h"
#include "cmd/disk_names.h"
#include "cmd/serve.h"
#include "cmd/stats.h"
#include "request/air.h"

#define NAME "serve"
/* For the locks of a daemon that was killed, in whose place this one comes. */
#define LOCK_PATIENCE_MS 2000

#define MESSAGE_SIZE 2048

/*
 * A worker that does not end within this is given up, and its queue with it. A flush of a slow disk
 * may well take seconds.
 */
#define STOP_TIMEOUT_MS 30000u

/* A thread that has to end waits for its workers, and a second for a front end that reads nothing.
 */
#define END_TIMEOUT_MS (STOP_TIMEOUT_MS + 5000u)

static const char help[] =
	"vblk serve: disks for virtual machine monitors, over vhost-user\n"
	"\n"
	"Usage:\n"
	"  vblk serve (--socket PATH | --fd N) --disk SPEC [... more of both]\n"
	"             [--queues N] [--control PATH] [--user USER[:GROUP]]\n"
	"             [--sandbox on|kill|off] [--memory local|any] [--stats] [--verbose]\n"
	"\n"
	"Options:\n"
	"  --socket PATH   listen here for the front end of a disk: QEMU, cloud-hypervisor,\n"
	"                  crosvm, user-mode Linux. A socket that nobody listens on is\n"
	"                  replaced. The first --socket is for the first --disk, and so on.\n"
	"  --fd N          the same, with a socket that listens already\n"
	"  --disk SPEC     a disk; up to 32\n"
	"  --queues N      queues of each disk, 1 to 16, with a thread each; default 1. A disk\n"
	"                  can have its own number, queues=N in its SPEC\n"
	"  --control PATH  take commands here, from vblk ctl or others\n"
	"  --user USER     become this user when all is open, USER or USER:GROUP\n"
	"  --sandbox MODE  on (default): what is not needed is given up when all is open, and\n"
	"                  system calls that are not needed fail; kill: they end the process;\n"
	"                  off\n"
	"  --memory KIND   what front ends may share: local (default): memfds, files on tmpfs,\n"
	"                  hugetlbfs and disks; any: also files on FUSE, NFS, btrfs, overlayfs\n"
	"                  and the like, which can hang this process\n"
	"  --stats         print each disk's counters to standard error at the end\n"
	"  --verbose       say on standard error when front ends come and go\n"
	"\n"
	"SPEC is as for vblk boot: path=FILE|template=FS:SIZE[,ro][,size=N]...;\n"
	"see 'vblk boot --help'. The disk is called by its serial in --control, or by its\n"
	"file, or FS:SIZE.\n"
	"\n"
	"Sockets that systemd passes on (LISTEN_FDS) are used if there is neither --socket\n"
	"nor --fd. If NOTIFY_SOCKET is set, it is told when the disks are ready.\n"
	"\n"
	"SIGTERM and SIGINT end it: requests in hand are finished, sockets removed.\n"
	"\n"
	"Exit status:\n"
	"  0  it was told to end\n"
	"  1  failure while running\n"
	"  2  bad input; nothing was created or changed\n"
	"\n"
	"Examples:\n"
	"  vblk serve --socket /run/vblk/a.sock --disk path=a.img,iops=500\n"
	"  qemu-system-x86_64 ... -object memory-backend-memfd,id=m,size=1G,share=on \\\n"
	"      -machine memory-backend=m -chardev socket,id=c,path=/run/vblk/a.sock,reconnect=1 \\\n"
	"      -device vhost-user-blk-pci,chardev=c,num-queues=1";

/* ---- making it ---- */

static int fail(int code, const char *message)
{
	cmd_complain(NAME, "%s", message);
	return code == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
}

static int open_backings(struct serve *serve)
{
	char message[MESSAGE_SIZE];

	if (cmd_disk_names(serve->options.specs, serve->options.disk_count, &serve->names))
		return fail(-ENOMEM, "out of memory");
	for (unsigned int i = 0; i < serve->options.disk_count; i++) {
		struct cmd_disk_spec *spec = &serve->options.specs[i];
		int ret;

		cmd_disk_await(spec, LOCK_PATIENCE_MS);
		ret = cmd_disk_open_backing(spec,
					    serve->options.control ? CMD_DISK_FAULTS_ANY_TIME
								   : CMD_DISK_FAULTS_GIVEN,
					    &serve->disks[i].backing, message, sizeof(message));
		if (ret) {
			cmd_complain(NAME, "--disk: %s", message);
			return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
		}
		serve->disks[i].name = serve->names[i];
	}
	return CMD_OK;
}

/*
 * From the thread that gave it up, or from the worker's own. What it was busy with has its line
 * already; this says which disk it is, and what becomes of it.
 */
static void worker_lost(void *context, int error)
{
	const struct serve_disk *disk = context;

	if (error == -ETIMEDOUT)
		cmd_complain(NAME,
			     "disk '%s': a worker was given up in a call to the file that does not "
			     "return: its queue is not served until it does",
			     disk->name);
	else
		cmd_complain(NAME,
			     "disk '%s': a worker has ended (%s): its queue is not served until "
			     "the front end starts it anew",
			     disk->name, strerror(-error));
}

/* From the disk's thread, which has said why. The others are served on, if there are any. */
static void disk_given_up(void *context, int error)
{
	struct serve_disk *disk = context;

	(void)error;
	serve_stop_listening(disk);
	if (atomic_fetch_sub(&disk->serve->served, 1) == 1 &&
	    vblk_eventfd_signal(disk->serve->lost_fd) < 0)
		cmd_complain(NAME, "no disk is served any more, and nobody can be told");
}

static uint16_t queues_of(const struct serve *serve, unsigned int index)
{
	const struct cmd_disk_spec *spec = &serve->options.specs[index];

	return spec->queues ? spec->queues : serve->options.queues;
}

static int create_server(struct serve *serve, unsigned int index)
{
	const struct cmd_disk_spec *spec = &serve->options.specs[index];
	struct vblk_vhost_server_options options = {
		.queues = queues_of(serve, index),
		.any_files = serve->options.any_memory,
		.given_up = disk_given_up,
		.given_up_context = &serve->disks[index],
	};
	struct serve_disk *disk = &serve->disks[index];
	char message[MESSAGE_SIZE];
	int listen_fd, status, ret;

	disk->serve = serve;

	status = serve_listen(&serve->options.places[index], disk, &listen_fd);
	if (status)
		return status;
	cmd_disk_options(spec, &options.device);
	options.device.stop_timeout_ms = STOP_TIMEOUT_MS;
	options.device.worker_lost = worker_lost;
	options.device.worker_lost_context = disk;
	if (serve->options.verbose)
		options.device.log.max_level = VBLK_LOG_INFO;
	ret = vblk_vhost_server_create(&options, disk->backing, listen_fd, &disk->server);
	if (ret)
		return fail(cmd_disk_failed(spec, ret, message, sizeof(message)), message);
	return CMD_OK;
}

static int watch(struct serve *serve, int fd, uint32_t token)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = token };

	if (epoll_ctl(serve->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
		return CMD_OK;
	cmd_complain(NAME, "cannot wait for events: %s", strerror(errno));
	return CMD_FAILED;
}

/* Signals come as events, and stay blocked in the workers. */
static int watch_signals(struct serve *serve)
{
	sigset_t wanted;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	serve->signal_fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
	serve->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (serve->signal_fd < 0 || serve->epoll_fd < 0 ||
	    vblk_eventfd_create(&serve->lost_fd) < 0) {
		cmd_complain(NAME, "cannot wait for signals: %s", strerror(errno));
		return CMD_FAILED;
	}
	if (watch(serve, serve->lost_fd, SERVE_LOST))
		return CMD_FAILED;
	return watch(serve, serve->signal_fd, SERVE_SIGNAL);
}

static int create_servers(struct serve *serve)
{
	int status = CMD_OK;

	atomic_init(&serve->served, serve->options.disk_count);
	for (unsigned int i = 0; i < serve->options.disk_count && !status; i++)
		status = create_server(serve, i);
	if (!status)
		serve_close_passed_on(serve);
	return status;
}

static void report_step(void *context, const char *line)
{
	const struct serve *serve = context;

	if (serve->options.verbose)
		cmd_complain(NAME, "sandbox: %s", line);
}

/* What this host does not have, or this user may not, is said in any case. */
static void report_warning(void *context, const char *line)
{
	(void)context;
	cmd_complain(NAME, "sandbox: %s", line);
}

/* The folder of a path; the caller frees it. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* Whether any disk has its calls made by io_uring. */
static bool has_rings(const struct serve *serve)
{
	bool any = false;

	for (unsigned int i = 0; i < serve->options.disk_count; i++)
		any = any || serve->options.specs[i].engine == CMD_DISK_URING;
	return any;
}

/*
 * In the sandbox no ring can be made, nor can the files be opened that they are for. Without one
 * that would hold up those who ask something of a disk whose file system hangs. As many as there
 * are queues: a worker that was given up has brought its own back when its end is told, and until
 * then its queue gets no other.
 */
static void prepare_rings(struct serve *serve)
{
	for (unsigned int i = 0; i < serve->options.disk_count; i++) {
		if (serve->options.specs[i].engine == CMD_DISK_URING)
			vblk_air_prepare(serve->disks[i].backing, queues_of(serve, i));
	}
}

static int enter_sandbox(struct serve *serve)
{
	char *folders[SERVE_DISKS_MAX + 1];
	struct vblk_sandbox_options options = {
		.flags = serve->options.kill ? VBLK_SANDBOX_KILL : 0,
		.user = serve->options.user,
		.folders = (const char *const *)folders,
		.report = report_step,
		.warn = report_warning,
		.context = serve,
	};
	char message[MESSAGE_SIZE] = "out of memory";
	int ret = 0;

	if (serve->options.no_sandbox && !serve->options.user)
		return CMD_OK;
	if (has_rings(serve))
		options.flags |= VBLK_SANDBOX_IO_URING;
	if (serve->options.no_sandbox)
		options.flags |= VBLK_SANDBOX_NO_LANDLOCK | VBLK_SANDBOX_NO_SECCOMP;
	for (unsigned int i = 0; i <= serve->options.place_count && ret == 0; i++) {
		const char *path = i < serve->options.place_count ? serve->options.places[i].path
								  : serve->options.control;

		if (!path)
			continue;
		folders[options.folder_count] = folder_of(path);
		if (folders[options.folder_count])
			options.folder_count++;
		else
			ret = -ENOMEM;
	}
	if (ret == 0)
		ret = vblk_sandbox_enter(&options, message, sizeof(message));
	while (options.folder_count > 0)
		free(folders[--options.folder_count]);
	return ret ? fail(ret, message) : CMD_OK;
}

/*
 * A socket to systemd, if it wants to be told (sd_notify(3)); -1 if not. It is connected here,
 * because the sandbox lets no socket be made.
 */
static int open_notify_socket(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = path ? strlen(path) : 0;
	int fd;

	if (length < 2 || length >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
		cmd_complain(NAME, "cannot tell NOTIFY_SOCKET '%s': %s", path, strerror(errno));
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Nothing else is ever told: a datagram socket that stays open could speak to anybody. */
static void notify_ready(int *fd)
{
	static const char text[] = "READY=1";

	if (*fd < 0)
		return;
	if (send(*fd, text, sizeof(text) - 1, MSG_NOSIGNAL) < 0)
		cmd_complain(NAME, "cannot tell NOTIFY_SOCKET: %s", strerror(errno));
	close(*fd);
	*fd = -1;
}

/* ---- running it ---- */

static void take_signal(struct serve *serve)
{
	struct signalfd_siginfo info;

	if (read(serve->signal_fd, &info, sizeof(info)) == sizeof(info))
		serve->quit = true;
}

/* In the sandbox, which threads inherit. */
static int start_threads(struct serve *serve)
{
	for (unsigned int i = 0; i < serve->options.disk_count; i++) {
		struct serve_disk *disk = &serve->disks[i];
		int ret = vblk_vhost_thread_start(&disk->thread, disk->server);

		if (ret) {
			cmd_complain(NAME, "disk '%s': cannot start a thread for it: %s",
				     disk->name, strerror(-ret));
			return CMD_FAILED;
		}
		disk->has_thread = true;
	}
	return CMD_OK;
}

/* Waits for a thread that was asked to end, until `deadline_ns`. Fails if it does not end well. */
static int stop_thread(struct serve *serve, struct serve_disk *disk, uint64_t deadline_ns)
{
	const int ret = vblk_vhost_thread_join(&disk->thread, vblk_clock_ms_until(deadline_ns));

	if (ret == -ETIMEDOUT) {
		serve->left = true;
		cmd_complain(NAME,
			     "disk '%s': ends although its thread hangs, in a call to what a front "
			     "end has sent: requests in hand may or may not be finished",
			     disk->name);
	}
	return ret ? CMD_FAILED : CMD_OK;
}

/* They finish what is in flight at the same time, so that this takes as long as the slowest. */
static int stop_threads(struct serve *serve)
{
	const uint64_t deadline_ns = vblk_clock_in_ms(END_TIMEOUT_MS);
	int status = CMD_OK;

	for (unsigned int i = 0; i < serve->options.disk_count; i++) {
		if (serve->disks[i].has_thread)
			vblk_vhost_server_ask_to_end(serve->disks[i].server);
	}
	for (unsigned int i = 0; i < serve->options.disk_count; i++) {
		struct serve_disk *disk = &serve->disks[i];

		if (disk->has_thread && stop_thread(serve, disk, deadline_ns))
			status = CMD_FAILED;
	}
	return status;
}

/* Whoever has started us may do so again. */
static int no_disk_left(void)
{
	cmd_complain(NAME, "no disk is served any more");
	return CMD_FAILED;
}

static int run(struct serve *serve)
{
	while (!serve->quit) {
		struct epoll_event events[8];
		int count = epoll_wait(serve->epoll_fd, events, VBLK_ARRAY_SIZE(events), -1);

		if (count < 0 && errno != EINTR) {
			cmd_complain(NAME, "cannot wait for events: %s", strerror(errno));
			return CMD_FAILED;
		}
		for (int i = 0; i < count; i++) {
			uint32_t token = events[i].data.u32;

			if (token == SERVE_SIGNAL)
				take_signal(serve);
			else if (token == SERVE_LOST)
				return no_disk_left();
			else
				cmd_control_run(&serve->control);
		}
	}
	return CMD_OK;
}

/* The end of a disk's server. Fails if what is in flight did not end with it. */
static int destroy_server(struct serve *serve, unsigned int index, bool ran)
{
	struct serve_disk *disk = &serve->disks[index];
	struct vblk_disk *served = vblk_disk_ref(vblk_vhost_server_disk(disk->server));
	unsigned int stuck;

	if (!serve->left)
		vblk_vhost_server_destroy(disk->server);
	if (ran && serve->options.stats)
		cmd_stats_print(index, served->metrics);
	stuck = vblk_disk_abandoned(served);
	vblk_disk_unref(served);
	if (stuck == 0)
		return CMD_OK;
	cmd_complain(NAME,
		     "disk '%s': ends before all calls to the file have returned (%u have not): "
		     "what they write may or may not be there",
		     disk->name, stuck);
	return CMD_FAILED;
}

/*
 * What is in flight is finished before the sockets go; the counters are final then. A thread that
 * hangs in the kernel may have a lock of all memory of the process, so from then on as little is
 * done as can be.
 */
static int clean_up(struct serve *serve, bool ran)
{
	int status;

	cmd_control_close(&serve->control);
	status = stop_threads(serve);
	for (unsigned int i = 0; i < serve->options.disk_count; i++) {
		struct serve_disk *disk = &serve->disks[i];

		if (disk->server && destroy_server(serve, i, ran))
			status = CMD_FAILED;
		serve_stop_listening(disk);
		if (!serve->left)
			vblk_backing_unref(disk->backing);
	}
	if (serve->lost_fd >= 0)
		close(serve->lost_fd);
	if (serve->epoll_fd >= 0)
		close(serve->epoll_fd);
	if (serve->signal_fd >= 0)
		close(serve->signal_fd);
	return status;
}

/* Front ends bring descriptors by the dozen; what we may have of them we take. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		cmd_complain(NAME, "cannot have more descriptors: %s", strerror(errno));
}

static int serve_disks(struct serve *serve)
{
	int notify_fd;
	bool ran = false;
	int status;

	if (serve_check_passed_on(serve))
		return CMD_BAD_INPUT;
	raise_descriptor_limit();
	notify_fd = open_notify_socket();
	status = open_backings(serve);
	if (!status)
		status = watch_signals(serve);
	if (!status)
		status = create_servers(serve);
	if (!status)
		status = serve_control_open(serve);
	if (!status) {
		prepare_rings(serve);
		status = enter_sandbox(serve);
	}
	if (!status)
		status = start_threads(serve);
	if (!status) {
		notify_ready(&notify_fd);
		ran = true;
		status = run(serve);
	}
	if (clean_up(serve, ran) && !status)
		status = CMD_FAILED;
	if (notify_fd >= 0)
		close(notify_fd);
	return status;
}

int cmd_serve(int argc, char **argv)
{
	struct serve *serve = calloc(1, sizeof(*serve));
	int status;

	if (!serve) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	serve->epoll_fd = -1;
	serve->signal_fd = -1;
	serve->lost_fd = -1;
	status = serve_options_parse(&serve->options, argc, argv);
	if (!status && serve->options.help)
		puts(help);
	else if (!status)
		status = serve_disks(serve);
	if (serve->left)
		return status;
	serve_options_free(&serve->options);
	free(serve->names);
	free(serve);
	return status;
}
