/* SPDX-License-Identifier: MIT */
/* The ready-made log callback: one line per message, written at once so that lines stay whole. */
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* A line that does not fit is cut; no message of the library comes near. */
#define LINE_MAX_BYTES 1024

struct line {
	char text[LINE_MAX_BYTES];
	size_t used;
};

__attribute__((format(printf, 2, 3))) static void line_add(struct line *line, const char *format,
							   ...)
{
	/* vsnprintf ends with a NUL, and that place is the newline's in the end. */
	size_t room = sizeof(line->text) - line->used;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line->text + line->used, room, format, args);
	va_end(args);
	if (n < 0)
		return;
	line->used += (size_t)n < room ? (size_t)n : room - 1;
}

const char *vblk_log_level_name(enum vblk_log_level level)
{
	switch (level) {
	case VBLK_LOG_ERROR:
		return "error";
	case VBLK_LOG_WARN:
		return "warn";
	case VBLK_LOG_INFO:
		return "info";
	case VBLK_LOG_DEBUG:
		return "debug";
	}
	return "unknown";
}

void vblk_log_to_stdio(void *context, enum vblk_log_level level, const char *message,
		       const struct vblk_log_field *fields, size_t count)
{
	FILE *out = context ? context : stderr;
	struct line line = { .used = 0 };

	line_add(&line, "vblk: %s: %s", vblk_log_level_name(level), message);
	for (size_t i = 0; i < count; i++) {
		const struct vblk_log_field *field = &fields[i];

		switch (field->kind) {
		case VBLK_LOG_UINT:
			line_add(&line, " %s=%" PRIu64, field->key, field->value.u);
			break;
		case VBLK_LOG_HEX:
			line_add(&line, " %s=0x%" PRIx64, field->key, field->value.u);
			break;
		case VBLK_LOG_INT:
			line_add(&line, " %s=%" PRId64, field->key, field->value.i);
			break;
		case VBLK_LOG_STR:
			line_add(&line, " %s=%s", field->key, field->value.str);
			break;
		}
	}
	line.text[line.used++] = '\n';
	fwrite(line.text, 1, line.used, out);
}
