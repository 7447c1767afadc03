/*
 * spool: opening, the lock and counter, the binding to a volume, the hooks in flight, the reserve.
 *
 * The lock is held for a creation, a rename or a removal, never across an fsync, so that nobody waits for a disk
 * because of somebody else. `lock` holds the counter behind seq; it is not synced: after a power cut the counter is
 * the larger of what it holds and what the intentions on disk carry.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/coding/crc.h"
#include "core/spool/spool_int.h"

#define VOLUME_MAGIC "QSPV"
#define VOLUME_BYTES 36u

int spool_lock(struct spool *sp)
{
	if (sp->lock_fd < 0)
		return -EROFS;
	pthread_mutex_lock(&sp->mutex);
	while (sys->flock(sp->lock_fd, LOCK_EX) < 0) {
		int rc = -errno;

		if (rc == -EINTR)
			continue;
		pthread_mutex_unlock(&sp->mutex);
		return rc;
	}
	return 0;
}

void spool_unlock(struct spool *sp)
{
	sys->flock(sp->lock_fd, LOCK_UN);
	pthread_mutex_unlock(&sp->mutex);
}

int spool_next_seq(struct spool *sp, uint64_t *seq)
{
	uint8_t bytes[8] = {0};
	ssize_t n = file_pread_full(sp->lock_fd, bytes, sizeof(bytes), 0);

	if (n < 0)
		return (int)n;
	*seq = get_u64le(bytes) + 1;
	put_u64le(bytes, *seq);
	return file_pwrite_full(sp->lock_fd, bytes, sizeof(bytes), 0);
}

static int note_largest_seq(void *ctx, const struct spool_intent *in)
{
	uint64_t *largest = ctx;

	if (in->seq > *largest)
		*largest = in->seq;
	return 0;
}

/* The counter may have been lost with the page cache: never give a number again that an intention on disk carries. */
static int raise_counter(struct spool *sp)
{
	uint64_t largest = 0;
	uint8_t bytes[8] = {0};
	ssize_t n;
	int rc = spool_list(sp, note_largest_seq, &largest);

	if (rc == 0)
		rc = spool_lock(sp);
	if (rc < 0)
		return rc;
	n = file_pread_full(sp->lock_fd, bytes, sizeof(bytes), 0);
	if (n < 0) {
		rc = (int)n;
	} else if (get_u64le(bytes) < largest) {
		put_u64le(bytes, largest);
		rc = file_pwrite_full(sp->lock_fd, bytes, sizeof(bytes), 0);
	}
	spool_unlock(sp);
	return rc;
}

/* A temporary file without a living writer holds no flock. Under the lock, so that none is just being created. */
static int remove_if_dead(void *ctx, const char *name, unsigned char type)
{
	struct spool *sp = ctx;
	int fd;

	(void)type;
	if (strncmp(name, ".tmp-", 5) != 0)
		return 0;
	fd = sys->openat(sp->dir_fd, name, O_RDONLY, 0);
	if (fd < 0)
		return 0;
	if (sys->flock(fd, LOCK_EX | LOCK_NB) == 0) {
		sys->unlinkat(sp->dir_fd, name, 0);
		log_info("spool: removed what a dead writer left file=%s", name);
	}
	sys->close(fd);
	return 0;
}

static int own(struct spool *sp)
{
	int rc = spool_lock(sp);

	if (rc < 0)
		return rc;
	rc = file_list(sp->dir, remove_if_dead, sp);
	spool_unlock(sp);
	if (rc == 0)
		rc = spool_reserve_fill(sp);
	return err_no_room(rc) ? 0 : rc;
}

static int open_lock(struct spool *sp)
{
	sp->lock_fd = sys->openat(sp->dir_fd, "lock", O_RDWR | O_CREAT, 0600);
	if (sp->lock_fd < 0)
		return -errno;
	return raise_counter(sp);
}

int spool_open(const char *dir, unsigned flags, struct spool **out)
{
	struct spool *sp = NULL;
	int rc;

	*out = NULL;
	if (flags & SPOOL_CREATE) {
		rc = file_mkdir_p(dir, 0700);
		if (rc < 0)
			return rc;
	}
	sp = mem_calloc(1, sizeof(*sp));
	if (!sp)
		return -ENOMEM;
	sp->dir_fd = sp->lock_fd = -1;
	sp->flags = flags;
	pthread_mutex_init(&sp->mutex, NULL);
	if (strlen(dir) >= sizeof(sp->dir)) {
		rc = -ENAMETOOLONG;
		goto out;
	}
	strcpy(sp->dir, dir);
	sp->dir_fd = sys->open(dir, O_RDONLY | O_DIRECTORY, 0);
	if (sp->dir_fd < 0) {
		rc = -errno;
		goto out;
	}
	rc = flags & SPOOL_RDONLY ? 0 : open_lock(sp);
	if (rc == 0 && (flags & SPOOL_OWNER))
		rc = own(sp);
out:
	if (rc < 0)
		spool_close(sp);
	else
		*out = sp;
	return rc;
}

