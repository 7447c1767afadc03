/*
 * conf: reading zstor's configuration. A file that names its `format`, or any other key of ours, is ours: unknown keys
 * are errors. One that does not may be the original's: unknown keys are warnings, as it never refused them everywhere.
 */
#include "applets/zstor/conf.h"

#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/hex.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/schema.h"
#include "core/object/meta.h"
#include "core/object/names.h"

static const char *const formats[] = {"native", "upstream", NULL};

struct rows_target {
	struct zconf c;
	char *root, *compression, *encryption, *meta_type, *zdb_admin_file;
	const struct cfg_node *groups, *meta_backends;
	uint64_t meta_data;
};

static const struct schema_row rows[] = {
	SCHEMA_CHOICE(struct rows_target, c.format, "format", NULL, formats, 0,
		      "object format of new objects"),
	SCHEMA_U64(struct rows_target, c.k, "minimal_shards", NULL, 1, 31, SCHEMA_REQUIRED,
		   "shards that suffice"),
	SCHEMA_U64(struct rows_target, c.n, "expected_shards", NULL, 2, 32, SCHEMA_REQUIRED,
		   "shards that are stored"),
	SCHEMA_U64(struct rows_target, c.redundant_groups, "redundant_groups", "0", 0, 32, 0,
		   "groups that may be lost"),
	SCHEMA_U64(struct rows_target, c.redundant_nodes, "redundant_nodes", "0", 0, 32, 0,
		   "stores that may be lost in each other group"),
	SCHEMA_STR(struct rows_target, root, "root", NULL, 0,
		   "virtual root of the original; empty or absent"),
	SCHEMA_STR(struct rows_target, c.socket, "socket", NULL, 0, "socket of the daemon"),
	SCHEMA_STR(struct rows_target, c.pid_file, "pid_file", NULL, 0, "where the daemon writes its pid"),
	SCHEMA_STR(struct rows_target, c.state, "state", NULL, 0, "state directory of the volume"),
	SCHEMA_STR(struct rows_target, c.keys, "keys", NULL, 0, "key file, mode 0600"),
	SCHEMA_STR(struct rows_target, c.zdb, "zdb", NULL, 0, "socket or address of the front zdb"),
	SCHEMA_STR(struct rows_target, zdb_admin_file, "zdb_admin_file", NULL, 0,
		   "file with its admin password"),
	SCHEMA_STR(struct rows_target, c.data_root, "zdb_data_dir_path", NULL, 0,
		   "data root of the front zdb"),
	SCHEMA_STR(struct rows_target, c.index_root, "zdb_index_dir_path", NULL, 0,
		   "index root of the front zdb"),
	SCHEMA_U64(struct rows_target, c.max_data_mib, "max_zdb_data_dir_size", "0", 0, 0, 0,
		   "MiB that the data root may hold before eviction"),
	SCHEMA_MS(struct rows_target, c.rpo_ms, "rpo", "60s", 1000, 86400000, 0,
		  "age of the newest recovery point"),
	SCHEMA_KNOWN("rotate", 0, "for the front zdb"),
	SCHEMA_KNOWN("zdbfs_mountpoint", 0, "statistics"),
	SCHEMA_KNOWN("prometheus_port", 0, "metrics"),
	SCHEMA_U64(struct rows_target, c.meta_k, "native.meta_data", "2", 1, 31, 0,
		   "metadata pieces that suffice"),
	SCHEMA_U64(struct rows_target, meta_data, "meta.config.meta_data", "0", 0, 31, 0, "the same"),
	SCHEMA_SIZE(struct rows_target, c.object_memory, "native.object_memory", "32M", 1 << 20, 1 << 30, 0,
		    "memory of one object in flight"),
	SCHEMA_U64(struct rows_target, c.upload_workers, "native.upload_workers", "2", 1, 16, 0,
		   "uploads at a time"),
	SCHEMA_STR(struct rows_target, encryption, "encryption.algorithm", "AES", 0, "AES"),
	SCHEMA_STR(struct rows_target, c.key_hex, "encryption.key", NULL, SCHEMA_SECRET, "64 hex digits"),
	SCHEMA_STR(struct rows_target, compression, "compression.algorithm", "zstd", 0, "zstd or snappy"),
	SCHEMA_STR(struct rows_target, meta_type, "meta.type", "zdb", 0, "zdb"),
	SCHEMA_STR(struct rows_target, c.prefix, "meta.config.prefix", NULL, SCHEMA_REQUIRED,
		   "of the metadata keys"),
	SCHEMA_KNOWN("meta.config.encryption", 0, "required by the original, never used"),
	SCHEMA_ANY(struct rows_target, meta_backends, "meta.config.backends", SCHEMA_REQUIRED,
		   "metadata stores"),
	SCHEMA_ANY(struct rows_target, groups, "groups", SCHEMA_REQUIRED, "groups of data stores"),
	SCHEMA_END,
};

struct store_row {
	char *id, *address, *namespace, *password;
};

