/*
 * ahead.c - going on in the next pair of files while the closed one is not durable yet.
 *
 * A rotation makes the closed segment durable before its successor appears, and who writes waits for that as long as the disk
 * takes.  Here the successor begins under other names, "d<N+1>.next-<size of d<N>>", and gets its own when d<N> and i<N> are
 * durable.  So what is promised of names stays true: d<N+1> is there only behind a durable segment N.  Nothing in the successor
 * counts as durable before that, and every sync begins with it.
 *
 * What a crash leaves (settled before anything else of a load):
 *   one of the two has its own name   the closed segment was durable: the other one gets its own, too
 *   none has                          the closed log is read from the marker: whole up to the size in the name, and nothing in it
 *                                     looks torn, then it is made durable now and both get their names; else they go, since nothing
 *                                     in them was promised, and the log ends in segment N
 * A reader that knows nothing of these names finds the state of that end.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/base/str.h"
#include "core/zdb/load_int.h"

#define AHEAD_MIN                                                                                            \
	(1u << 20) /* bytes of log that are not durable: with less a rotation takes no time to speak of */
#define SUFFIX_SIZE 16u /* ".next-01234567" */

struct ahead {
	uint32_t number; /* of the closed segment */
	struct ahead_files files;
	bool named[2]; /* that file of the successor has its own name */
	char suffix[SUFFIX_SIZE];
};

/* --------------------------------------------------------------------------------------------------------- names --- */

static void suffix_make(char suffix[SUFFIX_SIZE], uint32_t closed_size)
{
	(void)snprintf(suffix, SUFFIX_SIZE, NEXT "%08x", closed_size);
}

static const char *suffix_of(const struct ahead *a, enum which which)
{
	return a->named[which] ? "" : a->suffix;
}

static int path_of(const struct zdb_ns *ns, const struct ahead *a, enum which which, char *path)
{
	return file_path(ns, which, a->number + 1, suffix_of(a, which), path);
}

static int own_name(const struct zdb_ns *ns, struct ahead *a, enum which which)
{
	char from[ZDB_PATH_MAX], to[ZDB_PATH_MAX];
	int rc = path_of(ns, a, which, from);

	if (rc == 0)
		rc = file_path(ns, which, a->number + 1, "", to);
	if (rc != 0 || a->named[which])
		return rc;
	if (sys->rename(from, to) != 0)
		return -errno;
	a->named[which] = true;
	return 0;
}

/* Index first: as a rotation makes them. */
static int own_names(const struct zdb_ns *ns, struct ahead *a)
{
	int rc = own_name(ns, a, INDEX_FILE);

	return rc == 0 ? own_name(ns, a, DATA_FILE) : rc;
}

/* ----------------------------------------------------------------------------------------------------- going on --- */

bool ahead_can(const struct zdb_ns *ns)
{
	const struct zdb_options *opt = &ns->eng->opt;
	uint32_t least = opt->ahead_min != 0 ? opt->ahead_min : AHEAD_MIN;

	return opt->rotate_ahead && !opt->want_bundles && ns->opened && ns->ahead == NULL &&
	       ns->compact == NULL && ns->closed_owed < 0 && !ns->ambiguous && !sync_in_doubt(ns->job) &&
	       !zdb_ns_doubtful(ns) && ns->data.size - ns->synced >= least;
}

static int make_file(struct zdb_ns *ns, const struct ahead *a, struct tail *t, enum which which,
		     const void *header, size_t size)
{
	char path[ZDB_PATH_MAX];
	int fd, rc = path_of(ns, a, which, path);

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return -errno;
	if (sys->pwrite(fd, header, size, 0) != (ssize_t)size)
		rc = -EIO;
	sys->close(fd);
	if (rc == 0)
		rc = tail_open_at(ns, t, which, a->number + 1, a->suffix);
	if (rc != 0)
		(void)sys->unlink(path);
	return rc;
}

