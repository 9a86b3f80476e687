/* SPDX-License-Identifier: MIT */
/*
 * Static probes (USDT) of the provider "vblk", for bpftrace, perf and SystemTap. docs/metrics.md
 * says what their arguments are and shows how to use them. Tracers count in a word how many of them
 * watch a probe (a semaphore, as SystemTap calls it). Each probe stands in one place of the
 * program, because perf knows but one: on the way of each request there is only a look at that
 * word.
 *
 * No argument has 8 bits: gdb does not know the names of the registers that would be in (r14b).
 *
 * They are there if <sys/sdt.h> was when this was built, and are nothing otherwise.
 */
#ifndef VBLK_METRICS_PROBES_H
#define VBLK_METRICS_PROBES_H

#ifdef VBLK_HAVE_SDT
#include <stdint.h>

/* NOLINTNEXTLINE(bugprone-reserved-identifier): what the header asks for. */
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#define VBLK_PROBE_WATCHERS(name) \
	extern volatile unsigned short vblk_##name##_semaphore __attribute__((visibility("hidden")))

VBLK_PROBE_WATCHERS(submit);
VBLK_PROBE_WATCHERS(complete);
VBLK_PROBE_WATCHERS(throttle);
VBLK_PROBE_WATCHERS(poison);

#define VBLK_PROBE_IS_WATCHED(name) __builtin_expect(vblk_##name##_semaphore != 0, 0)
#define VBLK_PROBE_SUBMIT(instance, queue, head, type, sector, bytes) \
	DTRACE_PROBE6(vblk, submit, instance, queue, head, type, sector, bytes)
#define VBLK_PROBE_COMPLETE(instance, queue, head, type, status, ns) \
	DTRACE_PROBE6(vblk, complete, instance, queue, head, type, (uint32_t)(status), ns)
#define VBLK_PROBE_THROTTLE(instance, queue, head, wait_ns) \
	DTRACE_PROBE4(vblk, throttle, instance, queue, head, wait_ns)
#define VBLK_PROBE_POISON(instance, queue) DTRACE_PROBE2(vblk, poison, instance, queue)
#else
#define VBLK_PROBE_IS_WATCHED(name) 0
#define VBLK_PROBE_SUBMIT(instance, queue, head, type, sector, bytes) \
	((void)(instance), (void)(queue), (void)(head), (void)(type), (void)(sector), (void)(bytes))
#define VBLK_PROBE_COMPLETE(instance, queue, head, type, status, ns) \
	((void)(instance), (void)(queue), (void)(head), (void)(type), (void)(status), (void)(ns))
#define VBLK_PROBE_THROTTLE(instance, queue, head, wait_ns) \
	((void)(instance), (void)(queue), (void)(head), (void)(wait_ns))
#define VBLK_PROBE_POISON(instance, queue) ((void)(instance), (void)(queue))
#endif

#endif
