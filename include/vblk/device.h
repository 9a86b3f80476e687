/* SPDX-License-Identifier: MIT */
/*
 * The block device: virtio device type 2 (specification 5.2) with one split virtqueue, or several.
 *
 * Life of a device:
 *
 *     vblk_device_create()      -> status 0, no thread
 *     vblk_device_set_memory()     the guest's memory, once
 *     vblk_mmio_write() ...        the driver negotiates, sets up the queue, sets DRIVER_OK:
 *                                  now the worker starts (engine VBLK_ENGINE_WORKER), one for
 *                                  each queue
 *     ...                          notifications wake the worker, it does the I/O, publishes
 *                                  and raises interrupts
 *     Status := 0                  reset: the worker stops, all is as after create but for the
 *                                  memory, the counters and the configuration generation
 *     vblk_device_destroy()
 *
 * Threads: all functions here may be called from any thread unless they say otherwise; what
 * changes the device is serialised inside by a lock of its own. Exceptions: vblk_device_create and
 * _destroy are called once and alone, and a device with VBLK_ENGINE_INLINE takes no lock at all, so
 * everything that concerns it comes from one thread at a time.
 *
 * Waiting: a reset (Status := 0) and vblk_device_destroy wait for the workers, all together at most
 * as long as `stop_timeout_ms`, and a reset holds the device's lock meanwhile. So for that time
 * wait, too: vblk_device_set_memory, _pause, _resume, _set_throttle and _set_placement, and those
 * register writes of other vCPUs that vblk/mmio.h names. All else here, and every register read,
 * never waits, but for vblk_device_wait_paused, whose purpose it is.
 *
 * Callbacks of a device (log, clock, interrupt, worker_lost, and the operations of its backing)
 * must not call into it, with one exception. With VBLK_ENGINE_INLINE the interrupt callback and the
 * operations of the backing run on the stack of the call that made the device serve its queue, and
 * may call whatever there is for this device, as the guest's code that they stand for would, save
 * vblk_device_destroy and vblk_device_wait_paused (nobody else could bring what it waits for).
 * Then:
 *   - a notification of any queue, vblk_device_run, vblk_device_resume and new limits are
 *     remembered. They return at once, serve no queue, and take effect when the outer call has
 *     ended its pass over the queue; vblk_device_next_deadline says "now" if there is something
 *     to do;
 *   - a pause ends that pass after the request in hand; the rest begins, and is acknowledged,
 *     before the outer call returns;
 *   - a reset is over when it returns. The request in hand is carried out by the backing but not
 *     answered, and nothing more of the old life reaches the guest. The driver may set the device
 *     up again from there; it is served from the next call on.
 */
#ifndef VBLK_DEVICE_H
#define VBLK_DEVICE_H

#include <vblk/log.h>
#include <vblk/types.h>

VBLK_BEGIN_DECLS

/* Queues of a device, at most. */
#define VBLK_DEVICE_QUEUES_MAX 16u

/* Who takes requests off the queues. */
enum vblk_engine_kind {
	/* Threads of the device's own, one for each queue. A notification is one write to an
	 * eventfd. */
	VBLK_ENGINE_WORKER,
	/* The thread that notifies. For single-threaded emulators; no thread, no lock. */
	VBLK_ENGINE_INLINE,
	/*
	 * As VBLK_ENGINE_WORKER, and io_uring makes the calls to the disk, many at a time: answers
	 * come in the order in which the disk is done. Where io_uring is not to be had (the kernel
	 * or its administrator says no, the backing is no file, the library was built without), it
	 * is VBLK_ENGINE_WORKER, and one message says so.
	 */
	VBLK_ENGINE_URING,
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
 *
 * The workers of a device with several queues share `cpus`: they are dealt out in ascending order,
 * one to queue 0, one to queue 1, and so on until there are none left; where there are fewer
 * processors than queues, workers share one. So four queues on 0 and 1 run on 0, 1, 0, 1, and two
 * queues on 0 to 3 run on 0 and 2, and on 1 and 3. Processors that do not exist take part in that.
 */
struct vblk_placement {
	bool pinned;	      /* run on processor `cpu` and nowhere else; `cpus` is ignored */
	uint32_t cpu;	      /* number as in sched_setaffinity(2) */
	const uint32_t *cpus; /* run on these; copied by whom it is given to */
	size_t cpu_count;     /* 0: no restriction; at most 1024 are kept */
};

/* What a device offers to drivers. */
enum vblk_feature_set {
	/* All there is. Bits may be added in later versions; drivers take what they know. */
	VBLK_FEATURES_ALL,
	/*
	 * VERSION_1, EVENT_IDX, SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH and, of a read-only disk, RO;
	 * the configuration space ends with blk_size.
	 */
	VBLK_FEATURES_BASE,
};

/* Values of vblk_device_options.poll_us. */
#define VBLK_POLL_US_DEFAULT 50u
#define VBLK_POLL_US_MAX     1000000u
#define VBLK_POLL_NEVER	     UINT32_MAX

/* Fill with zeros, then set what matters: 0 is the default of every field. */
struct vblk_device_options {
	enum vblk_engine_kind engine;
	enum vblk_undeliverable on_undeliverable;
	enum vblk_feature_set features;

