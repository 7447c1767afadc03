/* INI and YAML into the same tree, typed values, and schema rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/cfg.h"
#include "core/config/schema.h"
#include "tests/unit/support/sys_test.h"

static struct cfg_node *parse(enum cfg_syntax syntax, const char *text)
{
	struct cfg_node *root;
	struct err_text err = {""};

	if (cfg_parse(syntax, "t", text, strlen(text), &root, &err))
		fail_msg("%s", err.text);
	return root;
}

static void assert_refused(enum cfg_syntax syntax, const char *text, int code, const char *message)
{
	struct cfg_node *root;
	struct err_text err = {""};

	assert_int_equal(cfg_parse(syntax, "t", text, strlen(text), &root, &err), code);
	assert_null(root);
	assert_string_equal(err.text, message);
}

static void assert_value(const struct cfg_node *root, const char *path, const char *want)
{
	const struct cfg_node *n = cfg_get(root, path);

	if (!n || n->kind != CFG_SCALAR)
		fail_msg("no scalar at %s", path);
	assert_string_equal(n->text, want);
}

static void check_ini(void **state)
{
	struct cfg_node *root =
		parse(CFG_INI, "top = 1\n; comment\n[a.b]\nkey = some value ; comment\nlong = one\n  two\n"
			       "[c]\n  key: x\n[a.b]\nmore=\r\n");
	char *wide, *text;

	(void)state;
	assert_value(root, "top", "1");
	assert_value(root, "a.b.key", "some value");
	assert_value(root, "a.b.long", "one\ntwo");
	assert_value(root, "c.key", "x");
	assert_value(root, "a.b.more", "");
	assert_int_equal(cfg_get(root, "a.b.key")->line, 4);
	assert_int_equal(cfg_get(root, "a.b.more")->line, 10);
	cfg_free(root);
	assert_refused(CFG_INI, "a = 1\nnonsense\n", -E_PARSE, "t:2: neither [section] nor key = value");
	assert_refused(CFG_INI, "a = 1\na = 2\n", -E_PARSE, "t:2: key 'a' is given twice");
	assert_refused(CFG_INI, "[x\na = 2\n", -E_PARSE, "t:1: neither [section] nor key = value");
	assert_refused(CFG_INI, "a = 1\n[a]\nb = 1\n", -E_PARSE, "t:3: 'a' is a value, not a section");
	assert_refused(CFG_INI, "[a..b]\nb = 1\n", -E_PARSE, "t:2: empty part in a section name");
	assert_refused(CFG_INI, "[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nb = 1\n",
		       -E_LIMIT, "t:2: section name too long");
	/* Lines longer than any buffer of the library are whole. */
	wide = mem_alloc(20001);
	memset(wide, 'w', 20000);
	wide[20000] = '\0';
	text = mem_fmt("a = %s\nb = 2\n", wide);
	root = parse(CFG_INI, text);
	assert_value(root, "a", wide);
	assert_value(root, "b", "2");
	assert_int_equal(cfg_get(root, "b")->line, 2);
	cfg_free(root);
	mem_free(text);
	mem_free(wide);
}

