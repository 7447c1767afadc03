/*
 * uncovered: see uncovered.h.
 */
#include "core/object/uncovered.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/str.h"
#include "core/base/sys.h"

struct count {
	const struct manifest *m;
	const char *dir;
	bool (*is_left_out)(const char *ns);
	struct uncovered *out;
};

static int add_namespace(void *ctx, const char *name, unsigned char type)
{
	struct count *c = ctx;
	const struct manifest_ns *ns = manifest_find(c->m, name, strlen(name));
	uint32_t first = ns ? ns->closed : 0, tail = ns ? manifest_ns_tail_end(ns) : 0;
	char path[FILE_PATH_MAX];
	struct stat st;
	int rc;

	if (type != DT_DIR || c->is_left_out(name))
		return 0;
	for (uint32_t n = first;; n++) {
		uint64_t held = n == first && tail > DATA_HEAD_BYTES ? tail : DATA_HEAD_BYTES;

		rc = str_fmt(path, sizeof(path), "%s/%s/d%" PRIu32, c->dir, name, n);
		if (rc < 0)
			return rc;
		if (sys->stat(path, &st) < 0)
			return errno == ENOENT ? 0 : -errno;
		if ((uint64_t)st.st_size > held) {
			c->out->segments++;
			c->out->bytes += (uint64_t)st.st_size - held;
		}
	}
}

int uncovered_count(const struct manifest *m, const char *data_dir, bool (*is_left_out)(const char *ns),
		    struct uncovered *out)
{
	struct count c = {m, data_dir, is_left_out, out};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = file_list(data_dir, add_namespace, &c);
	return rc == -ENOENT ? 0 : rc;
}
