/*
 * rows: the segment table, kept locally: which closed segments are stored, under which name, with which content.
 *
 * One append-only file per namespace, `<state>/zstor/<name>.rows`: a head (magic QSRT, version u16, name length u16,
 * 8 zero bytes, name padded with zeros to 128, zero 12, CRC-32C) of 160 bytes, then rows of 64 bytes:
 *	segment u32 · flags u32 (bit 0 stored) · generation u64 · size u32 · 0 u32 · content id 16 · inode u64 ·
 *	mtime in ns u64 · 0 u32 · CRC-32C u32
 * A later row of a segment replaces an earlier one. Reading stops at the first row that is not whole (a power cut while
 * appending); what a lost row said is found again by the start-up scan. The file is written anew when it holds more than
 * twice as many rows as segments.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "applets/zstor/zstor.h"
#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/coding/crc.h"
#include "core/object/bundle.h"

#define HEAD_BYTES   160u
#define ROW_BYTES    64u
#define ROW_STORED   1u
#define SEGMENTS_MAX (1u << 24) /* 2^24 segments of 64 MiB are a pebibyte */

struct zs_ns *ns_find(struct zstor *z, const char *name)
{
	list_each(&z->namespaces, it)
	{
		struct zs_ns *ns = container_of(it, struct zs_ns, link);

		if (strcmp(ns->name, name) == 0)
			return ns;
	}
	return NULL;
}

struct zs_ns *ns_get(struct zstor *z, const char *name)
{
	struct zs_ns *ns = ns_find(z, name);

	if (ns)
		return ns;
	ns = mem_calloc(1, sizeof(*ns));
	if (!ns)
		return NULL;
	if (str_copy(ns->name, sizeof(ns->name), name) < 0) {
		mem_free(ns);
		return NULL;
	}
	ns->rows_fd = -1;
	list_add_tail(&z->namespaces, &ns->link);
	return ns;
}

static void ns_free(struct zs_ns *ns)
{
	list_del(&ns->link);
	if (ns->rows_fd >= 0)
		sys->close(ns->rows_fd);
	mem_free(ns->rows);
	mem_free(ns->bundles);
	mem_free(ns);
}

const struct zs_row *ns_row(struct zstor *z, const char *name, uint32_t segment)
{
	struct zs_ns *ns = ns_find(z, name);

	return ns && segment < ns->rows_count && ns->rows[segment].known ? &ns->rows[segment] : NULL;
}

static int set_row(struct zs_ns *ns, uint32_t segment, const struct zs_row *row)
{
	if (segment >= SEGMENTS_MAX)
		return -E_LIMIT;
	if (segment >= ns->rows_cap) {
		uint32_t cap = ns->rows_cap ? ns->rows_cap : 64;
		struct zs_row *grown;

		while (cap <= segment)
			cap *= 2;
		grown = mem_realloc_array(ns->rows, cap, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + ns->rows_cap, 0, (cap - ns->rows_cap) * sizeof(*grown));
		ns->rows = grown;
		ns->rows_cap = cap;
	}
	ns->rows[segment] = *row;
	if (segment >= ns->rows_count)
		ns->rows_count = segment + 1;
	return 0;
}

/* ------------------------------------------------------------------------------------------------- bundles --- */

bool ns_has_bundle(const struct zs_ns *ns, uint32_t first, uint32_t last)
{
	for (size_t i = 0; i < ns->bundles_count; i++)
		if (ns->bundles[i].bundle.first == first && ns->bundles[i].bundle.last == last)
			return true;
	return false;
}