static int make_pair(struct zdb_ns *ns, const struct ahead *a, struct tail *index, struct tail *data)
{
	uint8_t index_header[IDX_HEADER], data_header[DAT_HEADER];
	char path[ZDB_PATH_MAX];
	int rc;

	idx_header_encode(index_header, a->number + 1, ns->mode);
	dat_header_encode(data_header, a->number + 1, ns->stamp);
	rc = make_file(ns, a, index, INDEX_FILE, index_header, sizeof(index_header));
	if (rc != 0)
		return rc;
	rc = make_file(ns, a, data, DATA_FILE, data_header, sizeof(data_header));
	if (rc == 0)
		return 0;
	tail_close(ns->eng, index, false);
	if (path_of(ns, a, INDEX_FILE, path) == 0)
		(void)sys->unlink(path);
	return rc;
}

/* What is preallocated behind the end of a closed file is given back in the thread that syncs it. */
static struct zdb_fd *close_later(const struct tail *t, uint64_t *trim)
{
	*trim = t->reserved > t->written ? t->written : 0;
	t->f->refs++;
	return t->f;
}

int ahead_go(struct zdb_ns *ns)
{
	struct tail index = {0}, data = {0};
	struct ahead *a;
	int rc = ns_flush_tails(ns);

	if (rc != 0)
		return rc;
	a = mem_calloc(1, sizeof(*a));
	if (a == NULL)
		return -ENOMEM;
	a->number = ns->data.number;
	suffix_make(a->suffix, ns->data.size);
	rc = make_pair(ns, a, &index, &data);
	if (rc != 0) {
		mem_free(a);
		return rc;
	}
	ns->ahead = a;
	a->files.index = close_later(&ns->index, &a->files.index_trim);
	a->files.data = close_later(&ns->data, &a->files.data_trim);
	pair_switch(ns, &index, &data, false);
	ns->synced = ns->index_synced = 0;
	if (ns->eng->ev.tick_wanted != NULL)
		ns->eng->ev.tick_wanted(ns->eng->opt.events_ctx, 0);
	return 0;
}

/* ------------------------------------------------------------------------------------------- the closed one, durable --- */

static int sync_and_trim(struct zdb_ns *ns, const struct zdb_fd *f, uint64_t trim)
{
	int rc = ns_fdatasync(ns, f);

	/* only space is lost if it fails */
	if (rc == 0 && trim != 0)
		(void)sys->ftruncate(f->fd, (off_t)trim);
	return rc;
}

static int sync_dirs(const struct zdb_ns *ns)
{
	int rc = file_sync_dir(ns->index_dir);

	return rc == 0 ? file_sync_dir(ns->data_dir) : rc;
}

int ahead_sync(struct zdb_ns *ns, const struct ahead_files *closed, const struct zdb_fd *index,
	       const struct zdb_fd *data)
{
	int rc = sync_and_trim(ns, closed->data, closed->data_trim);

	if (rc == 0)
		rc = sync_and_trim(ns, closed->index, closed->index_trim);
	/* Of two renames a power cut may keep one: then the other file must be there, under either name, with its header. */
	if (rc == 0)
		rc = ns_fdatasync(ns, index);
	if (rc == 0)
		rc = ns_fdatasync(ns, data);
	return rc == 0 ? sync_dirs(ns) : rc;
}

int ahead_rename(struct zdb_ns *ns)
{
	return own_names(ns, ns->ahead);
}

int ahead_renamed(const struct zdb_ns *ns)
{
	return sync_dirs(ns);
}

void ahead_files_sync(const struct zdb_ns *ns)
{
	(void)sys->fdatasync(ns->ahead->files.index->fd);
	(void)sys->fdatasync(ns->ahead->files.data->fd);
}

struct ahead_files ahead_files(const struct zdb_ns *ns)
{
	struct ahead_files files = ns->ahead->files;

	files.index->refs++;
	files.data->refs++;
	return files;
}

void ahead_files_put(struct zdb *eng, struct ahead_files *files)
{
	if (files->data != NULL)
		fd_put(eng, files->data);
	if (files->index != NULL)
		fd_put(eng, files->index);
	memset(files, 0, sizeof(*files));
}

