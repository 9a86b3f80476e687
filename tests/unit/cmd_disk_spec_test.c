/* SPDX-License-Identifier: MIT */
/* The description of a disk: what each key does, and what each mistake is told. */
#include "cmd/disk_spec.h"

#include "base/checked.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_text(const char *is, const char *expected)
{
	if (!expected)
		assert_null(is);
	else
		assert_string_equal(is, expected);
}

static void good_specs(void **state)
{
	static const struct {
		const char *text;
		struct cmd_disk_spec spec;
	} table[] = {
		{ "path=a", { .path = (char *)"a" } },
		{ "path=/x y/=z", { .path = (char *)"/x y/=z" } },
		{ "path=a,ro", { .path = (char *)"a", .read_only = true } },
		{ "ro,path=a", { .path = (char *)"a", .read_only = true } },
		{ "path=a,size=64M", { .path = (char *)"a", .size = 64 << 20 } },
		{ "path=a,size=512", { .path = (char *)"a", .size = 512 } },
		{ "path=a,size=9223372036854775807", { .path = (char *)"a", .size = INT64_MAX } },
		{ "path=a,serial=S", { .path = (char *)"a", .serial = (char *)"S" } },
		{ "path=a,serial=12345678901234567890",
		  { .path = (char *)"a", .serial = (char *)"12345678901234567890" } },
		{ "path=a,iops=100", { .path = (char *)"a", .throttle.iops = 100 } },
		{ "path=a,iops=100,iops-burst=100",
		  { .path = (char *)"a", .throttle = { .iops = 100, .iops_burst = 100 } } },
		{ "iops-burst=7,path=a,iops=5",
		  { .path = (char *)"a", .throttle = { .iops = 5, .iops_burst = 7 } } },
		{ "path=a,iops=0,iops-burst=0", { .path = (char *)"a" } },
		{ "path=a,bps=1M", { .path = (char *)"a", .throttle.bps = 1 << 20 } },
		{ "path=a,bps=1k,bps-burst=4k",
		  { .path = (char *)"a", .throttle = { .bps = 1024, .bps_burst = 4096 } } },
		/* A double comma is a comma of the value. */
		{ "path=a,,b", { .path = (char *)"a,b" } },
		{ "path=a,,,ro", { .path = (char *)"a,", .read_only = true } },
		{ "path=,,a,serial=x,,y", { .path = (char *)",a", .serial = (char *)"x,y" } },
		{ "path=a,,,,b", { .path = (char *)"a,,b" } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct cmd_disk_spec *expected = &table[i].spec;
		struct cmd_disk_spec spec;
		char message[256] = "";

		print_message("'%s'\n", table[i].text);
		assert_int_equal(
			cmd_disk_spec_parse(table[i].text, &spec, message, sizeof(message)), 0);
		assert_text(spec.path, expected->path);
		assert_text(spec.serial, expected->serial);
		assert_int_equal(spec.read_only, expected->read_only);
		assert_int_equal(spec.size, expected->size);
		assert_memory_equal(&spec.throttle, &expected->throttle, sizeof(spec.throttle));
		cmd_disk_spec_free(&spec);
	}
}

static void bad_specs(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} table[] = {
		{ "", "an item is empty: write path=FILE,key=value and no comma more (two for one "
		      "that is part of a value)" },
		{ "path=a,", "an item is empty: write path=FILE,key=value and no comma more (two "
			     "for one that is part of a value)" },
		{ "ro", "there is no path: path=FILE is required" },
		{ "disk.img", "unknown key 'disk.img': the keys are path, ro, size, serial, iops, "
			      "iops-burst, bps, bps-burst" },
		{ "path=a,colour=red", "unknown key 'colour': the keys are path, ro, size, serial, "
				       "iops, iops-burst, bps, bps-burst" },
		{ "path=a,RO", "unknown key 'RO': the keys are path, ro, size, serial, iops, "
			       "iops-burst, bps, bps-burst" },
		{ "path=a,=1", "unknown key '': the keys are path, ro, size, serial, iops, "
			       "iops-burst, bps, bps-burst" },
		{ "path", "'path' needs a value: path=..." },
		{ "path=", "'path' needs a value: path=..." },
		{ "path=a,serial=", "'serial' needs a value: serial=..." },
		{ "path=a,size", "'size' needs a value: size=..." },
		{ "path=a,ro=yes", "'ro' takes no value" },
		{ "path=a,ro=", "'ro' takes no value" },
		{ "path=a,path=b", "'path' is given twice: once is enough" },
		{ "path=a,ro,ro", "'ro' is given twice: once is enough" },
		{ "path=a,size=big", "size=big: a size like 512, 4k, 64M or 1G is wanted" },
		{ "path=a,size=-1", "size=-1: a size like 512, 4k, 64M or 1G is wanted" },
		{ "path=a,size=99999999T", "size=99999999T is too large" },
		{ "path=a,size=0",
		  "size=0 is out of range: from one sector, 512, to 2^63-1 bytes" },
		{ "path=a,size=511",
		  "size=511 is out of range: from one sector, 512, to 2^63-1 bytes" },
		{ "path=a,size=9223372036854775808", "size=9223372036854775808 is out of range: "
						     "from one sector, 512, to 2^63-1 bytes" },
		{ "path=a,serial=123456789012345678901",
		  "serial=123456789012345678901 is too long: at most 20 bytes" },
		{ "path=a,iops=1k", "iops=1k: a plain number is wanted" },
		{ "path=a,iops=18446744073709551616", "iops=18446744073709551616 is too large" },
		{ "path=a,bps=fast", "bps=fast: a size like 512, 4k, 64M or 1G is wanted" },
		{ "path=a,iops-burst=5", "iops-burst=5 without iops: give the rate too, or "
					 "iops-burst=0 for none" },
		{ "path=a,bps-burst=1k",
		  "bps-burst=1024 without bps: give the rate too, or bps-burst=0 for none" },
		{ "path=a,iops=10,iops-burst=9",
		  "iops-burst=9 is below iops=10: a burst is at least one second of the rate; "
		  "iops-burst=0 means just that" },
		{ "path=a,bps=4k,bps-burst=1k",
		  "bps-burst=1024 is below bps=4096: a burst is at least one second of the rate; "
		  "bps-burst=0 means just that" },
		/* iops is looked at before bps. */
		{ "path=a,bps-burst=1,iops-burst=1", "iops-burst=1 without iops: give the rate "
						     "too, or iops-burst=0 for none" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		struct cmd_disk_spec spec;
		char message[256] = "";

		print_message("'%s'\n", table[i].text);
		assert_int_equal(
			cmd_disk_spec_parse(table[i].text, &spec, message, sizeof(message)),
			-EINVAL);
		assert_string_equal(message, table[i].message);
	}
}

static void message_is_cut_to_its_room(void **state)
{
	struct cmd_disk_spec spec;
	char message[8];

	(void)state;
	memset(message, 'x', sizeof(message));
	assert_int_equal(cmd_disk_spec_parse("path=a,nonsense", &spec, message, sizeof(message)),
			 -EINVAL);
	assert_string_equal(message, "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_specs),
		cmocka_unit_test(bad_specs),
		cmocka_unit_test(message_is_cut_to_its_room),
	};

	return cmocka_run_group_tests_name("cmd_disk_spec", tests, NULL, NULL);
}