static const struct schema_row store_rows[] = {
	SCHEMA_STR(struct store_row, id, "id", NULL, 0, "stable label"),
	SCHEMA_STR(struct store_row, address, "address", NULL, SCHEMA_REQUIRED | SCHEMA_NONEMPTY,
		   "host:port or socket"),
	SCHEMA_STR(struct store_row, namespace, "namespace", NULL, 0, "of the store"),
	SCHEMA_STR(struct store_row, password, "password", NULL, SCHEMA_SECRET, "of the namespace"),
	SCHEMA_END,
};

/* The label by which records name the store: its id, or what the original would show. */
static int set_label(struct backend_addr *a, const char *id, const char *address)
{
	if (id && id[0])
		return str_copy(a->id, sizeof(a->id), id);
	if (a->namespace[0])
		return str_fmt(a->id, sizeof(a->id), "%s/%s", address, a->namespace) < 0 ? -ENAMETOOLONG : 0;
	return str_copy(a->id, sizeof(a->id), address);
}

static int read_store(const struct cfg_node *node, bool strict, struct zconf_store *s, struct err_text *err)
{
	struct store_row row = {0};
	struct client_addr addr = {0};
	int rc = schema_fill(store_rows, node, &row, strict, err);

	if (rc < 0)
		return rc;
	rc = client_addr_parse(&addr, row.address);
	if (rc == 0 && row.namespace)
		rc = str_copy(addr.ns, sizeof(addr.ns), row.namespace);
	if (rc == 0 && row.password)
		rc = str_copy(addr.password, sizeof(addr.password), row.password);
	if (rc == 0) {
		memcpy(s->addr.host, addr.host, sizeof(s->addr.host));
		memcpy(s->addr.unix_path, addr.unix_path, sizeof(s->addr.unix_path));
		memcpy(s->addr.namespace, addr.ns, sizeof(s->addr.namespace));
		memcpy(s->addr.password, addr.password, sizeof(s->addr.password));
		s->addr.port = addr.port;
		rc = set_label(&s->addr, row.id, row.address);
	}
	mem_wipe(&addr, sizeof(addr));
	schema_release(store_rows, &row);
	return rc < 0 ? cfg_error(node, err, "not a store's address, namespace or label: %s", err_str(rc))
		      : 0;
}

