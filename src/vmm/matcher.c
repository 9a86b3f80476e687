/* SPDX-License-Identifier: MIT */
/*
 * fallback[n] is the length of the longest part of the text, shorter than n + 1, that the first
 * n + 1 bytes of it both begin and end with: how much still fits when they did and the next did
 * not.
 */
#include "vmm/matcher.h"

#include <string.h>

static bool is_next(const struct vmm_matcher *matcher, size_t matched, uint8_t byte)
{
	return (uint8_t)matcher->text[matched] == byte;
}

/* How much matches when `byte` follows on `matched` bytes that do. */
static size_t step(const struct vmm_matcher *matcher, size_t matched, uint8_t byte)
{
	while (matched && !is_next(matcher, matched, byte))
		matched = matcher->fallback[matched - 1];
	return matched + is_next(matcher, matched, byte);
}

void vmm_matcher_init(struct vmm_matcher *matcher, const char *text)
{
	memset(matcher, 0, sizeof(*matcher));
	matcher->length = strnlen(text, VMM_MATCHER_TEXT_MAX);
	memcpy(matcher->text, text, matcher->length);
	for (size_t i = 1; i < matcher->length; i++)
		matcher->fallback[i] =
			(uint8_t)step(matcher, matcher->fallback[i - 1], (uint8_t)text[i]);
}

bool vmm_matcher_feed(struct vmm_matcher *matcher, uint8_t byte)
{
	if (!matcher->length)
		return false;
	matcher->matched = step(matcher, matcher->matched, byte);
	if (matcher->matched < matcher->length)
		return false;
	matcher->matched = matcher->fallback[matcher->length - 1];
	return true;
}
