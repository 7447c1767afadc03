/*
 * hook: the bundle of a rotation beside an original server.
 *
 * Such a server does not say which bytes of its indexes a segment changed, only which files (the dirty list), and it
 * waits in jump-index, so that nothing changes meanwhile. So the bundle X(N,N) holds the closed index and every dirty
 * one whole: a superset of what changed, as of the closing of N. Layout: native format, section 7, without rows
 * (zstor adds the row when the segment is stored).
 */
#include <string.h>

#include "applets/hook/hook.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define CHUNK      (64u << 10)
#define FILES_MAX  65536u
#define HEAD_BYTES 20u
#define ROW_BYTES  12u

struct index_file {
	uint32_t number;
	uint32_t size;
};

struct files {
	struct index_file *list;
	size_t count;
};

static int add_file(struct files *f, const char *dir, uint32_t number)
{
	char path[FILE_PATH_MAX];
	struct stat st;
	int rc = str_fmt(path, sizeof(path), "%s/i%u", dir, number);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < f->count; i++)
		if (f->list[i].number == number)
			return 0;
	if (sys->stat(path, &st) < 0)
		return -errno;
	if (st.st_size > UINT32_MAX)
		return -EFBIG;
	f->list[f->count].number = number;
	f->list[f->count].size = (uint32_t)st.st_size;
	f->count++;
	return 0;
}

/* "0 3 7" -> number of words, or -EINVAL. */
static int count_words(const char *text)
{
	int words = *text ? 1 : 0;

	for (; *text; text++)
		words += *text == ' ';
	return words > (int)FILES_MAX ? -E_LIMIT : words;
}

static int gather(struct files *f, const char *dir, uint32_t closed, const char *dirty)
{
	char *copy, *cursor, *word;
	int rc, words = count_words(dirty);

	if (words < 0)
		return words;
	f->list = mem_calloc((size_t)words + 1, sizeof(*f->list));
	copy = mem_strdup(dirty);
	rc = f->list && copy ? 0 : -ENOMEM;
	cursor = copy;
	while (rc == 0 && (word = str_next(&cursor, ' '))) {
		uint32_t number;

		if (!*word)
			continue;
		rc = str_parse_u32(word, &number);
		if (rc == 0 && number < closed)
			rc = add_file(f, dir, number);
	}
	if (rc == 0)
		rc = add_file(f, dir, closed);
	mem_free(copy);
	return rc;
}

static int put_number(struct spool_writer *w, uint32_t value)
{
	uint8_t bytes[4];

	put_u32le(bytes, value);
	return spool_put_write(w, bytes, sizeof(bytes));
}

static int put_tables(struct spool_writer *w, uint32_t closed, const struct files *f)
{
	int rc = spool_put_write(w, "QSX1", 4);

	if (rc == 0)
		rc = put_number(w, closed);
	if (rc == 0)
		rc = put_number(w, closed);
	if (rc == 0)
		rc = put_number(w, 0);
	if (rc == 0)
		rc = put_number(w, (uint32_t)f->count);
	for (size_t i = 0; rc == 0 && i < f->count; i++) {
		rc = put_number(w, f->list[i].number);
		if (rc == 0)
			rc = put_number(w, 0);
		if (rc == 0)
			rc = put_number(w, f->list[i].size);
	}
	return rc;
}

static int put_file(struct spool_writer *w, const char *dir, const struct index_file *file, uint8_t *chunk)
{
	char path[FILE_PATH_MAX];
	uint32_t left = file->size;
	int fd, rc = str_fmt(path, sizeof(path), "%s/i%u", dir, file->number);

	if (rc < 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	for (rc = 0; rc == 0 && left;) {
		size_t want = left < CHUNK ? left : CHUNK;
		ssize_t n = file_read_full(fd, chunk, want);

		if (n < 0)
			rc = (int)n;
		else if ((size_t)n != want)
			rc = -EIO;
		else
			rc = spool_put_write(w, chunk, want);
		left -= (uint32_t)want;
	}
	sys->close(fd);
	return rc;
}

int hook_bundle_put(struct hook *h, const char *closed_index, const char *dirty)
{
	struct spool_intent in = {.kind = SPOOL_BUNDLE};
	struct spool_writer *w = NULL;
	struct files f = {0};
	char dir[FILE_PATH_MAX];
	unsigned long closed;
	uint8_t *chunk = NULL;
	int rc;

	if (!where_split(closed_index, 'i', in.ns, &closed))
		return -EINVAL;
	if (where_is_temp(in.ns))
		return 0;
	in.first = in.last = closed;
	rc = file_dirname(dir, sizeof(dir), closed_index);
	if (rc == 0)
		rc = gather(&f, dir, (uint32_t)closed, dirty);
	if (rc == 0 && !(chunk = mem_alloc(CHUNK)))
		rc = -ENOMEM;
	if (rc < 0)
		goto out;
	in.size = HEAD_BYTES + ROW_BYTES * f.count;
	for (size_t i = 0; i < f.count; i++)
		in.size += f.list[i].size;
	rc = spool_put_begin(h->spool, &in, &w);
	if (rc == 0)
		rc = put_tables(w, (uint32_t)closed, &f);
	for (size_t i = 0; rc == 0 && i < f.count; i++)
		rc = put_file(w, dir, &f.list[i], chunk);
	if (rc == 0)
		rc = spool_put_commit(w, NULL);
	else
		spool_put_abort(w);
out:
	mem_free(chunk);
	mem_free(f.list);
	return rc;
}
