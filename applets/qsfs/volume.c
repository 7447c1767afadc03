#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "applets/qsfs/embedded.h"
#include "applets/qsfs/stores_ini.h"
#include "applets/qsfs/volume.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/schema.h"
#include "core/crypto/crypto.h"

/* Longest name that we put below v->run, "/zdbfs.sock", and the 107 bytes of a socket's path. */
#define RUN_PATH_MAX (107 - 12)

struct volume_conf {
	char *data, *mount, *keys;
	uint64_t size, cache, segment;
	bool allow_other;
	uint64_t data_shards, parity_shards, meta_data, redundant_groups, redundant_nodes;
	uint64_t rpo, rotate, drain;
};

static const struct schema_row volume_rows[] = {
	SCHEMA_STR(struct volume_conf, data, "volume.data", "", 0, "directory of the volume's state"),
	SCHEMA_STR(struct volume_conf, mount, "volume.mount", "", 0, "where it is mounted"),
	SCHEMA_STR(struct volume_conf, keys, "volume.keys", "", 0, "directory of the keys"),
	SCHEMA_SIZE(struct volume_conf, size, "volume.size", "1T", 1 << 20, 0, 0, "size that df shows"),
	SCHEMA_SIZE(struct volume_conf, cache, "volume.cache", "0", 0, 0, 0,
		    "closed segments are evicted above this; 0: only on request"),
	SCHEMA_SIZE(struct volume_conf, segment, "volume.segment", "64M", 524288, 4294967294, 0,
		    "size of a segment"),
	SCHEMA_BOOL(struct volume_conf, allow_other, "volume.allow_other", "yes", 0,
		    "other users may use the mount"),
	SCHEMA_U64(struct volume_conf, data_shards, "coding.data", "4", 1, 31, 0,
		   "shards that are enough to read"),
	SCHEMA_U64(struct volume_conf, parity_shards, "coding.parity", "2", 1, 31, 0,
		   "shards that may be lost"),
	SCHEMA_U64(struct volume_conf, meta_data, "coding.metadata", "2", 1, 31, 0,
		   "metadata stores that are enough to read"),
	SCHEMA_U64(struct volume_conf, redundant_groups, "coding.redundant_groups", "0", 0, 31, 0,
		   "groups that may be lost as a whole"),
	SCHEMA_U64(struct volume_conf, redundant_nodes, "coding.redundant_nodes", "0", 0, 31, 0,
		   "further stores of each group that may be lost"),
	SCHEMA_MS(struct volume_conf, rpo, "safety.rpo", "60s", 1000, 86400000, 0,
		  "what a lost node may lose"),
	SCHEMA_MS(struct volume_conf, rotate, "safety.rotate", "1h", 1000, 0, 0,
		  "a segment is closed after this"),
	SCHEMA_MS(struct volume_conf, drain, "safety.drain", "2m", 1000, 86400000, 0,
		  "how long a stop may wait for uploads"),
	SCHEMA_KNOWN("store", 0, "data stores, one section each"),
	SCHEMA_KNOWN("metadata", 0, "metadata stores, one section each"),
	SCHEMA_END,
};

unsigned volume_shards(const struct volume *v)
{
	return v->data_shards + v->parity_shards;
}

size_t volume_count(const struct volume *v, bool meta)
{
	size_t n = 0;

	for (size_t i = 0; i < v->store_count; i++)
		n += v->stores[i].is_meta == meta;
	return n;
}

bool volume_mount_is_inside(const struct volume *v)
{
	char inside[VOLUME_PATH + 8];

	str_fmt(inside, sizeof(inside), "%s/mnt", v->data);
	return strcmp(inside, v->mount) == 0;
}

void volume_wipe(struct volume *v)
{
	crypto_wipe(v, sizeof(*v));
}

static bool has_control(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 32 || *s == 127)
			return true;
	}
	return false;
}

static int path_set(char *dst, const char *what, const char *path)
{
	int rc = has_control(path) ? -EINVAL : file_absolute(dst, VOLUME_PATH, path);

	if (rc)
		log_err("cannot use the path of %s: %s", what,
			rc == -EINVAL ? "it holds control characters" : err_str(rc));
	return rc;
}

/*
 * Sockets have short names. A deep directory gets its run directory below /run, under a name that follows from the
 * volume's own path (FNV-1a, 64 bits: it only has to tell volumes of one machine apart).
 */
static int run_path(struct volume *v)
{
	uint64_t h = 0xcbf29ce484222325u;
	int rc = str_fmt(v->run, sizeof(v->run), "%s/run", v->front);

	if (rc > RUN_PATH_MAX) {
		for (const char *p = v->data; *p; p++)
			h = (h ^ (unsigned char)*p) * 0x100000001b3u;
		rc = str_fmt(v->run, sizeof(v->run), "/run/qsfs/%016llx", (unsigned long long)h);
	}
	return rc < 0 ? rc : 0;
}

