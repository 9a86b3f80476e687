/* SPDX-License-Identifier: MIT */
/*
 * A rule for a disk that fails on purpose, in words:
 *
 *     OP:ACTION[:first=N][:every=N][:count=N]
 *
 *     OP is read, write, flush, discard or write-zeroes. ACTION is one of
 *
 *     error=E      fail with the error E, a name like EIO or a number; nothing is moved
 *     short=BYTES  move at most so many bytes; for read and write
 *     zero         move nothing and return 0: for a read the end of the file, for a write no
 *                  progress, for the others success without doing it
 *     delay=TIME   take so much longer: 200us, 10ms, 2s
 *     hang         never return
 *
 *     and says what happens to the calls of that operation, counted from 1,
 *
 *     first=N      from the Nth on; default: as `every`
 *     every=N      each Nth of them; default: each
 *     count=N      so often in all; default: without end
 *
 * So write:error=EIO:every=50 fails the writes 50, 100, 150 and so on, and read:hang:first=7 all
 * reads from the seventh on. A call is one of the device on its backing: a request makes one,
 * unless its data is in too many pieces or a call was short, which takes several. What rules
 * together do is in backing/faulty.h.
 */
#ifndef CMD_FAULT_SPEC_H
#define CMD_FAULT_SPEC_H

#include "backing/faulty.h"
#include "cmd/message.h"

/*
 * Takes a rule apart. Pure; any thread. Returns 0 and a rule that vblk_faulty_create takes; or
 * -EINVAL or -ENOMEM and a message.
 */
VBLK_MUST_USE int cmd_fault_parse(const char *text, struct vblk_faulty_rule *rule,
				  const struct cmd_message *message);

#endif
