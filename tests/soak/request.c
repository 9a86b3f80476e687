/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "fail.h"

#define HEADER_SIZE sizeof(struct virtio_blk_outhdr)
#define GAP_MAX	    24u
#define ID_ROOM_MAX 64u

/* What nobody writes on purpose: the status byte before there is a status, unread data. */
#define UNTOUCHED 0xa5u

/* Where the pieces of a request come from while it is laid out. */
struct layout {
	struct request *request;
	struct rng *rng;
	uint64_t next;
	unsigned budget;
};

static void add_piece(struct layout *layout, uint32_t length, bool writable)
{
	struct request *request = layout->request;

	layout->next += rng_below(layout->rng, GAP_MAX + 1);
	request->piece[request->count++] = (struct ring_piece){ layout->next, length, writable };
	layout->next += length;
	layout->budget--;
}

static uint32_t piece_length(struct rng *rng, uint32_t left)
{
	switch (rng_below(rng, 8)) {
	case 0:
		return left;
	case 1:
		return 1;
	case 2:
		return (uint32_t)vblk_min_u64(left, HEADER_SIZE);
	case 3:
		return (uint32_t)vblk_min_u64(left, DISK_SECTOR);
	case 4:
		return 0;
	default:
		return rng_between(rng, 1, left);
	}
}

/*
 * Cuts a row of `length` bytes into at most `most` pieces. An empty piece is legal anywhere but
 * at the end, where the status byte is looked for.
 */
static void cut_row(struct layout *layout, uint32_t length, bool writable, unsigned most)
{
	while (length > 0) {
		uint32_t part = most > 1 ? piece_length(layout->rng, length) : length;

		add_piece(layout, part, writable);
		length -= part;
		most--;
	}
}

/* How many pieces a row may have: few as a rule, and sometimes as many as there may be. */
static unsigned choose_pieces(struct rng *rng, unsigned limit)
{
	unsigned most = rng_chance(rng, 16) ? limit : 6;

	return rng_between(rng, 1, most < limit ? most : limit);
}

static void lay_out(struct request *request, struct rng *rng, unsigned pieces, uint32_t out,
		    uint32_t in)
{
	struct layout layout = { request, rng, request->arena, pieces };

	if (layout.budget > REQUEST_PIECES_MAX)
		layout.budget = REQUEST_PIECES_MAX;
	request->count = 0;
	cut_row(&layout, out, false, choose_pieces(rng, layout.budget - 1));
	request->out_count = request->count;
	cut_row(&layout, in, true, choose_pieces(rng, layout.budget));
	if (layout.next > request->arena + request->arena_size)
		soak_fail("a request of %" PRIu32 " bytes does not fit its arena", request->length);
}

typedef void (*mover)(struct ram *ram, uint64_t address, uint8_t *bytes, size_t length);

static void move_in(struct ram *ram, uint64_t address, uint8_t *bytes, size_t length)
{
	ram_write(ram, address, bytes, length);
}

static void move_out(struct ram *ram, uint64_t address, uint8_t *bytes, size_t length)
{
	ram_read(ram, address, bytes, length);
}

static void move_blank(struct ram *ram, uint64_t address, uint8_t *bytes, size_t length)
{
	(void)bytes;
	ram_set(ram, address, UNTOUCHED, length);
}

/* Moves `length` bytes from `offset` on of a row of pieces. */
static void move_row(struct ram *ram, const struct ring_piece *piece, uint32_t offset,
		     uint8_t *bytes, uint32_t length, mover move)
{
	for (; length > 0; piece++) {
		uint32_t part;

		if (offset >= piece->length) {
			offset -= piece->length;
			continue;
		}
		part = (uint32_t)vblk_min_u64(piece->length - offset, length);
		move(ram, piece->address + offset, bytes, part);
		bytes += part;
		length -= part;
		offset = 0;
	}
}

static uint64_t status_address(const struct request *request)
{
	const struct ring_piece *last = &request->piece[request->count - 1];

	return last->address + last->length - 1;
}

static enum request_kind choose_kind(struct rng *rng)
{
	uint32_t dice = rng_below(rng, 256);

	if (dice < 110)
		return REQUEST_READ;
	if (dice < 220)
		return REQUEST_WRITE;
	if (dice < 238)
		return REQUEST_FLUSH;
	if (dice < 247)
		return REQUEST_ID;
	return (enum request_kind[]){ REQUEST_BEYOND, REQUEST_RAGGED, REQUEST_UNKNOWN }[dice % 3];
}

