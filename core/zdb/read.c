/*
 * read.c - reading values: verified, and without ever waiting for a segment that is not here.
 *
 * Small payloads are read whole into the engine's scratch buffer (one pread), bigger ones are left to zdb_read_run() in
 * whatever thread the owner likes.  User mode reads the data record straight from the table entry and goes to the index
 * only when that record does not carry the key.
 */
#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

#define GUESS_MIN    512u /* payload bytes that the first read of a record of unknown size asks for */
#define GUESS_MAX    16384u
#define VERIFY_PIECE (32u << 10)

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

/* --------------------------------------------------------------------------------------------- absent segments --- */

static struct missing *missing_find(struct zdb_ns *ns, uint32_t number)
{
	struct missing *m = ns->missing;

	while (m != NULL && m->number != number)
		m = m->next;
	return m;
}

static void waiter_unlink(struct zdb_waiter *w)
{
	*w->prev = w->next;
	if (w->next != NULL)
		w->next->prev = w->prev;
	w->next = NULL;
	w->prev = NULL;
}

static void waiter_push(struct zdb_waiter **head, struct zdb_waiter *w)
{
	w->next = *head;
	if (w->next != NULL)
		w->next->prev = &w->next;
	w->prev = head;
	*head = w;
}

void zdb_waiter_cancel(struct zdb_waiter *w)
{
	if (w->prev != NULL)
		waiter_unlink(w);
}

static void missing_remove(struct zdb_ns *ns, struct missing *m)
{
	struct missing **p = &ns->missing;

	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
}

/* Wakes one list.  It hangs at a local head first: a woken caller may wait again at once, for the same segment. */
static void wake_list(struct zdb_waiter **head, int err)
{
	struct zdb_waiter *list = *head, *ordered = NULL;

	*head = NULL;
	if (list == NULL)
		return;
	list->prev = &list;
	while (list != NULL) { /* it is newest first; they are woken in the order they came */
		struct zdb_waiter *w = list;

		waiter_unlink(w);
		waiter_push(&ordered, w);
	}
	while (ordered != NULL) {
		struct zdb_waiter *w = ordered;

		waiter_unlink(w);
		w->wake(w, err);
	}
}

void missing_wake(struct zdb_ns *ns, int64_t number, int err)
{
	struct missing *m = ns->missing;

	zdb_ns_ref(ns);
	while (m != NULL) {
		struct missing *next = m->next;

		if (number < 0 || m->number == (uint32_t)number) {
			if (m->asking) {
				m->answered = true;
				m->answer = err;
			} else {
				struct zdb_waiter *list = m->waiters;

				missing_remove(ns, m);
				mem_free(m);
				wake_list(&list, err);
				next = ns->missing; /* it may have changed; what was answered is gone from it */
				if (number >= 0)
					break;
			}
		}
		m = next;
	}
	zdb_ns_unref(ns);
}

void missing_tick(struct zdb_ns *ns, uint64_t now_ms, uint64_t *next_ms)
{
	struct missing *m = ns->missing;

	while (m != NULL) {
		struct missing *next = m->next;

		if (m->deadline_ms == 0)
			m->deadline_ms = now_ms + ns->eng->opt.missing_limit_ms;
		if (now_ms >= m->deadline_ms) {
			missing_wake(ns, m->number, -ETIMEDOUT);
			next = ns->missing;
		} else if (m->deadline_ms < *next_ms) {
			*next_ms = m->deadline_ms;
		}
		m = next;
	}
}

void zdb_segment_restored(struct zdb_ns *ns, uint32_t n)
{
	missing_wake(ns, n, 0);
}

void zdb_segment_failed(struct zdb_ns *ns, uint32_t n, int err)
{
	missing_wake(ns, n, err < 0 ? err : -EIO);
}

static int missing_ask(struct zdb_ns *ns, uint32_t number, struct missing **out)
{
	const struct zdb_events *ev = &ns->eng->ev;
	struct missing *m = mem_calloc(1, sizeof(*m));
	int rc;

	if (m == NULL)
		return -ENOMEM;
	m->number = number;
	m->next = ns->missing;
	ns->missing = m;
	m->asking = true;
	rc = ev->data_missing == NULL ? -EIO : ev->data_missing(ns->eng->opt.events_ctx, ns, number);
	m->asking = false;
	if (rc < 0 || m->answered) {
		rc = rc < 0 ? -EIO : m->answer;
		missing_remove(ns, m);
		mem_free(m);
		return rc; /* 0: it is back already */
	}
	if (ev->tick_wanted != NULL)
		ev->tick_wanted(ns->eng->opt.events_ctx, ZDB_INDEX_DELAY_MS); /* for the time limit */
	*out = m;
	return -EINPROGRESS;
}

