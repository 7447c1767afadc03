/*
 * Lists, cursors and what lies behind a key, with hiredis as the client: SCAN SCANX RSCAN KSCAN KEYCUR HISTORY INDEX DATA, in both modes, over both
 * kinds of socket, one by one and pipelined (zdbd_play.h says how rows are read).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/endian.h"
#include "core/base/log.h"
#include "tests/unit/support/zdbd_play.h"

#define KEYS_MANY 25000 /* more than a page */

static const struct row wrong_words[] = {
	{"SCAN", "-No more data"},
	{"SCANX", "-No more data"},
	{"RSCAN", "-No more data"},
	{"SCAN short", "-Invalid key format"},
	{"SCAN ''", "-Invalid key format"},
	{"SCANX %18", "-Invalid key format"},
	{"RSCAN ''", "-Invalid key format"},
	{"SCAN %17", "-Invalid key format"}, /* the length of a cursor, and none */
	{"RSCAN %17", "-Invalid key format"},
	{"SCAN \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
	 "-Invalid key format"},
	{"KSCAN", "-Command disabled in release code, not yet available"},
	{"KSCAN a", "-Command disabled in release code, not yet available"},
	{"KSCAN a b", "-Command disabled in release code, not yet available"},
	{"KEYCUR", "-Unexpected arguments"},
	{"KEYCUR a b", "-Unexpected arguments"},
	{"KEYCUR ''", "-Invalid argument"},
	{"KEYCUR none", "-Key not found"},
	{"KEYCUR %256", "-Key not found"},
	{"HISTORY", "-Invalid arguments"},
	{"HISTORY a b c", "-Invalid arguments"},
	{"HISTORY none", "-Key not found"},
	{"HISTORY ''", "-Key not found"},
	{"HISTORY none ''", "-Invalid arguments"},
	{"HISTORY none %7", "-Invalid arguments"},
	{"HISTORY '' ''", "-Invalid arguments"},
	{"HISTORY %256", "-Key not found"},
	{"INDEX", "-Missing arguments"},
	{"INDEX ''", "-Invalid argument"},
	{"INDEX DIRTY ''", "-Invalid argument"},
	{"INDEX x", "-Unknown INDEX subcommand"},
	{"INDEX DIRT", "-Unknown INDEX subcommand"},
	{"INDEX %256", "-Unknown INDEX subcommand"},
	{"INDEX %257", "-Argument too long"},
	{"INDEX DIRTY x", "-Unknown INDEX DIRTY subcommand"},
	{"INDEX DIRTY x y", "[]"},
	{"INDEX dirty", "[]"},
	{"INDEX dirty reset", "+OK"},
	{"DATA", "-Missing arguments"},
	{"DATA RAW", "-Missing arguments"},
	{"DATA RAW 0", "-Missing arguments"},
	{"DATA RAW '' 28", "-Invalid argument"},
	{"DATA RAW 0 28 ''", "-Invalid argument"},
	{"DATA x 0 28", "-Unknown DATA subcommand"},
	{"DATA %256", "-Unknown DATA subcommand"},
	{"DATA %257", "-Argument too long"},
	{"DATA RAW 0 28", "-EOF"},
	{"DATA raw 0 28 more", "-EOF"},
	{"DATA RAW 0 4294967295", "-EOF"},
	{"DATA RAW 0 4294967296", "-Unexpected Internal Error"},
	{"DATA RAW 18446744073709551616 28", "-Unexpected Internal Error"},
	{"DATA RAW -1 28", "-Unexpected Internal Error"},
	{"DATA RAW 9 28", "-Invalid Request"},
	ROWS_END,
};

/* ------------------------------------------------------------------------------------------------------- user keys */

