/*
 * cmd_scan: SCAN, SCANX, RSCAN, KEYCUR, KSCAN, DBSIZE. One page is what the engine lists in 2 ms, as upstream does.
 */
#include <errno.h>
#include <string.h>

#include "core/zdbd/zdbd_int.h"

#define PAGE_US       2000
#define PAGE_ENTRIES  20000
#define LISTING_MAX   (8u << 20)
#define LISTING_KEEP  (64u << 10)
#define LISTING_ENTRY (ZDB_KEY_MAX + 64) /* more than one entry takes */

struct page {
	struct buf *members;
	uint32_t count;
	bool failed;
};

static bool add_entry(void *ctx, const struct zdb_entry *e)
{
	struct page *page = ctx;
	struct buf *b = page->members;

	page->failed = resp_put_array(b, 3) || resp_put_bulk(b, e->key, e->klen) ||
		       resp_put_integer(b, e->length) || resp_put_integer(b, e->timestamp);
	if (page->failed)
		return false;
	page->count++;
	return b->len + LISTING_ENTRY < LISTING_MAX;
}

static const char *scan_error(int err)
{
	switch (err) {
	case -ENODATA:
		return "No more data";
	case -EINVAL:
		return "Invalid key format";
	default:
		return "Internal Error";
	}
}

static enum verdict scan(struct call *call, bool backward)
{
	struct client *c = call->c;
	struct buf *members = &c->d->listing;
	struct page page = {.members = members};
	uint8_t next[ZDB_CURSOR_SIZE];
	bool cursor = call->w.argc > 1;
	int err;

	if (!may_read(c))
		return DONE;
	if (cursor && ARG_LEN(call, 1) != ZDB_CURSOR_SIZE) {
		reply_error(c, "Invalid key format");
		return DONE;
	}
	members->max = LISTING_MAX;
	err = zdb_scan(c->ns, cursor ? ARG(call, 1) : NULL, cursor ? ZDB_CURSOR_SIZE : 0, backward,
		       PAGE_ENTRIES, PAGE_US, add_entry, &page, next);
	if (!err && (page.failed || page.count == 0))
		err = -ENOMEM;
	if (err) {
		reply_error(c, scan_error(err));
		goto out;
	}
	reply_array(c, 2);
	reply_bulk(c, next, sizeof(next));
	reply_array(c, page.count);
	if (!reply_room(c, members->len))
		goto out;
	buf_append(&c->out, members->data, members->len);
	client_output(c);
out:
	if (members->cap > LISTING_KEEP)
		buf_release(members);
	else
		buf_clear(members);
	return DONE;
}

enum verdict cmd_scan(struct call *call)
{
	return scan(call, false);
}

enum verdict cmd_rscan(struct call *call)
{
	return scan(call, true);
}

/* What upstream's released builds answer to everybody. */
enum verdict cmd_kscan(struct call *call)
{
	reply_error(call->c, "Command disabled in release code, not yet available");
	return DONE;
}

enum verdict cmd_keycur(struct call *call)
{
	struct client *c = call->c;
	uint8_t cursor[ZDB_CURSOR_SIZE];
	int err;

	if (!may_read(c))
		return DONE;
	err = zdb_keycur(c->ns, ARG(call, 1), ARG_LEN(call, 1), cursor);
	if (!err)
		reply_bulk(c, cursor, sizeof(cursor));
	else
		reply_error(c, err == -ENOENT || err == -EINVAL ? "Key not found" : "Internal Error");
	return DONE;
}

enum verdict cmd_dbsize(struct call *call)
{
	struct zdb_ns_info info;

	zdb_ns_info(call->c->ns, &info);
	reply_integer(call->c, (int64_t)info.entries);
	return DONE;
}
