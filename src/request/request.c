/* SPDX-License-Identifier: MIT */
/*
 * From a chain to a request, through a row of gates whose order is part of the contract: a chain
 * without a status byte is dropped whatever else is wrong with it, and nothing that is refused
 * here costs tokens.
 */
#include "request/request.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>

#include "base/checked.h"
#include "base/le.h"

#define HEADER_SIZE sizeof(struct virtio_blk_outhdr)

static struct vblk_verdict drop(const char *reason)
{
	return (struct vblk_verdict){ VBLK_ACTION_DROP, 0, reason, VBLK_ERROR_CHAIN };
}

static struct vblk_verdict reply(uint8_t status)
{
	return (struct vblk_verdict){ VBLK_ACTION_REPLY, status, NULL, VBLK_ERROR_UNSUPPORTED };
}

static struct vblk_verdict refuse(enum vblk_metrics_error error, const char *reason)
{
	return (struct vblk_verdict){ VBLK_ACTION_REPLY, VIRTIO_BLK_S_IOERR, reason, error };
}

static const struct vblk_verdict run = { .action = VBLK_ACTION_RUN };

static bool is_writable(const struct vblk_desc *desc)
{
	return desc->flags & VRING_DESC_F_WRITE;
}

/* The status byte is the last byte of the chain. Returns what is wrong with it, or NULL. */
static const char *find_status(const struct vblk_chain *chain, uint64_t *address)
{
	const struct vblk_desc *last;

	if (chain->count < 2)
		return "chain has no room for header and status";
	last = &chain->desc[chain->count - 1];
	if (!is_writable(last))
		return "last descriptor is not writable";
	if (last->len == 0)
		return "last descriptor is empty";
	if (!vblk_add_u64(last->addr, last->len - 1, address))
		return "status byte is past the end of the address space";
	return NULL;
}

/* How far the header reaches: `index` descriptors whole, and `offset` bytes of the next. */
struct cut {
	uint16_t index;
	uint32_t offset;
};

static const struct cut whole_header = { 0, HEADER_SIZE };

/* A header that is cut into several descriptors. Returns what is wrong, or NULL. */
static const char *collect_header(const struct vblk_chain *chain, struct vblk_memory_view *view,
				  uint8_t *header, struct cut *cut)
{
	uint32_t have = 0;

	for (uint16_t i = 0; i < chain->count && have < HEADER_SIZE; i++) {
		const struct vblk_desc *desc = &chain->desc[i];
		uint32_t part = (uint32_t)vblk_min_u64(desc->len, HEADER_SIZE - have);

		if (is_writable(desc))
			break;
		have += part;
		*cut = (struct cut){ i, part };
	}
	if (have < HEADER_SIZE)
		return "fewer than 16 readable bytes of header";
	have = 0;
	for (uint16_t i = 0; i <= cut->index; i++) {
		const struct vblk_desc *desc = &chain->desc[i];
		uint32_t part = i == cut->index ? cut->offset : desc->len;

		if (vblk_memory_copy_in(view, header + have, desc->addr, part) < 0)
			return "header is not in guest memory";
		have += part;
	}
	return NULL;
}

/* The header is the first readable bytes, nearly always a descriptor of its own. */
static const char *read_header(const struct vblk_chain *chain, struct vblk_memory_view *view,
			       uint64_t header[2], struct cut *cut)
{
	const struct vblk_desc *first = &chain->desc[0];

	*cut = whole_header;
	if (is_writable(first) || first->len < HEADER_SIZE)
		return collect_header(chain, view, (uint8_t *)header, cut);
	return vblk_memory_copy_in_16(view, header, first->addr) < 0
		       ? "header is not in guest memory"
		       : NULL;
}

/* What lies between the header and the status byte, by direction. */
struct data {
	const char *wrong; /* NULL: nothing */
	uint32_t readable;
	uint32_t writable;
};