int ns_bundle_done(struct zs_ns *ns, const struct manifest_bundle *b, uint64_t seq)
{
	size_t at = 0;

	while (at < ns->bundles_count && ns->bundles[at].bundle.first < b->first)
		at++;
	if (at < ns->bundles_count && ns->bundles[at].bundle.first == b->first) {
		ns->bundles[at] = (struct zs_bundle_done){.bundle = *b, .seq = seq};
		return 0;
	}
	if (ns->bundles_count == ns->bundles_cap) {
		size_t cap = ns->bundles_cap ? ns->bundles_cap * 2 : 16;
		struct zs_bundle_done *grown = mem_realloc_array(ns->bundles, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		ns->bundles = grown;
		ns->bundles_cap = cap;
	}
	memmove(&ns->bundles[at + 1], &ns->bundles[at], (ns->bundles_count - at) * sizeof(*ns->bundles));
	ns->bundles[at] = (struct zs_bundle_done){.bundle = *b, .seq = seq};
	ns->bundles_count++;
	return 0;
}

/* --------------------------------------------------------------------------------------------------- files --- */

/* The name is in the head: the file's own name need only be different for different namespaces, and legal. */
static int table_path(struct zstor *z, const char *name, char *path, size_t size)
{
	uint8_t id[CONTENT_ID_BYTES];
	char file[2 * CONTENT_ID_BYTES + 1 + 8], hex[2 * CONTENT_ID_BYTES + 1];

	content_id_of(name, strlen(name), id);
	snprintf(file, sizeof(file), "%s.rows", hex_encode(hex, id, sizeof(id)));
	return file_join(path, size, z->dir, file);
}

static void encode_head(const char *name, uint8_t head[HEAD_BYTES])
{
	size_t len = strlen(name);

	memset(head, 0, HEAD_BYTES);
	memcpy(head, "QSRT", 4);
	put_u16le(head + 4, 1);
	put_u16le(head + 6, (uint16_t)len);
	memcpy(head + 16, name, len);
	put_u32le(head + 156, crc_castagnoli(0, head, 156));
}

static void encode_row(uint32_t segment, const struct zs_row *row, uint8_t out[ROW_BYTES])
{
	memset(out, 0, ROW_BYTES);
	put_u32le(out, segment);
	put_u32le(out + 4, row->known ? ROW_STORED : 0);
	put_u64le(out + 8, row->generation);
	put_u32le(out + 16, row->size);
	memcpy(out + 24, row->content, CONTENT_ID_BYTES);
	put_u64le(out + 40, row->inode);
	put_u64le(out + 48, row->mtime_ns);
	put_u32le(out + 60, crc_castagnoli(0, out, 60));
}

static bool decode_row(const uint8_t in[ROW_BYTES], uint32_t *segment, struct zs_row *row)
{
	if (get_u32le(in + 60) != crc_castagnoli(0, in, 60))
		return false;
	*segment = get_u32le(in);
	row->known = get_u32le(in + 4) & ROW_STORED;
	row->generation = get_u64le(in + 8);
	row->size = get_u32le(in + 16);
	memcpy(row->content, in + 24, CONTENT_ID_BYTES);
	row->inode = get_u64le(in + 40);
	row->mtime_ns = get_u64le(in + 48);
	return true;
}

/* Under rows_io. */
static int open_table(struct zstor *z, struct zs_ns *ns)
{
	uint8_t head[HEAD_BYTES];
	char path[FILE_PATH_MAX];
	struct stat st;
	int fd, rc = table_path(z, ns->name, path, sizeof(path));

	if (rc < 0 || ns->rows_fd >= 0)
		return rc;
	fd = sys->open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		return -errno;
	if (sys->fstat(fd, &st) < 0) {
		rc = -errno;
	} else if (st.st_size < (off_t)HEAD_BYTES) {
		encode_head(ns->name, head);
		rc = file_pwrite_full(fd, head, sizeof(head), 0);
		if (rc == 0)
			rc = file_sync_parent(path);
	}
	if (rc < 0)
		sys->close(fd);
	else
		ns->rows_fd = fd;
	return rc;
}

/* Behind the last whole row: a torn one is overwritten. Under rows_io. */
static int append(struct zs_ns *ns, const struct buf *b)
{
	off_t end = sys->lseek(ns->rows_fd, 0, SEEK_END);
	int rc;

	if (end < 0)
		return -errno;
	end -= (end - (off_t)HEAD_BYTES) % (off_t)ROW_BYTES;
	rc = file_pwrite_full(ns->rows_fd, b->data, b->len, end);
	return rc == 0 && sys->fdatasync(ns->rows_fd) < 0 ? -errno : rc;
}

int rows_put_many(struct zstor *z, const char *name, const struct bundle_row *of, uint32_t count,
		  const struct zs_row *rows)
{
	struct buf b = BUF_INIT((size_t)BUNDLE_ROWS_MAX * ROW_BYTES);
	uint8_t bytes[ROW_BYTES];
	struct zs_ns *ns;
	int rc = -ENOMEM;

	pthread_mutex_lock(&z->rows_io);
	pthread_mutex_lock(&z->lock);
	ns = ns_get(z, name);
	pthread_mutex_unlock(&z->lock);
	if (ns)
		rc = open_table(z, ns);
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		encode_row(of[i].segment, &rows[i], bytes);
		rc = buf_append(&b, bytes, sizeof(bytes));
	}
	if (rc == 0 && b.len)
		rc = append(ns, &b);
	pthread_mutex_lock(&z->lock);
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = set_row(ns, of[i].segment, &rows[i]);
	pthread_cond_broadcast(&z->changed);
	pthread_mutex_unlock(&z->lock);
	pthread_mutex_unlock(&z->rows_io);
	buf_release(&b);
	return rc;
}