static void check_yaml(void **state)
{
	struct cfg_node *root = parse(
		CFG_YAML, "---\nexec: zdb --a\n  --b\n\n  --c\n# comment\nafter:\n- x\n- 'y'\n"
			  "test: sh -c '[ \"$(x 2>&1)\" = \"\" ]'\noneshot: true\nenv: {A: 1, B: \"2\"}\n"
			  "script: |\n  one\n  two\nsignal:\n  stop: sigint\nlog: ~\r\nempty:");

	(void)state;
	assert_value(root, "exec", "zdb --a --b\n--c");
	assert_value(root, "after.1", "y");
	assert_int_equal(cfg_get(root, "after.1")->scalar, CFG_STRING);
	assert_value(root, "test", "sh -c '[ \"$(x 2>&1)\" = \"\" ]'");
	assert_value(root, "env.B", "2");
	assert_value(root, "script", "one\ntwo\n");
	assert_value(root, "signal.stop", "sigint");
	assert_int_equal(cfg_get(root, "log")->scalar, CFG_NULL);
	assert_int_equal(cfg_get(root, "empty")->scalar, CFG_NULL);
	assert_int_equal(cfg_get(root, "after")->line, 7);
	cfg_free(root);
	root = parse(CFG_YAML, "");
	assert_int_equal(root->child_count, 0);
	cfg_free(root);
	root = parse(CFG_YAML, "---\n# nothing\n");
	assert_int_equal(root->child_count, 0);
	cfg_free(root);
	assert_refused(CFG_YAML, "a: 1\na: 2\n", -E_PARSE, "t:2: key 'a' is given twice");
	assert_refused(CFG_YAML, "a: &x 1\nb: *x\n", -E_PARSE, "t:1: anchors and tags are not supported");
	assert_refused(CFG_YAML, "b: *x\n", -E_PARSE, "t:1: aliases are not supported");
	assert_refused(CFG_YAML, "b: !!str x\n", -E_PARSE, "t:1: anchors and tags are not supported");
	assert_refused(CFG_YAML, "- a\n", -E_PARSE, "t:1: the document is not a map");
	assert_refused(CFG_YAML, "text\n", -E_PARSE, "t:1: the document is not a map");
	assert_refused(CFG_YAML, "a: 1\n---\nb: 1\n", -E_PARSE, "t:2: more than one document");
	assert_refused(CFG_YAML, "? [a]\n: 1\n", -E_PARSE, "t:1: a key that is not a scalar");
	assert_refused(CFG_YAML, "a: [1, 2\n", -E_PARSE, "t:2: did not find expected ',' or ']'");
	assert_refused(CFG_YAML, "a:\n\tb: 1\n", -E_PARSE,
		       "t:2: found character that cannot start any token");
}

static void check_yaml_depth(void **state)
{
	char text[200] = "a: ";
	struct cfg_node *root;
	struct err_text err;

	(void)state;
	memset(text + 3, '[', 100);
	assert_int_equal(cfg_parse(CFG_YAML, "t", text, strlen(text), &root, &err), -E_LIMIT);
}

static void check_values(void **state)
{
	struct cfg_node *root =
		parse(CFG_TOML, "s = 'text'\nn = 42\nneg = -1\nb = true\nsize = '64M'\nbare = 4096\n"
				"t = '1m30s'\nf = 1.5\nnul = \"a\\u0000b\"\n'x.y' = 1\n[m]\nl = [[1, 2]]\n");
	struct err_text err = {""};
	const char *s;
	uint64_t u;
	int64_t i;
	bool b;
	char path[64];

	(void)state;
	assert_int_equal(cfg_str(root, "s", NULL, &s, &err), 0);
	assert_string_equal(s, "text");
	assert_int_equal(cfg_str(root, "absent", "def", &s, &err), 0);
	assert_string_equal(s, "def");
	assert_int_equal(cfg_str(root, "n", "def", &s, &err), -E_CONFIG);
	assert_string_equal(s, "def");
	assert_string_equal(err.text, "t:2: n: not a string");
	assert_int_equal(cfg_str(root, "nul", "def", &s, &err), -E_CONFIG);
	assert_int_equal(cfg_str(root, "m", "def", &s, &err), -E_CONFIG);
	assert_int_equal(cfg_u64(root, "n", 0, &u, &err), 0);
	assert_int_equal(u, 42);
	assert_int_equal(cfg_u64(root, "neg", 7, &u, &err), -E_CONFIG);
	assert_int_equal(u, 7);
	assert_int_equal(cfg_u64(root, "f", 7, &u, &err), -E_CONFIG);
	assert_int_equal(cfg_u64(root, "s", 7, &u, &err), -E_CONFIG);
	assert_int_equal(cfg_i64(root, "neg", 7, &i, &err), 0);
	assert_int_equal(i, -1);
	assert_int_equal(cfg_bool(root, "b", false, &b, &err), 0);
	assert_true(b);
	assert_int_equal(cfg_bool(root, "n", false, &b, &err), -E_CONFIG);
	assert_int_equal(cfg_size(root, "size", 0, &u, &err), 0);
	assert_int_equal(u, 64 << 20);
	assert_int_equal(cfg_size(root, "bare", 0, &u, &err), 0);
	assert_int_equal(u, 4096);
	assert_int_equal(cfg_duration(root, "t", 0, &u, &err), 0);
	assert_int_equal(u, 90000);
	assert_int_equal(cfg_duration(root, "n", 0, &u, &err), 0);
	assert_int_equal(u, 42000);
	assert_int_equal(cfg_u64(root, "\"x.y\"", 0, &u, &err), 0);
	assert_int_equal(u, 1);
	assert_null(cfg_get(root, "x.y"));
	assert_null(cfg_get(root, "m.l.0.2"));
	assert_null(cfg_get(root, "s.x"));
	assert_string_equal(cfg_path_of(cfg_get(root, "m.l.0.1"), path, sizeof(path)), "m.l[0][1]");
	cfg_free(root);
}