/* Adds what is left of a descriptor to the data: `len` bytes, `skip` behind its beginning. */
static inline void add_data(struct vblk_request *request, struct data *data,
			    const struct vblk_desc *desc, uint32_t skip, uint32_t len)
{
	struct vblk_segment *segment = &request->segment[request->segment_count];

	if (len == 0)
		return;
	if (len > VBLK_SIZE_MAX)
		data->wrong = "descriptor is longer than size_max";
	else if (!vblk_add_u64(desc->addr, skip, &segment->addr))
		data->wrong = "data is past the end of the address space";
	segment->len = len;
	request->segment_count++;
	request->data_len += len;
	if (is_writable(desc))
		data->writable += len;
	else
		data->readable += len;
}

/* Header, one piece of data and status byte in a descriptor each, as most requests are laid out. */
static inline bool is_plain(const struct vblk_chain *chain, struct cut cut)
{
	return chain->count == 3 && cut.index == 0 && chain->desc[0].len == cut.offset &&
	       chain->desc[2].len == 1;
}

static inline struct data collect_data(struct vblk_request *request, const struct vblk_chain *chain,
				       struct cut cut)
{
	struct data data = { NULL, 0, 0 };

	request->segment_count = 0;
	request->data_len = 0;
	if (is_plain(chain, cut)) {
		add_data(request, &data, &chain->desc[1], 0, chain->desc[1].len);
		return data;
	}
	for (uint16_t i = cut.index; i < chain->count && !data.wrong; i++) {
		const struct vblk_desc *desc = &chain->desc[i];
		uint32_t skip = i == cut.index ? cut.offset : 0;

		add_data(request, &data, desc, skip,
			 desc->len - skip - (i == chain->count - 1 ? 1 : 0));
	}
	return data;
}

