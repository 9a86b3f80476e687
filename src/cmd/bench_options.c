/* SPDX-License-Identifier: MIT */
/* The command line of vblk bench. Its names and their meaning are fio's where fio has them. */
#include "cmd/bench_options.h"

#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/size.h"
#include "driver/transport.h"

#define NAME	     "bench"
#define MESSAGE_SIZE 2048
#define BLOCK_MAX    (16u << 20)
#define DEPTH_MAX    1024u
#define RUNTIME_MAX  (7ull * 86400)
#define FSYNC_MAX    1000000u

enum option_id {
	OPTION_SOCKET = CMD_OPTION_FIRST,
	OPTION_DISK,
	OPTION_ENGINE,
	OPTION_RW,
	OPTION_BS,
	OPTION_DEPTH,
	OPTION_JOBS,
	OPTION_RUNTIME,
	OPTION_MIX,
	OPTION_SIZE,
	OPTION_FSYNC,
	OPTION_VERIFY,
	OPTION_WAIT,
	OPTION_JSON,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "engine-kind", required_argument, NULL, OPTION_ENGINE },
	{ "rw", required_argument, NULL, OPTION_RW },
	{ "bs", required_argument, NULL, OPTION_BS },
	{ "iodepth", required_argument, NULL, OPTION_DEPTH },
	{ "numjobs", required_argument, NULL, OPTION_JOBS },
	{ "runtime", required_argument, NULL, OPTION_RUNTIME },
	{ "rwmixread", required_argument, NULL, OPTION_MIX },
	{ "size", required_argument, NULL, OPTION_SIZE },
	{ "fsync", required_argument, NULL, OPTION_FSYNC },
	{ "verify", required_argument, NULL, OPTION_VERIFY },
	{ "wait", required_argument, NULL, OPTION_WAIT },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const struct {
	const char *name;
	bool random;
	int read_percent; /* -1: as --rwmixread says */
} patterns[] = {
	{ "read", false, 100 },	  { "write", false, 0 },  { "randread", true, 100 },
	{ "randwrite", true, 0 }, { "randrw", true, -1 },
};

static int bad_value(const char *option, const char *value, const char *wanted)
{
	cmd_complain(NAME, "--%s '%s': %s is wanted", option, value, wanted);
	return CMD_BAD_INPUT;
}

/* A number from 1 to `max`. */
static int take_count(const char *option, const char *value, uint32_t max, uint32_t *count)
{
	uint64_t number;

	if (cmd_count_parse(value, max, &number) || number == 0) {
		cmd_complain(NAME, "--%s '%s': a number from 1 to %u is wanted", option, value,
			     max);
		return CMD_BAD_INPUT;
	}
	*count = (uint32_t)number;
	return CMD_OK;
}

static int take_disk(struct bench_options *options, const char *text)
{
	char message[MESSAGE_SIZE];
	int ret;

	if (options->has_disk) {
		cmd_complain(NAME, "--disk '%s' is one too many: one disk is measured", text);
		return CMD_BAD_INPUT;
	}
	ret = cmd_disk_spec_parse(text, &options->disk, message, sizeof(message));
	if (ret) {
		cmd_complain(NAME, "--disk '%s': %s", text, message);
		return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
	}
	options->has_disk = true;
	return CMD_OK;
}

static int take_engine(struct bench_options *options, const char *value)
{
	if (strcmp(value, "worker") == 0)
		options->engine = VBLK_ENGINE_WORKER;
	else if (strcmp(value, "inline") == 0)
		options->engine = VBLK_ENGINE_INLINE;
	else
		return bad_value("engine-kind", value, "worker or inline");
	return CMD_OK;
}

static int take_wait(struct bench_options *options, const char *value)
{
	if (strcmp(value, "poll") == 0)
		options->wait = BENCH_WAIT_POLL;
	else if (strcmp(value, "event") == 0)
		options->wait = BENCH_WAIT_EVENT;
	else
		return bad_value("wait", value, "poll or event");
	return CMD_OK;
}

static int take_block(struct bench_options *options, const char *value)
{
	uint64_t bytes;

	if (cmd_size_parse(value, &bytes) || bytes == 0 || bytes > BLOCK_MAX ||
	    bytes % VBLK_SECTOR_SIZE != 0)
		return bad_value("bs", value, "a multiple of 512 up to 16M");
	options->block = (uint32_t)bytes;
	return CMD_OK;
}

