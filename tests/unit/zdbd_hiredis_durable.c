/*
 * The extensions that speak of the disk, with hiredis as the client: SYNC EVICT CUT SPOOL STORED COMPACT, in both modes, over both kinds of socket, one by one
 * and pipelined (zdbd_play.h says how rows are read). GETRANGE and BATCH are in zdbd_hiredis_data.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>
#include <unistd.h>

#include "core/base/hex.h"
#include "core/base/log.h"
#include "tests/unit/support/zdbd_play.h"

#define NOTHING "00000000000000000000000000000000"

static const struct row words[] = {
	{"SYNC", "+OK"},
	{"SYNC INDEX", "+OK"},
	{"sync index", "+OK"},
	{"SYNC ''", "-Invalid argument"},
	{"SYNC DATA", "-Invalid argument"},
	{"SYNC INDEX x", "-Invalid argument"},
	{"EVICT", "-Unexpected arguments"},
	{"EVICT default 0", "-Unexpected arguments"},
	{"EVICT default 0 x y", "-Unexpected arguments"},
	{"EVICT default '' x", "-Invalid argument"},
	{"EVICT none 0 xxh3:" NOTHING, "-Namespace not found"},
	{"EVICT default x xxh3:" NOTHING, "-Invalid argument"},
	{"EVICT default -1 xxh3:" NOTHING, "-Invalid argument"},
	{"EVICT default 4294967296 xxh3:" NOTHING, "-Invalid argument"},
	{"EVICT default 7 xxh3:" NOTHING, "-Invalid argument"},
	{"EVICT default 0 md5:" NOTHING, "-Invalid argument"},
	{"EVICT default 0 xxh3:" NOTHING "00", "-Invalid argument"},
	{"EVICT default 0 xxh3:", "-Invalid argument"},
	{"EVICT default 0 xxh3:" NOTHING, "-Segment is active"},
	{"CUT", "[['default' :... :0 :28 :0 '\\x01...default']]"},
	{"CUT x", "[['default' :... :0 :28 :0 '\\x01...default']]"},
	{"SPOOL", "-Unexpected arguments"},
	{"SPOOL default", "-Unexpected arguments"},
	{"SPOOL default 0 x", "-Unexpected arguments"},
	{"SPOOL default ''", "-Invalid argument"},
	{"SPOOL default x", "-Invalid argument"},
	{"SPOOL none 0", "-Namespace not found"},
	{"SPOOL default 0", "-Nothing is spooled"},
	{"STORED", "-Unexpected arguments"},
	{"STORED default", "-Unexpected arguments"},
	{"STORED default 0 x", "-Unexpected arguments"},
	{"STORED default x", "-Invalid argument"},
	{"STORED none 0", "-Namespace not found"},
	{"STORED default 0", "-Nothing is spooled"},
	{"COMPACT THRESHOLD", "-Namespace not found"}, /* one word is a name */
	{"COMPACT none", "-Namespace not found"},
	{"COMPACT none KEEP", "-Invalid argument"},
	{"COMPACT default KEEP soon", "-Invalid argument"},
	{"COMPACT KEEP ''", "-Invalid argument"},
	{"COMPACT KEEP -1", "-Invalid argument"},
	{"COMPACT THRESHOLD 101", "-Invalid argument"},
	{"COMPACT THRESHOLD x", "-Invalid argument"},
	{"COMPACT default AND so on", "-Invalid argument"},
	ROWS_END,
};

static const struct row guest[] = {
	{"SYNC", "+OK"},
	{"EVICT default 0 xxh3:" NOTHING, "-Permission denied"},
	{"EVICT", "-Permission denied"},
	{"CUT", "-Permission denied"},
	{"SPOOL default 0", "-Permission denied"},
	{"STORED default 0", "-Permission denied"},
	{"COMPACT", "-Permission denied"},
	{"COMPACT none KEEP", "-Permission denied"},
	{"AUTH secret", "+OK"},
	{"CUT", "[...]"},
	ROWS_END,
};

#define FIGURES(files, rewritten)                                                                            \
	"'files: " files "\\x0arewritten: " rewritten                                                        \
	"\\x0arefused: 0\\x0aabsent: 0\\x0aleft: 0\\x0abytes_before: ...\\x0abytes_after: ..."               \
	"\\x0arecords_dropped: ...\\x0amilliseconds: ...\\x0a'"

