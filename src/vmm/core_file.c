/* SPDX-License-Identifier: MIT */
/*
 * The file from its start: ELF header, program headers (the notes, then a PT_LOAD each), the notes,
 * and from the next page on the memory below the hole and that above it.
 *
 * The head is made in memory and written at once; its sizes are known before.
 */
#include "vmm/core_file.h"

#include "base/checked.h"
#include "vmm/layout.h"
#include "vmm/touched.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/user.h>
#include <unistd.h>

#define NOTE_NAME  "CORE"
#define PIECE_SIZE (UINT64_C(1) << 20)
#define PUSH_SIZE  (UINT64_C(32) << 20)

/* A note as it lies in the file: name and descriptor begin at multiples of 4, not of 8. */
struct note {
	Elf64_Nhdr header;
	char name[8];
	uint8_t status[sizeof(struct elf_prstatus)];
};

/* The head of the file while it is made. */
struct head {
	const struct vmm_core *core;
	uint8_t *data;
	size_t size;	    /* up to the end of the notes */
	uint64_t memory_at; /* the offset of guest memory in the file */
	Elf64_Phdr *load;   /* the next to be filled in */
	size_t load_count;
};

/* --- Which PT_LOADs there are --- */

static int by_physical(const void *a, const void *b)
{
	const struct vmm_mapping *left = a, *right = b;

	return left->physical < right->physical ? -1 : left->physical > right->physical;
}

typedef void (*take_mapping)(struct head *head, const struct vmm_mapping *mapping);

/* Tells of what lies in a region between mappings, which are sorted by physical address. */
static void tell_gaps(struct head *head, const struct vmm_ram_region *region,
		      const struct vmm_mapping *sorted, size_t count, take_mapping take)
{
	const uint64_t end = region->address + region->bytes;
	uint64_t at = region->address;

	for (size_t i = 0; i < count && at < end; i++) {
		uint64_t next = vblk_min_u64(sorted[i].physical, end);

		if (next > at)
			take(head, &(struct vmm_mapping){ at, at, next - at });
		if (sorted[i].physical + sorted[i].bytes > at)
			at = sorted[i].physical + sorted[i].bytes;
	}
	if (at < end)
		take(head, &(struct vmm_mapping){ at, at, end - at });
}

static int by_size(const void *a, const void *b)
{
	const struct vmm_mapping *left = a, *right = b;

	return left->bytes < right->bytes ? -1 : left->bytes > right->bytes;
}

/*
 * What has no address of the kernel's comes first, and the largest mapping last: makedumpfile takes
 * the last one below the kernel's text for its map of all memory.
 */
static int tell_all(struct head *head, take_mapping take)
{
	const struct vmm_mappings *mappings = head->core->mappings;
	struct vmm_mapping *sorted = calloc(mappings->count + 1, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < mappings->count; i++)
		sorted[i] = mappings->list[i];
	qsort(sorted, mappings->count, sizeof(*sorted), by_physical);
	for (unsigned int i = 0; i < VMM_RAM_REGIONS; i++) {
		const struct vmm_ram_region region = vmm_ram_region(head->core->ram, i);

		tell_gaps(head, &region, sorted, mappings->count, take);
	}
	qsort(sorted, mappings->count, sizeof(*sorted), by_size);
	for (size_t i = 0; i < mappings->count; i++)
		take(head, &sorted[i]);
	free(sorted);
	return 0;
}

static void count_load(struct head *head, const struct vmm_mapping *mapping)
{
	(void)mapping;
	head->load_count++;
}

static uint64_t offset_of(const struct head *head, uint64_t physical)
{
	return head->memory_at + (physical < VMM_HOLE_END
					  ? physical
					  : physical - VMM_HOLE_END + head->core->ram->low_bytes);
}

static void write_load(struct head *head, const struct vmm_mapping *mapping)
{
	*head->load++ = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = offset_of(head, mapping->physical),
		.p_vaddr = mapping->linear,
		.p_paddr = mapping->physical,
		.p_filesz = mapping->bytes,
		.p_memsz = mapping->bytes,
		/* With an alignment crash takes it for a netdump, which has no p_paddr. */
		.p_align = 0,
	};
}

/* --- Notes --- */