/* Plain numbers are seconds, as for fio. */
static int take_runtime(struct bench_options *options, const char *value)
{
	uint64_t number;

	if (cmd_count_parse(value, RUNTIME_MAX, &number) == 0)
		number *= VBLK_NSEC_PER_SEC;
	else if (cmd_time_parse(value, &number))
		number = 0;
	if (number == 0 || number > RUNTIME_MAX * VBLK_NSEC_PER_SEC)
		return bad_value("runtime", value, "a time such as 10, 10s or 500ms, up to a week");
	options->runtime_ns = number;
	return CMD_OK;
}

static int take_mix(struct bench_options *options, const char *value)
{
	uint64_t number;

	if (cmd_count_parse(value, 100, &number))
		return bad_value("rwmixread", value, "a percentage from 0 to 100");
	options->read_percent = (uint8_t)number;
	return CMD_OK;
}

static int take_option(void *context, int id, const char *value)
{
	struct bench_options *options = context;
	switch (id) {
	case OPTION_SOCKET:
		options->socket = value;
		return CMD_OK;
	case OPTION_DISK:
		return take_disk(options, value);
	case OPTION_ENGINE:
		return take_engine(options, value);
	case OPTION_RW:
		options->rw = value;
		return CMD_OK;
	case OPTION_BS:
		return take_block(options, value);
	case OPTION_DEPTH:
		return take_count("iodepth", value, DEPTH_MAX, &options->depth);
	case OPTION_JOBS:
		return take_count("numjobs", value, VBLK_DRIVER_QUEUES_MAX, &options->jobs);
	case OPTION_RUNTIME:
		return take_runtime(options, value);
	case OPTION_MIX:
		return take_mix(options, value);
	case OPTION_SIZE:
		if (cmd_size_parse(value, &options->size) || options->size == 0)
			return bad_value("size", value, "a size such as 512M");
		return CMD_OK;
	case OPTION_FSYNC:
		return take_count("fsync", value, FSYNC_MAX, &options->flush_every);
	case OPTION_VERIFY:
		options->verify = true;
		return strcmp(value, "crc32c") == 0 ? CMD_OK : bad_value("verify", value, "crc32c");
	case OPTION_WAIT:
		return take_wait(options, value);
	case OPTION_JSON:
		options->json = true;
		return CMD_OK;
	default:
		options->help = true;
		return CMD_OK;
	}
}

static int find_pattern(struct bench_options *options)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(patterns); i++) {
		if (strcmp(options->rw, patterns[i].name) != 0)
			continue;
		options->random = patterns[i].random;
		if (patterns[i].read_percent >= 0)
			options->read_percent = (uint8_t)patterns[i].read_percent;
		return CMD_OK;
	}
	return bad_value("rw", options->rw, "read, write, randread, randwrite or randrw");
}

static int check(struct bench_options *options)
{
	int status;

	if (options->has_disk == (options->socket != NULL)) {
		cmd_complain(NAME, "either --disk path=FILE or --socket PATH is required");
		return CMD_BAD_INPUT;
	}
	if (options->has_disk && options->engine == VBLK_ENGINE_INLINE && options->jobs > 1) {
		cmd_complain(NAME, "--numjobs %u: a disk with --engine-kind inline has one thread",
			     options->jobs);
		return CMD_BAD_INPUT;
	}
	status = find_pattern(options);
	if (!status && options->flush_every > 0 && options->read_percent == 100) {
		cmd_complain(NAME, "--fsync %u: nothing is written by --rw %s",
			     options->flush_every, options->rw);
		return CMD_BAD_INPUT;
	}
	return status;
}

int bench_options_parse(struct bench_options *options, int argc, char **argv)
{
	const struct cmd_options all = { NAME, long_options, take_option, options, &options->help };
	int status;

	*options = (struct bench_options){
		.rw = "randread",
		.read_percent = 50,
		.block = 4096,
		.depth = 1,
		.jobs = 1,
		.runtime_ns = 10 * VBLK_NSEC_PER_SEC,
	};
	status = cmd_options_take_all(&all, argc, argv);
	if (status || options->help)
		return status;
	return check(options);
}

void bench_options_free(struct bench_options *options)
{
	if (options->has_disk)
		cmd_disk_spec_free(&options->disk);
}
