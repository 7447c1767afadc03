/*
 * verify.c - the offline verbs: check a directory, recover it, dump its index.
 *
 * The check opens the engine for reading only, so that nothing is changed, and compares every index record with the data
 * record it names (key, length, CRC of header and payload), and every data record with its own CRC.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/zdb/zdb_int.h"
#include "core/zdb/zdb_offline.h"

struct verify {
	zdb_finding_fn *fn;
	void *ctx;
	struct zdb_ns *ns;
	const struct zdb_ns *stuck; /* the last namespace of which a file could not be read */
	int worst;
	int rc; /* the first reason why something could not be looked at */
};

__attribute__((format(printf, 3, 4))) static void finding(struct verify *v, int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut when too long */
	va_end(ap);
	if (level > v->worst)
		v->worst = level;
	v->fn(v->ctx, level, v->ns == NULL ? "" : v->ns->name, text);
}

/* What says nothing about the files: who asks may not, or the machine has no room. */
static bool is_of_system(int rc)
{
	static const int codes[] = {EACCES, EPERM, ENOMEM, EMFILE, ENFILE, ENOSPC, EDQUOT};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (rc == -codes[i])
			return true;
	return false;
}

static int not_looked_at(struct verify *v, int rc, const char *text)
{
	v->fn(v->ctx, ZDB_FINDING_NONE, "", text);
	if (v->rc == 0)
		v->rc = rc;
	return rc;
}

/* A file that cannot be read ends the look at its namespace. It is named once, by who met it. */
static int not_read(struct verify *v, char letter, uint32_t n, int rc)
{
	char text[ZDB_NAME_MAX + 100];

	if (rc == 0 || v->stuck == v->ns)
		return rc;
	v->stuck = v->ns;
	snprintf(text, sizeof(text), "namespace %s: cannot read %c%u: %s", v->ns->name, letter, n,
		 err_str(rc));
	return not_looked_at(v, rc, text);
}

/* Whether an index record names a place in [from, to) of data file n. */
static int named_in(struct verify *v, uint32_t n, uint32_t from, uint32_t to, bool *named)
{
	struct zdb_ns *ns = v->ns;
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	uint32_t at, first = ns->mode == ZDB_USER ? n : 0, last = ns->mode == ZDB_USER ? n : ns->index.number;
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	int rc = buf == NULL ? -ENOMEM : 0;

	*named = false;
	for (uint32_t i = first; rc == 0 && i <= last && !*named; i++) {
		rc = stream_open(&s, ns, i, IDX_HEADER, buf);
		if (rc != 0)
			break;
		while (!*named && (rc = stream_next(&s, &r, &key, &at)) == 1)
			*named = idx_data_file(ns, &r, i) == n && r.off >= from && r.off < to;
		stream_close(&s);
		if (rc == 1 || rc == -EBADMSG)
			rc = 0;
	}
	mem_free(buf);
	return rc;
}

/* A place that is not whole.  1: go on behind it. */
static int verify_gap(struct verify *v, struct log_stream *s)
{
	struct zdb_ns *ns = v->ns;
	struct log_gap g;
	bool named;
	int rc = log_gap_find(s, ns->mark.state == MARK_OPEN, &g);

	if (rc == 0)
		finding(v, 1, "d%u: no whole record at offset %u (%u bytes behind it)", s->number, s->off,
			s->end - s->off);
	if (rc != 1)
		return rc;
	rc = named_in(v, s->number, g.off, g.next, &named);
	if (rc == 0 && named)
		finding(v, 2, "d%u: damaged at offset %u (%u bytes)", s->number, g.off, g.next - g.off);
	else if (rc == 0)
		finding(v, 0, "d%u: %u bytes at offset %u are no record, and nothing names them", s->number,
			g.next - g.off, g.off);
	return rc == 0 ? 1 : rc;
}

static int verify_log(struct verify *v, uint32_t n, uint8_t *buf)
{
	struct log_stream s;
	struct dat_rec d;
	const uint8_t *key;
	uint32_t at;
	int rc = log_open(&s, v->ns, n, DAT_HEADER, buf);

	if (rc == -ENOENT) {
		finding(v, n < v->ns->data.number ? 0 : 2, "d%u is not here", n);
		return 0;
	}
	if (rc != 0)
		return rc;
	do {
		rc = log_next(&s, &d, &key, &at);
		if (rc == -EBADMSG)
			rc = verify_gap(v, &s);
	} while (rc == 1);
	log_close(&s);
	return rc;
}

/* A live record must name a record that is there.  Segments that are not here cannot be asked. */
static int verify_record(struct verify *v, const struct idx_rec *r, const uint8_t *key, struct place at)
{
	struct zdb_ns *ns = v->ns;
	uint32_t file = idx_data_file(ns, r, at.file);
	struct zdb_read rd;
	struct zdb_fd *f;
	int rc = fd_get(ns, DATA_FILE, file, &f);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return not_read(v, 'd', file, rc);
	fd_put(ns->eng, f);
	rc = read_exact(ns, file, r, key, r->klen, &rd, NULL);
	if (rc == 0) {
		void *buf = rd.data == NULL ? eng_big(ns->eng, rd.length) : NULL;

		if (rd.data == NULL)
			rc = buf == NULL ? -ENOMEM : zdb_read_run(&rd, 0, rd.length, buf);
		zdb_read_end(ns, &rd);
	}
	if (rc == -EIO)
		finding(v, 2, "i%u offset %u: its value at d%u offset %u (%u bytes) is not there", at.file,
			at.off, file, r->off, r->len);
	return rc == -EIO ? 0 : rc;
}

