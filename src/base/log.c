/* SPDX-License-Identifier: MIT */
/*
 * The ready-made log callback: one line per message, written at once so that lines stay whole. And
 * the limit on messages, which is a bucket kept as the moment when it will be full.
 */
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

bool vblk_log_limit_pass(struct vblk_log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
	const uint64_t room = (uint64_t)(VBLK_LOG_BURST - 1) * VBLK_LOG_INTERVAL_NS;
	uint64_t full_at = atomic_load_explicit(&limit->full_at, memory_order_relaxed);
	uint64_t from;

	do {
		from = full_at > now_ns ? full_at : now_ns;
		if (from - now_ns > room) {
			atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		&limit->full_at, &full_at, from + VBLK_LOG_INTERVAL_NS, memory_order_relaxed,
		memory_order_relaxed));
	*suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
	return true;
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
