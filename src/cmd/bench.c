/* SPDX-License-Identifier: MIT */
/*
 * vblk bench: how fast a disk is for the driver of a guest, without a guest.
 *
 * Each job drives a queue of its own on a thread of its own (bench_job.h). This thread opens and
 * starts the device, sets the jobs to work (bench_crew.h) and reports.
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <vblk/backing.h>
#include <vblk/device.h>

#include "base/checked.h"
#include "base/clock.h"
#include "cmd/bench_crew.h"
#include "cmd/bench_options.h"
#include "cmd/bench_report.h"
#include "cmd/disk.h"
#include "driver/front.h"
#include "driver/window.h"

#define NAME	     "bench"
#define MESSAGE_SIZE 2048

static const char help[] =
	"vblk bench: how fast a disk is for the driver of a guest, without a guest\n"
	"\n"
	"Usage:\n"
	"  vblk bench (--disk SPEC [--engine-kind worker|inline] | --socket PATH)\n"
	"             [--rw MODE] [--rwmixread N] [--bs N] [--iodepth N] [--numjobs N]\n"
	"             [--runtime T] [--size N] [--fsync N] [--verify crc32c]\n"
	"             [--wait poll|event] [--json]\n"
	"\n"
	"Options:\n"
	"  --disk SPEC      a disk in this process, behind its register window; SPEC is as for\n"
	"                   vblk boot\n"
	"  --engine-kind K  worker (default): a thread of its own serves it; inline: the thread\n"
	"                   that notifies it\n"
	"  --socket PATH    a disk that somebody serves over vhost-user, such as vblk serve or\n"
	"                   qemu-storage-daemon\n"
	"  --rw MODE        read, write, randread (default), randwrite, randrw.\n"
	"                   What is written overwrites the disk.\n"
	"  --rwmixread N    percentage of reads for randrw; default 50\n"
	"  --bs N           size of a request; default 4k\n"
	"  --iodepth N      requests in flight of each job; default 1\n"
	"  --numjobs N      jobs, with a queue, a thread and an equal share of the disk each;\n"
	"                   default 1\n"
	"  --runtime T      how long: seconds, or a time as 500ms; default 10\n"
	"  --size N         use only so much of the disk, from its start\n"
	"  --fsync N        a flush after every N writes of a job; the job goes on meanwhile\n"
	"  --verify crc32c  write blocks that can be told from all others, and check them when\n"
	"                   they are read: during the run and all of them at its end. Costs\n"
	"                   more than most disks, so the figures are not those of the disk.\n"
	"  --wait HOW       poll: look for answers all the time (default for more than one in\n"
	"                   flight); event: sleep until the device interrupts (default for one)\n"
	"  --json           the report as JSON\n"
	"\n"
	"Latency is from the moment when a request is made available to the one when its answer\n"
	"is seen. The CPU time is that of the process that listens on the socket, or of this\n"
	"process without the jobs. SIGINT ends it early, with a report; what --verify checks\n"
	"at the end is ended by another one. A disk that answers nothing for 5 s is said to,\n"
	"once, and for 30 s is a failure.\n"
	"\n"
	"Exit status:\n"
	"  0      all requests succeeded\n"
	"  1      a request failed, or something else did\n"
	"  2      bad input; nothing was changed\n"
	"  128+N  ended by signal N\n"
	"\n"
	"Examples:\n"
	"  vblk bench --disk path=a.img --rw randread --iodepth 32 --runtime 5\n"
	"  vblk bench --socket /run/vblk/a.sock --rw randwrite --fsync 1 --json\n"
	"  vblk bench --disk template=raw:256M,queues=2 --rw randrw --numjobs 2 --verify crc32c";

struct bench {
	struct bench_options options;
	struct vblk_device *device;   /* in this process, or NULL */
	struct vblk_window_line line; /* its interrupts, if there are several jobs */
	struct vblk_driver_transport *transport;
	int memory_fd;
	uint8_t *memory;
	size_t memory_size;
	struct bench_crew crew;
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* ---- making it ---- */

static int failed(const char *what, int error)
{
	cmd_complain(NAME, "cannot %s: %s", what, strerror(error));
	return CMD_FAILED;
}

static int make_line(struct bench *bench, struct vblk_device_options *options)
{
	int ret = vblk_window_line_create(&bench->line, bench->options.jobs);

	options->interrupt = vblk_window_line_raise;
	options->interrupt_context = &bench->line;
	return ret ? failed("make an interrupt line", -ret) : CMD_OK;
}

static int disk_failed(const char *message, int error)
{
	cmd_complain(NAME, "--disk: %s", message);
	return error == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
}

