/* SPDX-License-Identifier: MIT */
/*
 * vblk top: the disks of one or more daemons, live. A loop looks at every socket, each in a thread
 * that lives as long as the look, has the view make lines of it (cmd/top_view.h), and waits for a
 * key, a signal or the next interval.
 */
#include "cmd/cmd.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/options.h"
#include "cmd/size.h"
#include "cmd/top_screen.h"

#define NAME		"top"
#define LOOK_TIMEOUT_MS 1000
#define LINES_MAX	512u
#define COUNT_MAX	1000000000u
#define INTERVAL_MIN	(100 * VBLK_NSEC_PER_MSEC)
#define INTERVAL_MAX	(3600 * VBLK_NSEC_PER_SEC)

/* Who asks one socket; the sampler is its alone meanwhile. */
struct looker {
	struct cmd_sampler *sampler;
	pthread_t thread;
	bool has_thread;
	int ret;
};

struct top {
	struct top_model model;
	struct cmd_sampler *samplers;
	struct looker *lookers; /* one for each */
	struct top_line *lines; /* of the screen */
	uint64_t count;		/* of intervals to show; 0: no end */
	bool batch;
	bool help;
	int signal_fd;
	int signal; /* that ended us; 0: none */
	bool quit;
};

enum option_id {
	OPTION_BATCH = CMD_OPTION_FIRST,
	OPTION_COUNT,
	OPTION_INTERVAL,
	OPTION_SORT,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "batch", no_argument, NULL, OPTION_BATCH },
	{ "count", required_argument, NULL, OPTION_COUNT },
	{ "interval", required_argument, NULL, OPTION_INTERVAL },
	{ "sort", required_argument, NULL, OPTION_SORT },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"vblk top: the disks of running vblk daemons, live\n"
	"\n"
	"Usage:\n"
	"  vblk top CONTROL... [--interval T] [--sort KEY] [--batch] [--count N]\n"
	"\n"
	"CONTROL is the path that vblk serve was given as --control; several can be watched.\n"
	"\n"
	"Options:\n"
	"  --interval T  between two looks: seconds, or a time as 500ms; default 1\n"
	"  --sort KEY    name (default), iops, bytes or p99, the largest first\n"
	"  --batch       plain lines on standard output: a header, then a line per disk and\n"
	"                interval, with the time (UTC) before it\n"
	"  --count N     end after N intervals\n"
	"\n"
	"Keys: q quits, p holds the display and lets it go on, s sorts by the next key.\n"
	"\n"
	"Columns, of the interval: STATE up (a front end is there), idle or rest (paused); reads,\n"
	"writes, flushes and other requests per second; MiB/s; latency from when a request was\n"
	"taken until it was answered, its median, 99th percentile and maximum (at most 6.25 %\n"
	"too high); WAIT/s requests that had waited for a limit; DEPTH requests taken in one look\n"
	"at a queue; ERR errors. A daemon that goes away is shown as gone until it is back.\n"
	"NO_COLOR in the environment switches colours off.\n"
	"\n"
	"Exit status:\n"
	"  0      ended by q or --count\n"
	"  1      none of the daemons was there at the start, or something else failed\n"
	"  2      bad input\n"
	"  128+N  ended by signal N\n"
	"\n"
	"Examples:\n"
	"  vblk top /run/vblk.ctl\n"
	"  vblk top /run/a.ctl /run/b.ctl --sort iops --interval 2\n"
	"  vblk top /run/vblk.ctl --batch --count 60 > minute.txt";

static int bad_value(const char *option, const char *value, const char *wanted)
{
	cmd_complain(NAME, "--%s '%s': %s is wanted", option, value, wanted);
	return CMD_BAD_INPUT;
}

static int take_interval(struct top *top, const char *value)
{
	uint64_t number;

	if (cmd_count_parse(value, INTERVAL_MAX / VBLK_NSEC_PER_SEC, &number) == 0)
		number *= VBLK_NSEC_PER_SEC;
	else if (cmd_time_parse(value, &number))
		number = 0;
	if (number < INTERVAL_MIN || number > INTERVAL_MAX)
		return bad_value("interval", value,
				 "a time such as 2, 2s or 500ms, from 100ms to an hour,");
	top->model.interval_ns = number;
	return CMD_OK;
}