static const struct row user_keys[] = {
	{"COMPACT", FIGURES("0", "0")},
	{"SET a @1000", "'a'"},
	{"SET b @1000", "'b'"},
	{"SET a newest", "'a'"},
	{"DEL b", "+OK"},
	{"SET c kept", "'c'"},
	{"SYNC", "+OK"},
	{"CUT", "[['default' :0 :0 :... :... '...']]"},
	{"NSJUMP", "+OK"},
	{"COMPACT default THRESHOLD 100", FIGURES("1", "0")},
	{"COMPACT default KEEP ALL", FIGURES("1", "1")}, /* what was deleted has no versions any more */
	{"HISTORY a", "['...' '...' 'newest']"},
	{"compact keep 3600 threshold 0", FIGURES("1", "...")},
	{"COMPACT default THRESHOLD 20 KEEP NONE", FIGURES("1", "1")},
	{"MGET a b c", "['newest' nil 'kept']"},
	{"HISTORY a", "[... '...' 'newest']"},
	{"SCAN", "['...' [['a' :6 :...] ['c' :4 :...]]]"},
	{"COMPACT", FIGURES("1", "0")},
	{"NSSET default lock 1", "+OK"},
	{"COMPACT", "-Namespace is temporarily locked (read-only)"},
	{"SYNC", "+OK"},
	{"NSSET default freeze 1", "+OK"},
	{"COMPACT", "-Namespace is temporarily frozen (read-write disabled)"},
	{"SYNC INDEX", "+OK"},
	{"CUT", "[['default' :0 :1 :28 :... '...']]"},
	{"NSSET default freeze 0", "+OK"},
	{"NSNEW w", "+OK"},
	{"NSSET w worm 1", "+OK"},
	{"COMPACT w", "-Namespace is protected by worm mode"},
	{"CUT", "[['default' :0 :1 :28 :... '...default'] ['w' :0 :0 :28 :0 '...w']]"},
	/* who reads the log by its offsets must not lose them */
	{"b> DATA RAW 0 28", "['a' :28 '0x...' :0 :... 'newest']"},
	{"COMPACT", "-A follower reads this namespace"},
	{"COMPACT w", "-Namespace is protected by worm mode"},
	{"c> MIRROR", "+Starting mirroring"},
	{"COMPACT", "-A mirror is attached"},
	ROWS_END,
};

static const struct row sequential[] = {
	{"SET '' @1000", "#0"},
	{"SET '' @1000", "#1"},
	{"SET '' kept", "#2"},
	{"SET #0 newest", "#0"},
	{"DEL #1", "+OK"},
	{"SYNC", "+OK"},
	{"SYNC INDEX", "+OK"},
	{"CUT", "[['default' :1 :0 :... :4 '...']]"},
	{"NSJUMP", "+OK"},
	{"COMPACT", FIGURES("1", "1")},
	{"MGET #0 #1 #2 #3", "['newest' nil 'kept' nil]"},
	{"SET '' next", "#4"},
	{"HISTORY #0", "[... '...' 'newest']"},
	{"SCAN", "['...' [[#0 :6 :...] [#2 :4 :...] [#4 :4 :...]]]"},
	ROWS_END,
};

/* Closed segments go into the spool, and once more when asked. */
static const struct row spooled[] = {
	{"SPOOL default 0", "-Segment is not closed"},
	{"SPOOL default 7", "-Segment is not closed"},
	{"NSJUMP", "+OK"},
	{"SPOOL default 0", "+OK"},
	{"spool default 0", "+OK"},
	{"SPOOL default 1", "-Segment is not closed"},
	{"STORED default 2", "-Segment is not closed"},
	{"STORED default 1", "+OK"},
	{"NSNEW x-temp", "+OK"},
	{"SELECT x-temp", "+OK"},
	{"NSJUMP", "+OK"},
	{"SPOOL x-temp 0", "-Nothing is spooled"},
	{"STORED x-temp 0", "-Nothing is spooled"},
	{"COMPACT", FIGURES("1", "0")},
	ROWS_END,
};

/* What may be compacted of a namespace that goes to the stores. */
static const struct row spooled_user[] = {
	{"COMPACT", "-A stored namespace is compacted in sequential mode and without history only"},
	ROWS_END,
};

static const struct row spooled_seq[] = {
	{"COMPACT", "-No segment of this namespace is known to be stored yet"},
	{"COMPACT KEEP ALL", "-A stored namespace is compacted in sequential mode and without history only"},
	ROWS_END,
};

static const struct row hooked[] = {
	{"NSJUMP", "+OK"},
	{"COMPACT", "-Namespace is hooked, its closed segments may not change"},
	{"SPOOL default 0", "-Nothing is spooled"},
	ROWS_END,
};

