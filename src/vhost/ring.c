/* SPDX-License-Identifier: MIT */
/*
 * A ring and its worker.
 *
 * What a worker needs of a session beside guest memory (the dirty log, the record of requests in
 * flight) is held by a life: one per worker, shared by the ring and the worker's drain, which may
 * be left behind. The drain writes its last position there before it gives its share back.
 *
 * A worker that was given up leaves its life to the ring, as `left`, until it has ended: its write
 * may still land, and must not land on what another has written. So long the ring starts nobody. It
 * is counted by the disk meanwhile, and its end is an event for the session's thread.
 */
#include "vhost/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "base/log.h"
#include "device/config.h"

/* How long a worker may wait for its call descriptor once it has to stop. */
#define LOOK_AT_CALL_MS 20u

struct vblk_vhost_ring_life {
	atomic_uint refs;
	struct vblk_vhost_mapping_ref *log_mapping; /* owned; may be NULL */
	struct vblk_dirty_log log;
	struct vblk_vhost_mapping_ref *inflight_mapping; /* owned; may be NULL */
	struct vblk_vhost_inflight_queue *area;
	uint16_t area_size;
	uint16_t ring_size;
	struct vblk_vhost_inflight inflight;
	const struct vblk_memory *memory; /* the drain's; looked at by nobody else */
	struct vblk_memory_guard guard;

	struct vblk_disk *disk; /* owned */
	void (*lost)(void *context, int error);
	void *lost_context;

	pthread_mutex_t lock; /* guards all below */
	bool abandoned;	      /* its worker was given up */
	int event_fd;	      /* borrowed: written when one that was given up ends; -1: nobody's */

	/* Set by the drain when it ends. */
	bool ended;
	uint16_t next_avail;
	bool poisoned;
};

static void life_unref(struct vblk_vhost_ring_life *life)
{
	if (atomic_fetch_sub_explicit(&life->refs, 1, memory_order_acq_rel) != 1)
		return;
	vblk_vhost_mapping_unref(life->log_mapping);
	vblk_vhost_mapping_unref(life->inflight_mapping);
	vblk_disk_unref(life->disk);
	pthread_mutex_destroy(&life->lock);
	free(life);
}

/* Under the lock. An event that cannot be told is noticed with the next message. */
static void tell_of_end(struct vblk_vhost_ring_life *life)
{
	if (life->ended && life->abandoned && life->event_fd >= 0)
		(void)!vblk_eventfd_signal(life->event_fd);
}

static void drain_ended(void *context, const struct vblk_drain *drain)
{
	struct vblk_vhost_ring_life *life = context;

	pthread_mutex_lock(&life->lock);
	life->ended = true;
	if (drain) {
		life->next_avail = vblk_drain_next_avail(drain);
		life->poisoned = drain->poisoned;
	}
	tell_of_end(life);
	pthread_mutex_unlock(&life->lock);
	life_unref(life);
}

/*
 * The worker is given up. It may have ended since that was decided, but by then somebody may have
 * seen that it had not, and wait for the event.
 */
static void life_abandon(struct vblk_vhost_ring_life *life)
{
	pthread_mutex_lock(&life->lock);
	life->abandoned = true;
	tell_of_end(life);
	pthread_mutex_unlock(&life->lock);
	if (life->lost)
		life->lost(life->lost_context, -ETIMEDOUT);
}

static bool life_has_ended(struct vblk_vhost_ring_life *life)
{
	bool ended;

	pthread_mutex_lock(&life->lock);
	ended = life->ended;
	pthread_mutex_unlock(&life->lock);
	return ended;
}

/* The last share but the drain's: there is nobody any more to be told of the end. */
static void life_leave(struct vblk_vhost_ring_life *life)
{
	pthread_mutex_lock(&life->lock);
	life->event_fd = -1;
	pthread_mutex_unlock(&life->lock);
	life_unref(life);
}

/* Whether the front end has cut a file short that the drain stands on. By the thread that drains.
 */
static bool life_is_cut_off(void *context)
{
	const struct vblk_vhost_ring_life *life = context;

	return vblk_vhost_map_has_failed(life->memory) ||
	       (life->log_mapping && vblk_vhost_mapping_has_failed(life->log_mapping)) ||
	       (life->inflight_mapping && vblk_vhost_mapping_has_failed(life->inflight_mapping));
}

/* ---- the record of requests in flight, by the thread that drains ---- */

static int journal_open(void *context, uint16_t used_idx, struct vblk_journal_heads *heads)
{
	struct vblk_vhost_ring_life *life = context;
	struct vblk_vhost_recovery recovery;
	int ret;

	ret = vblk_vhost_inflight_open(&life->inflight, life->area, life->area_size,
				       life->ring_size, used_idx, &recovery);
	if (ret < 0)
		return ret;
	heads->count = recovery.count;
	memcpy(heads->head, recovery.heads, recovery.count * sizeof(heads->head[0]));
	return 0;
}

