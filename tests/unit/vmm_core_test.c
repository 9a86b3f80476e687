/* SPDX-License-Identifier: MIT */
/*
 * Page tables and core files, with a guest whose memory is written by hand: 64 pages from 0, and 16
 * from 4 GiB on.
 */
#include "vmm/core_file.h"

#include "base/checked.h"
#include "base/le.h"
#include "vmm/layout.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>

#include <cmocka.h>

#define LOW_PAGES  64u
#define HIGH_PAGES 16u
#define PAGE	   VMM_PAGE_SIZE
#define TABLES	   0x1000u /* the top table */
#define PRESENT	   1u
#define LARGE	   0x80u
#define DIRECT_MAP UINT64_C(0xffff888000000000)
#define TEXT_MAP   UINT64_C(0xffffffff80000000)

struct guest {
	struct vmm_ram ram;
	uint8_t *host;
	uint32_t next_table; /* the next page that becomes one */
};

static int set_up(void **state)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	assert_non_null(guest);
	guest->host = aligned_alloc(PAGE, (LOW_PAGES + HIGH_PAGES) * PAGE);
	assert_non_null(guest->host);
	memset(guest->host, 0, (LOW_PAGES + HIGH_PAGES) * PAGE);
	guest->ram = (struct vmm_ram){ guest->host, LOW_PAGES * PAGE, HIGH_PAGES * PAGE };
	guest->next_table = TABLES + PAGE;
	*state = guest;
	return 0;
}

static int tear_down(void **state)
{
	struct guest *guest = *state;

	free(guest->host);
	free(guest);
	return 0;
}

static uint8_t *entry_of(struct guest *guest, uint64_t linear, unsigned int level, uint64_t table)
{
	return guest->host + table + 8 * (linear >> (12 + 9 * (level - 1)) & 511);
}

/* Maps a page of the size of `level`, making the tables above it. */
static void map(struct guest *guest, unsigned int levels, uint64_t linear, uint64_t physical,
		unsigned int level)
{
	uint64_t table = TABLES;

	for (unsigned int at = levels; at > level; at--) {
		uint8_t *entry = entry_of(guest, linear, at, table);

		if (!vblk_le64_get(entry)) {
			vblk_le64_put(entry, guest->next_table | PRESENT);
			guest->next_table += PAGE;
		}
		table = vblk_le64_get(entry) & ~(PAGE - 1);
	}
	vblk_le64_put(entry_of(guest, linear, level, table),
		      physical | PRESENT | (level > 1 ? LARGE : 0));
}

static struct vmm_mappings list(struct guest *guest, unsigned int levels)
{
	struct vmm_walk_limits limits = { .tables = vmm_pagetable_enough(&guest->ram) };
	struct vmm_mappings mappings;

	assert_int_equal(vmm_pagetable_list(&guest->ram, TABLES, levels, &limits, &mappings), 0);
	return mappings;
}

static void assert_mapping(const struct vmm_mappings *mappings, size_t index, uint64_t linear,
			   uint64_t physical, uint64_t bytes)
{
	assert_true(index < mappings->count);
	assert_int_equal(mappings->list[index].linear, linear);
	assert_int_equal(mappings->list[index].physical, physical);
	assert_int_equal(mappings->list[index].bytes, bytes);
}

/* Pages of all sizes, joined where they continue each other, cut to what is memory. */
static void lists_what_the_kernel_has_mapped(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map(guest, 4, DIRECT_MAP, 0, 3);			   /* 1 GiB, of which 64 pages */
	map(guest, 4, DIRECT_MAP + VMM_HOLE_END, VMM_HOLE_END, 2); /* 2 MiB, of which 16 */
	map(guest, 4, TEXT_MAP, 8 * PAGE, 1);
	map(guest, 4, TEXT_MAP + PAGE, 9 * PAGE, 1);
	map(guest, 4, TEXT_MAP + 2 * PAGE, 11 * PAGE, 1);     /* not the next */
	map(guest, 4, TEXT_MAP + 4 * PAGE, 12 * PAGE, 1);     /* a gap */
	map(guest, 4, TEXT_MAP + 5 * PAGE, VMM_DISK_BASE, 1); /* registers */
	map(guest, 4, 0x400000, 5 * PAGE, 1);		      /* the lower half */
	mappings = list(guest, 4);
	assert_int_equal(mappings.count, 5);
	assert_mapping(&mappings, 0, DIRECT_MAP, 0, LOW_PAGES * PAGE);
	assert_mapping(&mappings, 1, DIRECT_MAP + VMM_HOLE_END, VMM_HOLE_END, HIGH_PAGES * PAGE);
	assert_mapping(&mappings, 2, TEXT_MAP, 8 * PAGE, 2 * PAGE);
	assert_mapping(&mappings, 3, TEXT_MAP + 2 * PAGE, 11 * PAGE, PAGE);
	assert_mapping(&mappings, 4, TEXT_MAP + 4 * PAGE, 12 * PAGE, PAGE);
	assert_int_equal(mappings.bytes, (LOW_PAGES + HIGH_PAGES + 4) * PAGE);
	assert_false(mappings.cut);
	vmm_mappings_free(&mappings);
}

