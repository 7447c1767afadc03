/*
 * fsck: see fsck.h. One walk from the root; every record that is met is noted with how often names lead to it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fmt.h"
#include "applets/zdbfs/fsck.h"
#include "core/base/endian.h"
#include "core/base/hmap.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define WINDOW 64u

/* A record that something refers to. */
struct seen {
	struct hmap_node node;
	uint64_t key;
	uint32_t names, links;
	bool is_dir, is_inode;
};

struct pending {
	uint64_t ino, parent;
};

struct fsck {
	struct kv *kv;
	const struct fsck_options *opt;
	struct fsck_result *r;
	struct hmap meta, data;
	struct pending *todo; /* directories */
	size_t todo_count, todo_cap;
	uint64_t journal_key;
	int rc; /* the store's error: ends the run */
};

static void __attribute__((format(printf, 2, 3))) say(struct fsck *f, const char *format, ...)
{
	char line[512];
	va_list ap;

	f->r->errors++;
	if (!f->opt->say)
		return;
	va_start(ap, format);
	(void)vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	f->opt->say(f->opt->ctx, line);
}

static struct seen *find(struct hmap *map, uint64_t key)
{
	struct hmap_node *n = hmap_first_of(map, hmap_hash_u64(key));

	while (n && container_of(n, struct seen, node)->key != key)
		n = hmap_next_of(n);
	return n ? container_of(n, struct seen, node) : NULL;
}

static struct seen *note(struct fsck *f, struct hmap *map, uint64_t key, bool *is_new)
{
	struct seen *s = find(map, key);

	*is_new = !s;
	if (s)
		return s;
	s = mem_calloc(1, sizeof(*s));
	if (!s) {
		f->rc = -ENOMEM;
		return NULL;
	}
	s->key = key;
	hmap_add(map, &s->node, hmap_hash_u64(key));
	return s;
}

static void push(struct fsck *f, uint64_t ino, uint64_t parent)
{
	if (f->todo_count == f->todo_cap) {
		size_t cap = f->todo_cap ? f->todo_cap * 2 : 64;
		struct pending *p = mem_realloc_array(f->todo, cap, sizeof(*p));

		if (!p) {
			f->rc = -ENOMEM;
			return;
		}
		f->todo = p;
		f->todo_cap = cap;
	}
	f->todo[f->todo_count++] = (struct pending){ino, parent};
}

/* ------------------------------------------------------------------------------------------------- headers */

static void check_header(struct fsck *f, enum kv_role role)
{
	static const char *const magics[KV_ROLES] = {"ZDBFSM", "ZDBFSD", "ZDBFST"};
	struct fmt_header h;
	void *value = NULL;
	size_t len;
	int rc = kv_get(f->kv, role, FMT_HEADER_KEY, &value, &len);

	if (rc == -ENOENT) {
		say(f, "%s: there is no header", kv_role_str(role));
	} else if (rc) {
		f->rc = rc;
	} else {
		rc = fmt_header_decode(&h, magics[role], value, len);
		if (rc)
			say(f, "%s: the header is not one: %s", kv_role_str(role), err_str(rc));
		else if (len != FMT_HEADER_SIZE)
			say(f, "%s: the header has %zu bytes, not 24", kv_role_str(role), len);
		if (!rc && role == KV_META) {
			f->journal_key = h.journal_key;
			f->r->was_clean = !(h.flags & (FMT_FLAG_MOUNTED | FMT_FLAG_JOURNAL));
		}
	}
	mem_free(value);
}

static void check_journal(struct fsck *f)
{
	struct fmt_journal j;
	void *value = NULL;
	size_t len;
	int rc;

	if (!f->journal_key || f->rc)
		return;
	rc = kv_get(f->kv, KV_META, f->journal_key, &value, &len);
	if (rc && rc != -ENOENT)
		f->rc = rc;
	else if (rc || fmt_journal_decode(&j, value, len))
		say(f, "the intent record %llu is missing or damaged", (unsigned long long)f->journal_key);
	mem_free(value);
}

/* ------------------------------------------------------------------------------------------------- blocks */

static void check_block(struct fsck *f, uint64_t ino, const struct kv_req *q)
{
	unsigned long long id = q->key, owner = ino;

	if (q->err == -ENOENT) {
		say(f, "inode %llu: block %llu is missing", owner, id);
	} else if (q->err == -EIO) {
		say(f, "inode %llu: block %llu cannot be read", owner, id);
	} else if (q->err) {
		f->rc = q->err;
	} else {
		f->r->blocks++;
		f->r->block_bytes += q->value_len;
		if (q->op == KV_GET && (q->value_len == 0 || q->value_len > FMT_BLOCK))
			say(f, "inode %llu: block %llu has %zu bytes", owner, id, q->value_len);
	}
}

