/* SPDX-License-Identifier: MIT */
/*
 * The control protocol: lines of JSON. docs/control.md is its manual; here is the form of its
 * requests and replies, and every rule that can be judged without a disk. Pure: no descriptor is
 * touched. Any thread.
 */
#ifndef CONTROL_PROTOCOL_H
#define CONTROL_PROTOCOL_H

#include <vblk/device.h>
#include <vblk/metrics.h>

/* Changes when an old client could misunderstand a new server. */
#define VBLK_CONTROL_VERSION 1

#define VBLK_CONTROL_LINE_MAX		65536u	 /* bytes of a request, without its newline */
#define VBLK_CONTROL_RULES_MAX		64u	 /* fault rules in one request */
#define VBLK_CONTROL_TIMEOUT_MAX_MS	3600000u /* one hour */
#define VBLK_CONTROL_TIMEOUT_DEFAULT_MS 1000u

enum vblk_control_code {
	VBLK_CONTROL_PARSE,	  /* "parse": the line is no JSON object */
	VBLK_CONTROL_REQUEST,	  /* "request": a member is missing, unknown or of a wrong type */
	VBLK_CONTROL_COMMAND,	  /* "unknown-command" */
	VBLK_CONTROL_DISK,	  /* "unknown-disk": or it has to be said which */
	VBLK_CONTROL_INVALID,	  /* "invalid": the value cannot be; nothing was changed */
	VBLK_CONTROL_REFUSED,	  /* "refused": it can be, but not without "force" */
	VBLK_CONTROL_UNSUPPORTED, /* "unsupported": not with this disk */
	VBLK_CONTROL_BUSY,	  /* "busy": not now */
	VBLK_CONTROL_TIMED_OUT,	  /* "timeout": a pause that is not there yet */
	VBLK_CONTROL_RESUMED,	  /* "resumed": a pause that was taken back meanwhile */
	VBLK_CONTROL_FAILED,	  /* "failed": the host could not */
	VBLK_CONTROL_TOO_LONG,	  /* "too-long": the line; the connection is closed */
	VBLK_CONTROL_TOO_MANY,	  /* "too-many-clients": the connection is closed */
	VBLK_CONTROL_CODES,	  /* how many there are */
};

struct vblk_control_error {
	enum vblk_control_code code;
	char text[1024];
};

/* Sets the error. Returns -EINVAL, so that it can stand behind a return. */
__attribute__((format(printf, 3, 4))) int vblk_control_error_set(struct vblk_control_error *error,
								 enum vblk_control_code code,
								 const char *format, ...);

enum vblk_control_command {
	VBLK_CONTROL_STATS,
	VBLK_CONTROL_THROTTLE,
	VBLK_CONTROL_PAUSE,
	VBLK_CONTROL_RESUME,
	VBLK_CONTROL_RESIZE,
	VBLK_CONTROL_FAULT,
	VBLK_CONTROL_QUIT,
	VBLK_CONTROL_FREEZE,
	VBLK_CONTROL_THAW,
	VBLK_CONTROL_DUMP,
	VBLK_CONTROL_COMMANDS, /* how many there are */
};

/* One limit of a throttle request. */
struct vblk_control_limit {
	bool given;	/* if not: as it is */
	uint64_t value; /* 0: none */
};

struct vblk_control_request {
	char *id; /* owned; JSON text, "null" if there was none */
	enum vblk_control_command command;
	/* Which disk: by name, or by index, or neither. */
	char *disk_name; /* owned */
	bool has_disk_index;
	uint64_t disk_index;
	bool detail; /* stats: histograms and errors too */
	struct vblk_control_limit iops, iops_burst, bps, bps_burst; /* throttle */
	uint32_t timeout_ms;					    /* pause */
	uint64_t size;						    /* resize: bytes */
	bool force;						    /* resize */
	char **rules; /* fault: owned, the array and its texts; NULL for none */
	size_t rule_count;
};

/*
 * Reads a size like "64M": 0, -EINVAL for what is none, -ERANGE for one that is too large. The
 * program has one way to write sizes, which stands above this part.
 */
typedef int (*vblk_control_size_fn)(const char *text, uint64_t *bytes);

/*
 * Takes a line apart. Returns 0; or -EINVAL or -ENOMEM with an error, and then request->id is that
 * of the request as far as it could be read. Free the request after each call.
 */
VBLK_MUST_USE int vblk_control_request_parse(const char *line, size_t length,
					     vblk_control_size_fn parse_size,
					     struct vblk_control_request *request,
					     struct vblk_control_error *error);
void vblk_control_request_free(struct vblk_control_request *request);

/*
 * The limits that a throttle request leads to. A burst goes with its rate, unless the request says
 * otherwise. Returns 0, or -EINVAL for limits that contradict each other.
 */
VBLK_MUST_USE int vblk_control_throttle_merge(const struct vblk_control_request *request,
					      const struct vblk_throttle *now,
					      struct vblk_throttle *merged,
					      struct vblk_control_error *error);

/* Judges the size of a resize request for a disk that has `now` bytes. Returns 0 or -EINVAL. */
VBLK_MUST_USE int vblk_control_resize_check(const struct vblk_control_request *request,
					    uint64_t now, struct vblk_control_error *error);

/* What is told of a machine that was frozen. */
struct vblk_control_freeze {
	unsigned int vcpus; /* at rest */
	unsigned int disks; /* at rest */
	uint64_t left_out;  /* a bit for each disk that did not come to rest */
	uint64_t took_us;
};

/* What is told of a disk. */
struct vblk_control_disk {
	const char *name;
	uint64_t capacity_bytes;
	bool connected;		    /* a front end is there */
	bool paused;		    /* at rest on request */
	uint64_t workers_abandoned; /* given up, and still in a call to the disk's file */
	struct vblk_throttle throttle;
	struct vblk_metrics_snapshot counters;
	const struct vblk_metrics *metrics; /* borrowed; its detail is told; NULL: is not told */
};

/*
 * Lines for a client, each with its newline, to be freed with free(); NULL: no memory. `id` is that
 * of the request. Numbers above 2^63-1, which JSON readers cannot hold, are shown as that.
 */
char *vblk_control_greeting(const char *version, const char *const *names, unsigned int count);
char *vblk_control_reply_done(const char *id);
char *vblk_control_reply_throttle(const char *id, const struct vblk_throttle *throttle);
char *vblk_control_reply_capacity(const char *id, uint64_t bytes);
/* `names` are those of the disks, for those that were left out. */
char *vblk_control_reply_freeze(const char *id, const struct vblk_control_freeze *freeze,
				const char *const *names, unsigned int count);
char *vblk_control_reply_dump(const char *id, const char *path);
/* `disks` are those from index `first` on. */
char *vblk_control_reply_stats(const char *id, const struct vblk_control_disk *disks,
			       unsigned int first, unsigned int count);
char *vblk_control_reply_error(const char *id, const struct vblk_control_error *error);

#endif
