/* SPDX-License-Identifier: MIT */
/* A block: offset, generation, CRC-32C of the noise and of both numbers, then the noise. */
#include "driver/pattern.h"

#include "base/le.h"

#define CRC_AT	 16u
#define NOISE_AT 24u

#define POLYNOMIAL 0x82f63b78u /* Castagnoli's, lowest bit first */

/* Four bits at a time: small enough for a table that is written down nowhere. */
static uint32_t nibble_of(uint32_t crc)
{
	for (int bit = 0; bit < 4; bit++)
		crc = crc >> 1 ^ (POLYNOMIAL & (0u - (crc & 1u)));
	return crc;
}

static uint32_t crc_of(uint32_t crc, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;
	uint32_t table[16];

	for (uint32_t i = 0; i < 16; i++)
		table[i] = nibble_of(i);
	for (size_t i = 0; i < length; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15u];
		crc = crc >> 4 ^ table[crc & 15u];
	}
	return crc;
}

uint32_t vblk_crc32c(const void *bytes, size_t length)
{
	return ~crc_of(~0u, bytes, length);
}

static uint32_t block_crc(const uint8_t *block, size_t length)
{
	return ~crc_of(crc_of(~0u, block, CRC_AT), block + NOISE_AT, length - NOISE_AT);
}

void vblk_pattern_fill(void *block, size_t length, uint64_t offset, uint64_t generation)
{
	uint8_t *p = block;
	uint64_t noise = (offset ^ generation << 40) * 0x9e3779b97f4a7c15ull | 1;

	vblk_le64_put(p, offset);
	vblk_le64_put(p + 8, generation);
	for (size_t at = NOISE_AT; at < length; at += 8) {
		noise ^= noise << 13;
		noise ^= noise >> 7;
		noise ^= noise << 17;
		vblk_le64_put(p + at, noise);
	}
	vblk_le64_put(p + CRC_AT, block_crc(p, length));
}

const char *vblk_pattern_check(const void *block, size_t length, uint64_t offset,
			       uint64_t generation)
{
	const uint8_t *p = block;

	if (vblk_le64_get(p + CRC_AT) != block_crc(p, length))
		return "its checksum is wrong";
	if (vblk_le64_get(p) != offset)
		return "it belongs elsewhere";
	if (vblk_le64_get(p + 8) != generation)
		return "it is of another write";
	return NULL;
}
