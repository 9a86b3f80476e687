/* SPDX-License-Identifier: MIT */
/*
 * One look per interval, at moments that are multiples of it from the first look on, so that what a
 * look takes does not add up. The first look gives no line: there is nothing before it.
 */
#include "cmd/ctl_record.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/cmd.h"
#include "cmd/progress.h"
#include "cmd/sampler.h"
#include "cmd/size.h"

#define NAME	    "ctl"
#define TIME_MIN_NS (100u * VBLK_NSEC_PER_MSEC)
#define TIME_MAX_NS (7ull * 24 * 3600 * VBLK_NSEC_PER_SEC)
#define DECIMALS    JSON_REAL_PRECISION(12)

int ctl_record_time_parse(const char *option, const char *text, uint64_t *ns)
{
	uint64_t value;

	if (cmd_count_parse(text, TIME_MAX_NS / VBLK_NSEC_PER_SEC, &value) == 0)
		value *= VBLK_NSEC_PER_SEC;
	else if (cmd_time_parse(text, &value))
		value = 0;
	if (value < TIME_MIN_NS || value > TIME_MAX_NS) {
		cmd_complain(NAME,
			     "--%s '%s': a time such as 10, 10s or 500ms is wanted, from 100ms to "
			     "a week",
			     option, text);
		return CMD_BAD_INPUT;
	}
	*ns = value;
	return CMD_OK;
}

static json_t *rate(const struct cmd_rate *rate)
{
	return json_pack("{s:f,s:I,s:I,s:I}", "iops", rate->per_second, "p50_ns",
			 (json_int_t)rate->p50_ns, "p99_ns", (json_int_t)rate->p99_ns, "max_ns",
			 (json_int_t)rate->highest_ns);
}

void ctl_record_write(FILE *out, uint64_t time_ns, const struct cmd_sample *sample,
		      const struct cmd_rates *rates)
{
	json_t *line = json_pack(
		"{s:f,s:s,s:f,s:b,s:b,s:f,s:f,s:f,s:I,s:I,s:f,s:I,s:o}", "time",
		(double)time_ns / (double)VBLK_NSEC_PER_SEC, "disk", sample->name, "seconds",
		rates->seconds, "connected", sample->connected, "restarted", rates->restarted,
		"read_bytes_per_second", rates->bytes_read, "write_bytes_per_second",
		rates->bytes_written, "waits_per_second", rates->waits, "wait_p99_ns",
		(json_int_t)rates->wait_p99_ns, "throttled_now",
		(json_int_t)sample->counters.throttled_now, "depth", rates->depth, "errors",
		(json_int_t)rates->error_count, "all", rate(&rates->all));

	for (unsigned op = 0; op < VBLK_METRICS_OPS; op++)
		json_object_set_new(line, vblk_metrics_op_name((enum vblk_metrics_op)op),
				    rate(&rates->op[op]));
	json_dumpf(line, out, JSON_COMPACT | DECIMALS);
	fputc('\n', out);
	json_decref(line);
}

static struct ctl_record_start start_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct ctl_record_start){
		.wall_ns = (uint64_t)now.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)now.tv_nsec,
		.steady_ns = vblk_clock_now(NULL),
	};
}

uint64_t ctl_record_time(const struct ctl_record_start *start, uint64_t steady_ns)
{
	return start->wall_ns + (steady_ns - start->steady_ns);
}

static void write_look(FILE *out, const struct cmd_sampler *sampler,
		       const struct ctl_record_start *start, int ret)
{
	const uint64_t time_ns = ctl_record_time(start, vblk_clock_now(NULL));

	if (ret) {
		json_t *line = json_pack("{s:f,s:b}", "time",
					 (double)time_ns / (double)VBLK_NSEC_PER_SEC, "gone", true);

		json_dumpf(line, out, JSON_COMPACT | DECIMALS);
		fputc('\n', out);
		json_decref(line);
		return;
	}
	for (size_t i = 0; i < sampler->count; i++)
		if (sampler->disks[i].has_rates)
			ctl_record_write(out, time_ns, &sampler->disks[i].now,
					 &sampler->disks[i].rates);
}

/*
 * Waits until `until_ns`, or for an answer if one is owed. -EINTR: a signal came; -ETIMEDOUT: the
 * moment has.
 */