static int paths_derive(struct volume *v)
{
	struct {
		char *dst;
		const char *dir, *name;
	} p[] = {
		{v->front, v->data, "front"},
		{v->log, v->front, "log"},
		{v->backends, v->data, "backends"},
		{v->lock, v->data, "lock"},
	};
	ssize_t n;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(p) / sizeof(p[0]); i++)
		rc = file_join(p[i].dst, VOLUME_PATH, p[i].dir, p[i].name);
	if (rc == 0)
		rc = run_path(v);
	if (rc == 0)
		rc = file_join(v->etc, sizeof(v->etc), v->run, "etc");
	if (rc == 0)
		rc = file_join(v->bin, sizeof(v->bin), v->run, "bin");
	if (rc == 0 && !v->keys[0])
		rc = file_join(v->keys, sizeof(v->keys), v->data, "keys");
	if (rc == 0 && !v->mount[0])
		rc = file_join(v->mount, sizeof(v->mount), v->data, "mnt");
	n = readlink("/proc/self/exe", v->exe, sizeof(v->exe) - 1);
	if (rc == 0 && n <= 0)
		rc = -errno;
	if (rc)
		log_code(rc, "cannot lay out the volume below %s", v->data);
	else
		v->exe[n] = 0;
	return rc;
}

/* Numbers that do not fit together are refused here, before anything is made; `where` names the file. */
static int coding_check(const struct volume *v, const char *where)
{
	unsigned n = volume_shards(v);
	size_t stores = volume_count(v, false), metas = volume_count(v, true);

	if (n > 32)
		return log_code(-E_CONFIG, "%s: coding: %u+%u shards are more than 32", where, v->data_shards,
				v->parity_shards);
	if (stores < n)
		return log_code(-E_CONFIG, "%s: coding: %u+%u shards need %u stores, %zu are configured",
				where, v->data_shards, v->parity_shards, n, stores);
	if (metas < v->meta_data + 1u || metas > 32)
		return log_code(
			-E_CONFIG,
			"%s: coding: metadata = %u needs %u to 32 metadata stores, %zu are configured", where,
			v->meta_data, v->meta_data + 1, metas);
	for (size_t i = 0; i < v->store_count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(v->stores[i].id, v->stores[j].id) == 0)
				return log_code(-E_CONFIG, "%s: two stores are called %s", where,
						v->stores[i].id);
			if (!v->embedded && strcmp(v->stores[i].address, v->stores[j].address) == 0 &&
			    strcmp(v->stores[i].ns, v->stores[j].ns) == 0)
				return log_code(-E_CONFIG, "%s: %s and %s are the same store", where,
						v->stores[i].id, v->stores[j].id);
		}
	}
	return 0;
}

static int conf_apply(struct volume *v, const struct volume_conf *c)
{
	int rc = 0;

	v->size_bytes = c->size;
	v->cache_mib = c->cache >> 20;
	v->segment_bytes = c->segment;
	v->allow_other = c->allow_other;
	v->data_shards = (unsigned)c->data_shards;
	v->parity_shards = (unsigned)c->parity_shards;
	v->meta_data = (unsigned)c->meta_data;
	v->redundant_groups = (unsigned)c->redundant_groups;
	v->redundant_nodes = (unsigned)c->redundant_nodes;
	v->rpo_ms = c->rpo;
	v->rotate_ms = c->rotate;
	v->drain_ms = c->drain;
	if (c->data[0])
		rc = path_set(v->data, "the state", c->data);
	if (rc == 0 && c->mount[0])
		rc = path_set(v->mount, "the mount point", c->mount);
	if (rc == 0 && c->keys[0])
		rc = path_set(v->keys, "the keys", c->keys);
	return rc;
}

/* Passwords inside make the configuration a secret itself. */
static int conf_is_private(const struct volume *v)
{
	struct stat st;
	bool has_password = false;

	for (size_t i = 0; i < v->store_count; i++)
		has_password |= v->stores[i].password[0] != 0;
	if (has_password && stat(v->config, &st) == 0 && (st.st_mode & 077))
		return log_code(-E_CONFIG,
				"%s: holds or names passwords but others may read it: chmod 600 %s",
				v->config, v->config);
	return 0;
}

static int conf_load(struct volume *v)
{
	struct cfg_node *root = NULL;
	struct volume_conf c = {0};
	struct err_text err = {0};
	int rc = v->embedded ? 0 : cfg_load(v->config, &root, &err);

	if (rc == 0)
		rc = schema_fill(volume_rows, root, &c, true, &err);
	if (rc == 0) {
		rc = stores_ini_read(root, v, &err);
		if (rc == 0)
			rc = conf_apply(v, &c);
		schema_release(volume_rows, &c);
	}
	cfg_free(root);
	if (rc && err.text[0])
		log_err("%s", err.text);
	if (rc == 0 && !v->embedded)
		rc = conf_is_private(v);
	if (rc == 0 && !v->embedded)
		rc = coding_check(v, v->config);
	return rc;
}

int volume_load(struct volume *v, const char *config, const char *data, const char *mount)
{
	int rc = 0;

	memset(v, 0, sizeof(*v));
	if (!config && !data && file_exists(VOLUME_DEFAULT_CONFIG) > 0)
		config = VOLUME_DEFAULT_CONFIG;
	v->embedded = !config;
	if (config)
		rc = path_set(v->config, "the configuration", config);
	if (rc == 0)
		rc = conf_load(v);
	if (rc == 0 && (data || !v->data[0]))
		rc = path_set(v->data, "the state", data ? data : VOLUME_DEFAULT_DATA);
	if (rc == 0 && mount)
		rc = path_set(v->mount, "the mount point", mount);
	if (rc == 0)
		rc = paths_derive(v);
	if (rc == 0 && v->embedded) {
		rc = embedded_load(v);
		if (rc == -ENOENT)
			rc = 0;
		else if (rc == 0)
			rc = coding_check(v, v->backends);
	}
	return rc ? EXIT_USAGE : EXIT_DONE;
}
