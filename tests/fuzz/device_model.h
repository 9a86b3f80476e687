/* SPDX-License-Identifier: MIT */
/*
 * What a device with the inline engine does, said a second time from docs/contract.md: registers,
 * status machine, lifecycle, queue, drain, throttle, counters. It works on the model's side of
 * the arena and of the disk, and foretells every byte and every counter.
 *
 * device_model.c has the registers and the lifecycle, drain_model.c what happens in a drain.
 */
#ifndef TESTS_FUZZ_DEVICE_MODEL_H
#define TESTS_FUZZ_DEVICE_MODEL_H

#include <vblk/device.h>
#include <vblk/metrics.h>

#include "bucket_model.h"
#include "oracle.h"

/* What is constant in a device. */
struct model_options {
	bool read_only;
	bool strict;	 /* VBLK_UNDELIVERABLE_NEEDS_RESET */
	bool all;	 /* VBLK_FEATURES_ALL */
	bool plain;	 /* the backing cannot discard */
	unsigned queues; /* 0: one */
	uint64_t capacity_bytes;
	const char *serial;
};

#define MODEL_QUEUES 4u

struct model_layout {
	uint16_t size;
	bool ready;
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
};

/* A queue at work, from DRIVER_OK to reset. */
struct model_drain {
	struct model_layout layout;
	bool event_idx;
	bool stable_writes;
	struct oracle_rules rules;
	bool poisoned;
	bool stalled;
	uint16_t next_avail;
	uint16_t next_used;
	uint16_t num_added;
	struct oracle_chain chain;
	struct oracle_request request;
	/* Of one run. */
	unsigned taken;	    /* chains that left the queue */
	unsigned published; /* of these */
};

/* One of them, with its engine. */
struct model_queue {
	struct model_layout layout;
	bool running;
	bool pending;
	bool waiting;
	bool in_line; /* for tokens */
	uint64_t deadline_ns;
	struct model_drain drain;
};

enum model_outcome {
	MODEL_DONE,
	MODEL_MORE,
	MODEL_STALLED,
};

struct model {
	struct model_options options;
	bool bound;
	/* Registers. */
	uint32_t status;
	uint32_t interrupt_status;
	uint32_t generation;
	uint32_t device_sel;
	uint32_t driver_sel;
	uint32_t queue_sel;
	uint64_t accepted;
	bool write_through;
	uint64_t capacity_bytes;
	unsigned queues; /* that the driver finds */
	struct vblk_throttle limits;
	struct throttle_model throttle;
	/* Who waits for tokens, the first first. */
	unsigned line[MODEL_QUEUES];
	unsigned line_length;
	/* Engines. */
	bool running; /* from DRIVER_OK to reset */
	bool resting;
	uint64_t acknowledged; /* pauses */
	uint64_t drains;       /* that looked at the queue */
	uint64_t effort;       /* descriptors and pieces of data so far */
	struct vblk_metrics_snapshot counters;

	struct model_drain *drain; /* the one that runs */
	struct model_queue *turn;  /* whose it is */
	struct model_queue queue[MODEL_QUEUES];
};

/* How many queues the device has. */
unsigned model_queues(const struct model *model);

/* Feature bits that it offers. */
uint64_t model_offered(const struct model *model);

void model_init(struct model *model, const struct model_options *options);

/* How a write to Status ends. */
enum model_refusal {
	MODEL_STORED,
	MODEL_IGNORED,
	MODEL_WARNED,
};

/* A register write of four bytes. Returns what became of a write to Status. */
enum model_refusal model_write(struct model *model, uint64_t offset, uint32_t value);
uint32_t model_read(const struct model *model, uint64_t offset);
/* A driver's write of one byte to configuration space. */
void model_write_config(struct model *model, uint64_t offset, uint8_t value);
void model_read_config(const struct model *model, uint64_t offset, uint8_t *bytes, size_t length);

void model_bind(struct model *model);
void model_run(struct model *model);
bool model_pause(struct model *model);
void model_resume(struct model *model);
bool model_is_paused(const struct model *model);
bool model_set_throttle(struct model *model, const struct vblk_throttle *limits);
/* Returns 0, or the errno that vblk_device_resize returns. */
int model_resize(struct model *model, uint64_t bytes, uint32_t flags);
bool model_deadline(const struct model *model, uint64_t *deadline_ns);

/* By a queue whose request may pass: the next in line has its turn. Also of one that is not there.
 */
void model_leave_line(struct model *model, struct model_queue *queue);

/* drain_model.c: of the queue that has its turn */
void model_drain_start(struct model *model);
enum model_outcome model_drain_run(struct model *model, uint64_t *wait_ns);

#endif