static int take_sort(struct top *top, const char *value)
{
	for (unsigned int i = 0; i < TOP_SORTS; i++) {
		if (strcmp(value, top_view_sort_name((enum top_sort)i)) == 0) {
			top->model.sort = (enum top_sort)i;
			return CMD_OK;
		}
	}
	return bad_value("sort", value, "name, iops, bytes or p99");
}

static int take_option(void *context, int id, const char *value)
{
	struct top *top = context;

	switch (id) {
	case OPTION_BATCH:
		top->batch = true;
		return CMD_OK;
	case OPTION_COUNT:
		if (cmd_count_parse(value, COUNT_MAX, &top->count) || top->count == 0)
			return bad_value("count", value, "a number of intervals from 1 on");
		return CMD_OK;
	case OPTION_INTERVAL:
		return take_interval(top, value);
	case OPTION_SORT:
		return take_sort(top, value);
	default:
		top->help = true;
		return CMD_OK;
	}
}

/* --- Looking --- */

static void *look_at(void *context)
{
	struct looker *looker = context;

	looker->ret = cmd_sampler_look(looker->sampler, LOOK_TIMEOUT_MS);
	return NULL;
}

/* Whether anybody was there. All are asked at once: those that hang cost one timeout together. */
static bool look(struct top *top)
{
	const size_t count = top->model.sampler_count;
	bool there = false;

	for (size_t i = 0; i < count; i++) {
		struct looker *looker = &top->lookers[i];

		looker->sampler = &top->samplers[i];
		/* The last one, and who cannot have a thread, is looked at by this one. */
		looker->has_thread = i + 1 < count &&
				     pthread_create(&looker->thread, NULL, look_at, looker) == 0;
		if (!looker->has_thread)
			look_at(looker);
	}
	for (size_t i = 0; i < count; i++) {
		if (top->lookers[i].has_thread)
			pthread_join(top->lookers[i].thread, NULL);
		there = there || top->lookers[i].ret == 0;
	}
	return there;
}

static int print_lines(const struct top *top)
{
	const size_t count = top_view_row_count(&top->model);
	const time_t now = time(NULL);
	char clock[16] = "";
	struct tm when;

	if (gmtime_r(&now, &when))
		strftime(clock, sizeof(clock), "%H:%M:%S", &when);
	for (size_t i = 0; i < count; i++) {
		struct top_line line = { .style = TOP_PLAIN };

		top_view_row(&top->model, i, &line);
		printf("%s %s\n", clock, line.text);
	}
	if (fflush(stdout) == 0)
		return CMD_OK;
	cmd_complain(NAME, "cannot write to standard output: %s", strerror(errno));
	return CMD_FAILED;
}

static void draw(struct top *top)
{
	unsigned int width, height;

	top_screen_size(&width, &height);
	if (height > LINES_MAX)
		height = LINES_MAX;
	top_view_render(&top->model, width, height, top->lines);
	top_screen_draw(top->lines, height);
}

static int show(struct top *top)
{
	if (top->batch)
		return print_lines(top);
	draw(top);
	return CMD_OK;
}

/* --- Waiting --- */