uint32_t ahead_end(struct zdb_ns *ns)
{
	uint32_t closed = ns->ahead->number;

	stamp_forget(ns->ahead->files.data);
	ahead_release(ns);
	return closed;
}

void ahead_release(struct zdb_ns *ns)
{
	if (ns->ahead == NULL)
		return;
	ahead_files_put(ns->eng, &ns->ahead->files);
	mem_free(ns->ahead);
	ns->ahead = NULL;
}

bool ahead_of(const struct zdb_ns *ns, uint32_t number)
{
	return ns->ahead != NULL && ns->ahead->number == number;
}

int ahead_finish(struct zdb_ns *ns)
{
	int rc = ns_flush_tails(ns);

	if (rc != 0)
		return rc;
	rc = ahead_sync(ns, &ns->ahead->files, ns->index.f, ns->data.f);
	if (rc == 0)
		rc = ahead_rename(ns);
	if (rc == 0)
		rc = ahead_renamed(ns);
	if (rc != 0)
		sync_failed(ns);
	else
		ns->closed_owed = ahead_end(ns);
	return rc;
}

/* ------------------------------------------------------------------------------------------------- what a crash left --- */

/* The successor that was found; of several (none is ours then, but the last) the highest. */
struct left {
	struct zdb_ns *ns;
	bool any, drop_others;
	uint32_t closed_size;
	enum which which;
	struct ahead is; /* `named`: of those that are not there under their other name */
};

/* "d18.next-0001f000" -> 18, 0x1f000.  Only as it is written here: it is found again by that. */
static bool parse_name(const char *name, char letter, uint32_t *number, uint32_t *closed_size)
{
	const char *dot = strchr(name, '.');
	char again[1 + 10 + SUFFIX_SIZE];
	uint64_t n, size;

	if (name[0] != letter || dot == NULL || !str_starts(dot, NEXT) ||
	    str_parse_u64_n(name + 1, (size_t)(dot - name - 1), &n) != 0 ||
	    str_parse_u64_base(dot + strlen(NEXT), 16, &size) != 0 || n == 0 || n >= UINT32_MAX ||
	    size > UINT32_MAX)
		return false;
	*number = (uint32_t)n;
	*closed_size = (uint32_t)size;
	(void)snprintf(again, sizeof(again), "%c%u" NEXT "%08x", letter, *number, *closed_size);
	return strcmp(again, name) == 0;
}

static void drop_name(const struct left *l, const char *name)
{
	char path[ZDB_PATH_MAX];

	if (!l->ns->eng->read_only &&
	    file_join(path, sizeof(path), l->which == INDEX_FILE ? l->ns->index_dir : l->ns->data_dir,
		      name) == 0)
		(void)sys->unlink(path);
}

/* Of two that succeed the same segment only the one of its size can be ours: the other is of a rotation that failed before it grew. */
static bool is_better(const struct left *l, uint32_t number, uint32_t size)
{
	if (!l->any || number != l->is.number + 1)
		return !l->any || number > l->is.number + 1;
	return file_length(l->ns, DATA_FILE, number - 1) == (int64_t)size;
}

static int left_each(void *ctx, const char *name, unsigned char type)
{
	struct left *l = ctx;
	uint32_t number, size;

	(void)type;
	if (!parse_name(name, l->which == INDEX_FILE ? 'i' : 'd', &number, &size))
		return 0;
	if (l->drop_others) {
		if (number == l->is.number + 1 && size == l->closed_size)
			l->is.named[l->which] = false;
		else
			drop_name(l, name);
	} else if (is_better(l, number, size)) {
		l->any = true;
		l->is.number = number - 1;
		l->closed_size = size;
	}
	return 0;
}

static int left_list(struct left *l)
{
	int rc;

	l->which = INDEX_FILE;
	rc = file_list(l->ns->index_dir, left_each, l);
	l->which = DATA_FILE;
	return rc == 0 ? file_list(l->ns->data_dir, left_each, l) : rc;
}

