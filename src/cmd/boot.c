/* SPDX-License-Identifier: MIT */
/*
 * vblk boot: options, and the exit status that tells how it ended. What the machine is made of is
 * in src/vmm.
 *
 * The order of the work is the order in which mistakes are found: options, kernel and initramfs,
 * disks, and only then /dev/kvm. Nothing is created or changed before all of them are good.
 */
#include "cmd/cmd.h"

#if defined(__x86_64__)

#include "cmd/disk.h"
#include "cmd/mount_words.h"
#include "cmd/options.h"
#include "cmd/size.h"
#include "cmd/stats.h"
#include "vmm/vmm.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <vblk/metrics.h>

#define NAME	       "boot"
#define DEFAULT_MEMORY (UINT64_C(256) << 20)
#define MAX_TIMEOUT    (UINT32_MAX / 2) /* 68 years */
#define MESSAGE_SIZE   VMM_ERROR_TEXT_SIZE

struct boot {
	struct vmm_options options;
	struct cmd_disk_spec specs[VMM_MAX_DISKS];
	char *append; /* owned; the user's, and what is said of the disks */
	struct vblk_device *devices[VMM_MAX_DISKS]; /* as many as have been opened, then NULL */
	struct vmm *vmm;
	uint32_t timeout_s;
	bool stats;
	bool help;
};

enum option_id {
	OPTION_KERNEL = CMD_OPTION_FIRST,
	OPTION_INITRD,
	OPTION_APPEND,
	OPTION_MEMORY,
	OPTION_CPUS,
	OPTION_DISK,
	OPTION_TIMEOUT,
	OPTION_STATS,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "kernel", required_argument, NULL, OPTION_KERNEL },
	{ "initrd", required_argument, NULL, OPTION_INITRD },
	{ "append", required_argument, NULL, OPTION_APPEND },
	{ "memory", required_argument, NULL, OPTION_MEMORY },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "disk", required_argument, NULL, OPTION_DISK },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "stats", no_argument, NULL, OPTION_STATS },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"vblk boot: run a Linux kernel in a KVM microVM\n"
	"\n"
	"Usage:\n"
	"  vblk boot --kernel FILE [--initrd FILE] [--append STR] [--memory SIZE]\n"
	"            [--cpus N] [--disk SPEC]... [--timeout SECONDS] [--stats]\n"
	"\n"
	"Options:\n"
	"  --kernel FILE      ELF vmlinux or bzImage for x86-64\n"
	"  --initrd FILE      initramfs\n"
	"  --append STR       added at the end of the kernel's command line, which begins\n"
	"                     with console=ttyS0 panic=-1 reboot=k and names the disks\n"
	"  --memory SIZE      of the guest; default 256M\n"
	"  --cpus N           virtual processors, 1 to 32; default 1\n"
	"  --disk SPEC        a disk: /dev/vda in the guest, the next /dev/vdb; up to 8\n"
	"  --timeout SECONDS  end the guest after that long\n"
	"  --stats            print each disk's counters to standard error at the end\n"
	"\n"
	"SPEC:\n"
	"  path=FILE|template=FS:SIZE[,ro][,size=N][,serial=S][,iops=N][,iops-burst=N]\n"
	"           [,bps=N][,bps-burst=N][,fault=RULE]...[,cpu=N|,cpus=LIST]\n"
	"           [,undeliverable=drop|needs-reset][,features=all|base]\n"
	"           [,engine=sync|uring|mmap][,direct][,poll-us=N][,queues=N][,no-mount]\n"
	"  template=ext4:256M is a disk of its own with an empty file system, which is gone\n"
	"  when vblk ends: btrfs, ext4, xfs, or raw for none; see 'vblk image template --help'.\n"
	"  The guest's init finds VBLK_DISK0_FS=ext4 and VBLK_DISK0_MOUNT=/mnt/disk0 (or the\n"
	"  serial) in its environment, and VBLK_DISK0_RO=1 with ro; not with no-mount.\n"
	"  A comma in a value is written twice. Sizes, also of bps: 512, 4k, 64M, 1G.\n"
	"  cpu and cpus say on which processors the disk's worker runs: cpus=0-3,,5.\n"
	"  undeliverable=needs-reset stops a disk, until the guest resets it, at a request\n"
	"  that cannot be answered; drop, the default, passes over it.\n"
	"  features=base offers the guest no more than reads, writes, flushes and the event\n"
	"  index; all, the default, also discards, zeros, a write cache that can be switched.\n"
	"  engine=uring has io_uring make the calls to the disk, engine=mmap maps the file into\n"
	"  memory instead of reading and writing it.\n"
	"  queues=N, 1 to 16, gives a guest with several processors more queues, each with\n"
	"  a worker; the workers share the processors of cpus in turn.\n"
	"\n"
	"RULE, for a disk that fails on purpose:\n"
	"  OP:ACTION[:first=N][:every=N][:count=N]\n"
	"  OP      read, write, flush, discard or write-zeroes; its calls on the file are\n"
	"          counted from 1\n"
	"  ACTION  error=E      fail with E, a name like EIO or a number\n"
	"          short=BYTES  move at most so many bytes; for read and write\n"
	"          zero         move nothing: end of file, no progress, a flush that lies\n"
	"          delay=TIME   take so much longer: 200us, 10ms, 2s\n"
	"          hang         never return\n"
	"  first=N the Nth call is the first that it is for; default: as every\n"
	"  every=N from there on it is for each Nth call; default: for each\n"
	"  count=N for so many calls in all; default: no end\n"
	"  write:error=EIO:every=50 fails the writes 50, 100, 150 ... Of several rules all\n"
	"  that are for a call delay it; the first of the others decides its result.\n"
	"\n"
	"The guest's serial console is on standard output, its input comes from standard\n"
	"input. Ctrl-C ends the guest; all other keys are the guest's.\n"
	"\n"
	"Signals, while the guest runs:\n"
	"  SIGUSR1  freeze the guest: its processors stop, each disk finishes the request in\n"
	"           hand, then nothing changes its memory or its disks. A line on standard\n"
	"           error says how long that took. A disk whose file does not answer for 1 s\n"
	"           is left out, and named.\n"
	"  SIGUSR2  let it go on, as if nothing had been but time\n"
	"\n"
	"Exit status:\n"
	"  0    the guest rebooted, switched itself off or halted\n"
	"  1    failure while running; for a guest's crash, registers on standard error\n"
	"  2    bad input; nothing was created or changed\n"
	"  124  the time was up\n"
	"  130  Ctrl-C (SIGINT); 143 SIGTERM; 129 SIGHUP\n"
	"\n"
	"Examples:\n"
	"  vblk boot --kernel vmlinux --initrd initramfs.cpio --disk path=disk.img\n"
	"  vblk boot --kernel bzImage --disk path=root.img,ro --disk path=data.img \\\n"
	"            --append 'root=/dev/vda quiet' --memory 1G --cpus 2\n"
	"  vblk boot --kernel vmlinux --initrd test.cpio --disk template=xfs:1G\n"
	"  vblk boot --kernel vmlinux --initrd test.cpio --timeout 60 --stats \\\n"
	"            --disk path=slow.img,iops=100,bps=1M,serial=slow\n"
	"  vblk boot --kernel vmlinux --initrd test.cpio \\\n"
	"            --disk path=bad.img,fault=write:error=EIO:every=50,fault=flush:delay=1s";

