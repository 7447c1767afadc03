/* TOML: what the specification allows is read as it says, what it forbids is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/cfg.h"
#include "tests/unit/support/sys_test.h"

/* The tree as text: {key:s"text",list:[i1,...]}; one letter per kind of scalar. */
static void show(struct buf *out, const struct cfg_node *n)
{
	static const char letters[] = "psifbdn";
	char text[400];

	if (n->kind == CFG_SCALAR) {
		assert_int_equal(buf_append_fmt(out, "%c\"%s\"", letters[n->scalar],
						str_escape(text, sizeof(text), n->text, n->text_len)),
				 0);
		return;
	}
	assert_int_equal(buf_append_str(out, n->kind == CFG_MAP ? "{" : "["), 0);
	cfg_each(n, child)
	{
		if (child != n->first)
			assert_int_equal(buf_append_byte(out, ','), 0);
		if (child->key)
			assert_int_equal(buf_append_fmt(out, "%s:", child->key), 0);
		show(out, child);
	}
	assert_int_equal(buf_append_str(out, n->kind == CFG_MAP ? "}" : "]"), 0);
}

static void check_valid(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"", "{}"},
		{"\xef\xbb\xbf# only a comment", "{}"},
		{"a = 1\r\nb = 2", "{a:i\"1\",b:i\"2\"}"},
		{"a = +1_000\nb = -17\nc = 0xDEAD_beef\nd = 0o755\ne = 0b11\nf = -0",
		 "{a:i\"1000\",b:i\"-17\",c:i\"3735928559\",d:i\"493\",e:i\"3\",f:i\"0\"}"},
		{"a = 9223372036854775807\nb = -9223372036854775808",
		 "{a:i\"9223372036854775807\",b:i\"-9223372036854775808\"}"},
		{"a = 3.14\nb = 5e+22\nc = -2E-2\nd = inf\ne = -nan\nf = 1_0.0_1",
		 "{a:f\"3.14\",b:f\"5e+22\",c:f\"-2E-2\",d:f\"inf\",e:f\"-nan\",f:f\"10.01\"}"},
		{"a = true\nb = false", "{a:b\"true\",b:b\"false\"}"},
		{"a = 1979-05-27T07:32:00Z\nb = 1979-05-27 07:32:00.5-07:00\nc = 2000-02-29\nd = 07:32:00 # "
		 "x",
		 "{a:d\"1979-05-27T07:32:00Z\",b:d\"1979-05-27 "
		 "07:32:00.5-07:00\",c:d\"2000-02-29\",d:d\"07:32:00\"}"},
		{"a = \"x\\t\\u00e9\\U0001F600\\\\\"\nb = 'C:\\x'",
		 "{a:s\"x\\t\xc3\xa9\xf0\x9f\x98\x80\\\\\",b:s\"C:\\\\x\"}"},
		{"a = \"\"\"\nl1\nl2\"\"\"\nb = '''\r\nx''y'''\nc = \"\"\"a\\  \n\n  b\"\"\"\nd = "
		 "\"\"\"\"q\"\"\"\"\"",
		 "{a:s\"l1\\nl2\",b:s\"x''y\",c:s\"ab\",d:s\"\\\"q\\\"\\\"\"}"},
		{"a = [1, [\"x\", 2.0], # c\n {b = 1, c.d = 2}, ]",
		 "{a:[i\"1\",[s\"x\",f\"2.0\"],{b:i\"1\",c:{d:i\"2\"}}]}"},
		{"a.b.c = 1\na.b.d = 2\na.\"x y\" = 3\n3.14 = 'pi'",
		 "{a:{b:{c:i\"1\",d:i\"2\"},x y:i\"3\"},3:{14:s\"pi\"}}"},
		{"[a.b.c]\nx = 1\n[a]\ny = 2\n[ a . 'q' ]\n", "{a:{b:{c:{x:i\"1\"}},y:i\"2\",q:{}}}"},
		{"[[g]]\n[[g.b]]\nn = 1\n[[g.b]]\n[g.b.s]\nz = 1\n[[g]]\n",
		 "{g:[{b:[{n:i\"1\"},{s:{z:i\"1\"}}]},{}]}"},
		{"[fruit]\napple.color = 1\napple.taste.sweet = true\n[fruit.apple.texture]\nsmooth = true",
		 "{fruit:{apple:{color:i\"1\",taste:{sweet:b\"true\"},texture:{smooth:b\"true\"}}}}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF_INIT(1 << 16);
		struct cfg_node *root;
		struct err_text err = {""};

		if (cfg_parse(CFG_TOML, "t", cases[i].text, strlen(cases[i].text), &root, &err))
			fail_msg("case %zu: %s", i, err.text);
		show(&out, root);
		assert_string_equal(buf_str(&out), cases[i].want);
		buf_release(&out);
		cfg_free(root);
	}
}

