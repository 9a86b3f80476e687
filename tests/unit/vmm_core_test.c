/* SPDX-License-Identifier: MIT */
/* Core files: memory by its addresses, registers, what the guest says of itself, and holes. */
#include "vmm_guest_fixture.h"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>

/* --- The file --- */

struct file {
	int fd;
	uint8_t *data; /* all of it */
	size_t size;
	const Elf64_Ehdr *header;
	const Elf64_Phdr *parts;
};

static int temporary(void)
{
	FILE *file = tmpfile();
	int fd;

	assert_non_null(file);
	fd = dup(fileno(file));
	assert_true(fd >= 0);
	fclose(file);
	return fd;
}

static void write_core(struct guest *guest, const struct vmm_mappings *mappings, struct file *file)
{
	const struct kvm_regs regs[2] = { { .rip = 0x1234, .rax = 7 },
					  { .rip = 0x5678, .r15 = 9 } };
	const struct kvm_sregs sregs[2] = { { .cs.selector = 0x10 }, { .gs.base = 0xabc } };
	struct vmm_core core = { &guest->ram, mappings, regs, sregs, 2, { NULL, 0 } };
	struct stat st;

	assert_int_equal(vmm_vmcoreinfo_find(&guest->ram, NULL, NULL, &core.info), 0);

	file->fd = temporary();
	assert_int_equal(vmm_core_write(file->fd, &core, NULL), 0);
	assert_int_equal(fstat(file->fd, &st), 0);
	file->size = (size_t)st.st_size;
	file->data = malloc(file->size);
	assert_non_null(file->data);
	assert_int_equal(pread(file->fd, file->data, file->size, 0), file->size);
	file->header = (const Elf64_Ehdr *)file->data;
	file->parts = (const Elf64_Phdr *)(file->data + file->header->e_phoff);
}

static void close_file(struct file *file)
{
	free(file->data);
	close(file->fd);
}

/* What stands at an address of the guest's kernel, by the file. */
static const uint8_t *at(const struct file *file, uint64_t linear)
{
	for (unsigned int i = 1; i < file->header->e_phnum; i++) {
		const Elf64_Phdr *part = &file->parts[i];

		if (part->p_type == PT_LOAD && linear >= part->p_vaddr &&
		    linear - part->p_vaddr < part->p_filesz)
			return file->data + part->p_offset + (linear - part->p_vaddr);
	}
	return NULL;
}

/* Each byte of memory is found by its kernel's address, and by its physical one if it has none. */
static void memory_is_found_by_its_addresses(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;
	struct file file;

	map(guest, 4, TEXT_MAP, 32 * PAGE, 1);
	map(guest, 4, DIRECT_MAP, VMM_HOLE_END + 4 * PAGE, 1);
	guest->host[32 * PAGE + 5] = 0x11;
	guest->host[(LOW_PAGES + 4) * PAGE + 6] = 0x22;
	guest->host[40 * PAGE] = 0x33;
	guest->host[HIGH_PAGES * PAGE - 1] = 0x66;
	guest->host[(LOW_PAGES + HIGH_PAGES) * PAGE - 1] = 0x44;
	mappings = list(guest, 4);
	write_core(guest, &mappings, &file);
	assert_memory_equal(file.header->e_ident, ELFMAG, SELFMAG);
	assert_int_equal(file.header->e_type, ET_CORE);
	assert_int_equal(file.header->e_machine, EM_X86_64);
	/* The notes; 2 mappings; before and behind the mapped page of each region. */
	assert_int_equal(file.header->e_phnum, 1 + 2 + 2 + 2);
	for (unsigned int i = 1; i < file.header->e_phnum; i++)
		assert_int_equal(file.parts[i].p_align, 0);
	assert_int_equal(*at(&file, TEXT_MAP + 5), 0x11);
	assert_int_equal(*at(&file, DIRECT_MAP + 6), 0x22);
	assert_int_equal(*at(&file, 40 * PAGE), 0x33);
	assert_int_equal(*at(&file, HIGH_PAGES * PAGE - 1), 0x66);
	assert_int_equal(*at(&file, VMM_HOLE_END + HIGH_PAGES * PAGE - 1), 0x44);
	assert_null(at(&file, 32 * PAGE)); /* has an address */
	close_file(&file);
	vmm_mappings_free(&mappings);
}

