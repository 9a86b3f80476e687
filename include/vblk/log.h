/* SPDX-License-Identifier: MIT */
/*
 * Messages from the library to its embedder.
 *
 * The library never prints. An embedder that wants to hear puts a `struct vblk_log` into the
 * options of a device; without one, messages go nowhere. A message is a fixed text (safe to
 * match in tests and alerts) plus fields that carry the values.
 *
 * Messages that a guest can cause again and again (chains that make no sense, requests that fail)
 * are limited for each device: 10 at once, and then 10 a second. What is held back is counted, and
 * the next of these messages that passes carries the count as its last field, `suppressed`. The
 * counters (vblk_device_metrics) miss nothing.
 *
 * The callback may be called from any thread that calls into the library and from the device's
 * worker threads, also from several at once. It must not call back into the device that logs.
 * The message and the fields live only for the duration of the call.
 */
#ifndef VBLK_LOG_H
#define VBLK_LOG_H

#include <vblk/types.h>

VBLK_BEGIN_DECLS

enum vblk_log_level {
	VBLK_LOG_ERROR, /* the device cannot do its work */
	VBLK_LOG_WARN,	/* the guest or the host did something wrong; the device goes on */
	VBLK_LOG_INFO,	/* something that happens a few times in a device's life */
	VBLK_LOG_DEBUG, /* something that happens per request */
};

enum vblk_log_kind {
	VBLK_LOG_UINT, /* print u as decimal */
	VBLK_LOG_HEX,  /* print u as 0x... */
	VBLK_LOG_INT,  /* print i as decimal */
	VBLK_LOG_STR,  /* print str */
};

/* One key=value field; `kind` says which member of the union holds the value. */
struct vblk_log_field {
	const char *key;
	enum vblk_log_kind kind;
	union {
		uint64_t u;
		int64_t i;
		const char *str;
	} value;
};

typedef void (*vblk_log_fn)(void *context, enum vblk_log_level level, const char *message,
			    const struct vblk_log_field *fields, size_t count);

/*
 * fn:      called for each message whose level is at most `max_level`; NULL: no messages.
 * context: handed to fn unchanged. Must stay valid until the last device that uses it has been
 *          destroyed and has released its last worker (see vblk_device_destroy).
 */
struct vblk_log {
	vblk_log_fn fn;
	void *context;
	enum vblk_log_level max_level;
};

/*
 * A ready-made callback that writes "vblk: LEVEL: message key=value ..." and a newline to the
 * `FILE *` in context (NULL: standard error), with one call of fwrite. Any thread.
 */
VBLK_API void vblk_log_to_stdio(void *context, enum vblk_log_level level, const char *message,
				const struct vblk_log_field *fields, size_t count);

/* "error", "warn", "info", "debug". */
VBLK_API const char *vblk_log_level_name(enum vblk_log_level level);

VBLK_END_DECLS

#endif
