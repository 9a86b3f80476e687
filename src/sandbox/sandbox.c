/* SPDX-License-Identifier: MIT */
/*
 * The order of the steps. The user goes first, because the other steps take away what changing it
 * needs; the filter comes last, because it forbids the other steps.
 */
#include "sandbox/sandbox.h"

#include "base/checked.h"
#include "sandbox/steps.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#define TEXT_SIZE 512

int vblk_sandbox_say(const struct vblk_sandbox_text *text, int result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text->text, text->size, format, args);
	va_end(args);
	return result;
}

static int no_new_privileges(const struct vblk_sandbox_options *options,
			     const struct vblk_sandbox_text *text)
{
	(void)options;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return vblk_sandbox_say(text, -errno, "%s", strerror(errno));
	return vblk_sandbox_say(text, 0, "none can be gained");
}

static const struct {
	const char *name;
	uint32_t unless; /* the flag that leaves it out */
	int (*take)(const struct vblk_sandbox_options *options,
		    const struct vblk_sandbox_text *text);
} steps[] = {
	{ "user", 0, vblk_sandbox_user },
	{ "privileges", 0, no_new_privileges },
	{ "files", VBLK_SANDBOX_NO_LANDLOCK, vblk_sandbox_landlock },
	{ "calls", VBLK_SANDBOX_NO_SECCOMP, vblk_sandbox_filter },
};

static void tell(const struct vblk_sandbox_options *options, const char *name, int result,
		 const char *said)
{
	void (*fn)(void *context, const char *line) = options->report;
	char line[TEXT_SIZE + 64];

	const bool done = result == 0 || result == VBLK_SANDBOX_DONE_BUT;

	if ((result == VBLK_SANDBOX_NOT_HERE || result == VBLK_SANDBOX_DONE_BUT) && options->warn)
		fn = options->warn;
	snprintf(line, sizeof(line), "%s: %s%s", name, done ? "" : "not restricted: ", said);
	if (fn)
		fn(options->context, line);
}

int vblk_sandbox_enter(const struct vblk_sandbox_options *options, char *message,
		       size_t message_size)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(steps); i++) {
		char said[TEXT_SIZE] = "";
		const struct vblk_sandbox_text text = { said, sizeof(said) };
		int ret;

		if (options->flags & steps[i].unless)
			ret = vblk_sandbox_say(&text, VBLK_SANDBOX_NOT_WANTED, "as wanted");
		else
			ret = steps[i].take(options, &text);
		if (ret < 0) {
			snprintf(message, message_size, "sandbox: %s: %s", steps[i].name, said);
			return ret;
		}
		tell(options, steps[i].name, ret, said);
	}
	return 0;
}