static int verify_index(struct verify *v, uint32_t n, uint8_t *buf)
{
	struct zdb_ns *ns = v->ns;
	uint64_t id = ns->mode == ZDB_SEQ ? ns->bases[n] : 0;
	uint8_t copy[ZDB_KEY_MAX + 1];
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, n, IDX_HEADER, buf);

	if (rc != 0)
		return rc;
	while (rc == 0 && (rc = stream_next(&s, &r, &key, &at)) == 1) {
		bool own = ns->mode == ZDB_USER || get_u64le(key) == id;

		rc = 0;
		if (ns->mode == ZDB_SEQ && get_u64le(key) > id)
			finding(v, 2, "i%u offset %u: id %llu is not possible there", n, at,
				(unsigned long long)get_u64le(key));
		memcpy(copy, key, r.klen);
		if (own && (r.flags & FLAG_DELETED) == 0)
			rc = verify_record(v, &r, copy, (struct place){n, at});
		id++;
	}
	if (rc == -EBADMSG)
		finding(v, n == ns->index.number ? 1 : 2, "i%u: no whole record at offset %u", n, s.off);
	stream_close(&s);
	return rc == -EBADMSG ? 0 : rc;
}

static int verify_ns(struct verify *v)
{
	struct zdb_ns *ns = v->ns;
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	int rc = buf == NULL ? -ENOMEM : 0;

	if (zdb_ns_lost_properties(ns))
		finding(v, 1,
			"zdb-namespace is missing or cut short: a start makes it, without password and "
			"limits");
	if (ns->recovery.unclean)
		finding(v, 1, "not stopped cleanly: the log is to be replayed from d%u offset %u",
			ns->mark.file, ns->mark.offset);
	if (ns->recovery.ahead_waits > 0)
		finding(v, 1,
			"i%u and d%u have not got their names yet: what is in them is for a start to settle",
			ns->recovery.ahead_waits, ns->recovery.ahead_waits);
	for (uint32_t n = 0; rc == 0 && n <= ns->index.number; n++)
		rc = not_read(v, 'i', n, verify_index(v, n, buf));
	for (uint32_t n = 0; rc == 0 && n <= ns->data.number; n++)
		rc = not_read(v, 'd', n, verify_log(v, n, buf));
	mem_free(buf);
	return rc;
}

/* Nobody may write meanwhile: take the locks that a server would take, if they exist. */
static int locks_free(const struct zdb_options *o, char *why, size_t size)
{
	const char *roots[2] = {o->index_root, o->data_root};

	for (int i = 0; i < 2; i++) {
		char path[ZDB_PATH_MAX];
		int fd, rc = file_join(path, sizeof(path), roots[i], ROOT_LOCK);

		if (rc != 0)
			return rc;
		fd = sys->open(path, O_RDONLY, 0);
		if (fd < 0)
			continue;
		rc = sys->flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK ? -EBUSY : 0;
		sys->close(fd);
		if (rc != 0)
			return say(why, size, rc, "an instance of zdb is already using: %s", roots[i]);
	}
	return 0;
}

/* What only an opening for writing can end (an interrupted compaction, an index to be made again) is not lost. */
static int refused_level(int code)
{
	return code == -EROFS ? 1 : 2;
}

static void refused_each(struct verify *v, const struct zdb *eng)
{
	char text[ZDB_NAME_MAX + 600];

	for (const struct refused *r = eng->refused; r != NULL; r = r->next) {
		if (is_of_system(r->code)) {
			snprintf(text, sizeof(text), "namespace %s: %s", r->name, r->why);
			(void)not_looked_at(v, r->code, text);
			continue;
		}
		v->worst = refused_level(r->code) > v->worst ? refused_level(r->code) : v->worst;
		v->fn(v->ctx, refused_level(r->code), r->name, r->why);
	}
}

static int look(struct zdb **out, const struct zdb_options *options, bool *loading, char *why, size_t size)
{
	struct zdb_options o = *options;
	int rc = locks_free(options, why, size);

	*out = NULL;
	*loading = false;
	o.read_only = true;
	o.events = NULL;
	return rc != 0 ? rc : open_staged(out, &o, loading, why, size);
}

int zdb_look(struct zdb **out, const struct zdb_options *options, char *why, size_t why_size)
{
	bool loading;

	return look(out, options, &loading, why, why_size);
}