static void check_invalid(void **state)
{
	static const struct {
		unsigned line;
		const char *text;
	} cases[] = {
		{1, "a"},
		{1, "a = "},
		{1, "= 1"},
		{1, "a = 1 b = 2"},
		{2, "a = 1\na = 2"},
		{1, "a = 01"},
		{1, "a = 1__0"},
		{1, "a = _1"},
		{1, "a = 1_"},
		{1, "a = .5"},
		{1, "a = 1."},
		{1, "a = 1.e5"},
		{1, "a = 0x"},
		{1, "a = -0x1"},
		{1, "a = 0X1"},
		{1, "a = 9223372036854775808"},
		{1, "a = tru"},
		{1, "a = truex"},
		{1, "a = \"x"},
		{2, "\na = \"x\ny\""},
		{1, "a = \"\\q\""},
		{1, "a = \"\\ud800\""},
		{1, "a = \"\\u12\""},
		{1, "a = \"\x01\""},
		{3, "a = '''x\n\n"},
		{1, "a = \"\"\"\"\"\"\"\"\""},
		{1, "\"\"\"k\"\"\" = 1"},
		{1, "a = 2021-02-29"},
		{1, "a = 24:00:00"},
		{1, "a = 2021-13-01T00:00:00Z"},
		{2, "a = [1\n, 2"},
		{1, "a = [1 2]"},
		{1, "a = {b = 1,}"},
		{1, "a = {b = 1\n}"},
		{1, "a = {b = 1, b = 2}"},
		{2, "[a]\n[a]"},
		{2, "a = {}\n[a.b]"},
		{2, "a = []\n[[a]]"},
		{2, "a.b = 1\n[a]"},
		{4, "[a.b.c]\nz = 9\n[a]\nb.c.t = 9"},
		{2, "[[a]]\n[a]"},
		{2, "[a]\n[[a]]"},
		{2, "a = {b = {c = 1}}\na.b.d = 1"},
		{1, "[a"},
		{1, "[]"},
		{1, "[[a]"},
		{1, "[ [a]]"},
		{1, "a = 1 # \x01"},
		{1, "a = \"\xff\""},
		{1, "a\rb = 1"},
		{2, "[fruit]\n[[fruit.apple]] x"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cfg_node *root;
		struct err_text err = {""};
		char want[16];

		if (cfg_parse(CFG_TOML, "t", cases[i].text, strlen(cases[i].text), &root, &err) != -E_PARSE)
			fail_msg("case %zu was accepted", i);
		assert_null(root);
		snprintf(want, sizeof(want), "t:%u: ", cases[i].line);
		if (!str_starts(err.text, want))
			fail_msg("case %zu: '%s' does not begin with '%s'", i, err.text, want);
	}
}

static char *repeat(const char *text, size_t times)
{
	struct buf b = BUF_INIT(CFG_TEXT_MAX + 100);

	for (size_t i = 0; i < times; i++)
		assert_int_equal(buf_append_str(&b, text), 0);
	return buf_detach(&b, NULL);
}

static void check_bounds(void **state)
{
	static const char *const deep[] = {"[", "{a=", "a."};
	struct cfg_node *root;
	struct err_text err;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char *many = repeat(deep[i], 10000), *text = mem_fmt("%s%s", i < 2 ? "k = " : "", many);

		assert_int_equal(cfg_parse(CFG_TOML, "t", text, strlen(text), &root, &err), -E_LIMIT);
		mem_free(many);
		mem_free(text);
	}
	for (size_t i = 0; i < 2; i++) {
		char *many = repeat("1,", i ? CFG_CHILDREN_MAX + 1 : CFG_CHILDREN_MAX),
		     *text = mem_fmt("k = [%s]", many);

		assert_int_equal(cfg_parse(CFG_TOML, "t", text, strlen(text), &root, &err), i ? -E_LIMIT : 0);
		cfg_free(root);
		mem_free(many);
		mem_free(text);
	}
	{
		char *key = repeat("k", CFG_KEY_MAX + 1), *text = mem_fmt("%s = 1", key);

		assert_int_equal(cfg_parse(CFG_TOML, "t", text, strlen(text), &root, &err), -E_LIMIT);
		assert_int_equal(cfg_parse(CFG_TOML, "t", text + 1, strlen(text) - 1, &root, &err), 0);
		cfg_free(root);
		mem_free(key);
		mem_free(text);
	}
	assert_int_equal(cfg_parse(CFG_TOML, "t", "a = \"x\0y\"", 9, &root, &err), -E_PARSE);
}

