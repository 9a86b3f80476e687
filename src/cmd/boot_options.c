/* SPDX-License-Identifier: MIT */
/* The command line of vblk boot. */
#include "cmd/boot.h"

#if defined(__x86_64__)

#include "base/checked.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/size.h"
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME	       BOOT_NAME
#define DEFAULT_MEMORY (UINT64_C(256) << 20)
#define DEFAULT_PANIC  "Kernel panic - not syncing"
#define MAX_TIMEOUT    (UINT32_MAX / 2) /* 68 years */
#define MESSAGE_SIZE   VMM_ERROR_TEXT_SIZE

enum option_id {
	OPTION_KERNEL = CMD_OPTION_FIRST,
	OPTION_INITRD,
	OPTION_APPEND,
	OPTION_MEMORY,
	OPTION_CPUS,
	OPTION_DISK,
	OPTION_TIMEOUT,
	OPTION_STATS,
	OPTION_DUMP_DIR,
	OPTION_PANIC_ON,
	OPTION_ON_PANIC,
	OPTION_CONTROL,
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
	{ "dump-dir", required_argument, NULL, OPTION_DUMP_DIR },
	{ "panic-on", required_argument, NULL, OPTION_PANIC_ON },
	{ "on-panic", required_argument, NULL, OPTION_ON_PANIC },
	{ "control", required_argument, NULL, OPTION_CONTROL },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"vblk boot: run a Linux kernel in a KVM microVM\n"
	"\n"
	"Usage:\n"
	"  vblk boot --kernel FILE [--initrd FILE] [--append STR] [--memory SIZE]\n"
	"            [--cpus N] [--disk SPEC]... [--timeout SECONDS] [--stats]\n"
	"            [--dump-dir DIR] [--panic-on TEXT] [--on-panic ACTION] [--control PATH]\n"
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
	"  --dump-dir DIR     where dumps of the guest go: a new folder dump-N each, with its\n"
	"                     memory (vmcore, for gdb) and its disks and registers\n"
	"                     (dump.json). One is made at SIGUSR1, at a panic or crash, when\n"
	"                     the time is up, and on request; DIR is made if it is missing\n"
	"  --panic-on TEXT    the guest has panicked when it says that on its console; default\n"
	"                     with --on-panic: 'Kernel panic - not syncing'\n"
	"  --on-panic ACTION  what happens then, after a dump: exit (default), freeze, to be\n"
	"                     looked at, or continue\n"
	"  --control PATH     take commands here, from vblk ctl or others\n"
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
	"           is left out, and named. With --dump-dir the guest is dumped, and goes on.\n"
	"  SIGUSR2  let it go on, as if nothing had been but time\n"
	"\n"
	"Exit status:\n"
	"  0    the guest rebooted, switched itself off or halted\n"
	"  1    failure while running; for a guest's crash, registers on standard error\n"
	"  2    bad input; nothing was created or changed\n"
	"  3    the guest panicked, and --on-panic says exit\n"
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
	"            --disk path=bad.img,fault=write:error=EIO:every=50,fault=flush:delay=1s\n"
	"  vblk boot --kernel vmlinux --disk path=root.img --append root=/dev/vda \\\n"
	"            --on-panic exit --dump-dir dumps --timeout 600\n"
	"  vblk boot --kernel vmlinux --initrd test.cpio --control vm.ctl --dump-dir dumps &\n"
	"  vblk ctl vm.ctl freeze; vblk ctl vm.ctl dump; vblk ctl vm.ctl thaw";

static int bad_number(const char *option, const char *value, const char *wanted)
{
	cmd_complain(NAME, "--%s '%s': %s is wanted", option, value, wanted);
	return CMD_BAD_INPUT;
}

static int add_disk(struct boot_options *options, const char *text)
{
	char message[MESSAGE_SIZE];
	int ret;

	if (options->vmm.disks == VMM_MAX_DISKS) {
		cmd_complain(NAME, "--disk '%s' is one too many: up to %u disks are possible", text,
			     VMM_MAX_DISKS);
		return CMD_BAD_INPUT;
	}
	ret = cmd_disk_spec_parse(text, &options->specs[options->vmm.disks], message,
				  sizeof(message));
	if (ret) {
		cmd_complain(NAME, "--disk '%s': %s", text, message);
		return ret == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
	}
	options->vmm.disks++;
	return CMD_OK;
}

static int bad_folder(const char *path, const char *why)
{
	cmd_complain(NAME, "--dump-dir '%s': %s", path, why);
	return CMD_BAD_INPUT;
}

/* Better now than when the guest has died. It is made only then. */
static int check_dump_dir(const char *path)
{
	char parent[VMM_PATH_SIZE];
	struct stat st;

	if (!*path || strlen(path) > VMM_PATH_SIZE - 64)
		return bad_folder(path, "the path of a folder is wanted");
	if (stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			return bad_folder(path, "is not a folder");
		return access(path, W_OK | X_OK) ? bad_folder(path, strerror(errno)) : CMD_OK;
	}
	if (errno != ENOENT)
		return bad_folder(path, strerror(errno));
	snprintf(parent, sizeof(parent), "%s", path);
	if (access(dirname(parent), W_OK | X_OK))
		return bad_folder(path, errno == ENOENT
						? "the folder that it would be in does not exist"
						: strerror(errno));
	return CMD_OK;
}

static int check_panic_text(const char *text)
{
	if (*text && strlen(text) <= VMM_WATCH_MAX)
		return CMD_OK;
	cmd_complain(NAME, "--panic-on '%.40s': a text of 1 to %u bytes is wanted", text,
		     VMM_WATCH_MAX);
	return CMD_BAD_INPUT;
}

static int take_action(struct boot_options *options, const char *word)
{
	static const struct {
		const char *word;
		enum boot_after action;
	} actions[] = {
		{ "exit", BOOT_EXIT },
		{ "freeze", BOOT_FREEZE },
		{ "continue", BOOT_CONTINUE },
	};

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(actions); i++) {
		if (strcmp(word, actions[i].word) == 0) {
			options->on_panic = actions[i].action;
			/* Unless another text was given, or will be. */
			if (!options->panic_on)
				options->panic_on = DEFAULT_PANIC;
			return CMD_OK;
		}
	}
	cmd_complain(NAME, "--on-panic '%s': exit, freeze or continue is wanted", word);
	return CMD_BAD_INPUT;
}

