/*
 * Arbitrary bytes to both parsers, in one piece and in pieces of a length that the input chooses. What must hold: spans lie inside the
 * range, both ways of feeding give the same result, what was parsed and written again parses to the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/net/client.h"
#include "core/net/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

/* Feeds a copy of exactly the bytes given, so that a read behind them is seen. */
static enum resp_state feed_request(struct resp_request *p, const uint8_t *data, size_t size, size_t step)
{
	enum resp_state state = RESP_MORE;
	size_t have = 0;

	while (state == RESP_MORE && have < size) {
		uint8_t *exact;

		have = size - have > step ? have + step : size;
		exact = mem_dup(data, have);
		state = resp_request_parse(p, exact, have);
		mem_free(exact);
	}
	return state;
}

static void write_and_read(const struct resp_request *p, const uint8_t *data)
{
	struct buf b = BUF_INIT(1 << 20);
	struct resp_request again;
	size_t i;

	must(resp_put_array(&b, p->argc) == 0);
	for (i = 0; i < p->argc; i++)
		must(resp_put_bulk(&b, data + p->argv[i].off, p->argv[i].len) == 0);
	resp_request_init(&again);
	must(resp_request_parse(&again, b.data, b.len) == RESP_WHOLE);
	must(again.argc == p->argc && again.used == b.len);
	for (i = 0; i < p->argc; i++)
		must(again.argv[i].len == p->argv[i].len &&
		     memcmp(b.data + again.argv[i].off, data + p->argv[i].off, p->argv[i].len) == 0);
	resp_request_release(&again);
	buf_release(&b);
}

static void requests(const uint8_t *data, size_t size, size_t step)
{
	struct resp_request whole, pieces;
	enum resp_state state;
	size_t i;

	resp_request_init(&whole);
	resp_request_init(&pieces);
	state = feed_request(&whole, data, size, size);
	must(feed_request(&pieces, data, size, step) == state);
	if (state == RESP_WHOLE) {
		must(whole.used <= size && whole.used == pieces.used && whole.argc == pieces.argc &&
		     whole.argc > 0);
		for (i = 0; i < whole.argc; i++) {
			must(whole.argv[i].off <= size && whole.argv[i].len <= size - whole.argv[i].off);
			must(whole.argv[i].off == pieces.argv[i].off &&
			     whole.argv[i].len == pieces.argv[i].len);
		}
		write_and_read(&whole, data);
	}
	resp_request_release(&whole);
	resp_request_release(&pieces);
}

static void replies(const uint8_t *data, size_t size)
{
	struct resp_reply p;
	size_t i;

	resp_reply_init(&p);
	p.elements_max = 4096;
	if (resp_reply_parse(&p, data, size) == RESP_WHOLE) {
		must(p.used <= size && p.count > 0 && p.count <= 4096 + 1);
		for (i = 0; i < p.count; i++)
			must(p.values[i].str.off <= size &&
			     p.values[i].str.len <= size - p.values[i].str.off);
		must(resp_value_skip(p.values, p.values + p.count) == p.values + p.count);
	}
	resp_reply_release(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_addr addr;
	struct nsinfo info;
	char *text;

	if (size < 2)
		return 0;
	requests(data + 1, size - 1, data[0] + 1u);
	replies(data + 1, size - 1);
	nsinfo_parse(&info, (const char *)data, size);
	text = mem_strndup((const char *)data, size);
	memset(&addr, 0, sizeof(addr));
	client_addr_parse(&addr, text);
	mem_free(text);
	return 0;
}