void spool_close(struct spool *sp)
{
	if (!sp)
		return;
	if (sp->lock_fd >= 0)
		sys->close(sp->lock_fd);
	if (sp->dir_fd >= 0)
		sys->close(sp->dir_fd);
	pthread_mutex_destroy(&sp->mutex);
	mem_free(sp);
}

/* ------------------------------------------------------------------------------------------------ binding --- */

int spool_bind(struct spool *sp, const uint8_t volume[16], uint64_t generation)
{
	uint8_t bytes[VOLUME_BYTES] = {0};
	char path[PATH_MAX];
	int rc = file_join(path, sizeof(path), sp->dir, "volume");

	if (rc < 0)
		return rc;
	memcpy(bytes, VOLUME_MAGIC, 4);
	memcpy(bytes + 4, volume, 16);
	put_u64le(bytes + 20, generation);
	put_u32le(bytes + 32, crc_castagnoli(0, bytes, 32));
	return file_write_atomic(path, 0600, bytes, sizeof(bytes));
}

int spool_binding(struct spool *sp, uint8_t volume[16], uint64_t *generation)
{
	uint8_t bytes[VOLUME_BYTES + 1];
	ssize_t n;
	int fd = sys->openat(sp->dir_fd, "volume", O_RDONLY, 0);

	if (fd < 0)
		return -errno;
	n = file_read_full(fd, bytes, sizeof(bytes));
	sys->close(fd);
	if (n < 0)
		return (int)n;
	if (n != VOLUME_BYTES || memcmp(bytes, VOLUME_MAGIC, 4) != 0 ||
	    get_u32le(bytes + 32) != crc_castagnoli(0, bytes, 32))
		return -E_CORRUPT;
	memcpy(volume, bytes + 4, 16);
	*generation = get_u64le(bytes + 20);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ reserve --- */

int spool_reserve_fill(struct spool *sp)
{
	struct stat st;
	int rc = 0, fd = sys->openat(sp->dir_fd, "reserve", O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return -errno;
	if (sys->fstat(fd, &st) < 0)
		rc = -errno;
	else if ((uint64_t)st.st_size < SPOOL_RESERVE_BYTES &&
		 sys->fallocate(fd, 0, 0, SPOOL_RESERVE_BYTES) < 0)
		rc = -errno;
	if (rc == -EOPNOTSUPP)
		rc = 0; /* a file system that cannot reserve: nothing is lost but the reserve */
	if (rc < 0)
		(void)sys->ftruncate(fd, 0); /* a part of it would only make the disk fuller */
	sys->close(fd);
	return rc;
}

/* -------------------------------------------------------------------------------------------------- hooks --- */

int spool_closing_set(struct spool *sp, bool closing)
{
	int fd;

	if (!closing)
		return sys->unlinkat(sp->dir_fd, "closing", 0) < 0 && errno != ENOENT ? -errno : 0;
	fd = sys->openat(sp->dir_fd, "closing", O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return -errno;
	sys->close(fd);
	return 0;
}

static bool is_closing(struct spool *sp)
{
	struct stat st;

	return sys->fstatat(sp->dir_fd, "closing", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int spool_hook_enter(struct spool *sp, bool closing_event, int *token)
{
	int rc = 0, fd = sys->openat(sp->dir_fd, "hooks", O_RDWR | O_CREAT, 0600);

	*token = -1;
	if (fd < 0)
		return -errno;
	while (sys->flock(fd, LOCK_SH) < 0 && (rc = -errno) == -EINTR)
		;
	/* Looked at under the lock: whoever sets it and then finds the lock free has missed nobody. */
	if (rc != -EINTR && rc < 0)
		goto fail;
	rc = 0;
	if (!closing_event && is_closing(sp)) {
		rc = -EAGAIN;
		goto fail;
	}
	*token = fd;
	return 0;
fail:
	sys->close(fd);
	return rc;
}

void spool_hook_leave(struct spool *sp, int token)
{
	(void)sp;
	if (token >= 0)
		sys->close(token);
}
