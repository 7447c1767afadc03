/*
 * read.c - reading values: verified, and without ever waiting for a segment that is not here.
 *
 * Small payloads are read whole into the engine's scratch buffer (one pread), bigger ones are left to zdb_read_run() in
 * whatever thread the owner likes, and so is a wait for the disk: of these, the start is read only if the page cache has it.
 * User mode reads the data record straight from the table entry and goes to the index only when that record does not carry the key.
 */
#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

#define GUESS_MIN 512u /* payload bytes that the first read of a record of unknown size asks for */
#define GUESS_MAX 16384u

void *eng_big(struct zdb *eng, size_t size)
{
	if (eng->big_size < size) {
		uint8_t *b = mem_realloc(eng->big, size);

		if (b == NULL)
			return NULL;
		eng->big = b;
		eng->big_size = size;
	}
	return eng->big;
}

/* --------------------------------------------------------------------------------------------------- verifying --- */

static ssize_t data_read(struct zdb_ns *ns, const struct zdb_fd *f, void *buf, size_t size, uint32_t off)
{
	if (f == ns->data.f)
		return tail_read(ns, &ns->data, buf, size, off);
	return ns_pread(ns, f, buf, size, off);
}

static int bad_record(struct zdb_ns *ns)
{
	ns->eng->stats.crc_errors++;
	ns_io_error(ns, DATA_FILE, false);
	return -EIO;
}

/* Payloads of a namespace are much alike: up at once, down slowly.  Of one that stays in its file only the head is wanted. */
static uint32_t guess_next(uint32_t guess, uint32_t len)
{
	if (len > SCRATCH_SIZE)
		return GUESS_MIN;
	if (len > guess)
		guess = len < GUESS_MAX ? len : GUESS_MAX;
	else
		guess -= (guess - len) / 64;
	return guess < GUESS_MIN ? GUESS_MIN : guess;
}

/* A payload that stays where it is: read it with zdb_read_run().  seen: bytes of its record that are known to be in the page cache. */
static void read_later(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, const struct want *w,
		       struct zdb_read *rd, size_t seen)
{
	size_t size = DAT_RECORD + w->klen + rd->length;

	rd->file = f;
	f->refs++;
	rd->mapped = map_at(ns, f, off, size);
	rd->where = ZDB_UNKNOWN;
	if (rd->mapped != NULL)
		rd->where = size <= seen ? ZDB_CACHED : map_where(rd->mapped, size);
	rd->offset = off;
	rd->klen = (uint32_t)w->klen;
	memcpy(rd->key, w->key, w->klen);
}

/* A payload of the active file that memory holds apart from its head.  NULL: it is not all there. */
static const uint8_t *memory_payload(const struct zdb_ns *ns, uint32_t off, uint32_t len)
{
	size_t have;
	const uint8_t *b = tail_peek(&ns->data, off, &have);

	return b != NULL && have >= len ? b : NULL;
}

/* The start of a record: what is wanted of it, and what came. */
struct start {
	size_t head, size; /* before the payload; to be read */
	enum {
		NO_CARE,
		NO_WAIT,    /* -EAGAIN rather than wait for the disk */
		NOT_NEEDED, /* -EAGAIN also when its file is mapped: who reads the rest looks at it */
	} care;
	const uint8_t *bytes; /* in the window of the active file, or in the scratch buffer */
	size_t seen;          /* so many from the start on are known to be in the page cache */
};

/* How many bytes came, or a negative code. */
static ssize_t record_start(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, struct start *s)
{
	uint8_t *scratch = ns->eng->scratch;
	ssize_t n = -EOPNOTSUPP;
	size_t have;

	s->bytes = f == ns->data.f ? tail_peek(&ns->data, off, &have) : NULL;
	if (s->bytes != NULL)
		return (ssize_t)have;
	s->bytes = scratch;
	if (s->care == NOT_NEEDED && f->map != NULL)
		return -EAGAIN;
	if (s->care != NO_CARE)
		n = cold_head(ns, f, off, s->head, scratch, s->size, &s->seen);
	return n == -EOPNOTSUPP ? data_read(ns, f, scratch, s->size, off) : n;
}

