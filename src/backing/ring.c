/* SPDX-License-Identifier: MIT */
/*
 * Making a ring.
 *
 * For reads the file is registered, which spares a look at the table of files for each call. What
 * is registered is a second open file description: the kernel takes its time over the end of a
 * ring, also when the process is killed, and for as long as that takes what is registered stays
 * open, and would keep the disk locked. The lock belongs to the first description. Changes go
 * there: one that is under way when the process is killed holds it open, and the disk locked, until
 * it is over, so that it cannot land on what the next process has written.
 *
 * Who ends in peace does not wait for the kernel: what is registered is let go before the ring is,
 * so that what the disk is on can be unmounted right behind it.
 *
 * A ring is born disabled, told what it may be used for, and enabled; from then on that cannot be
 * changed.
 */
#include "backing/ring.h"

#include <errno.h>
#include <unistd.h>

#include "backing/file.h"
#include "base/checked.h"
#include "base/pages.h"

#define STAGES_SIZE ((size_t)VBLK_RING_STAGES * VBLK_RING_STAGE_BYTES)

/* What a disk needs. */
static const uint8_t operations[] = {
	IORING_OP_READ,	  IORING_OP_READV, IORING_OP_READ_FIXED, IORING_OP_WRITE,
	IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
};

/*
 * Without interrupts between processors for what we come to look for anyway; and one entry that is
 * wrong does not hold up those behind it. Kernels before 5.19 know neither, and those before 5.10
 * no restrictions.
 */
static int make(struct io_uring *ring, unsigned entries, bool *disabled)
{
	static const unsigned ways[] = {
		IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_R_DISABLED,
		0,
	};
	int ret = -EINVAL;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(ways) && ret == -EINVAL; i++) {
		ret = io_uring_queue_init(entries, ring, ways[i]);
		*disabled = ways[i] & IORING_SETUP_R_DISABLED;
	}
	return ret;
}

/* Where that cannot be, reads name the first description, as all else does. */
static void register_file(struct vblk_ring *ring)
{
	const int fd = vblk_file_open_to_read(ring->fd);

	ring->registered = fd >= 0 && io_uring_register_files(&ring->ring, &fd, 1) == 0;
	if (fd >= 0)
		close(fd);
}

/* They are locked in memory, of which a user may have little: without them it works as well. */
static void register_stages(struct vblk_ring *ring)
{
	struct iovec all = { vblk_pages_alloc(STAGES_SIZE), STAGES_SIZE };

	if (all.iov_base && io_uring_register_buffers(&ring->ring, &all, 1) != 0) {
		vblk_pages_free(all.iov_base, STAGES_SIZE);
		all.iov_base = NULL;
	}
	ring->stages = all.iov_base;
}

/*
 * No operation but those above, and no registering of anything: what is registered can be let go.
 * liburing has functions for both steps, but 2.3 and others forgot to export them.
 */
static int restrict_and_enable(struct vblk_ring *ring)
{
	struct io_uring_restriction rules[VBLK_ARRAY_SIZE(operations) + 2] = { 0 };
	struct io_uring_restriction *rule = rules;
	int ret;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(operations); i++, rule++) {
		rule->opcode = IORING_RESTRICTION_SQE_OP;
		rule->sqe_op = operations[i];
	}
	rule->opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rule->sqe_flags = IOSQE_FIXED_FILE;
	rule++;
	rule->opcode = IORING_RESTRICTION_REGISTER_OP;
	rule->register_op = IORING_UNREGISTER_FILES;
	ret = io_uring_register((unsigned)ring->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, rules,
				VBLK_ARRAY_SIZE(rules));
	if (ret < 0)
		return ret;
	return io_uring_register((unsigned)ring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				 0);
}

int vblk_ring_open(struct vblk_ring *ring, int fd, unsigned entries)
{
	bool disabled;
	int ret = make(&ring->ring, entries, &disabled);

	if (ret < 0)
		return ret;
	ring->fd = fd;
	register_file(ring);
	register_stages(ring);
	ret = disabled ? restrict_and_enable(ring) : 0;
	if (ret < 0)
		vblk_ring_close(ring);
	return ret;
}

void vblk_ring_close(struct vblk_ring *ring)
{
	/* Where that is refused, the kernel does it, when it gets there. */
	if (ring->registered)
		(void)!io_uring_unregister_files(&ring->ring);
	io_uring_queue_exit(&ring->ring);
	vblk_pages_free(ring->stages, STAGES_SIZE);
}