static void journal_claim(void *context, uint16_t head)
{
	struct vblk_vhost_ring_life *life = context;

	vblk_vhost_inflight_claim(&life->inflight, head);
}

static void journal_prepare(void *context, uint16_t head)
{
	struct vblk_vhost_ring_life *life = context;

	vblk_vhost_inflight_prepare(&life->inflight, head);
}

static void journal_commit(void *context, uint16_t head, uint16_t used_idx)
{
	struct vblk_vhost_ring_life *life = context;

	vblk_vhost_inflight_commit(&life->inflight, &head, 1, used_idx);
}

static const struct vblk_journal_ops journal_ops = {
	.open = journal_open,
	.claim = journal_claim,
	.prepare = journal_prepare,
	.commit = journal_commit,
};

/* ---- the ring ---- */

int vblk_vhost_ring_create(struct vblk_vhost_ring *ring, uint16_t index)
{
	int ret;

	memset(ring, 0, sizeof(*ring));
	ring->index = index;
	ring->kick_fd = -1;
	ret = vblk_park_create(&ring->park);
	if (ret == 0)
		pthread_mutex_init(&ring->lock, NULL);
	return ret;
}

void vblk_vhost_ring_destroy(struct vblk_vhost_ring *ring)
{
	if (ring->left)
		life_leave(ring->left);
	pthread_mutex_destroy(&ring->lock);
	vblk_park_unref(ring->park);
}

int vblk_vhost_ring_open(struct vblk_vhost_ring *ring, struct vblk_disk *disk)
{
	int ret = vblk_port_create(NULL, NULL, &disk->log, disk->metrics, &ring->port);

	if (ret < 0)
		return ret;
	vblk_port_set_owner(ring->port, disk->instance, &disk->clock);
	ret = vblk_port_add_error_fd(ring->port);
	if (ret < 0) {
		vblk_port_unref(ring->port);
		ring->port = NULL;
		return ret;
	}
	vblk_vhost_ring_reset(ring);
	return 0;
}

static void close_kick(struct vblk_vhost_ring *ring)
{
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	ring->kick_fd = -1;
}

void vblk_vhost_ring_close(struct vblk_vhost_ring *ring)
{
	close_kick(ring);
	vblk_port_unref(ring->port);
	ring->port = NULL;
}

void vblk_vhost_ring_reset(struct vblk_vhost_ring *ring)
{
	close_kick(ring);
	ring->size = VBLK_QUEUE_SIZE_MAX;
	ring->base = 0;
	ring->has_addr = false;
	ring->enabled = false;
	ring->has_run = false;
	ring->broken = false;
	ring->unsure = false;
	vblk_port_reset(ring->port);
}

bool vblk_vhost_ring_is_free(struct vblk_vhost_ring *ring)
{
	if (!ring->left)
		return true;
	if (!life_has_ended(ring->left))
		return false;
	if (ring->unsure) {
		ring->base = ring->left->next_avail;
		ring->broken = ring->left->poisoned;
	}
	life_unref(ring->left);
	ring->left = NULL;
	ring->freed = true;
	ring->unsure = false;
	ring->waits = false;
	return true;
}

bool vblk_vhost_ring_knows_base(struct vblk_vhost_ring *ring)
{
	return vblk_vhost_ring_is_free(ring) || !ring->unsure;
}

void vblk_vhost_ring_set_base(struct vblk_vhost_ring *ring, uint16_t base)
{
	ring->base = base;
	ring->broken = false;
	ring->unsure = false;
}

/* Ours must not wait for theirs: a counter that is full, or no counter at all. */
static int make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/*
 * What a worker may write to: an eventfd, or a socket, which user-mode Linux has in its place. The
 * front end can make either of them block, and get its worker stuck; then make_room() helps.
 */
static int check_call(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISSOCK(st.st_mode) ? 0 : vblk_eventfd_check(fd);
}

/* A worker reads its kick and never waits in that: an eventfd can be read so, whatever its flags.
 */
int vblk_vhost_ring_set_kick(struct vblk_vhost_ring *ring, int fd)
{
	int ret = vblk_eventfd_check(fd);

	if (ret < 0) {
		close(fd);
		return ret;
	}
	close_kick(ring);
	ring->kick_fd = fd;
	return 0;
}

/*
 * Puts `fd`, or an eventfd that nobody listens to, in the place of a descriptor of the port. Its
 * number stays, so a worker that writes to it needs no lock: it reaches the old or the new one.
 */
