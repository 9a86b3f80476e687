/* SPDX-License-Identifier: MIT */
/* The part of a dump that people read: disks, vCPUs, and where in vmcore which memory is. */
#include "vmm/dump.h"

#include "base/checked.h"
#include "metrics/counters.h"
#include "vmm/layout.h"
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <time.h>
#include <vblk/inspect.h>

#define REQUESTS_MAX 1024u

struct name {
	uint64_t value;
	const char *name;
};

static const struct name status_bits[] = {
	{ VIRTIO_CONFIG_S_ACKNOWLEDGE, "ACKNOWLEDGE" }, { VIRTIO_CONFIG_S_DRIVER, "DRIVER" },
	{ VIRTIO_CONFIG_S_FEATURES_OK, "FEATURES_OK" }, { VIRTIO_CONFIG_S_DRIVER_OK, "DRIVER_OK" },
	{ VIRTIO_CONFIG_S_NEEDS_RESET, "NEEDS_RESET" }, { VIRTIO_CONFIG_S_FAILED, "FAILED" },
};

#define FEATURE(bit, name)                 \
	{                                  \
		UINT64_C(1) << (bit), name \
	}
static const struct name feature_bits[] = {
	FEATURE(VIRTIO_BLK_F_SIZE_MAX, "SIZE_MAX"),
	FEATURE(VIRTIO_BLK_F_SEG_MAX, "SEG_MAX"),
	FEATURE(VIRTIO_BLK_F_GEOMETRY, "GEOMETRY"),
	FEATURE(VIRTIO_BLK_F_RO, "RO"),
	FEATURE(VIRTIO_BLK_F_BLK_SIZE, "BLK_SIZE"),
	FEATURE(VIRTIO_BLK_F_FLUSH, "FLUSH"),
	FEATURE(VIRTIO_BLK_F_TOPOLOGY, "TOPOLOGY"),
	FEATURE(VIRTIO_BLK_F_CONFIG_WCE, "CONFIG_WCE"),
	FEATURE(VIRTIO_BLK_F_MQ, "MQ"),
	FEATURE(VIRTIO_BLK_F_DISCARD, "DISCARD"),
	FEATURE(VIRTIO_BLK_F_WRITE_ZEROES, "WRITE_ZEROES"),
	FEATURE(VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC"),
	FEATURE(VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX"),
	FEATURE(VIRTIO_F_VERSION_1, "VERSION_1"),
};

static const struct name request_types[] = {
	{ VIRTIO_BLK_T_IN, "IN" },	     { VIRTIO_BLK_T_OUT, "OUT" },
	{ VIRTIO_BLK_T_FLUSH, "FLUSH" },     { VIRTIO_BLK_T_GET_ID, "GET_ID" },
	{ VIRTIO_BLK_T_DISCARD, "DISCARD" }, { VIRTIO_BLK_T_WRITE_ZEROES, "WRITE_ZEROES" },
};

/* The names of all bits that are set; one without a name as its value. */
static void write_bits(struct vmm_json *json, const char *member, uint64_t bits,
		       const struct name *names, size_t count)
{
	vmm_json_open_array(json, member);
	for (size_t i = 0; i < count; i++) {
		if (bits & names[i].value)
			vmm_json_text(json, NULL, names[i].name);
		bits &= ~names[i].value;
	}
	for (unsigned int bit = 0; bit < 64; bit++)
		if (bits >> bit & 1)
			vmm_json_hex(json, NULL, UINT64_C(1) << bit);
	vmm_json_close_array(json);
}

/* --- Disks --- */

static const char *type_name(uint32_t type)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(request_types); i++)
		if (request_types[i].value == type)
			return request_types[i].name;
	return "unknown";
}

static void write_requests(struct vmm_json *json, const struct vblk_queue_state *queue)
{
	const size_t told = queue->request_count < queue->request_room ? queue->request_count
								       : queue->request_room;

	vmm_json_open_array(json, "requests");
	for (size_t i = 0; i < told; i++) {
		const struct vblk_request_state *request = &queue->requests[i];

		vmm_json_open_object(json, NULL);
		vmm_json_number(json, "head", request->head);
		vmm_json_text(json, "type", type_name(request->type));
		vmm_json_number(json, "type_number", request->type);
		vmm_json_number(json, "sector", request->sector);
		vmm_json_number(json, "bytes", request->bytes);
		vmm_json_bool(json, "waits_for_tokens", request->waits);
		vmm_json_number(json, "age_ns", request->age_ns);
		vmm_json_close_object(json);
	}
	vmm_json_close_array(json);
}

