/* SPDX-License-Identifier: MIT */
/* Mutation by whole records. */
#include "records.h"

#include <string.h>

#define MAX_BYTES (RECORDS_MAX * RECORD_SIZE)

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static size_t below(uint32_t *state, size_t limit)
{
	return next_random(state) % limit;
}

/* Makes room for `count` records in front of record `at`. Returns the new number of records. */
static size_t open_gap(uint8_t *data, size_t records, size_t at, size_t count)
{
	memmove(data + (at + count) * RECORD_SIZE, data + at * RECORD_SIZE,
		(records - at) * RECORD_SIZE);
	return records + count;
}

static size_t drop(uint8_t *data, size_t records, size_t at, size_t count)
{
	memmove(data + at * RECORD_SIZE, data + (at + count) * RECORD_SIZE,
		(records - at - count) * RECORD_SIZE);
	return records - count;
}

static size_t insert_phrase(uint8_t *data, size_t records, uint32_t *random)
{
	size_t at = below(random, records + 1);

	records = open_gap(data, records, at, 1);
	memcpy(data + at * RECORD_SIZE, fuzz_phrases[below(random, fuzz_phrase_count)],
	       RECORD_SIZE);
	return records;
}

static size_t insert_noise(uint8_t *data, size_t records, uint32_t *random)
{
	size_t at = below(random, records + 1);

	records = open_gap(data, records, at, 1);
	for (size_t i = 0; i < RECORD_SIZE; i++)
		data[at * RECORD_SIZE + i] = (uint8_t)next_random(random);
	return records;
}

static size_t repeat(uint8_t *data, size_t records, size_t limit, uint32_t *random)
{
	uint8_t copy[4 * RECORD_SIZE];
	size_t from = below(random, records);
	size_t count = 1 + below(random, 4);
	size_t to = below(random, records + 1);

	if (count > records - from)
		count = records - from;
	if (count > limit - records)
		count = limit - records;
	memcpy(copy, data + from * RECORD_SIZE, count * RECORD_SIZE);
	records = open_gap(data, records, to, count);
	memcpy(data + to * RECORD_SIZE, copy, count * RECORD_SIZE);
	return records;
}

static void exchange(uint8_t *data, size_t records, uint32_t *random)
{
	uint8_t *one = data + below(random, records) * RECORD_SIZE;
	uint8_t *other = data + below(random, records) * RECORD_SIZE;
	uint8_t copy[RECORD_SIZE];

	memcpy(copy, one, RECORD_SIZE);
	memmove(one, other, RECORD_SIZE);
	memcpy(other, copy, RECORD_SIZE);
}

/* Changes one argument a little, or one record in libFuzzer's own ways. */
static void change(uint8_t *data, size_t records, uint32_t *random)
{
	uint8_t *record = data + below(random, records) * RECORD_SIZE;
	uint8_t *byte = record + below(random, RECORD_SIZE);

	switch (below(random, 4)) {
	case 0:
		*byte = (uint8_t)next_random(random);
		break;
	case 1:
		*byte ^= (uint8_t)(1u << below(random, 8));
		break;
	case 2:
		*byte = (uint8_t)(*byte + (below(random, 2) ? 1 : -1));
		break;
	default:
		(void)LLVMFuzzerMutate(record, RECORD_SIZE, RECORD_SIZE);
		break;
	}
}

static size_t mutate_once(uint8_t *data, size_t records, size_t limit, uint32_t *random)
{
	if (records == 0)
		return insert_phrase(data, 0, random);
	switch (below(random, 12)) {
	case 0:
	case 1:
		return records < limit ? insert_phrase(data, records, random) : records;
	case 2:
		return records < limit ? insert_noise(data, records, random) : records;
	case 3:
		return records < limit ? repeat(data, records, limit, random) : records;
	case 4:
		return records > 1 ? drop(data, records, below(random, records), 1) : records;
	case 5:
		exchange(data, records, random);
		return records;
	default:
		change(data, records, random);
		return records;
	}
}

static size_t record_limit(size_t bytes)
{
	return (bytes < MAX_BYTES ? bytes : MAX_BYTES) / RECORD_SIZE;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	uint32_t random = seed * 2654435761u | 1;
	size_t limit = record_limit(max_size);
	size_t records = record_limit(size);

	if (limit == 0)
		return size;
	if (records > limit)
		records = limit;
	do
		records = mutate_once(data, records, limit, &random);
	while (below(&random, 3) == 0);
	return records * RECORD_SIZE;
}

/* The head of one program and the tail of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *other,
				 size_t other_size, uint8_t *out, size_t out_size, unsigned seed)
{
	uint32_t random = seed * 2654435761u | 1;
	size_t limit = record_limit(out_size);
	size_t head = below(&random, record_limit(one_size) + 1);
	size_t from = below(&random, record_limit(other_size) + 1);
	size_t tail = record_limit(other_size) - from;

	if (head > limit)
		head = limit;
	if (tail > limit - head)
		tail = limit - head;
	memcpy(out, one, head * RECORD_SIZE);
	memcpy(out + head * RECORD_SIZE, other + from * RECORD_SIZE, tail * RECORD_SIZE);
	return (head + tail) * RECORD_SIZE;
}