static void check_blocks(struct fsck *f, uint64_t ino, const struct fmt_inode *in)
{
	struct kv_req reqs[WINDOW], *ptrs[WINDOW];
	uint64_t slot = 0;

	while (!f->rc && slot < in->slot_count) {
		size_t n = 0;

		for (; slot < in->slot_count && n < WINDOW && !f->rc; slot++) {
			uint32_t id = get_u32le((const uint8_t *)in->map + slot * 4);
			bool is_new;

			if (!id)
				continue;
			if (note(f, &f->data, id, &is_new) && !is_new)
				say(f, "inode %llu: block %u belongs to another place too",
				    (unsigned long long)ino, id);
			reqs[n] = (struct kv_req){
				.op = f->opt->read_blocks ? KV_GET : KV_EXISTS, .role = KV_DATA, .key = id};
			ptrs[n] = &reqs[n];
			n++;
		}
		if (n)
			(void)kv_run(f->kv, ptrs, n, 0);
		for (size_t k = 0; k < n; k++) {
			check_block(f, ino, &reqs[k]);
			mem_free(reqs[k].value);
		}
	}
}

/* -------------------------------------------------------------------------------------------- inodes, directories */

struct dir_sums {
	uint64_t size;
	uint32_t subdirs;
};

static void check_child(struct fsck *f, uint64_t dir, const struct fmt_entry *e, struct dir_sums *sums)
{
	unsigned long long ino = e->ino;
	struct fmt_inode in;
	struct seen *s;
	void *rec = NULL;
	size_t len;
	bool is_new;
	int rc;

	f->r->names++;
	s = note(f, &f->meta, e->ino, &is_new);
	if (!s)
		return;
	s->names++;
	if (!is_new) {
		if (s->is_dir)
			say(f, "directory %llu: '%s' leads to directory %llu, which has another name",
			    (unsigned long long)dir, e->name, ino);
		else if (!s->is_inode)
			say(f, "directory %llu: '%s' leads to record %llu, which is no inode",
			    (unsigned long long)dir, e->name, ino);
		return;
	}
	rc = kv_get(f->kv, KV_META, e->ino, &rec, &len);
	if (rc == -ENOENT) {
		say(f, "directory %llu: '%s' leads to inode %llu, which does not exist",
		    (unsigned long long)dir, e->name, ino);
	} else if (rc) {
		f->rc = rc;
	} else if (fmt_inode_decode(&in, rec, len)) {
		say(f, "directory %llu: '%s' leads to inode %llu, whose record is damaged",
		    (unsigned long long)dir, e->name, ino);
	} else {
		s->is_inode = true;
		s->is_dir = S_ISDIR(in.mode);
		s->links = in.links;
		if (s->is_dir) {
			sums->subdirs++;
			push(f, e->ino, dir);
		} else if (S_ISREG(in.mode)) {
			f->r->files++;
			check_blocks(f, e->ino, &in);
		} else if (S_ISLNK(in.mode)) {
			f->r->links++;
		} else {
			f->r->others++;
			if (in.slot_count)
				say(f, "inode %llu: a special file has blocks", ino);
		}
	}
	mem_free(rec);
}

static void check_entries(struct fsck *f, uint64_t dir, unsigned slot, const uint8_t *p, size_t left,
			  uint32_t count, struct dir_sums *sums)
{
	struct fmt_entry before = {0};

	for (uint32_t n = 0; n < count && !f->rc; n++) {
		struct fmt_entry e;

		if (fmt_entry_decode(&e, p, left)) {
			say(f, "directory %llu: list %u ends within its entry %u", (unsigned long long)dir,
			    slot, n);
			return;
		}
		if (e.name_len > FMT_NAME_MAX || memchr(e.name, '/', e.name_len))
			say(f, "directory %llu: list %u has a name that cannot be one",
			    (unsigned long long)dir, slot);
		if (fmt_hash(e.name, e.name_len) != slot)
			say(f, "directory %llu: '%s' is in list %u", (unsigned long long)dir, e.name, slot);
		if (before.name && fmt_name_compare(before.name, before.name_len, e.name, e.name_len) >= 0)
			say(f, "directory %llu: list %u is not sorted at '%s'", (unsigned long long)dir, slot,
			    e.name);
		before = e;
		if (!(e.name[0] == '.' && (e.name_len == 1 || (e.name_len == 2 && e.name[1] == '.')))) {
			sums->size += e.size;
			check_child(f, dir, &e, sums);
		}
		p += e.size;
		left -= e.size;
	}
	if (left && !f->rc)
		say(f, "directory %llu: list %u has %zu bytes too many", (unsigned long long)dir, slot, left);
}

static void check_list(struct fsck *f, uint64_t dir, unsigned slot, uint64_t key, struct dir_sums *sums)
{
	const uint8_t *entries;
	size_t len, entries_len;
	void *rec = NULL;
	uint32_t count;
	bool is_new;
	int rc;

	if (note(f, &f->meta, key, &is_new) && !is_new) {
		say(f, "directory %llu: list %llu belongs to another place too", (unsigned long long)dir,
		    (unsigned long long)key);
		return;
	}
	rc = kv_get(f->kv, KV_META, key, &rec, &len);
	if (rc == -ENOENT)
		say(f, "directory %llu: list %llu is missing", (unsigned long long)dir,
		    (unsigned long long)key);
	else if (rc)
		f->rc = rc;
	else if (fmt_list_decode(rec, len, &count, &entries, &entries_len))
		say(f, "directory %llu: list %llu is damaged", (unsigned long long)dir,
		    (unsigned long long)key);
	else if (len >= FMT_LIST_HEAD)
		check_entries(f, dir, slot, entries, entries_len, count, sums);
	mem_free(rec);
}

