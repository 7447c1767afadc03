/*
 * plan_text: writes unit files and zstor's TOML. Both syntaxes take any byte a path can hold here (control
 * characters were refused when the volume was loaded), because every string goes through one quoting function.
 */
#include <stdlib.h>
#include <string.h>

#include "applets/qsfs/plan_text.h"
#include "applets/qsfs/quote.h"

static void put_command(FILE *out, const char *key, char *const *words)
{
	char *line = NULL;
	size_t len = 0;
	FILE *mem = open_memstream(&line, &len);

	if (!mem)
		return;
	for (size_t i = 0; words[i]; i++) {
		if (i)
			fputc(' ', mem);
		quote_word(mem, words[i]);
	}
	if (fclose(mem) == 0) {
		fprintf(out, "%s: ", key);
		quote_string(out, line);
		fputc('\n', out);
	}
	free(line);
}

/* The quoted path dir/name and the end of the line; dir alone when name is empty. */
static void put_joined(FILE *out, const char *dir, const char *name)
{
	char path[VOLUME_PATH + 128];

	snprintf(path, sizeof(path), "%s%s%s", dir, name[0] ? "/" : "", name);
	quote_string(out, path);
	fputc('\n', out);
}

void plan_text_unit(const struct plan_unit *u, const struct volume *v, FILE *out)
{
	char name[96];

	fputs("# Written by qsfs up at every start: changes here are lost.\n", out);
	put_command(out, "exec", u->words);
	if (u->test[0])
		put_command(out, "test", u->test);
	if (u->oneshot)
		fputs("oneshot: true\n", out);
	fprintf(out, "shutdown_timeout: %u\n", u->shutdown_timeout_s);
	if (u->after_count) {
		fputs("after:\n", out);
		for (size_t i = 0; i < u->after_count; i++)
			fprintf(out, "  - %s\n", u->after[i]);
	}
	fputs("env:\n  ZSTOR_CONFIG: ", out);
	put_joined(out, v->etc, "zstor.toml");
	snprintf(name, sizeof(name), "%s.out", u->name);
	fputs("log: file\nlog_file: ", out);
	put_joined(out, v->log, name);
}

static void put_store(const struct volume_store *s, const char *table, bool hide, FILE *out)
{
	fprintf(out, "\n[[%s]]\nid = ", table);
	quote_string(out, s->id);
	fputs("\naddress = ", out);
	quote_string(out, s->address);
	fputc('\n', out);
	if (s->ns[0]) {
		fputs("namespace = ", out);
		quote_string(out, s->ns);
		fputc('\n', out);
	}
	if (s->password[0]) {
		fputs("password = ", out);
		quote_string(out, hide ? "***" : s->password);
		fputc('\n', out);
	}
}

static void put_path(FILE *out, const char *key, const char *dir, const char *name)
{
	fprintf(out, "%s = ", key);
	put_joined(out, dir, name);
}

static void put_groups(const struct volume *v, bool hide, FILE *out)
{
	bool done[VOLUME_STORES_MAX] = {false};

	for (size_t i = 0; i < v->store_count; i++) {
		if (v->stores[i].is_meta || done[i])
			continue;
		fputs("\n[[groups]]\n", out);
		for (size_t j = i; j < v->store_count; j++) {
			if (v->stores[j].is_meta || done[j] ||
			    strcmp(v->stores[i].group, v->stores[j].group) != 0)
				continue;
			done[j] = true;
			put_store(&v->stores[j], "groups.backends", hide, out);
		}
	}
}

void plan_text_zstor(const struct volume *v, bool hide, FILE *out)
{
	fputs("# Written by qsfs up at every start: changes here are lost.\n", out);
	fputs("format = \"native\"\n", out);
	fprintf(out, "minimal_shards = %u\nexpected_shards = %u\n", v->data_shards, volume_shards(v));
	fprintf(out, "redundant_groups = %u\nredundant_nodes = %u\n", v->redundant_groups,
		v->redundant_nodes);
	put_path(out, "socket", v->run, "zstor.sock");
	put_path(out, "pid_file", v->run, "zstor.pid");
	put_path(out, "state", v->front, "");
	put_path(out, "keys", v->keys, "volume.key");
	put_path(out, "zdb", v->run, "zdb.sock");
	put_path(out, "zdb_data_dir_path", v->front, "data");
	put_path(out, "zdb_index_dir_path", v->front, "index");
	put_path(out, "zdbfs_mountpoint", v->mount, "");
	if (v->cache_mib)
		fprintf(out, "max_zdb_data_dir_size = %llu\n", (unsigned long long)v->cache_mib);
	fprintf(out, "rpo = \"%llums\"\n", (unsigned long long)v->rpo_ms);
	fputs("\n[compression]\nalgorithm = \"zstd\"\n", out);
	fprintf(out, "\n[meta]\ntype = \"zdb\"\n\n[meta.config]\nprefix = \"qsfs\"\nmeta_data = %u\n",
		v->meta_data);
	for (size_t i = 0; i < v->store_count; i++) {
		if (v->stores[i].is_meta)
			put_store(&v->stores[i], "meta.config.backends", hide, out);
	}
	put_groups(v, hide, out);
}
