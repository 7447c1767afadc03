/*
 * spool: reading, removing, counting. Readers take no lock: a file of this directory is whole or not there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/coding/crc.h"
#include "core/spool/spool_int.h"

bool spool_name_is_intent(const char *name)
{
	for (enum spool_kind k = SPOOL_SEGMENT; k <= SPOOL_KIND_LAST; k++) {
		const char *kind = spool_kind_name(k);
		size_t len = strlen(kind);

		if (strncmp(name, kind, len) == 0 && (name[len] == '-' || name[len] == '\0'))
			return true;
	}
	return false;
}

static int read_path(int fd, size_t len, uint32_t crc, struct spool_intent *in)
{
	ssize_t n = file_read_full(fd, in->path, len);

	if (n < 0)
		return (int)n;
	if ((size_t)n != len || crc_castagnoli(0, in->path, len) != crc || strnlen(in->path, len) != len)
		return -E_CORRUPT;
	in->path[len] = '\0';
	return 0;
}

/* Attempts and errors are a comfort: without them the intention stands. */
static void read_note(struct spool *sp, const char *name, struct spool_intent *in)
{
	char note_name[SPOOL_FILE_NAME_MAX + 8];
	uint8_t note[SPOOL_NOTE_BYTES];
	int fd;

	snprintf(note_name, sizeof(note_name), ".note-%s", name);
	fd = sys->openat(sp->dir_fd, note_name, O_RDONLY, 0);
	if (fd < 0)
		return;
	if (file_read_full(fd, note, sizeof(note)) == (ssize_t)sizeof(note))
		(void)spool_note_decode(note, in);
	sys->close(fd);
}

int spool_read_intent(struct spool *sp, const char *name, struct spool_intent *in, int *fd_out)
{
	uint8_t head[SPOOL_HEAD_BYTES];
	size_t path_len;
	uint32_t path_crc;
	ssize_t n;
	int rc, fd = sys->openat(sp->dir_fd, name, O_RDONLY, 0);

	if (fd < 0)
		return -errno;
	n = file_read_full(fd, head, sizeof(head));
	if (n < 0)
		rc = (int)n;
	else if ((size_t)n < sizeof(head))
		rc = -E_CORRUPT;
	else
		rc = spool_head_decode(head, &path_len, &path_crc, in);
	if (rc == 0)
		rc = read_path(fd, path_len, path_crc, in);
	if (rc == 0)
		read_note(sp, name, in);
	if (rc == 0 && fd_out)
		*fd_out = fd;
	else
		sys->close(fd);
	return rc;
}

struct name_walk {
	int (*fn)(void *ctx, const char *name);
	void *ctx;
};

static int walk_one(void *ctx, const char *name, unsigned char type)
{
	struct name_walk *walk = ctx;

	(void)type;
	return spool_name_is_intent(name) ? walk->fn(walk->ctx, name) : 0;
}

/* Calls fn for each entry of the directory that is an intention; stops at non-zero. */
static int each_name(struct spool *sp, int (*fn)(void *ctx, const char *name), void *ctx)
{
	struct name_walk walk = {.fn = fn, .ctx = ctx};

	return file_list(sp->dir, walk_one, &walk);
}

/* ----------------------------------------------------------------------------------------------- listing --- */

/* Order needs only the number; the head is read again for the caller, so that thousands of intentions cost a few
 * bytes each. */
struct order {
	uint64_t seq;
	char name[SPOOL_FILE_NAME_MAX + 1];
};

struct gather {
	struct spool *sp;
	struct order *items;
	size_t count, cap;
	uint64_t damaged;
};

static int gather_one(void *ctx, const char *name)
{
	struct gather *g = ctx;
	struct spool_intent in;
	int rc = spool_read_intent(g->sp, name, &in, NULL);

	if (rc == -ENOENT)
		return 0;
	if (rc == -E_CORRUPT) {
		log_every(60000, LOG_LEVEL_ERR, "spool: cannot read an intention file=%s: %s", name,
			  err_str(rc));
		g->damaged++;
		return 0;
	}
	if (rc < 0)
		return rc;
	if (g->count == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 64;
		struct order *items = mem_realloc_array(g->items, cap, sizeof(*items));

		if (!items)
			return -ENOMEM;
		g->items = items;
		g->cap = cap;
	}
	g->items[g->count].seq = in.seq;
	snprintf(g->items[g->count].name, sizeof(g->items[0].name), "%s", name);
	g->count++;
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	uint64_t x = ((const struct order *)a)->seq, y = ((const struct order *)b)->seq;

	return x < y ? -1 : x > y;
}

