/*
 * spool: writing. An intention is whole and durable, or it is not there.
 *
 * Order: temporary file created and flock'd, and its seq drawn, under the spool's lock (so that the owner's clean-up
 * never takes it for a dead one); path, payload and head written; fsync; then, under the lock, renamed in place of an
 * older one of the same key, unless a newer one is there already; then fsync of the directory. Nothing waits for the
 * disk while it holds the lock.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/coding/crc.h"
#include "core/spool/spool_int.h"

struct spool_writer {
	struct spool *sp;
	struct spool_intent in;
	int fd;
	uint64_t off;
	char tmp[64];
};

/* Gives the reserve back to the disk; true when there was something to give. */
static bool spend_reserve(struct spool *sp)
{
	struct stat st;
	bool spent = false;
	int fd = sys->openat(sp->dir_fd, "reserve", O_RDWR, 0);

	if (fd < 0)
		return false;
	if (sys->fstat(fd, &st) == 0 && st.st_blocks > 0)
		spent = sys->ftruncate(fd, 0) == 0;
	sys->close(fd);
	if (spent)
		log_warn("spool: the disk is full, the reserve is being used dir=%s", sp->dir);
	return spent;
}

static int write_at(struct spool_writer *w, const void *bytes, size_t len, uint64_t off)
{
	int rc = file_pwrite_full(w->fd, bytes, len, (off_t)off);

	if (err_no_room(rc) && spend_reserve(w->sp))
		rc = file_pwrite_full(w->fd, bytes, len, (off_t)off);
	return rc;
}

static int sync_file(struct spool_writer *w)
{
	if (sys->fsync(w->fd) == 0)
		return 0;
	return -errno;
}

static int create_tmp(struct spool_writer *w)
{
	struct spool *sp = w->sp;
	int rc = spool_lock(sp);

	if (rc < 0)
		return rc;
	snprintf(w->tmp, sizeof(w->tmp), ".tmp-%ld-%p-%llu", (long)getpid(), (void *)sp,
		 (unsigned long long)sp->tmp_count++);
	w->fd = sys->openat(sp->dir_fd, w->tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (w->fd < 0 && err_no_room(errno) && spend_reserve(sp))
		w->fd = sys->openat(sp->dir_fd, w->tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (w->fd < 0)
		rc = -errno;
	else if (sys->flock(w->fd, LOCK_EX | LOCK_NB) < 0)
		rc = -errno;
	if (rc == 0)
		rc = spool_next_seq(sp, &w->in.seq);
	spool_unlock(sp);
	return rc;
}

/* Which volume and generation the intention is stamped with; a fence, and garbage of a segment, keep the one they are about. */
static int stamp(struct spool *sp, struct spool_intent *in)
{
	uint64_t generation = 0;
	int rc = spool_binding(sp, in->volume, &generation);

	if (rc == -ENOENT) {
		memset(in->volume, 0, sizeof(in->volume));
		rc = 0;
	}
	if (in->kind != SPOOL_FENCE && !(in->kind == SPOOL_GARBAGE && in->ns[0]))
		in->generation = generation;
	in->time = (int64_t)clock_wall_s();
	return rc;
}

int spool_put_begin(struct spool *sp, const struct spool_intent *in, struct spool_writer **out)
{
	uint8_t head[SPOOL_HEAD_BYTES] = {0};
	struct spool_writer *w;
	size_t path_len;
	int rc;

	*out = NULL;
	if (!spool_intent_valid(in))
		return -EINVAL;
	w = mem_calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->sp = sp;
	w->fd = -1;
	w->in = *in;
	w->in.payload_size = 0;
	w->in.payload_crc = w->in.attempts = 0;
	w->in.parked = w->in.foreign = false;
	w->in.error[0] = '\0';
	rc = stamp(sp, &w->in);
	if (rc == 0)
		rc = create_tmp(w);
	/* The head's room is taken now: later it may only be overwritten, which needs no space. */
	if (rc == 0)
		rc = write_at(w, head, sizeof(head), 0);
	path_len = strlen(w->in.path);
	if (rc == 0 && path_len)
		rc = write_at(w, w->in.path, path_len, SPOOL_HEAD_BYTES);
	w->off = SPOOL_HEAD_BYTES + path_len;
	if (rc < 0)
		spool_put_abort(w);
	else
		*out = w;
	return rc;
}

int spool_put_write(struct spool_writer *w, const void *bytes, size_t len)
{
	int rc;

	if (w->in.payload_size + len > SPOOL_PAYLOAD_MAX)
		return -EFBIG;
	rc = write_at(w, bytes, len, w->off);
	if (rc < 0)
		return rc;
	w->off += len;
	w->in.payload_size += len;
	w->in.payload_crc = crc_castagnoli(w->in.payload_crc, bytes, len);
	return 0;
}

static int write_head(struct spool_writer *w)
{
	uint8_t head[SPOOL_HEAD_BYTES];

	spool_head_encode(&w->in, head);
	return file_pwrite_full(w->fd, head, sizeof(head), 0);
}

/* Under the lock. 1 when a newer put of the same key is already there. */
static int put_in_place(struct spool_writer *w)
{
	struct spool *sp = w->sp;
	struct spool_intent there;
	char name[SPOOL_FILE_NAME_MAX + 1];

	spool_file_name(&w->in, name);
	if (spool_read_intent(sp, name, &there, NULL) == 0 && there.seq > w->in.seq)
		return 1;
	if (sys->renameat2(sp->dir_fd, w->tmp, sp->dir_fd, name, 0) < 0)
		return -errno;
	return 0;
}

int spool_put_commit(struct spool_writer *w, struct spool_intent *filled)
{
	struct spool *sp = w->sp;
	int rc = write_head(w);

	if (rc == 0)
		rc = sync_file(w);
	if (rc == 0)
		rc = spool_lock(sp);
	if (rc < 0)
		goto fail;
	rc = put_in_place(w);
	spool_unlock(sp);
	if (rc != 0)
		goto fail;
	/* It is in place. If the directory's entry cannot be made durable the caller is told so, and what is there does
	 * no harm: putting it again replaces it. */
	if (sys->fsync(sp->dir_fd) < 0)
		rc = -errno;
	if (rc == 0 && filled)
		*filled = w->in;
	sys->close(w->fd);
	mem_free(w);
	return rc;
fail:
	if (rc > 0 && filled)
		*filled = w->in;
	spool_put_abort(w);
	return rc > 0 ? 0 : rc;
}

void spool_put_abort(struct spool_writer *w)
{
	if (!w)
		return;
	if (w->fd >= 0) {
		sys->unlinkat(w->sp->dir_fd, w->tmp, 0);
		sys->close(w->fd);
	}
	mem_free(w);
}

int spool_put(struct spool *sp, struct spool_intent *in, const void *payload, size_t len)
{
	struct spool_writer *w;
	int rc = spool_put_begin(sp, in, &w);

	if (rc < 0)
		return rc;
	if (len) {
		rc = spool_put_write(w, payload, len);
		if (rc < 0) {
			spool_put_abort(w);
			return rc;
		}
	}
	return spool_put_commit(w, in);
}
