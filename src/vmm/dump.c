/* SPDX-License-Identifier: MIT */
/*
 * Making a dump: a folder with a name that nobody looks for, the files in it, then the real name
 * (vmm/dump_folder.h).
 */
#include "vmm/dump.h"

#include "vmm/core_file.h"
#include "vmm/dump_folder.h"
#include "vmm/layout.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CR0_PG	 (UINT64_C(1) << 31)
#define CR4_LA57 (UINT64_C(1) << 12)
#define EFER_LMA (UINT64_C(1) << 10)

static bool may_go_on(void *context)
{
	const struct vmm *vmm = context;
	struct pollfd fd = { .fd = vmm->call_off_fd, .events = POLLIN };

	return poll(&fd, 1, 0) <= 0;
}

static int called_off(struct vmm_error *error)
{
	snprintf(error->text, sizeof(error->text), "dump: called off");
	error->bad_input = false;
	return -ECANCELED;
}

/* --- Taking the picture --- */

static int read_registers(struct vmm_picture *picture, struct vmm_error *error)
{
	for (unsigned int i = 0; i < picture->vmm->vcpu_count; i++) {
		const int fd = picture->vmm->vcpus[i].fd;

		if (ioctl(fd, KVM_GET_REGS, &picture->regs[i]) < 0 ||
		    ioctl(fd, KVM_GET_SREGS, &picture->sregs[i]) < 0)
			return vmm_error_host(error, -errno, "dump: cannot read vCPU %u", i);
	}
	return 0;
}

/* Keeps the tables that map the most: those of the kernel map all of memory. */
static int try_tables(struct vmm_picture *picture, uint64_t tables, unsigned int levels)
{
	struct vmm_mappings mappings;
	int ret =
		vmm_pagetable_list(&picture->vmm->ram, tables, levels, &picture->limits, &mappings);

	if (ret)
		return ret;
	if (mappings.bytes > picture->mappings.bytes) {
		vmm_mappings_free(&picture->mappings);
		picture->mappings = mappings;
		picture->page_tables = tables;
	} else {
		vmm_mappings_free(&mappings);
	}
	return 0;
}

static bool has_tables(const struct kvm_sregs *sregs)
{
	return sregs->cr0 & CR0_PG && sregs->efer & EFER_LMA;
}

/* Processors that idle have the same ones. */
static bool has_tables_of_another(const struct vmm_picture *picture, unsigned int vcpu)
{
	for (unsigned int i = 0; i < vcpu; i++)
		if (has_tables(&picture->sregs[i]) &&
		    picture->sregs[i].cr3 == picture->sregs[vcpu].cr3)
			return true;
	return false;
}

/*
 * A kernel that isolates its page tables gives user mode others, which map next to nothing of the
 * kernel: they are the page behind the kernel's own.
 */
static int find_mappings(struct vmm_picture *picture)
{
	int ret = 0;

	picture->limits = (struct vmm_walk_limits){
		.tables = vmm_pagetable_enough(&picture->vmm->ram),
		.go_on = may_go_on,
		.context = picture->vmm,
	};
	for (unsigned int i = 0; !ret && i < picture->vmm->vcpu_count; i++) {
		const struct kvm_sregs *sregs = &picture->sregs[i];
		const unsigned int levels = sregs->cr4 & CR4_LA57 ? 5 : 4;
		const uint64_t tables = sregs->cr3 & ~(VMM_PAGE_SIZE - 1);

		if (!has_tables(sregs) || has_tables_of_another(picture, i))
			continue;
		ret = try_tables(picture, tables, levels);
		if (!ret && tables & VMM_PAGE_SIZE)
			ret = try_tables(picture, tables ^ VMM_PAGE_SIZE, levels);
	}
	return ret;
}

/* What is as long as the guest has made it; so it can be called off. */
static int look_through_memory(struct vmm_picture *picture, struct vmm_error *error)
{
	int ret = find_mappings(picture);

	if (!ret)
		ret = vmm_vmcoreinfo_find(&picture->vmm->ram, may_go_on, picture->vmm,
					  &picture->info);
	if (ret == -ECANCELED)
		return called_off(error);
	return ret ? vmm_error_host(error, ret, "dump") : 0;
}

/* --- Files --- */

static bool tell_and_go_on(void *context, uint64_t done, uint64_t total)
{
	const struct vmm_picture *picture = context;
	const struct vmm_dump_about *about = picture->about;

	if (about->progress)
		about->progress(about->context, done, total);
	return may_go_on(picture->vmm);
}

static int write_core(struct vmm_picture *picture, const struct vmm_dump_folder *folder)
{
	const struct vmm_core core = {
		.ram = &picture->vmm->ram,
		.mappings = &picture->mappings,
		.regs = picture->regs,
		.sregs = picture->sregs,
		.vcpus = picture->vmm->vcpu_count,
		.info = picture->info,
	};
	const struct vmm_core_watch watch = { .go_on = tell_and_go_on, .context = picture };
	int fd = openat(folder->inside, VMM_DUMP_CORE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			0600);
	int ret;

	if (fd < 0)
		return -errno;
	ret = vmm_core_write(fd, &core, &watch);
	if (!ret && fsync(fd))
		ret = -errno;
	close(fd);
	return ret;
}

static int write_json(const struct vmm_picture *picture, const struct vmm_dump_folder *folder)
{
	int fd = openat(folder->inside, VMM_DUMP_JSON, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			0600);
	struct vmm_json json;
	FILE *out;
	int ret = 0;

	if (fd < 0)
		return -errno;
	out = fdopen(fd, "w");
	if (!out) {
		close(fd);
		return -ENOMEM;
	}
	vmm_json_begin(&json, out);
	vmm_dump_json(picture, &json);
	vmm_json_end(&json);
	/* Of what went wrong a stream keeps only that something did. */
	errno = 0;
	if (fflush(out) || ferror(out) || fsync(fd))
		ret = errno ? -errno : -EIO;
	if (fclose(out) && !ret)
		ret = -errno;
	return ret;
}

static int write_files(struct vmm_picture *picture, struct vmm_dump_folder *folder,
		       struct vmm_error *error)
{
	int ret = write_json(picture, folder);

	if (ret)
		return vmm_dump_folder_failed(folder, ret, VMM_DUMP_JSON, error);
	ret = write_core(picture, folder);
	if (ret == -ECANCELED)
		return called_off(error);
	if (ret)
		return vmm_dump_folder_failed(folder, ret, VMM_DUMP_CORE, error);
	return vmm_dump_folder_publish(folder, error);
}

int vmm_dump(struct vmm *vmm, const char *path, const struct vmm_dump_about *about,
	     struct vmm_dump_made *made, struct vmm_error *error)
{
	struct vmm_dump_folder folder = { .place = -1, .inside = -1 };
	struct vmm_picture *picture = calloc(1, sizeof(*picture));
	int ret;

	if (!picture)
		return vmm_error_host(error, -ENOMEM, "dump");
	picture->vmm = vmm;
	picture->about = about;
	ret = read_registers(picture, error);
	if (!ret)
		ret = look_through_memory(picture, error);
	if (!ret)
		ret = vmm_dump_folder_open(&folder, path, error);
	if (!ret)
		ret = write_files(picture, &folder, error);
	if (!ret) {
		snprintf(made->path, sizeof(made->path), "%s/%s", path, folder.name);
		made->mappings_left_out = picture->mappings.cut;
	}
	vmm_dump_folder_close(&folder);
	vmm_mappings_free(&picture->mappings);
	free(picture);
	return ret;
}
