/* SPDX-License-Identifier: MIT */
/*
 * A recording is read whole, line by line, and sorted by disk; then each disk has a group of
 * panels. The last line is left out if it has no end: who wrote it was killed, or had no more room.
 * The picture is made beside its place and moved there when it is complete.
 */
#include "cmd/plot.h"

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "cmd/chart.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/sample.h"

#define NAME	  "ctl plot"
#define DISKS_MAX 64

/* What is drawn of a line. */
enum value {
	READ_IOPS,
	WRITE_IOPS,
	FLUSH_IOPS,
	READ_BYTES,
	WRITE_BYTES,
	P50,
	P99,
	WAITS,
	VALUES, /* how many there are */
};

static const struct {
	const char *object; /* NULL: the line itself */
	const char *member;
} members[VALUES] = {
	[READ_IOPS] = { "read", "iops" },
	[WRITE_IOPS] = { "write", "iops" },
	[FLUSH_IOPS] = { "flush", "iops" },
	[READ_BYTES] = { NULL, "read_bytes_per_second" },
	[WRITE_BYTES] = { NULL, "write_bytes_per_second" },
	[P50] = { "all", "p50_ns" },
	[P99] = { "all", "p99_ns" },
	[WAITS] = { NULL, "waits_per_second" },
};

/* The moments of one disk, in arrays that grow together. */
struct track {
	char name[CMD_SAMPLE_NAME_SIZE];
	size_t count, size;
	double *at;
	bool *apart;
	double *value[VALUES];
};

struct recording {
	double first, last; /* seconds since 1970 */
	size_t disk_count;
	struct track disks[DISKS_MAX];
};

struct input {
	FILE *in;
	const char *name;
	const char *disk;
	unsigned long line;
};

static int bad(const struct input *input, const char *what)
{
	cmd_complain(NAME, "%s:%lu: %s: a line that vblk ctl record wrote is wanted", input->name,
		     input->line, what);
	return CMD_BAD_INPUT;
}

static int no_memory(void)
{
	cmd_complain(NAME, "out of memory");
	return CMD_FAILED;
}

static struct track *find_track(struct recording *recording, const char *name)
{
	struct track *track;

	for (size_t i = 0; i < recording->disk_count; i++)
		if (strcmp(recording->disks[i].name, name) == 0)
			return &recording->disks[i];
	if (recording->disk_count == DISKS_MAX)
		return NULL;
	track = &recording->disks[recording->disk_count++];
	snprintf(track->name, sizeof(track->name), "%s", name);
	return track;
}

static bool grow(struct track *track)
{
	const size_t size = track->size ? 2 * track->size : 256;
	bool *apart;

	if (track->count < track->size)
		return true;
	apart = realloc(track->apart, size * sizeof(*apart));
	if (!apart)
		return false;
	track->apart = apart;
	for (unsigned int i = 0; i <= VALUES; i++) {
		double **array = i < VALUES ? &track->value[i] : &track->at;
		double *grown = realloc(*array, size * sizeof(*grown));

		if (!grown)
			return false;
		*array = grown;
	}
	track->size = size;
	return true;
}

/* A number that can be drawn; NaN if it is none. */
static double number(const json_t *object, const char *member)
{
	const json_t *value = json_object_get(object, member);
	const double result = json_is_number(value) ? json_number_value(value) : NAN;

	return result >= 0.0 && result < 1e18 ? result : NAN;
}

static int add_moment(const struct input *input, struct recording *recording, const json_t *line)
{
	const char *name = json_string_value(json_object_get(line, "disk"));
	const double time = number(line, "time"), seconds = number(line, "seconds");
	struct track *track;
	double value[VALUES];

	if (!name || strlen(name) >= CMD_SAMPLE_NAME_SIZE || isnan(time) || isnan(seconds))
		return bad(input, "no \"disk\", \"time\" or \"seconds\"");
	for (unsigned int i = 0; i < VALUES; i++) {
		const json_t *object =
			members[i].object ? json_object_get(line, members[i].object) : line;

		value[i] = number(object, members[i].member);
		if (isnan(value[i]))
			return bad(input, members[i].member);
	}
	if (input->disk && strcmp(input->disk, name) != 0)
		return CMD_OK;
	track = find_track(recording, name);
	if (!track)
		return bad(input, "too many disks");
	if (track->count && time < track->at[track->count - 1])
		return bad(input, "goes back in time");
	if (!grow(track))
		return no_memory();
	track->apart[track->count] =
		track->count == 0 || time - track->at[track->count - 1] > 1.5 * seconds;
	for (unsigned int i = 0; i < VALUES; i++)
		track->value[i][track->count] = value[i];
	track->at[track->count++] = time;
	if (recording->first <= 0.0 || time - seconds < recording->first)
		recording->first = time - seconds;
	recording->last = fmax(recording->last, time);
	return CMD_OK;
}

static int read_line(const struct input *input, struct recording *recording, const char *text)
{
	json_t *line = json_loads(text, 0, NULL);
	int status = CMD_OK;

	if (!json_is_object(line))
		status = bad(input, "no JSON object");
	else if (!json_is_true(json_object_get(line, "gone")))
		status = add_moment(input, recording, line);
	json_decref(line);
	return status;
}

