/* SPDX-License-Identifier: MIT */
/* A line in, an operation, and a line out, now or when a disk has come to rest. */
#include "control/commands.h"

#include "base/checked.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void vblk_control_send_error(struct vblk_control_connection *to, const char *id,
			     const struct vblk_control_error *error)
{
	vblk_control_connection_send_own(to, vblk_control_reply_error(id, error));
}

/* --- Pauses that wait --- */

static void end_pending(struct vblk_control_pending *pending,
			const struct vblk_control_error *error)
{
	if (error)
		vblk_control_send_error(pending->from, pending->id, error);
	else
		vblk_control_connection_send_own(pending->from,
						 vblk_control_reply_done(pending->id));
	pending->from->pending--;
	free(pending->id);
	pending->from = NULL;
}

void vblk_control_commands_check(struct vblk_control_commands *all)
{
	const struct vblk_control_options *options = all->options;
	const uint64_t now = vblk_clock_now(options->clock);

	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		struct vblk_control_pending *pending = &all->pending[i];
		struct vblk_control_error error = { .text = "" };

		if (!pending->from)
			continue;
		if (options->ops->is_paused(options->context, pending->disk)) {
			end_pending(pending, NULL);
		} else if (now >= pending->deadline_ns) {
			vblk_control_error_set(&error, VBLK_CONTROL_TIMED_OUT,
					       "disk \"%s\" is not at rest after %u ms: a call to "
					       "its file has not returned; it rests when that "
					       "does, unless it is resumed",
					       options->disks[pending->disk], pending->timeout_ms);
			end_pending(pending, &error);
		}
	}
}

void vblk_control_commands_forget(struct vblk_control_commands *all,
				  const struct vblk_control_connection *from)
{
	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		if (all->pending[i].from == from) {
			free(all->pending[i].id);
			all->pending[i].from = NULL;
		}
	}
}

uint64_t vblk_control_commands_deadline(const struct vblk_control_commands *all)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++)
		if (all->pending[i].from)
			next = vblk_min_u64(next, all->pending[i].deadline_ns);
	return next;
}

static struct vblk_control_pending *free_pending(struct vblk_control_commands *all)
{
	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++)
		if (!all->pending[i].from)
			return &all->pending[i];
	return NULL;
}

/* --- Commands: each returns the reply, or NULL with an error. --- */

struct command {
	struct vblk_control_commands *all;
	struct vblk_control_connection *from;
	struct vblk_control_request *request;
	struct vblk_control_error *error;
	unsigned int disk;
};

/* What an operation answered, as an error of the protocol. */
static char *failed(const struct command *command, int code, const char *message)
{
	enum vblk_control_code name = VBLK_CONTROL_FAILED;

	if (code == -EINVAL || code == -ERANGE)
		name = VBLK_CONTROL_INVALID;
	else if (code == -EOPNOTSUPP)
		name = VBLK_CONTROL_UNSUPPORTED;
	else if (code == -EBUSY)
		name = VBLK_CONTROL_BUSY;
	vblk_control_error_set(command->error, name, "%s", *message ? message : strerror(-code));
	return NULL;
}

static char *no_memory(const struct command *command)
{
	vblk_control_error_set(command->error, VBLK_CONTROL_FAILED, "out of memory");
	return NULL;
}

static char *run_stats(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	const bool one = command->request->disk_name || command->request->has_disk_index;
	const unsigned int first = one ? command->disk : 0;
	const unsigned int count = one ? 1 : options->disk_count;
	struct vblk_control_disk *disks = calloc(count ? count : 1, sizeof(*disks));
	char *reply;

	if (!disks)
		return no_memory(command);
	for (unsigned int i = 0; i < count; i++) {
		options->ops->stats(options->context, first + i, &disks[i]);
		disks[i].name = options->disks[first + i];
		if (!command->request->detail)
			disks[i].metrics = NULL;
	}
	reply = vblk_control_reply_stats(command->request->id, disks, first, count);
	free(disks);
	return reply ? reply : no_memory(command);
}

