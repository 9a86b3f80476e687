/* SPDX-License-Identifier: MIT */
/* The control socket's life, and the operations that need no more than a backing. */
#include "cmd/control_socket.h"

#include "backing/faulty.h"
#include "cmd/cmd.h"
#include "cmd/fault_spec.h"
#include "cmd/size.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifndef VBLK_VERSION
#define VBLK_VERSION "unknown"
#endif

#define MESSAGE_SIZE 2048

int cmd_control_set_faults(struct vblk_backing *backing, const char *const *texts, size_t count,
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
	return vblk_faulty_set_rules(backing, rules, count);
}

int cmd_control_resized(int ret, uint64_t bytes, char *message, size_t message_size)
{
	const bool hangs = ret == -ETIMEDOUT || ret == -EBUSY;

	if (ret < 0)
		snprintf(message, message_size, "cannot have %llu bytes: %s",
			 (unsigned long long)bytes,
			 hangs ? "its file does not answer, or not yet: try again when it does"
			       : strerror(-ret));
	return ret;
}

#ifdef VBLK_HAVE_JANSSON

static int failed(const struct cmd_control_options *options, int code, const char *text)
{
	cmd_complain(options->name, "--control: %s", text);
	return code == -EINVAL ? CMD_BAD_INPUT : CMD_FAILED;
}

int cmd_control_open(struct cmd_control *control, const struct cmd_control_options *options)
{
	struct vblk_control_options server = {
		.version = VBLK_VERSION,
		.disks = options->disks,
		.disk_count = options->disk_count,
		.ops = options->ops,
		.context = options->context,
		.parse_size = cmd_size_parse,
		.log = { .fn = vblk_log_to_stdio, .max_level = VBLK_LOG_WARN },
	};
	char message[MESSAGE_SIZE];
	int ret;

	if (!options->path)
		return CMD_OK;
	ret = vblk_unix_listen(options->path, &control->listener, message, sizeof(message));
	if (ret < 0)
		return failed(options, ret, message);
	control->has_listener = true;
	server.listen_fd = control->listener.fd;
	ret = vblk_control_server_create(&server, &control->server);
	return ret < 0 ? failed(options, ret == -EINVAL ? -EIO : ret, strerror(-ret)) : CMD_OK;
}

void cmd_control_close(struct cmd_control *control)
{
	vblk_control_server_destroy(control->server);
	if (control->has_listener)
		vblk_unix_listener_close(&control->listener);
}

int cmd_control_fd(const struct cmd_control *control)
{
	return control->server ? vblk_control_server_fd(control->server) : -1;
}

int cmd_control_parked_fd(const struct cmd_control *control)
{
	return control->server ? vblk_control_server_parked_fd(control->server) : -1;
}

void cmd_control_run(struct cmd_control *control)
{
	vblk_control_server_run(control->server);
}

void cmd_control_check(struct cmd_control *control)
{
	if (control->server)
		vblk_control_server_check(control->server);
}

#else

int cmd_control_open(struct cmd_control *control, const struct cmd_control_options *options)
{
	(void)control;
	if (!options->path)
		return CMD_OK;
	cmd_complain(options->name,
		     "--control '%s': this vblk was built without jansson and has no control "
		     "socket",
		     options->path);
	return CMD_BAD_INPUT;
}

void cmd_control_close(struct cmd_control *control)
{
	(void)control;
}

int cmd_control_fd(const struct cmd_control *control)
{
	(void)control;
	return -1;
}

int cmd_control_parked_fd(const struct cmd_control *control)
{
	(void)control;
	return -1;
}

void cmd_control_run(struct cmd_control *control)
{
	(void)control;
}

void cmd_control_check(struct cmd_control *control)
{
	(void)control;
}

#endif