static int read_all(struct input *input, struct recording *recording)
{
	int status = CMD_OK;
	bool torn = false;
	char *text = NULL;
	size_t size = 0;
	ssize_t length;

	while (status == CMD_OK && (length = getline(&text, &size, input->in)) > 0) {
		input->line++;
		if (text[length - 1] == '\n')
			status = read_line(input, recording, text);
		else
			torn = true;
	}
	free(text);
	if (status == CMD_OK && ferror(input->in)) {
		cmd_complain(NAME, "cannot read '%s': %s", input->name, strerror(errno));
		return CMD_FAILED;
	}
	if (status == CMD_OK && recording->disk_count == 0) {
		cmd_complain(NAME,
			     input->disk ? "'%s' has no line of that disk"
					 : "'%s' has no sample of a disk",
			     input->name);
		return CMD_BAD_INPUT;
	}
	if (status == CMD_OK && torn)
		cmd_complain(NAME,
			     "%s:%lu: is cut off, and left out: the recording did not end well",
			     input->name, input->line);
	return status;
}

static double highest(const struct track *track, enum value value)
{
	double result = 0.0;

	for (size_t i = 0; i < track->count; i++)
		result = fmax(result, track->value[value][i]);
	return result;
}

static void scale(struct track *track, enum value value, double unit)
{
	for (size_t i = 0; i < track->count; i++)
		track->value[value][i] /= unit;
}

/* The largest unit of which there is at least one. */
struct unit {
	double size;
	const char *name;
};

static const struct unit *choose(const struct unit *units, size_t count, double value)
{
	size_t i = 0;

	while (i + 1 < count && value >= units[i + 1].size)
		i++;
	return &units[i];
}

#define BLUE   "#1f6fb4"
#define ORANGE "#d9660a"
#define GREEN  "#2c8a3c"
#define RED    "#c02a2a"

static void draw_disk(FILE *out, unsigned int group, struct track *track,
		      const struct recording *recording)
{
	static const struct unit times[] = {
		{ 1, "ns" }, { 1e3, "us" }, { 1e6, "ms" }, { 1e9, "s" }
	};
	static const struct unit sizes[] = {
		{ 1, "bytes/s" }, { 1024, "KiB/s" }, { 1048576, "MiB/s" }, { 1073741824, "GiB/s" }
	};
	const struct unit *latency = choose(times, VBLK_ARRAY_SIZE(times), highest(track, P99));
	const struct unit *bytes =
		choose(sizes, VBLK_ARRAY_SIZE(sizes),
		       fmax(highest(track, READ_BYTES), highest(track, WRITE_BYTES)));
	const struct chart_time time = { track->count, track->at, track->apart,
					 fmax(recording->last - recording->first, 1e-3) };
	char bandwidth_title[64], latency_title[64];
	double *const *value = track->value;
	const struct chart_panel panels[] = {
		{ "Requests per second",
		  3,
		  { { "read", BLUE, value[READ_IOPS] },
		    { "write", ORANGE, value[WRITE_IOPS] },
		    { "flush", GREEN, value[FLUSH_IOPS] } } },
		{ bandwidth_title,
		  2,
		  { { "read", BLUE, value[READ_BYTES] },
		    { "write", ORANGE, value[WRITE_BYTES] } } },
		{ latency_title, 2, { { "p50", BLUE, value[P50] }, { "p99", RED, value[P99] } } },
		{ "Requests that waited for tokens, per second",
		  1,
		  { { "waits", ORANGE, value[WAITS] } } },
	};

	snprintf(bandwidth_title, sizeof(bandwidth_title), "Bandwidth (%s)", bytes->name);
	snprintf(latency_title, sizeof(latency_title), "Latency, served (%s)", latency->name);
	scale(track, P50, latency->size);
	scale(track, P99, latency->size);
	scale(track, READ_BYTES, bytes->size);
	scale(track, WRITE_BYTES, bytes->size);
	for (size_t i = 0; i < track->count; i++)
		track->at[i] -= recording->first;
	chart_heading(out, group, group * (unsigned int)VBLK_ARRAY_SIZE(panels), track->name);
	for (unsigned int i = 0; i < VBLK_ARRAY_SIZE(panels); i++)
		chart_panel(out, group, group * (unsigned int)VBLK_ARRAY_SIZE(panels) + i,
			    &panels[i], &time);
}

#define PANELS 4

static void draw(FILE *out, struct recording *recording)
{
	const unsigned int groups = (unsigned int)recording->disk_count;
	const time_t begun = (time_t)recording->first;
	char title[96] = "vblk";
	struct tm when;

	if (gmtime_r(&begun, &when))
		strftime(title, sizeof(title), "vblk, from %Y-%m-%d %H:%M:%S UTC", &when);
	chart_begin(out, title, groups, groups * PANELS);
	for (unsigned int i = 0; i < groups; i++)
		draw_disk(out, i, &recording->disks[i], recording);
	chart_end(out);
}

