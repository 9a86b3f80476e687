/* SPDX-License-Identifier: MIT */
/*
 * Finding a text in a stream of bytes, however it is cut into pieces. Each byte is looked at once,
 * and nothing of the stream is kept (Knuth, Morris, Pratt). Pure.
 */
#ifndef VMM_MATCHER_H
#define VMM_MATCHER_H

#include <vblk/types.h>

#define VMM_MATCHER_TEXT_MAX 255u

struct vmm_matcher {
	size_t length;	/* of the text; 0: never found */
	size_t matched; /* so much of it stands at the end of the stream */
	char text[VMM_MATCHER_TEXT_MAX];
	/* For each number of bytes that matched: how many do after the next one did not. */
	uint8_t fallback[VMM_MATCHER_TEXT_MAX];
};

/* Looks for `text`, of at most VMM_MATCHER_TEXT_MAX bytes. */
void vmm_matcher_init(struct vmm_matcher *matcher, const char *text);

/* Takes the next byte of the stream. True if the text ends with it. */
bool vmm_matcher_feed(struct vmm_matcher *matcher, uint8_t byte);

#endif
