/* SPDX-License-Identifier: MIT */
#include "disk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "rng.h"

#define WORDS (DISK_SECTOR / sizeof(uint64_t))

void disk_create(struct disk *disk, uint64_t id, uint64_t sectors)
{
	*disk = (struct disk){ .id = id, .sectors = sectors };
	disk->bytes = calloc(sectors, DISK_SECTOR);
	disk->sector = calloc(sectors, sizeof(*disk->sector));
	if (!disk->bytes || !disk->sector)
		soak_fail("no memory for the model of a disk");
}

void disk_destroy(struct disk *disk)
{
	free(disk->bytes);
	free(disk->sector);
}

uint64_t disk_new_stamp(struct disk *disk)
{
	return (disk->id + 1) << 48 | ++disk->stamps;
}

/* The first two words say what it is, for whoever looks at a disk that is wrong. */
static void fill_sector(uint64_t stamp, uint64_t sector, uint8_t *bytes)
{
	const uint64_t key = rng_mix(stamp ^ rng_mix(sector));
	uint64_t word[WORDS];

	word[0] = stamp;
	word[1] = sector;
	for (unsigned i = 2; i < WORDS; i++)
		word[i] = key + i * 0x9e3779b97f4a7c15u;
	memcpy(bytes, word, sizeof(word));
}

void disk_fill(uint64_t stamp, uint64_t first, uint64_t count, uint8_t *bytes)
{
	for (uint64_t i = 0; i < count; i++)
		fill_sector(stamp, first + i, bytes + i * DISK_SECTOR);
}

bool disk_claim(struct disk *disk, uint64_t first, uint64_t count, bool write)
{
	for (uint64_t i = first; i < first + count; i++) {
		const struct disk_sector *sector = &disk->sector[i];

		if (sector->writer)
			return false;
		if (write && (sector->readers > 0 || sector->doubts == DISK_DOUBTS_MAX))
			return false;
	}
	for (uint64_t i = first; i < first + count; i++) {
		if (write)
			disk->sector[i].writer = true;
		else
			disk->sector[i].readers++;
	}
	return true;
}

void disk_unclaim(struct disk *disk, uint64_t first, uint64_t count, bool write)
{
	for (uint64_t i = first; i < first + count; i++) {
		if (write)
			disk->sector[i].writer = false;
		else
			disk->sector[i].readers--;
	}
}

void disk_written(struct disk *disk, uint64_t first, uint64_t count, uint64_t stamp)
{
	disk_fill(stamp, first, count, disk->bytes + first * DISK_SECTOR);
	for (uint64_t i = first; i < first + count; i++)
		disk->sector[i].doubts = 0;
}

void disk_doubt(struct disk *disk, uint64_t first, uint64_t count, uint64_t stamp)
{
	for (uint64_t i = first; i < first + count; i++) {
		struct disk_sector *sector = &disk->sector[i];

		sector->doubt[sector->doubts++] = stamp;
	}
}

static _Noreturn void fail_sector(const struct disk *disk, uint64_t sector, const uint8_t *bytes)
{
	const uint8_t *want = disk->bytes + sector * DISK_SECTOR;
	uint64_t wanted[2], found[2];
	unsigned at = 0;

	memcpy(wanted, want, sizeof(wanted));
	memcpy(found, bytes, sizeof(found));
	while (at < DISK_SECTOR - 1 && bytes[at] == want[at])
		at++;
	soak_fail("disk %" PRIu64 ": wrong data in sector %" PRIu64
		  " from byte %u on: stamp %#" PRIx64 " of sector %" PRIu64
		  " expected (%u in doubt), stamp %#" PRIx64 " of sector %" PRIu64 " found",
		  disk->id, sector, at, wanted[0], wanted[1], disk->sector[sector].doubts, found[0],
		  found[1]);
}

/* Notes which bytes are as they would be if the sector held `content`. */
static void note_known(bool *known, const uint8_t *bytes, const uint8_t *content)
{
	for (unsigned i = 0; i < DISK_SECTOR; i++)
		known[i] = known[i] || bytes[i] == content[i];
}

/* Whether each byte is what the sector held or what one of the doubtful writes put there. */
static bool is_possible(const struct disk *disk, uint64_t sector, const uint8_t *bytes)
{
	const struct disk_sector *state = &disk->sector[sector];
	uint8_t content[DISK_SECTOR];
	bool known[DISK_SECTOR] = { false };

	note_known(known, bytes, disk->bytes + sector * DISK_SECTOR);
	for (unsigned d = 0; d < state->doubts; d++) {
		fill_sector(state->doubt[d], sector, content);
		note_known(known, bytes, content);
	}
	for (unsigned i = 0; i < DISK_SECTOR; i++) {
		if (!known[i])
			return false;
	}
	return true;
}

void disk_verify(struct disk *disk, uint64_t first, uint64_t count, const uint8_t *bytes)
{
	for (uint64_t i = first; i < first + count; i++, bytes += DISK_SECTOR) {
		uint8_t *held = disk->bytes + i * DISK_SECTOR;

		if (memcmp(held, bytes, DISK_SECTOR) != 0) {
			if (!is_possible(disk, i, bytes))
				fail_sector(disk, i, bytes);
			memcpy(held, bytes, DISK_SECTOR);
		}
		disk->sector[i].doubts = 0;
	}
}
