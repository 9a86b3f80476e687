/* SPDX-License-Identifier: MIT */
/*
 * The block device: virtio device type 2 (specification 5.2) with one split virtqueue.
 *
 * Life of a device:
 *
 *     vblk_device_create()      -> status 0, no thread
 *     vblk_device_set_memory()     the guest's memory, once
 *     vblk_mmio_write() ...        the driver negotiates, sets up the queue, sets DRIVER_OK:
 *                                  now the worker starts (engine VBLK_ENGINE_WORKER)
 *     ...                          notifications wake the worker, it does the I/O, publishes
 *                                  and raises interrupts
 *     Status := 0                  reset: the worker stops, all is as after create but for the
 *                                  memory, the counters and the configuration generation
 *     vblk_device_destroy()
 *
 * Threads: all functions here may be called from any thread unless they say otherwise; what
 * changes the device is serialised inside. Exceptions: vblk_device_create and _destroy are called
 * once and alone, and a device with VBLK_ENGINE_INLINE takes no lock at all, so everything that
 * concerns it comes from one thread at a time.
 */
#ifndef VBLK_DEVICE_H
#define VBLK_DEVICE_H

#include <vblk/log.h>
#include <vblk/types.h>

VBLK_BEGIN_DECLS

/* Who takes requests off the queue. */
enum vblk_engine_kind {
	/* A thread of the device's own. A notification is one write to an eventfd. */
	VBLK_ENGINE_WORKER,
	/* The thread that notifies. For single-threaded emulators; no thread, no lock. */
	VBLK_ENGINE_INLINE,
};

/*
 * What to do with a chain that has no place for a status byte, and so cannot be answered.
 */
enum vblk_undeliverable {
	/* Drop it: the slot is consumed, nothing is published, io_errors counts it. */
	VBLK_UNDELIVERABLE_DROP,
	/* Poison the queue: NEEDS_RESET and a configuration interrupt (specification 2.1.2). */
	VBLK_UNDELIVERABLE_NEEDS_RESET,
};

/*
 * Limits, each of them optional and independent. A rate of 0 means no limit. A burst is the size
 * of the bucket, in the unit of its rate; 0 means as much as one second of the rate gives, and
 * otherwise it must not be below the rate. Every request costs one operation; IN, OUT and GET_ID
 * cost their data bytes too.
 */
struct vblk_throttle {
	uint64_t iops;	     /* operations per second */
	uint64_t iops_burst; /* operations */
	uint64_t bps;	     /* bytes per second */
	uint64_t bps_burst;  /* bytes */
};

/*
 * On which processors a worker runs. Taken up at its next start. Best effort: processors that do
 * not exist are skipped, and if nothing is left or the kernel refuses, a warning is logged and the
 * worker runs where it may.
 */
struct vblk_placement {
	bool pinned;	      /* run on processor `cpu` and nowhere else; `cpus` is ignored */
	uint32_t cpu;	      /* number as in sched_setaffinity(2) */
	const uint32_t *cpus; /* run on these; copied by whom it is given to */
	size_t cpu_count;     /* 0: no restriction; at most 1024 are kept */
};

/* Fill with zeros, then set what matters: 0 is the default of every field. */
struct vblk_device_options {
	enum vblk_engine_kind engine;
	enum vblk_undeliverable on_undeliverable;

	/*
	 * Size of the disk in bytes, at most 2^63-1. 0: what the backing says. It is rounded
	 * down to whole sectors. It may exceed the backing: reads beyond its end give zeros,
	 * writes there are up to the backing (a file grows).
	 */
	uint64_t capacity_bytes;

	/* Offer VIRTIO_BLK_F_RO and refuse writes. Required on a read-only backing. */
	bool read_only;

	/* What GET_ID answers: at most 20 bytes. NULL: "ktstr-virtio-blk". Copied. */
	const char *serial;

	/* Limits from the start. Copied. */
	struct vblk_throttle throttle;

	/* Longest wait for a worker to stop, in milliseconds. 0: 1000. */
	uint32_t stop_timeout_ms;

