/* SPDX-License-Identifier: MIT */
#include "journal_rig.h"

#include "disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void note(struct journal_rig *rig, enum journal_event_kind kind, uint16_t head,
		 uint16_t told)
{
	unsigned index = rig->events++;

	if (index < JOURNAL_EVENTS_MAX)
		rig->event[index] = (struct journal_event){ kind, head, told,
							    guest_used_idx(&rig->bare.guest) };
}

static int note_open(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	struct journal_rig *rig = context;

	note(rig, JOURNAL_OPEN, 0, used_idx);
	*heads = rig->left;
	return rig->open_ret;
}

static void note_claim(void *context, uint16_t head)
{
	note(context, JOURNAL_CLAIM, head, 0);
}

static void note_prepare(void *context, uint16_t head)
{
	note(context, JOURNAL_PREPARE, head, 0);
}

static void note_commit(void *context, uint16_t head, uint16_t used_idx)
{
	note(context, JOURNAL_COMMIT, head, used_idx);
}

static const struct vblk_journal_ops journal_ops = {
	.open = note_open,
	.claim = note_claim,
	.prepare = note_prepare,
	.commit = note_commit,
};

static void note_end(void *context, const struct vblk_drain *drain)
{
	struct journal_rig *rig = context;

	rig->ended++;
	rig->ended_without_drain = drain == NULL;
	if (drain)
		rig->ended_at = vblk_drain_next_avail(drain);
}

void journal_rig_restart(struct journal_rig *rig, void (*change)(struct vblk_drain_config *config))
{
	struct vblk_drain_config config = rig->bare.drain.config;

	config.continues = true;
	config.journal = (struct vblk_journal){ &journal_ops, rig };
	config.ended = note_end;
	config.ended_context = rig;
	if (change)
		change(&config);
	vblk_drain_destroy(&rig->bare.drain);
	vblk_drain_init(&rig->bare.drain, &config);
}

void journal_rig_begin_on(struct journal_rig *rig, const struct guest_options *options,
			  struct vblk_backing *disk)
{
	memset(rig, 0, sizeof(*rig));
	bare_drain_create(&rig->bare, options, disk);
	journal_rig_restart(rig, NULL);
}

void journal_rig_begin_with(struct journal_rig *rig, const struct guest_options *options)
{
	journal_rig_begin_on(rig, options, disk_create(JOURNAL_DISK_SIZE, 0xab));
}

void journal_rig_begin(struct journal_rig *rig)
{
	journal_rig_begin_with(rig, NULL);
}

void journal_rig_end(struct journal_rig *rig)
{
	bare_drain_destroy(&rig->bare);
	assert_int_equal(rig->ended, 1);
}

void journal_rig_leave(struct journal_rig *rig, uint16_t head)
{
	rig->left.head[rig->left.count++] = head;
}

void journal_rig_expect(const struct journal_rig *rig, unsigned index, enum journal_event_kind kind,
			uint16_t head, uint16_t told, uint16_t in_ring)
{
	assert_true(index < rig->events);
	assert_int_equal(rig->event[index].kind, kind);
	assert_int_equal(rig->event[index].head, head);
	assert_int_equal(rig->event[index].told, told);
	assert_int_equal(rig->event[index].in_ring, in_ring);
}

uint16_t journal_rig_ask(struct journal_rig *rig, unsigned slot)
{
	return guest_request_at(&rig->bare.guest, slot, VIRTIO_BLK_T_IN, slot, VBLK_SECTOR_SIZE);
}

void journal_rig_without_record(struct vblk_drain_config *config)
{
	config->journal.ops = NULL;
	config->next_avail = 7;
}