/* A volume id of zeros was put before the volume was known: it belongs to whoever owns the directory. */
static bool is_foreign(const struct spool_intent *in, const uint8_t volume[16], bool bound)
{
	static const uint8_t zero[16];

	return bound && memcmp(in->volume, zero, 16) != 0 && memcmp(in->volume, volume, 16) != 0;
}

static int list(struct spool *sp, int (*each)(void *ctx, const struct spool_intent *in), void *ctx,
		uint64_t *damaged)
{
	struct gather g = {.sp = sp};
	uint8_t volume[16];
	uint64_t generation;
	int rc = spool_binding(sp, volume, &generation);
	bool bound = rc == 0;

	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = each_name(sp, gather_one, &g);
	if (rc == 0 && g.count)
		qsort(g.items, g.count, sizeof(g.items[0]), by_seq);
	for (size_t i = 0; rc == 0 && i < g.count; i++) {
		struct spool_intent in;

		rc = spool_read_intent(sp, g.items[i].name, &in, NULL);
		if (rc == -ENOENT || rc == -E_CORRUPT) {
			rc = 0; /* removed meanwhile; what is damaged was counted above */
			continue;
		}
		if (rc < 0)
			break;
		in.foreign = is_foreign(&in, volume, bound);
		rc = each(ctx, &in);
	}
	if (damaged)
		*damaged = g.damaged;
	mem_free(g.items);
	return rc;
}

int spool_list(struct spool *sp, int (*each)(void *ctx, const struct spool_intent *in), void *ctx)
{
	return list(sp, each, ctx, NULL);
}

/* ----------------------------------------------------------------------------------------------- payload --- */

int spool_payload(struct spool *sp, const struct spool_intent *in, size_t max, uint8_t **out, size_t *len)
{
	char name[SPOOL_FILE_NAME_MAX + 1];
	struct spool_intent there;
	uint8_t *bytes = NULL;
	ssize_t n;
	int fd, rc;

	*out = NULL;
	*len = 0;
	spool_file_name(in, name);
	rc = spool_read_intent(sp, name, &there, &fd);
	if (rc < 0)
		return rc;
	if (there.seq != in->seq) {
		rc = -ENOENT;
		goto out;
	}
	if (there.payload_size > max) {
		rc = -EFBIG;
		goto out;
	}
	bytes = mem_alloc(there.payload_size + 1);
	if (!bytes) {
		rc = -ENOMEM;
		goto out;
	}
	n = file_read_full(fd, bytes, there.payload_size);
	if (n < 0)
		rc = (int)n;
	else if ((uint64_t)n != there.payload_size ||
		 crc_castagnoli(0, bytes, there.payload_size) != there.payload_crc)
		rc = -E_CORRUPT;
out:
	sys->close(fd);
	if (rc < 0) {
		mem_free(bytes);
	} else {
		*out = bytes;
		*len = there.payload_size;
	}
	return rc;
}

#define COPY_CHUNK (64u << 10)

static int copy_payload(int from, int to, const struct spool_intent *in, uint8_t *chunk)
{
	uint64_t left = in->payload_size;
	uint32_t crc = 0;

	while (left) {
		size_t want = left < COPY_CHUNK ? left : COPY_CHUNK;
		ssize_t n = file_read_full(from, chunk, want);
		int rc;

		if (n < 0)
			return (int)n;
		if ((size_t)n != want)
			return -E_CORRUPT;
		crc = crc_castagnoli(crc, chunk, want);
		rc = file_write_full(to, chunk, want);
		if (rc < 0)
			return rc;
		left -= want;
	}
	return crc == in->payload_crc ? 0 : -E_CORRUPT;
}

int spool_payload_copy(struct spool *sp, const struct spool_intent *in, int dst_fd)
{
	char name[SPOOL_FILE_NAME_MAX + 1];
	struct spool_intent there;
	uint8_t *chunk;
	int fd, rc;

	spool_file_name(in, name);
	rc = spool_read_intent(sp, name, &there, &fd);
	if (rc < 0)
		return rc;
	chunk = mem_alloc(COPY_CHUNK);
	if (!chunk)
		rc = -ENOMEM;
	else if (there.seq != in->seq)
		rc = -ENOENT;
	else
		rc = copy_payload(fd, dst_fd, &there, chunk);
	mem_free(chunk);
	sys->close(fd);
	return rc;
}

