/* SPDX-License-Identifier: MIT */
/*
 * A drain with a record of requests in flight that the test has written, and reads. What the drain
 * does to the record is noted, with what the ring said at that time.
 *
 * The guest is that of a bare drain (bare_drain.h). Whatever cannot be done fails the test.
 */
#ifndef TESTS_SUPPORT_JOURNAL_RIG_H
#define TESTS_SUPPORT_JOURNAL_RIG_H

#include "bare_drain.h"

#define JOURNAL_EVENTS_MAX 64u
#define JOURNAL_DISK_SIZE  (64 * VBLK_SECTOR_SIZE)

enum journal_event_kind {
	JOURNAL_OPEN,
	JOURNAL_CLAIM,
	JOURNAL_PREPARE,
	JOURNAL_COMMIT,
};

struct journal_event {
	enum journal_event_kind kind;
	uint16_t head;
	uint16_t told;	  /* the used.idx that was told */
	uint16_t in_ring; /* what the ring said at that time */
};

/* A drain with a record of requests in flight that the test has written, and reads. */
struct journal_rig {
	struct bare_drain bare;
	struct vblk_journal_heads left; /* what another drain has left behind */
	int open_ret;
	struct journal_event event[JOURNAL_EVENTS_MAX]; /* the first of them */
	unsigned events;
	bool looked;
	unsigned ended; /* how often we were told */
	bool ended_without_drain;
	uint16_t ended_at; /* where the drain would have gone on */
};

/* A drain on a guest's rings: on that disk, or on one of 0xab, with the usual options or others. */
void journal_rig_begin_on(struct journal_rig *rig, const struct guest_options *options,
			  struct vblk_backing *disk);
void journal_rig_begin_with(struct journal_rig *rig, const struct guest_options *options);
void journal_rig_begin(struct journal_rig *rig);

/* The drain goes, and has said so once. */
void journal_rig_end(struct journal_rig *rig);

/* Puts another drain on the rings, one that continues what `change` says (NULL: nothing). */
void journal_rig_restart(struct journal_rig *rig, void (*change)(struct vblk_drain_config *config));

/* A change: the other drain has no record, and is told to go on at 7. */
void journal_rig_without_record(struct vblk_drain_config *config);

/* What another drain took from the ring and did not answer. */
void journal_rig_leave(struct journal_rig *rig, uint16_t head);

/* What was noted as number `index`. */
void journal_rig_expect(const struct journal_rig *rig, unsigned index, enum journal_event_kind kind,
			uint16_t head, uint16_t told, uint16_t in_ring);

/* The guest makes a read of sector `slot` available, and is told its head. */
uint16_t journal_rig_ask(struct journal_rig *rig, unsigned slot);

#endif