	/* Where the worker may run; all zero: wherever its creator may. Copied. */
	struct vblk_placement placement;

	/* Where messages go. Copied; see vblk/log.h for how long its context must live. */
	struct vblk_log log;

	/*
	 * The clock of the throttle: nanoseconds that never go backwards. NULL: CLOCK_MONOTONIC.
	 * Called from whichever thread runs the engine or starts it. Its context, like those of
	 * the callbacks, must live as long as that of the log.
	 */
	uint64_t (*clock)(void *context);
	void *clock_context;

	/*
	 * Called instead of a write to the interrupt eventfd each time the device raises its
	 * interrupt: from the thread that runs the engine, or from the one that sets DRIVER_OK on
	 * a device that cannot start, with the device's lock held. NULL: the eventfd is used. It
	 * must not block, must not wait for a lock that somebody holds while calling into the
	 * device, and must not call into the device, not even one with VBLK_ENGINE_INLINE.
	 */
	void (*interrupt)(void *context);
	void *interrupt_context;

	/*
	 * Called when the device has lost its worker and cannot serve the guest until it is reset
	 * (`error` is what pthread_create or a descriptor said) or, with -ETIMEDOUT, created anew:
	 * the worker did not stop in time and was abandoned. May be NULL. It is called with the
	 * device's lock held and must not call into the device.
	 */
	void (*worker_lost)(void *context, int error);
	void *worker_lost_context;
};

/*
 * Creates a device in its initial state on `backing`, of which it takes a reference of its own.
 * Nothing of the options is kept by pointer but the callbacks and their contexts.
 *
 * Returns 0 and a device; or
 *   -EINVAL     a serial longer than 20 bytes, a burst without its rate or below it, an unknown
 *               engine or enumerator;
 *   -EFBIG      a capacity above 2^63-1 bytes;
 *   -EROFS      the backing is read-only and the options are not;
 *   -EMFILE, -ENFILE, -ENOMEM.
 */
VBLK_API VBLK_MUST_USE int vblk_device_create(const struct vblk_device_options *options,
					      struct vblk_backing *backing,
					      struct vblk_device **device);

/*
 * Stops the device and frees it. The caller has made sure that no other thread is in a call on it
 * and that none will follow. Waits for a running worker at most for the stop timeout; one that is
 * stuck longer is abandoned: it keeps references to guest memory, backing and counters, touches
 * nothing of the guest any more and goes by itself when its I/O returns. NULL is ignored.
 */
VBLK_API void vblk_device_destroy(struct vblk_device *device);

/*
 * Binds guest memory, of which the device takes a reference. The first call counts: later ones
 * change nothing, log a warning and return -EALREADY. To be called before the guest runs.
 */
VBLK_API VBLK_MUST_USE int vblk_device_set_memory(struct vblk_device *device,
						  struct vblk_memory *memory);

/*
 * An eventfd (non-blocking, counter mode) that becomes readable when the device raises its
 * interrupt: made for KVM_IRQFD, edge style, without a resample descriptor. Owned by the device
 * and open until vblk_device_destroy. Unused when the options have an interrupt callback.
 */
VBLK_API int vblk_device_irq_fd(const struct vblk_device *device);

/*
 * An eventfd whose signal is a notification of queue `queue`, made for KVM_IOEVENTFD on
 * QueueNotify (4 bytes, data match = queue index). Owned by the device, the same until
 * vblk_device_destroy, across resets. -EINVAL if there is no such queue, -ENOTSUP with
 * VBLK_ENGINE_INLINE, where nobody waits on it.
 */
VBLK_API int vblk_device_kick_fd(const struct vblk_device *device, uint32_t queue);

/* Size of the disk in bytes, a multiple of VBLK_SECTOR_SIZE. */
VBLK_API uint64_t vblk_device_capacity(const struct vblk_device *device);

/* The device status register (specification 2.1). Lock-free. */
VBLK_API uint32_t vblk_device_status(const struct vblk_device *device);

