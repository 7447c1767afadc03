/*
 * cfg_toml: TOML 1.0.0, complete and strict: what the specification calls invalid is refused with its line.
 *
 * Each table remembers how it came to be (node->origin), because that decides what may extend it later:
 *	IMPLICIT  made on the way to a [header] below it; its own header may still come
 *	HEADER	  has had its [header]; keys only directly below that, further sub-tables by their headers
 *	DOTTED	  made by a dotted key; further dotted keys, and headers of new sub-tables, may extend it
 *	CLOSED	  inline table or plain array: nothing extends it
 *	ARRAY	  list made by [[headers]]: further ones append
 */
#include "core/config/cfg_toml.h"

#include <string.h>

#include "core/base/str.h"

enum origin {
	ORIGIN_IMPLICIT,
	ORIGIN_HEADER,
	ORIGIN_DOTTED,
	ORIGIN_CLOSED,
	ORIGIN_ARRAY,
};

static int read_value(struct toml *t, struct cfg_node *parent, const char *key, size_t key_len);

static void skip_blanks(struct toml *t)
{
	while (*t->at == ' ' || *t->at == '\t')
		t->at++;
}

static bool at_newline(const struct toml *t)
{
	return *t->at == '\n' || (*t->at == '\r' && t->at[1] == '\n');
}

static void skip_newline(struct toml *t)
{
	t->at += *t->at == '\r' ? 2 : 1;
	t->line++;
}

/* A comment, if one is here, up to the end of its line. */
static int skip_comment(struct toml *t)
{
	if (*t->at != '#')
		return 0;
	while (t->at < t->end && !at_newline(t)) {
		unsigned char c = (unsigned char)*t->at;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return toml_fail(t, "control character in a comment");
		t->at++;
	}
	return 0;
}

/* Blanks, comments and newlines, as they may stand inside an array. */
static int skip_lines(struct toml *t)
{
	for (;;) {
		int code;

		skip_blanks(t);
		code = skip_comment(t);
		if (code)
			return code;
		if (!at_newline(t))
			return 0;
		skip_newline(t);
	}
}

/* What must stand behind a header or a key and its value. */
static int expect_line_end(struct toml *t)
{
	int code;

	skip_blanks(t);
	code = skip_comment(t);
	if (code)
		return code;
	if (t->at == t->end)
		return 0;
	if (!at_newline(t))
		return toml_fail(t, "something stands behind the end of the value");
	skip_newline(t);
	return 0;
}

/* ---- keys ---- */

static bool is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
	       c == '-';
}

struct key {
	char text[CFG_KEY_MAX + 1];
	size_t len;
};

/* One part of a key: bare or quoted. */
static int read_key_part(struct toml *t, struct key *key)
{
	const char *from = t->at;
	size_t len;
	int code;

	if (*t->at == '"' || *t->at == '\'') {
		code = toml_read_string(t, false);
		if (code)
			return code;
		from = (const char *)t->text.data;
		len = t->text.len;
	} else {
		while (is_bare(*t->at))
			t->at++;
		len = (size_t)(t->at - from);
		if (len == 0)
			return toml_fail(t, "a key is missing");
	}
	if (len > CFG_KEY_MAX)
		return cfg_fail(t->b, t->line, -E_LIMIT, "key longer than %u bytes", CFG_KEY_MAX);
	if (len && memchr(from, '\0', len))
		return toml_fail(t, "NUL in a key");
	if (len)
		memcpy(key->text, from, len);
	key->text[len] = '\0';
	key->len = len;
	return 0;
}

/* Whether a dot, and so another part, follows. */
static bool take_dot(struct toml *t)
{
	skip_blanks(t);
	if (*t->at != '.')
		return false;
	t->at++;
	skip_blanks(t);
	return true;
}

static int fail_key(struct toml *t, const char *before, const struct key *key, const char *after)
{
	char shown[100];

	str_escape(shown, sizeof(shown), key->text, key->len);
	return cfg_fail(t->b, t->line, -E_PARSE, "%s'%s'%s", before, shown, after);
}

/* ---- headers ---- */

