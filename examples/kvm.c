/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine monitor with one disk: kvm [DISK]
 *
 * Everything that a monitor has to do for a device with a worker, for KVM on x86-64: guest memory,
 * the register window (KVM_EXIT_MMIO), notifications that do not leave the kernel (KVM_IOEVENTFD)
 * and interrupts that do not pass through here (KVM_IRQFD).
 *
 * The guest is 16-bit code of some hundred bytes. It finds the device, sets up a queue, reads
 * sector 1, sleeps until the interrupt, acknowledges it and prints what it has read, up to the
 * first NUL, by port 0xe9; then it writes the status of its request to port 0xf4, which ends it.
 *
 * Without an argument the disk is in memory. Ends with 77 where there is no KVM to use.
 *
 * The guest's memory, in its own addresses:
 *
 *     0x0000  interrupt vectors
 *     0x1000  descriptors     0x1100  available ring     0x1200  used ring
 *     0x2000  header          0x2010  status byte        0x2020  number of interrupts
 *     0x2200  data
 *     0x7000  end of the stack, which grows downwards
 *     0x8000  the code
 *     0xc000  end of memory
 *     0xd000  the device's register window
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vblk/vblk.h>

#define RAM_SIZE    0xc000u
#define CODE	    0x8000u
#define WINDOW	    0xd000u
#define NOTIFY	    (WINDOW + 0x50u) /* QueueNotify */
#define IRQ	    5u
#define PRINT_PORT  0xe9u
#define END_PORT    0xf4u
#define TSS_ADDRESS 0xfffbd000u /* three pages that KVM wants on older Intel processors */
#define PATIENCE    60u		/* seconds */
#define SKIP	    77

__asm__(".pushsection .rodata, \"a\"\n"
	".code16\n"
	"guest_code:\n"
	"	cli\n"
	"	xorw	%ax, %ax\n"
	"	movw	%ax, %ds\n"
	"	movw	%ax, %ss\n"
	"	movw	$0x7000, %sp\n"
	/* Interrupt line 5 becomes vector 0x25; the others are masked. */
	"	movb	$0x11, %al\n"
	"	outb	%al, $0x20\n"
	"	movb	$0x20, %al\n"
	"	outb	%al, $0x21\n"
	"	movb	$0x04, %al\n"
	"	outb	%al, $0x21\n"
	"	movb	$0x01, %al\n"
	"	outb	%al, $0x21\n"
	"	movb	$0xdf, %al\n"
	"	outb	%al, $0x21\n"
	"	movw	$0x8000 + (guest_interrupt - guest_code), 0x94\n"
	"	movw	$0, 0x96\n"
	/* Status: ACKNOWLEDGE, DRIVER; accept VERSION_1 and nothing else; FEATURES_OK. */
	"	movl	$1, 0xd070\n"
	"	movl	$3, 0xd070\n"
	"	movl	$1, 0xd024\n"
	"	movl	$1, 0xd020\n"
	"	movl	$11, 0xd070\n"
	/* Queue 0 with eight entries; QueueReady; DRIVER_OK. */
	"	movl	$0, 0xd030\n"
	"	movl	$8, 0xd038\n"
	"	movl	$0x1000, 0xd080\n"
	"	movl	$0x1100, 0xd090\n"
	"	movl	$0x1200, 0xd0a0\n"
	"	movl	$1, 0xd044\n"
	"	movl	$15, 0xd070\n"
	"	movb	$0xfe, %al\n"
	"	cmpl	$15, 0xd070\n"
	"	jne	2f\n"
	/* The header: type 0 (read), sector 1. The rest of memory is zero. */
	"	movl	$1, 0x2008\n"
	/* Descriptors: header, 512 bytes for the device to write, one byte for its status. */
	"	movl	$0x2000, 0x1000\n"
	"	movl	$16, 0x1008\n"
	"	movl	$0x00010001, 0x100c\n" /* NEXT, 1 */
	"	movl	$0x2200, 0x1010\n"
	"	movl	$512, 0x1018\n"
	"	movl	$0x00020003, 0x101c\n" /* NEXT and WRITE, 2 */
	"	movl	$0x2010, 0x1020\n"
	"	movl	$1, 0x1028\n"
	"	movl	$0x00000002, 0x102c\n" /* WRITE */
	"	movb	$0xff, 0x2010\n"
	/* Head 0 is in the ring; available index 1; QueueNotify. */
	"	movw	$1, 0x1102\n"
	"	movl	$0, 0xd050\n"
	/* Sleep until interrupted. sti takes effect behind hlt: no wake-up is lost. */
	"1:	cli\n"
	"	cmpb	$0, 0x2020\n"
	"	jne	3f\n"
	"	sti\n"
	"	hlt\n"
	"	jmp	1b\n"
	/* The used index has moved. */
	"3:	movb	$0xfd, %al\n"
	"	cmpw	$1, 0x1202\n"
	"	jne	2f\n"
	"	movw	$0x2200, %si\n"
	"4:	movb	(%si), %al\n"
	"	testb	%al, %al\n"
	"	je	5f\n"
	"	outb	%al, $0xe9\n"
	"	incw	%si\n"
	"	jmp	4b\n"
	"5:	movb	0x2010, %al\n"
	"2:	outb	%al, $0xf4\n"
	"	hlt\n"
	"guest_interrupt:\n"
	"	pushl	%eax\n"
	"	movl	0xd060, %eax\n" /* InterruptStatus */
	"	movl	%eax, 0xd064\n" /* InterruptACK */
	"	incb	0x2020\n"
	"	movb	$0x20, %al\n" /* end of interrupt */
	"	outb	%al, $0x20\n"
	"	popl	%eax\n"
	"	iretw\n"
	"guest_code_end:\n"
	".code64\n"
	".popsection\n");
