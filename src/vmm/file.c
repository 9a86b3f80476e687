/* SPDX-License-Identifier: MIT */
/*
 * Reading a file whole. It is read rather than mapped, so that somebody who cuts it short while
 * it is parsed cannot make the parser crash.
 */
#include "vmm/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, uint8_t *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = read(fd, data + done, size - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA; /* it became shorter since fstat */
		done += (size_t)got;
	}
	return 0;
}

/* What is wrong with a file of this kind and size, or NULL. */
static const char *judge(const struct stat *st, uint64_t limit)
{
	if (S_ISDIR(st->st_mode))
		return "is a directory";
	if (!S_ISREG(st->st_mode))
		return "is not a regular file";
	if (st->st_size == 0)
		return "is empty";
	if ((uint64_t)st->st_size > limit)
		return "is too large for any memory of this machine";
	return NULL;
}

int vmm_file_read(const char *path, uint64_t limit, const char *option, const char *wanted,
		  struct vmm_file *file, struct vmm_error *error)
{
	const char *fault;
	struct stat st;
	int ret = 0;
	/* Without O_NONBLOCK the opening of a FIFO would wait for a writer. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	file->data = NULL;
	file->size = 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		ret = vmm_error_input(error, "%s '%s': %s; %s is wanted", option, path,
				      strerror(errno), wanted);
		goto cleanup;
	}
	fault = judge(&st, limit);
	if (fault) {
		ret = vmm_error_input(error, "%s '%s' %s; %s is wanted", option, path, fault,
				      wanted);
		goto cleanup;
	}

	file->size = (size_t)st.st_size;
	file->data = malloc(file->size);
	ret = file->data ? read_all(fd, file->data, file->size) : -ENOMEM;
	if (ret) {
		vmm_file_free(file);
		vmm_error_host(error, ret, "cannot read %s '%s'", option, path);
	}

cleanup:
	if (fd >= 0)
		close(fd);
	return ret;
}

void vmm_file_free(struct vmm_file *file)
{
	free(file->data);
	file->data = NULL;
	file->size = 0;
}