static void write_indices(struct vmm_json *json, const struct vblk_queue_state *queue)
{
	vmm_json_bool(json, "poisoned", queue->poisoned);
	vmm_json_number(json, "next_avail", queue->next_avail);
	vmm_json_number(json, "next_used", queue->next_used);
	vmm_json_bool(json, "ring_readable", queue->ring_readable);
	if (queue->ring_readable) {
		vmm_json_number(json, "avail_idx", queue->avail_idx);
		vmm_json_number(json, "used_idx", queue->used_idx);
	}
}

static void write_queue(struct vmm_json *json, struct vblk_device *device, uint32_t index,
			struct vblk_request_state *requests)
{
	struct vblk_queue_state queue = {
		.size = sizeof(queue),
		.requests = requests,
		.request_room = requests ? REQUESTS_MAX : 0,
	};

	if (vblk_device_inspect_queue(device, index, &queue))
		return;
	vmm_json_open_object(json, NULL);
	vmm_json_number(json, "index", index);
	vmm_json_bool(json, "ready", queue.ready);
	vmm_json_number(json, "entries", queue.entries);
	vmm_json_hex(json, "desc", queue.desc);
	vmm_json_hex(json, "avail", queue.avail);
	vmm_json_hex(json, "used", queue.used);
	vmm_json_bool(json, "at_rest", queue.at_rest);
	if (queue.at_rest)
		write_indices(json, &queue);
	write_requests(json, &queue);
	vmm_json_close_object(json);
}

static void write_throttle(struct vmm_json *json, const struct vblk_device_state *state)
{
	vmm_json_open_object(json, "throttle");
	vmm_json_number(json, "iops", state->throttle.iops);
	vmm_json_number(json, "iops_burst", state->throttle.iops_burst);
	vmm_json_number(json, "bps", state->throttle.bps);
	vmm_json_number(json, "bps_burst", state->throttle.bps_burst);
	vmm_json_signed(json, "operations_left", state->throttle_operations);
	vmm_json_signed(json, "bytes_left", state->throttle_bytes);
	vmm_json_number(json, "queues_waiting", state->throttle_waiting);
	vmm_json_close_object(json);
}

static void write_counters(struct vmm_json *json, const struct vblk_metrics *metrics)
{
	struct vblk_metrics_snapshot snapshot;

	vblk_metrics_read(metrics, &snapshot);
	vmm_json_open_object(json, "counters");
	for (size_t i = 0; i < vblk_metrics_counter_count; i++)
		vmm_json_number(json, vblk_metrics_counters[i].name,
				vblk_metrics_counter_value(&snapshot, i));
	vmm_json_close_object(json);
}

static void write_disk(struct vmm_json *json, const struct vmm *vmm, unsigned int index,
		       struct vblk_request_state *requests)
{
	struct vblk_device *device = vmm->bus.devices[index];
	struct vblk_device_state state = { .size = sizeof(state) };

	if (vblk_device_inspect(device, &state))
		return;
	vmm_json_open_object(json, NULL);
	vmm_json_number(json, "index", index);
	vmm_json_number(json, "instance", state.instance);
	vmm_json_hex(json, "registers", VMM_DISK_BASE + index * VMM_DISK_STRIDE);
	vmm_json_number(json, "capacity", state.capacity_bytes);
	vmm_json_bool(json, "read_only", state.read_only);
	write_bits(json, "status", state.status, status_bits, VBLK_ARRAY_SIZE(status_bits));
	vmm_json_number(json, "interrupt_status", state.interrupt_status);
	vmm_json_number(json, "config_generation", state.config_generation);
	write_bits(json, "features_offered", state.features_offered, feature_bits,
		   VBLK_ARRAY_SIZE(feature_bits));
	write_bits(json, "features_accepted", state.features_accepted, feature_bits,
		   VBLK_ARRAY_SIZE(feature_bits));
	vmm_json_bool(json, "at_rest", state.paused);
	vmm_json_bool(json, "left_out", vmm->frozen_report.disks_left_out >> index & 1);
	vmm_json_bool(json, "dead", state.dead);
	vmm_json_open_array(json, "queues");
	for (uint32_t i = 0; i < state.queues; i++)
		write_queue(json, device, i, requests);
	vmm_json_close_array(json);
	write_throttle(json, &state);
	write_counters(json, vblk_device_metrics(device));
	vmm_dump_detail(vblk_device_metrics(device), json);
	vmm_json_close_object(json);
}

