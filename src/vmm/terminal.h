/* SPDX-License-Identifier: MIT */
/*
 * The terminal that the guest's console is on.
 *
 * While a guest runs, keys go to it one by one and unechoed, Ctrl-Z and Ctrl-\ included. Ctrl-C
 * stays with the program: it ends the machine. Output is left as it is.
 *
 * There is one terminal per process, and its settings must be put back even if the process
 * crashes, so they are kept in static storage: one user at a time, one thread.
 */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include <vblk/types.h>

/*
 * Prepares descriptor `fd` for a guest if it is a terminal and this process is in its foreground.
 * Returns true if `fd` may be read: it is prepared, or no terminal at all. False: a terminal that
 * belongs to somebody else now, or cannot be set.
 */
bool vmm_terminal_prepare(int fd);

/*
 * Lets a crash restore the terminal, as vmm_terminal_prepare() does. To be called early, before
 * somebody else answers such a signal and hands on what is not his: base/sigbus.h does. What has
 * another than the default action already is left alone. It stays so, and may be called again.
 */
void vmm_terminal_catch_crashes(void);

/* Puts the settings back. Harmless if nothing was prepared. */
void vmm_terminal_restore(void);

#endif
