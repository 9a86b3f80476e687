/* SPDX-License-Identifier: MIT */
/*
 * The clock of a PC (Motorola MC146818), read-only: a guest learns the host's time (UTC) from it
 * and dates its file systems by that. Pure; one thread at a time.
 */
#ifndef VMM_RTC_H
#define VMM_RTC_H

#include <time.h>
#include <vblk/types.h>

#define VMM_RTC_PORT	 0x70u /* which register */
#define VMM_RTC_PORT_END 0x72u /* 0x71: its contents */

struct vmm_rtc {
	uint8_t index;
};

/* The guest writes port 0x70 or 0x71. */
void vmm_rtc_write(struct vmm_rtc *rtc, unsigned int port, uint8_t value);

/* The guest reads port 0x70 or 0x71 when it is `now`. */
uint8_t vmm_rtc_read(const struct vmm_rtc *rtc, unsigned int port, time_t now);

#endif