/* A big payload that the index has named, unread. */
static void read_unseen(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, const struct want *w,
			struct zdb_read *rd)
{
	rd->length = w->len;
	rd->crc = w->crc;
	rd->data = NULL;
	big_note(ns, w->len);
	read_later(ns, f, off, w, rd, 0);
	if (rd->where == ZDB_UNKNOWN)
		rd->where = ZDB_COLD;
}

/*
 * Whether the head of a record may be looked at by who reads the rest. While files are switched, another one may have to be tried; an older version
 * may be gone; and without the length nobody could read on.
 */
static bool can_be_unseen(const struct zdb_ns *ns, const struct want *w)
{
	return ns->compact == NULL && (w->newest || !w->exact);
}

/*
 * Reads the record at (f, off).  Payloads that are in the window or fit the scratch buffer come back verified in
 * rd->data; for bigger ones rd keeps the file.  -EBADMSG: another record is there; -EIO; -EAGAIN: only if !w->exact, it is on the disk, and the index
 * can tell more.
 */
static int record_read(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, const struct want *w,
		       struct zdb_read *rd)
{
	size_t head = DAT_RECORD + w->klen, size = head + (w->exact ? w->len : ns->read_guess);
	struct start start = {.head = head, .size = size > SCRATCH_SIZE ? head : size};
	const uint8_t *b, *payload;
	struct dat_rec r;
	ssize_t n;

	if (can_be_unseen(ns, w) && (w->exact ? size > SCRATCH_SIZE : ns->read_big > 0))
		start.care = w->exact ? NOT_NEEDED : NO_WAIT;
	n = record_start(ns, f, off, &start);
	if (n == -EAGAIN && w->exact) {
		read_unseen(ns, f, off, w, rd);
		return 0;
	}
	if (n < 0)
		return (int)n;
	if ((size_t)n < head)
		return -EBADMSG;
	b = start.bytes;
	dat_decode(&r, b);
	if (head_check(&r, b + DAT_RECORD, w) != 0)
		return -EBADMSG;
	rd->length = r.len;
	rd->timestamp = r.ts;
	rd->crc = r.crc;
	rd->file = NULL;
	rd->data = NULL;
	big_note(ns, r.len);
	if (!w->exact)
		ns->read_guess = guess_next(ns->read_guess, r.len);
	payload = b + head;
	if (b != ns->eng->scratch) {
		if ((size_t)n < head + r.len)
			payload = memory_payload(ns, off + (uint32_t)head, r.len);
	} else if (head + r.len > SCRATCH_SIZE) {
		read_later(ns, f, off, w, rd, start.seen);
		return 0;
	} else if ((size_t)n < head + r.len) {
		size_t rest = head + r.len - (size_t)n;
		ssize_t more = data_read(ns, f, ns->eng->scratch + n, rest, off + (uint32_t)n);

		if (more < 0 || (size_t)more < rest)
			return more < 0 ? (int)more : bad_record(ns);
	}
	if (payload == NULL || zdb_crc(0, payload, r.len) != r.crc)
		return bad_record(ns);
	rd->data = payload;
	return 0;
}

/* -EBADMSG: another record is there. */
static int read_named(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
		      bool newest, struct zdb_read *rd, struct zdb_waiter *w)
{
	struct want want = {key, klen, true, newest, r->len, r->crc};
	struct zdb_fd *f, *other;
	int rc;

	rc = data_open(ns, file, r->off, &f, w);
	if (rc != 0)
		return rc;
	rc = record_read(ns, f, r->off, &want, rd);
	fd_put(ns->eng, f);
	/* While a file is switched, copies in the index are re-pointed last, and a failure leaves any of them behind. */
	if (rc == -EBADMSG && compact_fd(ns, file, r->off, &other) == NULL && other != NULL)
		rc = record_read(ns, other, r->off, &want, rd);
	if (rc == 0)
		rd->timestamp = r->ts;
	return rc;
}

