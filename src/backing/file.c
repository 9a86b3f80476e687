/* SPDX-License-Identifier: MIT */
/*
 * A disk in a regular file or on a block device.
 *
 * Reads and writes are one system call each and report what it reported; stability is fdatasync;
 * space is given back and zeros are made with fallocate, which regular files and block devices both
 * know.
 *
 * Who makes calls by io_uring may use the descriptor. A file in memory (tmpfs and its like) needs
 * help there: the kernel takes it for one that can block, and would hand every call to a thread. So
 * its descriptor is left non-blocking, which means nothing to such a file but makes the kernel try
 * at once; and its writes, which the kernel hands over all the same, are not given away at all, nor
 * are its small discards, which are over sooner than a thread of the kernel would have begun.
 *
 * The lock is of the kind that belongs to the open file description (fcntl(2), F_OFD_SETLK). A
 * process that opens the same disk twice is refused like any other, and closing an unrelated
 * descriptor of the file does not drop the lock. It spans the whole file, also beyond its end, and
 * so excludes programs that lock only some bytes of an image.
 *
 * What is opened is looked at twice, before opening, because to open some devices is to start
 * them, and after, because the name may meanwhile mean something else. The opening itself does not
 * block, lest a FIFO put in place of the disk should hang us.
 */
#include "backing/file.h"
#include "backing/direct.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == sizeof(int64_t), "disks are larger than 2 GiB");

#define KNOWN_FLAGS (VBLK_FILE_READ_ONLY | VBLK_FILE_NO_LOCK | VBLK_FILE_DIRECT)

/* Keeps our descriptors from taking the place of a standard stream that the program closed. */
#define LOWEST_FD 3

struct file {
	int fd;
	struct vblk_direct *direct; /* owned; NULL: through the page cache */
	bool in_memory;		    /* no call ever waits for a disk */
	/* Modes of fallocate that were seen not to work: nobody else need try. */
	atomic_bool no_holes;
	atomic_bool no_zeros;
};

/* In memory, the shortest range whose change is worth a thread of the kernel: some 20 us. */
#define LONG_RANGE (256u << 10)

#define HOLES (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZEROS (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

static int fd_of(void *context)
{
	const struct file *file = context;

	return file->fd;
}

static ssize_t file_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	const struct file *file = context;
	ssize_t n;

	if (offset > INT64_MAX)
		return -EINVAL;
	if (file->direct)
		return vblk_direct_preadv(file->direct, iov, count, offset);
	/* One buffer is the usual case, and costs the kernel less when it is no vector. */
	n = count == 1 ? pread(file->fd, iov->iov_base, iov->iov_len, (off_t)offset)
		       : preadv(file->fd, iov, count, (off_t)offset);
	return n < 0 ? -errno : n;
}

static ssize_t file_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	const struct file *file = context;
	ssize_t n;

	if (offset > INT64_MAX)
		return -EINVAL;
	if (file->direct)
		return vblk_direct_pwritev(file->direct, iov, count, offset);
	n = count == 1 ? pwrite(file->fd, iov->iov_base, iov->iov_len, (off_t)offset)
		       : pwritev(file->fd, iov, count, (off_t)offset);
	return n < 0 ? -errno : n;
}

static int file_sync(void *context)
{
	return fdatasync(fd_of(context)) < 0 ? -errno : 0;
}

/*
 * What a kernel does not know it calls by several names; a range is invalid to a block device if it
 * is not one of whole blocks.
 */
bool vblk_file_is_unsupported(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV || error == ENOTTY ||
	       error == EINVAL;
}

int vblk_file_range_mode(const struct vblk_call *call)
{
	const bool zeros = call->op == VBLK_CALL_WRITE_ZEROES && !(call->flags & VBLK_ZEROES_UNMAP);

	return zeros ? ZEROS : HOLES;
}

static atomic_bool *refused(struct file *file, int mode)
{
	return mode == ZEROS ? &file->no_zeros : &file->no_holes;
}

static bool is_range(uint64_t offset, uint64_t bytes)
{
	return offset <= INT64_MAX && bytes <= INT64_MAX - offset;
}