extern const uint8_t guest_code[];
extern const uint8_t guest_code_end[];

struct monitor {
	int kvm, machine, vcpu;
	struct kvm_run *run;
	size_t run_size;
	void *ram;
	struct vblk_memory *memory;
	struct vblk_device *device;
	unsigned int accesses; /* to registers; those to QueueNotify stay in the kernel */
};

/* Called when neither the monitor nor any worker of the device can touch the memory any more. */
static void unmap_ram(void *ram)
{
	munmap(ram, RAM_SIZE);
}

static void worker_lost(void *context, int error)
{
	(void)context;
	fprintf(stderr, "kvm: the disk is gone: %s\n", strerror(-error));
}

static int create_memory(struct monitor *monitor)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE };
	int ret;

	monitor->ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (monitor->ram == MAP_FAILED)
		return -errno;
	ret = vblk_memory_create(unmap_ram, monitor->ram, &monitor->memory);
	if (ret) {
		munmap(monitor->ram, RAM_SIZE);
		return ret;
	}
	/* The same region for the device as for KVM. */
	region.userspace_addr = (uintptr_t)monitor->ram;
	if (ioctl(monitor->machine, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	memcpy((uint8_t *)monitor->ram + CODE, guest_code, (size_t)(guest_code_end - guest_code));
	return vblk_memory_add_region(monitor->memory, 0, RAM_SIZE, monitor->ram);
}

/* A device on the disk, bound to the guest's memory. */
static int create_device(struct monitor *monitor, struct vblk_backing *disk)
{
	const struct vblk_device_options options = {
		.engine = VBLK_ENGINE_WORKER,
		.serial = "example",
		.worker_lost = worker_lost,
		.log = { vblk_log_to_stdio, NULL, VBLK_LOG_WARN },
	};
	int ret = vblk_device_create(&options, disk, &monitor->device);

	return ret ? ret : vblk_device_set_memory(monitor->device, monitor->memory);
}

/*
 * A write of 0 to QueueNotify wakes the worker without leaving the kernel, and the worker's
 * interrupt reaches the guest in the same way. An access to any other register comes to run_guest.
 */
static int wire(const struct monitor *monitor)
{
	const struct kvm_irqfd irq = {
		.fd = (uint32_t)vblk_device_irq_fd(monitor->device),
		.gsi = IRQ,
	};
	const struct kvm_ioeventfd kick = {
		.fd = vblk_device_kick_fd(monitor->device, 0),
		.addr = NOTIFY,
		.len = sizeof(uint32_t),
		.datamatch = 0, /* the queue */
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	if (ioctl(monitor->machine, KVM_IRQFD, &irq) < 0 ||
	    ioctl(monitor->machine, KVM_IOEVENTFD, &kick) < 0)
		return -errno;
	return 0;
}

static int create_machine(struct monitor *monitor)
{
	monitor->machine = ioctl(monitor->kvm, KVM_CREATE_VM, 0);
	if (monitor->machine < 0 ||
	    ioctl(monitor->machine, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDRESS) < 0 ||
	    ioctl(monitor->machine, KVM_CREATE_IRQCHIP, 0) < 0)
		return -errno;
	return 0;
}

/* A processor in real mode that is about to execute the code. */
static int create_vcpu(struct monitor *monitor)
{
	const struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;
	int size = ioctl(monitor->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	monitor->vcpu = ioctl(monitor->machine, KVM_CREATE_VCPU, 0);
	if (size < 0 || monitor->vcpu < 0)
		return -errno;
	monitor->run_size = (size_t)size;
	monitor->run =
		mmap(NULL, monitor->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, monitor->vcpu, 0);
	if (monitor->run == MAP_FAILED || ioctl(monitor->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(monitor->vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(monitor->vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static void serve_memory(struct monitor *monitor)
{
	struct kvm_run *run = monitor->run;
	const uint64_t offset = run->mmio.phys_addr - WINDOW;

	monitor->accesses++;
	if (run->mmio.phys_addr < WINDOW || offset >= VBLK_MMIO_SIZE)
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
	else if (run->mmio.is_write)
		vblk_mmio_write(monitor->device, offset, run->mmio.data, run->mmio.len);
	else
		vblk_mmio_read(monitor->device, offset, run->mmio.data, run->mmio.len);
}

/* Runs the guest until it ends. Returns the status of its request, or a negative errno. */
static int run_guest(struct monitor *monitor)
{
	struct kvm_run *run = monitor->run;

	for (;;) {
		const uint8_t *byte;

		if (ioctl(monitor->vcpu, KVM_RUN, 0) < 0)
			return -errno;
		byte = (const uint8_t *)run + run->io.data_offset;
		if (run->exit_reason == KVM_EXIT_MMIO) {
			serve_memory(monitor);
		} else if (run->exit_reason == KVM_EXIT_IO && run->io.port == PRINT_PORT) {
			putchar(*byte);
		} else if (run->exit_reason == KVM_EXIT_IO && run->io.port == END_PORT) {
			return *byte;
		} else {
			fprintf(stderr, "kvm: exit %u\n", run->exit_reason);
			return -EPROTO;
		}
	}
}

static int open_disk(const char *path, struct vblk_backing **disk)
{
	return path ? vblk_backing_open_file(path, 0, disk)
		    : vblk_backing_create_memory(1 << 20, disk);
}

static int run_machine(struct monitor *monitor, const char *path)
{
	struct vblk_backing *disk;
	int ret = create_machine(monitor);

	if (!ret)
		ret = create_memory(monitor);
	if (ret)
		return ret;
	ret = open_disk(path, &disk);
	if (ret)
		return ret;
	ret = create_device(monitor, disk);
	vblk_backing_unref(disk);
	if (!ret)
		ret = wire(monitor);
	if (!ret)
		ret = create_vcpu(monitor);
	return ret ? ret : run_guest(monitor);
}

/* Virtual machines end before their devices do, and memory goes last, by itself. */
static void destroy(struct monitor *monitor)
{
	if (monitor->run != MAP_FAILED)
		munmap(monitor->run, monitor->run_size);
	if (monitor->vcpu >= 0)
		close(monitor->vcpu);
	if (monitor->machine >= 0)
		close(monitor->machine);
	close(monitor->kvm);
	vblk_device_destroy(monitor->device);
	vblk_memory_unref(monitor->memory);
}

int main(int argc, char **argv)
{
	struct monitor monitor = { .machine = -1, .vcpu = -1, .run = MAP_FAILED };
	int ret;

	monitor.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (monitor.kvm < 0) {
		fprintf(stderr, "kvm: cannot open /dev/kvm: %s\n", strerror(errno));
		return SKIP;
	}
	alarm(PATIENCE); /* a guest whose interrupt does not come would sleep for ever */
	ret = run_machine(&monitor, argc > 1 ? argv[1] : NULL);
	destroy(&monitor);
	if (ret < 0)
		fprintf(stderr, "kvm: %s\n", strerror(-ret));
	else
		printf("\nrequest: status %d, after %u accesses to registers\n", ret,
		       monitor.accesses);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
