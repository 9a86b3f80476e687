/* SPDX-License-Identifier: MIT */
/* What control clients can do with the disks of vblk serve. */
#include "cmd/serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "cmd/cmd.h"
#include "cmd/fault_spec.h"
#include "cmd/size.h"

#define NAME "serve"

#ifdef VBLK_HAVE_JANSSON

#ifndef VBLK_VERSION
#define VBLK_VERSION "unknown"
#endif

#define MESSAGE_SIZE 2048

static struct vblk_vhost_server *server_of(void *context, unsigned int disk)
{
	return ((struct serve *)context)->disks[disk].server;
}

static void get_stats(void *context, unsigned int index, struct vblk_control_disk *state)
{
	const struct vblk_vhost_server *server = server_of(context, index);
	const struct vblk_disk *disk = vblk_vhost_server_disk(server);

	state->capacity_bytes = vblk_disk_capacity(disk);
	state->connected = vblk_vhost_server_is_connected(server);
	state->paused = vblk_vhost_server_is_paused(server) && vblk_vhost_server_is_at_rest(server);
	state->workers_abandoned = vblk_disk_abandoned(disk);
	vblk_throttle_group_get(disk->throttle, &state->throttle);
	vblk_metrics_read(disk->metrics, &state->counters);
	state->metrics = disk->metrics;
}

static int set_throttle(void *context, unsigned int index, const struct vblk_throttle *throttle,
			char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	return vblk_vhost_server_set_throttle(server_of(context, index), throttle);
}

static int pause_disk(void *context, unsigned int index, char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	vblk_vhost_server_pause(server_of(context, index));
	return 0;
}

static bool is_paused(void *context, unsigned int index)
{
	return vblk_vhost_server_is_at_rest(server_of(context, index));
}

static int resume_disk(void *context, unsigned int index, char *message, size_t message_size)
{
	(void)message;
	(void)message_size;
	vblk_vhost_server_resume(server_of(context, index));
	return 0;
}

static int resize_disk(void *context, unsigned int index, uint64_t bytes, char *message,
		       size_t message_size)
{
	struct vblk_vhost_server *server = server_of(context, index);
	int ret = vblk_vhost_server_resize(server, bytes, true);

	if (ret < 0)
		snprintf(message, message_size, "cannot have %llu bytes: %s",
			 (unsigned long long)bytes, strerror(-ret));
	return ret;
}

static int set_faults(void *context, unsigned int index, const char *const *texts, size_t count,
		      char *message, size_t message_size)
{
	const struct cmd_message why = { message, message_size };
	struct vblk_faulty_rule rules[VBLK_CONTROL_RULES_MAX];
	int ret = 0;

	if (count > VBLK_CONTROL_RULES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count && ret == 0; i++)
		ret = cmd_fault_parse(texts[i], &rules[i], &why);
	if (ret < 0)
		return ret;
	return vblk_faulty_set_rules(((struct serve *)context)->disks[index].backing, rules, count);
}

static void quit(void *context)
{
	((struct serve *)context)->quit = true;
}

static const struct vblk_control_ops ops = {
	.stats = get_stats,
	.throttle = set_throttle,
	.pause = pause_disk,
	.is_paused = is_paused,
	.resume = resume_disk,
	.resize = resize_disk,
	.fault = set_faults,
	.quit = quit,
};

static int failed(int code, const char *text)
{
	cmd_complain(NAME, "--control: %s", text);
	return code == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
}

int serve_control_open(struct serve *serve)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = SERVE_CONTROL };
	struct vblk_control_options options = {
		.version = VBLK_VERSION,
		.disks = serve->names,
		.disk_count = serve->options.disk_count,
		.ops = &ops,
		.context = serve,
		.parse_size = cmd_size_parse,
		.log = { .fn = vblk_log_to_stdio, .max_level = VBLK_LOG_WARN },
	};
	char message[MESSAGE_SIZE];
	int ret;

	if (!serve->options.control)
		return CMD_OK;
	ret = vblk_unix_listen(serve->options.control, &serve->control_listener, message,
			       sizeof(message));
	if (ret < 0)
		return failed(ret, message);
	serve->has_control_listener = true;
	options.listen_fd = serve->control_listener.fd;
	ret = vblk_control_server_create(&options, &serve->control);
	if (ret < 0)
		return failed(ret == -EINVAL ? -EIO : ret, strerror(-ret));
	for (unsigned int i = 0; i < serve->options.disk_count && ret == 0; i++)
		ret = vblk_vhost_server_set_parked_fd(
			serve->disks[i].server, vblk_control_server_parked_fd(serve->control));
	if (ret == 0 && epoll_ctl(serve->epoll_fd, EPOLL_CTL_ADD,
				  vblk_control_server_fd(serve->control), &event) < 0)
		ret = -errno;
	return ret < 0 ? failed(-EIO, strerror(-ret)) : CMD_OK;
}

void serve_control_run(struct serve *serve)
{
	vblk_control_server_run(serve->control);
}

void serve_control_check(struct serve *serve)
{
	if (serve->control)
		vblk_control_server_check(serve->control);
}

void serve_control_close(struct serve *serve)
{
	vblk_control_server_destroy(serve->control);
	if (serve->has_control_listener)
		vblk_unix_listener_close(&serve->control_listener);
}

#else

int serve_control_open(struct serve *serve)
{
	if (!serve->options.control)
		return CMD_OK;
	cmd_complain(NAME,
		     "--control '%s': this vblk was built without jansson and has no control "
		     "socket",
		     serve->options.control);
	return CMD_BAD_INPUT;
}

void serve_control_run(struct serve *serve)
{
	(void)serve;
}

void serve_control_check(struct serve *serve)
{
	(void)serve;
}

void serve_control_close(struct serve *serve)
{
	(void)serve;
}

#endif