static int create_device(struct bench *bench, struct vblk_backing *backing)
{
	const struct cmd_disk_spec *spec = &bench->options.disk;
	struct vblk_device_options options;
	char message[MESSAGE_SIZE];
	int ret, status = CMD_OK;

	cmd_disk_options(spec, &options);
	if (bench->options.engine == VBLK_ENGINE_INLINE)
		options.engine = VBLK_ENGINE_INLINE;
	if (bench->options.jobs > 1)
		status = make_line(bench, &options);
	if (status)
		return status;
	ret = vblk_device_create(&options, backing, &bench->device);
	if (!ret)
		return CMD_OK;
	ret = cmd_disk_failed(spec, ret, message, sizeof(message));
	return disk_failed(message, ret);
}

static int open_disk(struct bench *bench)
{
	struct vblk_backing *backing;
	char message[MESSAGE_SIZE];
	int status, ret = cmd_disk_open_backing(&bench->options.disk, CMD_DISK_FAULTS_GIVEN,
						&backing, message, sizeof(message));

	if (ret)
		return disk_failed(message, ret);
	status = create_device(bench, backing);
	vblk_backing_unref(backing);
	if (status)
		return status;
	ret = vblk_window_open(bench->device, bench->options.engine,
			       bench->line.queues ? &bench->line : NULL, &bench->transport);
	return ret ? failed("use the device", -ret) : CMD_OK;
}

static int open_socket(struct bench *bench)
{
	int ret = vblk_front_open(bench->options.socket, &bench->transport);

	if (!ret)
		return CMD_OK;
	cmd_complain(NAME, "--socket '%s': %s", bench->options.socket,
		     ret == -ECONNREFUSED ? "nobody listens there"
		     : ret == -EPROTO	  ? "who listens there does not speak vhost-user"
		     : ret == -ETIMEDOUT  ? "who listens there does not answer"
					  : strerror(-ret));
	return ret == -ENOENT || ret == -ECONNREFUSED || ret == -ENAMETOOLONG ? CMD_BAD_INPUT
									      : CMD_FAILED;
}

/* Bytes of each job's share, in blocks; complains if what was asked for does not fit the disk. */
static int find_share(struct bench *bench, uint64_t *blocks)
{
	const struct vblk_driver_traits *traits = &bench->transport->traits;
	const struct bench_options *options = &bench->options;
	const uint64_t size = options->size ? options->size : traits->capacity_bytes;

	if (size > traits->capacity_bytes)
		cmd_complain(NAME, "--size: the disk has only %" PRIu64 " bytes",
			     traits->capacity_bytes);
	else if (options->jobs > traits->queues)
		cmd_complain(NAME, "--numjobs %u: the disk has only %u queue(s)", options->jobs,
			     traits->queues);
	else if (traits->block_size && options->block % traits->block_size != 0)
		cmd_complain(NAME, "--bs: the disk wants multiples of %u", traits->block_size);
	else if (traits->read_only && options->read_percent < 100)
		cmd_complain(NAME, "--rw %s: the disk is read-only", options->rw);
	else if (options->flush_every > 0 && !traits->flush)
		cmd_complain(NAME, "--fsync %u: the disk takes no flushes", options->flush_every);
	else if ((*blocks = size / options->block / options->jobs) <= options->depth)
		cmd_complain(NAME,
			     "the disk is too small: each job needs more than %u blocks of "
			     "%u bytes",
			     options->depth, options->block);
	else if (options->verify && *blocks > UINT32_MAX)
		cmd_complain(NAME, "--verify: the disk is too large: use less of it, by --size");
	else
		return CMD_OK;
	return CMD_BAD_INPUT;
}

static int find_shape(const struct bench *bench, struct vblk_driver_shape *shape)
{
	const struct bench_options *options = &bench->options;
	uint32_t most = 0;
	int ret = vblk_driver_shape(&bench->transport->traits, options->block, options->depth,
				    shape, &most);

	if (ret == -ERANGE)
		cmd_complain(NAME, "--iodepth %u: the disk's queue holds only %u such requests",
			     options->depth, most);
	else if (ret)
		cmd_complain(NAME, "--bs %u: more than the disk takes in one request",
			     options->block);
	return ret ? CMD_BAD_INPUT : CMD_OK;
}

static int make_memory(struct bench *bench, size_t size)
{
	void *memory;

	bench->memory_fd = memfd_create("vblk-bench", MFD_CLOEXEC);
	if (bench->memory_fd < 0 || ftruncate(bench->memory_fd, (off_t)size) < 0)
		return failed("make memory", errno);
	/* Pages that come into being during the run would be measured, too. */
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		      bench->memory_fd, 0);
	if (memory == MAP_FAILED)
		return failed("make memory", errno);
	bench->memory = memory;
	bench->memory_size = size;
	return CMD_OK;
}

