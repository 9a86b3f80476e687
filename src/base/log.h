/* SPDX-License-Identifier: MIT */
/*
 * Writing a log message:
 *
 *     vblk_log_emit(&dev->log, VBLK_LOG_WARN, "driver gave up",
 *                   VBLK_FIELD_HEX("old", cur), VBLK_FIELD_HEX("new", val));
 *
 * The fields are only built when somebody listens at that level.
 */
#ifndef VBLK_BASE_LOG_H
#define VBLK_BASE_LOG_H

#include <vblk/log.h>

#define VBLK_FIELD_UINT(k, v)                                     \
	(struct vblk_log_field)                                   \
	{                                                         \
		.key = (k), .kind = VBLK_LOG_UINT, .value.u = (v) \
	}
#define VBLK_FIELD_HEX(k, v)                                     \
	(struct vblk_log_field)                                  \
	{                                                        \
		.key = (k), .kind = VBLK_LOG_HEX, .value.u = (v) \
	}
#define VBLK_FIELD_INT(k, v)                                     \
	(struct vblk_log_field)                                  \
	{                                                        \
		.key = (k), .kind = VBLK_LOG_INT, .value.i = (v) \
	}
#define VBLK_FIELD_STR(k, v)                                       \
	(struct vblk_log_field)                                    \
	{                                                          \
		.key = (k), .kind = VBLK_LOG_STR, .value.str = (v) \
	}

static inline bool vblk_log_wants(const struct vblk_log *log, enum vblk_log_level level)
{
	return log->fn && level <= log->max_level;
}

#define vblk_log_emit(log, level, message, ...)                                  \
	do {                                                                     \
		const struct vblk_log *log_ = (log);                             \
		if (vblk_log_wants(log_, (level))) {                             \
			const struct vblk_log_field fields_[] = { __VA_ARGS__ }; \
			log_->fn(log_->context, (level), (message), fields_,     \
				 sizeof(fields_) / sizeof(fields_[0]));          \
		}                                                                \
	} while (0)

#endif