/* The table below `map` that a part of a header, not its last, leads to; made when missing. */
static int enter_by_header(struct toml *t, struct cfg_node **map, const struct key *key)
{
	struct cfg_node *child = cfg_find(*map, key->text, key->len);
	int code = 0;

	if (!child) {
		child = cfg_add(t->b, *map, key->text, key->len, CFG_MAP, t->line, &code);
		if (child)
			child->origin = ORIGIN_IMPLICIT;
	} else if (child->kind == CFG_LIST && child->origin == ORIGIN_ARRAY) {
		child = child->last; /* the table of the last [[header]]; there is always one */
	} else if (child->kind != CFG_MAP) {
		return fail_key(t, "", key, " is not a table");
	} else if (child->origin == ORIGIN_CLOSED) {
		return fail_key(t, "the inline table ", key, " cannot be extended");
	}
	*map = child;
	return code;
}

static int open_table(struct toml *t, struct cfg_node **map, const struct key *key)
{
	struct cfg_node *child = cfg_find(*map, key->text, key->len);
	int code = 0;

	if (!child)
		child = cfg_add(t->b, *map, key->text, key->len, CFG_MAP, t->line, &code);
	else if (child->kind != CFG_MAP || child->origin != ORIGIN_IMPLICIT)
		return fail_key(t, "", key, " is defined twice");
	if (!child)
		return code;
	child->origin = ORIGIN_HEADER;
	child->line = t->line;
	*map = child;
	return 0;
}

static int open_array_table(struct toml *t, struct cfg_node **map, const struct key *key)
{
	struct cfg_node *list = cfg_find(*map, key->text, key->len), *item;
	int code = 0;

	if (!list) {
		list = cfg_add(t->b, *map, key->text, key->len, CFG_LIST, t->line, &code);
		if (!list)
			return code;
		list->origin = ORIGIN_ARRAY;
	} else if (list->kind != CFG_LIST || list->origin != ORIGIN_ARRAY) {
		return fail_key(t, "", key, " is not an array of tables");
	}
	item = cfg_add(t->b, list, NULL, 0, CFG_MAP, t->line, &code);
	if (!item)
		return code;
	item->origin = ORIGIN_HEADER;
	*map = item;
	return 0;
}

/* [a.b] or [[a.b]]; *map becomes the table that the following keys belong to. */
static int read_header(struct toml *t, struct cfg_node **map)
{
	bool is_array = t->at[1] == '[';
	struct key key;
	int code;

	t->at += is_array ? 2 : 1;
	*map = t->b->root;
	for (;;) {
		skip_blanks(t);
		code = read_key_part(t, &key);
		if (code)
			return code;
		if (!take_dot(t))
			break;
		code = enter_by_header(t, map, &key);
		if (code)
			return code;
	}
	if (*t->at != ']' || (is_array && t->at[1] != ']'))
		return toml_fail(t, "a table header without its end");
	t->at += is_array ? 2 : 1;
	code = is_array ? open_array_table(t, map, &key) : open_table(t, map, &key);
	return code ? code : expect_line_end(t);
}

/* ---- keys with values ---- */

static int enter_by_dot(struct toml *t, struct cfg_node **map, const struct key *key)
{
	struct cfg_node *child = cfg_find(*map, key->text, key->len);
	int code = 0;

	if (!child) {
		child = cfg_add(t->b, *map, key->text, key->len, CFG_MAP, t->line, &code);
		if (child)
			child->origin = ORIGIN_DOTTED;
	} else if (child->kind != CFG_MAP || child->origin != ORIGIN_DOTTED) {
		return fail_key(t, "", key, " is defined elsewhere and cannot be extended here");
	}
	*map = child;
	return code;
}

/* key = value, into `map`; whatever stands behind it is the caller's. */
static int read_pair(struct toml *t, struct cfg_node *map)
{
	struct key key;
	int code;

	for (;;) {
		code = read_key_part(t, &key);
		if (code)
			return code;
		if (!take_dot(t))
			break;
		code = enter_by_dot(t, &map, &key);
		if (code)
			return code;
	}
	if (*t->at != '=')
		return fail_key(t, "'=' is missing behind the key ", &key, "");
	t->at++;
	skip_blanks(t);
	if (cfg_find(map, key.text, key.len))
		return fail_key(t, "key ", &key, " is given twice");
	return read_value(t, map, key.text, key.len);
}