static int put_in_place(int place, int fd)
{
	int ret = 0;

	if (fd < 0)
		ret = vblk_eventfd_create(&fd);
	else
		ret = check_call(fd);
	if (ret == 0)
		ret = make_nonblocking(fd);
	if (ret == 0 && dup3(fd, place, O_CLOEXEC) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	return ret;
}

int vblk_vhost_ring_set_call(struct vblk_vhost_ring *ring, int fd)
{
	return put_in_place(ring->port->irq_fd, fd);
}

int vblk_vhost_ring_set_err(struct vblk_vhost_ring *ring, int fd)
{
	return put_in_place(ring->port->err_fd, fd);
}

/* The ring's parts in guest-physical addresses. */
static int translate(const struct vblk_vhost_ring *ring, const struct vblk_vhost_regions *regions,
		     struct vblk_queue_layout *layout)
{
	const uint64_t size = ring->size;
	int ret;

	layout->size = ring->size;
	layout->ready = true;
	ret = vblk_vhost_regions_translate(regions, ring->addr.desc_user_addr,
					   size * sizeof(struct vring_desc), &layout->desc);
	if (ret == 0)
		ret = vblk_vhost_regions_translate(regions, ring->addr.avail_user_addr,
						   sizeof(uint16_t) * (size + 3), &layout->avail);
	if (ret == 0)
		ret = vblk_vhost_regions_translate(regions, ring->addr.used_user_addr,
						   sizeof(uint16_t) * 3 +
							   size * sizeof(struct vring_used_elem),
						   &layout->used);
	return ret;
}

/* A record without room for this ring is of no use to it, but no reason not to serve it. */
static bool has_record(const struct vblk_vhost_ring *ring, const struct vblk_vhost_ring_env *env)
{
	if (!env->inflight || ring->index >= env->inflight_queues)
		return false;
	if (ring->size <= env->inflight_size)
		return true;
	vblk_log_emit(&env->disk->log, VBLK_LOG_WARN,
		      "ring is longer than its record of requests in flight: they are lost if this "
		      "process is killed",
		      VBLK_FIELD_UINT("instance", env->disk->instance),
		      VBLK_FIELD_UINT("queue", ring->index), VBLK_FIELD_UINT("size", ring->size),
		      VBLK_FIELD_UINT("record", env->inflight_size));
	return false;
}

static struct vblk_vhost_ring_life *life_create(const struct vblk_vhost_ring *ring,
						const struct vblk_vhost_ring_env *env)
{
	struct vblk_vhost_ring_life *life = calloc(1, sizeof(*life));

	if (!life)
		return NULL;
	atomic_init(&life->refs, 2); /* the ring's and the drain's */
	life->memory = env->memory;
	life->guard = (struct vblk_memory_guard){ life_is_cut_off, life };
	pthread_mutex_init(&life->lock, NULL);
	life->disk = vblk_disk_ref(env->disk);
	life->lost = env->host.lost;
	life->lost_context = env->host.lost_context;
	life->event_fd = env->event_fd;
	if (env->log) {
		life->log_mapping = vblk_vhost_mapping_ref(env->log);
		life->log =
			(struct vblk_dirty_log){ vblk_vhost_mapping_at(env->log), env->log_size };
	}
	if (has_record(ring, env)) {
		life->inflight_mapping = vblk_vhost_mapping_ref(env->inflight);
		life->area = (void *)((uint8_t *)vblk_vhost_mapping_at(env->inflight) +
				      ring->index * vblk_vhost_inflight_stride(env->inflight_size));
		life->area_size = env->inflight_size;
		life->ring_size = ring->size;
	}
	return life;
}

static bool feature(const struct vblk_vhost_ring_env *env, unsigned number)
{
	return env->features >> number & 1;
}

static void describe(const struct vblk_vhost_ring *ring, const struct vblk_vhost_ring_env *env,
		     struct vblk_vhost_ring_life *life, struct vblk_drain_config *config)
{
	config->disk = env->disk;
	config->rules = vblk_rules_negotiated(env->disk, env->features);
	config->stable_writes = vblk_writes_are_stable(env->features);
	config->memory = env->memory;
	config->port = ring->port;
	config->event_idx = feature(env, VIRTIO_RING_F_EVENT_IDX);
	config->index = ring->index;
	config->continues = true;
	config->next_avail = ring->base;
	if (life->log_mapping && feature(env, VBLK_VHOST_F_LOG_ALL))
		config->dirty = &life->log;
	config->guard = &life->guard;
	if (life->inflight_mapping)
		config->journal = (struct vblk_journal){ &journal_ops, life };
	config->ended = drain_ended;
	config->ended_context = life;
}

/* Whether all is said that has to be said before a ring is served. */
static bool is_wanted(const struct vblk_vhost_ring *ring, const struct vblk_vhost_ring_env *env)
{
	return ring->kick_fd >= 0 && ring->enabled && ring->has_addr && env->memory &&
	       !ring->broken;
}

/* Once for each worker that is waited for, however often the front end asks. */
static void say_that_it_waits(struct vblk_vhost_ring *ring, const struct vblk_disk *disk)
{
	if (!ring->waits)
		vblk_log_emit(
			&disk->log, VBLK_LOG_WARN,
			"ring waits: a worker of it that was given up still hangs in the disk",
			VBLK_FIELD_UINT("instance", disk->instance),
			VBLK_FIELD_UINT("queue", ring->index));
	ring->waits = true;
}

/* Under the lock: a pause either comes before it, or finds the worker. */
static int start_worker(struct vblk_vhost_ring *ring, const struct vblk_vhost_ring_env *env,
			struct vblk_drain_config *config)
{
	struct vblk_vhost_ring_life *life = life_create(ring, env);
	int ret;

	if (!life)
		return -ENOMEM;
	describe(ring, env, life, config);
	if (ring->paused && vblk_park_request(ring->park))
		abort(); /* without a worker there is nobody to acknowledge */
	ret = vblk_worker_start(config, &env->host, ring->park, ring->kick_fd, &ring->worker);
	if (ret < 0) {
		life_unref(life); /* the drain has given back its own */
		return ret;
	}
	ring->life = life;
	ring->has_run = true;
	return 0;
}

int vblk_vhost_ring_start(struct vblk_vhost_ring *ring, const struct vblk_vhost_ring_env *env,
			  const char **reason)
{
	struct vblk_drain_config config = { 0 };
	int ret;

	*reason = NULL;
	if (ring->worker || !is_wanted(ring, env))
		return 0;
	if (!vblk_vhost_ring_is_free(ring)) {
		say_that_it_waits(ring, env->disk);
		return 0;
	}
	if (ring->broken)
		return 0;
	*reason = "the ring is not in the memory that was shared";
	ret = translate(ring, env->regions, &config.layout);
	if (ret < 0)
		return ret;
	*reason = "the ring's worker cannot be started";
	pthread_mutex_lock(&ring->lock);
	ret = ring->ends ? 0 : start_worker(ring, env, &config);
	pthread_mutex_unlock(&ring->lock);
	if (ret == 0)
		*reason = NULL;
	return ret;
}

bool vblk_vhost_ring_pause(struct vblk_vhost_ring *ring)
{
	bool follows;

	pthread_mutex_lock(&ring->lock);
	ring->paused = true;
	follows = vblk_park_request(ring->park);
	if (ring->worker)
		vblk_worker_wake(ring->worker);
	pthread_mutex_unlock(&ring->lock);
	return follows;
}

void vblk_vhost_ring_resume(struct vblk_vhost_ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	ring->paused = false;
	vblk_park_release(ring->park);
	pthread_mutex_unlock(&ring->lock);
}

void vblk_vhost_ring_end(struct vblk_vhost_ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	ring->ends = true;
	if (ring->worker)
		vblk_worker_ask_to_stop(ring->worker);
	pthread_mutex_unlock(&ring->lock);
}

void vblk_vhost_ring_ask_to_stop(struct vblk_vhost_ring *ring)
{
	if (ring->worker)
		vblk_worker_ask_to_stop(ring->worker);
}

/*
 * Waits as long as it takes, up to the timeout. A front end that fills its call descriptor and
 * makes it block could have us wait that long whenever it likes; so every now and then we make room
 * there.
 */
static uint32_t wait_for_worker(struct vblk_vhost_ring *ring, uint32_t timeout_ms)
{
	uint64_t deadline_ns = vblk_clock_in_ms(timeout_ms);
	uint32_t left = timeout_ms;

	while (left > 0) {
		if (vblk_worker_wait(ring->worker, left < LOOK_AT_CALL_MS ? left : LOOK_AT_CALL_MS))
			break;
		vblk_eventfd_make_room(ring->port->irq_fd);
		vblk_eventfd_make_room(ring->port->err_fd);
		left = vblk_clock_ms_until(deadline_ns);
	}
	return left;
}

void vblk_vhost_ring_stop(struct vblk_vhost_ring *ring, uint32_t timeout_ms)
{
	struct vblk_worker *worker = ring->worker;
	uint32_t left;

	if (!worker)
		return;
	vblk_worker_ask_to_stop(worker);
	left = wait_for_worker(ring, timeout_ms);
	/* Others may be about to ask something of it. */
	pthread_mutex_lock(&ring->lock);
	ring->worker = NULL;
	pthread_mutex_unlock(&ring->lock);
	if (vblk_worker_stop(worker, left) == 0) {
		ring->base = ring->life->next_avail;
		ring->broken = ring->life->poisoned;
		life_unref(ring->life);
	} else {
		life_abandon(ring->life);
		ring->left = ring->life;
		ring->unsure = true;
	}
	ring->life = NULL;
}