/* Other programs guess what is what by the order. */
static void the_largest_mapping_is_last(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;
	struct file file;

	map(guest, 4, DIRECT_MAP, 0, 2);
	map(guest, 4, TEXT_MAP, 8 * PAGE, 1);
	map(guest, 4, UINT64_C(0xffffc90000000000), 7 * PAGE, 1);
	map(guest, 4, UINT64_C(0xffffc90000001000), 8 * PAGE, 1);
	mappings = list(guest, 4);
	write_core(guest, &mappings, &file);
	assert_int_equal(file.header->e_phnum, 1 + 1 + 3);
	assert_int_equal(file.parts[1].p_vaddr, VMM_HOLE_END);
	assert_int_equal(file.parts[2].p_vaddr, TEXT_MAP);
	assert_int_equal(file.parts[3].p_filesz, 2 * PAGE);
	assert_int_equal(file.parts[4].p_vaddr, DIRECT_MAP);
	close_file(&file);
	vmm_mappings_free(&mappings);
}

/* Without paging all of it stands at its physical address. */
static void memory_that_is_not_mapped(void **state)
{
	struct guest *guest = *state;
	const struct vmm_mappings none = { 0 };
	struct file file;

	guest->host[5] = 0x55;
	write_core(guest, &none, &file);
	assert_int_equal(file.header->e_phnum, 3);
	assert_int_equal(file.parts[1].p_filesz, LOW_PAGES * PAGE);
	assert_int_equal(file.parts[2].p_paddr, VMM_HOLE_END);
	assert_int_equal(*at(&file, 5), 0x55);
	close_file(&file);
}

static void registers_are_notes(void **state)
{
	static const uint64_t rips[] = { 0x1234, 0x5678 };
	struct guest *guest = *state;
	const struct vmm_mappings none = { 0 };
	struct user_regs_struct user;
	struct elf_prstatus status;
	struct file file;
	const uint8_t *note;

	write_core(guest, &none, &file);
	assert_int_equal(file.parts[0].p_type, PT_NOTE);
	note = file.data + file.parts[0].p_offset;
	for (int i = 0; i < 2; i++) {
		Elf64_Nhdr header;

		memcpy(&header, note, sizeof(header));
		assert_int_equal(header.n_type, NT_PRSTATUS);
		assert_int_equal(header.n_descsz, sizeof(status));
		assert_string_equal((const char *)note + sizeof(header), "CORE");
		memcpy(&status, note + sizeof(header) + 8, sizeof(status));
		memcpy(&user, &status.pr_reg, sizeof(user));
		assert_int_equal(status.pr_pid, i + 1);
		assert_int_equal(user.rip, rips[i]);
		assert_int_equal(i ? user.r15 : user.rax, i ? 9 : 7);
		assert_int_equal(i ? user.gs_base : user.cs, i ? 0xabc : 0x10);
		note += sizeof(header) + 8 + sizeof(status);
	}
	assert_int_equal(note - file.data, file.parts[0].p_offset + file.parts[0].p_filesz);
	close_file(&file);
}

/* --- What the guest says of itself --- */

#define INFO_TEXT "OSRELEASE=6.1.0\nPAGESIZE=4096\nKERNELOFFSET=1e000000\n"

/* As a kernel has it in a page of its own, saying that it has `size` bytes. */
static void put_info(struct guest *guest, uint64_t page, const char *text, uint32_t size)
{
	const Elf64_Nhdr header = { sizeof("VMCOREINFO"), size, 0 };
	uint8_t *at = guest->host + page * PAGE;

	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), "VMCOREINFO\0", 12);
	memcpy(at + sizeof(header) + 12, text, strlen(text));
}

