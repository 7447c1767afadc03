#include <stdio.h>
#include <string.h>

#include "applets/qsfs/stores_ini.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/schema.h"

#define PASSWORD_FILE_MAX 4096

struct store_conf {
	char *address, *ns, *password, *password_file, *group;
	uint64_t port;
};

static const struct schema_row store_rows[] = {
	SCHEMA_STR(struct store_conf, address, "address", "", 0, "host:port of the server"),
	SCHEMA_U64(struct store_conf, port, "port", "0", 0, 65535, 0, "loopback port of an embedded store"),
	SCHEMA_STR(struct store_conf, ns, "namespace", "", 0, "namespace on the server"),
	SCHEMA_STR(struct store_conf, password, "password", "", SCHEMA_SECRET, "password of the namespace"),
	SCHEMA_STR(struct store_conf, password_file, "password_file", "", 0,
		   "file (0600) that holds it instead"),
	SCHEMA_STR(struct store_conf, group, "group", "", 0, "stores that may fail together share it"),
	SCHEMA_END,
};

/* The first line of the file. */
static int password_read(const struct cfg_node *node, const char *path, struct volume_store *s,
			 struct err_text *err)
{
	char *text = NULL;
	size_t len = 0;
	int rc = file_read_secret(path, PASSWORD_FILE_MAX, &text, &len);

	if (rc)
		return cfg_error(node, err, "cannot read the password file %s: %s", path, err_str(rc));
	text[strcspn(text, "\r\n")] = 0;
	rc = str_copy(s->password, sizeof(s->password), text);
	mem_free_wiped(text, len);
	return rc ? cfg_error(node, err, "the password in %s is too long", path) : 0;
}

static int store_fill(const struct cfg_node *node, const struct store_conf *c, struct volume_store *s,
		      struct err_text *err)
{
	int rc = str_copy(s->id, sizeof(s->id), node->key);

	s->port = (uint16_t)c->port;
	if (rc == 0)
		rc = str_copy(s->address, sizeof(s->address), c->address);
	if (rc == 0)
		rc = str_copy(s->ns, sizeof(s->ns), c->ns);
	if (rc == 0)
		rc = str_copy(s->group, sizeof(s->group), c->group[0] ? c->group : node->key);
	if (rc == 0)
		rc = str_copy(s->password, sizeof(s->password), c->password);
	if (rc)
		rc = cfg_error(node, err, "a value is too long");
	else if (!c->address[0] && !c->port)
		rc = cfg_error(node, err, "the store has no address");
	else if (c->password_file[0])
		rc = password_read(node, c->password_file, s, err);
	return rc;
}

static int section_read(const struct cfg_node *stores, bool is_meta, struct volume *v, struct err_text *err)
{
	int rc = 0;

	if (stores && stores->kind != CFG_MAP)
		return cfg_error(stores, err, "is a section of its own: [%s.ID]", stores->key);
	cfg_each(stores, node)
	{
		struct store_conf c = {0};
		struct volume_store *s = &v->stores[v->store_count];

		if (node->kind != CFG_MAP)
			rc = cfg_error(node, err, "is a section of its own: [%s.ID]", stores->key);
		else if (v->store_count == VOLUME_STORES_MAX)
			rc = cfg_error(node, err, "more than %d stores", VOLUME_STORES_MAX);
		else
			rc = schema_fill(store_rows, node, &c, true, err);
		if (rc)
			break;
		memset(s, 0, sizeof(*s));
		s->is_meta = is_meta;
		rc = store_fill(node, &c, s, err);
		schema_release(store_rows, &c);
		if (rc)
			break;
		v->store_count++;
	}
	return rc;
}

int stores_ini_read(const struct cfg_node *root, struct volume *v, struct err_text *err)
{
	int rc = section_read(cfg_child(root, "store"), false, v, err);

	if (rc == 0)
		rc = section_read(cfg_child(root, "metadata"), true, v, err);
	return rc;
}

int stores_ini_load(const char *path, struct volume *v)
{
	struct cfg_node *root = NULL;
	struct err_text err = {0};
	char *text = NULL;
	size_t len = 0;
	int rc = file_read_secret(path, CFG_TEXT_MAX, &text, &len);

	v->store_count = 0;
	if (rc)
		err_set(&err, rc, "cannot read %s: %s", path, err_str(rc));
	if (rc == 0)
		rc = cfg_parse(CFG_INI, path, text, len, &root, &err);
	if (rc == 0)
		rc = stores_ini_read(root, v, &err);
	if (rc)
		log_err("%s", err.text);
	cfg_free(root);
	mem_free_wiped(text, len);
	return rc;
}
