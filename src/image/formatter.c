/* SPDX-License-Identifier: MIT */
/*
 * The formatter's output goes into a pipe. Its end, when nobody has the pipe open any more, is
 * waited for with a limit; so a formatter that hangs is seen, and one that says much does not hang.
 */
#include "image/formatter.h"

#include "image/stamp.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MORE_FOLDERS "/usr/local/sbin:/usr/sbin:/sbin"
#define OUTPUT_SIZE  1024

/*
 * The moment that file systems believe to be made at, where the formatter can be told. With the
 * time of the host in it no two templates would be the same.
 */
#define MADE_AT "1600000000"

static char *const environment[] = {
	(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	(char *)"LC_ALL=C",
	(char *)"E2FSPROGS_FAKE_TIME=" MADE_AT,
	(char *)"SOURCE_DATE_EPOCH=" MADE_AT,
	NULL,
};

struct run {
	pid_t pid;
	int output_fd;
	char output[OUTPUT_SIZE]; /* the first of what it has said */
	size_t length;
	int status; /* of waitpid */
};

/* ---- finding it ---- */

static bool can_run(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Looks through folders that are separated by colons. Returns 0, -ENOENT or -ENOMEM. */
static int look_in(const char *folders, const char *name, char **found)
{
	while (*folders) {
		const int length = (int)strcspn(folders, ":");

		if (length > 0) {
			if (asprintf(found, "%.*s/%s", length, folders, name) < 0)
				return -ENOMEM;
			if (can_run(*found))
				return 0;
			free(*found);
		}
		folders += length;
		folders += *folders == ':';
	}
	return -ENOENT;
}

int vblk_image_formatter_find(const struct vblk_image_fs *fs, const char *path, char **found,
			      struct vblk_image_failure *failure)
{
	int ret = look_in(path ? path : "", fs->formatter, found);

	if (ret == -ENOENT)
		ret = look_in(MORE_FOLDERS, fs->formatter, found);
	if (ret == -ENOENT)
		return vblk_image_refuse(failure,
					 "%s is missing, neither in PATH nor in " MORE_FOLDERS
					 ": Debian has it in the package %s",
					 fs->formatter, fs->package);
	return ret ? vblk_image_fail(failure, ret, "cannot look for %s", fs->formatter) : 0;
}

/* ---- running it ---- */

/* Signals as a program expects them, whatever we do with ours. */
static void reset_signals(void)
{
	const struct sigaction usual = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i <= SIGRTMAX; i++)
		(void)sigaction(i, &usual, NULL); /* not all can be set, nor need it */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int set_streams(int output_fd)
{
	const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(output_fd, STDOUT_FILENO) < 0 ||
	    dup2(output_fd, STDERR_FILENO) < 0)
		return -errno;
	return 0;
}

/*
 * In the child: becomes the formatter, or says why not. It dies with its parent: nobody else would
 * end it, and what it makes is of no use to anybody. Only calls that are safe after a fork.
 */
__attribute__((noreturn)) static void become(char *const *argv, int output_fd, int error_fd,
					     pid_t parent)
{
	int ret = prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;

	if (getppid() != parent)
		_exit(1); /* it was dead before that */
	reset_signals();
	if (!ret)
		ret = set_streams(output_fd);
	if (!ret) {
		execve(argv[0], argv, environment);
		ret = -errno;
	}
	if (write(error_fd, &ret, sizeof(ret)) != sizeof(ret))
		_exit(2);
	_exit(1);
}

/* What the child said before it became the formatter; nothing, if it has. */
static int read_error(int fd)
{
	ssize_t n;
	int ret = 0;

	do
		n = read(fd, &ret, sizeof(ret));
	while (n < 0 && errno == EINTR);
	return n == sizeof(ret) ? ret : 0;
}

/* Not by posix_spawn, which has no word for the death of the parent. */
static int spawn(struct run *run, char *const *argv, int output_fd)
{
	const pid_t parent = getpid();
	int error_fds[2];
	pid_t pid;
	int ret;

	if (pipe2(error_fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	ret = pid < 0 ? -errno : 0;
	if (pid == 0)
		become(argv, output_fd, error_fds[1], parent);
	close(error_fds[1]);
	if (!ret)
		ret = read_error(error_fds[0]);
	close(error_fds[0]);
	if (ret && pid > 0)
		waitpid(pid, NULL, 0);
	else
		run->pid = pid;
	return ret;
}

static int start(struct run *run, char *const *argv)
{
	int pipe_fds[2];
	int ret;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	ret = spawn(run, argv, pipe_fds[1]);
	close(pipe_fds[1]);
	if (ret)
		close(pipe_fds[0]);
	run->output_fd = pipe_fds[0];
	return ret;
}

/* Returns bytes, 0 at the end. What there is no room for is read and forgotten. */
static ssize_t read_output(struct run *run)
{
	char excess[OUTPUT_SIZE];
	const size_t room = sizeof(run->output) - 1 - run->length;
	ssize_t n = read(run->output_fd, room ? run->output + run->length : excess,
			 room ? room : sizeof(excess));

	if (n > 0 && room)
		run->length += (size_t)n;
	if (n < 0 && errno == EINTR)
		return 1;
	return n < 0 ? -errno : n;
}

static int follow(struct run *run, const struct vblk_image_fs *fs,
		  struct vblk_image_progress *progress)
{
	struct pollfd pfd = { .fd = run->output_fd, .events = POLLIN };
	ssize_t n = 1;

	while (n > 0) {
		const uint64_t ms = vblk_image_progress_ms(progress);

		if (ms >= VBLK_IMAGE_FORMATTER_TIMEOUT_MS)
			return -ETIMEDOUT;
		vblk_image_progress_tell(progress, "%s has been running for %" PRIu64 " s",
					 fs->formatter, ms / 1000);
		if (poll(&pfd, 1, VBLK_IMAGE_INTERVAL_MS) > 0)
			n = read_output(run);
	}
	return (int)n;
}

static int reap(struct run *run)
{
	while (waitpid(run->pid, &run->status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Lines become one, so that they can stand in one. */
static void join_lines(char *text, size_t length)
{
	while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' '))
		length--;
	text[length] = '\0';
	for (; *text; text++)
		if (*text == '\n')
			*text = ';';
}

/* Returns 0 if it was started and has ended, however. */
static int run_to_end(struct run *run, char *const *argv, const struct vblk_image_fs *fs,
		      struct vblk_image_progress *progress)
{
	int ret, reaped;

	*run = (struct run){ .output_fd = -1 };
	ret = start(run, argv);
	if (ret)
		return ret;
	ret = follow(run, fs, progress);
	if (ret && run->pid > 0)
		kill(run->pid, SIGKILL);
	close(run->output_fd);
	reaped = reap(run);
	join_lines(run->output, run->length);
	return ret ? ret : reaped;
}

int vblk_image_formatter_fingerprint(const struct vblk_image_fs *fs, const char *program,
				     uint64_t *fingerprint, struct vblk_image_failure *failure)
{
	char *const argv[] = { (char *)program, (char *)fs->version_option, NULL };
	struct vblk_image_progress progress;
	struct run run;
	int ret;

	vblk_image_progress_begin(&progress, NULL);
	ret = run_to_end(&run, argv, fs, &progress);
	if (ret)
		return vblk_image_fail(failure, ret, "cannot run '%s'", program);
	if (!run.output[0])
		return vblk_image_fail(failure, -EIO, "'%s %s' does not say its version", program,
				       fs->version_option);
	*fingerprint = vblk_image_hash(VBLK_IMAGE_HASH_START, run.output, strlen(run.output));
	for (size_t i = 0; fs->options[i]; i++)
		*fingerprint =
			vblk_image_hash(*fingerprint, fs->options[i], strlen(fs->options[i]) + 1);
	return 0;
}

/* An identifier of the random kind (RFC 9562, version 4) that is always the same for a key. */
static void make_uuid(const char *key, char uuid[VBLK_IMAGE_UUID_SIZE])
{
	const uint64_t high = vblk_image_hash(VBLK_IMAGE_HASH_START, key, strlen(key));
	const uint64_t low = vblk_image_hash(high, key, strlen(key));

	snprintf(uuid, VBLK_IMAGE_UUID_SIZE, "%08x-%04x-4%03x-%04x-%012" PRIx64,
		 (uint32_t)(high >> 32), (uint32_t)(high >> 16) & 0xffff, (uint32_t)high & 0xfff,
		 ((uint32_t)(low >> 48) & 0x3fff) | 0x8000, low & 0xffffffffffff);
}

int vblk_image_formatter_run(const struct vblk_image_fs *fs, const char *program, const char *key,
			     const char *file, struct vblk_image_progress *progress,
			     struct vblk_image_failure *failure)
{
	char uuid[VBLK_IMAGE_UUID_SIZE];
	struct vblk_image_words words;
	struct run run;
	int ret;

	make_uuid(key, uuid);
	vblk_image_fs_command(fs, program, file, uuid, &words);
	ret = run_to_end(&run, words.argv, fs, progress);
	if (ret == -ETIMEDOUT)
		return vblk_image_fail(failure, ret, "%s was ended, after %u s", program,
				       VBLK_IMAGE_FORMATTER_TIMEOUT_MS / 1000);
	if (ret)
		return vblk_image_fail(failure, ret, "cannot run '%s'", program);
	if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0)
		return 0;
	vblk_image_refuse(failure, "%s failed, %s %d: %s", fs->formatter,
			  WIFSIGNALED(run.status) ? "by signal" : "with status",
			  WIFSIGNALED(run.status) ? WTERMSIG(run.status) : WEXITSTATUS(run.status),
			  run.output[0] ? run.output : "it does not say why");
	return -EIO;
}