static void what_the_guest_says_is_a_note(void **state)
{
	struct guest *guest = *state;
	const struct vmm_mappings none = { 0 };
	const size_t size = sizeof(INFO_TEXT) - 1;
	struct file file;
	Elf64_Nhdr header;
	const uint8_t *note;

	put_info(guest, LOW_PAGES + 3, INFO_TEXT, size);
	write_core(guest, &none, &file);
	note = file.data + file.parts[0].p_offset + file.parts[0].p_filesz -
	       (sizeof(header) + 12 + (size + 3) / 4 * 4);
	memcpy(&header, note, sizeof(header));
	assert_int_equal(header.n_namesz, 11);
	assert_int_equal(header.n_type, 0);
	assert_int_equal(header.n_descsz, size);
	assert_string_equal((const char *)note + sizeof(header), "VMCOREINFO");
	assert_memory_equal(note + sizeof(header) + 12, INFO_TEXT, size);
	/* The memory comes behind it. */
	assert_true(file.parts[1].p_offset >= file.parts[0].p_offset + file.parts[0].p_filesz);
	assert_memory_equal(file.data + file.parts[2].p_offset + 3 * PAGE,
			    guest->host + (LOW_PAGES + 3) * PAGE, PAGE);
	close_file(&file);
}

/* Another text, no text, and one that would reach over the end of memory, or over all bounds. */
static void what_only_looks_like_it_is_none(void **state)
{
	struct guest *guest = *state;
	struct vmm_vmcoreinfo info;

	put_info(guest, 1, "RELEASE=6.1.0\n", 14);
	put_info(guest, 2, INFO_TEXT, 9);
	put_info(guest, 3, INFO_TEXT, UINT32_MAX);
	put_info(guest, 4, INFO_TEXT, 65537);
	put_info(guest, LOW_PAGES - 1, INFO_TEXT, PAGE - 24 + 1);
	assert_int_equal(vmm_vmcoreinfo_find(&guest->ram, NULL, NULL, &info), 0);
	assert_null(info.text);
	put_info(guest, LOW_PAGES - 1, INFO_TEXT, PAGE - 24);
	put_info(guest, LOW_PAGES + 1, INFO_TEXT, 40);
	assert_int_equal(vmm_vmcoreinfo_find(&guest->ram, NULL, NULL, &info), 0);
	assert_ptr_equal(info.text, guest->host + (LOW_PAGES - 1) * PAGE + 24);
	assert_int_equal(info.size, PAGE - 24);
}

static void looking_for_it_is_called_off(void **state)
{
	struct guest *guest = *state;
	struct vmm_vmcoreinfo info;
	unsigned int asked = 0;

	assert_int_equal(vmm_vmcoreinfo_find(&guest->ram, stop_the_walk, &asked, &info),
			 -ECANCELED);
	assert_int_equal(asked, 1);
	assert_null(info.text);
}

static bool knows_holes(void)
{
	int fd = temporary();
	bool knows = ftruncate(fd, 1 << 20) == 0 && lseek(fd, 0, SEEK_DATA) < 0;

	close(fd);
	return knows;
}

/* Nothing is written for pages of zeros. */
static void zeros_are_holes(void **state)
{
	struct guest *guest = *state;
	const struct vmm_mappings none = { 0 };
	struct file file;
	off_t hole, data;

	if (!knows_holes())
		skip();
	guest->host[10 * PAGE + PAGE - 1] = 1;
	write_core(guest, &none, &file);
	data = (off_t)(file.parts[1].p_offset + 10 * PAGE);
	hole = lseek(file.fd, (off_t)file.parts[1].p_offset, SEEK_DATA);
	assert_int_equal(hole, data);
	assert_int_equal(lseek(file.fd, data, SEEK_HOLE), data + (off_t)PAGE);
	close_file(&file);
}

