/* SPDX-License-Identifier: MIT */
/* Rules for a disk that fails: what each says, and what each mistake is told. */
#include "cmd/fault_spec.h"

#include "base/checked.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define READ	VBLK_FAULTY_PREADV
#define WRITE	VBLK_FAULTY_PWRITEV
#define FLUSH	VBLK_FAULTY_SYNC
#define DISCARD VBLK_FAULTY_DISCARD
#define ZEROES	VBLK_FAULTY_WRITE_ZEROES

static void good_rules(void **state)
{
	static const struct {
		const char *text;
		struct vblk_faulty_rule rule;
	} table[] = {
		{ "write:error=EIO", { WRITE, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 } },
		{ "read:error=ENOSPC", { READ, VBLK_FAULTY_ERROR, ENOSPC, 0, 0, 0 } },
		{ "flush:error=ETIMEDOUT", { FLUSH, VBLK_FAULTY_ERROR, ETIMEDOUT, 0, 0, 0 } },
		{ "read:error=1", { READ, VBLK_FAULTY_ERROR, 1, 0, 0, 0 } },
		{ "read:error=4095", { READ, VBLK_FAULTY_ERROR, 4095, 0, 0, 0 } },
		{ "read:short=512", { READ, VBLK_FAULTY_SHORT, 512, 0, 0, 0 } },
		{ "write:short=4k", { WRITE, VBLK_FAULTY_SHORT, 4096, 0, 0, 0 } },
		{ "read:short=0", { READ, VBLK_FAULTY_SHORT, 0, 0, 0, 0 } },
		{ "discard:error=EIO", { DISCARD, VBLK_FAULTY_ERROR, EIO, 0, 0, 0 } },
		{ "write-zeroes:hang", { ZEROES, VBLK_FAULTY_HANG, 0, 0, 0, 0 } },
		{ "flush:zero", { FLUSH, VBLK_FAULTY_ZERO, 0, 0, 0, 0 } },
		{ "write:delay=10ms", { WRITE, VBLK_FAULTY_DELAY, 10000000, 0, 0, 0 } },
		{ "read:hang", { READ, VBLK_FAULTY_HANG, 0, 0, 0, 0 } },
		{ "read:hang:first=7", { READ, VBLK_FAULTY_HANG, 0, 7, 0, 0 } },
		{ "read:hang:count=1", { READ, VBLK_FAULTY_HANG, 0, 0, 0, 1 } },
		/* Every 50th: the 50th is the first, unless something else is said. */
		{ "write:error=EIO:every=50", { WRITE, VBLK_FAULTY_ERROR, EIO, 50, 50, 0 } },
		{ "write:error=EIO:first=1:every=50", { WRITE, VBLK_FAULTY_ERROR, EIO, 1, 50, 0 } },
		{ "write:error=EIO:first=50:every=50:count=1",
		  { WRITE, VBLK_FAULTY_ERROR, EIO, 50, 50, 1 } },
		/* In any order. */
		{ "write:count=3:error=EIO:every=2:first=9",
		  { WRITE, VBLK_FAULTY_ERROR, EIO, 9, 2, 3 } },
		{ "read:zero:first=18446744073709551615",
		  { READ, VBLK_FAULTY_ZERO, 0, UINT64_MAX, 0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct vblk_faulty_rule *expected = &table[i].rule;
		char text[512] = "";
		const struct cmd_message message = { text, sizeof(text) };
		struct vblk_faulty_rule rule;

		print_message("'%s'\n", table[i].text);
		assert_int_equal(cmd_fault_parse(table[i].text, &rule, &message), 0);
		assert_string_equal(text, "");
		assert_int_equal(rule.op, expected->op);
		assert_int_equal(rule.action, expected->action);
		assert_int_equal(rule.value, expected->value);
		assert_int_equal(rule.first, expected->first);
		assert_int_equal(rule.every, expected->every);
		assert_int_equal(rule.count, expected->count);
	}
}

/* What the parser lets through, the table of rules takes. */
static void good_rules_are_taken(void **state)
{
	static const char *const table[] = {
		"read:error=EIO", "write:error=4095", "flush:error=1", "read:short=0",
		"write:short=1M", "read:zero",	      "write:zero",    "flush:zero",
		"read:delay=1us", "flush:delay=1s",   "read:hang",     "flush:hang",
	};
	struct vblk_backing *base, *faulty;

	(void)state;
	assert_int_equal(vblk_backing_create_memory(4096, &base), 0);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		char text[512];
		const struct cmd_message message = { text, sizeof(text) };
		struct vblk_faulty_rule rule;

		print_message("'%s'\n", table[i]);
		assert_int_equal(cmd_fault_parse(table[i], &rule, &message), 0);
		assert_int_equal(vblk_faulty_create(base, &rule, 1, NULL, &faulty), 0);
		vblk_backing_unref(faulty);
	}
	vblk_backing_unref(base);
}

#define OPERATIONS \
	"a rule begins with one of read, write, flush, discard, write-zeroes, as in write:error=EIO:every=50"
#define WORDS "the words are error=, short=, zero, delay=, hang, first=, every=, count="
#define ERRORS                                                                                 \
	"a number from 1 to 4095 or one of EIO, EINTR, EAGAIN, ENOMEM, EPERM, EACCES, EROFS, " \
	"ENOSPC, EDQUOT, EFBIG, EINVAL, EBADF, ENODEV, ENXIO, ESTALE, ETIMEDOUT is wanted"
#define NO_ACTION "there is no action: one of error=, short=, zero, delay= and hang is required"

static void bad_rules(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} table[] = {
		{ "", "unknown operation '': " OPERATIONS },
		{ ":", "unknown operation '': " OPERATIONS },
		{ "erase:zero", "unknown operation 'erase': " OPERATIONS },
		{ "error=EIO", "unknown operation 'error=EIO': " OPERATIONS },
		{ "WRITE:zero", "unknown operation 'WRITE': " OPERATIONS },
		{ "write", NO_ACTION },
		{ "write:first=1:every=2:count=3", NO_ACTION },
		{ "write:", "unknown word '': " WORDS },
		{ "write:zero:", "unknown word '': " WORDS },
		{ "write:zero:often", "unknown word 'often': " WORDS },
		{ "write:fail=EIO", "unknown word 'fail': " WORDS },
		{ "write:read:zero", "unknown word 'read': " WORDS },
		{ "write:zero:zero", "'zero' is given twice: once is enough" },
		{ "write:zero:first=1:first=1", "'first' is given twice: once is enough" },
		{ "write:zero:hang", "'hang' beside 'zero': a rule has one action (fault= may be "
				     "given several times)" },
		{ "write:error=EIO:delay=1s", "'delay' beside 'error': a rule has one action "
					      "(fault= may be given several times)" },
		{ "discard:short=1", "'short' is for read and write: the others move no bytes" },
		{ "flush:short=1", "'short' is for read and write: the others move no bytes" },
		{ "write:zero=1", "'zero' takes no value" },
		{ "write:hang=", "'hang' takes no value" },
		{ "write:error", "'error' needs a value: error=..." },
		{ "write:error=", "'error' needs a value: error=..." },
		{ "write:zero:every", "'every' needs a value: every=..." },
		{ "write:error=EFOO", "error=EFOO: " ERRORS },
		{ "write:error=eio", "error=eio: " ERRORS },
		{ "write:error=0", "error=0: " ERRORS },
		{ "write:error=4096", "error=4096: " ERRORS },
		{ "write:error=-5", "error=-5: " ERRORS },
		{ "read:short=some", "short=some: a size like 512, 4k or 1M is wanted" },
		{ "read:short=99999999T", "short=99999999T is too large" },
		{ "read:delay=5", "delay=5: a time like 200us, 10ms or 2s is wanted" },
		{ "read:delay=99999999999s", "delay=99999999999s is too large" },
		{ "read:zero:first=0", "first=0: a number from 1 on is wanted" },
		{ "read:zero:every=0", "every=0: a number from 1 on is wanted" },
		{ "read:zero:count=1k", "count=1k: a number from 1 on is wanted" },
		{ "read:zero:count=18446744073709551616",
		  "count=18446744073709551616 is too large" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		char text[512] = "";
		const struct cmd_message message = { text, sizeof(text) };
		struct vblk_faulty_rule rule;

		print_message("'%s'\n", table[i].text);
		assert_int_equal(cmd_fault_parse(table[i].text, &rule, &message), -EINVAL);
		assert_string_equal(text, table[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_rules),
		cmocka_unit_test(good_rules_are_taken),
		cmocka_unit_test(bad_rules),
	};

	return cmocka_run_group_tests_name("cmd_fault_spec", tests, NULL, NULL);
}
