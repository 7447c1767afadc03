#include <errno.h>
#include <string.h>

#include "applets/qsfs/owed.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/spool/spool.h"
#include "core/spool/where.h"

int owed_read(const struct volume *v, struct owed *o)
{
	char path[VOLUME_PATH + 16];
	struct spool_stat st = {0};
	struct spool *sp = NULL;
	uint64_t now = clock_wall_s();
	int rc;

	memset(o, 0, sizeof(*o));
	str_fmt(path, sizeof(path), "%s/spool", v->front);
	rc = spool_open(path, SPOOL_RDONLY, &sp);
	if (rc == 0)
		rc = spool_stat(sp, &st);
	if (rc == 0) {
		o->files = st.files;
		o->bytes = st.bytes;
		o->parked = st.parked;
		o->age_s = st.oldest > 0 && (uint64_t)st.oldest < now ? now - (uint64_t)st.oldest : 0;
	}
	spool_close(sp);
	return rc;
}

int unsafe_read(const struct volume *v, struct uncovered *u)
{
	char path[VOLUME_PATH + 32], *bytes = NULL;
	struct manifest m;
	size_t len;
	int rc;

	memset(u, 0, sizeof(*u));
	manifest_init(&m);
	str_fmt(path, sizeof(path), "%s/zstor/manifest", v->front);
	rc = file_read_all(path, MANIFEST_MAX_BYTES, &bytes, &len);
	if (rc == 0)
		rc = manifest_decode(bytes, len, &m, NULL);
	if (rc == 0 || rc == -ENOENT) {
		str_fmt(path, sizeof(path), "%s/data", v->front);
		rc = uncovered_count(&m, path, where_is_temp, u);
	}
	mem_free(bytes);
	manifest_release(&m);
	return rc;
}