static const struct row user_lists[] = {
	{"SET a one 1500000001", "'a'"},
	{"SET b '' 1500000002", "'b'"},
	{"SET \\x00\\r\\n vv 4294967295", "'\\x00\\x0d\\x0a'"},
	{"SET gone x 1500000004", "'gone'"},
	{"SET a three 1500000005", "'a'"},
	{"DEL gone", "+OK"},
	/* live records in their order, an updated one at its newest place; the cursor is that of the last */
	{"=c SCAN", "['...' [['b' :0 :1500000002] ['\\x00\\x0d\\x0a' :2 :4294967295] ['a' :5 :1500000005]]]"},
	{"KEYCUR a", "$c"},
	{"SCANX", "[$c [['b' :0 :1500000002] ['\\x00\\x0d\\x0a' :2 :4294967295] ['a' :5 :1500000005]]]"},
	{"SCAN $c", "-No more data"},
	{"=d RSCAN",
	 "['...' [['a' :5 :1500000005] ['\\x00\\x0d\\x0a' :2 :4294967295] ['b' :0 :1500000002]]]"},
	{"KEYCUR b", "$d"},
	{"RSCAN $d", "-No more data"},
	{"SCAN $d", "[$c [['\\x00\\x0d\\x0a' :2 :4294967295] ['a' :5 :1500000005]]]"},
	{"SCAN $d and more", "[$c [['\\x00\\x0d\\x0a' :2 :4294967295] ['a' :5 :1500000005]]]"},
	{"RSCAN $c", "[$d [['\\x00\\x0d\\x0a' :2 :4294967295] ['b' :0 :1500000002]]]"},
	/* a cursor stays good when its key is gone, and over files */
	{"=e KEYCUR \\x00\\r\\n", "'...'"},
	{"DEL \\x00\\r\\n", "+OK"},
	{"KEYCUR \\x00\\r\\n", "-Key not found"},
	{"NSJUMP", "+OK"},
	{"NSJUMP", "+OK"},
	{"SCAN $c", "-No more data"},
	{"RSCAN", "[$d [['a' :5 :1500000005] ['b' :0 :1500000002]]]"},
	{"SET z last 1500000009", "'z'"},
	{"SCAN $e", "['...' [['a' :5 :1500000005] ['z' :4 :1500000009]]]"},
	{"RSCAN $e", "[$d [['b' :0 :1500000002]]]"},
	{"SCAN $c", "['...' [['z' :4 :1500000009]]]"},
	{"RSCAN", "[$d [['z' :4 :1500000009] ['a' :5 :1500000005] ['b' :0 :1500000002]]]"},
	ROWS_END,
};

static const struct row user_versions[] = {
	{"SET a one 1500000001", "'a'"},
	{"SET b other 1500000002", "'b'"},
	{"HISTORY a", "[nil '1500000001' 'one']"},
	{"SET a '' 1500000003", "'a'"},
	{"NSJUMP", "+OK"},
	{"SET a @70000 4294967295", "'a'"},
	{"=c HISTORY a", "['...' '4294967295' @70000]"},
	{"=d HISTORY a $c", "['...' '1500000003' '']"},
	{"HISTORY a $d", "[nil '1500000001' 'one']"},
	{"HISTORY a #0", "-No more history"},
	{"HISTORY a ''", "-Invalid arguments"},
	{"HISTORY a %7", "-Invalid arguments"},
	{"HISTORY a %9", "-Invalid arguments"},
	{"HISTORY b $c", "-Invalid arguments (invalid key)"},
	{"HISTORY a #9", "-Invalid arguments (index query)"},
	{"HISTORY a kkkkkkkk", "-Invalid arguments (index query)"},
	/* a deleted key has none, one made again begins anew */
	{"DEL a", "+OK"},
	{"HISTORY a", "-Key not found"},
	{"SET a again 1500000004", "'a'"},
	{"HISTORY a", "[nil '1500000004' 'again']"},
	/* records of the log */
	{"DATA RAW 0 28", "['a' :0 '0x...' :0 :1500000001 'one']"},
	{"DATA RAW 0 50", "['b' :28 '0x...' :0 :1500000002 'other']"},
	{"DATA RAW 0 74", "['a' :50 '0x00000000' :0 :1500000003 '']"},
	{"DATA RAW 1 28", "['a' :74 '0x...' :0 :4294967295 @70000]"},
	{"DATA RAW 1 70047", "['a' :28 '0x00000000' :1 :... nil]"},
	{"DATA RAW 0 29", "-Unexpected Internal Error"},
	{"DATA RAW 0 93", "-EOF"},
	{"DATA RAW 2 28", "-Invalid Request"},
	/* index files that were changed in place */
	{"INDEX DIRTY", "[:0 :1]"},
	{"INDEX DIRTY RESET", "+OK"},
	{"INDEX DIRTY", "[]"},
	{"SET b newer", "'b'"},
	{"INDEX DIRTY", "[:0]"},
	{"SET c appended", "'c'"},
	{"index dirty", "[:0]"},
	{"NSJUMP", "+OK"},
	{"DEL c", "+OK"},
	{"INDEX DIRTY", "[:0 :1]"},
	ROWS_END,
};