/* An error is none of the answers: with it nothing is dropped.  1: the file begins so; 0: it does not, or is not there; negative code. */
static int head_is(const struct left *l, enum which which, const void *want, size_t size)
{
	uint8_t b[IDX_HEADER + DAT_HEADER];
	char path[ZDB_PATH_MAX];
	ssize_t n;
	int fd, rc = path_of(l->ns, &l->is, which, path);

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = file_pread_full(fd, b, size, 0);
	sys->close(fd);
	return n < 0 ? (int)n : n == (ssize_t)size && memcmp(b, want, size) == 0;
}

/* Both have their headers, and the data file bears the stamp of the opening that made it. */
static int headers_there(const struct left *l, const struct mark *m)
{
	uint8_t user[IDX_HEADER], seq[IDX_HEADER], data[DAT_HEADER];
	int rc;

	idx_header_encode(user, l->is.number + 1, ZDB_USER);
	idx_header_encode(seq, l->is.number + 1, ZDB_SEQ);
	dat_header_encode(data, l->is.number + 1, m->stamp);
	rc = head_is(l, INDEX_FILE, user, sizeof(user));
	if (rc == 0)
		rc = head_is(l, INDEX_FILE, seq, sizeof(seq));
	return rc == 1 ? head_is(l, DATA_FILE, data, sizeof(data)) : rc;
}

/* The closed log as our opening left it, up to the size in the name. */
static int closed_fits(const struct left *l, const struct mark *m)
{
	int64_t size = file_length(l->ns, DATA_FILE, l->is.number);

	if (size < 0)
		return size == -ENOENT ? 0 : (int)size;
	return m->state == MARK_OPEN && size == (int64_t)l->closed_size;
}

/* Nothing of it is missing from the marker on, and nothing looks as if a sector of it were lost.  1, 0, or a negative code. */
static int closed_whole(const struct left *l, const struct mark *m)
{
	uint32_t closed = l->is.number, at;
	struct log_stream s;
	struct dat_rec d;
	const uint8_t *key;
	uint8_t stamp[8], *buf;
	ssize_t n = any_read(l->ns, DATA_FILE, closed, stamp, sizeof(stamp), DAT_STAMP_AT);
	int rc;

	if (n < 0)
		return (int)n;
	if (m->file > closed || n != (ssize_t)sizeof(stamp) || get_u64le(stamp) != m->stamp)
		return 0;
	buf = mem_alloc(CHUNK_SIZE);
	if (buf == NULL)
		return -ENOMEM;
	rc = log_open(&s, l->ns, closed, m->file == closed ? m->offset : DAT_HEADER, buf);
	if (rc == 0) {
		while ((rc = log_next(&s, &d, &key, &at)) == 1 && !s.suspect)
			;
		rc = rc == 0 ? s.off == l->closed_size : rc == 1 || rc == -EBADMSG ? 0 : rc;
		log_close(&s);
	}
	mem_free(buf);
	return rc;
}

/* Makes the closed segment durable, and the names of its successor. */
static int sync_left(const struct left *l)
{
	struct ahead_files closed = {0}, next = {0};
	int rc = fd_new(l->ns, INDEX_FILE, l->is.number, O_RDWR, &closed.index);

	if (rc == 0)
		rc = fd_new(l->ns, DATA_FILE, l->is.number, O_RDWR, &closed.data);
	if (rc == 0)
		rc = fd_new_at(l->ns, INDEX_FILE, l->is.number + 1, l->is.suffix, O_RDWR, &next.index);
	if (rc == 0)
		rc = fd_new_at(l->ns, DATA_FILE, l->is.number + 1, l->is.suffix, O_RDWR, &next.data);
	if (rc == 0)
		rc = ahead_sync(l->ns, &closed, next.index, next.data);
	ahead_files_put(l->ns->eng, &closed);
	ahead_files_put(l->ns->eng, &next);
	return rc;
}