static void fill_registers(struct user_regs_struct *user, const struct kvm_regs *regs,
			   const struct kvm_sregs *sregs)
{
	*user = (struct user_regs_struct){
		.r15 = regs->r15,
		.r14 = regs->r14,
		.r13 = regs->r13,
		.r12 = regs->r12,
		.rbp = regs->rbp,
		.rbx = regs->rbx,
		.r11 = regs->r11,
		.r10 = regs->r10,
		.r9 = regs->r9,
		.r8 = regs->r8,
		.rax = regs->rax,
		.rcx = regs->rcx,
		.rdx = regs->rdx,
		.rsi = regs->rsi,
		.rdi = regs->rdi,
		.orig_rax = UINT64_MAX, /* not in a system call */
		.rip = regs->rip,
		.cs = sregs->cs.selector,
		.eflags = regs->rflags,
		.rsp = regs->rsp,
		.ss = sregs->ss.selector,
		.fs_base = sregs->fs.base,
		.gs_base = sregs->gs.base,
		.ds = sregs->ds.selector,
		.es = sregs->es.selector,
		.fs = sregs->fs.selector,
		.gs = sregs->gs.selector,
	};
}

static void write_note(struct note *note, const struct vmm_core *core, unsigned int vcpu)
{
	struct elf_prstatus status;
	struct user_regs_struct user;

	_Static_assert(sizeof(user) == sizeof(status.pr_reg), "one set of registers");
	memset(note, 0, sizeof(*note));
	memset(&status, 0, sizeof(status));
	note->header.n_namesz = sizeof(NOTE_NAME);
	note->header.n_descsz = sizeof(note->status);
	note->header.n_type = NT_PRSTATUS;
	memcpy(note->name, NOTE_NAME, sizeof(NOTE_NAME));
	fill_registers(&user, &core->regs[vcpu], &core->sregs[vcpu]);
	memcpy(&status.pr_reg, &user, sizeof(user));
	status.pr_pid = (int)vcpu + 1; /* gdb takes 0 for none */
	memcpy(note->status, &status, sizeof(status));
}

/* What comes before its text. */
struct info_note {
	Elf64_Nhdr header;
	char name[(sizeof(VMM_VMCOREINFO_NAME) + 3) / 4 * 4];
};

static size_t info_note_size(const struct vmm_vmcoreinfo *info)
{
	return info->text ? sizeof(struct info_note) + (info->size + 3) / 4 * 4 : 0;
}

static void write_info_note(uint8_t *data, const struct vmm_vmcoreinfo *info)
{
	struct info_note note = {
		.header = { sizeof(VMM_VMCOREINFO_NAME), (Elf64_Word)info->size, 0 },
		.name = VMM_VMCOREINFO_NAME,
	};

	if (!info->text)
		return;
	memcpy(data, &note, sizeof(note));
	memcpy(data + sizeof(note), info->text, info->size);
}

/* --- The head --- */

static void write_elf_header(const struct head *head)
{
	const Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT, ELFOSABI_NONE },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)(head->load_count + 1),
	};

	memcpy(head->data, &header, sizeof(header));
}

static int make_head(struct head *head)
{
	const struct vmm_core *core = head->core;
	const size_t status_size = core->vcpus * sizeof(struct note);
	const size_t notes_size = status_size + info_note_size(&core->info);
	size_t notes_at;
	Elf64_Phdr *headers;
	int ret = tell_all(head, count_load);

	if (ret)
		return ret;
	notes_at = sizeof(Elf64_Ehdr) + (head->load_count + 1) * sizeof(Elf64_Phdr);
	head->size = notes_at + notes_size;
	head->memory_at = vmm_page_align(head->size);
	head->data = calloc(1, head->size);
	if (!head->data)
		return -ENOMEM;
	write_elf_header(head);
	headers = (Elf64_Phdr *)(head->data + sizeof(Elf64_Ehdr));
	headers[0] = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_offset = notes_at,
		.p_filesz = notes_size,
		.p_align = 4,
	};
	head->load = headers + 1;
	for (unsigned int i = 0; i < core->vcpus; i++) {
		struct note note;

		write_note(&note, core, i);
		memcpy(head->data + notes_at + i * sizeof(note), &note, sizeof(note));
	}
	write_info_note(head->data + notes_at + status_size, &core->info);
	return tell_all(head, write_load);
}

/* --- Writing --- */

static int write_at(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size) {
		ssize_t done = pwrite(fd, data, size, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return -ENOSPC;
		data += done;
		size -= (size_t)done;
		offset += (uint64_t)done;
	}
	return 0;
}

