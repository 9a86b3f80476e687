/* SPDX-License-Identifier: MIT */
/*
 * A load on a file without a device: plain WAY OPTION...
 *
 * This is what vblk bench is compared with, so options, load and report are those of vblk bench,
 * and come from the same code. WAY says how one thread gets at the file:
 *
 *     sync, sync-direct      preadv and pwritev, one request after another
 *     uring, uring-direct    io_uring, --iodepth requests in flight
 *     copy                   memcpy from and to a mapping of the file
 *
 * "direct" is O_DIRECT. Where one request follows another, --iodepth is the number of buffers that
 * are used in turn: a cache would otherwise hold the only one, and with a device it does not.
 */
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "cmd/cmd.h"

#define PAGE 4096u

struct way {
	const char *name;
	bool direct;
	int (*run)(struct plain *plain);
};

static const struct way ways[] = {
	{ "sync", false, plain_run_sync },   { "sync-direct", true, plain_run_sync },
	{ "copy", false, plain_run_copy },
#ifdef VBLK_HAVE_URING
	{ "uring", false, plain_run_uring }, { "uring-direct", true, plain_run_uring },
#endif
};

uint64_t plain_now(void)
{
	static const struct vblk_clock clock = { NULL, NULL };

	return vblk_clock_now(&clock);
}

static size_t buffer_size(const struct bench_options *options)
{
	return ((size_t)options->block + PAGE - 1) / PAGE * PAGE;
}

void *plain_buffer(const struct plain *plain, uint32_t slot)
{
	return plain->buffers + slot * buffer_size(plain->options);
}

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("plain: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return CMD_BAD_INPUT;
}

static const struct way *find_way(const char *name)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(ways); i++)
		if (strcmp(ways[i].name, name) == 0)
			return &ways[i];
	return NULL;
}

static int check_options(const struct bench_options *options)
{
	if (!options->has_disk)
		return complain("--disk path=FILE is required: there is no device here");
	if (options->jobs > 1)
		return complain("--numjobs %u: one thread is all there is", options->jobs);
	if (options->verify)
		return complain("--verify: nothing is verified here");
	return CMD_OK;
}

/*
 * io_uring hands reads of a file in memory to a thread of the kernel, at three times the price,
 * unless they are said not to block. They do not.
 */
static void say_that_reads_do_not_block(int fd)
{
	struct statfs system;
	const int flags = fcntl(fd, F_GETFL);

	if (fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC && flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int open_file(struct plain *plain, const struct way *way)
{
	const struct bench_options *options = plain->options;
	const char *path = options->disk.path;
	struct stat status;
	uint64_t size;

	plain->fd = open(path, (options->read_percent == 100 ? O_RDONLY : O_RDWR) | O_CLOEXEC |
				       (way->direct ? O_DIRECT : 0));
	if (plain->fd < 0 || fstat(plain->fd, &status) < 0)
		return complain("'%s': %s", path, strerror(errno));
	say_that_reads_do_not_block(plain->fd);
	size = options->size ? options->size : (uint64_t)status.st_size;
	if (size > (uint64_t)status.st_size)
		return complain("--size: the file has only %jd bytes", (intmax_t)status.st_size);
	plain->order = (struct vblk_order){
		.blocks = size / options->block,
		.random = options->random,
		.read_percent = options->read_percent,
		.flush_every = options->flush_every,
	};
	plain->bytes = plain->order.blocks * options->block;
	if (plain->order.blocks <= options->depth)
		return complain("the file is too small: more than %" PRIu32 " blocks are needed",
				options->depth);
	vblk_order_init(&plain->order, 0);
	return CMD_OK;
}

static uint64_t cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

uint64_t plain_begin(struct plain *plain)
{
	plain->start_cpu_ns = cpu_time();
	plain->start_ns = plain_now();
	plain->end_ns = plain->start_ns + plain->options->runtime_ns;
	return plain->start_ns;
}

static int measure(struct plain *plain, const struct way *way)
{
	int ret = way->run(plain);

	if (ret) {
		complain("%s: %s", way->name, strerror(-ret));
		return CMD_FAILED;
	}
	plain->result->seconds = (double)(plain_now() - plain->start_ns) / 1e9;
	plain->result->serving_cpu_ns = cpu_time() - plain->start_cpu_ns;
	plain->result->serving_known = true;
	return CMD_OK;
}

static int run(struct plain *plain, const struct way *way)
{
	const size_t size = buffer_size(plain->options) * plain->options->depth;
	int status = check_options(plain->options);

	if (!status)
		status = open_file(plain, way);
	if (status)
		return status;
	plain->result = calloc(1, sizeof(*plain->result));
	plain->buffers = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (!plain->result || plain->buffers == MAP_FAILED) {
		complain("no memory");
		return CMD_FAILED;
	}
	status = measure(plain, way);
	if (!status && plain->options->json)
		bench_report_json(stdout, plain->options, plain->result);
	else if (!status)
		bench_report_text(stdout, plain->options, plain->result);
	munmap(plain->buffers, size);
	return status;
}

int main(int argc, char **argv)
{
	const struct way *way = argc > 1 ? find_way(argv[1]) : NULL;
	struct bench_options options;
	struct plain plain = { .options = &options, .fd = -1 };
	int status;

	if (!way)
		return complain("'%s': sync, sync-direct, uring, uring-direct or copy is wanted%s",
				argc > 1 ? argv[1] : "",
				find_way("uring") ? "" : " (built without io_uring)");
	status = bench_options_parse(&options, argc - 1, argv + 1);
	if (!status && options.help)
		puts("plain sync|sync-direct|uring|uring-direct|copy OPTION...: a load on a file "
		     "without a\ndevice; for the options see vblk bench --help");
	else if (!status)
		status = run(&plain, way);
	free(plain.result);
	if (plain.fd >= 0)
		close(plain.fd);
	bench_options_free(&options);
	return status;
}