static int change_range(void *context, int mode, uint64_t offset, uint64_t bytes)
{
	struct file *file = context;
	int error = 0;

	if (!is_range(offset, bytes))
		return -EINVAL;
	if (bytes == 0)
		return 0; /* fallocate(2) refuses it */
	vblk_direct_begin(file->direct, offset, bytes);
	if (fallocate(file->fd, mode, (off_t)offset, (off_t)bytes) < 0)
		error = errno;
	vblk_direct_end(file->direct);
	if (!vblk_file_is_unsupported(error))
		return -error;
	atomic_store_explicit(refused(file, mode), true, memory_order_relaxed);
	return -EOPNOTSUPP;
}

static int file_discard(void *context, uint64_t offset, uint64_t bytes)
{
	return change_range(context, HOLES, offset, bytes);
}

static int file_write_zeroes(void *context, uint64_t offset, uint64_t bytes, uint32_t flags)
{
	int err = -EOPNOTSUPP;

	if (flags & VBLK_ZEROES_UNMAP)
		err = change_range(context, HOLES, offset, bytes);
	if (err == -EOPNOTSUPP)
		err = change_range(context, ZEROS, offset, bytes);
	return err;
}

static void file_close(void *context)
{
	struct file *file = context;

	vblk_direct_destroy(file->direct);
	close(file->fd);
	free(file);
}

static int check_type(const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) ? 0 : -ENODEV;
}

