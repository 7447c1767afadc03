/*
 * where: from a configuration file to the places of a volume.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/str.h"
#include "core/config/cfg.h"
#include "core/spool/spool.h"
#include "core/spool/where.h"

bool where_is_temp(const char *ns)
{
	return str_ends(ns, "-temp");
}

bool where_split(const char *path, char letter, char *ns, unsigned long *number)
{
	const char *base = file_basename(path), *end, *start;
	uint32_t n;

	if (base == path || base[0] != letter || str_parse_u32(base + 1, &n) < 0)
		return false;
	end = base - 1;
	for (start = end; start > path && start[-1] != '/'; start--)
		;
	if (start == end || (size_t)(end - start) > SPOOL_NS_MAX)
		return false;
	memcpy(ns, start, (size_t)(end - start));
	ns[end - start] = '\0';
	*number = n;
	return true;
}

/* `zdb_data_dir_path` of the original names the directory of one namespace; ours the root of all. */
static int state_of_data_dir(struct where *w)
{
	char root[FILE_PATH_MAX];
	const char *base = file_basename(w->data_root);
	int rc = 0;

	if (strncmp(base, "zdbfs-", 6) == 0) {
		rc = file_dirname(root, sizeof(root), w->data_root);
		if (rc == 0)
			rc = str_copy(w->data_root, sizeof(w->data_root), root);
	}
	if (rc == 0 && !w->state[0])
		rc = file_dirname(w->state, sizeof(w->state), w->data_root);
	return rc;
}

static int fill(struct where *w, const struct cfg_node *root, struct err_text *err)
{
	const char *value, *spool = getenv("ZDB_SPOOL");
	int rc;

	if ((rc = cfg_str(root, "socket", "", &value, err)) < 0 ||
	    (rc = str_copy(w->socket, sizeof(w->socket), value)) < 0)
		return rc;
	if ((rc = cfg_str(root, "state", "", &value, err)) < 0 ||
	    (rc = str_copy(w->state, sizeof(w->state), value)) < 0)
		return rc;
	if ((rc = cfg_str(root, "zdb_data_dir_path", "", &value, err)) < 0 ||
	    (rc = str_copy(w->data_root, sizeof(w->data_root), value)) < 0)
		return rc;
	if ((rc = cfg_str(root, "zdb_index_dir_path", "", &value, err)) < 0 ||
	    (rc = str_copy(w->index_root, sizeof(w->index_root), value)) < 0)
		return rc;
	if (w->data_root[0] && (rc = state_of_data_dir(w)) < 0)
		return rc;
	if (!w->state[0] && (rc = file_dirname(w->state, sizeof(w->state), w->config)) < 0)
		return rc;
	if (!w->data_root[0] && (rc = file_join(w->data_root, sizeof(w->data_root), w->state, "data")) < 0)
		return rc;
	if (!w->index_root[0] &&
	    (rc = file_join(w->index_root, sizeof(w->index_root), w->state, "index")) < 0)
		return rc;
	if (spool && spool[0])
		return str_copy(w->spool, sizeof(w->spool), spool);
	return file_join(w->spool, sizeof(w->spool), w->state, "spool");
}

int where_load(struct where *w, const char *config, struct err_text *err)
{
	struct cfg_node *root = NULL;
	const char *env = getenv("ZSTOR_CONFIG");
	int rc;

	memset(w, 0, sizeof(*w));
	if (!config)
		config = env && env[0] ? env : WHERE_DEFAULT_CONFIG;
	rc = file_absolute(w->config, sizeof(w->config), config);
	if (rc < 0)
		return err_set(err, rc, "cannot use configuration %s: %s", config, err_str(rc));
	rc = cfg_load(w->config, &root, err);
	if (rc < 0)
		return rc;
	rc = fill(w, root, err);
	cfg_free(root);
	if (rc < 0 && err && !err->text[0])
		err_set(err, rc, "cannot use configuration %s: %s", config, err_str(rc));
	return rc;
}
