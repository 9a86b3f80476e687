/* SPDX-License-Identifier: MIT */
/* The description of a disk: what each key does, and what each mistake is told. */
#include "cmd/disk_spec.h"

#include "base/checked.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define KEYS                                                                                    \
	"path, template, no-mount, ro, size, serial, iops, iops-burst, bps, bps-burst, fault, " \
	"cpu, cpus, undeliverable, features, engine, direct, poll-us, queues "                  \
	"(a comma in a value is written twice)"

static void assert_text(const char *is, const char *expected)
{
	if (!expected)
		assert_null(is);
	else
		assert_string_equal(is, expected);
}

static void assert_faults(const struct vblk_faulty_rule *is, const struct vblk_faulty_rule *wanted,
			  size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(is[i].op, wanted[i].op);
		assert_int_equal(is[i].action, wanted[i].action);
		assert_int_equal(is[i].value, wanted[i].value);
		assert_int_equal(is[i].first, wanted[i].first);
		assert_int_equal(is[i].every, wanted[i].every);
		assert_int_equal(is[i].count, wanted[i].count);
	}
}

static void assert_placement(const struct vblk_placement *is, const struct vblk_placement *wanted)
{
	assert_int_equal(is->pinned, wanted->pinned);
	assert_int_equal(is->cpu, wanted->cpu);
	assert_int_equal(is->cpu_count, wanted->cpu_count);
	if (wanted->cpu_count)
		assert_memory_equal(is->cpus, wanted->cpus, wanted->cpu_count * sizeof(uint32_t));
	else
		assert_null(is->cpus);
}

static void good_specs(void **state)
{
	static const uint32_t one[] = { 1 }, four[] = { 0, 1, 2, 5 };
	static struct vblk_faulty_rule hang[] = {
		{ .op = VBLK_FAULTY_PREADV, .action = VBLK_FAULTY_HANG },
	};
	static struct vblk_faulty_rule three[] = {
		{ VBLK_FAULTY_PWRITEV, VBLK_FAULTY_ERROR, EIO, 50, 50, 0 },
		{ VBLK_FAULTY_SYNC, VBLK_FAULTY_DELAY, 1000000000, 0, 0, 0 },
		{ VBLK_FAULTY_PREADV, VBLK_FAULTY_ZERO, 0, 0, 0, 1 },
	};
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
		{ "path=a,engine=sync", { .path = (char *)"a" } },
		{ "path=a,engine=mmap", { .path = (char *)"a", .engine = CMD_DISK_MMAP } },
		{ "path=a,queues=1", { .path = (char *)"a", .queues = 1 } },
		{ "path=a,queues=16", { .path = (char *)"a", .queues = 16 } },
		{ "path=a,queues=1,features=base",
		  { .path = (char *)"a", .queues = 1, .features = VBLK_FEATURES_BASE } },
		{ "path=a,features=all", { .path = (char *)"a" } },
		{ "path=a,features=base", { .path = (char *)"a", .features = VBLK_FEATURES_BASE } },
		{ "path=a,undeliverable=drop", { .path = (char *)"a" } },
		{ "path=a,undeliverable=needs-reset",
		  { .path = (char *)"a", .on_undeliverable = VBLK_UNDELIVERABLE_NEEDS_RESET } },
		{ "path=a,cpu=0", { .path = (char *)"a", .placement.pinned = true } },
		{ "path=a,cpu=1023",
		  { .path = (char *)"a", .placement = { .pinned = true, .cpu = 1023 } } },
		{ "path=a,cpus=1",
		  { .path = (char *)"a", .placement = { .cpus = one, .cpu_count = 1 } } },
		{ "path=a,cpus=0-2,,5",
		  { .path = (char *)"a", .placement = { .cpus = four, .cpu_count = 4 } } },
		{ "path=a,fault=read:hang",
		  { .path = (char *)"a", .faults = hang, .fault_count = 1 } },
		{ "fault=write:error=EIO:every=50,path=a,fault=flush:delay=1s,fault=read:zero:count=1",
		  { .path = (char *)"a", .faults = three, .fault_count = 3 } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct cmd_disk_spec *expected = &table[i].spec;
		struct cmd_disk_spec spec;
		char message[512] = "";

		print_message("'%s'\n", table[i].text);
		assert_int_equal(
			cmd_disk_spec_parse(table[i].text, &spec, message, sizeof(message)), 0);
		assert_text(spec.path, expected->path);
		assert_text(spec.serial, expected->serial);
		assert_int_equal(spec.read_only, expected->read_only);
		assert_int_equal(spec.size, expected->size);
		assert_memory_equal(&spec.throttle, &expected->throttle, sizeof(spec.throttle));
		assert_int_equal(spec.fault_count, expected->fault_count);
		if (expected->fault_count)
			assert_faults(spec.faults, expected->faults, expected->fault_count);
		assert_placement(&spec.placement, &expected->placement);
		assert_int_equal(spec.on_undeliverable, expected->on_undeliverable);
		assert_int_equal(spec.features, expected->features);
		assert_int_equal(spec.engine, expected->engine);
		assert_int_equal(spec.queues, expected->queues);
		cmd_disk_spec_free(&spec);
	}
}