/* A buffer that is equal to itself one byte on is all of its first byte. */
static bool is_zero(const uint8_t *page)
{
	return !page[0] && memcmp(page, page + 1, VMM_PAGE_SIZE - 1) == 0;
}

/* How many bytes from `data` on, whole pages, are all zeros or all not. */
static uint64_t run_length(const uint8_t *data, uint64_t size, bool zero)
{
	uint64_t length = 0;

	while (length < size && is_zero(data + length) == zero)
		length += VMM_PAGE_SIZE;
	return length;
}

/* Guest memory on its way into the file. */
struct writer {
	int fd;
	const struct vmm_core_watch *watch; /* or NULL */
	struct vmm_touched touched;
	uint64_t done; /* bytes of memory */
	uint64_t total;
	uint64_t begun; /* up to here in the file the disk has been asked to write */
	uint64_t ended; /* up to here it has */
};

/*
 * Asks the disk to write a part of the file, or waits until it has. What it could not write is told
 * here or nowhere: an error that this call has given fsync() does not give again. That there is no
 * such call on this host, or that a signal came, is not of the disk.
 */
static int sync_part(const struct writer *writer, uint64_t start, uint64_t end, unsigned int flags)
{
	/* No length at all would mean the whole file. */
	if (start == end ||
	    sync_file_range(writer->fd, (off_t)start, (off_t)(end - start), flags) == 0 ||
	    errno == ENOSYS || errno == EINTR)
		return 0;
	return -errno;
}

/*
 * Keeps the disk at it, a stretch behind: left to the end, all of the writing would be one call
 * that nobody can call off, behind a progress that says that all is done.
 */
static int push(struct writer *writer, uint64_t written)
{
	int ret;

	if (written - writer->begun < PUSH_SIZE)
		return 0;
	ret = sync_part(writer, writer->begun, written, SYNC_FILE_RANGE_WRITE);
	if (!ret)
		ret = sync_part(writer, writer->ended, writer->begun,
				SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);
	writer->ended = writer->begun;
	writer->begun = written;
	return ret;
}

static int write_piece(struct writer *writer, const uint8_t *data, uint64_t size, uint64_t offset)
{
	uint64_t length;

	for (uint64_t done = 0; done < size; done += length) {
		bool zero = is_zero(data + done);
		int ret = 0;

		length = run_length(data + done, size - done, zero);
		if (!zero)
			ret = write_at(writer->fd, data + done, length, offset + done);
		if (ret)
			return ret;
	}
	return 0;
}

static bool may_go_on(const struct writer *writer)
{
	const struct vmm_core_watch *watch = writer->watch;

	return !watch || watch->go_on(watch->context, writer->done, writer->total);
}

static int write_region(struct writer *writer, const struct vmm_ram_region *region, uint64_t offset)
{
	int ret = 0;

	for (uint64_t at = 0; !ret && at < region->bytes;) {
		uint64_t size = vblk_min_u64(region->bytes - at, PIECE_SIZE);

		if (!may_go_on(writer))
			return -ECANCELED;
		if (vmm_touched_any(&writer->touched, region->host + at, size))
			ret = write_piece(writer, region->host + at, size, offset + at);
		at += size;
		writer->done += size;
		if (!ret)
			ret = push(writer, offset + at);
	}
	return ret;
}

int vmm_core_write(int fd, const struct vmm_core *core, const struct vmm_core_watch *watch)
{
	const uint64_t total = core->ram->low_bytes + core->ram->high_bytes;
	struct writer writer = { .fd = fd, .watch = watch, .total = total };
	struct head head = { .core = core };
	int ret = make_head(&head);

	vmm_touched_open(&writer.touched);
	if (!ret && ftruncate(fd, (off_t)(head.memory_at + total)))
		ret = -errno;
	if (!ret)
		ret = write_at(fd, head.data, head.size, 0);
	for (unsigned int i = 0; !ret && i < VMM_RAM_REGIONS; i++) {
		const struct vmm_ram_region region = vmm_ram_region(core->ram, i);

		ret = write_region(&writer, &region, offset_of(&head, region.address));
	}
	if (!ret && !may_go_on(&writer))
		ret = -ECANCELED;
	vmm_touched_close(&writer.touched);
	free(head.data);
	return ret;
}