int read_exact(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
	       struct zdb_read *rd, struct zdb_waiter *w)
{
	int rc = read_named(ns, file, r, key, klen, true, rd, w);

	return rc == -EBADMSG ? bad_record(ns) : rc;
}

int read_older(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
	       struct zdb_read *rd, struct zdb_waiter *w)
{
	int rc;

	if (r->off < DAT_HEADER)
		return -ENODATA;
	rc = read_named(ns, file, r, key, klen, false, rd, w);
	if (rc != -EBADMSG)
		return rc;
	rc = compact_was(ns, file);
	return rc == 1 ? -ENODATA : rc == 0 ? bad_record(ns) : rc;
}

static int get_by_index(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_read *rd,
			struct zdb_waiter *w)
{
	struct idx_rec r;
	struct place at;
	int rc = index_find(ns, key, klen, &at, &r, NULL);

	if (rc != 0)
		return rc;
	return read_exact(ns, idx_data_file(ns, &r, at.file), &r, key, klen, rd, w);
}

/* One read instead of two when the first candidate is the key, as it nearly always is. */
static int get_user(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_read *rd,
		    struct zdb_waiter *w)
{
	struct want want = {.key = key, .klen = klen};
	uint32_t slot = UINT32_MAX;
	struct entry *e = table_next(&ns->table, key_tag(ns->eng, key, klen), &slot);
	struct zdb_fd *f;
	int rc;

	if (e == NULL)
		return -ENOENT;
	if (data_fd(ns, e->file, e->data_off, &f) == 0) {
		rc = record_read(ns, f, e->data_off, &want, rd);
		fd_put(ns->eng, f);
		if (rc != -EBADMSG && rc != -EAGAIN)
			return rc;
	}
	return get_by_index(ns, key, klen, rd, w);
}

int zdb_get(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_read *rd, struct zdb_waiter *w)
{
	if (ns->load_error != 0)
		return -EIO;
	if (ns->mode == ZDB_SEQ)
		return get_by_index(ns, key, klen, rd, w);
	if (klen == 0 || klen > ZDB_KEY_MAX)
		return -ENOENT;
	return get_user(ns, key, klen, rd, w);
}

void zdb_read_failed(struct zdb_ns *ns)
{
	(void)bad_record(ns);
}

void zdb_read_end(struct zdb_ns *ns, struct zdb_read *rd)
{
	if (rd->file != NULL)
		fd_put(ns->eng, rd->file);
	rd->file = NULL;
	rd->data = NULL;
}

/* ------------------------------------------------------------------------------------------------ on top of it --- */

int zdb_get_range(struct zdb_ns *ns, const void *key, size_t klen, uint64_t from, void *buf, size_t size,
		  size_t *got, struct zdb_waiter *w)
{
	struct zdb_read rd;
	int rc = zdb_get(ns, key, klen, &rd, w);

	*got = 0;
	if (rc != 0)
		return rc;
	if (from < rd.length) {
		size_t n = rd.length - from;

		if (n > size)
			n = size;
		rc = zdb_read_run(&rd, (uint32_t)from, (uint32_t)n, buf);
		if (rc == 0)
			*got = n;
		else if (rc == -EIO)
			rc = bad_record(ns);
	}
	zdb_read_end(ns, &rd);
	return rc;
}

int zdb_stat(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_meta *meta)
{
	struct idx_rec r;
	struct place at;
	int rc = index_find(ns, key, klen, &at, &r, NULL);

	if (rc != 0)
		return rc;
	*meta = (struct zdb_meta){.length = r.len,
				  .timestamp = r.ts,
				  .crc = r.crc,
				  .index_file = at.file,
				  .index_offset = at.off,
				  .data_file = idx_data_file(ns, &r, at.file),
				  .data_offset = r.off};
	return 0;
}