/* Type and size of what is open. */
static int inspect(int fd, uint64_t *size)
{
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	err = check_type(&st);
	if (err)
		return err;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int grow_to(int fd, uint64_t bytes)
{
	uint64_t size = 0;
	int err = inspect(fd, &size);

	if (err || bytes <= size)
		return err;
	/* A block device has no length that could be set. */
	if (ftruncate(fd, (off_t)bytes) == 0)
		return 0;
	return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int file_grow(void *context, uint64_t bytes)
{
	const struct file *file = context;
	int err;

	if (bytes > INT64_MAX)
		return -EFBIG;
	vblk_direct_begin(file->direct, 0, 1); /* a write at the end may be cutting it */
	err = grow_to(file->fd, bytes);
	vblk_direct_end(file->direct);
	return err;
}

/* Whether somebody else may change a range, and it is worth it. */
static bool may_give_range_away(struct file *file, const struct vblk_call *call)
{
	if (call->bytes == 0 || !is_range(call->offset, call->bytes))
		return false;
	if (atomic_load_explicit(refused(file, vblk_file_range_mode(call)), memory_order_relaxed))
		return false;
	return !file->in_memory || call->bytes >= LONG_RANGE;
}

static bool may_give_away(struct file *file, const struct vblk_call *call)
{
	if (file->direct && !vblk_direct_is_free(file->direct, call))
		return false;
	switch (call->op) {
	case VBLK_CALL_PREADV:
		return true;
	case VBLK_CALL_DISCARD:
	case VBLK_CALL_WRITE_ZEROES:
		return may_give_range_away(file, call);
	default:
		return file->direct || !file->in_memory;
	}
}

static int file_async_fd(void *context, const struct vblk_call *call)
{
	struct file *file = context;

	return !call || may_give_away(file, call) ? file->fd : -1;
}

static const struct vblk_backing_ops file_ops = {
	.preadv = file_preadv,
	.pwritev = file_pwritev,
	.sync = file_sync,
	.discard = file_discard,
	.write_zeroes = file_write_zeroes,
	.grow = file_grow,
	.close = file_close,
};

int vblk_backing_file_fd(const struct vblk_backing *backing)
{
	return fd_of(backing->context);
}

static int lock_whole(int fd, bool shared)
{
	struct flock lock = {
		.l_type = shared ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET, /* from 0, and a length of 0: to wherever the end may go */
	};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static bool is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/*
 * A disk that is read is no file that somebody has looked at: its time of access stays, where we
 * may ask for that (open(2) wants the owner), and no read has to see to it.
 */
static int open_without_atime(const char *path, int flags)
{
	int fd = open(path, flags | O_NOATIME);

	return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

/* What was opened at the path, if it is the file of `fd`; else -ESTALE. Closes it then. */
static int open_the_same(const char *path, int flags, const struct stat *wanted)
{
	int fd = open_without_atime(path, flags);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && st.st_dev == wanted->st_dev && st.st_ino == wanted->st_ino)
		return fd;
	close(fd);
	return -ESTALE;
}

int vblk_file_open_to_read(int fd)
{
	const int status = fcntl(fd, F_GETFL);
	char path[32];
	struct stat st;
	int flags;

	if (status < 0 || fstat(fd, &st) < 0)
		return -errno;
	flags = O_RDONLY | (status & O_DIRECT) | O_CLOEXEC | O_NOCTTY;
	if (is_in_memory(fd))
		flags |= O_NONBLOCK;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open_the_same(path, flags, &st);
}

/* The context of a backing on `fd`, which is closed if it cannot be made. */
static int make_file(int fd, uint32_t flags, struct file **file)
{
	struct file *made = calloc(1, sizeof(*made));
	struct vblk_alignment alignment;
	int err = made ? 0 : -ENOMEM;

	if (!err && flags & VBLK_FILE_DIRECT) {
		vblk_direct_ask(fd, &alignment);
		err = vblk_direct_create(fd, &alignment, &made->direct);
	}
	if (err) {
		free(made);
		close(fd);
		return err;
	}
	made->fd = fd;
	made->in_memory = is_in_memory(fd);
	*file = made;
	return 0;
}

/* Makes a backing of `fd`, which is closed if that fails. */
static int adopt(int fd, uint32_t flags, struct vblk_backing **backing)
{
	bool read_only = flags & VBLK_FILE_READ_ONLY;
	struct vblk_backing_info info = { .flags = read_only ? VBLK_BACKING_READ_ONLY : 0 };
	struct vblk_backing *made;
	struct file *file;
	int err;

	err = inspect(fd, &info.size_bytes);
	if (err) {
		close(fd);
		return err;
	}
	err = make_file(fd, flags, &file);
	if (err)
		return err;
	err = vblk_backing_create(&file_ops, file, &info, &made);
	if (err)
		return err;
	made->async_fd = file_async_fd;
	if (!(flags & VBLK_FILE_NO_LOCK)) {
		err = lock_whole(fd, read_only);
		/* Until now somebody else may have held the lock, and changed the size. */
		if (!err)
			err = inspect(fd, &made->info.size_bytes);
	}
	if (err) {
		vblk_backing_unref(made);
		return err;
	}
	*backing = made;
	return 0;
}

/* It was opened without waiting for what may be behind the name. */
static int clear_nonblock(int fd)
{
	int status;

	if (is_in_memory(fd))
		return 0;
	status = fcntl(fd, F_GETFL);
	if (status < 0 || fcntl(fd, F_SETFL, status & ~O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int vblk_backing_open_file(const char *path, uint32_t flags, struct vblk_backing **backing)
{
	int access = flags & VBLK_FILE_READ_ONLY ? O_RDONLY : O_RDWR;
	struct stat st;
	int fd, err;

	if (flags & ~KNOWN_FLAGS)
		return -EINVAL;
	if (stat(path, &st) < 0)
		return -errno;
	err = check_type(&st);
	if (err)
		return err;
	if (flags & VBLK_FILE_DIRECT)
		access |= O_DIRECT;
	fd = open_without_atime(path, access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno == EINVAL && (access & O_DIRECT) ? -EOPNOTSUPP : -errno;
	err = clear_nonblock(fd);
	if (err) {
		close(fd);
		return err;
	}
	return adopt(fd, flags, backing);
}

/* Whether a descriptor that was opened by somebody else can carry a disk. */
static int check_mode(int fd, uint32_t flags)
{
	bool read_only = flags & VBLK_FILE_READ_ONLY;
	int status = fcntl(fd, F_GETFL);

	if (status < 0)
		return -errno;
	if (status & O_PATH)
		return -EBADF;
	if ((status & O_ACCMODE) != O_RDWR && !(read_only && (status & O_ACCMODE) == O_RDONLY))
		return -EACCES;
	/* It would put every write at the end. */
	if (!read_only && (status & O_APPEND))
		return -EINVAL;
	/* Who did not say so expects that any buffer of a guest is good; who did, that it is so. */
	if (!(status & O_DIRECT) != !(flags & VBLK_FILE_DIRECT))
		return -EINVAL;
	return 0;
}

int vblk_backing_open_fd(int fd, uint32_t flags, struct vblk_backing **backing)
{
	int copy, err;

	if (flags & ~KNOWN_FLAGS)
		return -EINVAL;
	err = check_mode(fd, flags);
	if (err)
		return err;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_FD);
	if (copy < 0)
		return -errno;
	return adopt(copy, flags, backing);
}