static int make_jobs(struct bench *bench, const struct vblk_driver_shape *shape, uint64_t blocks,
		     struct vblk_driver_place *places)
{
	const struct bench_options *options = &bench->options;
	int ret = 0;

	bench->crew.jobs = calloc(options->jobs, sizeof(*bench->crew.jobs));
	if (!bench->crew.jobs)
		return failed("make jobs", ENOMEM);
	bench->crew.count = options->jobs;
	for (uint32_t i = 0; i < options->jobs && !ret; i++) {
		struct bench_job *job = &bench->crew.jobs[i];

		ret = vblk_driver_queue_init(&job->queue, bench->transport, i, shape,
					     bench->memory + i * shape->bytes,
					     VBLK_DRIVER_BASE + i * shape->bytes, &places[i]);
		job->first_block = i * blocks;
		job->order = (struct vblk_order){
			.blocks = blocks,
			.random = options->random,
			.read_percent = options->read_percent,
			.flush_every = options->flush_every,
		};
		job->asleep = options->wait == BENCH_WAIT_EVENT ||
			      (options->wait == BENCH_WAIT_AUTO && options->depth == 1);
		job->stop = &bench->crew.stop;
		if (!ret)
			ret = bench_job_init(job, options->verify, i);
	}
	return ret ? failed("make jobs", -ret) : CMD_OK;
}

static int prepare(struct bench *bench)
{
	struct vblk_driver_place places[VBLK_DRIVER_QUEUES_MAX];
	struct vblk_driver_shape shape;
	uint64_t blocks = 0;
	int ret, status = bench->options.socket ? open_socket(bench) : open_disk(bench);

	if (!status)
		status = find_share(bench, &blocks);
	if (!status)
		status = find_shape(bench, &shape);
	if (!status)
		status = make_memory(bench, shape.bytes * bench->options.jobs);
	if (!status)
		status = make_jobs(bench, &shape, blocks, places);
	if (status)
		return status;
	ret = bench->transport->ops->start(bench->transport, bench->memory_fd, bench->memory,
					   bench->memory_size, places, bench->options.jobs);
	return ret ? failed("start the device", -ret) : CMD_OK;
}

/* ---- running it ---- */

static void tell_run(const void *context, const struct bench_pace *pace, char *line, size_t size)
{
	const struct bench_options *options = context;

	snprintf(line, size, "%3.0f of %.0f s: %9.0f IOPS, %8.1f MiB/s", pace->seconds,
		 (double)options->runtime_ns / 1e9, pace->per_second,
		 pace->per_second * options->block / 1048576.0);
}

static void tell_check(const void *context, const struct bench_pace *pace, char *line, size_t size)
{
	(void)context;
	snprintf(line, size, "checking what was written: %3.0f s, %.0f blocks/s", pace->seconds,
		 pace->per_second);
}

static int run_jobs(struct bench *bench)
{
	const struct bench_work work = { bench_job_run, tell_run, &bench->options };
	const uint64_t end_ns = read_clock(CLOCK_MONOTONIC) + bench->options.runtime_ns;
	int ret;

	for (uint32_t i = 0; i < bench->crew.count; i++)
		bench->crew.jobs[i].end_ns = end_ns;
	ret = bench_crew_work(&bench->crew, &work);
	return ret ? failed("start a job", -ret) : CMD_OK;
}

static void collect(struct bench *bench, struct bench_result *result)
{
	const struct bench_crew *crew = &bench->crew;
	uint64_t ended = crew->start_ns;

	for (uint32_t i = 0; i < crew->count; i++) {
		struct bench_job *job = &crew->jobs[i];

		for (unsigned k = 0; k < VBLK_DRIVER_KINDS; k++)
			vblk_histogram_merge(&result->latency[k], &job->latency[k]);
		result->notifications += job->queue.notifications;
		result->interrupts += vblk_driver_queue_interrupts(&job->queue);
		result->own_cpu_ns += job->cpu_ns;
		ended = job->ended_ns > ended ? job->ended_ns : ended;
		result->asleep = job->asleep;
	}
	/* The line tells all queues of each. */
	if (bench->line.queues > 0)
		result->interrupts /= bench->line.queues;
	result->seconds = (double)(ended - crew->start_ns) / 1e9;
}

/* Complains of the first failure, of whichever job. */
static int check_jobs(const struct bench *bench)
{
	for (uint32_t i = 0; i < bench->crew.count; i++) {
		if (bench->crew.jobs[i].failure[0]) {
			cmd_complain(NAME, "%s", bench->crew.jobs[i].failure);
			return CMD_FAILED;
		}
	}
	return CMD_OK;
}