/* ---- values ---- */

static int read_array(struct toml *t, struct cfg_node *list)
{
	int code;

	list->origin = ORIGIN_CLOSED;
	t->at++;
	for (;;) {
		code = skip_lines(t);
		if (code)
			return code;
		if (*t->at == ']')
			break;
		code = read_value(t, list, NULL, 0);
		if (code == 0)
			code = skip_lines(t);
		if (code)
			return code;
		if (*t->at == ',')
			t->at++;
		else if (*t->at != ']')
			return toml_fail(t, "an array without its end");
	}
	t->at++;
	return 0;
}

/* Tables that dotted keys made inside an inline table are as closed as it is. */
static void close_table(struct cfg_node *map)
{
	map->origin = ORIGIN_CLOSED;
	for (struct cfg_node *n = map->first; n; n = n->next) {
		if (n->kind == CFG_MAP && n->origin == ORIGIN_DOTTED)
			close_table(n);
	}
}

static int read_inline_table(struct toml *t, struct cfg_node *map)
{
	int code;

	t->at++;
	skip_blanks(t);
	if (*t->at == '}') {
		t->at++;
		close_table(map);
		return 0;
	}
	for (;;) {
		skip_blanks(t);
		code = read_pair(t, map);
		if (code)
			return code;
		skip_blanks(t);
		if (*t->at == '}')
			break;
		if (*t->at != ',')
			return toml_fail(t, "an inline table without its end");
		t->at++;
	}
	t->at++;
	close_table(map);
	return 0;
}

/* The depth of recursion is bounded by that of the tree. */
static int read_value(struct toml *t, struct cfg_node *parent, const char *key, size_t key_len)
{
	enum cfg_kind kind = *t->at == '[' ? CFG_LIST : *t->at == '{' ? CFG_MAP : CFG_SCALAR;
	struct cfg_node *node;
	int code = 0;

	if (t->at == t->end || at_newline(t) || *t->at == '#')
		return toml_fail(t, "a value is missing");
	node = cfg_add(t->b, parent, key, key_len, kind, t->line, &code);
	if (!node)
		return code;
	if (kind == CFG_LIST)
		return read_array(t, node);
	if (kind == CFG_MAP)
		return read_inline_table(t, node);
	if (*t->at != '"' && *t->at != '\'')
		return toml_read_bare(t, node);
	code = toml_read_string(t, true);
	if (code)
		return code;
	return cfg_set_text(t->b, node, CFG_STRING, (const char *)t->text.data, t->text.len);
}

/* UTF-8 as a whole, so that nothing else has to look at it; a mark at the beginning is skipped. */
static int check_text(struct toml *t)
{
	const char *p = t->at;
	size_t len;

	if (str_starts(p, "\xef\xbb\xbf"))
		t->at = p += 3;
	for (; p < t->end; p += len, t->line++) {
		const char *newline = memchr(p, '\n', (size_t)(t->end - p));

		len = newline ? (size_t)(newline - p) + 1 : (size_t)(t->end - p);
		if (!str_is_utf8(p, len))
			return toml_fail(t, "not UTF-8");
	}
	t->line = 1;
	return 0;
}

int cfg_read_toml(struct cfg_builder *b, const char *text, size_t len)
{
	struct toml t = {.b = b, .at = text, .end = text + len, .line = 1, .text = BUF_INIT(CFG_TEXT_MAX)};
	struct cfg_node *map = b->root;
	int code = check_text(&t);

	b->root->origin = ORIGIN_HEADER;
	while (code == 0) {
		code = skip_lines(&t);
		if (code || t.at == t.end)
			break;
		if (*t.at == '[') {
			code = read_header(&t, &map);
		} else {
			code = read_pair(&t, map);
			if (code == 0)
				code = expect_line_end(&t);
		}
	}
	buf_release_wiped(&t.text);
	return code;
}