static int take_option(void *context, int id, const char *value)
{
	struct boot_options *options = context;
	uint64_t number;

	switch (id) {
	case OPTION_KERNEL:
		options->vmm.kernel = value;
		return CMD_OK;
	case OPTION_INITRD:
		options->vmm.initrd = value;
		return CMD_OK;
	case OPTION_APPEND:
		options->vmm.append = value;
		return CMD_OK;
	case OPTION_MEMORY:
		if (cmd_size_parse(value, &number))
			return bad_number("memory", value, "a size like 256M or 1G");
		options->vmm.memory_bytes = number;
		return CMD_OK;
	case OPTION_CPUS:
		if (cmd_count_parse(value, VMM_MAX_CPUS, &number) || number == 0)
			return bad_number("cpus", value, "a number from 1 to 32");
		options->vmm.cpus = (unsigned int)number;
		return CMD_OK;
	case OPTION_DISK:
		return add_disk(options, value);
	case OPTION_TIMEOUT:
		if (cmd_count_parse(value, MAX_TIMEOUT, &number) || number == 0)
			return bad_number("timeout", value, "a whole number of seconds from 1 on");
		options->timeout_s = (uint32_t)number;
		return CMD_OK;
	case OPTION_STATS:
		options->stats = true;
		return CMD_OK;
	case OPTION_DUMP_DIR:
		options->dump_dir = value;
		return check_dump_dir(value);
	case OPTION_PANIC_ON:
		options->panic_on = value;
		return check_panic_text(value);
	case OPTION_ON_PANIC:
		return take_action(options, value);
	case OPTION_CONTROL:
		options->control = value;
		return CMD_OK;
	default:
		options->help = true;
		return CMD_OK;
	}
}

int boot_options_parse(struct boot_options *options, int argc, char **argv)
{
	const struct cmd_options all = { NAME, long_options, take_option, options, &options->help };
	int status;

	*options = (struct boot_options){
		.vmm = { .memory_bytes = DEFAULT_MEMORY, .cpus = 1 },
	};
	status = cmd_options_take_all(&all, argc, argv);
	if (status || options->help)
		return status;
	if (!options->vmm.kernel) {
		cmd_complain(NAME, "no kernel given: --kernel FILE is required");
		return CMD_BAD_INPUT;
	}
	return CMD_OK;
}

void boot_options_free(struct boot_options *options)
{
	for (unsigned int i = 0; i < options->vmm.disks; i++)
		cmd_disk_spec_free(&options->specs[i]);
	free(options->append);
}

void boot_print_help(void)
{
	puts(help);
}

#endif
