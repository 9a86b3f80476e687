/* SPDX-License-Identifier: MIT */
/* How a driver starts the device of the rig: well, or less so. */
#ifndef TESTS_FUZZ_START_H
#define TESTS_FUZZ_START_H

#include <stdint.h>

/* Flags in a[2]. */
#define START_EVENT_IDX 0x01u
#define START_NO_FLUSH	0x02u
#define START_NO_RESET	0x04u
#define START_KEEP	0x08u /* the rings are not cleared */
#define START_NOT_OK	0x10u /* DRIVER_OK is left out */
#define START_NOT_READY 0x20u
#define START_NOTIFY	0x40u /* before DRIVER_OK */
#define START_FAILED	0x80u /* FAILED at the end */

/* In a[6]: the features of an earlier life do not count for what is left out. */
#define FEATURES_NO_HIGH 0x01u
#define FEATURES_NO_LOW	 0x02u
#define FEATURES_FOREIGN 0x04u /* one that was not offered */
#define FEATURES_LATE	 0x08u /* written once more after FEATURES_OK */
#define FEATURES_ALL	 0x10u /* all that are offered, but for those of a[2] */
#define FEATURES_NO_WCE	 0x20u /* of these, all but CONFIG_WCE */

/*
 * From reset to DRIVER_OK. With all arguments 0 the rings have 8 entries, are where they usually
 * are, and everything is as it should be.
 *
 * a[0]     size of the queue
 * a[1]     where its three parts are, of 16 ways; a[3..5] details of that
 * a[2]     START_*
 * a[6]     FEATURES_*
 */
void start_device(const uint8_t a[7]);

#endif
