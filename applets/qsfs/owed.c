#include <errno.h>
#include <string.h>

#include "applets/qsfs/owed.h"
#include "core/base/clock.h"
#include "core/base/str.h"
#include "core/spool/spool.h"

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