/* The record at (f, off), whole, in memory: header first, then everything.  Borrowed. */
static int record_whole(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, struct dat_rec *r,
			const uint8_t **bytes)
{
	uint8_t *b = ns->eng->scratch;
	ssize_t n = data_read(ns, f, b, DAT_RECORD, off);
	size_t size;

	if (n < 0)
		return (int)n;
	if (n < (ssize_t)DAT_RECORD)
		return -EBADMSG;
	dat_decode(r, b);
	if (!dat_plausible(r, ns->mode))
		return -EBADMSG;
	size = DAT_RECORD + r->klen + (size_t)r->len;
	if (size > SCRATCH_SIZE)
		b = eng_big(ns->eng, size);
	if (b == NULL)
		return -ENOMEM;
	n = data_read(ns, f, b, size, off);
	if (n < 0)
		return (int)n;
	if ((size_t)n < size)
		return -EBADMSG;
	*bytes = b;
	return 0;
}

int zdb_check_key(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_waiter *w)
{
	const uint8_t *b;
	struct idx_rec r;
	struct dat_rec d;
	struct place at;
	struct zdb_fd *f;
	int rc = index_find(ns, key, klen, &at, &r, NULL);

	if (rc != 0)
		return rc;
	rc = data_open(ns, idx_data_file(ns, &r, at.file), r.off, &f, w);
	if (rc != 0)
		return rc;
	rc = record_whole(ns, f, r.off, &d, &b);
	fd_put(ns->eng, f);
	if (rc == -ENOMEM)
		return rc;
	if (rc != 0 || d.klen != klen || memcmp(b + DAT_RECORD, key, klen) != 0)
		return -EIO;
	return zdb_crc(0, b + DAT_RECORD + klen, d.len) == d.crc ? 1 : 0;
}

int zdb_raw(struct zdb_ns *ns, uint32_t file, uint32_t offset, struct zdb_raw *raw, struct zdb_waiter *w)
{
	const uint8_t *b;
	struct dat_rec d;
	struct zdb_fd *f;
	struct stat st;
	uint64_t end;
	int rc;

	if (ns->load_error != 0)
		return -EIO;
	if (file > ns->data.number)
		return -ENOENT;
	rc = data_open(ns, file, offset, &f, w);
	if (rc != 0)
		return rc;
	end = ns->data.size;
	if (f != ns->data.f) {
		rc = sys->fstat(f->fd, &st) == 0 ? 0 : -EIO;
		end = rc == 0 ? (uint64_t)st.st_size : 0;
	}
	if (rc == 0 && offset >= end)
		rc = -ENODATA;
	if (rc == 0 && offset < DAT_HEADER)
		rc = -EINVAL;
	if (rc == 0)
		rc = record_whole(ns, f, offset, &d, &b);
	fd_put(ns->eng, f);
	if (rc != 0)
		return rc == -EBADMSG ? -EINVAL : rc;
	raw->klen = d.klen;
	raw->length = d.len;
	raw->previous = d.prev;
	raw->crc = d.crc;
	raw->timestamp = d.ts;
	raw->flags = d.flags;
	memcpy(raw->key, b + DAT_RECORD, d.klen);
	raw->data = d.len > 0 ? b + DAT_RECORD + d.klen : NULL;
	return 0;
}

int value_equal(struct zdb_ns *ns, uint32_t file, uint32_t off, const void *key, size_t klen,
		const void *value, uint32_t len)
{
	uint8_t *b = ns->eng->scratch;
	size_t head = DAT_RECORD + klen, done = 0;
	struct dat_rec r;
	struct zdb_fd *f;
	int equal = 0;

	if (data_fd(ns, file, off, &f) != 0)
		return 0; /* a segment is never fetched to compare */
	if (data_read(ns, f, b, head, off) != (ssize_t)head)
		goto out;
	dat_decode(&r, b);
	if (r.klen != klen || r.len != len || memcmp(b + DAT_RECORD, key, klen) != 0)
		goto out;
	while (done < len) {
		size_t n = len - done < SCRATCH_SIZE ? len - done : SCRATCH_SIZE;

		if (data_read(ns, f, b, n, off + (uint32_t)(head + done)) != (ssize_t)n ||
		    !mem_equal(b, (const uint8_t *)value + done, n))
			goto out;
		done += n;
	}
	equal = 1;
out:
	fd_put(ns->eng, f);
	return equal;
}
