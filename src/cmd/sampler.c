/* SPDX-License-Identifier: MIT */
#include "cmd/sampler.h"

uint64_t cmd_sampler_silence_ns(const struct cmd_sampler *sampler, uint64_t now_ns)
{
	const uint64_t since =
		sampler->asked_ns && now_ns > sampler->asked_ns ? now_ns - sampler->asked_ns : 0;

	return since >= CMD_SAMPLER_PATIENCE_NS ? since : 0;
}

#ifdef VBLK_HAVE_JANSSON

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/detail_call.h"

void cmd_sampler_init(struct cmd_sampler *sampler, const char *path, const char *only)
{
	*sampler = (struct cmd_sampler){ .path = path, .only = only };
}

static void forget(struct cmd_sampler *sampler)
{
	free(sampler->disks);
	sampler->disks = NULL;
	sampler->count = 0;
}

void cmd_sampler_destroy(struct cmd_sampler *sampler)
{
	cmd_detail_call_end(sampler->call);
	forget(sampler);
}

static const struct cmd_sample *find(const struct cmd_sampler *sampler, const char *name)
{
	for (size_t i = 0; i < sampler->count; i++)
		if (strcmp(sampler->disks[i].now.name, name) == 0)
			return &sampler->disks[i].now;
	return NULL;
}

/* Puts the new disks in the place of the old ones, from which their rates come. */
static int take(struct cmd_sampler *sampler, const json_t *disks)
{
	const size_t count = json_array_size(disks);
	struct cmd_sampler_disk *fresh = calloc(count ? count : 1, sizeof(*fresh));

	if (!fresh) {
		snprintf(sampler->why, sizeof(sampler->why), "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		const struct cmd_sample *before;

		cmd_sample_read(json_array_get(disks, i), &fresh[i].now);
		fresh[i].now.at_ns = vblk_clock_now(NULL);
		before = find(sampler, fresh[i].now.name);
		if (!before)
			continue;
		cmd_rates_between(before, &fresh[i].now, &fresh[i].rates);
		fresh[i].has_rates = true;
	}
	forget(sampler);
	sampler->disks = fresh;
	sampler->count = count;
	return 0;
}

/* A look has come to its end: with a result, which is taken over, or with the reason in `why`. */
static int finish(struct cmd_sampler *sampler, int ret, json_t *result)
{
	if (ret == 0) {
		sampler->why[0] = '\0';
		ret = take(sampler, json_object_get(result, "disks"));
	}
	json_decref(result);
	if (ret)
		forget(sampler);
	return ret;
}

int cmd_sampler_look(struct cmd_sampler *sampler, uint32_t timeout_ms)
{
	json_t *result = NULL;
	const int ret = cmd_detail_call(sampler->path, sampler->only, timeout_ms, &result,
					sampler->why, sizeof(sampler->why));

	return finish(sampler, ret, result);
}

/* Errors go through a text of their own: why it was gone before is true until it has answered. */
static int step(struct cmd_sampler *sampler, json_t **result, char *why, size_t size)
{
	int ret;

	if (!sampler->call) {
		ret = cmd_detail_call_begin(sampler->path, sampler->only, 0, &sampler->call, why,
					    size);
		if (ret)
			return ret == -ETIMEDOUT ? -EAGAIN : ret;
	}
	return cmd_detail_call_step(sampler->call, result, why, size);
}

int cmd_sampler_step(struct cmd_sampler *sampler)
{
	char why[sizeof(sampler->why)] = "";
	json_t *result = NULL;
	int ret;

	if (!sampler->asked_ns)
		sampler->asked_ns = vblk_clock_now(NULL);
	ret = step(sampler, &result, why, sizeof(why));
	if (ret == -EAGAIN)
		return ret;
	cmd_detail_call_end(sampler->call);
	sampler->call = NULL;
	sampler->asked_ns = 0;
	memcpy(sampler->why, why, sizeof(why));
	return finish(sampler, ret, result);
}

int cmd_sampler_fd(const struct cmd_sampler *sampler)
{
	return sampler->call ? cmd_detail_call_fd(sampler->call) : -1;
}

short cmd_sampler_events(const struct cmd_sampler *sampler)
{
	if (!sampler->call)
		return 0;
	return cmd_detail_call_events(sampler->call);
}

#endif
