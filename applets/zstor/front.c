/*
 * front: requests to the front zdb, and what can be known of it when it has stopped.
 *
 * One connection, opened when needed, dropped after any failure. Requests are rare (a cut per recovery point, one per
 * eviction), so they take turns under front_lock.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/endian.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/coding/crc.h"
#include "core/spool/where.h"

#define NAMESPACES_MAX   MANIFEST_NAMESPACES_MAX
#define DESCRIPTOR_MAX   (15u + 255u + 255u)
#define DESCRIPTOR_HEAD  15u
#define MARK_BYTES       44u
#define MARK_CLEAN       2u
#define INDEX_HEAD_BYTES 29

/* --------------------------------------------------------------------------------------------------- requests --- */

static int connect_front(struct zstor *z, char *why)
{
	struct client_options opt = {.connect_ms = 2000, .op_ms = 60000, .reply_max = 256u << 20};
	struct client_addr addr = {0};
	redisReply *reply = NULL;
	int rc;

	if (z->front)
		return 0;
	if (!z->conf.zdb) {
		snprintf(why, ZS_WHY, "the configuration names no front zdb");
		return -ENOTCONN;
	}
	rc = client_addr_parse(&addr, z->conf.zdb);
	if (rc < 0) {
		snprintf(why, ZS_WHY, "zdb = \"%s\" is no address", z->conf.zdb);
		return -E_CONFIG;
	}
	rc = client_open(&z->front, &addr, &opt, why, ZS_WHY);
	if (rc < 0 || !z->conf.zdb_password)
		return rc;
	rc = client_words(z->front, &reply, "AUTH", z->conf.zdb_password, NULL);
	if (rc == 0 && reply->type == REDIS_REPLY_ERROR) {
		snprintf(why, ZS_WHY, "the front zdb refuses the admin password");
		rc = -EACCES;
	}
	if (rc == 0)
		freeReplyObject(reply);
	return rc;
}

static void drop_front(struct zstor *z)
{
	client_close(z->front);
	z->front = NULL;
}

/* One request; an error reply becomes -E_PEER with its text. Under front_lock. */
static int ask(struct zstor *z, redisReply **reply, int argc, const char **argv, const size_t *lens,
	       char *why)
{
	int rc = connect_front(z, why);

	*reply = NULL;
	if (rc == 0) {
		rc = client_command(z->front, reply, argc, argv, lens);
		if (rc < 0)
			snprintf(why, ZS_WHY, "front zdb: %s", client_error(z->front));
	}
	if (rc < 0) {
		drop_front(z);
		return rc;
	}
	if ((*reply)->type == REDIS_REPLY_ERROR) {
		snprintf(why, ZS_WHY, "front zdb: %s", (*reply)->str);
		freeReplyObject(*reply);
		*reply = NULL;
		return -E_PEER;
	}
	return 0;
}

static bool take_row(const redisReply *row, struct front_cut *c)
{
	if (row->type != REDIS_REPLY_ARRAY || row->elements < 6 ||
	    row->element[0]->type != REDIS_REPLY_STRING || row->element[5]->type != REDIS_REPLY_STRING)
		return false;
	for (int i = 1; i < 5; i++)
		if (row->element[i]->type != REDIS_REPLY_INTEGER || row->element[i]->integer < 0)
			return false;
	if (row->element[2]->integer > UINT32_MAX || row->element[3]->integer > UINT32_MAX ||
	    row->element[1]->integer > 1 || row->element[5]->len > DESCRIPTOR_MAX ||
	    str_copy_n(c->name, sizeof(c->name), row->element[0]->str, row->element[0]->len) < 0)
		return false;
	c->mode = (uint8_t)row->element[1]->integer;
	c->segment = (uint32_t)row->element[2]->integer;
	c->offset = (uint32_t)row->element[3]->integer;
	c->descriptor_len = (uint16_t)row->element[5]->len;
	c->descriptor = mem_dup(row->element[5]->str, row->element[5]->len);
	return c->descriptor != NULL;
}

