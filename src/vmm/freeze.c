/* SPDX-License-Identifier: MIT */
/* Asking, counting, looking, and giving up. */
#include "vmm/freeze.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAMES_SIZE 256

static unsigned int party_count(const struct vmm_freeze *freeze)
{
	return freeze->vcpus + freeze->devices;
}

static bool is_device(const struct vmm_freeze *freeze, unsigned int party)
{
	return party >= freeze->vcpus;
}

static bool is_parked(const struct vmm_freeze *freeze, unsigned int party)
{
	return freeze->ops->is_parked(freeze->context, party);
}

static bool is_left_out(const struct vmm_freeze *freeze, unsigned int party)
{
	return freeze->left_out >> party & 1;
}

/*
 * A vCPU always acknowledges, and one that still rests has done so. Of a device, its answer says;
 * an older promise is no matter of counting, its flag is looked at in the end.
 */
static void ask_all(struct vmm_freeze *freeze)
{
	freeze->ops->clear(freeze->context);
	freeze->expected = freeze->vcpus;
	freeze->count = 0;
	for (unsigned int party = 0; party < freeze->vcpus; party++)
		freeze->count += is_parked(freeze, party);
	for (unsigned int party = 0; party < party_count(freeze); party++) {
		bool follows = freeze->ops->ask(freeze->context, party);

		if (is_device(freeze, party))
			freeze->expected += follows;
	}
}

static uint64_t busy_parties(const struct vmm_freeze *freeze)
{
	uint64_t busy = 0;

	for (unsigned int party = 0; party < party_count(freeze); party++)
		if (!is_left_out(freeze, party) && !is_parked(freeze, party))
			busy |= UINT64_C(1) << party;
	return busy;
}

/*
 * The count says that all rest: true if their flags say so too. Who is up again is asked again,
 * and waited for.
 */
static bool all_rest(struct vmm_freeze *freeze)
{
	uint64_t busy = busy_parties(freeze);

	freeze->expected = freeze->count;
	for (unsigned int party = 0; party < party_count(freeze); party++) {
		if (!(busy >> party & 1))
			continue;
		freeze->ops->ask(freeze->context, party);
		freeze->expected++;
	}
	return !busy;
}

/* Two looks: one that has just come to rest is about to acknowledge, and is waited for. */
static bool is_stuck(const struct vmm_freeze *freeze, unsigned int party)
{
	for (int look = 0; look < 2; look++)
		if (is_parked(freeze, party))
			return false;
	return true;
}

static void leave_out_devices(struct vmm_freeze *freeze)
{
	freeze->first_limit_is_over = true;
	for (unsigned int party = freeze->vcpus; party < party_count(freeze); party++) {
		if (!is_stuck(freeze, party))
			continue;
		freeze->left_out |= UINT64_C(1) << party;
		if (freeze->expected)
			freeze->expected--;
	}
}

static uint64_t elapsed_ns(const struct vmm_freeze *freeze)
{
	return vblk_clock_now(freeze->clock) - freeze->start_ns;
}

/* Returns 0 when all rest that are not left out. */
static int wait_for_all(struct vmm_freeze *freeze)
{
	for (;;) {
		uint64_t limit =
			freeze->first_limit_is_over ? VMM_FREEZE_ALL_NS : VMM_FREEZE_DEVICE_NS;
		uint64_t elapsed, count = 0;
		int ret;

		if (freeze->count >= freeze->expected && all_rest(freeze))
			return 0;
		elapsed = elapsed_ns(freeze);
		if (elapsed < limit) {
			ret = freeze->ops->wait(freeze->context, limit - elapsed, &count);
			if (ret)
				return ret;
			freeze->count += count;
		} else if (freeze->first_limit_is_over) {
			return busy_parties(freeze) ? -ETIMEDOUT : 0;
		} else {
			leave_out_devices(freeze);
		}
	}
}

/* "vcpu 0, disk 1" */
static void name_parties(const struct vmm_freeze *freeze, uint64_t parties, char names[NAMES_SIZE])
{
	size_t used = 0;

	names[0] = '\0';
	for (unsigned int party = 0; party < party_count(freeze) && used < NAMES_SIZE; party++) {
		bool device = is_device(freeze, party);

		if (parties >> party & 1)
			used += (size_t)snprintf(names + used, NAMES_SIZE - used, "%s%s %u",
						 used ? ", " : "", device ? "disk" : "vcpu",
						 device ? party - freeze->vcpus : party);
	}
}

static int give_up(struct vmm_freeze *freeze, int code, struct vmm_error *error)
{
	char names[NAMES_SIZE];

	name_parties(freeze, busy_parties(freeze) | freeze->left_out, names);
	vmm_thaw_all(freeze);
	error->bad_input = false;
	snprintf(error->text, sizeof(error->text),
		 "freeze: %s after %llu ms, the guest goes on; not at rest: %s",
		 code == -ETIMEDOUT ? "given up" : "called off",
		 (unsigned long long)(elapsed_ns(freeze) / VBLK_NSEC_PER_MSEC),
		 *names ? names : "nobody");
	return code;
}

int vmm_freeze_all(struct vmm_freeze *freeze, struct vmm_freeze_report *report,
		   struct vmm_error *error)
{
	int ret;

	freeze->start_ns = vblk_clock_now(freeze->clock);
	freeze->left_out = 0;
	freeze->first_limit_is_over = false;
	ask_all(freeze);
	ret = wait_for_all(freeze);
	if (ret)
		return give_up(freeze, ret, error);

	memset(report, 0, sizeof(*report));
	report->elapsed_ns = elapsed_ns(freeze);
	report->disks_left_out = (uint32_t)(freeze->left_out >> freeze->vcpus);
	report->vcpus = freeze->vcpus;
	report->disks = freeze->devices - (unsigned int)__builtin_popcount(report->disks_left_out);
	return 0;
}

void vmm_thaw_all(struct vmm_freeze *freeze)
{
	for (unsigned int party = 0; party < party_count(freeze); party++)
		freeze->ops->release(freeze->context, party);
}