/* What was written is checked, unless there are requests that may still write. */
static int verify(struct bench *bench, struct bench_result *result)
{
	const struct bench_work work = { bench_job_verify, tell_check, NULL };
	int ret, status = check_jobs(bench);

	if (!status && bench_crew_unanswered(&bench->crew) == 0) {
		ret = bench_crew_work(&bench->crew, &work);
		status = ret ? failed("start a job", -ret) : check_jobs(bench);
	}
	for (uint32_t i = 0; i < bench->crew.count; i++)
		result->verified += bench->crew.jobs[i].verified;
	return status;
}

/* The clock of a process's CPU time, if it can be read. */
static bool serving_clock(const struct bench *bench, clockid_t *clock)
{
	struct timespec t;

	if (!bench->options.socket) {
		*clock = CLOCK_PROCESS_CPUTIME_ID;
		return bench->options.engine != VBLK_ENGINE_INLINE;
	}
	return bench->transport->traits.pid > 0 &&
	       clock_getcpuclockid(bench->transport->traits.pid, clock) == 0 &&
	       clock_gettime(*clock, &t) == 0;
}

static int measure(struct bench *bench, struct bench_result *result)
{
	clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
	uint64_t cpu, own_cpu;
	int status;

	result->serving_known = serving_clock(bench, &clock);
	cpu = read_clock(clock);
	own_cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
	status = run_jobs(bench);
	cpu = read_clock(clock) - cpu;
	own_cpu = read_clock(CLOCK_THREAD_CPUTIME_ID) - own_cpu;
	if (status)
		return status;
	collect(bench, result);
	if (!bench->options.socket) {
		own_cpu += result->own_cpu_ns;
		cpu = cpu > own_cpu ? cpu - own_cpu : 0;
	}
	result->serving_cpu_ns = cpu;
	return bench->options.verify ? verify(bench, result) : check_jobs(bench);
}

static void clean_up(struct bench *bench)
{
	if (bench->transport)
		bench->transport->ops->close(bench->transport);
	vblk_device_destroy(bench->device);
	vblk_window_line_destroy(&bench->line);
	for (uint32_t i = 0; i < bench->crew.count; i++)
		bench_job_destroy(&bench->crew.jobs[i]);
	free(bench->crew.jobs);
	if (bench->memory)
		munmap(bench->memory, bench->memory_size);
	if (bench->memory_fd >= 0)
		close(bench->memory_fd);
}

/*
 * A server that hangs is left by a signal, so signals are the crew's only when it has answered. The
 * threads of a device in this process are started with signals that wait.
 */
static int set_up(struct bench *bench)
{
	int ret, status = CMD_OK;

	signal(SIGPIPE, SIG_IGN);
	if (bench->options.socket)
		status = prepare(bench);
	if (status)
		return status;
	ret = bench_crew_open(&bench->crew);
	if (ret)
		return failed("wait for jobs and signals", -ret);
	return bench->options.socket ? CMD_OK : prepare(bench);
}

/* Prints the report. Returns the exit status. */
static int report(const struct bench *bench, const struct bench_result *result)
{
	const uint64_t unanswered = bench_crew_unanswered(&bench->crew);

	if (unanswered)
		cmd_complain(NAME,
			     "%" PRIu64 " request(s) were not answered: the report is without them",
			     unanswered);
	if (bench->options.json)
		bench_report_json(stdout, &bench->options, result);
	else
		bench_report_text(stdout, &bench->options, result);
	/* Now: what is to come may take long, and be ended by another signal. */
	if (fflush(stdout) != 0)
		return failed("write to standard output", errno);
	return bench->crew.signal ? CMD_SIGNAL + bench->crew.signal : CMD_OK;
}

static int run(struct bench *bench)
{
	struct bench_result *result = calloc(1, sizeof(*result));
	int status = result ? set_up(bench) : failed("make a report", ENOMEM);

	if (!status)
		status = measure(bench, result);
	if (!status)
		status = report(bench, result);
	free(result);
	/* A server that hangs can be left by another signal. */
	bench_crew_close(&bench->crew);
	clean_up(bench);
	return status;
}

int cmd_bench(int argc, char **argv)
{
	struct bench bench = {
		.memory_fd = -1,
		.crew = { .done_fd = -1, .signal_fd = -1 },
	};
	int status = bench_options_parse(&bench.options, argc, argv);

	if (!status && bench.options.help)
		puts(help);
	else if (!status)
		status = run(&bench);
	bench_options_free(&bench.options);
	return status;
}