static void five_levels(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map(guest, 5, UINT64_C(0xff11000000000000), 3 * PAGE, 1);
	mappings = list(guest, 5);
	assert_int_equal(mappings.count, 1);
	assert_mapping(&mappings, 0, UINT64_C(0xff11000000000000), 3 * PAGE, PAGE);
	vmm_mappings_free(&mappings);
}

static void make_tables_that_are_their_own_children(struct guest *guest)
{
	for (unsigned int i = 0; i < 512; i++)
		vblk_le64_put(guest->host + TABLES + 8 * (size_t)i, TABLES | PRESENT);
}

/* Tables that are their own children, and tables outside memory: it ends, and says what is cut. */
static void tables_made_to_hurt(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	make_tables_that_are_their_own_children(guest);
	mappings = list(guest, 4);
	assert_true(mappings.cut);
	assert_true(mappings.count <= VMM_MAPPINGS_MAX);
	vmm_mappings_free(&mappings);

	for (unsigned int i = 0; i < 512; i++)
		vblk_le64_put(guest->host + TABLES + 8 * (size_t)i,
			      UINT64_C(0x000ffffffffff000) | PRESENT);
	mappings = list(guest, 4);
	assert_int_equal(mappings.count, 0);
	vmm_mappings_free(&mappings);
}

static bool count_and_go_on(void *context)
{
	(*(unsigned int *)context)++;
	return true;
}

static bool stop_the_walk(void *context)
{
	(*(unsigned int *)context)++;
	return false;
}

/* As many processors as there can be, each with tables that hurt: together they cost what a few do.
 */
static void all_walks_have_one_limit(void **state)
{
	struct guest *guest = *state;
	const uint64_t enough = vmm_pagetable_enough(&guest->ram);
	unsigned int asked = 0;
	struct vmm_walk_limits limits = { enough, count_and_go_on, &asked };
	struct vmm_mappings mappings;

	make_tables_that_are_their_own_children(guest);
	for (unsigned int i = 0; i < 64; i++) {
		const uint64_t before = limits.tables;

		assert_int_equal(vmm_pagetable_list(&guest->ram, TABLES, 4, &limits, &mappings), 0);
		assert_true(mappings.cut);
		assert_true(before - limits.tables <= enough / 4);
		assert_true(before > 0 || mappings.count == 0);
		vmm_mappings_free(&mappings);
	}
	assert_int_equal(limits.tables, 0);
	assert_true(asked >= enough / 1024);
}

static void a_walk_is_called_off(void **state)
{
	struct guest *guest = *state;
	unsigned int asked = 0;
	struct vmm_walk_limits limits = { vmm_pagetable_enough(&guest->ram), stop_the_walk,
					  &asked };
	const uint64_t before = limits.tables;
	struct vmm_mappings mappings;

	make_tables_that_are_their_own_children(guest);
	assert_int_equal(vmm_pagetable_list(&guest->ram, TABLES, 4, &limits, &mappings),
			 -ECANCELED);
	assert_int_equal(asked, 1);
	assert_true(before - limits.tables <= 1024);
	assert_null(mappings.list);
}

static bool lists(const struct vmm_mappings *mappings, uint64_t linear)
{
	for (size_t i = 0; i < mappings->count; i++)
		if (linear - mappings->list[i].linear < mappings->list[i].bytes)
			return true;
	return false;
}

/*
 * A page that stands for everything, as in a sanitizer's shadow: one table is all 512 of the level
 * above it, and each of its entries the same page, which nothing joins.
 */