static char *run_throttle(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	char message[sizeof(command->error->text)] = "";
	struct vblk_control_disk state = { 0 };
	struct vblk_throttle throttle;
	int ret;

	options->ops->stats(options->context, command->disk, &state);
	if (vblk_control_throttle_merge(command->request, &state.throttle, &throttle,
					command->error))
		return NULL;
	ret = options->ops->throttle(options->context, command->disk, &throttle, message,
				     sizeof(message));
	return ret ? failed(command, ret, message)
		   : vblk_control_reply_throttle(command->request->id, &throttle);
}

/* Nothing to send means here that the reply comes later. */
static char *run_pause(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	struct vblk_control_pending *pending = free_pending(command->all);
	char message[sizeof(command->error->text)] = "";
	int ret;

	if (!pending) {
		vblk_control_error_set(command->error, VBLK_CONTROL_BUSY,
				       "too many pauses wait already: at most %u",
				       VBLK_CONTROL_PENDING_MAX);
		return NULL;
	}
	ret = options->ops->pause(options->context, command->disk, message, sizeof(message));
	if (ret)
		return failed(command, ret, message);
	*pending = (struct vblk_control_pending){
		.from = command->from,
		.id = command->request->id,
		.disk = command->disk,
		.timeout_ms = command->request->timeout_ms,
		.deadline_ns = vblk_clock_now(options->clock) +
			       command->request->timeout_ms * VBLK_NSEC_PER_MSEC,
	};
	command->request->id = NULL;
	command->from->pending++;
	return NULL;
}

static char *run_resume(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	char message[sizeof(command->error->text)] = "";
	int ret;

	/* Who is at rest by now has had the answer coming. */
	vblk_control_commands_check(command->all);
	ret = options->ops->resume(options->context, command->disk, message, sizeof(message));
	if (ret)
		return failed(command, ret, message);
	for (size_t i = 0; i < VBLK_CONTROL_PENDING_MAX; i++) {
		struct vblk_control_pending *pending = &command->all->pending[i];
		struct vblk_control_error error = { .text = "" };

		if (!pending->from || pending->disk != command->disk)
			continue;
		vblk_control_error_set(&error, VBLK_CONTROL_RESUMED,
				       "disk \"%s\" was resumed before it was at rest",
				       options->disks[command->disk]);
		end_pending(pending, &error);
	}
	return vblk_control_reply_done(command->request->id);
}

static char *run_resize(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	char message[sizeof(command->error->text)] = "";
	struct vblk_control_disk state = { 0 };
	int ret;

	options->ops->stats(options->context, command->disk, &state);
	if (vblk_control_resize_check(command->request, state.capacity_bytes, command->error))
		return NULL;
	ret = options->ops->resize(options->context, command->disk, command->request->size, message,
				   sizeof(message));
	return ret ? failed(command, ret, message)
		   : vblk_control_reply_capacity(command->request->id, command->request->size);
}

static char *run_fault(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	const struct vblk_control_request *request = command->request;
	char message[sizeof(command->error->text)] = "";
	int ret;

	ret = options->ops->fault(options->context, command->disk,
				  (const char *const *)request->rules, request->rule_count, message,
				  sizeof(message));
	return ret ? failed(command, ret, message) : vblk_control_reply_done(request->id);
}

static char *run_quit(const struct command *command)
{
	command->all->options->ops->quit(command->all->options->context);
	return vblk_control_reply_done(command->request->id);
}

static char *run_freeze(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	char message[sizeof(command->error->text)] = "";
	struct vblk_control_freeze freeze = { 0 };
	int ret = options->ops->freeze(options->context, &freeze, message, sizeof(message));

	return ret ? failed(command, ret, message)
		   : vblk_control_reply_freeze(command->request->id, &freeze, options->disks,
					       options->disk_count);
}

