/* SPDX-License-Identifier: MIT */
/* The kernel's own account of what it asked of the disk (Documentation/admin-guide/iostats). */
#include "guest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct account {
	uint64_t reads, sectors_read, writes, sectors_written, in_flight, flushes;
};

static bool find_account(const struct disk *disk, struct account *account)
{
	FILE *file = fopen("/proc/diskstats", "re");
	char line[512], name[32];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line,
			       "%*u %*u %31s %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64
			       " %*u %" SCNu64 " %*u %" SCNu64 " %*u %*u %*u %*u %*u %*u %" SCNu64,
			       name, &account->reads, &account->sectors_read, &account->writes,
			       &account->sectors_written, &account->in_flight,
			       &account->flushes) == 7 &&
			!strcmp(name, disk->name);
	fclose(file);
	return found;
}

bool check_diskstats(struct guest *guest, struct disk *disk, struct report *report)
{
	struct account a;

	if (!find_account(disk, &a))
		return fail(report, "/proc/diskstats has no line for %s", disk->name);
	if (!a.reads)
		return fail(report, "no reads");
	if (guest->mode == MODE_RO ? a.writes > 0 : a.writes == 0)
		return fail(report, "%" PRIu64 " writes", a.writes);
	if (a.in_flight)
		return fail(report, "%" PRIu64 " requests are still in flight", a.in_flight);
	return ok(report,
		  "reads %" PRIu64 " (%" PRIu64 " sectors), writes %" PRIu64 " (%" PRIu64
		  " sectors), flushes %" PRIu64,
		  a.reads, a.sectors_read, a.writes, a.sectors_written, a.flushes);
}