int front_cut(struct zstor *z, struct front_cuts *out, char *why)
{
	const char *argv[] = {"CUT"};
	size_t lens[] = {3};
	redisReply *reply;
	int rc;

	*out = (struct front_cuts){0};
	pthread_mutex_lock(&z->front_lock);
	rc = ask(z, &reply, 1, argv, lens, why);
	pthread_mutex_unlock(&z->front_lock);
	if (rc < 0)
		return rc;
	rc = -EPROTO;
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->elements <= 4096)
		out->list = mem_calloc(reply->elements, sizeof(*out->list));
	for (size_t i = 0; out->list && i < reply->elements; i++) {
		struct front_cut *c = &out->list[out->count];

		if (!take_row(reply->element[i], c))
			goto out;
		if (where_is_temp(c->name))
			mem_free(c->descriptor);
		else
			out->count++;
	}
	if (out->list && out->count <= NAMESPACES_MAX)
		rc = 0;
out:
	freeReplyObject(reply);
	if (rc < 0) {
		front_cuts_release(out);
		snprintf(why, ZS_WHY, "front zdb: its answer to CUT makes no sense");
	}
	return rc;
}

void front_cuts_release(struct front_cuts *c)
{
	for (size_t i = 0; i < c->count; i++)
		mem_free(c->list[i].descriptor);
	mem_free(c->list);
	*c = (struct front_cuts){0};
}

int front_evict(struct zstor *z, const char *ns, uint32_t segment, const uint8_t content[CONTENT_ID_BYTES],
		char *why)
{
	char number[16], proof[5 + 2 * CONTENT_ID_BYTES + 1] = "xxh3:";
	const char *argv[] = {"EVICT", ns, number, proof};
	size_t lens[4];
	redisReply *reply;
	int rc;

	snprintf(number, sizeof(number), "%" PRIu32, segment);
	hex_encode(proof + 5, content, CONTENT_ID_BYTES);
	for (int i = 0; i < 4; i++)
		lens[i] = strlen(argv[i]);
	pthread_mutex_lock(&z->front_lock);
	rc = ask(z, &reply, 4, argv, lens, why);
	pthread_mutex_unlock(&z->front_lock);
	if (rc == 0)
		freeReplyObject(reply);
	return rc;
}

/* A command about a segment whose answer says nothing but yes. */
static int tell(struct zstor *z, const char *command, const char *ns, uint32_t segment, char *why)
{
	char number[16];
	const char *argv[] = {command, ns, number};
	size_t lens[3];
	redisReply *reply;
	int rc;

	snprintf(number, sizeof(number), "%" PRIu32, segment);
	for (int i = 0; i < 3; i++)
		lens[i] = strlen(argv[i]);
	pthread_mutex_lock(&z->front_lock);
	rc = ask(z, &reply, 3, argv, lens, why);
	pthread_mutex_unlock(&z->front_lock);
	if (rc == 0)
		freeReplyObject(reply);
	return rc;
}

int front_spool(struct zstor *z, const char *ns, uint32_t segment, char *why)
{
	return tell(z, "SPOOL", ns, segment, why);
}

int front_stored(struct zstor *z, const char *ns, uint32_t below, char *why)
{
	return tell(z, "STORED", ns, below, why);
}

void front_lock_all(struct zstor *z)
{
	char why[ZS_WHY] = "";
	struct front_cuts cuts;

	if (front_cut(z, &cuts, why) < 0) {
		log_warn("cannot make the front zdb read-only: %s", why);
		return;
	}
	for (size_t i = 0; i < cuts.count; i++) {
		const char *argv[] = {"NSSET", cuts.list[i].name, "lock", "1"};
		size_t lens[] = {5, strlen(cuts.list[i].name), 4, 1};
		redisReply *reply;

		pthread_mutex_lock(&z->front_lock);
		if (ask(z, &reply, 4, argv, lens, why) == 0)
			freeReplyObject(reply);
		else
			log_warn("cannot make namespace %s read-only: %s", cuts.list[i].name, why);
		pthread_mutex_unlock(&z->front_lock);
	}
	front_cuts_release(&cuts);
}

/* --------------------------------------------------------------------------------------- a stopped server --- */