static int add_stores(const struct cfg_node *list, bool strict, unsigned group, struct zconf_store **out,
		      unsigned *count, struct err_text *err)
{
	struct zconf_store *grown;

	if (!list)
		return 0;
	if (list->kind != CFG_LIST)
		return cfg_error(list, err, "must be a list of stores");
	if (*count + list->child_count > 1024)
		return cfg_error(list, err, "more than 1024 stores");
	grown = mem_realloc_array(*out, *count + list->child_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*out = grown;
	cfg_each(list, node)
	{
		struct zconf_store *s = &grown[*count];
		int rc;

		memset(s, 0, sizeof(*s));
		s->group = group;
		rc = read_store(node, strict, s, err);
		if (rc < 0)
			return rc;
		for (unsigned i = 0; i < *count; i++)
			if (strcmp(grown[i].addr.id, s->addr.id) == 0)
				return cfg_error(node, err, "the store %s is named twice", s->addr.id);
		(*count)++;
	}
	return 0;
}

static int read_groups(struct zconf *c, const struct cfg_node *groups, bool strict, struct err_text *err)
{
	if (groups->kind != CFG_LIST || groups->child_count > 256)
		return cfg_error(groups, err, "must be a list of at most 256 groups");
	cfg_each(groups, g)
	{
		const struct cfg_node *list = cfg_child(g, "backends");
		int rc;

		if (g->kind != CFG_MAP)
			return cfg_error(g, err, "must be a table");
		cfg_each(g, key) if (strcmp(key->key, "backends") != 0) return cfg_error(key, err,
											 "unknown key");
		rc = add_stores(list, strict, c->group_count++, &c->data, &c->data_count, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int check(const struct zconf *c, const struct rows_target *t, const struct cfg_node *root,
		 struct err_text *err)
{
	const struct cfg_node *meta = t->meta_backends;

	if (c->format != 0)
		return cfg_error(root, err,
				 "format upstream is not built into this version: use format = \"native\"");
	if (c->k >= c->n)
		return cfg_error(root, err, "minimal_shards (%llu) must be below expected_shards (%llu)",
				 (unsigned long long)c->k, (unsigned long long)c->n);
	if (c->data_count < c->n)
		return cfg_error(t->groups, err, "%u data stores are configured, expected_shards is %llu",
				 c->data_count, (unsigned long long)c->n);
	if (c->meta_count < c->meta_k + 1 || c->meta_count > META_MAX)
		return cfg_error(meta, err, "%u metadata stores are configured, %llu...%d are needed",
				 c->meta_count, (unsigned long long)c->meta_k + 1, META_MAX);
	if (t->root && t->root[0])
		return cfg_error(root, err,
				 "root is not supported with format = \"native\": names are logical");
	if (strcmp(t->encryption, "AES") != 0)
		return cfg_error(root, err, "encryption.algorithm must be AES");
	if (strcmp(t->meta_type, "zdb") != 0)
		return cfg_error(root, err, "meta.type must be zdb");
	if (strlen(c->prefix) > OBJ_PREFIX_MAX)
		return cfg_error(root, err, "meta.config.prefix has more than %d bytes", OBJ_PREFIX_MAX);
	if (!c->keys && !c->key_hex)
		return cfg_error(root, err, "neither keys (a key file) nor encryption.key is given");
	for (unsigned i = 0; i < c->data_count; i++)
		for (unsigned j = 0; j < c->meta_count; j++)
			if (strcmp(c->data[i].addr.id, c->meta[j].addr.id) == 0)
				return cfg_error(meta, err,
						 "the store %s is both a data and a metadata store",
						 c->meta[j].addr.id);
	return 0;
}

/* Paths that are not given lie below the state directory, and that below the directory of the file. */
static int fill_paths(struct zconf *c)
{
	char dir[FILE_PATH_MAX], path[FILE_PATH_MAX];

	if (file_dirname(dir, sizeof(dir), c->path) < 0)
		return -ENAMETOOLONG;
	if (!c->state && !(c->state = mem_strdup(dir)))
		return -ENOMEM;
	if (file_absolute(path, sizeof(path), c->state) < 0)
		return -ENAMETOOLONG;
	mem_free(c->state);
	c->state = mem_strdup(path);
	if (!c->state)
		return -ENOMEM;
	if (!c->data_root && !(c->data_root = mem_fmt("%s/data", c->state)))
		return -ENOMEM;
	if (!c->index_root && !(c->index_root = mem_fmt("%s/index", c->state)))
		return -ENOMEM;
	return 0;
}

static int read_admin(struct zconf *c, const char *path, struct err_text *err)
{
	char *text;
	size_t len;
	int rc;

	if (!path || !path[0])
		return 0;
	rc = file_read_secret(path, 4096, &text, &len);
	if (rc < 0)
		return err_set(err, rc, "cannot read zdb_admin_file %s: %s", path, err_str(rc));
	c->zdb_password = mem_strdup(str_trim(text));
	mem_free_wiped(text, len);
	return c->zdb_password ? 0 : -ENOMEM;
}

static bool is_ours(const struct cfg_node *root)
{
	static const char *const keys[] = {"format", "state", "keys", "zdb", "rpo", "native"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (cfg_child(root, keys[i]))
			return true;
	return false;
}

int zconf_load(struct zconf *c, const char *path, struct err_text *err)
{
	struct rows_target t = {0};
	struct cfg_node *root = NULL;
	char absolute[FILE_PATH_MAX];
	bool strict;
	int rc = file_absolute(absolute, sizeof(absolute), path);

	memset(c, 0, sizeof(*c));
	if (rc < 0)
		return err_set(err, rc, "%s: %s", path, err_str(rc));
	rc = cfg_load(absolute, &root, err);
	if (rc < 0)
		return rc;
	strict = is_ours(root);
	rc = schema_fill(rows, root, &t, strict, err);
	if (rc < 0) {
		cfg_free(root);
		return rc;
	}
	t.c.path = mem_strdup(absolute);
	rc = t.c.path ? 0 : -ENOMEM;
	if (t.meta_data)
		t.c.meta_k = t.meta_data;
	/* `compression` only chooses the default of `format`. */
	if (rc == 0 && !cfg_child(root, "format") && strcmp(t.compression, "snappy") == 0)
		t.c.format = 1;
	if (rc == 0)
		rc = read_groups(&t.c, t.groups, strict, err);
	if (rc == 0)
		rc = add_stores(t.meta_backends, strict, 0, &t.c.meta, &t.c.meta_count, err);
	if (rc == 0)
		rc = check(&t.c, &t, root, err);
	if (rc == 0)
		rc = fill_paths(&t.c);
	if (rc == 0)
		rc = read_admin(&t.c, t.zdb_admin_file, err);
	cfg_free(root);
	mem_free(t.root);
	mem_free(t.compression);
	mem_free(t.encryption);
	mem_free(t.meta_type);
	mem_free(t.zdb_admin_file);
	*c = t.c;
	if (rc < 0)
		zconf_release(c);
	if (rc < 0 && err && !err->text[0])
		err_set(err, rc, "%s: %s", absolute, err_str(rc));
	return rc;
}

static void release_stores(struct zconf_store *list, unsigned count)
{
	if (list)
		mem_wipe(list, count * sizeof(*list));
	mem_free(list);
}

void zconf_release(struct zconf *c)
{
	char *plain[] = {c->path,   c->socket, c->pid_file,  c->state,     c->keys,
			 c->prefix, c->zdb,    c->data_root, c->index_root};

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		mem_free(plain[i]);
	if (c->key_hex)
		mem_free_wiped(c->key_hex, strlen(c->key_hex));
	if (c->zdb_password)
		mem_free_wiped(c->zdb_password, strlen(c->zdb_password));
	release_stores(c->data, c->data_count);
	release_stores(c->meta, c->meta_count);
	memset(c, 0, sizeof(*c));
}
