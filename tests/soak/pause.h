/* SPDX-License-Identifier: MIT */
/* Ways to bring devices to rest; see pause.c. By any thread but the drivers. */
#ifndef TESTS_SOAK_PAUSE_H
#define TESTS_SOAK_PAUSE_H

#include "station.h"

/* One device, with its driver at rest: `copy` (of all its memory) tells whether anything moved. */
void pause_and_look(struct station *station, struct rng *rng, uint8_t *copy);

/* All devices of the machine, as a freeze coordinator does it. By the controller only. */
void pause_machine(struct soak *soak, struct rng *rng);

/* One device, while its driver does as it likes; sometimes ended by a reset. */
void pause_loosely(struct station *station, struct rng *rng);

/* One device, until its driver resets it: it must rest through the reset. */
void pause_through_reset(struct station *station);

#endif