/* 1: they are the log's continuation; 0: they are not; or a negative code. */
static int continues(const struct left *l, const struct mark *m)
{
	int rc = closed_fits(l, m);

	if (rc == 1)
		rc = headers_there(l, m);
	/* With one name of its own the closed segment was durable. */
	if (rc == 1 && !l->is.named[INDEX_FILE] && !l->is.named[DATA_FILE])
		rc = closed_whole(l, m);
	return rc;
}

static int left_unlink(const struct left *l, enum which which)
{
	char path[ZDB_PATH_MAX];
	int rc = l->is.named[which] ? 0 : path_of(l->ns, &l->is, which, path);

	return rc == 0 && !l->is.named[which] && sys->unlink(path) != 0 ? -errno : rc;
}

static int left_drop(const struct left *l)
{
	char path[ZDB_PATH_MAX];
	struct stat st;
	int rc;

	if (!l->is.named[DATA_FILE] && path_of(l->ns, &l->is, DATA_FILE, path) == 0 &&
	    sys->stat(path, &st) == 0 && st.st_size > (off_t)DAT_HEADER)
		l->ns->recovery.ahead_dropped = (uint64_t)st.st_size - DAT_HEADER;
	rc = left_unlink(l, DATA_FILE);
	if (rc == 0)
		rc = left_unlink(l, INDEX_FILE);
	return rc == 0 ? sync_dirs(l->ns) : rc;
}

/* 1: what is there under the other name would take the place of a file; 0, or a negative code. */
static int is_litter(const struct left *l, enum which which)
{
	int64_t size = l->is.named[which] ? -ENOENT : file_length(l->ns, which, l->is.number + 1);

	return size >= 0 ? 1 : size == -ENOENT ? 0 : (int)size;
}

/*
 * Nothing can be written.  Who only looks sees the end of the closed segment; to serve that, once records behind it were answered, would be
 * old values and deleted keys.
 */
static int left_unsettled(const struct left *l, const struct mark *m, char *why, size_t why_size)
{
	int there = is_litter(l, INDEX_FILE), rc = 0;

	l->ns->recovery.ahead_waits = l->is.number + 1;
	if (l->ns->eng->opt.read_only)
		return 0;
	if (there == 0)
		there = is_litter(l, DATA_FILE);
	if (there == 0)
		rc = continues(l, m);
	if (there < 0 || rc <= 0)
		return there < 0 ? there : rc;
	return say(why, why_size, -EROFS,
		   "not stopped cleanly, and its recovery has to write: recover a copy");
}

static int left_settle(struct left *l, const struct mark *m)
{
	bool durable = l->is.named[INDEX_FILE] || l->is.named[DATA_FILE];
	int there = is_litter(l, INDEX_FILE), rc = 0;

	if (there == 0)
		there = is_litter(l, DATA_FILE);
	if (there == 0)
		rc = continues(l, m);
	if (there < 0 || rc < 0)
		return there < 0 ? there : rc;
	if (rc == 0)
		return left_drop(l);
	rc = durable ? 0 : sync_left(l);
	if (rc == 0)
		rc = own_names(l->ns, &l->is);
	return rc == 0 ? sync_dirs(l->ns) : rc;
}

int ahead_settle(struct zdb_ns *ns, const struct mark *m, char *why, size_t why_size)
{
	struct left l = {.ns = ns, .is = {.named = {true, true}}};
	int rc = left_list(&l);

	if (rc == -ENOENT || (rc == 0 && !l.any))
		return 0; /* that there is no directory is for others to tell */
	l.drop_others = true;
	suffix_make(l.is.suffix, l.closed_size);
	if (rc == 0)
		rc = left_list(&l);
	if (rc == 0 && ns->eng->read_only)
		return left_unsettled(&l, m, why, why_size);
	if (rc == 0)
		rc = left_settle(&l, m);
	fd_forget_all(ns);
	return rc == 0 ? 0
		       : say(why, why_size, rc, "cannot settle what a crash left of segment %u",
			     l.is.number + 1);
}