/* Every allocation fails once: an error each time, nothing leaks, nothing is half-made. */
static void check_no_memory(void **state)
{
	static const char text[] = "a = 'x'\n[[b]]\nc = [1, {d = \"\"\"\ny\"\"\"}]\n[e.\"f\"]\ng.h = 1.5\n";
	struct cfg_node *root;
	struct err_text err;
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		int code;

		mem_fault_begin();
		mem_fault_arm(n);
		code = cfg_parse(CFG_TOML, "t", text, strlen(text), &root, &err);
		fired = mem_fault_fired();
		assert_int_equal(code, fired ? -ENOMEM : 0);
		cfg_free(root);
		assert_int_equal(mem_fault_end(), 0);
	}
}

/* The configurations that upstream's parser was given: what it reads, we read, with the same content. */
static void check_upstream_cases(void **state)
{
	yyjson_doc *doc = yyjson_read_file("../shared/vectors/zstor/config/cases.json", 0, NULL, NULL);
	size_t i, max, compared = 0;
	yyjson_val *item;

	(void)state;
	if (!doc) {
		skip();
		return;
	}
	yyjson_arr_foreach(yyjson_doc_get_root(doc), i, max, item)
	{
		const char *toml = yyjson_get_str(yyjson_obj_get(item, "toml"));
		const char *same = yyjson_get_str(yyjson_obj_get(item, "reserialized"));
		struct cfg_node *root, *again;
		struct err_text err = {""};
		uint64_t a, b;

		if (!same)
			continue; /* refused by upstream, mostly for the meaning of keys: that is the schema's matter */
		if (cfg_parse(CFG_TOML, "toml", toml, strlen(toml), &root, &err) ||
		    cfg_parse(CFG_TOML, "same", same, strlen(same), &again, &err))
			fail_msg("%s: %s", yyjson_get_str(yyjson_obj_get(item, "name")), err.text);
		assert_int_equal(cfg_u64(root, "minimal_shards", 0, &a, &err), 0);
		assert_int_equal(cfg_u64(again, "minimal_shards", 0, &b, &err), 0);
		assert_true(a == b && a > 0);
		assert_true(cfg_equal(cfg_get(root, "groups"), cfg_get(again, "groups")) ||
			    cfg_get(root, "groups.0.backends.0.address"));
		compared++;
		cfg_free(root);
		cfg_free(again);
	}
	yyjson_doc_free(doc);
	assert_true(compared > 0);
}

static void check_node_files(void **state)
{
	struct cfg_node *root;
	struct err_text err = {""};
	const char *text;
	uint64_t n;

	(void)state;
	if (file_exists("../shared/vectors/qsfsd/full.toml") != 1) {
		skip();
		return;
	}
	assert_int_equal(cfg_load("../shared/vectors/qsfsd/full.toml", &root, &err), 0);
	assert_int_equal(cfg_str(root, "groups.1.backends.1.address", NULL, &text, &err), 0);
	assert_string_equal(text, "[2001:db8::4]:9900");
	assert_int_equal(cfg_get(root, "meta.config.backends")->child_count, 4);
	assert_int_equal(cfg_u64(root, "prometheus_port", 0, &n, &err), 0);
	assert_int_equal(n, 9100);
	cfg_free(root);
	assert_int_equal(cfg_load("../shared/vectors/qsfsd/escapes.toml", &root, &err), 0);
	assert_int_equal(cfg_str(root, "groups.0.backends.0.password", NULL, &text, &err), 0);
	assert_string_equal(text, "p\n\"q\"\x01\x7f");
	assert_int_equal(cfg_get(root, "groups")->child_count, 3);
	cfg_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_valid),          cmocka_unit_test(check_invalid),
		cmocka_unit_test(check_bounds),         cmocka_unit_test(check_no_memory),
		cmocka_unit_test(check_upstream_cases), cmocka_unit_test(check_node_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