int rows_put(struct zstor *z, const char *name, uint32_t segment, const struct zs_row *row)
{
	const struct bundle_row of = {.segment = segment};

	return rows_put_many(z, name, &of, 1, row);
}

int rows_clear(struct zstor *z, const char *name)
{
	char path[FILE_PATH_MAX];
	struct zs_ns *ns;
	int rc;

	pthread_mutex_lock(&z->rows_io);
	rc = table_path(z, name, path, sizeof(path));
	if (rc == 0 && sys->unlink(path) < 0 && errno != ENOENT)
		rc = -errno;
	pthread_mutex_lock(&z->lock);
	ns = ns_find(z, name);
	if (ns && rc == 0) {
		if (ns->rows_fd >= 0)
			sys->close(ns->rows_fd);
		ns->rows_fd = -1;
		if (ns->rows)
			memset(ns->rows, 0, ns->rows_count * sizeof(*ns->rows));
		ns->rows_count = 0;
		ns->bundles_count = 0;
	}
	pthread_mutex_unlock(&z->lock);
	pthread_mutex_unlock(&z->rows_io);
	return rc;
}

/* Writes the table anew with one row per segment. */
static int compact(struct zstor *z, struct zs_ns *ns, const char *path)
{
	struct buf b = BUF_INIT((size_t)HEAD_BYTES + (size_t)SEGMENTS_MAX * ROW_BYTES);
	uint8_t bytes[HEAD_BYTES];
	int rc;

	(void)z;
	encode_head(ns->name, bytes);
	rc = buf_append(&b, bytes, HEAD_BYTES);
	for (uint32_t i = 0; rc == 0 && i < ns->rows_count; i++) {
		if (!ns->rows[i].known)
			continue;
		encode_row(i, &ns->rows[i], bytes);
		rc = buf_append(&b, bytes, ROW_BYTES);
	}
	if (rc == 0)
		rc = file_write_atomic(path, 0600, b.data, b.len);
	buf_release(&b);
	return rc;
}

static int load_rows(struct zstor *z, const char *path, const uint8_t *data, size_t len)
{
	size_t at = HEAD_BYTES, read = 0;
	char name[SPOOL_NS_MAX + 1];
	struct zs_ns *ns;
	size_t name_len;
	int rc = 0;

	if (len < HEAD_BYTES || memcmp(data, "QSRT", 4) != 0 ||
	    get_u32le(data + 156) != crc_castagnoli(0, data, 156) || get_u16le(data + 4) != 1)
		return -E_CORRUPT;
	name_len = get_u16le(data + 6);
	if (name_len > SPOOL_NS_MAX)
		return -E_CORRUPT;
	memcpy(name, data + 16, name_len);
	name[name_len] = '\0';
	ns = ns_get(z, name);
	if (!ns)
		return -ENOMEM;
	for (; rc == 0 && at + ROW_BYTES <= len; at += ROW_BYTES, read++) {
		struct zs_row row;
		uint32_t segment;

		if (!decode_row(data + at, &segment, &row)) {
			log_warn("segment table of %s ends after %zu rows: the rest is not whole", name,
				 read);
			break;
		}
		rc = set_row(ns, segment, &row);
	}
	if (rc == 0 && (at != len || read > 2 * (size_t)ns->rows_count + 64))
		rc = compact(z, ns, path);
	return rc;
}

static int load_one(void *ctx, const char *file, unsigned char type)
{
	struct zstor *z = ctx;
	char path[FILE_PATH_MAX], *data;
	size_t len;
	int rc;

	if (type != DT_REG || !str_ends(file, ".rows"))
		return 0;
	rc = file_join(path, sizeof(path), z->dir, file);
	if (rc == 0)
		rc = file_read_all(path, HEAD_BYTES + (size_t)SEGMENTS_MAX * ROW_BYTES, &data, &len);
	if (rc < 0)
		return rc;
	rc = load_rows(z, path, (const uint8_t *)data, len);
	mem_free(data);
	if (rc == -E_CORRUPT) {
		/* Everything in it can be found again; what cannot be read helps nobody. */
		log_warn("segment table %s is damaged and is made anew", path);
		return sys->unlink(path) < 0 ? -errno : 0;
	}
	return rc;
}

int rows_load(struct zstor *z)
{
	return file_list(z->dir, load_one, z);
}

void rows_release(struct zstor *z)
{
	list_each_safe(&z->namespaces, it) ns_free(container_of(it, struct zs_ns, link));
}
