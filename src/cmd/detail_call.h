/* SPDX-License-Identifier: MIT */
/*
 * Asking a control socket for all details of its disks; disk by disk, since that of all of them is
 * long. A machine that never waits (control/call.h), or a function that does.
 *
 * Errors are a negative errno and a line of text in `message`: -EREMOTEIO if the server is there
 * and refused, -EFBIG if it tells of more than is taken, another one if it is gone. One thread.
 */
#ifndef CMD_DETAIL_CALL_H
#define CMD_DETAIL_CALL_H

#include <vblk/types.h>

/*
 * What a server may tell, which need not be one of ours: so many disks, and so many bytes of all of
 * them together. vblk serve has up to 32, of some 50 KB each.
 */
#define CMD_DETAIL_DISKS_MAX 256u
#define CMD_DETAIL_BYTES_MAX (8u << 20)

struct cmd_detail_call;
struct json_t;

/*
 * Connects, for which it may wait for `timeout_ms`, and asks. `path` and `only`, a disk's name or
 * number or NULL for all, outlive the call.
 */
VBLK_MUST_USE int cmd_detail_call_begin(const char *path, const char *only, uint32_t timeout_ms,
					struct cmd_detail_call **call, char *message,
					size_t message_size);

/* NULL is ignored. */
void cmd_detail_call_end(struct cmd_detail_call *call);

/*
 * Does what can be done without waiting. Returns 0 and an object with `disks`, as in the reply to
 * stats, a new reference; or -EAGAIN if it takes longer; or another error.
 */
VBLK_MUST_USE int cmd_detail_call_step(struct cmd_detail_call *call, struct json_t **result,
				       char *message, size_t message_size);

/* What to wait for before the next step. */
int cmd_detail_call_fd(const struct cmd_detail_call *call);
short cmd_detail_call_events(const struct cmd_detail_call *call);

/* All of it at once; with -ETIMEDOUT it has taken longer than `timeout_ms`. */
VBLK_MUST_USE int cmd_detail_call(const char *path, const char *only, uint32_t timeout_ms,
				  struct json_t **result, char *message, size_t message_size);

#endif
