/* SPDX-License-Identifier: MIT */
/*
 * What control clients can do with the disks of vblk serve. All of it on the main thread, while
 * others serve the disks: it waits for none of them (vhost/server.h).
 */
#include "cmd/serve.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "cmd/cmd.h"

#define NAME "serve"

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
	const int ret = vblk_vhost_server_resize(server_of(context, index), bytes, true);

	return cmd_control_resized(ret, bytes, message, message_size);
}

static int set_faults(void *context, unsigned int index, const char *const *texts, size_t count,
		      char *message, size_t message_size)
{
	return cmd_control_set_faults(((struct serve *)context)->disks[index].backing, texts, count,
				      message, message_size);
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

/* Has events of the control socket come to the main loop, and the rest of disks to the socket. */
static int connect_to(struct serve *serve)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = SERVE_CONTROL };
	int ret = 0;

	for (unsigned int i = 0; i < serve->options.disk_count && ret == 0; i++)
		ret = vblk_vhost_server_set_parked_fd(serve->disks[i].server,
						      cmd_control_parked_fd(&serve->control));
	if (ret == 0 &&
	    epoll_ctl(serve->epoll_fd, EPOLL_CTL_ADD, cmd_control_fd(&serve->control), &event) < 0)
		ret = -errno;
	return ret;
}

int serve_control_open(struct serve *serve)
{
	const struct cmd_control_options options = {
		.name = NAME,
		.path = serve->options.control,
		.disks = serve->names,
		.disk_count = serve->options.disk_count,
		.ops = &ops,
		.context = serve,
	};
	int ret, status = cmd_control_open(&serve->control, &options);

	if (status || !serve->options.control)
		return status;
	ret = connect_to(serve);
	if (ret == 0)
		return CMD_OK;
	cmd_complain(NAME, "--control: %s", strerror(-ret));
	return CMD_FAILED;
}
