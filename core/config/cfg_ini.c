/*
 * cfg_ini: INI text through inih. The reader handed to inih works on memory and counts lines, because inih tells its
 * handler neither; an indented line continues the value above it (inih calls the handler again with the same name).
 */
#include <ini.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/config/cfg_int.h"

/* inih cuts longer section names silently (its MAX_SECTION is 50, with the NUL). */
#define SECTION_MAX 49

struct ini {
	struct cfg_builder *b;
	const char *at, *end;
	unsigned line;
	bool is_line_done;     /* the last piece that was read ended its line */
	bool is_indented;      /* the present line begins with a blank */
	struct cfg_node *last; /* what an indented line continues */
	int code;
};

/* fgets on memory: at most size - 1 bytes of the present line. */
static char *read_piece(char *dst, int size, void *stream)
{
	struct ini *r = stream;
	size_t room = (size_t)size - 1, len;
	const char *newline;

	if (r->at == r->end || r->code)
		return NULL;
	if (r->is_line_done) {
		r->line++;
		r->is_indented = *r->at == ' ' || *r->at == '\t';
	}
	newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
	len = newline ? (size_t)(newline - r->at) + 1 : (size_t)(r->end - r->at);
	if (len > room)
		len = room;
	memcpy(dst, r->at, len);
	dst[len] = '\0';
	r->at += len;
	r->is_line_done = dst[len - 1] == '\n';
	return dst;
}

/* The map that a section names, made as needed: "a.b" is a map in a map. */
static struct cfg_node *section_of(struct ini *r, const char *section)
{
	struct cfg_node *map = r->b->root;

	while (map && *section) {
		const char *dot = strchrnul(section, '.');
		size_t len = (size_t)(dot - section);
		struct cfg_node *child = cfg_find(map, section, len);

		if (len == 0) {
			r->code = cfg_fail(r->b, r->line, -E_PARSE, "empty part in a section name");
			return NULL;
		}
		if (!child)
			child = cfg_add(r->b, map, section, len, CFG_MAP, r->line, &r->code);
		if (child && child->kind != CFG_MAP) {
			r->code = cfg_fail(r->b, r->line, -E_PARSE, "'%s' is a value, not a section",
					   child->key);
			return NULL;
		}
		map = child;
		section = *dot ? dot + 1 : dot;
	}
	return map;
}

static int continue_value(struct ini *r, const char *value)
{
	struct cfg_node *n = r->last;
	char *joined = mem_fmt("%s\n%s", n->text, value);
	int code;

	if (!joined)
		return cfg_fail(r->b, r->line, -ENOMEM, "%s", err_str(ENOMEM));
	code = cfg_set_text(r->b, n, CFG_PLAIN, joined, strlen(joined));
	mem_free_wiped(joined, strlen(joined));
	return code;
}

static int add_value(struct ini *r, struct cfg_node *map, const char *name, const char *value)
{
	struct cfg_node *node;

	if (*name == '\0')
		return cfg_fail(r->b, r->line, -E_PARSE, "a value without a key");
	if (cfg_find(map, name, strlen(name)))
		return cfg_fail(r->b, r->line, -E_PARSE, "key '%.*s' is given twice", (int)CFG_KEY_MAX, name);
	node = cfg_add(r->b, map, name, strlen(name), CFG_SCALAR, r->line, &r->code);
	if (!node)
		return r->code;
	r->last = node;
	return cfg_set_text(r->b, node, CFG_PLAIN, value, strlen(value));
}

static int on_value(void *user, const char *section, const char *name, const char *value)
{
	struct ini *r = user;
	struct cfg_node *map;

	if (r->code)
		return 0;
	if (strlen(section) >= SECTION_MAX) {
		r->code = cfg_fail(r->b, r->line, -E_LIMIT, "section name too long");
		return 0;
	}
	map = section_of(r, section);
	if (!map)
		return 0;
	if (r->is_indented && r->last && r->last->parent == map &&
	    strncmp(name, r->last->key, SECTION_MAX) == 0)
		r->code = continue_value(r, value);
	else
		r->code = add_value(r, map, name, value);
	return r->code == 0;
}

int cfg_read_ini(struct cfg_builder *b, const char *text, size_t len)
{
	struct ini r = {.b = b, .at = text, .end = text + len, .is_line_done = true};
	int line = ini_parse_stream(read_piece, &r, on_value, &r);

	if (r.code)
		return r.code;
	if (line == -2)
		return cfg_fail(b, r.line, -ENOMEM, "%s", err_str(ENOMEM));
	if (line)
		return cfg_fail(b, line > 0 ? (unsigned)line : r.line, -E_PARSE,
				"neither [section] nor key = value");
	return 0;
}