static void check_equal(void **state)
{
	struct cfg_node *a = parse(CFG_YAML, "x: 1\ny: [a, b]\n"),
			*b = parse(CFG_YAML, "\n\ny:\n- a\n- b\nx: 1\n"),
			*c = parse(CFG_YAML, "x: 1\ny: [b, a]\n");

	(void)state;
	assert_true(cfg_equal(a, b));
	assert_false(cfg_equal(a, c));
	assert_false(cfg_equal(a, NULL));
	assert_true(cfg_equal(NULL, NULL));
	cfg_free(a);
	cfg_free(b);
	cfg_free(c);
}

enum kind { KIND_NATIVE, KIND_UPSTREAM };

struct conf {
	char *root, *password;
	uint64_t port, limit, rpo_ms;
	int64_t level;
	bool verbose;
	enum kind kind;
	const struct cfg_node *meta;
};

static const char *const kinds[] = {"native", "upstream", NULL};

static const struct schema_row rows[] = {
	SCHEMA_STR(struct conf, root, "root", NULL, SCHEMA_REQUIRED, "what is watched"),
	SCHEMA_STR(struct conf, password, "login.password", NULL, SCHEMA_SECRET | SCHEMA_NONEMPTY, "secret"),
	SCHEMA_U64(struct conf, port, "port", "9900", 1, 65535, 0, "port"),
	SCHEMA_SIZE(struct conf, limit, "limit", "64M", 0, 0, 0, "bound"),
	SCHEMA_MS(struct conf, rpo_ms, "rpo", "60s", 1000, 86400000, 0, "age"),
	SCHEMA_I64(struct conf, level, "level", "-1", -5, 5, 0, "level"),
	SCHEMA_BOOL(struct conf, verbose, "verbose", "yes", 0, "talk"),
	SCHEMA_CHOICE(struct conf, kind, "kind", "native", kinds, 0, "format"),
	SCHEMA_ANY(struct conf, meta, "meta", 0, "subtree"),
	SCHEMA_KNOWN("old", SCHEMA_IGNORED, "no effect"),
	SCHEMA_END,
};

static void check_schema(void **state)
{
	struct cfg_node *root =
		parse(CFG_TOML, "root = '/x'\nport = 1\nrpo = '5s'\nlevel = 5\nverbose = false\n"
				"kind = 'Upstream'\nlogin.password = 'pw'\n[meta.anything]\ngoes = 1\n");
	struct conf c = {0};
	struct err_text err = {""};

	(void)state;
	assert_int_equal(schema_fill(rows, root, &c, true, &err), 0);
	assert_string_equal(c.root, "/x");
	assert_string_equal(c.password, "pw");
	assert_int_equal(c.port, 1);
	assert_int_equal(c.limit, 64 << 20);
	assert_int_equal(c.rpo_ms, 5000);
	assert_int_equal(c.level, 5);
	assert_false(c.verbose);
	assert_int_equal(c.kind, KIND_UPSTREAM);
	assert_ptr_equal(c.meta, cfg_get(root, "meta"));
	schema_release(rows, &c);
	assert_null(c.root);
	cfg_free(root);
}

