/* Reading objects: whole, to a file, a range. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/sys.h"
#include "core/crypto/crypto.h"
#include "core/object/reader_int.h"

int obj_read(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
	     const struct obj_sink *sink, struct obj_report *report, char *why)
{
	struct obj_report own;
	struct content_id *content;
	uint8_t id[CONTENT_ID_BYTES];
	struct reader r;
	int rc = work_begin(w, WORK_READ);

	if (why)
		*why = 0;
	if (rc != 0)
		return rc;
	rc = reader_open(&r, w, rec, stores, 0, 0, rec->pub.stripes, report ? report : &own, why);
	content = work_content(w);
	if (rc == 0 && !content)
		rc = -ENOMEM;
	for (uint32_t s = 0; rc == 0 && s < rec->pub.stripes; s++) {
		uint32_t len;

		rc = reader_stripe(&r, s, &len);
		if (rc != 0 || len == 0)
			break;
		content_id_add(content, r.plain, len);
		rc = sink->write(sink->ctx, (uint64_t)s << rec->pub.stripe_log2, r.plain, len);
	}
	if (rc == 0) {
		content_id_get(content, id);
		if (!crypto_equal(id, rec->priv.content, sizeof(id)))
			rc = reader_fail(&r, -EIO, "the content is not what the record says");
	}
	reader_close(&r);
	return rc;
}

int obj_read_range(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		   uint64_t offset, size_t len, void *out, struct obj_report *report, char *why)
{
	uint64_t stripe = (uint64_t)1 << rec->pub.stripe_log2;
	struct obj_report own;
	struct reader r;
	uint32_t first, end;
	int rc;

	if (why)
		*why = 0;
	if (offset > rec->priv.size || len > rec->priv.size - offset)
		return -ERANGE;
	rc = work_begin(w, WORK_READ);
	if (rc != 0)
		return rc;
	first = (uint32_t)(offset / stripe);
	end = len > 0 ? (uint32_t)((offset + len - 1) / stripe) + 1 : first;
	rc = reader_open(&r, w, rec, stores, 0, first, end, report ? report : &own, why);
	for (uint32_t s = first; rc == 0 && s < end; s++) {
		uint64_t from = s * stripe, begin = from < offset ? offset - from : 0;
		uint32_t have;

		rc = reader_stripe(&r, s, &have);
		if (rc == 0) {
			uint64_t stop = offset + len - from < have ? offset + len - from : have;

			memcpy((uint8_t *)out + (from + begin - offset), r.plain + begin,
			       (size_t)(stop - begin));
		}
	}
	reader_close(&r);
	return rc;
}

int obj_read_file(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		  const char *path, struct obj_report *report, char *why)
{
	char temp[FILE_PATH_MAX];
	struct obj_file_range range = {.fd = -1};
	struct obj_sink sink = obj_sink_file(&range);
	struct stat st;
	int rc;

	if (why)
		*why = 0;
	if (sys->lstat(path, &st) == 0)
		return -EEXIST;
	rc = file_temp_path(temp, sizeof(temp), path);
	if (rc != 0)
		return rc;
	range.fd = sys->open(temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (range.fd < 0)
		return -errno;
	rc = obj_read(w, rec, stores, &sink, report, why);
	if (rc == 0 && sys->fsync(range.fd) < 0)
		rc = -errno;
	if (sys->close(range.fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0)
		rc = file_move_new(temp, path);
	if (rc != 0) {
		(void)sys->unlink(temp); /* the first error is the one to report */
		return rc;
	}
	return file_sync_parent(path);
}
