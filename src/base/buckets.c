/* SPDX-License-Identifier: MIT */
#include "base/buckets.h"

unsigned vblk_buckets_quantile(const uint64_t *count, unsigned buckets, double share)
{
	uint64_t passed = 0, all = 0;
	double wanted;

	for (unsigned i = 0; i < buckets; i++)
		all += count[i];
	wanted = share * (double)all;
	for (unsigned i = 0; i < buckets; i++) {
		passed += count[i];
		if (passed > 0 && (double)passed >= wanted)
			return i;
	}
	return buckets;
}