int zdb_verify(const struct zdb_options *options, zdb_finding_fn *fn, void *ctx)
{
	struct verify v = {.fn = fn, .ctx = ctx};
	char why[512] = "";
	struct zdb *eng;
	bool loading;
	int rc = look(&eng, options, &loading, why, sizeof(why));

	if (rc != 0 && loading && !is_of_system(rc)) {
		fn(ctx, refused_level(rc), ZDB_DEFAULT, why);
		return refused_level(rc);
	}
	if (rc != 0)
		return not_looked_at(&v, rc, why);
	refused_each(&v, eng);
	for (struct zdb_ns *ns = zdb_ns_next(eng, NULL); ns != NULL; ns = zdb_ns_next(eng, ns)) {
		v.ns = ns;
		rc = verify_ns(&v);
		if (rc != 0 && v.rc == 0)
			v.rc = rc;
	}
	zdb_abandon(eng);
	return v.rc != 0 ? v.rc : v.worst;
}

static void recovered(struct verify *v)
{
	const struct zdb_recovery *r = zdb_ns_recovery(v->ns);

	if (zdb_ns_lost_properties(v->ns))
		finding(v, 1, "made zdb-namespace, without password and limits: set them again");
	if (r->data_cut_bytes > 0)
		finding(v, 1, "cut %llu bytes off the log", (unsigned long long)r->data_cut_bytes);
	if (r->index_cut_bytes > 0)
		finding(v, 1, "cut %llu bytes off the index", (unsigned long long)r->index_cut_bytes);
	if (r->index_appended + r->index_rewritten > 0)
		finding(v, 1, "made %u index records again from the log",
			r->index_appended + r->index_rewritten);
	if (r->index_restored > 0)
		finding(v, 1, "restored %u index records from an older version", r->index_restored);
	if (r->index_torn > 0)
		finding(v, v->ns->torn_index >= 0 ? 2 : 1, "%u index files could not be read to their end%s",
			r->index_torn,
			v->ns->torn_index >= 0 ? ", and not all data files are here that say what was there"
					       : "");
	if (r->index_brought > 0)
		finding(v, 1, "put %u index files back from the stores", r->index_brought);
	if (r->ahead_dropped > 0)
		finding(v, 1, "dropped %llu bytes of log behind a segment that was never durable",
			(unsigned long long)r->ahead_dropped);
	if (r->headers_made > 0)
		finding(v, 1, "made %u file headers", r->headers_made);
	if (r->gaps > 0)
		finding(v, 1, "stepped over %u fragments", r->gaps);
	if (r->damaged > 0)
		finding(v, 2,
			"the log is damaged at %u places; what was there is lost, what is behind it is not",
			r->damaged);
	if (r->index_lost > 0)
		finding(v, 2, "%u keys name values that are not there", r->index_lost);
}

int zdb_recover(const struct zdb_options *options, zdb_finding_fn *fn, void *ctx)
{
	struct verify v = {.fn = fn, .ctx = ctx};
	struct zdb_options o = *options;
	char why[512] = "";
	struct zdb *eng;
	int rc;

	o.offline = true;
	rc = zdb_open(&eng, &o, why, sizeof(why));
	if (rc != 0)
		return not_looked_at(&v, rc, why);
	refused_each(&v, eng);
	for (struct zdb_ns *ns = zdb_ns_next(eng, NULL); ns != NULL; ns = zdb_ns_next(eng, ns)) {
		v.ns = ns;
		recovered(&v);
	}
	rc = zdb_close(eng);
	if (rc == 0)
		rc = v.rc;
	return rc != 0 ? rc : v.worst;
}

static int dump_file(struct zdb_ns *ns, uint32_t n, uint8_t *buf,
		     void (*fn)(void *ctx, const struct zdb_dump_entry *e), void *ctx)
{
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, n, IDX_HEADER, buf);

	if (rc != 0)
		return rc;
	while ((rc = stream_next(&s, &r, &key, &at)) == 1) {
		struct zdb_dump_entry e;

		index_overlay(ns, (struct place){n, at}, &r);
		e = (struct zdb_dump_entry){.ns = ns->name,
					    .index_file = n,
					    .index_offset = at,
					    .key = key,
					    .klen = r.klen,
					    .data_file = idx_data_file(ns, &r, n),
					    .data_offset = r.off,
					    .length = r.len,
					    .previous = r.prev,
					    .timestamp = r.ts,
					    .crc = r.crc,
					    .parent_file = r.parent_file,
					    .parent_offset = r.parent_off,
					    .flags = r.flags};
		fn(ctx, &e);
	}
	stream_close(&s);
	return rc == -EBADMSG ? 0 : rc;
}

int zdb_dump(struct zdb *eng, void (*fn)(void *ctx, const struct zdb_dump_entry *e), void *ctx)
{
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	int rc = buf == NULL ? -ENOMEM : 0;

	for (struct zdb_ns *ns = zdb_ns_next(eng, NULL); rc == 0 && ns != NULL; ns = zdb_ns_next(eng, ns))
		for (uint32_t n = 0; rc == 0 && n <= ns->index.number; n++)
			rc = dump_file(ns, n, buf, fn, ctx);
	mem_free(buf);
	return rc;
}