static void take_signal(struct top *top)
{
	struct signalfd_siginfo info;

	if (read(top->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGWINCH) {
		top->signal = (int)info.ssi_signo;
	} else if (!top->batch) {
		top_screen_resize();
		draw(top);
	}
}

static void take_keys(struct top *top)
{
	int key;

	while ((key = top_screen_key()) >= 0) {
		if (key == 'q')
			top->quit = true;
		else if (key == 'p')
			top->model.held = !top->model.held;
		else if (key == 's')
			top->model.sort = (enum top_sort)((top->model.sort + 1) % TOP_SORTS);
	}
	draw(top);
}

/* Until the moment has come, or it is time to go. */
static void wait_until(struct top *top, uint64_t until_ns)
{
	struct pollfd fds[] = {
		{ .fd = top->signal_fd, .events = POLLIN },
		{ .fd = top->batch ? -1 : STDIN_FILENO, .events = POLLIN },
	};

	while (!top->quit && !top->signal) {
		const uint64_t now_ns = vblk_clock_now(NULL);
		const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		const struct timespec left = {
			.tv_sec = (time_t)(left_ns / VBLK_NSEC_PER_SEC),
			.tv_nsec = (long)(left_ns % VBLK_NSEC_PER_SEC),
		};
		const int ready = ppoll(fds, 2, &left, NULL);

		if (ready == 0)
			return;
		if (ready > 0 && fds[0].revents)
			take_signal(top);
		if (ready > 0 && fds[1].revents & POLLIN)
			take_keys(top);
		else if (ready > 0 && fds[1].revents)
			top->quit = true; /* the terminal is gone */
	}
}

static int watch(struct top *top)
{
	uint64_t next_ns = vblk_clock_now(NULL);
	uint64_t shown = 0;
	int status = CMD_OK;

	if (!top->batch)
		draw(top);
	while (status == CMD_OK) {
		next_ns += top->model.interval_ns;
		if (next_ns < vblk_clock_now(NULL)) /* a look took longer than the interval */
			next_ns = vblk_clock_now(NULL);
		wait_until(top, next_ns);
		if (top->quit || top->signal)
			break;
		if (top->model.held)
			continue;
		look(top);
		status = show(top);
		if (top->count && ++shown == top->count)
			break;
	}
	return status;
}

/* --- Beginning and end --- */

static int open_screen(void)
{
	const char *no_color = getenv("NO_COLOR");
	int ret;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		cmd_complain(NAME, "standard input or output is no terminal: use --batch");
		return CMD_BAD_INPUT;
	}
	ret = top_screen_open(!no_color || !*no_color);
	if (ret == 0)
		return CMD_OK;
	if (ret == -ENOSYS)
		cmd_complain(NAME, "this vblk was built without ncurses: use --batch");
	else
		cmd_complain(NAME, "the terminal '%s' is not known: set TERM, or use --batch",
			     getenv("TERM") ? getenv("TERM") : "");
	return CMD_BAD_INPUT;
}

static int run_screen(struct top *top)
{
	int status;

	top->lines = calloc(LINES_MAX, sizeof(*top->lines));
	if (!top->lines) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	status = open_screen();
	if (status == CMD_OK) {
		status = watch(top);
		top_screen_close();
	}
	free(top->lines);
	return status;
}

static int run_batch(struct top *top)
{
	struct top_line line = { .style = TOP_PLAIN };

	top_view_header(&line);
	printf("%-8s %s\n", "TIME", line.text);
	return watch(top);
}

static int catch_signals(struct top *top)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGQUIT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	top->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (top->signal_fd >= 0)
		return CMD_OK;
	cmd_complain(NAME, "cannot wait for signals: %s", strerror(errno));
	return CMD_FAILED;
}

static int run(struct top *top)
{
	int status = catch_signals(top);

	if (status)
		return status;
	if (look(top)) {
		status = top->batch ? run_batch(top) : run_screen(top);
	} else {
		cmd_complain(NAME, "%s", top->samplers[0].why);
		status = CMD_FAILED;
	}
	close(top->signal_fd);
	return status == CMD_OK && top->signal ? CMD_SIGNAL + top->signal : status;
}

int cmd_top(int argc, char **argv)
{
	struct top top = { .model = { .interval_ns = VBLK_NSEC_PER_SEC } };
	const struct cmd_options all = { NAME, long_options, take_option, &top, &top.help };
	int operand = argc;
	int status = cmd_options_take(&all, argc, argv, &operand);

	if (status)
		return status;
	if (top.help) {
		puts(help);
		return CMD_OK;
	}
	if (operand == argc) {
		cmd_complain(NAME, "no control socket given: vblk top CONTROL..., see 'vblk top "
				   "--help'");
		return CMD_BAD_INPUT;
	}
	top.model.sampler_count = (size_t)(argc - operand);
	top.samplers = calloc(top.model.sampler_count, sizeof(*top.samplers));
	top.lookers = calloc(top.model.sampler_count, sizeof(*top.lookers));
	if (!top.samplers || !top.lookers) {
		cmd_complain(NAME, "out of memory");
		status = CMD_FAILED;
		goto done;
	}
	top.model.samplers = top.samplers;
	for (size_t i = 0; i < top.model.sampler_count; i++)
		cmd_sampler_init(&top.samplers[i], argv[operand + (int)i], NULL);
	status = run(&top);
	for (size_t i = 0; i < top.model.sampler_count; i++)
		cmd_sampler_destroy(&top.samplers[i]);
done:
	free(top.lookers);
	free(top.samplers);
	return status;
}

#else

int cmd_top(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	cmd_complain("top", "this vblk was built without jansson, which the control socket needs");
	return CMD_BAD_INPUT;
}

#endif