static char *run_thaw(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	char message[sizeof(command->error->text)] = "";
	int ret = options->ops->thaw(options->context, message, sizeof(message));

	return ret ? failed(command, ret, message) : vblk_control_reply_done(command->request->id);
}

static char *run_dump(const struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	char message[PATH_MAX] = "";
	int ret = options->ops->dump(options->context, message, sizeof(message));

	return ret ? failed(command, ret, message)
		   : vblk_control_reply_dump(command->request->id, message);
}

/* Whether a command is about a machine, rather than about a disk or the server. */
static bool is_machines(enum vblk_control_command command)
{
	return command == VBLK_CONTROL_FREEZE || command == VBLK_CONTROL_THAW ||
	       command == VBLK_CONTROL_DUMP;
}

static char *(*const commands[VBLK_CONTROL_COMMANDS])(const struct command *command) = {
	[VBLK_CONTROL_STATS] = run_stats,   [VBLK_CONTROL_THROTTLE] = run_throttle,
	[VBLK_CONTROL_PAUSE] = run_pause,   [VBLK_CONTROL_RESUME] = run_resume,
	[VBLK_CONTROL_RESIZE] = run_resize, [VBLK_CONTROL_FAULT] = run_fault,
	[VBLK_CONTROL_QUIT] = run_quit,	    [VBLK_CONTROL_FREEZE] = run_freeze,
	[VBLK_CONTROL_THAW] = run_thaw,	    [VBLK_CONTROL_DUMP] = run_dump,
};

/* Which disk is meant. Those that change something have to say so, unless there is only one. */
static int find_disk(struct command *command)
{
	const struct vblk_control_options *options = command->all->options;
	const struct vblk_control_request *request = command->request;

	if (is_machines(request->command) && !options->ops->freeze)
		return vblk_control_error_set(command->error, VBLK_CONTROL_UNSUPPORTED,
					      "there is no machine here: vblk boot runs one");
	if (request->disk_name) {
		for (unsigned int i = 0; i < options->disk_count; i++) {
			if (strcmp(request->disk_name, options->disks[i]) == 0) {
				command->disk = i;
				return 0;
			}
		}
		return vblk_control_error_set(command->error, VBLK_CONTROL_DISK,
					      "there is no disk \"%s\": \"stats\" names them all",
					      request->disk_name);
	}
	if (request->has_disk_index) {
		command->disk = (unsigned int)request->disk_index;
		if (request->disk_index < options->disk_count)
			return 0;
		return vblk_control_error_set(command->error, VBLK_CONTROL_DISK,
					      "there is no disk %llu: there are %u, from 0 on",
					      (unsigned long long)request->disk_index,
					      options->disk_count);
	}
	if (options->disk_count == 1 || request->command == VBLK_CONTROL_STATS ||
	    request->command == VBLK_CONTROL_QUIT || is_machines(request->command))
		return 0;
	return vblk_control_error_set(
		command->error, VBLK_CONTROL_DISK,
		"there are %u disks: say which by \"disk\" (vblk ctl: --disk)",
		options->disk_count);
}

void vblk_control_commands_take(void *context, struct vblk_control_connection *from,
				const char *line, size_t length)
{
	struct vblk_control_error error = { .text = "" };
	struct vblk_control_request request;
	struct command command = { context, from, &request, &error, 0 };
	char *reply = NULL;
	int ret;

	ret = vblk_control_request_parse(line, length, command.all->options->parse_size, &request,
					 &error);
	if (!ret)
		ret = find_disk(&command);
	if (!ret)
		reply = commands[request.command](&command);
	if (reply)
		vblk_control_connection_send_own(from, reply);
	else if (*error.text)
		vblk_control_send_error(from, request.id ? request.id : "null", &error);
	else if (request.id)
		/* Neither a reply nor a reason: there was no memory for the reply. */
		vblk_control_connection_send(from, NULL);
	vblk_control_request_free(&request);
}