static void a_file_that_must_not_grow_is_an_error(void **state)
{
	struct guest *guest = *state;
	const struct vmm_mappings none = { 0 };
	const struct kvm_regs regs = { 0 };
	const struct kvm_sregs sregs = { 0 };
	const struct vmm_core core = { &guest->ram, &none, &regs, &sregs, 1, { NULL, 0 } };
	struct rlimit before, small = { 8192, RLIM_INFINITY };
	int fd = temporary();

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(vmm_core_write(fd, &core, NULL), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	close(fd);
	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(vmm_core_write(fd, &core, NULL), -EINVAL); /* has no size */
	close(fd);
}

/* Who looks on while a core file is written. */
struct looker {
	unsigned int told;
	unsigned int stops_at; /* which time it says no; 0: never */
	uint64_t done;
	uint64_t total;
};

static bool look(void *context, uint64_t done, uint64_t total)
{
	struct looker *looker = context;

	assert_true(looker->told == 0 || done > looker->done);
	assert_true(looker->told == 0 || total == looker->total);
	looker->told++;
	looker->done = done;
	looker->total = total;
	return looker->told != looker->stops_at;
}

/* Writes a guest of `mib` MiB and of a little above the hole, with a page of ones in the last. */
static int write_watched(uint64_t mib, struct looker *looker)
{
	const struct vmm_mappings none = { 0 };
	const struct kvm_regs regs = { 0 };
	const struct kvm_sregs sregs = { 0 };
	const struct vmm_core_watch watch = { look, looker };
	const uint64_t low = mib << 20, high = 3 * PAGE;
	uint8_t *host = calloc(1, low + high);
	const struct vmm_ram ram = { host, low, high };
	const struct vmm_core core = { &ram, &none, &regs, &sregs, 1, { NULL, 0 } };
	int fd = temporary();
	int ret;

	assert_non_null(host);
	memset(host + low - PAGE, 1, PAGE);
	ret = vmm_core_write(fd, &core, &watch);
	close(fd);
	free(host);
	return ret;
}

static int pushes;     /* calls so far */
static int fails_at;   /* which one fails; 0: none */
static int fails_with; /* its errno */

int __real_sync_file_range(int fd, off_t offset, off_t length, unsigned int flags);
int __wrap_sync_file_range(int fd, off_t offset, off_t length, unsigned int flags);

int __wrap_sync_file_range(int fd, off_t offset, off_t length, unsigned int flags)
{
	assert_true(length > 0); /* none means the whole file */
	if (++pushes != fails_at)
		return __real_sync_file_range(fd, offset, length, flags);
	errno = fails_with;
	return -1;
}

static int write_failing(int at, int error)
{
	struct looker looker = { 0 };
	int ret;

	pushes = 0;
	fails_at = at;
	fails_with = error;
	ret = write_watched(100, &looker);
	fails_at = 0;
	return ret;
}

/* An error that one call has told of is not told again by fsync(). */
static void what_the_disk_could_not_write_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(write_failing(0, 0), 0);
	assert_int_equal(pushes, 3 + 2);
	for (int at = 1; at <= 3 + 2; at++) {
		assert_int_equal(write_failing(at, EIO), -EIO);
		assert_int_equal(pushes, at);
	}
}

static void a_host_that_cannot_push_is_none(void **state)
{
	(void)state;
	assert_int_equal(write_failing(1, ENOSYS), 0);
	assert_int_equal(write_failing(2, EINTR), 0);
}

/* Told of each MiB, of the end, and while the disk is kept at it (each 32 MiB). */
static void progress_is_told(void **state)
{
	struct looker looker = { 0 };

	(void)state;
	assert_int_equal(write_watched(100, &looker), 0);
	assert_int_equal(looker.told, 100 + 1 + 1);
	assert_int_equal(looker.total, (UINT64_C(100) << 20) + 3 * PAGE);
	assert_int_equal(looker.done, looker.total);
}

static void is_called_off_between_pieces(void **state)
{
	for (unsigned int at = 1; at <= 4; at++) {
		struct looker looker = { .stops_at = at };

		(void)state;
		/* Before the first piece, before the second, before the last, and behind it. */
		assert_int_equal(write_watched(2, &looker), -ECANCELED);
		assert_int_equal(looker.told, at);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_is_found_by_its_addresses),
		TEST(the_largest_mapping_is_last),
		TEST(memory_that_is_not_mapped),
		TEST(registers_are_notes),
		TEST(what_the_guest_says_is_a_note),
		TEST(what_only_looks_like_it_is_none),
		TEST(looking_for_it_is_called_off),
		TEST(zeros_are_holes),
		TEST(a_file_that_must_not_grow_is_an_error),
		TEST(what_the_disk_could_not_write_is_an_error),
		TEST(a_host_that_cannot_push_is_none),
		TEST(progress_is_told),
		TEST(is_called_off_between_pieces),
	};

	return cmocka_run_group_tests_name("vmm_core", tests, NULL, NULL);
}