/* The file that a record at (file, off) lies in, if it is here. */
static int data_fd(struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **f)
{
	struct zdb_fd *other, *moving = compact_fd(ns, file, off, &other);

	if (moving == NULL)
		return fd_get(ns, DATA_FILE, file, f);
	moving->refs++;
	*f = moving;
	return 0;
}

/* The same; an absent one is asked for and w waits (w NULL: -EIO). */
static int data_open(struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **f, struct zdb_waiter *w)
{
	struct missing *m;
	int rc = data_fd(ns, file, off, f);

	if (rc != -ENOENT)
		return rc == 0 || rc == -ENOMEM ? rc : -EIO;
	if (w == NULL || file >= ns->data.number)
		return -EIO; /* no such segment was ever closed: nobody can bring it */
	m = missing_find(ns, file);
	if (m == NULL) {
		rc = missing_ask(ns, file, &m);
		if (rc == 0)
			return fd_get(ns, DATA_FILE, file, f) == 0 ? 0 : -EIO;
		if (rc != -EINPROGRESS)
			return rc == -ENOMEM ? rc : -EIO;
	}
	waiter_push(&m->waiters, w);
	return -EINPROGRESS;
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

/* What a record must be for a reader: its key, and length and CRC where the index told them. */
struct want {
	const void *key;
	size_t klen;
	bool exact; /* len and crc are known */
	uint32_t len, crc;
};

static int head_check(const struct dat_rec *r, const uint8_t *key, const struct want *w)
{
	if (r->klen != w->klen || memcmp(key, w->key, w->klen) != 0 || r->flags != 0 ||
	    r->len > ZDB_PAYLOAD_MAX)
		return -EBADMSG;
	if (w->exact && (r->len != w->len || r->crc != w->crc))
		return -EBADMSG;
	return 0;
}

/* Payloads of a namespace are much alike: up at once, down slowly. */
static uint32_t guess_next(uint32_t guess, uint32_t len)
{
	if (len > guess)
		guess = len < GUESS_MAX ? len : GUESS_MAX;
	else
		guess -= (guess - len) / 64;
	return guess < GUESS_MIN ? GUESS_MIN : guess;
}

/* A payload that stays where it is: read it with zdb_read_run(). */
static void read_later(struct zdb_fd *f, uint32_t off, const struct want *w, struct zdb_read *rd)
{
	rd->file = f;
	f->refs++;
	rd->offset = off;
	rd->klen = (uint32_t)w->klen;
	memcpy(rd->key, w->key, w->klen);
}

/*
 * The first bytes of the record at (f, off): in the window of the active file, else read into the scratch buffer, `size`
 * of them.  How many are at *bytes, or a negative code.
 */
static ssize_t record_start(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, size_t size,
			    const uint8_t **bytes)
{
	if (f == ns->data.f) {
		size_t have;

		*bytes = tail_peek(&ns->data, off, &have);
		if (*bytes != NULL)
			return (ssize_t)have;
	}
	*bytes = ns->eng->scratch;
	return data_read(ns, f, ns->eng->scratch, size, off);
}

/*
 * Reads the record at (f, off).  Payloads that are in the window or fit the scratch buffer come back verified in
 * rd->data; for bigger ones rd keeps the file.  -EBADMSG: another record is there; -EIO.
 */
static int record_read(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, const struct want *w,
		       struct zdb_read *rd)
{
	size_t head = DAT_RECORD + w->klen, size = head + (w->exact ? w->len : ns->read_guess);
	const uint8_t *b;
	struct dat_rec r;
	ssize_t n;

	if (size > SCRATCH_SIZE)
		size = head;
	n = record_start(ns, f, off, size, &b);
	if (n < 0)
		return (int)n;
	if ((size_t)n < head)
		return -EBADMSG;
	dat_decode(&r, b);
	if (head_check(&r, b + DAT_RECORD, w) != 0)
		return -EBADMSG;
	rd->length = r.len;
	rd->timestamp = r.ts;
	rd->crc = r.crc;
	rd->file = NULL;
	rd->data = NULL;
	if (!w->exact)
		ns->read_guess = guess_next(ns->read_guess, r.len);
	if (head + r.len > SCRATCH_SIZE) {
		read_later(f, off, w, rd);
		return 0;
	}
	if ((size_t)n < head + r.len) {
		size_t rest = head + r.len - (size_t)n;
		ssize_t more = b == ns->eng->scratch
				       ? data_read(ns, f, ns->eng->scratch + n, rest, off + (uint32_t)n)
				       : 0; /* the window ends where the file does */

		if (more < 0 || (size_t)more < rest)
			return more < 0 ? (int)more : bad_record(ns);
	}
	if (zdb_crc(0, b + head, r.len) != r.crc)
		return bad_record(ns);
	rd->data = b + head;
	return 0;
}

/* -EBADMSG: another record is there. */
static int read_named(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
		      struct zdb_read *rd, struct zdb_waiter *w)
{
	struct want want = {key, klen, true, r->len, r->crc};
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
	int rc = read_named(ns, file, r, key, klen, rd, w);

	return rc == -EBADMSG ? bad_record(ns) : rc;
}

int read_older(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
	       struct zdb_read *rd, struct zdb_waiter *w)
{
	int rc;

	if (r->off < DAT_HEADER)
		return -ENODATA;
	rc = read_named(ns, file, r, key, klen, rd, w);
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
		if (rc != -EBADMSG)
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

void zdb_read_end(struct zdb_ns *ns, struct zdb_read *rd)
{
	if (rd->file != NULL)
		fd_put(ns->eng, rd->file);
	rd->file = NULL;
	rd->data = NULL;
}

/* ------------------------------------------------------------------------------------------------- any thread --- */

static int pread_all(int fd, void *buf, size_t size, uint64_t off)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = sys->pread(fd, (uint8_t *)buf + done, size - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO; /* also the end of the file: the record is not whole */
		done += (size_t)n;
	}
	return 0;
}

/* Header, key and payload in one call where the kernel gives all of it. */
static int pread_record(const struct zdb_read *rd, uint8_t *head, void *payload)
{
	size_t hs = DAT_RECORD + rd->klen;
	struct iovec iov[2] = {{head, hs}, {payload, rd->length}};
	ssize_t n;

	do
		n = sys->preadv(rd->file->fd, iov, 2, (off_t)rd->offset);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)hs)
		return -EIO;
	if ((size_t)n == hs + rd->length)
		return 0;
	return pread_all(rd->file->fd, (uint8_t *)payload + ((size_t)n - hs), hs + rd->length - (size_t)n,
			 (uint64_t)rd->offset + (size_t)n);
}

