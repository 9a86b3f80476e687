/* SPDX-License-Identifier: MIT */
/*
 * vblk top: the disks of one or more daemons, live. At each interval every socket is looked at, and
 * the view makes lines of what is known (cmd/top_view.h). There is one loop, in which everything is
 * an event: a key, a signal, an answer. Nobody is waited for in any other place, so the screen is
 * live whatever the daemons do. Those that answer within a moment are shown together; one that
 * does not is waited for once, and then shown as silent while the others go on.
 */
#include "cmd/cmd.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/options.h"
#include "cmd/size.h"
#include "cmd/top_screen.h"

#define NAME	     "top"
#define LINES_MAX    512u
#define COUNT_MAX    1000000000u
#define INTERVAL_MIN (100 * VBLK_NSEC_PER_MSEC)
#define INTERVAL_MAX (3600 * VBLK_NSEC_PER_SEC)

/* Beside those that are waited for: the standard ones, and what libraries open for a moment. */
#define DESCRIPTORS_SPARE 8u

/* What is waited for: these, and then the sockets. */
enum {
	FD_SIGNAL,
	FD_KEYS,
	FD_SOCKETS
};

struct top {
	struct top_model model;
	struct cmd_sampler *samplers;
	struct pollfd *fds;	/* FD_SOCKETS, and one for each */
	struct top_line *lines; /* of the screen; NULL while it is not open */
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
	"at a queue; ERR errors. A daemon that goes away is shown as gone until it is back, one\n"
	"that hangs with the time since when it does not answer.\n"
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

/* --- Showing --- */

static int print_lines(struct top *top)
{
	const time_t now = time(NULL);
	char clock[16] = "";
	struct tm when;
	size_t count;

	top->model.now_ns = vblk_clock_now(NULL);
	count = top_view_row_count(&top->model);
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

	top->model.now_ns = vblk_clock_now(NULL);
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
	} else if (top->lines) {
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

static void take_terminal(struct top *top, short events)
{
	if (events & POLLIN)
		take_keys(top);
	else
		top->quit = true; /* the terminal is gone */
}

/* An answer that comes late is shown at once. */
static void take_answer(struct top *top, struct cmd_sampler *sampler)
{
	const bool was_late = cmd_sampler_silence_ns(sampler, vblk_clock_now(NULL));

	if (cmd_sampler_step(sampler) != -EAGAIN && was_late && top->lines && !top->model.held)
		draw(top);
}

/* What is to be waited for now. */
static void prepare_fds(struct top *top)
{
	top->fds[FD_SIGNAL] = (struct pollfd){ .fd = top->signal_fd, .events = POLLIN };
	top->fds[FD_KEYS] =
		(struct pollfd){ .fd = top->lines ? STDIN_FILENO : -1, .events = POLLIN };
	for (size_t i = 0; i < top->model.sampler_count; i++)
		top->fds[FD_SOCKETS + i] = (struct pollfd){
			.fd = cmd_sampler_fd(&top->samplers[i]),
			.events = cmd_sampler_events(&top->samplers[i]),
		};
}

/* Waits for what comes first, and takes it. Returns whether that was before the moment. */
static bool take_events(struct top *top, uint64_t until_ns)
{
	const uint64_t now_ns = vblk_clock_now(NULL);
	const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	const struct timespec left = {
		.tv_sec = (time_t)(left_ns / VBLK_NSEC_PER_SEC),
		.tv_nsec = (long)(left_ns % VBLK_NSEC_PER_SEC),
	};
	int ready;

	prepare_fds(top);
	ready = ppoll(top->fds, FD_SOCKETS + top->model.sampler_count, &left, NULL);
	if (ready < 0) /* a signal that is none of ours */
		return true;
	if (top->fds[FD_SIGNAL].revents)
		take_signal(top);
	if (top->fds[FD_KEYS].revents)
		take_terminal(top, top->fds[FD_KEYS].revents);
	for (size_t i = 0; i < top->model.sampler_count; i++)
		if (top->fds[FD_SOCKETS + i].revents)
			take_answer(top, &top->samplers[i]);
	return left_ns > 0 && ready > 0;
}

static bool is_over(const struct top *top)
{
	return top->quit || top->signal;
}

/* --- Looking --- */

/* Has every daemon asked that does not owe an answer. */
static void ask_all(struct top *top)
{
	for (size_t i = 0; i < top->model.sampler_count; i++)
		(void)cmd_sampler_step(&top->samplers[i]);
}

/* When the last of those that owe an answer is silent; 0 if all of them are, or none does. */
static uint64_t patience_end(const struct top *top)
{
	const uint64_t now_ns = vblk_clock_now(NULL);
	uint64_t end_ns = 0;

	for (size_t i = 0; i < top->model.sampler_count; i++) {
		const uint64_t asked_ns = top->samplers[i].asked_ns;
		const uint64_t silent_ns = asked_ns ? asked_ns + CMD_SAMPLER_PATIENCE_NS : 0;

		if (silent_ns > now_ns && silent_ns > end_ns)
			end_ns = silent_ns;
	}
	return end_ns;
}

static bool is_somebody_there(const struct top *top)
{
	for (size_t i = 0; i < top->model.sampler_count; i++)
		if (top->samplers[i].disks)
			return true;
	return false;
}

/* Asks, and returns when the first daemon has answered, or none will. */
static bool find_somebody(struct top *top)
{
	uint64_t end_ns;

	ask_all(top);
	while (!is_over(top) && !is_somebody_there(top) && (end_ns = patience_end(top)) != 0)
		take_events(top, end_ns);
	return is_somebody_there(top);
}

/* Asks, and returns when all have answered that will. */
static void look(struct top *top)
{
	uint64_t end_ns;

	ask_all(top);
	while (!is_over(top) && (end_ns = patience_end(top)) != 0)
		take_events(top, end_ns);
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
		while (!is_over(top) && take_events(top, next_ns))
			;
		if (is_over(top))
			break;
		if (top->model.held)
			continue;
		look(top);
		if (is_over(top))
			break;
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
		cmd_complain(NAME,
			     "the terminal '%s' is not known, or cannot be drawn on: set TERM, or "
			     "use --batch",
			     getenv("TERM") ? getenv("TERM") : "");
	return CMD_BAD_INPUT;
}

static int run_screen(struct top *top)
{
	struct top_line *lines = calloc(LINES_MAX, sizeof(*top->lines));
	int status;

	if (!lines) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	status = open_screen();
	if (status == CMD_OK) {
		top->lines = lines;
		status = watch(top);
		top->lines = NULL;
		top_screen_close();
	}
	free(lines);
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
	sigprocmask(SIG_BLOCK, &signals, NULL);
	top->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (top->signal_fd >= 0)
		return CMD_OK;
	cmd_complain(NAME, "cannot wait for signals: %s", strerror(errno));
	return CMD_FAILED;
}

static int nobody_there(const struct top *top)
{
	const struct cmd_sampler *first = &top->samplers[0];

	if (first->why[0])
		cmd_complain(NAME, "%s", first->why);
	else
		cmd_complain(NAME, "'%s' says nothing: it is no vblk control socket, or vblk hangs",
			     first->path);
	return CMD_FAILED;
}

static int run(struct top *top)
{
	int status = catch_signals(top);

	if (status)
		return status;
	if (find_somebody(top))
		status = top->batch ? run_batch(top) : run_screen(top);
	else if (!top->signal)
		status = nobody_there(top);
	close(top->signal_fd);
	return status == CMD_OK && top->signal ? CMD_SIGNAL + top->signal : status;
}

/*
 * Has as many descriptors allowed as there may be at once, and poll(2) as many as it is given:
 * otherwise it fails, whatever there is to be waited for.
 */
static int allow_descriptors(size_t count)
{
	const rlim_t need = FD_SOCKETS + count + DESCRIPTORS_SPARE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= need)
		return CMD_OK;
	if (limit.rlim_max >= need) {
		limit.rlim_cur = need;
		if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
			return CMD_OK;
	}
	cmd_complain(NAME, "%zu sockets need %llu descriptors, and %llu are allowed (ulimit -n)",
		     count, (unsigned long long)need, (unsigned long long)limit.rlim_max);
	return CMD_FAILED;
}

/* The daemons have been named. */
static int watch_daemons(struct top *top, char **paths, size_t count)
{
	int status = allow_descriptors(count);

	if (status)
		return status;
	status = CMD_FAILED;
	top->model.sampler_count = count;
	top->samplers = calloc(count, sizeof(*top->samplers));
	top->fds = calloc(FD_SOCKETS + count, sizeof(*top->fds));
	if (top->samplers && top->fds) {
		top->model.samplers = top->samplers;
		for (size_t i = 0; i < count; i++)
			cmd_sampler_init(&top->samplers[i], paths[i], NULL);
		status = run(top);
		for (size_t i = 0; i < count; i++)
			cmd_sampler_destroy(&top->samplers[i]);
	} else {
		cmd_complain(NAME, "out of memory");
	}
	free(top->fds);
	free(top->samplers);
	return status;
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
	return watch_daemons(&top, argv + operand, (size_t)(argc - operand));
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
