/*
 * list: every object that the metadata stores know of. Each reachable store is asked for its keys (any one store may lack
 * some), names are taken once, and each record is read by the usual rule.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/applet.h"
#include "core/base/hex.h"
#include "core/base/mem.h"

#define NAMES_MAX (1u << 22)

struct names {
	uint8_t (*list)[OBJ_NAME_BYTES];
	size_t count, cap, prefix_len;
};

static int take_key(void *ctx, const uint8_t *key, size_t klen)
{
	struct names *n = ctx;
	size_t len;

	if (klen != n->prefix_len + 2 * OBJ_NAME_BYTES)
		return 0;
	if (n->count == n->cap) {
		size_t cap = n->cap ? n->cap * 2 : 1024;
		void *grown = cap > NAMES_MAX ? NULL : mem_realloc_array(n->list, cap, OBJ_NAME_BYTES);

		if (!grown)
			return -ENOMEM;
		n->list = grown;
		n->cap = cap;
	}
	if (hex_decode_n(n->list[n->count], OBJ_NAME_BYTES, (const char *)key + n->prefix_len,
			 2 * OBJ_NAME_BYTES, &len) == 0)
		n->count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return memcmp(a, b, OBJ_NAME_BYTES);
}

static int gather(struct zstor *z, struct names *n, char *why)
{
	char prefix[OBJ_PREFIX_MAX + 8];
	unsigned answered = 0;

	n->prefix_len = (size_t)snprintf(prefix, sizeof(prefix), "/%s/q/", z->conf.prefix);
	for (unsigned i = 0; i < z->meta_count; i++) {
		uint8_t cursor[64];
		size_t cursor_len = 0;
		struct net_error err = {0};
		int rc;

		do {
			rc = backend_scan(z->meta[i].backend, prefix, n->prefix_len, cursor, &cursor_len,
					  take_key, n, &err);
		} while (rc > 0);
		if (rc == 0)
			answered++;
		else
			snprintf(why, ZS_WHY, "metadata store %s: %.200s", z->meta[i].label,
				 err.text[0] ? err.text : err_str(rc));
		if (rc == -ENOMEM)
			return rc;
	}
	/* Every acknowledged record is on k'+1 stores: n'-k' of them together show all. */
	return answered >= z->meta_count - (unsigned)z->conf.meta_k ? 0 : -EAGAIN;
}

int list_run(struct zstor *z, list_fn fn, void *ctx, char *why)
{
	struct obj_work *w = zs_work_get(z);
	struct names n = {0};
	struct meta m;
	int unread = 0, rc = w ? 0 : -ENOMEM;

	why[0] = '\0';
	if (rc == 0)
		rc = gather(z, &n, why);
	if (n.count)
		qsort(n.list, n.count, OBJ_NAME_BYTES, by_name);
	zs_meta_copy(z, &m);
	for (size_t i = 0; rc == 0 && i < n.count; i++) {
		struct record rec;
		int code = 0;

		if (i && memcmp(n.list[i], n.list[i - 1], OBJ_NAME_BYTES) == 0)
			continue;
		record_init(&rec);
		if (record_read_name(&m, w, n.list[i], false, &rec, NULL, &code) == OBJ_FOUND)
			rc = fn(ctx, &rec);
		else
			unread++;
		record_release(&rec);
	}
	mem_free(n.list);
	zs_work_put(z, w);
	if (rc == 0 && unread)
		snprintf(why, ZS_WHY, "%d records cannot be read", unread);
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "%s", err_str(rc));
	if (rc == -EAGAIN)
		return EXIT_AGAIN;
	return rc < 0 ? EXIT_FAILED : unread ? EXIT_PARTLY : EXIT_DONE;
}
