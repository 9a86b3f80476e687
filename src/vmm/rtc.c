/* SPDX-License-Identifier: MIT */
/* Time in the clock's registers: binary-coded decimal, 24 hours, never in the middle of an
 * update. Alarms and settings are not there: writes are ignored. */
#include "vmm/rtc.h"

enum {
	RTC_SECONDS = 0x00,
	RTC_MINUTES = 0x02,
	RTC_HOURS = 0x04,
	RTC_WEEKDAY = 0x06, /* Sunday is 1 */
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_STATUS_A = 0x0a,
	RTC_STATUS_B = 0x0b,
	RTC_STATUS_D = 0x0d,
	RTC_CENTURY = 0x32,
};

#define STATUS_A_RUNNING 0x26 /* the usual divider and rate, no update in progress */
#define STATUS_B_24_HOUR 0x02
#define STATUS_D_VALID	 0x80
#define NMI_DISABLE	 0x80 /* shares the port with the index */

static uint8_t bcd(int value)
{
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

void vmm_rtc_write(struct vmm_rtc *rtc, unsigned int port, uint8_t value)
{
	if (port == VMM_RTC_PORT)
		rtc->index = (uint8_t)(value & ~NMI_DISABLE);
}

uint8_t vmm_rtc_read(const struct vmm_rtc *rtc, unsigned int port, time_t now)
{
	struct tm tm;

	if (port == VMM_RTC_PORT || !gmtime_r(&now, &tm))
		return 0xff;
	switch (rtc->index) {
	case RTC_SECONDS:
		return bcd(tm.tm_sec);
	case RTC_MINUTES:
		return bcd(tm.tm_min);
	case RTC_HOURS:
		return bcd(tm.tm_hour);
	case RTC_WEEKDAY:
		return bcd(tm.tm_wday + 1);
	case RTC_DAY:
		return bcd(tm.tm_mday);
	case RTC_MONTH:
		return bcd(tm.tm_mon + 1);
	case RTC_YEAR:
		return bcd(tm.tm_year % 100);
	case RTC_CENTURY:
		return bcd((tm.tm_year + 1900) / 100);
	case RTC_STATUS_A:
		return STATUS_A_RUNNING;
	case RTC_STATUS_B:
		return STATUS_B_24_HOUR;
	case RTC_STATUS_D:
		return STATUS_D_VALID;
	default:
		return 0;
	}
}
