/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECONDS_DEFAULT 30u
#define SECONDS_MAX	(365u * 24 * 3600)
#define DEVICES_DEFAULT 4u
#define LIMIT_DEFAULT	10u
#define LIMIT_MAX	1000u

static const char help[] =
	"soak: play drivers against several devices, disturb them, and look for what is lost\n"
	"\n"
	"Usage: soak [OPTION]...\n"
	"\n"
	"  --seconds N  go on for so long; default 30, or 0 with --cycles\n"
	"  --cycles N   reset often, and go on until there were so many resets and as many pauses\n"
	"  --devices N  devices at the same time, 1 to 64; default 4\n"
	"  --limit N    seconds after which a request counts as lost, 1 to 1000; default 10\n"
	"  --seed N     what chance starts from; default: another one each time\n"
	"  --quiet      print nothing but the result\n";

static uint64_t number(const char *name, const char *text, uint64_t low, uint64_t high)
{
	uint64_t value;
	char *end;

	errno = 0;
	value = strtoumax(text, &end, 0);
	if (end == text || *end != '\0' || text[0] == '-' || errno != 0 || value < low ||
	    value > high) {
		fprintf(stderr,
			"soak: --%s '%s': must be a number from %" PRIu64 " to %" PRIu64 "\n", name,
			text, low, high);
		exit(2);
	}
	return value;
}

static _Noreturn void refuse(const char *argument, const char *why)
{
	fprintf(stderr, "soak: '%s': %s\n", argument, why);
	exit(2);
}

static uint64_t random_seed(void)
{
	uint64_t now = soak_now();

	return (now ^ now >> 20 ^ (uint64_t)getpid() << 16) & 0xffffffff;
}

/* None is a character: all options have long names only. */
enum option_id {
	OPTION_SECONDS = 256,
	OPTION_CYCLES,
	OPTION_DEVICES,
	OPTION_LIMIT,
	OPTION_SEED,
	OPTION_QUIET,
	OPTION_HELP,
};

static const struct option names[] = {
	{ "seconds", required_argument, NULL, OPTION_SECONDS },
	{ "cycles", required_argument, NULL, OPTION_CYCLES },
	{ "devices", required_argument, NULL, OPTION_DEVICES },
	{ "limit", required_argument, NULL, OPTION_LIMIT },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "quiet", no_argument, NULL, OPTION_QUIET },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

void options_read(struct soak_options *options, int argc, char **argv)
{
	bool timed = false;
	int option;

	*options = (struct soak_options){ .devices = DEVICES_DEFAULT, .limit_s = LIMIT_DEFAULT };
	options->seed = random_seed();
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", names, NULL)) != -1) {
		switch (option) {
		case OPTION_SECONDS:
			options->seconds = number("seconds", optarg, 1, SECONDS_MAX);
			timed = true;
			break;
		case OPTION_CYCLES:
			options->cycles = number("cycles", optarg, 1, UINT32_MAX);
			break;
		case OPTION_DEVICES:
			options->devices = (uint32_t)number("devices", optarg, 1, SOAK_DEVICES_MAX);
			break;
		case OPTION_LIMIT:
			options->limit_s = (uint32_t)number("limit", optarg, 1, LIMIT_MAX);
			break;
		case OPTION_SEED:
			options->seed = number("seed", optarg, 0, UINT64_MAX);
			break;
		case OPTION_QUIET:
			options->quiet = true;
			break;
		case OPTION_HELP:
			fputs(help, stdout);
			exit(0);
		case ':':
			refuse(argv[optind - 1], "needs a number");
		default:
			refuse(argv[optind - 1], "there is no such option; --help lists them");
		}
	}
	if (optind < argc)
		refuse(argv[optind], "there are only options; --help lists them");
	if (!timed)
		options->seconds = options->cycles ? 0 : SECONDS_DEFAULT;
}

const char *options_repeat(const struct soak_options *options, char *text, size_t size)
{
	int used = snprintf(text, size, "--seed %" PRIu64 " --devices %" PRIu32, options->seed,
			    options->devices);

	if (options->cycles && used > 0 && (size_t)used < size)
		snprintf(text + used, size - (size_t)used, " --cycles %" PRIu64, options->cycles);
	return text;
}