static int bad_number(const char *option, const char *value, const char *wanted)
{
	cmd_complain(NAME, "--%s '%s': %s is wanted", option, value, wanted);
	return CMD_BAD_INPUT;
}

static int add_disk(struct boot *boot, const char *text)
{
	char message[MESSAGE_SIZE];
	int ret;

	if (boot->options.disks == VMM_MAX_DISKS) {
		cmd_complain(NAME, "--disk '%s' is one too many: up to %u disks are possible", text,
			     VMM_MAX_DISKS);
		return CMD_BAD_INPUT;
	}
	ret = cmd_disk_spec_parse(text, &boot->specs[boot->options.disks], message,
				  sizeof(message));
	if (ret) {
		cmd_complain(NAME, "--disk '%s': %s", text, message);
		return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
	}
	boot->options.disks++;
	return CMD_OK;
}

static int take_option(void *context, int id, const char *value)
{
	struct boot *boot = context;
	uint64_t number;

	switch (id) {
	case OPTION_KERNEL:
		boot->options.kernel = value;
		return CMD_OK;
	case OPTION_INITRD:
		boot->options.initrd = value;
		return CMD_OK;
	case OPTION_APPEND:
		boot->options.append = value;
		return CMD_OK;
	case OPTION_MEMORY:
		if (cmd_size_parse(value, &number))
			return bad_number("memory", value, "a size like 256M or 1G");
		boot->options.memory_bytes = number;
		return CMD_OK;
	case OPTION_CPUS:
		if (cmd_count_parse(value, VMM_MAX_CPUS, &number) || number == 0)
			return bad_number("cpus", value, "a number from 1 to 32");
		boot->options.cpus = (unsigned int)number;
		return CMD_OK;
	case OPTION_DISK:
		return add_disk(boot, value);
	case OPTION_TIMEOUT:
		if (cmd_count_parse(value, MAX_TIMEOUT, &number) || number == 0)
			return bad_number("timeout", value, "a whole number of seconds from 1 on");
		boot->timeout_s = (uint32_t)number;
		return CMD_OK;
	case OPTION_STATS:
		boot->stats = true;
		return CMD_OK;
	default:
		boot->help = true;
		return CMD_OK;
	}
}

static int parse_options(struct boot *boot, int argc, char **argv)
{
	const struct cmd_options all = { NAME, long_options, take_option, boot, &boot->help };
	int status;

	status = cmd_options_take_all(&all, argc, argv);
	if (status || boot->help)
		return status;
	if (!boot->options.kernel) {
		cmd_complain(NAME, "no kernel given: --kernel FILE is required");
		return CMD_BAD_INPUT;
	}
	return CMD_OK;
}