	/*
	 * Queues, at most VBLK_DEVICE_QUEUES_MAX; 0: 1. With more than one the device offers
	 * VIRTIO_BLK_F_MQ, which is not in VBLK_FEATURES_BASE; a driver that does not accept it
	 * finds one queue. Each has 256 entries at most and, with VBLK_ENGINE_WORKER, a worker of
	 * its own; limits, counters and the interrupt are the device's.
	 */
	uint16_t queues;

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

	/*
	 * How long a worker looks at an empty ring, at most, before it goes to sleep, in
	 * microseconds. It looks only when requests come so close behind each other that one is to
	 * be expected; an idle queue costs nothing. 0: VBLK_POLL_US_DEFAULT; VBLK_POLL_NEVER: not
	 * at all; at most 1000000.
	 */
	uint32_t poll_us;

	/* Longest wait for the workers to stop, in milliseconds. 0: 1000. */
	uint32_t stop_timeout_ms;

	/*
	 * Where the worker may run; all zero: wherever the thread may that calls
	 * vblk_device_create (and if that cannot be told, the one that sets DRIVER_OK). Copied.
	 * A worker runs under SCHED_OTHER, whatever the policy of the vCPU that starts it.
	 */
	struct vblk_placement placement;

	/* Where messages go. Copied; see vblk/log.h for how long its context must live. */
	struct vblk_log log;

	/*
	 * The clock of all limits: nanoseconds that never go backwards. NULL: CLOCK_MONOTONIC.
	 * Called from whichever thread runs the engine or starts it, and from those that make
	 * register accesses, for the limit on messages (vblk/log.h). Its context, like those of
	 * the callbacks, must live as long as that of the log.
	 */
	uint64_t (*clock)(void *context);
	void *clock_context;

	/*
	 * Called instead of a write to the interrupt eventfd each time the device raises its
	 * interrupt: from the thread that runs the engine, or from the one that sets DRIVER_OK on
	 * a device that cannot start, with the device's lock held. NULL: the eventfd is used. It
	 * must not block, must not wait for a lock that somebody holds while calling into the
	 * device, and must not call into the device, unless that has VBLK_ENGINE_INLINE: then it
	 * may do what is said at the top of this file.
	 */
	void (*interrupt)(void *context);
	void *interrupt_context;