static void write_disks(struct vmm_json *json, const struct vmm *vmm)
{
	/* Without memory the dump says how many requests there are, and not which. */
	struct vblk_request_state *requests = calloc(REQUESTS_MAX, sizeof(*requests));

	vmm_json_open_array(json, "disks");
	for (unsigned int i = 0; i < vmm->bus.device_count; i++)
		write_disk(json, vmm, i, requests);
	vmm_json_close_array(json);
	free(requests);
}

/* --- vCPUs and memory --- */

static void write_vcpu(struct vmm_json *json, unsigned int index, const struct kvm_regs *regs,
		       const struct kvm_sregs *sregs)
{
	const struct name list[] = {
		{ regs->rip, "rip" },
		{ regs->rsp, "rsp" },
		{ regs->rflags, "rflags" },
		{ regs->rax, "rax" },
		{ regs->rbx, "rbx" },
		{ regs->rcx, "rcx" },
		{ regs->rdx, "rdx" },
		{ regs->rsi, "rsi" },
		{ regs->rdi, "rdi" },
		{ regs->rbp, "rbp" },
		{ regs->r8, "r8" },
		{ regs->r9, "r9" },
		{ regs->r10, "r10" },
		{ regs->r11, "r11" },
		{ regs->r12, "r12" },
		{ regs->r13, "r13" },
		{ regs->r14, "r14" },
		{ regs->r15, "r15" },
		{ sregs->cr0, "cr0" },
		{ sregs->cr2, "cr2" },
		{ sregs->cr3, "cr3" },
		{ sregs->cr4, "cr4" },
		{ sregs->efer, "efer" },
		{ sregs->cs.selector, "cs" },
		{ sregs->ss.selector, "ss" },
		{ sregs->fs.base, "fs_base" },
		{ sregs->gs.base, "gs_base" },
		{ sregs->gdt.base, "gdt" },
		{ sregs->idt.base, "idt" },
	};

	vmm_json_open_object(json, NULL);
	vmm_json_number(json, "index", index);
	vmm_json_number(json, "privilege_level", sregs->cs.dpl);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(list); i++)
		vmm_json_hex(json, list[i].name, list[i].value);
	vmm_json_close_object(json);
}

static void write_memory(struct vmm_json *json, const struct vmm_picture *picture)
{
	const struct vmm *vmm = picture->vmm;

	vmm_json_open_object(json, "memory");
	vmm_json_number(json, "bytes", vmm->ram.low_bytes + vmm->ram.high_bytes);
	vmm_json_number(json, "bytes_above_4g", vmm->ram.high_bytes);
	vmm_json_hex(json, "page_tables", picture->page_tables);
	vmm_json_number(json, "mappings", picture->mappings.count);
	vmm_json_bool(json, "mappings_left_out", picture->mappings.cut);
	vmm_json_bool(json, "vmcoreinfo", picture->info.text != NULL);
	vmm_json_close_object(json);
}

static void write_time(struct vmm_json *json)
{
	const time_t now = time(NULL);
	char text[32] = "";
	struct tm utc;

	if (gmtime_r(&now, &utc))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	vmm_json_text(json, "time", text);
}

static void write_freeze(struct vmm_json *json, const struct vmm_freeze_report *report)
{
	vmm_json_open_object(json, "freeze");
	vmm_json_number(json, "took_us", report->elapsed_ns / 1000);
	vmm_json_number(json, "vcpus", report->vcpus);
	vmm_json_number(json, "disks", report->disks);
	vmm_json_close_object(json);
}

void vmm_dump_json(const struct vmm_picture *picture, struct vmm_json *json)
{
	vmm_json_open_object(json, NULL);
	vmm_json_number(json, "format", 1);
	vmm_json_text(json, "vblk", picture->about->version);
	write_time(json);
	vmm_json_text(json, "reason", picture->about->reason);
	write_freeze(json, &picture->vmm->frozen_report);
	write_disks(json, picture->vmm);
	vmm_json_open_array(json, "vcpus");
	for (unsigned int i = 0; i < picture->vmm->vcpu_count; i++)
		write_vcpu(json, i, &picture->regs[i], &picture->sregs[i]);
	vmm_json_close_array(json);
	write_memory(json, picture);
	vmm_json_close_object(json);
}
