/* The derived configuration: every path survives both quotings, and the order of the services is the one a stop needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "applets/qsfs/plan.h"
#include "applets/qsfs/plan_text.h"
#include "applets/qsfs/quote.h"
#include "core/config/cfg.h"

static void volume_example(struct volume *v)
{
	memset(v, 0, sizeof(*v));
	strcpy(v->data, "/srv/it's \"here\"");
	strcpy(v->mount, "/mnt/a b");
	strcpy(v->front, "/srv/it's \"here\"/front");
	strcpy(v->run, "/srv/it's \"here\"/front/run");
	strcpy(v->etc, "/srv/it's \"here\"/front/run/etc");
	strcpy(v->bin, "/srv/it's \"here\"/front/run/bin");
	strcpy(v->log, "/srv/it's \"here\"/front/log");
	strcpy(v->keys, "/srv/keys");
	strcpy(v->backends, "/srv/backends");
	v->embedded = true;
	v->data_shards = 2;
	v->parity_shards = 1;
	v->meta_data = 1;
	v->rpo_ms = 60000;
	v->rotate_ms = 3600000;
	v->drain_ms = 120000;
	v->segment_bytes = 67108864;
	v->size_bytes = 1u << 30;
	v->store_count = 5;
	for (size_t i = 0; i < v->store_count; i++) {
		struct volume_store *s = &v->stores[i];

		s->is_meta = i >= 3;
		snprintf(s->id, sizeof(s->id), "%c%zu", s->is_meta ? 'm' : 'd', i);
		snprintf(s->address, sizeof(s->address), "127.0.0.1:%zu", 9000 + i);
		snprintf(s->group, sizeof(s->group), "%s", i < 2 ? "first" : "second");
		strcpy(s->ns, "default");
		strcpy(s->password, "geheim");
		s->port = (uint16_t)(9000 + i);
	}
}

static char *text_of_unit(const struct plan_unit *u, const struct volume *v)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	plan_text_unit(u, v, f);
	fclose(f);
	return text;
}

static char *text_of_zstor(const struct volume *v, bool hide)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	plan_text_zstor(v, hide, f);
	fclose(f);
	return text;
}

static size_t index_of(const struct plan *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->units[i].name, name) == 0)
			return i;
	}
	fail_msg("no unit %s", name);
	return 0;
}

static bool comes_after(const struct plan *p, const char *name, const char *dependency)
{
	const struct plan_unit *u = &p->units[index_of(p, name)];

	for (size_t i = 0; i < u->after_count; i++) {
		if (strcmp(u->after[i], dependency) == 0)
			return true;
	}
	return false;
}

static void test_order(void **state)
{
	static struct plan p;
	struct volume v;

	(void)state;
	volume_example(&v);
	assert_int_equal(plan_make(&p, &v, true), 0);
	assert_int_equal(p.count, 5 + 6);
	assert_true(comes_after(&p, "init", "backend-d0"));
	assert_true(comes_after(&p, "zstor", "init"));
	assert_true(comes_after(&p, "zstor", "backend-m4"));
	assert_true(comes_after(&p, "wait_hooks", "zstor"));
	assert_true(comes_after(&p, "zdb", "wait_hooks"));
	assert_true(comes_after(&p, "ns", "zdb"));
	assert_true(comes_after(&p, "zdbfs", "ns"));
	assert_true(comes_after(&p, "zdbfs", "zdb"));
	plan_release(&p);

	assert_int_equal(plan_make(&p, &v, false), 0);
	for (size_t i = 0; i < p.count; i++)
		assert_string_not_equal(p.units[i].name, "init");
	plan_release(&p);

	v.embedded = false;
	assert_int_equal(plan_make(&p, &v, false), 0);
	assert_int_equal(p.count, 5);
	assert_int_equal(p.units[index_of(&p, "zstor")].after_count, 0);
	plan_release(&p);
}

static void test_unit_text(void **state)
{
	static struct plan p;
	struct cfg_node *root = NULL;
	struct err_text err = {0};
	const char *exec, *test, *log;
	struct volume v;
	char *text;

	(void)state;
	volume_example(&v);
	assert_int_equal(plan_make(&p, &v, false), 0);
	text = text_of_unit(&p.units[index_of(&p, "zdbfs")], &v);
	if (cfg_parse(CFG_YAML, "unit", text, strlen(text), &root, &err) != 0)
		fail_msg("%s in:\n%s", err.text, text);
	assert_int_equal(cfg_str(root, "exec", "", &exec, &err), 0);
	assert_non_null(strstr(exec, "'/srv/it'\\''s \"here\"/front/run/bin/zdbfs' -o"));
	assert_non_null(strstr(exec, " '/mnt/a b'"));
	assert_int_equal(cfg_str(root, "test", "", &test, &err), 0);
	assert_non_null(strstr(test, "probe --mount '/mnt/a b'"));
	assert_int_equal(cfg_str(root, "log_file", "", &log, &err), 0);
	assert_string_equal(log, "/srv/it's \"here\"/front/log/zdbfs.out");
	assert_int_equal(cfg_get(root, "after")->child_count, 2);
	cfg_free(root);
	free(text);
	plan_release(&p);
}

static void test_zstor_text(void **state)
{
	struct cfg_node *root = NULL;
	struct err_text err = {0};
	struct volume v;
	const char *s;
	uint64_t n;
	char *text;

	(void)state;
	volume_example(&v);
	text = text_of_zstor(&v, false);
	if (cfg_parse(CFG_TOML, "zstor.toml", text, strlen(text), &root, &err) != 0)
		fail_msg("%s in:\n%s", err.text, text);
	assert_int_equal(cfg_u64(root, "minimal_shards", 0, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(cfg_u64(root, "expected_shards", 0, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(cfg_get(root, "groups")->child_count, 2);
	assert_int_equal(cfg_get(root, "groups.0.backends")->child_count, 2);
	assert_int_equal(cfg_get(root, "meta.config.backends")->child_count, 2);
	assert_int_equal(cfg_str(root, "groups.1.backends.0.id", "", &s, &err), 0);
	assert_string_equal(s, "d2");
	assert_int_equal(cfg_str(root, "state", "", &s, &err), 0);
	assert_string_equal(s, v.front);
	cfg_free(root);
	free(text);
}

static void test_secrets_hidden(void **state)
{
	struct volume v;
	char *text;

	(void)state;
	volume_example(&v);
	text = text_of_zstor(&v, true);
	assert_null(strstr(text, "geheim"));
	assert_non_null(strstr(text, "***"));
	free(text);
	text = text_of_zstor(&v, false);
	assert_non_null(strstr(text, "geheim"));
	free(text);
}

static void test_words(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"plain-1.2/x", "plain-1.2/x"}, {"", "''"},     {"a b", "'a b'"},
		{"it's", "'it'\\''s'"},         {"#x", "'#x'"}, {"$HOME", "'$HOME'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		quote_word(f, cases[i].in);
		fclose(f);
		assert_string_equal(text, cases[i].out);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),      cmocka_unit_test(test_unit_text),
		cmocka_unit_test(test_zstor_text), cmocka_unit_test(test_secrets_hidden),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