/* ------------------------------------------------------------------------------------------------------ sequential */

static const struct row sequential_lists[] = {
	{"SET '' zero 1500000000", "#0"},
	{"SET '' one 1500000001", "#1"},
	{"SET '' '' 1500000002", "#2"},
	{"SET #0 newest 1500000003", "#0"},
	{"SET '' four 4294967295", "#4"},
	{"DEL #1", "+OK"},
	{"KEYCUR #1", "-Key not found"},
	{"KEYCUR #3", "-Key not found"},
	{"KEYCUR abc", "-Key not found"},
	{"KEYCUR #99", "-Key not found"},
	/* in the order of ids */
	{"=c SCAN", "['...' [[#0 :6 :1500000003] [#2 :0 :1500000002] [#4 :4 :4294967295]]]"},
	{"KEYCUR #4", "$c"},
	{"SCANX", "[$c [[#0 :6 :1500000003] [#2 :0 :1500000002] [#4 :4 :4294967295]]]"},
	{"SCAN $c", "-No more data"},
	{"=d RSCAN", "['...' [[#4 :4 :4294967295] [#2 :0 :1500000002] [#0 :6 :1500000003]]]"},
	{"KEYCUR #0", "$d"},
	{"RSCAN $d", "-No more data"},
	{"SCAN $d", "[$c [[#2 :0 :1500000002] [#4 :4 :4294967295]]]"},
	{"RSCAN $c", "[$d [[#2 :0 :1500000002] [#0 :6 :1500000003]]]"},
	/* an update rewrites the record: the cursor to it is gone with what it named */
	{"SET #0 other 1500000005", "#0"},
	{"SCAN $d", "-Invalid key format"},
	{"RSCAN $d", "-Invalid key format"},
	{"NSJUMP", "+OK"},
	{"SET '' six 1500000006", "#6"},
	{"SCAN $c", "['...' [[#6 :3 :1500000006]]]"},
	{"RSCAN",
	 "['...' [[#6 :3 :1500000006] [#4 :4 :4294967295] [#2 :0 :1500000002] [#0 :5 :1500000005]]]"},
	/* versions: the copies */
	{"=e HISTORY #0", "['...' '1500000005' 'other']"},
	{"=f HISTORY #0 $e", "['...' '1500000003' 'newest']"},
	{"HISTORY #0 $f", "[nil '1500000000' 'zero']"},
	{"HISTORY #0 #0", "-No more history"},
	{"HISTORY #0 short", "-Invalid arguments"},
	{"HISTORY #2 $e", "-Invalid arguments (invalid key)"},
	{"HISTORY #2", "[nil '1500000002' '']"},
	{"HISTORY #1", "-Key not found"},
	{"HISTORY #3", "-Key not found"},
	/* the log and the index */
	{"DATA RAW 0 28", "[#0 :0 '0x...' :0 :1500000000 'zero']"},
	{"DATA RAW 0 58", "[#1 :28 '0x...' :0 :1500000001 'one']"},
	{"DATA RAW 0 87", "[#2 :58 '0x00000000' :0 :1500000002 '']"},
	{"DATA RAW 1 28", "[#6 :... '0x...' :0 :1500000006 'six']"},
	{"INDEX DIRTY", "[:0]"},
	{"INDEX DIRTY RESET", "+OK"},
	{"INDEX DIRTY", "[]"},
	{"SET #6 again", "#6"},
	{"INDEX DIRTY", "[:1]"},
	ROWS_END,
};

