/*
 * replaced.c - data files that compactions of a stored namespace have replaced, until the stores hold the new ones;
 * docs/formats.md, "zdb", section 5.
 *
 * The compaction's own note (`compact`) becomes `replaced-<N>`: its rows say which index records name the new file.  The next
 * closing puts their places, as they are then, and the file's content id into its bundle, so that a restore gets both or none of
 * it.  Which bundle that was is known in memory only: after a start everything is told once more, which changes nothing.  The note
 * goes when that bundle is known to be named on the stores, and never before: a bundle that was lost on its way is made again
 * without it.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/base/str.h"
#include "core/zdb/compact_int.h"

#define PREFIX "replaced-"

/* Notes are read so many rows at a time. */
#define EACH_ROWS 256u

bool replaced_is_note(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

int replaced_path(const struct zdb_ns *ns, uint32_t segment, char *buf)
{
	char name[32];

	(void)snprintf(name, sizeof(name), PREFIX "%u", segment);
	return file_join(buf, ZDB_PATH_MAX, ns->index_dir, name);
}

int replaced_reserve(struct zdb_ns *ns)
{
	uint32_t cap = ns->replaced_cap == 0 ? 16 : ns->replaced_cap * 2;
	struct replaced *grown;

	if (ns->replaced_count < ns->replaced_cap)
		return 0;
	grown = mem_realloc(ns->replaced, cap * sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	ns->replaced = grown;
	ns->replaced_cap = cap;
	return 0;
}

void replaced_add(struct zdb_ns *ns, const struct zdb_replaced *what, uint32_t rows)
{
	assert(ns->replaced_count < ns->replaced_cap);
	ns->replaced[ns->replaced_count++] = (struct replaced){.what = *what, .rows = rows, .given = -1};
}

struct loading {
	struct zdb_ns *ns;
	char *why;
	size_t why_size;
};

static int load_each(void *ctx, const char *name, unsigned char type)
{
	struct loading *l = ctx;
	char path[ZDB_PATH_MAX];
	struct compact_intent it;
	uint32_t number;
	int fd, rc;

	(void)type;
	if (!replaced_is_note(name))
		return 0;
	rc = file_join(path, sizeof(path), l->ns->index_dir, name);
	if (rc == 0)
		rc = intent_open_at(path, &it, &fd);
	if (rc == 0)
		sys->close(fd);
	if (rc == 0 && (!it.stored || str_parse_u32(name + strlen(PREFIX), &number) != 0 ||
			number != it.segment || it.new_size > UINT32_MAX))
		rc = -EBADMSG;
	if (rc == 0)
		rc = replaced_reserve(l->ns);
	if (rc == 0) {
		struct zdb_replaced what = {.segment = it.segment, .size = (uint32_t)it.new_size};

		memcpy(what.content, it.content, sizeof(what.content));
		replaced_add(l->ns, &what, it.rows);
	} else if (rc != -ENOMEM) {
		rc = say(l->why, l->why_size, -EIO,
			 "the note of a compaction that is not stored yet (%s) cannot be read", name);
	}
	return rc;
}

int replaced_load(struct zdb_ns *ns, char *why, size_t why_size)
{
	struct loading l = {ns, why, why_size};
	int rc = file_list(ns->index_dir, load_each, &l);

	return rc == -ENOENT ? 0 : rc;
}

int replaced_apply(struct zdb_ns *ns, uint32_t last)
{
	char path[ZDB_PATH_MAX];
	struct compact_intent it;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < ns->replaced_count; i++) {
		int fd;

		rc = replaced_path(ns, ns->replaced[i].what.segment, path);
		if (rc == 0)
			rc = intent_open_at(path, &it, &fd);
		if (rc != 0)
			break;
		rc = intent_redo(ns, &it, fd, last, true);
		sys->close(fd);
	}
	return rc;
}

void replaced_release(struct zdb_ns *ns)
{
	mem_free(ns->replaced);
	ns->replaced = NULL;
	ns->replaced_count = ns->replaced_cap = 0;
	ns->stored_below = 0;
}

/* The file that is being settled has its rows in the intent; its name is changed by a worker meanwhile. */
static int note_open(const struct zdb_ns *ns, uint32_t segment, bool *is_own)
{
	const struct zdb_compact *c = ns->compact;
	char path[ZDB_PATH_MAX];
	int fd;

	*is_own = c == NULL || c->n != segment || c->intent_fd < 0;
	if (!*is_own)
		return c->intent_fd;
	if (replaced_path(ns, segment, path) != 0)
		return -EIO;
	fd = sys->open(path, O_RDONLY, 0);
	return fd < 0 ? -EIO : fd;
}

int replaced_each(struct zdb_ns *ns, const struct replaced *r,
		  int (*fn)(void *ctx, uint32_t file, uint32_t off), void *ctx)
{
	uint8_t b[EACH_ROWS * ROW_SIZE];
	bool is_own;
	int fd = note_open(ns, r->what.segment, &is_own), rc = fd < 0 ? fd : 0;

	for (uint32_t i = 0; rc == 0 && i < r->rows;) {
		uint32_t count = r->rows - i < EACH_ROWS ? r->rows - i : EACH_ROWS;

		rc = intent_read(fd, i, count, b);
		for (uint32_t k = 0; rc == 0 && k < count; k++) {
			struct compact_row row;

			row_decode(&row, b + k * ROW_SIZE);
			if (row.file != ROW_NO_PLACE)
				rc = fn(ctx, row.file, row.index_off);
		}
		i += count;
	}
	if (is_own && fd >= 0)
		sys->close(fd);
	return rc;
}

void replaced_told(struct zdb_ns *ns, uint32_t n)
{
	for (uint32_t i = 0; i < ns->replaced_count; i++)
		if (ns->replaced[i].given < 0)
			ns->replaced[i].given = n;
}

void replaced_untold(struct zdb_ns *ns, uint32_t n)
{
	for (uint32_t i = 0; i < ns->replaced_count; i++)
		if (ns->replaced[i].given == n)
			ns->replaced[i].given = -1;
}

size_t zdb_replaced_count(const struct zdb_ns *ns, size_t *untold)
{
	size_t count = 0;

	for (uint32_t i = 0; i < ns->replaced_count; i++)
		count += ns->replaced[i].given < 0;
	if (untold != NULL)
		*untold = count;
	return ns->replaced_count;
}

bool zdb_replaced_in(const struct zdb_ns *ns, uint32_t n)
{
	for (uint32_t i = 0; i < ns->replaced_count; i++)
		if (ns->replaced[i].given == n)
			return true;
	return false;
}

/* Whether the note may go: what it says is on the stores, and its own name is its last. */
static bool is_over(const struct zdb_ns *ns, const struct replaced *r, uint32_t below)
{
	bool settles = compact_busy(ns) && ns->compact->switched && ns->compact->n == r->what.segment;

	return r->given >= 0 && r->given < below && !settles;
}

int zdb_stored(struct zdb_ns *ns, uint32_t below)
{
	char path[ZDB_PATH_MAX];
	uint32_t kept = 0;
	int rc = 0;

	if (!ns->alive)
		return -ENOENT;
	if (ns->load_error != 0)
		return -EIO;
	if (ns->eng->read_only)
		return -EROFS;
	if (below > ns->data.number)
		return -EINVAL;
	for (uint32_t i = 0; rc == 0 && i < ns->replaced_count; i++) {
		if (!is_over(ns, &ns->replaced[i], below))
			continue;
		rc = replaced_path(ns, ns->replaced[i].what.segment, path);
		if (rc == 0 && sys->unlink(path) != 0 && errno != ENOENT)
			rc = -EIO;
		kept++;
	}
	if (rc == 0 && kept > 0)
		rc = file_sync_dir(ns->index_dir) == 0 ? 0 : -EIO;
	if (rc != 0)
		return rc;
	kept = 0;
	for (uint32_t i = 0; i < ns->replaced_count; i++)
		if (!is_over(ns, &ns->replaced[i], below))
			ns->replaced[kept++] = ns->replaced[i];
	ns->replaced_count = kept;
	ns->stored_below = below;
	return 0;
}
