/*
 * compact_repoint.c - the index follows what a compaction has moved: the rows of the intent, then the copies, then all of it durable.
 */
#include "core/zdb/compact_int.h"

/* User mode's table holds the data offset, too. */
static void table_move(struct zdb_ns *ns, const struct compact_row *row, const uint8_t *rec)
{
	uint32_t slot = UINT32_MAX;
	struct entry *e;

	if (ns->mode != ZDB_USER)
		return;
	while ((e = table_next(&ns->table, key_tag(ns->eng, rec + IDX_RECORD, rec[0]), &slot)) != NULL)
		if (e->file == row->file && e->index_off == row->index_off)
			e->data_off = row->new_off;
}

/* From here on a closing tells of it. */
static void remember(struct zdb_compact *c)
{
	struct zdb_replaced what = {.segment = c->n, .size = (uint32_t)c->new_size};

	memcpy(what.content, c->intent.content, sizeof(what.content));
	replaced_add(c->ns, &what, c->intent.rows);
	c->stored_bytes += c->new_size;
	c->stored_rows += c->intent.rows;
}

int compact_repoint(struct zdb_compact *c)
{
	uint32_t left = c->intent.rows - c->row, count = left < c->opt.step ? left : c->opt.step;
	const uint8_t *rec;
	int rc = intent_read(c->intent_fd, c->row, count, c->buf), rc2;

	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		struct compact_row r;

		row_decode(&r, c->buf + i * ROW_SIZE);
		rc = patch_row(&c->patcher, &r, &rec);
		if (rc != 0)
			break;
		if (rec != NULL)
			table_move(c->ns, &r, rec);
		if (r.old_off >= c->moved_off)
			c->moved_off = r.old_off + 1;
		c->row++;
	}
	rc2 = patch_flush(&c->patcher);
	rc = rc == 0 ? rc2 : rc;
	if (rc != 0)
		return rc == -ENOMEM ? rc : -EIO;
	if (c->row < c->intent.rows)
		return 2;
	c->moved_off = UINT32_MAX;
	if (c->opt.stored)
		remember(c);
	c->phase = c->intent.history ? COMPACT_COPIES : COMPACT_SETTLE;
	c->scan_file = c->n;
	c->scan_off = IDX_HEADER;
	return c->intent.history ? 2 : 1;
}

static int copies_file(struct zdb_compact *c, struct zdb_fd *data, uint32_t *left)
{
	struct zdb_ns *ns = c->ns;
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, c->scan_file, c->scan_off, c->buf);

	if (rc != 0)
		return rc;
	while (rc == 0 && *left > 0 && (rc = stream_next(&s, &r, &key, &at)) == 1) {
		rc = patch_copy(&c->patcher, &c->intent, c->intent_fd, data, &r, key,
				(struct place){c->scan_file, at});
		c->scan_off = s.off;
		--*left;
	}
	stream_close(&s);
	return rc == -EBADMSG ? 0 : rc;
}

/* The copies of versions in the segment; those made since the rows were done name the new offsets already. */
int compact_copies(struct zdb_compact *c)
{
	struct zdb_ns *ns = c->ns;
	uint32_t left = c->opt.step;
	struct zdb_fd *data;
	int rc = ns_flush_tails(ns), rc2; /* the window works on files */

	if (rc != 0)
		return rc;
	rc = fd_get(ns, DATA_FILE, c->n, &data);
	if (rc == -ENOENT) { /* taken away: nothing to compare with */
		c->phase = COMPACT_SETTLE;
		return 1;
	}
	if (rc != 0)
		return rc;
	while (rc == 0 && left > 0 && c->scan_file <= ns->index.number) {
		rc = copies_file(c, data, &left);
		if (rc == 0 && left > 0) {
			c->scan_file++;
			c->scan_off = IDX_HEADER;
		}
	}
	fd_put(ns->eng, data);
	rc2 = patch_flush(&c->patcher);
	rc = rc == 0 ? rc2 : rc;
	if (rc != 0)
		return rc;
	if (left == 0)
		return 2;
	c->phase = COMPACT_SETTLE;
	return 1;
}

int compact_settle(struct zdb_compact *c)
{
	int rc = 0;

	for (int64_t i = bits_next(&c->touched, 0); rc == 0 && i >= 0;
	     i = bits_next(&c->touched, (uint64_t)i + 1)) {
		uint32_t number = (uint32_t)i;

		rc = sync_numbers(c->ns, &number, 1);
	}
	return rc == 0 ? intent_settle(c->ns, &c->intent) : rc;
}
