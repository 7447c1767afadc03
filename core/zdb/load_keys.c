/*
 * load_keys.c - what a start reads from the index files: user mode's table of keys, sequential mode's bases and counts.
 */
#include "core/zdb/zdb_int.h"

int table_add(struct zdb_ns *ns, const uint8_t *key, const struct idx_rec *r, struct place at,
	      struct place *stale)
{
	struct entry e = {.tag = key_tag(ns->eng, key, r->klen),
			  .file = at.file,
			  .index_off = at.off,
			  .data_off = r->off};
	struct entry *old = NULL;
	struct idx_rec was;
	struct place place;
	int rc = -ENOENT;
	uint32_t slot = UINT32_MAX;

	if (table_next(&ns->table, e.tag, &slot) != NULL)
		rc = index_find(ns, key, r->klen, &place, &was, &old);
	if (rc != 0 && rc != -ENOENT)
		return rc;
	if ((r->flags & FLAG_DELETED) != 0) {
		if (rc == -ENOENT) {
			ns->next_id++;
			return 0;
		}
		table_remove(&ns->table, old);
		ns->entries--;
		ns->key_bytes -= r->klen;
		ns->data_size -= was.len;
		*stale = place;
		return 1;
	}
	if (r->off < DAT_HEADER)
		return 0; /* names nothing: reported by whoever checks */
	if (rc == 0) {
		*old = e;
		ns->data_size += r->len - (uint64_t)was.len;
		*stale = place;
		return 1;
	}
	rc = table_reserve(&ns->table, e.tag);
	if (rc != 0)
		return rc;
	table_insert(&ns->table, &e);
	ns->entries++;
	ns->key_bytes += r->klen;
	ns->data_size += r->len;
	ns->next_id++;
	return 0;
}

static int load_keys_file(struct zdb_ns *ns, uint32_t number, uint32_t end, uint8_t *buf)
{
	struct idx_stream s;
	struct idx_rec r;
	struct place stale;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, number, IDX_HEADER, buf);

	if (rc != 0)
		return rc;
	if (s.end > end)
		s.end = end;
	while ((rc = stream_next(&s, &r, &key, &at)) == 1) {
		rc = table_add(ns, key, &r, (struct place){number, at}, &stale);
		if (rc == 1) { /* two versions were live: the later one wins, as in upstream */
			rc = rewrite_reserve(ns, stale.file);
			if (rc == 0)
				rewrite_flag(ns, stale, IDX_RECORD + r.klen);
		}
		if (rc != 0)
			break;
		ns->prev_index = at;
	}
	stream_close(&s);
	if (rc == -EBADMSG) { /* what is behind cannot be told apart any more */
		ns->recovery.index_torn++;
		if (ns->torn_index < 0)
			ns->torn_index = number;
		return 0;
	}
	return rc;
}

int load_keys(struct zdb_ns *ns, uint32_t last, uint32_t last_size, char *why, size_t why_size)
{
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	int rc = buf == NULL ? -ENOMEM : 0;

	for (uint32_t n = 0; rc == 0 && n <= last; n++) {
		rc = load_keys_file(ns, n, n == last ? last_size : UINT32_MAX, buf);
		if (rc != 0)
			(void)say(why, why_size, rc, "cannot read index file i%u", n);
	}
	mem_free(buf);
	return rc;
}

/* `previous` of the sequential record at (file, off): the one before it, in the nearest earlier file that has one. */
uint32_t seq_prev(const struct zdb_ns *ns, uint32_t file, uint32_t off)
{
	if (off > IDX_HEADER)
		return off - SEQ_RECORD;
	while (file > 0) {
		uint64_t count = ns->bases[file] - ns->bases[file - 1];

		file--;
		if (count > 0)
			return (uint32_t)(IDX_HEADER + (count - 1) * SEQ_RECORD);
	}
	return 0;
}

int load_bases(struct zdb_ns *ns, uint32_t last, uint32_t last_size)
{
	uint64_t id = 0;

	for (uint32_t n = 0; n <= ns->index.number; n++) {
		int64_t size = n == last ? (int64_t)last_size : n < last ? file_length(ns, INDEX_FILE, n) : 0;
		int rc = bases_set(ns, n, n <= last ? id : UINT64_MAX);

		if (rc != 0)
			return rc;
		if (size < 0)
			return (int)size;
		if (n <= last && size > (int64_t)IDX_HEADER)
			id += ((uint64_t)size - IDX_HEADER) / SEQ_RECORD;
	}
	ns->next_id = id;
	ns->prev_index = seq_prev(ns, last, IDX_HEADER + (uint32_t)(id - ns->bases[last]) * SEQ_RECORD);
	return 0;
}

static int seq_count_file(struct zdb_ns *ns, uint32_t number, uint8_t *buf)
{
	uint64_t id = ns->bases[number];
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, number, IDX_HEADER, buf);

	if (rc != 0)
		return rc;
	while ((rc = stream_next(&s, &r, &key, &at)) == 1) {
		if (ns->pend.used != 0)
			index_overlay(ns, (struct place){number, at}, &r);
		if ((r.flags & FLAG_DELETED) == 0 && get_u64le(key) == id) {
			ns->entries++;
			ns->data_size += r.len;
		}
		id++;
	}
	stream_close(&s);
	if (rc == -EBADMSG) {
		ns->recovery.index_torn++;
		if (ns->torn_index < 0)
			ns->torn_index = number;
		return 0;
	}
	return rc;
}

int seq_count(struct zdb_ns *ns)
{
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	int rc = buf == NULL ? -ENOMEM : 0;

	ns->entries = ns->data_size = 0;
	for (uint32_t n = 0; rc == 0 && n <= ns->index.number; n++)
		rc = seq_count_file(ns, n, buf);
	mem_free(buf);
	return rc;
}