static int wait_until(const struct cmd_sampler *sampler, int signal_fd, uint64_t until_ns)
{
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = -1 },
	};
	const uint64_t now_ns = vblk_clock_now(NULL);
	const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	const struct timespec left = {
		.tv_sec = (time_t)(left_ns / VBLK_NSEC_PER_SEC),
		.tv_nsec = (long)(left_ns % VBLK_NSEC_PER_SEC),
	};
	int ready;

	if (sampler) {
		fds[1].fd = cmd_sampler_fd(sampler);
		fds[1].events = cmd_sampler_events(sampler);
	}
	ready = ppoll(fds, 2, &left, NULL);
	if (ready > 0 && fds[0].revents)
		return -EINTR;
	return ready == 0 ? -ETIMEDOUT : 0;
}

/* A look that a signal can end: -EINTR. One without an answer within the time goes on. */
static int look(struct cmd_sampler *sampler, int signal_fd, uint32_t timeout_ms)
{
	const uint64_t end_ns = vblk_clock_now(NULL) + timeout_ms * VBLK_NSEC_PER_MSEC;
	int ret = cmd_sampler_step(sampler);

	while (ret == -EAGAIN) {
		ret = wait_until(sampler, signal_fd, end_ns);
		if (!ret)
			ret = cmd_sampler_step(sampler);
	}
	return ret;
}

static int cannot_write(const struct ctl_record *record)
{
	cmd_complain(NAME, "record: cannot write to '%s': %s", record->file, strerror(errno));
	return CMD_FAILED;
}

/* Not between the lines themselves. */
static void show_length(const struct ctl_record *record, const struct ctl_record_start *start)
{
	char line[128];

	snprintf(line, sizeof(line), "record: %llu s so far; SIGINT (Ctrl-C) ends it",
		 (vblk_clock_now(NULL) - start->steady_ns) / VBLK_NSEC_PER_SEC);
	if (strcmp(record->file, "-") != 0)
		cmd_progress_show(line);
}

static int look_on(const struct ctl_record *record, struct cmd_sampler *sampler, FILE *out,
		   int signal_fd)
{
	const uint64_t interval_ns = record->interval_ns ? record->interval_ns : VBLK_NSEC_PER_SEC;
	const struct ctl_record_start start = start_now();
	uint64_t next_ns = start.steady_ns;

	for (;;) {
		int ret;

		next_ns += interval_ns;
		if (next_ns < vblk_clock_now(NULL))
			next_ns = vblk_clock_now(NULL);
		if (record->duration_ns && next_ns > start.steady_ns + record->duration_ns)
			return CMD_OK;
		do {
			ret = wait_until(NULL, signal_fd, next_ns);
		} while (ret == 0);
		if (ret != -EINTR)
			ret = look(sampler, signal_fd, record->timeout_ms);
		if (ret == -EINTR)
			return CMD_OK;
		write_look(out, sampler, &start, ret);
		/* Whoever follows the file sees whole lines. */
		if (fflush(out) != 0)
			return cannot_write(record);
		show_length(record, &start);
	}
}

static FILE *create(const struct ctl_record *record)
{
	FILE *out = NULL;
	int fd;

	if (strcmp(record->file, "-") == 0)
		return stdout;
	fd = open(record->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd >= 0)
		out = fdopen(fd, "w");
	if (!out && errno == EEXIST)
		cmd_complain(NAME,
			     "record: '%s' exists already: name a file that does not, or remove it",
			     record->file);
	else if (!out)
		cmd_complain(NAME, "record: cannot make '%s': %s", record->file, strerror(errno));
	if (!out && fd >= 0)
		close(fd);
	return out;
}

/* From the first answer to the last. */
static int record_to(const struct ctl_record *record, struct cmd_sampler *sampler)
{
	int status, signal_fd;
	sigset_t signals;
	FILE *out;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signal_fd < 0) {
		cmd_complain(NAME, "record: cannot wait for signals: %s", strerror(errno));
		return CMD_FAILED;
	}
	out = create(record);
	status = out ? look_on(record, sampler, out, signal_fd) : CMD_BAD_INPUT;
	cmd_progress_show(NULL);
	if (out && out != stdout && fclose(out) != 0 && status == CMD_OK)
		status = cannot_write(record);
	close(signal_fd);
	return status;
}

int ctl_record_run(const struct ctl_record *record)
{
	struct cmd_sampler sampler;
	int status;

	cmd_sampler_init(&sampler, record->path, record->disk);
	/* Before a file is made it should be known that there is something to write to it. */
	if (cmd_sampler_look(&sampler, record->timeout_ms)) {
		cmd_complain(NAME, "record: %s", sampler.why);
		status = CMD_FAILED;
	} else {
		status = record_to(record, &sampler);
	}
	cmd_sampler_destroy(&sampler);
	return status;
}

#endif
