/* SPDX-License-Identifier: MIT */
/*
 * Writing a log message:
 *
 *     vblk_log_emit(&dev->log, VBLK_LOG_WARN, "driver gave up",
 *                   VBLK_FIELD_HEX("old", cur), VBLK_FIELD_HEX("new", val));
 *
 * The fields are only built when somebody listens at that level.
 *
 * A message that a guest can cause as often as it likes goes through a limit, or the guest could
 * fill the host's disk with lines:
 *
 *     vblk_log_emit_limited(&dev->log, &dev->limit, now_ns, VBLK_LOG_WARN, "bad chain",
 *                           VBLK_FIELD_UINT("head", head));
 *
 * Messages that come once in a device's life or end it are not limited, nor is what the embedder
 * causes. Counters are none of the limit's business: they stay exact.
 */
#ifndef VBLK_BASE_LOG_H
#define VBLK_BASE_LOG_H

#include <stdatomic.h>
#include <vblk/log.h>

/*
 * What a limit lets through: so many messages at once, and one more in each interval. Enough to see
 * every line of an honest guest on a failing disk, and less than a megabyte of text in ten minutes.
 */
#define VBLK_LOG_BURST	     10u
#define VBLK_LOG_INTERVAL_NS 100000000u

/*
 * A limit on messages. Full when it is all zeros. Any number of threads may share one; `full_at` is
 * the moment on their clock at which the whole burst is there again.
 */
struct vblk_log_limit {
	_Atomic uint64_t full_at;
	_Atomic uint64_t suppressed; /* messages since the last that passed */
};

static inline void vblk_log_limit_init(struct vblk_log_limit *limit)
{
	atomic_init(&limit->full_at, 0);
	atomic_init(&limit->suppressed, 0);
}

/*
 * Whether a message may pass at `now_ns`. If so, *suppressed is how many have not since the last
 * that did; if not, this one is counted.
 */
bool vblk_log_limit_pass(struct vblk_log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

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

/*
 * The same through a limit; needs at least one field. `now_ns` is only evaluated when somebody
 * listens. The field `suppressed` follows the others if any message was held back before this one.
 */
#define vblk_log_emit_limited(log, limit, now_ns, level, message, ...)                      \
	do {                                                                                \
		const struct vblk_log *log_ = (log);                                        \
		uint64_t held_back_;                                                        \
		if (vblk_log_wants(log_, (level)) &&                                        \
		    vblk_log_limit_pass((limit), (now_ns), &held_back_)) {                  \
			const struct vblk_log_field fields_[] = {                           \
				__VA_ARGS__, VBLK_FIELD_UINT("suppressed", held_back_)      \
			};                                                                  \
			log_->fn(log_->context, (level), (message), fields_,                \
				 sizeof(fields_) / sizeof(fields_[0]) - (held_back_ == 0)); \
		}                                                                           \
	} while (0)

#endif