/* -------------------------------------------------------------------------------------------------------- the tests */

static const struct scene scenes[] = {
	{.name = "wrong words, user keys", .mode = ZDB_USER, .rows = wrong_words},
	{.name = "wrong words, sequential", .mode = ZDB_SEQ, .rows = wrong_words},
	{.name = "lists of user keys", .mode = ZDB_USER, .rows = user_lists},
	{.name = "versions of user keys", .mode = ZDB_USER, .rows = user_versions},
	{.name = "sequential", .mode = ZDB_SEQ, .rows = sequential_lists},
};

static void replies_are_as_specified(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		play(&scenes[i]);
}

/* Makes KEYS_MANY records of `n % 50` bytes, a few files of them. */
static void fill(struct stage *st, bool sequential)
{
	char ask[64];
	int i, k;

	for (i = 0; i < KEYS_MANY; i += 500) {
		for (k = i; k < i + 500; k++) {
			if (sequential)
				snprintf(ask, sizeof(ask), "SET '' @%d", k % 50);
			else
				snprintf(ask, sizeof(ask), "SET #%d @%d", k, k % 50);
			stage_send(st, ask);
		}
		for (k = i; k < i + 500; k++) {
			snprintf(ask, sizeof(ask), "#%d", k);
			stage_got(st, "SET", ask);
		}
	}
}

/* Takes one page. Every key on it is the one that comes next. Their number. */
static unsigned page(const redisReply *r, bool backward, unsigned seen)
{
	const redisReply *list = r->element[1];
	size_t i;

	assert_true(list->elements > 0);
	for (i = 0; i < list->elements; i++) {
		const redisReply *e = list->element[i];
		unsigned want = seen + (unsigned)i;

		if (backward)
			want = KEYS_MANY - 1 - want;
		assert_int_equal(e->elements, 3);
		assert_int_equal(e->element[0]->len, 8);
		assert_int_equal(get_u64le((const uint8_t *)e->element[0]->str), want);
		assert_int_equal(e->element[1]->type, REDIS_REPLY_INTEGER);
		assert_int_equal(e->element[1]->integer, want % 50);
	}
	return (unsigned)list->elements;
}

/* With each page's cursor to the end: every key once, in order. */
static void walk(struct stage *st, const char *command)
{
	bool backward = command[0] == 'R';
	unsigned seen = 0, pages = 0;
	char ask[16];
	redisReply *r;

	snprintf(ask, sizeof(ask), "%s", command);
	while ((r = stage_ask(st, ask))->type == REDIS_REPLY_ARRAY) {
		assert_int_equal(r->elements, 2);
		assert_int_equal(r->element[0]->len, ZDB_CURSOR_SIZE);
		seen += page(r, backward, seen);
		pages++;
		stage_keep(st, 'c', r->element[0]->str, r->element[0]->len);
		snprintf(ask, sizeof(ask), "%s $c", command);
		freeReplyObject(r);
	}
	assert_string_equal(r->str, "No more data");
	freeReplyObject(r);
	assert_int_equal(seen, KEYS_MANY);
	assert_true(pages > 1);
}

static void cursors_lead_to_the_end(void **state)
{
	static const struct scene s[] = {{.name = "pages, user keys", .mode = ZDB_USER},
					 {.name = "pages, sequential", .mode = ZDB_SEQ}};
	struct stage *st;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		st = stage_open(&s[i], i == 1);
		fill(st, i == 1);
		walk(st, "SCAN");
		walk(st, "SCANX");
		walk(st, "RSCAN");
		stage_close(st);
	}
}

static void every_command_has_its_rows(void **state)
{
	(void)state;
	every_command_was_played("cursors");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_as_specified),
		cmocka_unit_test(cursors_lead_to_the_end),
		cmocka_unit_test(every_command_has_its_rows),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_hiredis_cursors", tests, NULL, NULL);
}