/* -------------------------------------------------------------------------------------- removing, noting --- */

/* Under the lock. 0 when the file there is this very put. */
static int is_this_put(struct spool *sp, const struct spool_intent *in, const char *name)
{
	struct spool_intent there;
	int rc = spool_read_intent(sp, name, &there, NULL);

	if (rc == 0 && there.seq != in->seq)
		rc = -ENOENT;
	return rc;
}

int spool_remove(struct spool *sp, const struct spool_intent *in)
{
	char name[SPOOL_FILE_NAME_MAX + 1], note[SPOOL_FILE_NAME_MAX + 8];
	int rc;

	spool_file_name(in, name);
	snprintf(note, sizeof(note), ".note-%s", name);
	rc = spool_lock(sp);
	if (rc < 0)
		return rc;
	rc = is_this_put(sp, in, name);
	if (rc == 0) {
		/* Not synced: an intention that comes back after a power cut is found done and removed again. */
		if (sys->unlinkat(sp->dir_fd, name, 0) < 0 && errno != ENOENT)
			rc = -errno;
		else
			(void)sys->unlinkat(sp->dir_fd, note, 0);
	}
	spool_unlock(sp);
	return rc == -ENOENT ? 0 : rc;
}

int spool_note(struct spool *sp, const struct spool_intent *in, uint32_t attempts, bool parked,
	       const char *error)
{
	char name[SPOOL_FILE_NAME_MAX + 1], note_name[SPOOL_FILE_NAME_MAX + 8];
	uint8_t note[SPOOL_NOTE_BYTES];
	struct spool_intent noted = *in;
	int rc, fd = -1;

	spool_file_name(in, name);
	snprintf(note_name, sizeof(note_name), ".note-%s", name);
	noted.attempts = attempts;
	noted.parked = parked;
	snprintf(noted.error, sizeof(noted.error), "%s", error ? error : "");
	spool_note_encode(&noted, note);
	rc = spool_lock(sp);
	if (rc < 0)
		return rc;
	rc = is_this_put(sp, in, name);
	if (rc == 0) {
		fd = sys->openat(sp->dir_fd, note_name, O_WRONLY | O_CREAT, 0600);
		rc = fd < 0 ? -errno : file_pwrite_full(fd, note, sizeof(note), 0);
	}
	spool_unlock(sp);
	if (fd >= 0)
		sys->close(fd);
	return rc;
}

/* ---------------------------------------------------------------------------------------------- counting --- */

static int count_one(void *ctx, const struct spool_intent *in)
{
	struct spool_stat *st = ctx;

	if (in->foreign) {
		st->foreign++;
		return 0;
	}
	if (in->kind == SPOOL_FENCE) {
		st->fenced = true;
		return 0;
	}
	if (in->kind == SPOOL_GARBAGE) {
		st->garbage++;
		return 0;
	}
	st->files++;
	st->bytes += in->size;
	if (st->oldest == 0 || in->time < st->oldest)
		st->oldest = in->time;
	if (in->parked)
		st->parked++;
	if (in->kind == SPOOL_PIECE)
		st->pieces++;
	if (in->error[0] && !st->last_error[0])
		memcpy(st->last_error, in->error, sizeof(st->last_error));
	return 0;
}

/* The shared locks of running hooks keep an exclusive one from being had. */
static unsigned hooks_in_flight(struct spool *sp)
{
	unsigned running = 0;
	int fd = sys->openat(sp->dir_fd, "hooks", O_RDONLY, 0);

	if (fd < 0)
		return 0;
	if (sys->flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		running = 1;
	sys->close(fd);
	return running;
}

int spool_stat(struct spool *sp, struct spool_stat *out)
{
	struct stat st;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = list(sp, count_one, out, &out->damaged);
	if (rc < 0)
		return rc;
	out->hooks = hooks_in_flight(sp);
	out->closing = sys->fstatat(sp->dir_fd, "closing", &st, AT_SYMLINK_NOFOLLOW) == 0;
	return 0;
}