	/*
	 * Called when the device has lost its worker and serves the guest no longer. The driver is
	 * told by NEEDS_RESET and an interrupt; after -ETIMEDOUT, when it sets DRIVER_OK next.
	 * `error`:
	 *   -ETIMEDOUT  the worker did not stop in time, at a reset or destroy, and was abandoned:
	 *               only a device created anew serves again. From the thread that stops it,
	 *               and once for all workers that it gives up then.
	 *   otherwise   it could not be started (what pthread_create or a descriptor said), from
	 *               the thread that sets DRIVER_OK or binds the memory; or a worker that ran
	 *               cannot wait for events any more and ends (what epoll_wait said: somebody
	 *               closed its descriptors), from the worker's own thread. A reset and
	 *               DRIVER_OK start another. If one of several workers cannot be started, those
	 *               that were are stopped again; if one of several ends, the others serve on.
	 * From the worker's thread it is called without the device's lock and perhaps at the same
	 * time as anything else, a reset included, which waits for its return; otherwise with the
	 * lock held. It must not call into the device in any case, must not block, and may be NULL.
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
 *               engine or enumerator, more than VBLK_DEVICE_QUEUES_MAX queues, or more than one
 *               with VBLK_FEATURES_BASE;
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
 * Binds guest memory, of which the device takes a reference. To be called before the guest runs;
 * but if the driver has set DRIVER_OK already, this starts the device.
 *
 * Returns 0; or
 *   -EALREADY   memory is bound: nothing changed, a warning is logged;
 *   -EMFILE, -ENFILE, -ENOMEM, -EAGAIN
 *               the memory is bound, but the start that was due failed. The driver has been told
 *               by NEEDS_RESET and an interrupt, the embedder also by `worker_lost`; the next
 *               start is the driver's, by a reset and DRIVER_OK.
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
 * vblk_device_destroy, across resets. -EINVAL if there is no such queue (they are those of the
 * options, whether the driver uses them or not), -ENOTSUP with VBLK_ENGINE_INLINE, where nobody
 * waits on it.
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
 * For VBLK_ENGINE_INLINE: when vblk_device_run should be called next. Returns true and sets
 * *deadline_ns on the device's clock: the time when a request that waits for tokens may pass (at
 * most a second away), or now, if a pass over the queue reached its bound or something was asked
 * for from inside of it; the earliest of all queues. False: nothing waits, or the device is paused
 * or not started. To be asked after each call that may have served the queue. Always false with
 * VBLK_ENGINE_WORKER, which has a timer of its own.
 */
VBLK_API bool vblk_device_next_deadline(const struct vblk_device *device, uint64_t *deadline_ns);

/*
 * For VBLK_ENGINE_INLINE: serves what can be served now, in all queues, as a notification does;
 * also what a notification left over because it reached its bound. One call passes once over each
 * queue and there serves at most as many requests as the queue is long. Harmless at any time and in
 * any state.
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

/* Bits of the flags of vblk_device_resize. */
#define VBLK_RESIZE_SHRINK (1u << 0) /* it may become smaller */

/*
 * Gives the disk another size, also while it is used; a driver that runs is told (configuration
 * generation and interrupt). A backing that is too short grows first. What is cut off stays in the
 * backing, but requests that reach it fail. Requests in hand are judged by the size at their start.
 *
 * Returns 0, or with nothing changed
 *   -EINVAL      0, or no multiple of VBLK_SECTOR_SIZE; an unknown flag;
 *   -EFBIG       above 2^63-1;
 *   -ERANGE      less than now, without VBLK_RESIZE_SHRINK;
 *   -EOPNOTSUPP  the backing is shorter and cannot grow; or what growing failed with.
 */
VBLK_API VBLK_MUST_USE int vblk_device_resize(struct vblk_device *device, uint64_t capacity_bytes,
					      uint32_t flags);

/*
 * Changes where workers run, from the next start (DRIVER_OK) on. All zero: where the thread could
 * that created the device.
 * Returns 0, or -EINVAL (cpu_count without cpus).
 */
VBLK_API VBLK_MUST_USE int vblk_device_set_placement(struct vblk_device *device,
						     const struct vblk_placement *placement);

/*
 * --- Pause and resume: bringing the device to rest for a freeze of the whole machine ---
 *
 * A paused device has no request in hand, changes nothing in guest memory and raises no
 * interrupt. The driver notices nothing but time: notifications are kept. Buckets of the throttle
 * go on filling.
 *
 * A pause is a level: vblk_device_pause sets it, vblk_device_resume, a reset and destroy clear it.
 * It is kept where nothing runs yet, and by a device whose worker is lost: one that is started
 * while it is set is at rest from the start and serves nothing before the resume. Registers work
 * as ever during a pause, so a driver may reset the device and with that end it. A coordinator that
 * wants to keep the guest still has to pause the vCPUs as well.
 */

/*
 * Sets the level, which asks the worker to rest after the request in hand, and does not wait for
 * that. Several calls count as one. Returns true if exactly one acknowledgement follows on the
 * parked eventfd for this call, however many queues there are: when the last worker has come to
 * rest, or when that is moot, by a resume, a reset, destroy or the loss of the worker. False if
 * none does, because no worker runs (the device is at rest, and will be when one starts) or a pause
 * is on already. With VBLK_ENGINE_INLINE the rest begins and is acknowledged within the call.
 */
VBLK_API bool vblk_device_pause(struct vblk_device *device);

/*
 * Clears the level, also of a pause that the worker has not answered yet, and lets it serve what
 * was notified meanwhile. Returns true if there is a worker that leaves its rest:
 * vblk_device_is_paused turns false shortly. False: there is nothing to wait for; no worker runs
 * and the device stays at rest, or it is one with VBLK_ENGINE_INLINE, which has served already.
 */
VBLK_API bool vblk_device_resume(struct vblk_device *device);

/* Whether the device is at rest: each worker is parked or does not run. Lock-free. */
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
