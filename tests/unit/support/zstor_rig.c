#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/file.h"
#include "core/base/sys.h"
#include "tests/unit/support/zstor_rig.h"

static void write_config(const struct zstor_rig *g, const char *path)
{
	char text[4096];
	int n = snprintf(text, sizeof(text),
			 "format = \"native\"\nminimal_shards = 4\nexpected_shards = 6\nredundant_groups = 0\n"
			 "redundant_nodes = 0\nstate = \"%s\"\n[encryption]\nalgorithm = \"AES\"\nkey = "
			 "\"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"\n"
			 "[compression]\nalgorithm = \"zstd\"\n[meta]\ntype = \"zdb\"\n[meta.config]\nprefix = "
			 "\"vol\"\n",
			 g->dir);

	for (unsigned i = 0; i < g->stores.meta_count; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "[[meta.config.backends]]\nid = \"meta%u\"\naddress = \"%s/none\"\n", i,
			      g->dir);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "[[groups]]\n");
	for (unsigned i = 0; i < g->stores.data_count; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "[[groups.backends]]\nid = \"data%u\"\naddress = \"%s/none\"\n", i, g->dir);
	assert_int_equal(file_write_atomic(path, 0600, text, (size_t)n), 0);
}

void zstor_rig_start(struct zstor_rig *g)
{
	struct err_text err = {0};
	char path[128];
	int rc;

	memset(g, 0, sizeof(*g));
	rig_start_volume(&g->stores, 6, 2, 4);
	snprintf(g->dir, sizeof(g->dir), "/tmp/qsfs-zstor-rig.XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	snprintf(path, sizeof(path), "%s/zstor.toml", g->dir);
	write_config(g, path);
	rc = zs_open(&g->z, path, ZS_WITH_SPOOL, &err);
	if (rc != 0)
		fail_msg("%s", err.text);
	assert_int_equal(owed_new(&g->z.owed), 0);
	assert_int_equal(file_mkdir_p(g->z.dir, 0700), 0);
	g->own_keys = g->z.keys;
	g->z.keys = g->stores.keys;
	g->z.metas = g->stores.meta;
	g->z.data_stores = g->stores.stores;
	g->z.vol.state = VOL_READY;
	g->z.vol.local.present = true;
	g->z.vol.local.generation = g->stores.generation;
	memcpy(g->z.vol.local.volume, keyring_volume(g->stores.keys), 16);
	assert_int_equal(spool_bind(g->z.spool, g->z.vol.local.volume, g->z.vol.local.generation), 0);
}

void zstor_rig_stop(struct zstor_rig *g)
{
	char command[128];

	owed_free(g->z.owed);
	g->z.keys = g->own_keys;
	zs_close(&g->z);
	rig_stop(&g->stores);
	snprintf(command, sizeof(command), "rm -rf '%s'", g->dir);
	assert_int_equal(system(command), 0);
}