static uint32_t header_type(const struct request *request)
{
	switch (request->kind) {
	case REQUEST_READ:
	case REQUEST_BEYOND:
	case REQUEST_RAGGED:
		return VIRTIO_BLK_T_IN;
	case REQUEST_WRITE:
		return VIRTIO_BLK_T_OUT;
	case REQUEST_FLUSH:
		return VIRTIO_BLK_T_FLUSH;
	case REQUEST_ID:
		return VIRTIO_BLK_T_GET_ID;
	case REQUEST_UNKNOWN:
		break;
	}
	return VIRTIO_BLK_T_DISCARD;
}

/* How many sectors of a range the disk has: the rest, up to the capacity, reads as zeros. */
static uint32_t on_disk(const struct request *request, const struct disk *disk)
{
	if (request->sector >= disk->sectors)
		return 0;
	return (uint32_t)vblk_min_u64(disk->sectors - request->sector,
				      request->length / DISK_SECTOR);
}

/* Chooses sectors for a transfer and claims those that are on the disk. */
static bool choose_sectors(struct request *request, struct request_scene *scene)
{
	const bool write = request->kind == REQUEST_WRITE;
	const uint64_t end = write ? scene->disk->sectors : scene->capacity;
	uint32_t most = REQUEST_DATA_MAX / DISK_SECTOR;
	uint32_t count;

	if (request->arena_size == REQUEST_SMALL_SIZE)
		most = 16;
	count = rng_between(scene->rng, 1, rng_chance(scene->rng, 4) ? most : most / 4);
	request->length = count * DISK_SECTOR;
	request->sector = rng_below(scene->rng, (uint32_t)(end - count + 1));
	return disk_claim(scene->disk, request->sector, on_disk(request, scene->disk), write);
}

static bool choose(struct request *request, struct request_scene *scene)
{
	struct rng *rng = scene->rng;

	request->kind = choose_kind(rng);
	request->sector = 0;
	request->length = 0;
	switch (request->kind) {
	case REQUEST_READ:
	case REQUEST_WRITE:
		return choose_sectors(request, scene);
	case REQUEST_FLUSH:
		break;
	case REQUEST_ID:
		request->length = rng_between(rng, VIRTIO_BLK_ID_BYTES, ID_ROOM_MAX);
		break;
	case REQUEST_BEYOND:
		request->length = rng_between(rng, 1, 8) * DISK_SECTOR;
		request->sector = scene->capacity - rng_below(rng, request->length / DISK_SECTOR);
		if (rng_chance(rng, 4))
			request->sector = UINT64_MAX - rng_below(rng, 8);
		break;
	case REQUEST_RAGGED:
		request->length = rng_between(rng, 0, 7) * DISK_SECTOR + rng_between(rng, 1, 511);
		break;
	case REQUEST_UNKNOWN:
		request->length = rng_between(rng, 0, 64);
		break;
	}
	return true;
}

bool request_make(struct request *request, struct request_scene *scene, unsigned pieces)
{
	uint8_t header[HEADER_SIZE] = { 0 };
	bool write;

	if (!choose(request, scene))
		return false;
	write = request->kind == REQUEST_WRITE;
	lay_out(request, scene->rng, pieces, HEADER_SIZE + (write ? request->length : 0),
		1 + (write ? 0 : request->length));
	vblk_le32_put(header, header_type(request));
	vblk_le64_put(header + offsetof(struct virtio_blk_outhdr, sector), request->sector);
	move_row(scene->ram, request->piece, 0, header, HEADER_SIZE, move_in);
	if (write) {
		request->stamp = disk_new_stamp(scene->disk);
		disk_fill(request->stamp, request->sector, request->length / DISK_SECTOR,
			  scene->scratch);
		move_row(scene->ram, request->piece, HEADER_SIZE, scene->scratch, request->length,
			 move_in);
	} else {
		move_row(scene->ram, &request->piece[request->out_count], 0, scene->scratch,
			 request->length, move_blank);
	}
	ram_set(scene->ram, status_address(request), UNTOUCHED, 1);
	request->busy = true;
	request->taken = false;
	return true;
}

/* Gives up the claim on the sectors of a transfer. */
static void unclaim(const struct request *request, struct request_scene *scene)
{
	if (request->kind == REQUEST_READ || request->kind == REQUEST_WRITE)
		disk_unclaim(scene->disk, request->sector, on_disk(request, scene->disk),
			     request->kind == REQUEST_WRITE);
}

