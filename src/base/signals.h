/* SPDX-License-Identifier: MIT */
/*
 * Signals are the embedder's, so threads of ours have them blocked. All but SIGBUS, which is about
 * what a thread itself has touched (sigbus.h); blocked, it would end the process.
 */
#ifndef VBLK_BASE_SIGNALS_H
#define VBLK_BASE_SIGNALS_H

#include <signal.h>

/*
 * Around the creation of a thread, which inherits the calling thread's mask: blocks them here,
 * with *before to be given back by vblk_signals_restore.
 */
static inline void vblk_signals_block(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static inline void vblk_signals_restore(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

#endif