static void check_dir(struct fsck *f, uint64_t ino)
{
	struct dir_sums sums = {0};
	struct fmt_inode in;
	void *rec = NULL;
	size_t len;
	int rc = kv_get(f->kv, KV_META, ino, &rec, &len);

	f->r->dirs++;
	if (rc && rc != -ENOENT) {
		f->rc = rc;
	} else if (rc || fmt_inode_decode(&in, rec, len) || !S_ISDIR(in.mode)) {
		say(f, "directory %llu: its record is missing or damaged", (unsigned long long)ino);
	} else {
		for (unsigned h = 0; h < FMT_SLOTS && !f->rc; h++) {
			uint64_t key = get_u64le((const uint8_t *)in.lists + h * 8);

			if (key != FMT_NO_LIST)
				check_list(f, ino, h, key, &sums);
		}
		if (!f->rc && in.size != sums.size)
			say(f, "directory %llu: its size is %llu, its names take %llu",
			    (unsigned long long)ino, (unsigned long long)in.size,
			    (unsigned long long)sums.size);
		if (!f->rc && in.links != 0 && in.links != FMT_LINKS_UNKNOWN && in.links != 2 + sums.subdirs)
			say(f, "directory %llu: it has %u links and %u directories", (unsigned long long)ino,
			    in.links, sums.subdirs);
	}
	mem_free(rec);
}

static void check_links(struct fsck *f)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	while ((n = hmap_each(&f->meta, &it))) {
		const struct seen *s = container_of(n, struct seen, node);

		if (s->is_inode && !s->is_dir && s->names != s->links)
			say(f, "inode %llu: it has %u links and %u names", (unsigned long long)s->key,
			    s->links, s->names);
	}
}

/* ------------------------------------------------------------------------------------------------- leaks */

static uint64_t find_leaks(struct fsck *f, enum kv_role role, struct hmap *map, uint64_t next)
{
	struct kv_req reqs[WINDOW], *ptrs[WINDOW];
	uint64_t leaks = 0;

	for (uint64_t at = 1; at < next && !f->rc;) {
		size_t n = 0;

		for (; at < next && n < WINDOW; at++) {
			if (find(map, at) ||
			    (role == KV_META && (at == f->journal_key || at == FMT_ROOT_INO)))
				continue;
			reqs[n] = (struct kv_req){.op = KV_EXISTS, .role = role, .key = at};
			ptrs[n] = &reqs[n];
			n++;
		}
		if (n)
			(void)kv_run(f->kv, ptrs, n, 0);
		for (size_t k = 0; k < n; k++) {
			if (reqs[k].err && reqs[k].err != -ENOENT)
				f->rc = reqs[k].err;
			leaks += !reqs[k].err;
		}
	}
	return leaks;
}

static void check_numbers(struct fsck *f)
{
	struct kv_info meta, data;

	if (!f->rc)
		f->rc = kv_info(f->kv, KV_META, &meta);
	if (!f->rc)
		f->rc = kv_info(f->kv, KV_DATA, &data);
	if (f->rc)
		return;
	f->r->next_meta = meta.next_id;
	f->r->next_data = data.next_id;
	if (!f->opt->find_leaks)
		return;
	f->r->leaked_meta = find_leaks(f, KV_META, &f->meta, meta.next_id);
	f->r->leaked_data = find_leaks(f, KV_DATA, &f->data, data.next_id);
}

static void release(struct hmap *map)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	while ((n = hmap_each(map, &it)))
		mem_free(container_of(n, struct seen, node));
	hmap_release(map);
}

int fsck_run(struct kv *kv, const struct fsck_options *opt, struct fsck_result *result, struct err_text *err)
{
	struct fsck f = {.kv = kv, .opt = opt, .r = result};
	bool is_new;

	memset(result, 0, sizeof(*result));
	for (int role = 0; role < KV_ROLES && !f.rc; role++)
		check_header(&f, (enum kv_role)role);
	check_journal(&f);
	if (!f.rc && note(&f, &f.meta, FMT_ROOT_INO, &is_new))
		push(&f, FMT_ROOT_INO, FMT_ROOT_INO);
	while (!f.rc && f.todo_count)
		check_dir(&f, f.todo[--f.todo_count].ino);
	if (!f.rc)
		check_links(&f);
	check_numbers(&f);
	release(&f.meta);
	release(&f.data);
	mem_free(f.todo);
	return f.rc ? err_set(err, f.rc, "cannot check the volume: %s", err_str(f.rc)) : 0;
}
