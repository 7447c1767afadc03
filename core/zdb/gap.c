/*
 * gap.c - a place in the log where no whole record is: the torn end of a crash, or damage of what was durable?
 *
 * Bytes that were synced never tear, so damage before the durable end is damage: it is stepped over, and nothing behind it
 * is touched.  How far the log was durable is known from the marker and from `synced` beside it, which is written after
 * every sync of the log and not synced itself: always true, exact when only the process died, at worst some seconds old
 * after a power cut.  Behind it, what a power cut leaves is told from damage by its shape: a sector that never reached the
 * disk ends in zeros, and a log that was torn so is cut there.
 */
#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

#define SEARCH_MAX                                                                                           \
	(2 * (DAT_RECORD + ZDB_KEY_MAX + ZDB_PAYLOAD_MAX)) /* two damaged records in a row at most */

/* ------------------------------------------------------------------------------------------------ the durable end --- */

void synced_note(const struct zdb_ns *ns, uint32_t number, uint32_t offset, uint64_t stamp, bool durable)
{
	struct synced y = {.file = number, .offset = offset, .stamp = stamp};
	char path[ZDB_PATH_MAX];
	uint8_t b[SYNCED_SIZE];
	int fd;

	if (stamp == 0 || file_join(path, sizeof(path), ns->index_dir, "synced") != 0)
		return;
	fd = sys->open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return; /* what is there stays right: it only says less */
	synced_encode(b, &y);
	(void)sys->pwrite(fd, b, sizeof(b), 0);
	if (durable && sys->fdatasync(fd) == 0)
		(void)file_sync_dir(ns->index_dir); /* it may be new */
	sys->close(fd);
}

void durable_find(struct zdb_ns *ns, const struct mark *m)
{
	char path[ZDB_PATH_MAX];
	uint8_t b[SYNCED_SIZE];
	struct synced y = {0};
	int fd;

	ns->durable_file = m->file;
	ns->durable_off = m->state != 0 ? m->offset : DAT_HEADER;
	if (m->state == 0 || file_join(path, sizeof(path), ns->index_dir, "synced") != 0)
		return;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return;
	if (file_pread_full(fd, b, sizeof(b), 0) == (ssize_t)sizeof(b) && synced_decode(&y, b) == 0 &&
	    y.stamp == m->stamp && m->state == MARK_OPEN &&
	    (y.file > m->file || (y.file == m->file && y.offset > m->offset))) {
		ns->durable_file = y.file;
		ns->durable_off = y.offset;
	}
	sys->close(fd);
}

uint32_t log_durable(const struct zdb_ns *ns, uint32_t number, uint32_t size)
{
	if (number < ns->data.number)
		return size; /* synced before its successor was made */
	if (number != ns->durable_file)
		return DAT_HEADER;
	return ns->durable_off < size ? ns->durable_off : size;
}

/* -------------------------------------------------------------------------------------------- where it goes on --- */

int log_follower(struct log_stream *s, uint32_t bad, bool loose, uint32_t *next)
{
	uint32_t end = s->end - bad > SEARCH_MAX ? bad + SEARCH_MAX : s->end, before = s->last;
	const uint8_t *b, *key;
	struct dat_rec d;
	uint32_t at;

	for (uint64_t next_off = (uint64_t)bad + DAT_RECORD + 1; next_off + DAT_RECORD < end; next_off++) {
		uint32_t o = (uint32_t)next_off;
		ssize_t n = log_fill(s, o, DAT_RECORD, &b);
		int rc;

		if (n < (ssize_t)DAT_RECORD)
			return n < 0 ? (int)n : 0;
		dat_decode(&d, b);
		if (loose ? d.len == 0 ||
				    ((d.prev <= bad || d.prev >= o) && (before == 0 || d.prev != before))
			  : d.prev != bad)
			continue;
		if (!dat_plausible(&d, s->ns->mode))
			continue;
		s->off = o;
		s->last = 0;
		rc = log_step(s, &d, &key, &at);
		*next = o;
		if (rc == 1 || rc != -EBADMSG)
			return rc;
	}
	return 0;
}

/*
 * Whether a sector of [bad, to) reads as one that never reached the disk, or did before the record was whole: zeros up to its
 * end, from its start, from the record's start or from that of its payload, which is written by itself.
 */
static int lost_sector(struct log_stream *s, uint32_t bad, uint32_t to)
{
	uint64_t payload = to, border; /* the last one is at 4 GiB */
	const uint8_t *b;
	ssize_t n = log_fill(s, bad, 1, &b);

	if (n > 0)
		payload = (uint64_t)bad + DAT_RECORD + b[0];
	for (uint64_t at = bad; n >= 0 && at < to; at = border) {
		uint32_t i, size;

		border = (at / SECTOR + 1) * SECTOR;
		if (payload > at && payload < border && payload < to)
			at = payload;
		size = (uint32_t)(border - at);
		n = log_fill(s, (uint32_t)at, size, &b);
		for (i = 0; i < n && i < size && b[i] == 0;)
			i++;
		if (i == n || i == size)
			return 1;
	}
	return n < 0 ? (int)n : 0;
}

/* Whether the header of the record at `bad` says that it ends at `end`. */
static bool ends_at(struct log_stream *s, uint32_t bad, uint32_t end)
{
	const uint8_t *b;
	struct dat_rec d;

	if (log_fill(s, bad, DAT_RECORD, &b) < (ssize_t)DAT_RECORD)
		return false;
	dat_decode(&d, b);
	return (uint64_t)bad + DAT_RECORD + d.klen + d.len == end;
}

int log_gap_find(struct log_stream *s, bool torn, struct log_gap *g)
{
	uint32_t bad = s->off, durable = log_durable(s->ns, s->number, s->end), next = 0, before = s->last;
	int rc = log_follower(s, bad, false, &next);

	g->off = bad;
	g->single = rc == 1;
	s->last = before;
	if (rc == 0)
		rc = log_follower(s, bad, true, &next);
	if (rc == 1 && torn && bad >= durable) {
		rc = lost_sector(s, bad, next);
		rc = rc < 0 ? rc : !rc;
	} else if (rc == 0 && bad < durable) {
		next = durable;
		g->single = ends_at(s, bad, next);
		rc = 1;
	}
	g->next = rc == 1 ? next : bad;
	s->off = g->next;
	s->last = 0;
	return rc;
}
