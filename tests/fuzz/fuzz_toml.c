/*
 * Arbitrary text to the TOML reader. What is accepted is written out again in another form (inline tables, escaped
 * strings) and must be read back as the same tree.
 */
#include <stdint.h>

#include "core/base/buf.h"
#include "tests/fuzz/fuzz_cfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct buf *out, const char *text)
{
	must(buf_append_str(out, text) == 0);
}

static void put_string(struct buf *out, const char *text, size_t len)
{
	put(out, "\"");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
			must(buf_append_fmt(out, "\\u%04X", c) == 0);
		else
			must(buf_append_byte(out, c) == 0);
	}
	put(out, "\"");
}

static void put_value(struct buf *out, const struct cfg_node *node)
{
	if (node->kind == CFG_SCALAR) {
		if (node->scalar == CFG_STRING)
			put_string(out, node->text, node->text_len);
		else
			put(out, node->text);
		return;
	}
	put(out, node->kind == CFG_MAP ? "{" : "[");
	cfg_each(node, child)
	{
		if (child != node->first)
			put(out, ",");
		if (child->key) {
			put_string(out, child->key, strlen(child->key));
			put(out, "=");
		}
		put_value(out, child);
	}
	put(out, node->kind == CFG_MAP ? "}" : "]");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cfg_node *root = parse_checked(CFG_TOML, (const char *)data, size), *again;
	struct buf out = BUF_INIT(64u << 20);

	if (!root)
		return 0;
	cfg_each(root, child)
	{
		put_string(&out, child->key, strlen(child->key));
		put(&out, "=");
		put_value(&out, child);
		put(&out, "\n");
	}
	if (out.len <= CFG_TEXT_MAX) {
		again = parse_checked(CFG_TOML, out.len ? (const char *)out.data : "", out.len);
		must(again && cfg_equal(root, again));
		cfg_free(again);
	}
	buf_release(&out);
	cfg_free(root);
	return 0;
}
