/*
 * conf: zstor's configuration, from the original's keys and ours (docs/operating.md, "zstor.toml").
 */
#ifndef APPLETS_ZSTOR_CONF_H
#define APPLETS_ZSTOR_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/net/pool.h"

struct zconf_store {
	struct backend_addr addr; /* id is filled */
	unsigned group;
};

struct zconf {
	char *path; /* of the file, absolute */
	int format; /* 0 native, 1 upstream */
	uint64_t k, n, redundant_groups, redundant_nodes;
	uint64_t meta_k;
	uint64_t object_memory;
	uint64_t upload_workers;
	char *socket, *pid_file;
	char *state;
	char *keys;         /* key file; NULL: encryption.key */
	char *key_hex;      /* encryption.key, wiped on release */
	char *prefix;       /* of the metadata keys */
	char *zdb;          /* front zdb; NULL = none */
	char *zdb_password; /* of its admin, from zdb_admin_file */
	char *data_root, *index_root;
	uint64_t max_data_mib; /* 0 = no limit */
	uint64_t rpo_ms;
	struct zconf_store *data, *meta;
	unsigned data_count, meta_count, group_count;
};

/* Reads and checks; every refusal has a sentence with file and line. 0 or negative. */
int zconf_load(struct zconf *c, const char *path, struct err_text *err);
void zconf_release(struct zconf *c);

#endif