static void assert_refused(const char *text, const char *expected)
{
	struct cmd_disk_spec spec;
	char message[512] = "";

	print_message("'%s'\n", text);
	assert_int_equal(cmd_disk_spec_parse(text, &spec, message, sizeof(message)), -EINVAL);
	assert_string_equal(message, expected);
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
		{ "ro", "there is no disk: path=FILE or template=FS:SIZE is required" },
		{ "disk.img", "unknown key 'disk.img': the keys are " KEYS },
		{ "path=a,colour=red", "unknown key 'colour': the keys are " KEYS },
		{ "path=a,RO", "unknown key 'RO': the keys are " KEYS },
		{ "path=a,=1", "unknown key '': the keys are " KEYS },
		/* What comes of a single comma. */
		{ "path=a,cpus=0-3,5", "unknown key '5': the keys are " KEYS },
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
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_refused(table[i].text, table[i].message);
}

static void bad_placements_and_faults(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} table[] = {
		{ "path=a,engine=aio", "engine=aio: sync, uring or mmap is wanted" },
		{ "path=a,poll-us=1000001",
		  "poll-us=1000001: a number of microseconds up to 1000000 is wanted" },
		{ "path=a,direct,engine=mmap",
		  "direct and engine=mmap exclude each other: a mapping is the page cache" },
		{ "path=a,poll-us=soon",
		  "poll-us=soon: a number of microseconds up to 1000000 is wanted" },
		{ "path=a,queues=0", "queues=0: a number from 1 to 16 is wanted" },
		{ "path=a,queues=17", "queues=17: a number from 1 to 16 is wanted" },
		{ "path=a,queues=many", "queues=many: a number from 1 to 16 is wanted" },
		{ "path=a,features=base,queues=2",
		  "queues=2 with features=base: a guest that is offered no more than the base uses "
		  "one queue; leave one of them out" },
		{ "path=a,features=some", "features=some: all or base is wanted" },
		{ "path=a,undeliverable=keep",
		  "undeliverable=keep: drop or needs-reset is wanted" },
		{ "path=a,undeliverable", "'undeliverable' needs a value: undeliverable=..." },
		{ "path=a,cpu=x", "cpu=x: the number of a processor is wanted" },
		{ "path=a,cpu=0-3", "cpu=0-3: the number of a processor is wanted" },
		{ "path=a,cpu=1024", "cpu=1024 is out of range: processors are 0 to 1023" },
		{ "path=a,cpu=1,cpu=2", "'cpu' is given twice: once is enough" },
		{ "path=a,cpus=3-1",
		  "cpus=3-1: a list of processors like 2, 0-3 or 0-3,,5 is wanted" },
		{ "path=a,cpus=0-1024", "cpus=0-1024 is out of range: processors are 0 to 1023" },
		{ "path=a,cpus=1,cpus=2", "'cpus' is given twice: once is enough" },
		{ "path=a,cpus=1,cpu=1", "cpu and cpus are both given: cpu is for one processor, "
					 "cpus for several; one of them is enough" },
		{ "path=a,fault=", "'fault' needs a value: fault=..." },
		/* The rule's own mistakes are a test of their own. */
		{ "path=a,fault=read:zero,fault=read:one",
		  "fault=read:one: unknown word 'one': the words are error=, short=, zero, delay=, "
		  "hang, first=, every=, count=" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_refused(table[i].text, table[i].message);
}

static void templates(void **state)
{
	struct cmd_disk_spec spec;
	char message[512] = "";

	(void)state;
	assert_int_equal(cmd_disk_spec_parse("ro,template=ext4:256M,iops=5", &spec, message,
					     sizeof(message)),
			 0);
	assert_null(spec.path);
	assert_string_equal(spec.template, "ext4:256M");
	assert_string_equal(spec.template_fs->name, "ext4");
	assert_int_equal(spec.template_bytes, 256 << 20);
	assert_int_equal(spec.throttle.iops, 5);
	assert_string_equal(cmd_disk_spec_name(&spec), "ext4:256M");
	cmd_disk_spec_free(&spec);
	assert_int_equal(cmd_disk_spec_parse("path=a", &spec, message, sizeof(message)), 0);
	assert_string_equal(cmd_disk_spec_name(&spec), "a");
	cmd_disk_spec_free(&spec);
}

static void bad_templates(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} table[] = {
		{ "template=ext4:64M,path=a",
		  "path and template are both given: path is for a file that is there, template "
		  "for a disk of its own; one of them is enough" },
		{ "template=ext4",
		  "template=ext4: a file system and a size are wanted, as in ext4:256M" },
		{ "template=ext44:1G",
		  "template=ext44:1G: unknown file system 'ext44': did you mean 'ext4'? btrfs, "
		  "ext4, xfs and raw (none) are known" },
		{ "template=averyveryverylongname:1G",
		  "template=averyveryverylongname:1G: unknown file system "
		  "'averyveryverylongname': btrfs, ext4, xfs and raw (none) are known" },
		{ "template=:1G", "template=:1G: unknown file system '': btrfs, ext4, xfs and raw "
				  "(none) are known" },
		{ "template=xfs:", "template=xfs:: '' is no size: one like 64M or 1G is wanted" },
		{ "template=xfs:64M", "template=xfs:64M: 67108864 bytes are too few for xfs: at "
				      "least 300M is needed" },
		{ "template=raw:1000", "template=raw:1000: 1000 bytes are no whole number of "
				       "sectors: a multiple of 512 is wanted" },
		{ "path=a,no-mount",
		  "no-mount without template: only disks from a template are mounted" },
		{ "template=raw:1M,template=raw:1M", "'template' is given twice: once is enough" },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		assert_refused(table[i].text, table[i].message);
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
		cmocka_unit_test(bad_placements_and_faults),
		cmocka_unit_test(templates),
		cmocka_unit_test(bad_templates),
		cmocka_unit_test(message_is_cut_to_its_room),
	};

	return cmocka_run_group_tests_name("cmd_disk_spec", tests, NULL, NULL);
}