static int read_small(const char *dir, const char *name, uint8_t *out, size_t max, size_t *len)
{
	char path[FILE_PATH_MAX];
	ssize_t n;
	int fd, rc = file_join(path, sizeof(path), dir, name);

	if (rc < 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	n = file_read_full(fd, out, max);
	sys->close(fd);
	if (n < 0)
		return (int)n;
	*len = (size_t)n;
	return 0;
}

/* Its CRC-32C, with and without the usual inversions: servers have written both. */
static bool mark_is_whole(const uint8_t mark[MARK_BYTES])
{
	return memcmp(mark, "QSZM", 4) == 0 && get_u32le(mark + 40) == crc_castagnoli(0, mark, 40);
}

/* 0 when the namespace was never written to. */
static int is_untouched(struct zstor *z, const char *dir, const char *name)
{
	char path[FILE_PATH_MAX];
	struct stat st;
	int rc = str_fmt(path, sizeof(path), "%s/i1", dir);

	if (rc < 0)
		return rc;
	if (file_exists(path) != 0)
		return -EBUSY;
	rc = str_fmt(path, sizeof(path), "%s/i0", dir);
	if (rc < 0 || sys->stat(path, &st) < 0 || st.st_size != INDEX_HEAD_BYTES)
		return -EBUSY;
	rc = segment_path(z, path, sizeof(path), name, 0);
	if (rc < 0 || sys->stat(path, &st) < 0 || st.st_size != DATA_HEAD_BYTES)
		return -EBUSY;
	return 0;
}

/* The mark of a clean stop says where the log ends; everything before that is durable and will not change. */
static int cut_of_mark(struct zstor *z, const char *dir, const char *name, struct front_cut *c)
{
	uint8_t mark[MARK_BYTES + 1], head[INDEX_HEAD_BYTES], desc[DESCRIPTOR_MAX];
	char index[16];
	size_t len, need;
	int rc = read_small(dir, "mark", mark, sizeof(mark), &len);

	if (rc == -ENOENT) {
		/* A mark is made before the first write: without one there must be nothing but heads. */
		rc = is_untouched(z, dir, name);
		if (rc < 0)
			return rc;
		c->segment = 0;
		c->offset = DATA_HEAD_BYTES;
	} else if (rc < 0) {
		return rc;
	} else if (len != MARK_BYTES || !mark_is_whole(mark) || mark[4] != MARK_CLEAN) {
		return -EBUSY;
	} else {
		c->segment = get_u32le(mark + 8);
		c->offset = get_u32le(mark + 12);
	}
	snprintf(index, sizeof(index), "i%" PRIu32, c->segment);
	rc = read_small(dir, index, head, sizeof(head), &len);
	if (rc == 0 && (len != sizeof(head) || head[28] > 1))
		rc = -EBUSY;
	if (rc < 0)
		return rc;
	c->mode = head[28];
	rc = read_small(dir, "zdb-namespace", desc, sizeof(desc), &len);
	if (rc < 0)
		return rc;
	need = len < DESCRIPTOR_HEAD ? DESCRIPTOR_HEAD : DESCRIPTOR_HEAD + desc[4] + desc[5];
	if (len < need)
		return -EBUSY;
	c->descriptor_len = (uint16_t)need; /* what follows is stale and no part of it */
	c->descriptor = mem_dup(desc, need);
	return c->descriptor ? str_copy(c->name, sizeof(c->name), name) : -ENOMEM;
}

struct mark_walk {
	struct zstor *z;
	struct front_cuts *out;
};

static int take_mark(void *ctx, const char *name, unsigned char type)
{
	struct mark_walk *walk = ctx;
	char dir[FILE_PATH_MAX];
	int rc;

	if (type != DT_DIR || where_is_temp(name) || name[0] == '.')
		return 0;
	if (walk->out->count == NAMESPACES_MAX)
		return -E_LIMIT;
	rc = file_join(dir, sizeof(dir), walk->z->conf.index_root, name);
	if (rc == 0)
		rc = cut_of_mark(walk->z, dir, name, &walk->out->list[walk->out->count]);
	if (rc == 0)
		walk->out->count++;
	return rc;
}

int front_cut_stopped(struct zstor *z, struct front_cuts *out, char *why)
{
	struct mark_walk walk = {z, out};
	int rc;

	*out = (struct front_cuts){.list = mem_calloc(NAMESPACES_MAX, sizeof(*out->list))};
	if (!out->list)
		return -ENOMEM;
	rc = file_list(z->conf.index_root, take_mark, &walk);
	if (rc == 0 && out->count == 0)
		rc = -ENOENT;
	if (rc < 0) {
		front_cuts_release(out);
		if (rc == -EBUSY)
			snprintf(why, ZS_WHY,
				 "the front zdb is not reachable, and it has not stopped cleanly");
		else
			snprintf(why, ZS_WHY, "the front zdb is not reachable: %s", err_str(rc));
	}
	return rc;
}
