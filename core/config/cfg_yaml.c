/*
 * cfg_yaml: YAML through libyaml's events.
 *
 * Refused: anchors, aliases and tags (nothing can expand), more than one document, keys that are not scalars, keys given
 * twice. A root that is not a map is refused, too; an empty document is an empty map.
 */
#include <string.h>
#include <yaml.h>

#include "core/config/cfg_int.h"

struct yaml {
	struct cfg_builder *b;
	yaml_parser_t parser;
	struct cfg_node *at; /* the map or list that is open */
	char key[CFG_KEY_MAX + 1];
	size_t key_len;
	unsigned key_line;
	bool has_key; /* a key of `at` waits for its value */
	bool is_done;
	unsigned documents;
};

static int fail_at(struct yaml *y, const yaml_event_t *event, int code, const char *what)
{
	return cfg_fail(y->b, (unsigned)event->start_mark.line + 1, code, "%s", what);
}

/* What is wrong in libyaml's own words (they name syntax, never content). */
static int parser_error(struct yaml *y)
{
	const yaml_parser_t *p = &y->parser;
	size_t line = p->error == YAML_READER_ERROR ? 0 : p->problem_mark.line;

	if (p->error == YAML_MEMORY_ERROR)
		return cfg_fail(y->b, 1, -ENOMEM, "%s", err_str(ENOMEM));
	return cfg_fail(y->b, (unsigned)line + 1, -E_PARSE, "%s", p->problem ? p->problem : "not YAML");
}

static bool is_null_text(const char *text, size_t len)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0)
			return true;
	}
	return false;
}

static int take_key(struct yaml *y, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;

	if (len > CFG_KEY_MAX)
		return fail_at(y, event, -E_LIMIT, "key too long");
	if (memchr(text, '\0', len))
		return fail_at(y, event, -E_PARSE, "NUL in a key");
	if (cfg_find(y->at, text, len))
		return cfg_fail(y->b, (unsigned)event->start_mark.line + 1, -E_PARSE,
				"key '%.*s' is given twice", (int)len, text);
	memcpy(y->key, text, len);
	y->key_len = len;
	y->key_line = (unsigned)event->start_mark.line + 1;
	y->has_key = true;
	return 0;
}

/* A new node where we are: below the key of a map, or at the end of a list. */
static struct cfg_node *add_here(struct yaml *y, const yaml_event_t *event, enum cfg_kind kind, int *code)
{
	bool in_map = y->at->kind == CFG_MAP;

	y->has_key = false;
	return cfg_add(y->b, y->at, in_map ? y->key : NULL, in_map ? y->key_len : 0, kind,
		       in_map ? y->key_line : (unsigned)event->start_mark.line + 1, code);
}

static int on_scalar(struct yaml *y, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;
	bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	bool is_null = is_plain && is_null_text(text, len);
	struct cfg_node *node;
	int code = 0;

	if (event->data.scalar.anchor || event->data.scalar.tag)
		return fail_at(y, event, -E_PARSE, "anchors and tags are not supported");
	if (!y->at) {
		return is_null ? 0 : fail_at(y, event, -E_PARSE, "the document is not a map");
	}
	if (y->at->kind == CFG_MAP && !y->has_key)
		return take_key(y, event);
	node = add_here(y, event, CFG_SCALAR, &code);
	if (!node)
		return code;
	return cfg_set_text(y->b, node, is_null ? CFG_NULL : is_plain ? CFG_PLAIN : CFG_STRING, text, len);
}

static int on_open(struct yaml *y, const yaml_event_t *event, enum cfg_kind kind, bool is_marked)
{
	struct cfg_node *node;
	int code = 0;

	if (is_marked)
		return fail_at(y, event, -E_PARSE, "anchors and tags are not supported");
	if (!y->at) {
		if (kind != CFG_MAP)
			return fail_at(y, event, -E_PARSE, "the document is not a map");
		y->at = y->b->root;
		return 0;
	}
	if (y->at->kind == CFG_MAP && !y->has_key)
		return fail_at(y, event, -E_PARSE, "a key that is not a scalar");
	node = add_here(y, event, kind, &code);
	if (node)
		y->at = node;
	return code;
}

static int on_event(struct yaml *y, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++y->documents > 1)
			return fail_at(y, event, -E_PARSE, "more than one document");
		return 0;
	case YAML_SCALAR_EVENT:
		return on_scalar(y, event);
	case YAML_MAPPING_START_EVENT:
		return on_open(y, event, CFG_MAP,
			       event->data.mapping_start.anchor || event->data.mapping_start.tag);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(y, event, CFG_LIST,
			       event->data.sequence_start.anchor || event->data.sequence_start.tag);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		y->at = y->at->parent;
		return 0;
	case YAML_ALIAS_EVENT:
		return fail_at(y, event, -E_PARSE, "aliases are not supported");
	case YAML_STREAM_END_EVENT:
		y->is_done = true;
		return 0;
	default:
		return 0;
	}
}

int cfg_read_yaml(struct cfg_builder *b, const char *text, size_t len)
{
	struct yaml y = {.b = b};
	int code = 0;

	if (!yaml_parser_initialize(&y.parser))
		return cfg_fail(b, 1, -ENOMEM, "%s", err_str(ENOMEM));
	yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, len);
	while (code == 0 && !y.is_done) {
		yaml_event_t event;

		if (!yaml_parser_parse(&y.parser, &event)) {
			code = parser_error(&y);
			break;
		}
		code = on_event(&y, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&y.parser);
	return code;
}