static void check_schema_errors(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"port = 1\n", "t: key 'root' is missing"},
		{"root = '/x'\nrooot = 1\n", "t:2: unknown key 'rooot' (did you mean 'root'?)"},
		{"root = '/x'\nzzzzzz = 1\n", "t:2: unknown key 'zzzzzz'"},
		{"root = '/x'\n[login]\npasword = 's3cret'\n",
		 "t:3: unknown key 'login.pasword' (did you mean 'password'?)"},
		{"root = '/x'\nlogin = 1\n", "t:2: login: not a table"},
		{"root = '/x'\nport = 0\n", "t:2: port: not within 1 and 65535"},
		{"root = '/x'\nport = 70000\n", "t:2: port: not within 1 and 65535"},
		{"root = '/x'\nlevel = -6\n", "t:2: level: not within -5 and 5"},
		{"root = '/x'\nrpo = '1ms'\n", "t:2: rpo: not within 1000 and 86400000"},
		{"root = '/x'\nkind = 'other'\n", "t:2: kind: not one of the known words"},
		{"root = '/x'\nlogin.password = ''\n", "t:2: login.password: is empty"},
		{"root = 5\n", "t:1: root: not a string"},
		{"root = '/x'\nold = 1\n", "t:2: old: has no effect here"},
		{"root = '/x'\n'a.b' = 1\n", "t:2: unknown key 'a.b'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cfg_node *root = parse(CFG_TOML, cases[i].text);
		struct conf c = {0};
		struct err_text err = {""};

		mem_fault_begin();
		assert_int_equal(schema_fill(rows, root, &c, true, &err), -E_CONFIG);
		assert_string_equal(err.text, cases[i].message);
		assert_int_equal(mem_fault_end(), 0);
		cfg_free(root);
	}
}

static void check_schema_lenient(void **state)
{
	struct cfg_node *root = parse(CFG_TOML, "root = '/x'\nother = 1\nold = 2\n");
	struct conf c = {0};
	struct err_text err = {""};

	(void)state;
	log_fd_set(-1);
	assert_int_equal(schema_fill(rows, root, &c, false, &err), 0);
	log_fd_set(2);
	assert_string_equal(c.root, "/x");
	assert_int_equal(c.port, 9900);
	schema_release(rows, &c);
	cfg_free(root);
}

/* Reading and filling under every failing allocation, in each syntax that is ours to make fail. */
static void check_no_memory(void **state)
{
	static const char text[] = "root = /x\n[login]\npassword = pw\n";
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		struct cfg_node *root = NULL;
		struct conf c = {0};
		struct err_text err = {""};
		int code;

		mem_fault_begin();
		mem_fault_arm(n);
		code = cfg_parse(CFG_INI, "t", text, strlen(text), &root, &err);
		if (code == 0)
			code = schema_fill(rows, root, &c, true, &err);
		fired = mem_fault_fired();
		assert_int_equal(code, fired ? -ENOMEM : 0);
		if (code == 0)
			schema_release(rows, &c);
		cfg_free(root);
		assert_int_equal(mem_fault_end(), 0);
	}
}

static void check_load(void **state)
{
	struct cfg_node *root;
	struct err_text err = {""};

	(void)state;
	assert_int_equal(cfg_load("/nonexistent/x.toml", &root, &err), -ENOENT);
	assert_string_equal(err.text, "cannot read /nonexistent/x.toml: no such file or directory");
	assert_int_equal(cfg_load("/nonexistent/x", &root, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_ini),           cmocka_unit_test(check_yaml),
		cmocka_unit_test(check_yaml_depth),    cmocka_unit_test(check_values),
		cmocka_unit_test(check_equal),         cmocka_unit_test(check_schema),
		cmocka_unit_test(check_schema_errors), cmocka_unit_test(check_schema_lenient),
		cmocka_unit_test(check_no_memory),     cmocka_unit_test(check_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
