/* SPDX-License-Identifier: MIT */
/*
 * The device's own voice (port), the right to use it (lease), and what carries it (eventfd).
 */
#include "request/port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "metrics/metrics.h"
#include "request/lease.h"

/* --- eventfd --- */

static bool is_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	assert_true(poll(&pfd, 1, 0) >= 0);
	return pfd.revents & POLLIN;
}

static void test_eventfd_counts(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(vblk_eventfd_create(&fd), 0);
	assert_false(is_readable(fd));
	assert_int_equal(vblk_eventfd_clear(fd), 0); /* and does not block */
	for (int i = 0; i < 3; i++)
		assert_int_equal(vblk_eventfd_signal(fd), 0);
	assert_true(is_readable(fd));
	assert_int_equal(vblk_eventfd_clear(fd), 3);
	assert_false(is_readable(fd));
	close(fd);
}

static void test_eventfd_is_not_inherited(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(vblk_eventfd_create(&fd), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
}

static void test_eventfd_full_counter_is_no_error(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	int fd;

	(void)state;
	assert_int_equal(vblk_eventfd_create(&fd), 0);
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	assert_int_equal(vblk_eventfd_signal(fd), 0);
	assert_true(vblk_eventfd_clear(fd) == full);
	close(fd);
}

static void test_eventfd_bad_descriptor(void **state)
{
	(void)state;
	assert_int_equal(vblk_eventfd_signal(-1), -EBADF);
	assert_int_equal(vblk_eventfd_clear(-1), 0);
}

/* Lets no more descriptors be opened; returns what the limit was. */
static rlim_t exhaust_descriptors(void)
{
	struct rlimit limit;
	rlim_t was;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	was = limit.rlim_cur;
	limit.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return was;
}

static void restore_descriptors(rlim_t was)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = was;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_eventfd_no_descriptors_left(void **state)
{
	rlim_t was = exhaust_descriptors();
	int fd = -7;
	int ret = vblk_eventfd_create(&fd);

	(void)state;
	restore_descriptors(was);
	assert_int_equal(ret, -EMFILE);
	assert_int_equal(fd, -7);
}

/* --- port --- */

struct rig {
	struct vblk_metrics *metrics;
	struct vblk_port *port;
	struct vblk_log log;
	unsigned warnings;
	uint64_t instance;	   /* of the last warning */
	int64_t error;		   /* the same */
	unsigned interrupts;	   /* calls of the callback */
	uint32_t device_status;	   /* what it saw */
	uint32_t interrupt_status; /* the same */
};

static void note_warning(void *context, enum vblk_log_level level, const char *message,
			 const struct vblk_log_field *fields, size_t count)
{
	struct rig *rig = context;

	assert_int_equal(level, VBLK_LOG_WARN);
	assert_string_equal(message, "cannot raise the interrupt");
	assert_true(count >= 2);
	assert_string_equal(fields[0].key, "instance");
	rig->instance = fields[0].value.u;
	rig->error = fields[1].value.i;
	rig->warnings++;
}

static void note_interrupt(void *context)
{
	struct rig *rig = context;

	rig->interrupts++;
	rig->device_status = atomic_load(&rig->port->device_status);
	rig->interrupt_status = atomic_load(&rig->port->interrupt_status);
}

static void rig_create(struct rig *rig, bool callback)
{
	memset(rig, 0, sizeof(*rig));
	rig->log = (struct vblk_log){ note_warning, rig, VBLK_LOG_WARN };
	assert_int_equal(vblk_metrics_create(&rig->metrics), 0);
	assert_int_equal(vblk_port_create(callback ? note_interrupt : NULL, rig, &rig->log,
					  rig->metrics, &rig->port),
			 0);
}

static void rig_destroy(struct rig *rig)
{
	vblk_port_unref(rig->port);
	vblk_metrics_unref(rig->metrics);
}

static uint64_t interrupts_counted(const struct rig *rig)
{
	struct vblk_metrics_snapshot snapshot;

	vblk_metrics_read(rig->metrics, &snapshot);
	return snapshot.interrupts;
}

static void test_port_starts_quiet(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	assert_int_equal(atomic_load(&rig.port->device_status), 0);
	assert_int_equal(atomic_load(&rig.port->interrupt_status), 0);
	assert_false(is_readable(rig.port->irq_fd));
	assert_int_equal(interrupts_counted(&rig), 0);
	rig_destroy(&rig);
}

static void test_port_no_descriptors_left(void **state)
{
	struct vblk_port *port = NULL;
	struct vblk_metrics *metrics;
	struct vblk_log log = { 0 };
	rlim_t was;
	int ret;

	(void)state;
	assert_int_equal(vblk_metrics_create(&metrics), 0);
	was = exhaust_descriptors();
	ret = vblk_port_create(NULL, NULL, &log, metrics, &port);
	restore_descriptors(was);
	assert_int_equal(ret, -EMFILE);
	assert_null(port);
	vblk_metrics_unref(metrics);
}

static void test_port_lives_as_long_as_its_last_reference(void **state)
{
	struct rig rig;
	int fd;

	(void)state;
	rig_create(&rig, false);
	fd = rig.port->irq_fd;
	assert_ptr_equal(vblk_port_ref(rig.port), rig.port);
	vblk_port_unref(rig.port);
	/* The counters are the port's as well. */
	vblk_metrics_unref(rig.metrics);
	vblk_port_raise(rig.port);
	assert_int_equal(interrupts_counted(&rig), 1);
	assert_int_equal(vblk_eventfd_clear(fd), 1);
	vblk_port_unref(rig.port);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	vblk_port_unref(NULL);
}

static void test_port_raise_writes_the_eventfd(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	vblk_port_raise(rig.port);
	vblk_port_raise(rig.port);
	assert_int_equal(vblk_eventfd_clear(rig.port->irq_fd), 2);
	assert_int_equal(interrupts_counted(&rig), 2);
	/* The registers are others' business. */
	assert_int_equal(atomic_load(&rig.port->interrupt_status), 0);
	rig_destroy(&rig);
}

static void test_port_raise_calls_back_instead(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	vblk_port_raise(rig.port);
	vblk_port_raise(rig.port);
	assert_int_equal(rig.interrupts, 2);
	assert_int_equal(interrupts_counted(&rig), 2);
	assert_false(is_readable(rig.port->irq_fd));
	rig_destroy(&rig);
}

static void test_D8_interrupt_that_cannot_be_raised_is_logged(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	close(rig.port->irq_fd);
	rig.port->irq_fd = -1;
	vblk_port_set_owner(rig.port, 7, &(struct vblk_clock){ 0 });
	vblk_port_raise(rig.port);
	assert_int_equal(rig.warnings, 1);
	assert_int_equal(rig.instance, 7);
	assert_int_equal(rig.error, -EBADF);
	rig_destroy(&rig);
}

/* For those who hold a lease, behind which a log callback may take its time. */
static void test_port_signal_says_nothing(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	close(rig.port->irq_fd);
	rig.port->irq_fd = -1;
	assert_int_equal(vblk_port_signal(rig.port), -EBADF);
	assert_int_equal(vblk_port_signal_needs_reset(rig.port), -EBADF);
	assert_int_equal(interrupts_counted(&rig), 2);
	assert_int_equal(rig.warnings, 0);
	vblk_port_log(rig.port, 0);
	assert_int_equal(rig.warnings, 0);
	vblk_port_log(rig.port, -EBADF);
	assert_int_equal(rig.warnings, 1);
	rig_destroy(&rig);
}

static uint64_t stopped_clock(void *context)
{
	return *(uint64_t *)context;
}

/* The guest decides how many there are, and a reset must not let it start anew. */
static void test_port_messages_are_limited_over_resets(void **state)
{
	uint64_t now_ns = 1;
	const struct vblk_clock clock = { stopped_clock, &now_ns };
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	vblk_port_set_owner(rig.port, 0, &clock);
	for (unsigned i = 0; i < 3 * VBLK_LOG_BURST; i++) {
		vblk_port_log(rig.port, -EBADF);
		vblk_port_reset(rig.port);
	}
	assert_int_equal(rig.warnings, VBLK_LOG_BURST);
	now_ns += VBLK_LOG_INTERVAL_NS;
	vblk_port_log(rig.port, -EBADF);
	assert_int_equal(rig.warnings, VBLK_LOG_BURST + 1);
	rig_destroy(&rig);
}

static void test_O5_interrupt_status_bits_add_up(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	vblk_port_set_interrupt_status(rig.port, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(atomic_load(&rig.port->interrupt_status), 1);
	vblk_port_set_interrupt_status(rig.port, VIRTIO_MMIO_INT_CONFIG);
	vblk_port_set_interrupt_status(rig.port, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(atomic_load(&rig.port->interrupt_status), 3);
	assert_false(is_readable(rig.port->irq_fd));
	assert_int_equal(interrupts_counted(&rig), 0);
	rig_destroy(&rig);
}

/* D-6: both registers say it before the interrupt does; bits that were set stay. */
static void test_D6_needs_reset_is_told_in_order(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, true);
	atomic_store(&rig.port->device_status, 0xf);
	vblk_port_set_interrupt_status(rig.port, VIRTIO_MMIO_INT_VRING);
	vblk_port_set_needs_reset(rig.port);
	assert_int_equal(rig.interrupts, 1);
	assert_int_equal(rig.device_status, 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(rig.interrupt_status, 3);
	assert_int_equal(atomic_load(&rig.port->device_status), 0x4f);
	rig_destroy(&rig);
}

static void test_port_reset_forgets_everything(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, false);
	atomic_store(&rig.port->device_status, 0xf);
	vblk_port_set_needs_reset(rig.port);
	vblk_port_raise(rig.port);
	vblk_port_reset(rig.port);
	assert_int_equal(atomic_load(&rig.port->device_status), 0);
	assert_int_equal(atomic_load(&rig.port->interrupt_status), 0);
	assert_false(is_readable(rig.port->irq_fd));
	/* But the counter, which is the embedder's, and the ability to go on. */
	assert_int_equal(interrupts_counted(&rig), 2);
	vblk_port_raise(rig.port);
	assert_int_equal(vblk_eventfd_clear(rig.port->irq_fd), 1);
	rig_destroy(&rig);
}

/* --- lease --- */

static void test_lease_is_held_again_and_again(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	for (int i = 0; i < 3; i++) {
		assert_false(vblk_lease_is_revoked(&lease));
		assert_true(vblk_lease_hold(&lease));
		assert_false(vblk_lease_is_revoked(&lease));
		vblk_lease_release(&lease);
	}
}

static void test_lease_revoked_is_for_good(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	assert_int_equal(vblk_lease_revoke(&lease), 0);
	for (int i = 0; i < 3; i++) {
		assert_true(vblk_lease_is_revoked(&lease));
		assert_false(vblk_lease_hold(&lease));
	}
}

static void test_lease_that_is_held_is_revoked_for_the_next_hold(void **state)
{
	struct vblk_lease lease;

	(void)state;
	vblk_lease_init(&lease);
	assert_true(vblk_lease_hold(&lease));
	assert_int_equal(vblk_lease_revoke(&lease), -EBUSY);
	assert_true(vblk_lease_is_revoked(&lease));
	vblk_lease_release(&lease);
	assert_true(vblk_lease_is_revoked(&lease));
	assert_false(vblk_lease_hold(&lease));
	assert_int_equal(vblk_lease_revoke(&lease), 0);
}

/* A worker that touches the guest, under its lease, as often as it can. */
struct worker {
	struct vblk_lease lease;
	atomic_bool started;
	uint64_t guest; /* not atomic: the lease is what protects it */
};

static void *work(void *context)
{
	struct worker *worker = context;

	while (vblk_lease_hold(&worker->lease)) {
		worker->guest++;
		atomic_store_explicit(&worker->started, true, memory_order_relaxed);
		vblk_lease_release(&worker->lease);
	}
	return NULL;
}

/* Once it is revoked, the guest is ours alone: ThreadSanitizer would see it if it were not. */
static void test_lease_revoked_keeps_the_worker_out(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct worker worker = { .guest = 0 };
		pthread_t thread;
		uint64_t seen;

		vblk_lease_init(&worker.lease);
		assert_int_equal(pthread_create(&thread, NULL, work, &worker), 0);
		while (!atomic_load_explicit(&worker.started, memory_order_relaxed))
			sched_yield();
		while (vblk_lease_revoke(&worker.lease) == -EBUSY)
			sched_yield();
		seen = worker.guest++;
		pthread_join(thread, NULL);
		assert_int_equal(worker.guest, seen + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eventfd_counts),
		cmocka_unit_test(test_eventfd_is_not_inherited),
		cmocka_unit_test(test_eventfd_full_counter_is_no_error),
		cmocka_unit_test(test_eventfd_bad_descriptor),
		cmocka_unit_test(test_eventfd_no_descriptors_left),
		cmocka_unit_test(test_port_starts_quiet),
		cmocka_unit_test(test_port_no_descriptors_left),
		cmocka_unit_test(test_port_lives_as_long_as_its_last_reference),
		cmocka_unit_test(test_port_raise_writes_the_eventfd),
		cmocka_unit_test(test_port_raise_calls_back_instead),
		cmocka_unit_test(test_D8_interrupt_that_cannot_be_raised_is_logged),
		cmocka_unit_test(test_port_signal_says_nothing),
		cmocka_unit_test(test_port_messages_are_limited_over_resets),
		cmocka_unit_test(test_O5_interrupt_status_bits_add_up),
		cmocka_unit_test(test_D6_needs_reset_is_told_in_order),
		cmocka_unit_test(test_port_reset_forgets_everything),
		cmocka_unit_test(test_lease_is_held_again_and_again),
		cmocka_unit_test(test_lease_revoked_is_for_good),
		cmocka_unit_test(test_lease_that_is_held_is_revoked_for_the_next_hold),
		cmocka_unit_test(test_lease_revoked_keeps_the_worker_out),
	};

	return cmocka_run_group_tests_name("port", tests, NULL, NULL);
}
