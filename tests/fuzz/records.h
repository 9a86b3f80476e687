/* SPDX-License-Identifier: MIT */
/*
 * Inputs are programs: rows of records of eight bytes, an operation and its arguments. All of
 * them are legal, an operation takes its byte modulo what there is. Records have one size so that
 * the mutator can insert, drop, copy and move whole steps: the rest of the program keeps its
 * meaning, which byte-wise mutation would garble.
 *
 * A fuzzer includes this file, defines LLVMFuzzerTestOneInput, and links records.c.
 */
#ifndef TESTS_FUZZ_RECORDS_H
#define TESTS_FUZZ_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_SIZE 8u
#define RECORDS_MAX 32u

/* What libFuzzer calls, and what it offers. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other,
				 size_t other_size, uint8_t *out, size_t out_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/*
 * Records that are worth having in a program of this fuzzer: the mutator inserts them as they
 * are. Each fuzzer brings its own.
 */
extern const uint8_t fuzz_phrases[][RECORD_SIZE];
extern const size_t fuzz_phrase_count;

/* Record `index` of an input, or NULL behind the last; a piece at the end counts as none. */
static inline const uint8_t *record_at(const uint8_t *data, size_t size, size_t index)
{
	if (index >= RECORDS_MAX || size / RECORD_SIZE <= index)
		return NULL;
	return data + index * RECORD_SIZE;
}

/* Two argument bytes as one number. */
static inline uint16_t record_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

/*
 * A number of up to 64 bits from two argument bytes, dense where it is small and around powers of
 * two: mantissa, and an exponent with a step up or down.
 */
static inline uint64_t record_u64(const uint8_t *at)
{
	uint64_t value = (uint64_t)at[0] << (at[1] & 63);

	switch (at[1] >> 6) {
	case 1:
		return value + 1;
	case 2:
		return value - 1;
	case 3:
		return ~value;
	default:
		return value;
	}
}

#endif