int cmd_plot_draw(FILE *in, const char *name, const char *disk, FILE *out)
{
	struct input input = { in, name, disk, 0 };
	struct recording *recording = calloc(1, sizeof(*recording));
	int status;

	if (!recording)
		return no_memory();
	status = read_all(&input, recording);
	if (status == CMD_OK)
		draw(out, recording);
	for (size_t i = 0; i < recording->disk_count; i++) {
		free(recording->disks[i].at);
		free(recording->disks[i].apart);
		for (unsigned int n = 0; n < VALUES; n++)
			free(recording->disks[i].value[n]);
	}
	free(recording);
	return status;
}

/* --- The command line --- */

struct plot {
	const char *file;
	const char *output;
	const char *disk;
	bool help;
};

enum option_id {
	OPTION_OUTPUT = CMD_OPTION_FIRST,
	OPTION_DISK,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "output", required_argument, NULL, OPTION_OUTPUT },
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"vblk ctl plot: draw what vblk ctl CONTROL record has written\n"
	"\n"
	"Usage:\n"
	"  vblk ctl plot FILE --output OUT.svg [--disk DISK]\n"
	"\n"
	"Options:\n"
	"  --output, -o FILE  where the picture goes; a file that is there is replaced when the\n"
	"                     new one is complete; - is standard output\n"
	"  --disk DISK        draw only the disk of this name\n"
	"\n"
	"Each disk has panels of requests per second, bandwidth, latency (median and 99th\n"
	"percentile) and requests that waited for a limit. A line is broken where the daemon was\n"
	"not there.\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  the picture could not be written; an old one is as it was\n"
	"  2  bad input, what is no recording among it\n"
	"\n"
	"Examples:\n"
	"  vblk ctl /run/vblk.ctl record day.jsonl --interval 5 --duration 3600\n"
	"  vblk ctl plot day.jsonl -o day.svg";

static int take_option(void *context, int id, const char *value)
{
	struct plot *plot = context;

	if (id == OPTION_OUTPUT)
		plot->output = value;
	else if (id == OPTION_DISK)
		plot->disk = value;
	else
		plot->help = true;
	return CMD_OK;
}

static int parse_options(struct plot *plot, int argc, char **argv)
{
	const struct cmd_options all = { NAME, long_options, take_option, plot, &plot->help };
	int operand = argc;
	int status;

	/* Short options have no place in the walk that all sub-commands share. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "-o") == 0)
			argv[i] = (char *)"--output";
	status = cmd_options_take(&all, argc, argv, &operand);
	if (status || plot->help)
		return status;
	if (argc - operand != 1) {
		cmd_complain(NAME, "%s: vblk ctl plot FILE -o OUT.svg",
			     argc == operand ? "no recording given" : "one recording at a time");
		return CMD_BAD_INPUT;
	}
	if (!plot->output) {
		cmd_complain(NAME, "where does the picture go? -o OUT.svg says it");
		return CMD_BAD_INPUT;
	}
	plot->file = argv[operand];
	return CMD_OK;
}

/* Draws into a new file beside `output`, and puts that in its place if all went well. */
static int draw_file(const struct plot *plot, FILE *in)
{
	char *beside = NULL;
	int status = CMD_FAILED, fd = -1;
	FILE *out = NULL;

	if (asprintf(&beside, "%s.XXXXXX", plot->output) < 0)
		return no_memory();
	fd = mkstemp(beside);
	if (fd >= 0)
		out = fdopen(fd, "w");
	if (!out) {
		cmd_complain(NAME, "cannot make '%s': %s", plot->output, strerror(errno));
		status = CMD_BAD_INPUT;
		goto done;
	}
	status = cmd_plot_draw(in, plot->file, plot->disk, out);
	if (fchmod(fd, 0644) != 0 || (fclose(out) != 0 && status == CMD_OK) ||
	    (status == CMD_OK && rename(beside, plot->output) != 0)) {
		cmd_complain(NAME, "cannot write '%s': %s", plot->output, strerror(errno));
		status = CMD_FAILED;
	}
done:
	if (status != CMD_OK && fd >= 0)
		unlink(beside);
	free(beside);
	return status;
}

/* The recording would be gone. */
static bool is_same(FILE *in, const char *output)
{
	struct stat a, b;

	return fstat(fileno(in), &a) == 0 && stat(output, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int cmd_plot(int argc, char **argv)
{
	struct plot plot = { 0 };
	int status = parse_options(&plot, argc, argv);
	FILE *in;

	if (status)
		return status;
	if (plot.help) {
		puts(help);
		return CMD_OK;
	}
	in = fopen(plot.file, "re");
	if (!in) {
		cmd_complain(NAME, "cannot open '%s': %s", plot.file, strerror(errno));
		return CMD_BAD_INPUT;
	}
	if (strcmp(plot.output, "-") == 0) {
		status = cmd_plot_draw(in, plot.file, plot.disk, stdout);
	} else if (is_same(in, plot.output)) {
		cmd_complain(NAME, "'%s' is the recording: the picture needs a file of its own",
			     plot.output);
		status = CMD_BAD_INPUT;
	} else {
		status = draw_file(&plot, in);
	}
	fclose(in);
	return status;
}

#endif