static void check_read(const struct request *request, struct request_scene *scene)
{
	const uint32_t backed = on_disk(request, scene->disk);

	move_row(scene->ram, &request->piece[request->out_count], 0, scene->scratch,
		 request->length, move_out);
	disk_verify(scene->disk, request->sector, backed, scene->scratch);
	for (uint32_t i = backed * DISK_SECTOR; i < request->length; i++) {
		if (scene->scratch[i] != 0)
			soak_fail("disk %" PRIu64 ": byte %" PRIu32 " of a read at sector %" PRIu64
				  " is behind the disk's end and not zero",
				  scene->disk->id, i, request->sector);
	}
}

static void check_id(const struct request *request, struct request_scene *scene)
{
	char wanted[VIRTIO_BLK_ID_BYTES] = { 0 };

	memcpy(wanted, scene->serial, strlen(scene->serial));
	move_row(scene->ram, &request->piece[request->out_count], 0, scene->scratch,
		 VIRTIO_BLK_ID_BYTES, move_out);
	if (memcmp(wanted, scene->scratch, sizeof(wanted)) != 0)
		soak_fail("wrong serial number on disk %" PRIu64, scene->disk->id);
}

/* Whether a fault of the host's disk can concern it. */
static bool uses_disk(const struct request *request)
{
	return request->kind == REQUEST_READ || request->kind == REQUEST_WRITE ||
	       request->kind == REQUEST_FLUSH;
}

/* The answer that a request deserves if nothing goes wrong. */
static uint8_t expected_status(const struct request *request)
{
	switch (request->kind) {
	case REQUEST_BEYOND:
	case REQUEST_RAGGED:
		return VIRTIO_BLK_S_IOERR;
	case REQUEST_UNKNOWN:
		return VIRTIO_BLK_S_UNSUPP;
	default:
		return VIRTIO_BLK_S_OK;
	}
}

static uint32_t expected_length(const struct request *request, uint8_t status)
{
	if (status != VIRTIO_BLK_S_OK)
		return 1;
	if (request->kind == REQUEST_READ)
		return request->length + 1;
	return request->kind == REQUEST_ID ? VIRTIO_BLK_ID_BYTES + 1 : 1;
}

/* What a request that succeeded has done. */
static void account(const struct request *request, struct request_scene *scene,
		    struct request_sums *sums)
{
	switch (request->kind) {
	case REQUEST_READ:
		check_read(request, scene);
		sums->reads++;
		sums->bytes_read += (uint64_t)on_disk(request, scene->disk) * DISK_SECTOR;
		break;
	case REQUEST_WRITE:
		disk_written(scene->disk, request->sector, request->length / DISK_SECTOR,
			     request->stamp);
		sums->writes++;
		sums->bytes_written += request->length;
		break;
	case REQUEST_FLUSH:
		sums->flushes++;
		break;
	case REQUEST_ID:
		check_id(request, scene);
		break;
	default:
		break;
	}
}

bool request_finish(struct request *request, struct request_scene *scene, uint32_t used_length,
		    bool may_fail, struct request_sums *sums)
{
	const uint8_t expected = expected_status(request);
	uint8_t status;

	ram_read(scene->ram, status_address(request), &status, 1);
	if (status != expected && !(may_fail && uses_disk(request) && status == VIRTIO_BLK_S_IOERR))
		soak_fail("disk %" PRIu64 ": status %u for a request of kind %d, %" PRIu32
			  " bytes at sector %" PRIu64 "; %u was expected",
			  scene->disk->id, status, request->kind, request->length, request->sector,
			  expected);
	if (used_length != expected_length(request, status))
		soak_fail("disk %" PRIu64 ": used length %" PRIu32
			  " for a request of kind %d, status %u, %" PRIu32 " bytes",
			  scene->disk->id, used_length, request->kind, status, request->length);
	if (status == VIRTIO_BLK_S_IOERR)
		sums->errors++;
	if (status == VIRTIO_BLK_S_OK)
		account(request, scene, sums);
	else if (request->kind == REQUEST_WRITE)
		disk_doubt(scene->disk, request->sector, request->length / DISK_SECTOR,
			   request->stamp);
	unclaim(request, scene);
	request->busy = false;
	return status != expected;
}

void request_abandon(struct request *request, struct request_scene *scene)
{
	if (request->kind == REQUEST_WRITE)
		disk_doubt(scene->disk, request->sector, request->length / DISK_SECTOR,
			   request->stamp);
	unclaim(request, scene);
	request->busy = false;
	request->taken = true;
}

bool request_is_untouched(const struct request *request, const struct request_scene *scene)
{
	uint8_t status;

	ram_read(scene->ram, status_address(request), &status, 1);
	return status == UNTOUCHED;
}