/* A number that is unique in this process and names the device in log lines and thread names. */
VBLK_API uint32_t vblk_device_instance(const struct vblk_device *device);

/* The device's counters. Borrowed: take a reference to keep them longer than the device. */
VBLK_API struct vblk_metrics *vblk_device_metrics(const struct vblk_device *device);

/*
 * For VBLK_ENGINE_INLINE: when vblk_device_run should be called next for a request that waits
 * for tokens. Returns true and sets *deadline_ns on the device's clock, or false if nothing
 * waits. Always false with VBLK_ENGINE_WORKER, which has a timer of its own.
 */
VBLK_API bool vblk_device_next_deadline(const struct vblk_device *device, uint64_t *deadline_ns);

/*
 * For VBLK_ENGINE_INLINE: serves what can be served now, as a notification does; also what a
 * notification left over because it reached its bound. Harmless at any time and in any state.
 */
VBLK_API void vblk_device_run(struct vblk_device *device);

/*
 * Changes the limits, also while requests wait for tokens: they are looked at again at once. What
 * is in a bucket (or owed) carries over, up to its new size; a limit that is new starts full. The
 * order of requests does not change, and none is lost.
 * Returns 0 or -EINVAL (a burst without its rate or below it; nothing changed).
 */
VBLK_API VBLK_MUST_USE int vblk_device_set_throttle(struct vblk_device *device,
						    const struct vblk_throttle *throttle);

/*
 * Changes where workers run, from the next start (DRIVER_OK) on.
 * Returns 0, or -EINVAL (cpu_count without cpus).
 */
VBLK_API VBLK_MUST_USE int vblk_device_set_placement(struct vblk_device *device,
						     const struct vblk_placement *placement);

/*
 * --- Pause and resume: bringing the device to rest for a freeze of the whole machine ---
 *
 * A paused device has no request in hand, changes nothing in guest memory and raises no
 * interrupt. The driver notices nothing but time: notifications are kept. Buckets of the throttle
 * go on filling. A reset or destroy ends the pause.
 */

/*
 * Asks the worker to rest after the request in hand, and returns at once. Several calls count as
 * one. Returns true if exactly one acknowledgement follows on the parked eventfd for this call;
 * false if none does, because no worker runs (the device is at rest) or a pause is on already.
 * With VBLK_ENGINE_INLINE the rest begins and is acknowledged within the call.
 */
VBLK_API bool vblk_device_pause(struct vblk_device *device);

/*
 * Ends the pause, also one that the worker has not answered yet, and serves what was notified
 * meanwhile. Returns true if there is a worker that leaves its rest: vblk_device_is_paused turns
 * false shortly. False: there is nothing to wait for.
 */
VBLK_API bool vblk_device_resume(struct vblk_device *device);

/* Whether the device is at rest: paused, or without a worker. Lock-free. */
VBLK_API bool vblk_device_is_paused(const struct vblk_device *device);

/* Waits until the device is at rest. Returns 0 or -ETIMEDOUT. */
VBLK_API VBLK_MUST_USE int vblk_device_wait_paused(struct vblk_device *device, uint32_t timeout_ms);

/*
 * Names the eventfd that is incremented by each acknowledgement: one for all devices and vCPUs of
 * a machine, so that a coordinator counts on one descriptor. It is duplicated; -1 for none. May be
 * called at any time. Returns 0 or -errno (-EBADF, -EMFILE).
 */
VBLK_API VBLK_MUST_USE int vblk_device_set_parked_fd(struct vblk_device *device, int fd);

/* The flag behind vblk_device_is_paused. Borrowed: take a reference to outlive the device. */
VBLK_API struct vblk_park *vblk_device_park(const struct vblk_device *device);
VBLK_API bool vblk_park_is_paused(const struct vblk_park *park);
VBLK_API struct vblk_park *vblk_park_ref(struct vblk_park *park);
VBLK_API void vblk_park_unref(struct vblk_park *park);

VBLK_END_DECLS

#endif
