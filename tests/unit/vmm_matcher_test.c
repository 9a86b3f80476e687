/* SPDX-License-Identifier: MIT */
/* Finding a text in a stream, byte by byte, against looking for it in the whole. */
#include "vmm/matcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"

/* A bit for each byte of the stream with which the text ended. */
static uint64_t feed(struct vmm_matcher *matcher, const char *stream)
{
	uint64_t ends = 0;

	for (size_t i = 0; stream[i]; i++)
		ends |= (uint64_t)vmm_matcher_feed(matcher, (uint8_t)stream[i]) << i;
	return ends;
}

static uint64_t naive(const char *text, const char *stream)
{
	const size_t length = strlen(text);
	uint64_t ends = 0;

	for (size_t i = length; i <= strlen(stream); i++)
		if (memcmp(stream + i - length, text, length) == 0)
			ends |= UINT64_C(1) << i >> 1;
	return ends;
}

static void finds_a_text_wherever_it_is_cut(void **state)
{
	static const char stream[] = "[ 1.0] Kernel panic - not syncing: VFS";
	static const char text[] = "Kernel panic - not syncing";

	(void)state;
	for (size_t cut = 0; cut < sizeof(stream); cut++) {
		char first[sizeof(stream)];
		struct vmm_matcher matcher;

		vmm_matcher_init(&matcher, text);
		memcpy(first, stream, sizeof(stream));
		first[cut] = '\0';
		assert_int_equal((feed(&matcher, first) != 0) + (feed(&matcher, stream + cut) != 0),
				 1);
	}
}

/* Texts that begin again within themselves, and all streams of two letters. */
static void finds_what_a_search_of_the_whole_finds(void **state)
{
	static const char *const texts[] = { "a", "ab", "aab", "aaab", "abab", "aabaa", "abaabab" };
	char stream[13];

	(void)state;
	for (size_t t = 0; t < VBLK_ARRAY_SIZE(texts); t++) {
		for (unsigned int bits = 0; bits < 1u << 12; bits++) {
			struct vmm_matcher matcher;

			for (unsigned int i = 0; i < 12; i++)
				stream[i] = bits >> i & 1 ? 'a' : 'b';
			stream[12] = '\0';
			vmm_matcher_init(&matcher, texts[t]);
			assert_int_equal(feed(&matcher, stream), naive(texts[t], stream));
		}
	}
}

static void the_longest_text_and_none(void **state)
{
	char text[VMM_MATCHER_TEXT_MAX + 1];
	struct vmm_matcher matcher;
	unsigned int found = 0;

	(void)state;
	memset(text, '\xff', VMM_MATCHER_TEXT_MAX);
	text[VMM_MATCHER_TEXT_MAX] = '\0';
	vmm_matcher_init(&matcher, text);
	for (unsigned int i = 0; i < VMM_MATCHER_TEXT_MAX + 1; i++)
		found += vmm_matcher_feed(&matcher, 0xff);
	assert_int_equal(found, 2);
	vmm_matcher_init(&matcher, "");
	assert_int_equal(feed(&matcher, "anything"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_a_text_wherever_it_is_cut),
		cmocka_unit_test(finds_what_a_search_of_the_whole_finds),
		cmocka_unit_test(the_longest_text_and_none),
	};

	return cmocka_run_group_tests_name("vmm_matcher", tests, NULL, NULL);
}