static int head_same(const struct zdb_read *rd, const uint8_t *head)
{
	struct want w = {rd->key, rd->klen, true, rd->length, rd->crc};
	struct dat_rec r;

	dat_decode(&r, head);
	return head_check(&r, head + DAT_RECORD, &w) == 0 ? 0 : -EIO;
}

static int run_whole(const struct zdb_read *rd, void *dst)
{
	uint8_t head[DAT_RECORD + ZDB_KEY_MAX];
	int rc = pread_record(rd, head, dst);

	if (rc == 0)
		rc = head_same(rd, head);
	if (rc == 0 && zdb_crc(0, dst, rd->length) != rd->crc)
		rc = -EIO;
	return rc;
}

static int verify_head(const struct zdb_read *rd)
{
	uint8_t head[DAT_RECORD + ZDB_KEY_MAX];
	int rc = pread_all(rd->file->fd, head, DAT_RECORD + rd->klen, rd->offset);

	return rc != 0 ? rc : head_same(rd, head);
}

static int run_part(const struct zdb_read *rd, uint32_t from, uint32_t count, void *dst)
{
	int rc = verify_head(rd);

	if (rc == 0)
		rc = pread_all(rd->file->fd, dst, count, (uint64_t)rd->offset + DAT_RECORD + rd->klen + from);
	return rc;
}

int zdb_read_verify(const struct zdb_read *rd, uint32_t from, uint32_t count)
{
	HOT_BUFFER uint8_t piece[VERIFY_PIECE];
	uint64_t at = (uint64_t)rd->offset + DAT_RECORD + rd->klen;
	uint32_t crc = 0, left = rd->length;
	int rc;

	if (rd->data != NULL || from > rd->length || count > rd->length - from)
		return -EINVAL;
	rc = verify_head(rd);
	if (rc != 0 || count < rd->length - count)
		return rc;
	while (left > 0 && rc == 0) { /* pieces stay in the processor's first caches */
		uint32_t n = left < VERIFY_PIECE ? left : VERIFY_PIECE;

		rc = pread_all(rd->file->fd, piece, n, at);
		crc = zdb_crc(crc, piece, n);
		at += n;
		left -= n;
	}
	return rc != 0 ? rc : crc == rd->crc ? 0 : -EIO;
}

void zdb_read_place(const struct zdb_read *rd, uint32_t from, int *fd, uint64_t *offset)
{
	*fd = rd->file->fd;
	*offset = (uint64_t)rd->offset + DAT_RECORD + rd->klen + from;
}

int zdb_read_run(const struct zdb_read *rd, uint32_t from, uint32_t count, void *dst)
{
	void *all;
	int rc;

	if (from > rd->length || count > rd->length - from)
		return -EINVAL;
	if (rd->data != NULL) {
		memcpy(dst, rd->data + from, count);
		return 0;
	}
	if (count == rd->length)
		return run_whole(rd, dst);
	if (count < rd->length - count)
		return run_part(rd, from, count, dst);
	all = mem_alloc(rd->length);
	if (all == NULL)
		return -ENOMEM;
	rc = run_whole(rd, all);
	if (rc == 0)
		memcpy(dst, (uint8_t *)all + from, count);
	mem_free(all);
	return rc;
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
