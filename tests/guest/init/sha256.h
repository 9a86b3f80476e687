/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 (FIPS 180-4), so that the host can compare with sha256sum. The object may be copied and
 * dropped at will; it owns nothing.
 */
#ifndef GUEST_SHA256_H
#define GUEST_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_HEX 65 /* characters of a digest in hexadecimal, with the NUL */

struct sha256 {
	uint32_t state[8];
	uint64_t length; /* bytes taken so far */
	unsigned char block[64];
};

void sha256_init(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *data, size_t length);

/* Ends the computation; the object has to be initialised again before it is used again. */
void sha256_end(struct sha256 *sha, char hex[SHA256_HEX]);

#endif
