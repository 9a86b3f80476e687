/* SPDX-License-Identifier: MIT */
/* Chains and gates, from the contract. */
#include "oracle.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define HEADER 16u

static uint64_t little_endian(const uint8_t *bytes, unsigned count)
{
	uint64_t value = 0;

	while (count-- > 0)
		value = value << 8 | bytes[count];
	return value;
}

static bool read_desc(enum side side, uint64_t table, uint32_t index, struct oracle_desc *desc)
{
	uint8_t raw[16];
	uint64_t address = table + 16ull * index;

	if (address < table || !arena_get(side, address, raw, sizeof(raw)))
		return false;
	desc->addr = little_endian(raw, 8);
	desc->len = (uint32_t)little_endian(raw + 8, 4);
	desc->flags = (uint16_t)little_endian(raw + 12, 2);
	desc->next = (uint16_t)little_endian(raw + 14, 2);
	arena_fetched(side, address, sizeof(raw));
	return true;
}

/* One more than fits is looked for, and no further. */
void oracle_walk(struct oracle_chain *chain, enum side side, uint64_t table, uint32_t size,
		 uint16_t head)
{
	uint32_t index = head, left = size;
	uint64_t total = 0;
	bool inside = false;

	chain->count = 0;
	while (chain->count <= ORACLE_DESC_MAX && left > 0 && index < size) {
		struct oracle_desc *desc = &chain->desc[chain->count];

		if (!read_desc(side, table, index, desc))
			return;
		left--;
		if (desc->flags & VRING_DESC_F_INDIRECT) {
			if (inside || desc->len % 16 != 0 || desc->len / 16 > 65535)
				return;
			inside = true;
			table = desc->addr;
			size = left = desc->len / 16;
			index = 0;
			continue;
		}
		total += desc->len;
		if (total > UINT32_MAX)
			return;
		chain->count++;
		if (!(desc->flags & VRING_DESC_F_NEXT))
			return;
		index = desc->next;
	}
}

static bool writable(const struct oracle_desc *desc)
{
	return (desc->flags & VRING_DESC_F_WRITE) != 0;
}

/* Gates 1 and 2: whether there is a place for the answer. */
static unsigned gate_of_status(const struct oracle_chain *chain, uint64_t *address)
{
	const struct oracle_desc *last;

	if (chain->count > ORACLE_DESC_MAX)
		return 1;
	if (chain->count < 2)
		return 2;
	last = &chain->desc[chain->count - 1];
	if (!writable(last) || last->len == 0 || last->addr + (last->len - 1) < last->addr)
		return 2;
	*address = last->addr + (last->len - 1);
	return 0;
}

/* Gates 3 and 4: the first 16 bytes, which lie in front of anything writable. */
static unsigned gate_of_header(const struct oracle_chain *chain, enum side side,
			       uint8_t header[HEADER])
{
	uint64_t readable = 0;
	uint32_t have = 0;

	for (unsigned i = 0; i < chain->count && !writable(&chain->desc[i]); i++)
		readable += chain->desc[i].len;
	if (readable < HEADER)
		return 3;
	for (unsigned i = 0; have < HEADER; i++) {
		const struct oracle_desc *desc = &chain->desc[i];
		uint32_t part = desc->len < HEADER - have ? desc->len : HEADER - have;

		if (!arena_get(side, desc->addr, header + have, part))
			return 4;
		arena_fetched(side, desc->addr, part);
		have += part;
	}
	return 0;
}

/*
 * What lies between the header and the last byte, descriptor by descriptor. Returns whether any
 * of it begins behind the end of the address space.
 */
static bool cut_data(struct oracle_request *request, const struct oracle_chain *chain)
{
	bool wraps = false;
	uint64_t position = 0, end = 0;

	for (unsigned i = 0; i < chain->count; i++)
		end += chain->desc[i].len;
	end -= 1;
	request->spans = 0;
	request->data_len = 0;
	for (unsigned i = 0; i < chain->count; i++) {
		uint64_t from = position, to = position + chain->desc[i].len;

		if (from < HEADER)
			from = HEADER;
		if (to > end)
			to = end;
		if (from < to) {
			request->span[request->spans++] = (struct oracle_span){
				.addr = chain->desc[i].addr + (from - position),
				.len = (uint32_t)(to - from),
				.writable = writable(&chain->desc[i]),
			};
			wraps |= from - position > UINT64_MAX - chain->desc[i].addr;
			request->data_len += to - from;
		}
		position += chain->desc[i].len;
	}
	return wraps;
}

static bool has_long_span(const struct oracle_request *request)
{
	for (unsigned i = 0; i < request->spans; i++) {
		if (request->span[i].len > ORACLE_DATA_MAX)
			return true;
	}
	return false;
}

static bool has_wrong_direction(const struct oracle_request *request, bool wants_writable)
{
	for (unsigned i = 0; i < request->spans; i++) {
		if (request->span[i].writable != wants_writable)
			return true;
	}
	return false;
}

