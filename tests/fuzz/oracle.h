/* SPDX-License-Identifier: MIT */
/*
 * What a descriptor chain is and asks for, said a second time, from docs/contract.md: rules Q-9
 * and Q-10, gates 1 to 10, H-RANGES, D-LAYOUT. It looks at a request as a run of bytes of which
 * each descriptor holds a stretch, and reads one side of the arena.
 */
#ifndef TESTS_FUZZ_ORACLE_H
#define TESTS_FUZZ_ORACLE_H

#include "arena.h"

#define ORACLE_DESC_MAX 130u
#define ORACLE_DATA_MAX 0x100000u /* bytes of data in one descriptor */

/* Of a DISCARD or WRITE_ZEROES: ranges, and sectors in each. */
#define ORACLE_RANGES_MAX  16u
#define ORACLE_SECTORS_MAX 0x400000u

/* What `gate` is if none of the gates, but the ranges were at fault. */
#define ORACLE_GATE_RANGES 100u

struct oracle_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct oracle_chain {
	unsigned count; /* ORACLE_DESC_MAX + 1 stands for all that is more */
	struct oracle_desc desc[ORACLE_DESC_MAX + 1];
};

enum oracle_kind {
	ORACLE_DROP,
	ORACLE_REPLY,
	ORACLE_RUN,
};

struct oracle_span {
	uint64_t addr;
	uint32_t len;
	bool writable;
};

struct oracle_range {
	uint64_t sector;
	uint32_t sectors;
	bool unmap;
};

/* What the disk is, and what the driver negotiated. */
struct oracle_rules {
	bool read_only;
	bool discard;
	bool write_zeroes;
};

struct oracle_request {
	enum oracle_kind kind;
	unsigned gate;	/* that decided; 0: none did */
	uint8_t status; /* of a reply */
	bool is_error;	/* a reply that counts as an I/O error */
	uint32_t type;
	uint64_t sector;
	uint64_t status_addr;
	uint64_t data_len;
	unsigned spans;
	unsigned ranges;
	struct oracle_range range[ORACLE_RANGES_MAX];
	struct oracle_span span[ORACLE_DESC_MAX];
};

void oracle_walk(struct oracle_chain *chain, enum side side, uint64_t table, uint32_t size,
		 uint16_t head);
void oracle_judge(struct oracle_request *request, const struct oracle_chain *chain, enum side side,
		  const struct oracle_rules *rules);

/* The bytes that a request costs. */
uint64_t oracle_cost(const struct oracle_request *request);

#endif
