/* SPDX-License-Identifier: MIT */
/* The guest memory map: built region by region, then sealed and only read. */
#include "memory/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

struct vblk_memory {
	atomic_uint refs;
	atomic_bool sealed;
	void (*release)(void *context);
	void *context;
	struct vblk_memory_region *regions; /* sorted by start, disjoint */
	size_t count;
};

int vblk_memory_create(void (*release)(void *context), void *context, struct vblk_memory **memory)
{
	struct vblk_memory *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	atomic_init(&m->refs, 1);
	atomic_init(&m->sealed, false);
	m->release = release;
	m->context = context;
	*memory = m;
	return 0;
}

struct vblk_memory *vblk_memory_ref(struct vblk_memory *memory)
{
	atomic_fetch_add_explicit(&memory->refs, 1, memory_order_relaxed);
	return memory;
}

void vblk_memory_unref(struct vblk_memory *memory)
{
	if (!memory || atomic_fetch_sub_explicit(&memory->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (memory->release)
		memory->release(memory->context);
	free(memory->regions);
	free(memory);
}

void vblk_memory_seal(struct vblk_memory *memory)
{
	atomic_store_explicit(&memory->sealed, true, memory_order_release);
}

void *vblk_memory_context(const struct vblk_memory *memory)
{
	return memory->context;
}

size_t vblk_memory_region_count(const struct vblk_memory *memory)
{
	return memory->count;
}

static bool is_aligned(uint64_t value)
{
	return value % VBLK_MEMORY_ALIGN == 0;
}

/* Where a region that starts at `start` belongs: the number of regions that start before it. */
static size_t slot_for(const struct vblk_memory *memory, uint64_t start)
{
	size_t slot = 0;

	while (slot < memory->count && memory->regions[slot].start < start)
		slot++;
	return slot;
}

int vblk_memory_add_region(struct vblk_memory *memory, uint64_t address, uint64_t length,
			   void *host)
{
	struct vblk_memory_region *regions;
	uint64_t last, host_last;
	size_t slot;

	if (atomic_load_explicit(&memory->sealed, memory_order_acquire))
		return -EBUSY;
	if (length == 0 || !host || !is_aligned(length) || !is_aligned(address) ||
	    !is_aligned((uintptr_t)host))
		return -EINVAL;
	if (!vblk_add_u64(address, length - 1, &last) ||
	    !vblk_add_u64((uintptr_t)host, length - 1, &host_last) || host_last > UINTPTR_MAX)
		return -EINVAL;
	slot = slot_for(memory, address);
	if (slot > 0 && memory->regions[slot - 1].last >= address)
		return -EEXIST;
	if (slot < memory->count && memory->regions[slot].start <= last)
		return -EEXIST;
	regions = realloc(memory->regions, (memory->count + 1) * sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	memmove(&regions[slot + 1], &regions[slot], (memory->count - slot) * sizeof(*regions));
	regions[slot] = (struct vblk_memory_region){ address, last, length, host };
	memory->regions = regions;
	memory->count++;
	return 0;
}

void vblk_memory_view_init(struct vblk_memory_view *view, const struct vblk_memory *memory)
{
	*view = (struct vblk_memory_view){ .memory = memory };
}

/* The count is made out of date, so that the first question is about what has failed before too. */
void vblk_memory_view_set_guard(struct vblk_memory_view *view,
				const struct vblk_memory_guard *guard)
{
	view->guard = guard;
	view->failures = vblk_sigbus_failures() - 1;
}

/* The count is read before the flags: a failure that the flags do not show yet will move it. */
bool vblk_memory_view_ask_guard(struct vblk_memory_view *view)
{
	unsigned failures = vblk_sigbus_failures();

	atomic_thread_fence(memory_order_acquire);
	if (view->guard->has_failed(view->guard->context))
		return true;
	view->failures = failures;
	return false;
}

const struct vblk_memory_region *vblk_memory_view_find(struct vblk_memory_view *view,
						       uint64_t address)
{
	const struct vblk_memory *memory = view->memory;
	size_t low = 0, high = memory->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct vblk_memory_region *region = &memory->regions[mid];

		if (address < region->start) {
			high = mid;
		} else if (address > region->last) {
			low = mid + 1;
		} else {
			view->recent = region;
			return region;
		}
	}
	return NULL;
}

/*
 * The guest's side of a copy is accessed by relaxed atomics, word by word where it is aligned:
 * ring descriptors and headers nearly always are, and are then read in two accesses.
 */
static void copy_from_guest(uint8_t *to, const uint8_t *guest, uint64_t length)
{
	for (; length >= 8 && (uintptr_t)guest % 8 == 0; to += 8, guest += 8, length -= 8) {
		uint64_t word =
			__atomic_load_n((const uint64_t *)(const void *)guest, __ATOMIC_RELAXED);

		memcpy(to, &word, sizeof(word));
	}
	for (; length > 0; to++, guest++, length--)
		*to = __atomic_load_n(guest, __ATOMIC_RELAXED);
}

static void copy_to_guest(uint8_t *guest, const uint8_t *from, uint64_t length)
{
	for (; length > 0; guest++, from++, length--)
		__atomic_store_n(guest, *from, __ATOMIC_RELAXED);
}

/*
 * The next contiguous piece of the range [address, address + length), of at least one byte. A
 * range that passes the end of the address space is not mapped there: it must not wrap to 0.
 */
static uint8_t *next_piece(struct vblk_memory_view *view, uint64_t address, uint64_t length,
			   uint64_t *piece)
{
	if (length - 1 > UINT64_MAX - address)
		return NULL;
	return vblk_memory_view_at(view, address, length, piece);
}

int vblk_memory_copy_in(struct vblk_memory_view *view, void *to, uint64_t address, uint64_t length)
{
	uint8_t *out = to;
	uint64_t piece;

	for (; length > 0; address += piece, out += piece, length -= piece) {
		const uint8_t *guest = next_piece(view, address, length, &piece);

		if (!guest)
			return -EFAULT;
		copy_from_guest(out, guest, piece);
	}
	return 0;
}

int vblk_memory_copy_out(struct vblk_memory_view *view, uint64_t address, const void *from,
			 uint64_t length)
{
	const uint8_t *in = from;
	uint64_t piece;

	for (; length > 0; address += piece, in += piece, length -= piece) {
		uint8_t *guest = next_piece(view, address, length, &piece);

		if (!guest)
			return -EFAULT;
		copy_to_guest(guest, in, piece);
		vblk_dirty_mark(view->dirty, address, piece);
	}
	return 0;
}

int vblk_memory_zero(struct vblk_memory_view *view, uint64_t address, uint64_t length)
{
	uint64_t piece;

	for (; length > 0; address += piece, length -= piece) {
		uint8_t *guest = next_piece(view, address, length, &piece);

		if (!guest)
			return -EFAULT;
		memset(guest, 0, piece);
		vblk_dirty_mark(view->dirty, address, piece);
	}
	return 0;
}