static bool has_ranges(uint32_t type)
{
	return type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static bool carries_data(uint32_t type)
{
	return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_GET_ID;
}

/* Whether the data has the size that the type wants. Returns what is wrong, or NULL. */
static const char *check_size(uint32_t type, uint32_t data_len)
{
	if (carries_data(type) && data_len == 0)
		return "request without data";
	if (type == VIRTIO_BLK_T_FLUSH && data_len != 0)
		return "flush with data";
	if ((type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT) &&
	    data_len % VBLK_SECTOR_SIZE != 0)
		return "data is no multiple of a sector";
	return NULL;
}

static struct vblk_verdict may_have_ranges(bool negotiated, bool read_only)
{
	if (!negotiated)
		return reply(VIRTIO_BLK_S_UNSUPP);
	return read_only
		       ? refuse(VBLK_ERROR_READ_ONLY, "range of a read-only disk is to be changed")
		       : run;
}

/* What needs no disk: refusals of a read-only device, and types that nobody knows. */
static struct vblk_verdict classify(uint32_t type, const struct vblk_request_rules *rules)
{
	switch (type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_GET_ID:
		return run;
	case VIRTIO_BLK_T_OUT:
		return rules->read_only ? refuse(VBLK_ERROR_READ_ONLY, "write to a read-only disk")
					: run;
	case VIRTIO_BLK_T_FLUSH:
		return rules->read_only ? reply(VIRTIO_BLK_S_OK) : run;
	case VIRTIO_BLK_T_DISCARD:
		return may_have_ranges(rules->discard, rules->read_only);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return may_have_ranges(rules->write_zeroes, rules->read_only);
	default:
		return reply(VIRTIO_BLK_S_UNSUPP);
	}
}

static const char *check_direction(uint32_t type, const struct data *data)
{
	if (type == VIRTIO_BLK_T_OUT)
		return data->writable ? "data to write is not readable" : NULL;
	if (has_ranges(type))
		return data->writable ? "ranges are not readable" : NULL;
	return data->readable ? "buffer to fill is not writable" : NULL;
}

#define RANGE_SIZE sizeof(struct virtio_blk_discard_write_zeroes)

static struct vblk_verdict take_range(struct vblk_request *request, const uint8_t *bytes)
{
	uint32_t flags =
		vblk_le32_get(bytes + offsetof(struct virtio_blk_discard_write_zeroes, flags));
	struct vblk_range *range = &request->range[request->range_count++];

	range->sector =
		vblk_le64_get(bytes + offsetof(struct virtio_blk_discard_write_zeroes, sector));
	range->sectors = vblk_le32_get(
		bytes + offsetof(struct virtio_blk_discard_write_zeroes, num_sectors));
	range->unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	/* Specification 5.2.6.2: flags that nobody knows, and unmap with a discard. */
	if ((flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0 ||
	    (range->unmap && request->type == VIRTIO_BLK_T_DISCARD))
		return reply(VIRTIO_BLK_S_UNSUPP);
	return range->sectors > VBLK_RANGE_SECTORS_MAX
		       ? refuse(VBLK_ERROR_RANGES, "range has too many sectors")
		       : run;
}

/* Reads the ranges out of the data, however that is cut. */
static struct vblk_verdict read_ranges(struct vblk_request *request, struct vblk_memory_view *view)
{
	uint8_t bytes[VBLK_RANGES_MAX * RANGE_SIZE];
	struct vblk_verdict verdict = run;
	uint32_t have = 0;

	if (request->data_len == 0 || request->data_len % RANGE_SIZE != 0)
		return refuse(VBLK_ERROR_RANGES, "data is no list of ranges");
	if (request->data_len > sizeof(bytes))
		return refuse(VBLK_ERROR_RANGES, "too many ranges");
	for (uint16_t i = 0; i < request->segment_count; i++) {
		const struct vblk_segment *segment = &request->segment[i];

		if (vblk_memory_copy_in(view, bytes + have, segment->addr, segment->len) < 0)
			return refuse(VBLK_ERROR_RANGES, "ranges are not in guest memory");
		have += segment->len;
	}
	for (uint32_t at = 0; at < have && verdict.action == VBLK_ACTION_RUN; at += RANGE_SIZE)
		verdict = take_range(request, bytes + at);
	return verdict;
}

uint64_t vblk_request_range_bytes(const struct vblk_request *request)
{
	uint64_t sectors = 0;

	for (uint16_t i = 0; i < request->range_count; i++)
		sectors += request->range[i].sectors;
	return sectors * VBLK_SECTOR_SIZE;
}

/* All gates behind the header. */
static struct vblk_verdict judge(struct vblk_request *request, const struct vblk_chain *chain,
				 const uint64_t header[2], struct cut cut,
				 struct vblk_memory_view *view,
				 const struct vblk_request_rules *rules)
{
	struct vblk_verdict verdict;
	const char *wrong;
	struct data data;

	request->type = vblk_header_type(header);
	request->sector = vblk_header_sector(header);
	data = collect_data(request, chain, cut);
	if (data.wrong)
		return refuse(VBLK_ERROR_DATA, data.wrong);
	wrong = check_size(request->type, request->data_len);
	if (wrong)
		return refuse(VBLK_ERROR_LENGTH, wrong);
	verdict = classify(request->type, rules);
	if (verdict.action != VBLK_ACTION_RUN)
		return verdict;
	wrong = check_direction(request->type, &data);
	if (wrong)
		return refuse(VBLK_ERROR_DIRECTION, wrong);
	return has_ranges(request->type) ? read_ranges(request, view) : run;
}

struct vblk_verdict vblk_request_parse(struct vblk_request *request, const struct vblk_chain *chain,
				       struct vblk_memory_view *view,
				       const struct vblk_request_rules *rules)
{
	uint64_t header[2];
	const char *wrong;
	struct cut cut;

	request->head = chain->head;
	request->range_count = 0;
	if (chain->count > VBLK_CHAIN_MAX)
		return drop("chain has too many descriptors");
	wrong = find_status(chain, &request->status_addr);
	if (wrong)
		return drop(wrong);
	wrong = read_header(chain, view, header, &cut);
	if (wrong)
		return refuse(VBLK_ERROR_HEADER, wrong);
	return judge(request, chain, header, cut, view, rules);
}

struct vblk_verdict vblk_request_parse_plain(struct vblk_request *request,
					     const struct vblk_chain *chain,
					     const uint64_t header[2],
					     struct vblk_memory_view *view,
					     const struct vblk_request_rules *rules)
{
	request->head = chain->head;
	request->range_count = 0;
	request->status_addr = chain->desc[2].addr;
	return judge(request, chain, header, whole_header, view, rules);
}
