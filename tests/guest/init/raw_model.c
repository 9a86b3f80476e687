/* SPDX-License-Identifier: MIT */
/* The model of the raw area, see raw_model.h. */
#include "raw_model.h"

#include "random.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct raw_model {
	uint64_t seed;
	uint64_t sectors;
	uint32_t writes;
	uint32_t *before;  /* the writer before `writer` */
	uint32_t writer[]; /* of each sector; 0: none */
};

struct raw_model *raw_model_create(const struct disk *disk, uint64_t seed)
{
	const uint64_t bytes = disk_bytes(disk);
	struct raw_model *model;
	uint64_t sectors;

	if (bytes <= disk->raw_start) {
		errno = ENOSPC;
		return NULL;
	}
	sectors = (bytes - disk->raw_start) / SECTOR;
	model = calloc(1, sizeof(*model) + 2 * sectors * sizeof(model->writer[0]));
	if (!model)
		return NULL;
	model->before = &model->writer[sectors];
	model->seed = seed;
	model->sectors = sectors;
	return model;
}

uint64_t raw_model_sectors(const struct raw_model *model)
{
	return model->sectors;
}

static void pattern(const struct raw_model *model, uint64_t sector, uint32_t writer, void *data)
{
	struct random random = random_stream(model->seed + writer, sector);

	if (writer)
		random_fill(&random, data, SECTOR);
	else
		memset(data, 0, SECTOR);
}

void raw_model_write(struct raw_model *model, uint64_t sector, uint64_t count, void *data)
{
	const uint32_t writer = ++model->writes;
	unsigned char *at = data;

	for (uint64_t i = sector; i < sector + count; i++, at += SECTOR) {
		model->before[i] = model->writer[i];
		model->writer[i] = writer;
		pattern(model, i, writer, at);
	}
}

void raw_model_clear(struct raw_model *model, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++) {
		model->before[i] = model->writer[i];
		model->writer[i] = 0;
	}
}

void raw_model_undo(struct raw_model *model, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++)
		model->writer[i] = model->before[i];
}

/* What a wrong sector holds instead, as far as it can be recognised. */
static const char *recognise(const struct raw_model *model, uint64_t sector, const void *data)
{
	unsigned char other[SECTOR];

	for (uint32_t writer = 0; writer <= model->writes; writer++) {
		pattern(model, sector, writer, other);
		if (!memcmp(data, other, SECTOR))
			return writer ? "an older write's bytes" : "zeros";
	}
	return "foreign bytes";
}

bool raw_model_matches(const struct raw_model *model, uint64_t sector, uint64_t count,
		       const void *data, struct report *report)
{
	unsigned char wanted[SECTOR];
	const unsigned char *at = data;

	for (uint64_t i = sector; i < sector + count; i++, at += SECTOR) {
		pattern(model, i, model->writer[i], wanted);
		if (memcmp(at, wanted, SECTOR) != 0)
			return fail(report,
				    "sector %" PRIu64 " of the raw area holds %s (read of %" PRIu64
				    " sectors from %" PRIu64 "), expected %s",
				    i, recognise(model, i, at), count, sector,
				    model->writer[i] ? "the bytes last written" : "zeros");
	}
	return true;
}