static const struct scene scenes[] = {
	{.name = "words, user keys", .mode = ZDB_USER, .rows = words},
	{.name = "words, sequential", .mode = ZDB_SEQ, .rows = words},
	{.name = "guest", .mode = ZDB_USER, .admin = "secret", .rows = guest},
	{.name = "user keys", .mode = ZDB_USER, .rows = user_keys},
	{.name = "sequential", .mode = ZDB_SEQ, .rows = sequential},
	{.name = "spool, user keys", .mode = ZDB_USER, .spool = true, .rows = spooled},
	{.name = "spool, sequential", .mode = ZDB_SEQ, .spool = true, .rows = spooled},
	{.name = "spool, user keys, compaction", .mode = ZDB_USER, .spool = true, .rows = spooled_user},
	{.name = "spool, sequential, compaction", .mode = ZDB_SEQ, .spool = true, .rows = spooled_seq},
	{.name = "hook", .mode = ZDB_USER, .hook = "/bin/true", .rows = hooked},
};

static void replies_are_as_specified(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		play(&scenes[i]);
}

/* ----------------------------------------------------------------------------------------------------------- EVICT */

/* Keeps as `name` the proof of data file 0: its bytes with the stamp taken as zero. */
static void keep_proof(struct stage *st, char name)
{
	uint8_t bytes[4096], id[16];
	char path[120], text[40];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/default/d0", st->rig.data);
	f = fopen(path, "rb");
	assert_non_null(f);
	n = fread(bytes, 1, sizeof(bytes), f);
	assert_true(n > 28 && n < sizeof(bytes));
	fclose(f);
	memset(bytes + 16, 0, 8);
	assert_int_equal(crypto_generichash(id, sizeof(id), bytes, n, NULL, 0), 0);
	memcpy(text, "b2:", 3);
	hex_encode(text + 3, id, sizeof(id));
	stage_keep(st, name, text, strlen(text));
}

static bool is_there(const struct stage *st)
{
	char path[120];

	snprintf(path, sizeof(path), "%s/default/d0", st->rig.data);
	return access(path, F_OK) == 0;
}

static void evict_by_proof(void **state)
{
	static const struct scene s[] = {{.name = "EVICT, user keys", .mode = ZDB_USER},
					 {.name = "EVICT, sequential", .mode = ZDB_SEQ}};
	struct stage *st;
	int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		st = stage_open(&s[i & 1], i & 2);
		if (i & 1) {
			stage_keep(st, 'n', "", 0);
			stage_keep(st, 'k', "\0\0\0\0\0\0\0", 8);
		} else {
			stage_keep(st, 'n', "a", 1);
			stage_keep(st, 'k', "a", 1);
		}
		stage_is(st, "SET $n value", "$k");
		stage_is(st, "NSJUMP", "+OK");
		stage_is(st, "SYNC INDEX", "+OK"); /* and behind the marker */
		keep_proof(st, 'p');
		stage_is(st, "EVICT default 0 b2:" NOTHING, "-Proof does not match");
		stage_is(st, "EVICT default 0 xxh3:" NOTHING, "-Proof does not match");
		stage_is(st, "EVICT default 1 $p", "-Segment is active");
		assert_true(is_there(st));
		stage_is(st, "evict default 0 $p", "+OK");
		assert_false(is_there(st));
		stage_is(st, "EVICT default 0 $p", "+OK"); /* it is gone already */
		/* what the index knows is answered; there is no hook to bring back the rest */
		stage_is(st, "EXISTS $k", ":1");
		stage_is(st, "LENGTH $k", ":5");
		stage_is(st, "GET $k", "-Internal Error");
		stage_is(st, "MGET $k none", "[-Internal Error nil]");
		stage_is(st, "GETRANGE $k 0 1", "-Internal Error");
		stage_is(st, "CHECK $k", ":-1");
		stage_is(st, "HISTORY $k", "-Internal Error");
		stage_is(st, "DATA RAW 0 28", "-Invalid Request");
		stage_is(st, "SET $k value", "$k"); /* never fetched to be compared: written */
		stage_is(st, "GET $k", "'value'");
		stage_close(st);
	}
}

static void every_command_has_its_rows(void **state)
{
	(void)state;
	every_command_was_played("durable");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_as_specified),
		cmocka_unit_test(evict_by_proof),
		cmocka_unit_test(every_command_has_its_rows),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_hiredis_durable", tests, NULL, NULL);
}