static int report(const struct vmm_error *error)
{
	cmd_complain(NAME, "%s", error->text);
	return error->bad_input ? CMD_BAD_INPUT : CMD_FAILED;
}

static int open_disks(struct boot *boot)
{
	char message[MESSAGE_SIZE];

	for (unsigned int i = 0; i < boot->options.disks; i++) {
		int ret =
			cmd_disk_open(&boot->specs[i], &boot->devices[i], message, sizeof(message));

		if (ret) {
			cmd_complain(NAME, "--disk: %s", message);
			return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
		}
	}
	return CMD_OK;
}

/* The counters are read when the worker has stopped: then they are final. */
static void close_disks(struct boot *boot, bool stats)
{
	for (unsigned int i = 0; i < boot->options.disks; i++) {
		struct vblk_metrics *metrics;

		if (!boot->devices[i])
			continue;
		metrics = vblk_metrics_ref(vblk_device_metrics(boot->devices[i]));
		vblk_device_destroy(boot->devices[i]);
		if (stats)
			cmd_stats_print(i, metrics);
		vblk_metrics_unref(metrics);
	}
}

static void freeze(struct vmm *vmm)
{
	struct vmm_freeze_report report;
	struct vmm_error error;

	if (vmm_is_frozen(vmm))
		return;
	if (vmm_freeze(vmm, &report, &error)) {
		cmd_complain(NAME, "%s", error.text);
		return;
	}
	for (unsigned int i = 0; i < VMM_MAX_DISKS; i++)
		if (report.disks_left_out >> i & 1)
			cmd_complain(NAME,
				     "freeze: disk %u is left out: a call to its file has not "
				     "returned for a second",
				     i);
	cmd_complain(NAME, "freeze: parked %u vcpus and %u devices in %" PRIu64 " us", report.vcpus,
		     report.disks, report.elapsed_ns / 1000);
}

static void thaw(struct vmm *vmm)
{
	if (!vmm_is_frozen(vmm))
		return;
	vmm_thaw(vmm);
	cmd_complain(NAME, "freeze: the guest goes on");
}

static void take_event(void *context, enum vmm_event event)
{
	const struct boot *boot = context;

	switch (event) {
	case VMM_EVENT_FREEZE:
		freeze(boot->vmm);
		break;
	case VMM_EVENT_THAW:
		thaw(boot->vmm);
		break;
	case VMM_EVENT_TIMEOUT:
	case VMM_EVENT_PARKED:
	case VMM_EVENT_WATCHED:
		break;
	}
}

static int run(struct boot *boot)
{
	const struct vmm_run_options options = {
		.timeout_s = boot->timeout_s,
		.diagnostics = stderr,
		.watch_fd = -1,
		.event = take_event,
		.context = boot,
	};
	struct vmm_result result;
	struct vmm_error error;

	vmm_run(boot->vmm, &options, &result, &error);
	switch (result.end) {
	case VMM_END_REBOOT:
	case VMM_END_HALT:
		return CMD_OK;
	case VMM_END_TIMEOUT:
		cmd_complain(NAME, "timed out after %" PRIu32 " s", boot->timeout_s);
		return CMD_TIMED_OUT;
	case VMM_END_SIGNAL:
		return CMD_SIGNAL + result.signal;
	default:
		return report(&error);
	}
}

/* From checked options to an exit status. */
static int boot_guest(struct boot *boot)
{
	struct vmm_plan *plan = NULL;
	struct vmm_error error;
	bool ran = false;
	int status;

	/* A wish for a freeze that comes before or after the guest runs is no reason to die. */
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	if (cmd_mount_words(boot->specs, boot->options.disks, boot->options.append,
			    &boot->append)) {
		cmd_complain(NAME, "out of memory");
		return CMD_FAILED;
	}
	boot->options.append = boot->append;
	if (vmm_plan_create(&boot->options, &plan, &error)) {
		status = report(&error);
		goto cleanup;
	}
	status = open_disks(boot);
	if (status)
		goto cleanup;
	if (vmm_create(plan, boot->devices, &boot->vmm, &error)) {
		status = report(&error);
		goto cleanup;
	}
	/* The files are in the guest's memory now. */
	vmm_plan_destroy(plan);
	plan = NULL;
	status = run(boot);
	ran = true;

cleanup:
	vmm_destroy(boot->vmm);
	close_disks(boot, boot->stats && ran);
	vmm_plan_destroy(plan);
	return status;
}

int cmd_boot(int argc, char **argv)
{
	struct boot boot = { .options = { .memory_bytes = DEFAULT_MEMORY, .cpus = 1 } };
	int status = parse_options(&boot, argc, argv);

	if (!status && boot.help)
		puts(help);
	else if (!status)
		status = boot_guest(&boot);
	free(boot.append);
	for (unsigned int i = 0; i < boot.options.disks; i++)
		cmd_disk_spec_free(&boot.specs[i]);
	return status;
}

#else

int cmd_boot(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	cmd_complain("boot", "needs an x86-64 host");
	return CMD_BAD_INPUT;
}

#endif