static void answer(struct oracle_request *request, unsigned gate, uint8_t status)
{
	request->kind = ORACLE_REPLY;
	request->gate = gate;
	request->status = status;
	request->is_error = status == VIRTIO_BLK_S_IOERR;
}

static bool is_range_type(uint32_t type)
{
	return type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static bool is_known_range(uint32_t type, const struct oracle_rules *rules)
{
	return (type == VIRTIO_BLK_T_DISCARD && rules->discard) ||
	       (type == VIRTIO_BLK_T_WRITE_ZEROES && rules->write_zeroes);
}

/* Gates 5 to 10. Returns the one that refuses, or 0. */
static unsigned gate_of_data(const struct oracle_request *request, const struct oracle_rules *rules)
{
	bool in = request->type == VIRTIO_BLK_T_IN;
	bool out = request->type == VIRTIO_BLK_T_OUT;
	bool id = request->type == VIRTIO_BLK_T_GET_ID;
	bool flush = request->type == VIRTIO_BLK_T_FLUSH;

	if (has_long_span(request))
		return 5;
	if ((in || out || id) && request->data_len == 0)
		return 6;
	if (flush && request->data_len != 0)
		return 7;
	if ((in || out) && request->data_len % 512 != 0)
		return 8;
	if (!in && !out && !id && !flush && !is_known_range(request->type, rules))
		return 9;
	if (rules->read_only && !in && !id)
		return 9;
	return has_wrong_direction(request, !out && !is_range_type(request->type)) ? 10 : 0;
}

/* The ranges, one after the other; the first that is wrong decides. */
static void judge_ranges(struct oracle_request *request, enum side side)
{
	uint8_t bytes[16 * ORACLE_RANGES_MAX];
	uint64_t have = 0;

	request->kind = ORACLE_RUN;
	if (request->data_len == 0 || request->data_len % 16 != 0 ||
	    request->data_len > sizeof(bytes)) {
		answer(request, ORACLE_GATE_RANGES, VIRTIO_BLK_S_IOERR);
		return;
	}
	for (unsigned i = 0; i < request->spans; i++) {
		const struct oracle_span *span = &request->span[i];

		if (!arena_get(side, span->addr, bytes + have, span->len)) {
			answer(request, ORACLE_GATE_RANGES, VIRTIO_BLK_S_IOERR);
			return;
		}
		arena_fetched(side, span->addr, span->len);
		have += span->len;
	}
	for (uint64_t at = 0; at < have && request->kind == ORACLE_RUN; at += 16) {
		struct oracle_range *range = &request->range[request->ranges++];
		uint64_t flags = little_endian(bytes + at + 12, 4);

		range->sector = little_endian(bytes + at, 8);
		range->sectors = (uint32_t)little_endian(bytes + at + 8, 4);
		range->unmap = flags == 1;
		if (flags > 1 || (flags == 1 && request->type == VIRTIO_BLK_T_DISCARD))
			answer(request, ORACLE_GATE_RANGES, VIRTIO_BLK_S_UNSUPP);
		else if (range->sectors > ORACLE_SECTORS_MAX)
			answer(request, ORACLE_GATE_RANGES, VIRTIO_BLK_S_IOERR);
	}
}

uint64_t oracle_cost(const struct oracle_request *request)
{
	uint64_t zeroed = 0;

	if (!is_range_type(request->type))
		return request->data_len;
	if (request->type == VIRTIO_BLK_T_DISCARD)
		return 0;
	for (unsigned i = 0; i < request->ranges; i++)
		zeroed += 512ull * request->range[i].sectors;
	return zeroed;
}

void oracle_judge(struct oracle_request *request, const struct oracle_chain *chain, enum side side,
		  const struct oracle_rules *rules)
{
	uint8_t header[HEADER];
	unsigned gate;

	memset(request, 0, offsetof(struct oracle_request, span));
	gate = gate_of_status(chain, &request->status_addr);
	if (gate) {
		request->kind = ORACLE_DROP;
		request->gate = gate;
		return;
	}
	gate = gate_of_header(chain, side, header);
	if (gate) {
		answer(request, gate, VIRTIO_BLK_S_IOERR);
		return;
	}
	request->type = (uint32_t)little_endian(header, 4);
	request->sector = little_endian(header + 8, 8);
	gate = cut_data(request, chain) ? 5 : gate_of_data(request, rules);
	if (gate == 0 && is_range_type(request->type))
		judge_ranges(request, side);
	else if (gate == 0)
		request->kind = ORACLE_RUN;
	else if (gate != 9 || request->type == VIRTIO_BLK_T_OUT ||
		 is_known_range(request->type, rules))
		answer(request, gate, VIRTIO_BLK_S_IOERR);
	else if (request->type == VIRTIO_BLK_T_FLUSH)
		answer(request, gate, VIRTIO_BLK_S_OK);
	else
		answer(request, gate, VIRTIO_BLK_S_UNSUPP);
}