static void map_shadow(struct guest *guest, unsigned int levels, uint64_t linear)
{
	uint32_t upper, lowest;

	map(guest, levels, linear, 5 * PAGE, 1);
	lowest = guest->next_table - (uint32_t)PAGE;
	upper = lowest - (uint32_t)PAGE;
	for (size_t i = 0; i < 512; i++) {
		vblk_le64_put(guest->host + lowest + 8 * i, (5 * PAGE) | PRESENT);
		vblk_le64_put(guest->host + upper + 8 * i, lowest | PRESENT);
	}
}

/* What is missed most is there however much there is: text, and the map of all memory. */
static void more_than_there_is_room_for(void **state)
{
	static const struct {
		unsigned int levels;
		uint64_t direct, shadow;
	} kernels[] = {
		{ 4, UINT64_C(0xffff888000000000), UINT64_C(0xffffec0000000000) },
		/* Randomized: the map of all memory comes last. */
		{ 4, UINT64_C(0xffffd00000000000), UINT64_C(0xffff900000000000) },
		/* The shadow and the text are below one entry of the top table. */
		{ 5, UINT64_C(0xff11000000000000), UINT64_C(0xfffff00000000000) },
	};
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(kernels); i++) {
		memset(guest->host, 0, LOW_PAGES * PAGE);
		guest->next_table = TABLES + PAGE;
		map_shadow(guest, kernels[i].levels, kernels[i].shadow);
		map(guest, kernels[i].levels, kernels[i].direct, 0, 3);
		map(guest, kernels[i].levels, TEXT_MAP, 8 * PAGE, 1);
		mappings = list(guest, kernels[i].levels);
		assert_true(mappings.cut);
		assert_int_equal(mappings.count, VMM_MAPPINGS_MAX);
		assert_true(lists(&mappings, TEXT_MAP));
		assert_true(lists(&mappings, kernels[i].direct));
		assert_true(lists(&mappings, kernels[i].shadow));
		for (size_t j = 1; j < mappings.count; j++)
			assert_true(mappings.list[j - 1].linear < mappings.list[j].linear);
		vmm_mappings_free(&mappings);
	}
}

/* As many modules as one likes leave room for the map of all memory, and the other way round. */
static void each_part_leaves_room(void **state)
{
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map_shadow(guest, 4, UINT64_C(0xffffffffc0000000));
	map(guest, 4, DIRECT_MAP, 0, 3);
	map(guest, 4, UINT64_C(0xffffc90000000000), 7 * PAGE, 1);
	mappings = list(guest, 4);
	assert_true(mappings.cut);
	assert_true(lists(&mappings, DIRECT_MAP));
	assert_true(lists(&mappings, UINT64_C(0xffffc90000000000)));
	vmm_mappings_free(&mappings);
}

/* Neighbours that are found by different walks are one mapping. */
static void parts_are_joined(void **state)
{
	const uint64_t large = UINT64_C(0x200000);
	struct guest *guest = *state;
	struct vmm_mappings mappings;

	map(guest, 4, DIRECT_MAP, 0, 2);
	map(guest, 4, DIRECT_MAP + LOW_PAGES * PAGE + large, 3 * PAGE, 1);
	map(guest, 4, TEXT_MAP - PAGE, 8 * PAGE, 1);
	map(guest, 4, TEXT_MAP, 9 * PAGE, 1);
	mappings = list(guest, 4);
	assert_int_equal(mappings.count, 3);
	assert_mapping(&mappings, 2, TEXT_MAP - PAGE, 8 * PAGE, 2 * PAGE);
	vmm_mappings_free(&mappings);
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lists_what_the_kernel_has_mapped),
		TEST(five_levels),
		TEST(tables_made_to_hurt),
		TEST(all_walks_have_one_limit),
		TEST(a_walk_is_called_off),
		TEST(more_than_there_is_room_for),
		TEST(each_part_leaves_room),
		TEST(parts_are_joined),
		TEST(memory_is_found_by_its_addresses),
		TEST(the_largest_mapping_is_last),
		TEST(memory_that_is_not_mapped),
		TEST(registers_are_notes),
		TEST(what_the_guest_says_is_a_note),
		TEST(what_only_looks_like_it_is_none),
		TEST(looking_for_it_is_called_off),
		TEST(zeros_are_holes),
		TEST(a_file_that_must_not_grow_is_an_error),
		TEST(progress_is_told),
		TEST(is_called_off_between_pieces),
	};

	return cmocka_run_group_tests_name("vmm_core", tests, NULL, NULL);
}
