/*
 * evict: gives the space of closed segments back, one proof each.
 *
 * The proof (native format and design): the record is read from enough metadata stores now; its content id is the one that
 * this node remembers for the segment; more than k shards answer right now, so that no single store more can make the segment
 * unreadable; and the front zdb compares the content id with the file itself before it unlinks. The active segment, what a
 * recovery point is just being made of, and what is not known as stored, are never candidates. Oldest access first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/applet.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/spool/where.h"

struct candidate {
	char ns[SPOOL_NS_MAX + 1];
	uint32_t segment;
	uint64_t size;
	struct timespec used;
	bool is_known; /* stored, and below what a point holds on to */
};

struct candidates {
	struct zstor *z;
	const char *ns;
	struct candidate *list;
	size_t count, cap;
	uint64_t total; /* bytes of all data files */
};

static int take_file(void *ctx, const char *name, unsigned char type)
{
	struct candidates *c = ctx;
	char path[FILE_PATH_MAX];
	struct candidate *to;
	const struct zs_ns *ns;
	struct stat st;
	uint32_t segment;

	if (type != DT_REG || name[0] != 'd' || str_parse_u32(name + 1, &segment) < 0)
		return 0;
	if (segment_path(c->z, path, sizeof(path), c->ns, segment) < 0 || sys->stat(path, &st) < 0)
		return 0;
	c->total += (uint64_t)st.st_size;
	if (c->count == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 64;
		struct candidate *grown = mem_realloc_array(c->list, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		c->list = grown;
		c->cap = cap;
	}
	to = &c->list[c->count];
	memset(to, 0, sizeof(*to));
	(void)str_copy(to->ns, sizeof(to->ns), c->ns);
	to->segment = segment;
	to->size = (uint64_t)st.st_size;
	to->used = st.st_atim;
	pthread_mutex_lock(&c->z->lock);
	ns = ns_find(c->z, c->ns);
	to->is_known = ns_row(c->z, c->ns, segment) && !(ns->is_pinned && segment >= ns->pinned);
	pthread_mutex_unlock(&c->z->lock);
	if (to->is_known)
		c->count++;
	return 0;
}

static int take_ns(void *ctx, const char *name, unsigned char type)
{
	struct candidates *c = ctx;
	char dir[FILE_PATH_MAX];
	int rc;

	if (type != DT_DIR || where_is_temp(name) || name[0] == '.')
		return 0;
	c->ns = name;
	rc = file_join(dir, sizeof(dir), c->z->conf.data_root, name);
	return rc == 0 ? file_list(dir, take_file, c) : rc;
}

static int by_use(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	if (x->used.tv_nsec != y->used.tv_nsec)
		return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
	return x->segment < y->segment ? -1 : x->segment > y->segment;
}

/* 0 when the stores can give the segment back now, with one store to spare. */
static int prove(struct zstor *z, struct obj_work *w, const struct candidate *c,
		 uint8_t content[CONTENT_ID_BYTES], char *why)
{
	struct obj_report rep = {0};
	const struct zs_row *known;
	struct zs_row row = {0};
	struct record rec;
	struct obj_id id;
	int code = 0, rc, whole;

	pthread_mutex_lock(&z->lock);
	known = ns_row(z, c->ns, c->segment);
	if (known)
		row = *known;
	pthread_mutex_unlock(&z->lock);
	rc = row.known ? obj_id_set(&id, row.generation, OBJ_SEGMENT, c->segment, c->ns, strlen(c->ns))
		       : -EAGAIN;
	if (rc < 0)
		return rc;
	record_init(&rec);
	if (object_find(z, w, &id, &rec, NULL, &code) != OBJ_FOUND) {
		snprintf(why, ZS_WHY, "its record cannot be read from the metadata stores now");
		rc = -EAGAIN;
	} else if (memcmp(rec.priv.content, row.content, CONTENT_ID_BYTES) != 0) {
		snprintf(why, ZS_WHY, "the stores hold another content");
		rc = -E_CORRUPT;
	} else {
		whole = obj_check(w, &rec, &z->data_stores, false, &rep);
		if (whole < (int)rec.pub.k + 1 && whole < (int)rec.pub.n) {
			snprintf(why, ZS_WHY, "only %d of %u shards answer right now, %u are wanted",
				 whole < 0 ? 0 : whole, rec.pub.n, rec.pub.k + 1u);
			rc = -EAGAIN;
		}
	}
	memcpy(content, row.content, CONTENT_ID_BYTES);
	record_release(&rec);
	return rc;
}

static int evict_one(struct zstor *z, struct obj_work *w, const struct candidate *c, char *why)
{
	uint8_t content[CONTENT_ID_BYTES];
	int rc;

	why[0] = '\0';
	rc = prove(z, w, c, content, why);
	if (rc == 0)
		rc = front_evict(z, c->ns, c->segment, content, why);
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "%s", err_str(rc));
	if (rc == 0)
		log_info("evicted %s/d%" PRIu32 " bytes=%" PRIu64, c->ns, c->segment, c->size);
	return rc;
}

int evict_run(struct zstor *z, uint64_t target_bytes, struct evict_result *res)
{
	struct candidates c = {.z = z};
	struct obj_work *w = zs_work_get(z);
	char why[ZS_WHY];
	int rc = w ? 0 : -ENOMEM;
	bool stop;

	memset(res, 0, sizeof(*res));
	pthread_mutex_lock(&z->lock);
	stop = z->vol.state != VOL_READY;
	if (stop)
		snprintf(res->why, ZS_WHY, "%s", z->vol.why);
	pthread_mutex_unlock(&z->lock);
	if (rc == 0 && !stop)
		rc = file_list(z->conf.data_root, take_ns, &c);
	if (c.count)
		qsort(c.list, c.count, sizeof(c.list[0]), by_use);
	for (size_t i = 0; rc == 0 && i < c.count && c.total > target_bytes; i++) {
		pthread_mutex_lock(&z->lock);
		stop = z->stopping || z->vol.state != VOL_READY;
		pthread_mutex_unlock(&z->lock);
		if (stop)
			break;
		if (evict_one(z, w, &c.list[i], why) == 0) {
			res->files++;
			res->bytes += c.list[i].size;
			c.total -= c.list[i].size;
		} else {
			res->kept++;
			if (!res->why[0])
				snprintf(res->why, ZS_WHY, "%s/d%" PRIu32 ": %.150s", c.list[i].ns,
					 c.list[i].segment, why);
		}
	}
	if (rc < 0)
		snprintf(res->why, ZS_WHY, "cannot look at %s: %s", z->conf.data_root, err_str(rc));
	pthread_mutex_lock(&z->lock);
	z->evicted_files += res->files;
	z->evicted_bytes += res->bytes;
	pthread_mutex_unlock(&z->lock);
	mem_free(c.list);
	zs_work_put(z, w);
	if (rc < 0)
		return EXIT_FAILED;
	if (stop && !res->files)
		return EXIT_AGAIN;
	return res->kept ? EXIT_PARTLY : EXIT_DONE;
}
