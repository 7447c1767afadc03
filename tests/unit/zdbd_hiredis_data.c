/*
 * The commands on single records, with hiredis as the client: SET SETX GET MGET DEL EXISTS CHECK LENGTH KEYTIME DBSIZE GETRANGE BATCH, in both
 * modes, over both kinds of socket, one by one and pipelined (zdbd_play.h says how rows are read).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "tests/unit/support/zdbd_play.h"

#define WORDS_MOST 1024 /* of one request */

/* ---------------------------------------------------------------------------------- words that are wrong in any mode */

static const struct row wrong_words[] = {
	{"SET", "-Unexpected arguments"},
	{"SET k", "-Unexpected arguments"},
	{"SET k v 1 x", "-Unexpected arguments"},
	{"SET %256 v", "-Key too large"},
	{"SETX k", "-Unexpected arguments"},
	{"SETX k v 1 x", "-Unexpected arguments"},
	{"SETX %256 v", "-Key too large"},
	{"GET", "-Unexpected arguments"},
	{"GET a b", "-Unexpected arguments"},
	{"GET ''", "-Invalid argument"},
	{"GET %256", "-Invalid key"},
	{"MGET", "-Invalid arguments"},
	{"MGET a %256 b", "-Invalid key"},
	{"DEL", "-Unexpected arguments"},
	{"DEL a 1 x", "-Unexpected arguments"},
	{"DEL ''", "-Invalid argument"},
	{"DEL a soon", "-Invalid argument"},
	{"DEL a ''", "-Invalid argument"},
	{"DEL a -1", "-Invalid argument"},
	{"DEL %256", "-Invalid key"},
	{"EXISTS", "-Unexpected arguments"},
	{"EXISTS a b", "-Unexpected arguments"},
	{"EXISTS ''", "-Invalid argument"},
	{"EXISTS %256", "-Invalid key"},
	{"CHECK", "-Unexpected arguments"},
	{"CHECK a b", "-Unexpected arguments"},
	{"CHECK ''", "-Invalid argument"},
	{"CHECK %256", "-Invalid key"},
	{"LENGTH", "-Unexpected arguments"},
	{"LENGTH a b", "-Unexpected arguments"},
	{"LENGTH ''", "-Invalid argument"},
	{"LENGTH %256", "-Invalid key"},
	{"KEYTIME", "-Unexpected arguments"},
	{"KEYTIME a b", "-Unexpected arguments"},
	{"KEYTIME ''", "-Invalid argument"},
	{"KEYTIME %256", "-Invalid key"},
	{"GETRANGE a 0", "-Unexpected arguments"},
	{"GETRANGE a 0 1 2", "-Unexpected arguments"},
	{"GETRANGE a '' 1", "-Invalid argument"},
	{"GETRANGE a x 1", "-Invalid argument"},
	{"GETRANGE a 0 -1", "-Invalid argument"},
	{"GETRANGE a 0 18446744073709551616", "-Invalid argument"},
	{"GETRANGE %256 0 1", "-Invalid key"},
	{"BATCH", "-Invalid arguments"},
	{"BATCH GET a", "-Invalid arguments"},
	{"BATCH SET a", "-Invalid arguments"},
	{"BATCH DEL", "-Invalid arguments"},
	{"BATCH SETX a b", "-Invalid arguments"},
	{"BATCH SET a b DEL", "-Invalid arguments"},
	{"EXISTS a", ":0"}, /* nothing of that was done */
	{"DBSIZE", ":0"},
	{"DBSIZE and more", ":0"},
	/* names: in any case, never a part of one */
	{"sEt", "-Unexpected arguments"},
	{"SE k v", "-Command not supported"},
	{"GETRANGES", "-Command not supported"},
	{"''", "-Command not supported"},
	ROWS_END,
};

/* ------------------------------------------------------------------------------------------------------- user keys */

static const struct row user_keys[] = {
	/* what SET answers: the key, nil when nothing changed */
	{"SET a hello", "'a'"},
	{"SET a hello", "nil"},
	{"set a other", "'a'"},
	{"SETX a other", "nil"},
	{"SETX b ''", "'b'"},
	{"SET '' v", "-Invalid argument, key needed"},
	{"SET '' ''", "-Invalid argument, key needed"},
	{"SET c '' 1500000000", "'c'"},
	{"GET a", "'other'"},
	{"GET b", "''"},
	{"GET none", "nil"},
	{"EXISTS a", ":1"},
	{"EXISTS none", ":0"},
	{"LENGTH a", ":5"},
	{"LENGTH b", ":0"},
	{"LENGTH none", "nil"},
	{"CHECK a", ":1"},
	{"CHECK b", ":1"},
	{"CHECK none", "nil"},
	{"KEYTIME a", ":..."},
	{"KEYTIME c", ":1500000000"},
	{"KEYTIME none", "nil"},
	{"DBSIZE", ":3"},
	{"MGET a none '' b a", "['other' nil nil '' 'other']"},
	{"MGET none", "[nil]"},
	/* keys and values of any bytes */
	{"SET \\x00\\r\\n$4\\xff v\\x00\\r\\n*1", "'\\x00\\x0d\\x0a$4\\xff'"},
	{"GET \\x00\\r\\n$4\\xff", "'v\\x00\\x0d\\x0a*1'"},
	{"SET %255 long", "%255"},
	{"GET %255", "'long'"},
	{"GET %254", "nil"},
	{"SET 'a b' 'c d'", "'a b'"},
	{"MGET 'a b' %255", "['c d' 'long']"},
	/* times: decimal, cut to 32 bits; what is no number is 0 */
	{"SET t v 1234567890", "'t'"},
	{"KEYTIME t", ":1234567890"},
	{"SET t v 99", "nil"},
	{"KEYTIME t", ":1234567890"},
	{"SET t w 4294967295", "'t'"},
	{"KEYTIME t", ":4294967295"},
	{"SET t x 4294967297", "'t'"},
	{"KEYTIME t", ":1"},
	{"SET t y soon", "'t'"},
	{"KEYTIME t", ":0"},
	/* what 64 bits do not hold is the largest number, or the smallest, and that is cut */
	{"SET t 1 18446744073709551617", "'t'"},
	{"KEYTIME t", ":4294967295"},
	{"SET t 2 -9223372036854775807", "'t'"},
	{"KEYTIME t", ":1"},
	{"SET t 3 -9223372036854775809", "'t'"},
	{"KEYTIME t", ":0"},
	{"SET t 4 99999999999999999999", "'t'"},
	{"KEYTIME t", ":4294967295"},
	{"SET t z ''", "'t'"},
	{"KEYTIME t", ":0"},
	/* deleting */
	{"DEL t 77", "+OK"},
	{"DEL t", "-Key not found"},
	{"DEL none 77", "-Key not found"},
	{"GET t", "nil"},
	{"CHECK t", "nil"},
	{"KEYTIME t", "nil"},
	{"EXISTS t", ":0"},
	{"SET t again", "'t'"},
	{"DEL t", "+OK"},
	{"DBSIZE", ":6"},
	/* ranges: both ends count, cut at the end of the value */
	{"GETRANGE a 0 4", "'other'"},
	{"GETRANGE a 0 0", "'o'"},
	{"GETRANGE a 1 2", "'th'"},
	{"GETRANGE a 3 99", "'er'"},
	{"GETRANGE a 4 18446744073709551615", "'r'"},
	{"GETRANGE a 5 9", "''"},
	{"GETRANGE a 2 1", "''"},
	{"GETRANGE b 0 0", "''"},
	{"GETRANGE none 0 1", "nil"},
	/* batches: one reply for each member, errors among them, in order */
	{"BATCH SET x 1 del x DEL x set x 2 SET x 2", "['x' +OK -Key not found 'x' nil]"},
	{"BATCH SET '' v SET %256 v DEL %256 SET y ''",
	 "[-Invalid argument, key needed -Key too large -Invalid key 'y']"},
	{"MGET x y", "['2' '']"},
	{"BATCH DEL x", "[+OK]"},
	/* across a rotation, the old file is read */
	{"NSJUMP", "+OK"},
	{"MGET a b %255 x", "['other' '' 'long' nil]"},
	{"SET a hello", "'a'"},
	{"DEL b", "+OK"},
	{"NSJUMP", "+OK"},
	{"MGET a b c", "['hello' nil '']"},
	{"CHECK a", ":1"},
	{"GETRANGE a 1 3", "'ell'"},
	{"DBSIZE", ":6"},
	ROWS_END,
};

/* ------------------------------------------------------------------------------------------------------ sequential */

static const struct row sequential[] = {
	{"SET '' zero", "#0"},
	{"SET '' one", "#1"},
	{"SETX '' ''", "#2"},
	/* an update takes an id for the copy of what was there, which never becomes a key */
	{"SET #0 newer", "#0"},
	{"SET #0 newer", "nil"},
	{"SETX '' four 1500000000", "#4"},
	{"GET #3", "nil"},
	{"EXISTS #3", ":0"},
	{"SET #3 x", "-Invalid key, only update authorized"},
	{"DEL #3", "-Key not found"},
	{"GET #0", "'newer'"},
	{"GET #2", "''"},
	{"GET #99", "nil"},
	{"GET abc", "nil"},
	{"GET 123456789", "nil"},
	{"SET abc x", "-Invalid key, only update authorized"},
	{"SET #99 x", "-Invalid key, only update authorized"},
	{"DEL abc", "-Key not found"},
	{"DEL #99", "-Key not found"},
	{"EXISTS #1", ":1"},
	{"EXISTS abc", ":0"},
	{"LENGTH #1", ":3"},
	{"LENGTH #2", ":0"},
	{"LENGTH abc", "nil"},
	{"LENGTH #99", "nil"},
	{"CHECK #1", ":1"},
	{"CHECK #3", "nil"},
	{"CHECK abc", "nil"},
	{"KEYTIME #4", ":1500000000"},
	{"KEYTIME #99", "nil"},
	{"DBSIZE", ":4"},
	{"MGET #0 #3 '' abc #2", "['newer' nil nil nil '']"},
	{"GETRANGE #0 1 2", "'ew'"},
	{"GETRANGE #3 0 9", "nil"},
	{"GETRANGE #2 0 9", "''"},
	/* a deleted id is gone for good, and takes no other */
	{"DEL #1 77", "+OK"},
	{"DEL #1", "-Key not found"},
	{"SET #1 x", "-Invalid key, only update authorized"},
	{"GET #1", "nil"},
	{"SET '' five", "#5"},
	{"BATCH SET '' six SET '' seven DEL #6 SET #6 x SET #5 newer",
	 "[#6 #7 +OK -Invalid key, only update authorized #5]"},
	{"MGET #5 #6 #7 #8", "['newer' nil 'seven' nil]"},
	{"SET '' \\x00\\r\\n\\xff", "#9"},
	{"GET #9", "'\\x00\\x0d\\x0a\\xff'"},
	{"NSJUMP", "+OK"},
	{"SET #0 newest", "#0"},
	{"SET '' eleven", "#11"},
	{"MGET #0 #4 #10 #11", "['newest' 'four' nil 'eleven']"},
	{"DBSIZE", ":7"},
	ROWS_END,
};

/* ----------------------------------------------------------------------------------------------------------- sizes */

/* Around what is gathered, sent from the file, and rotated for (files of 512 KiB); 8 MiB is the largest. */
static const struct row user_sizes[] = {
	{"SET s0 @0", "'s0'"},
	{"SET s1 @1", "'s1'"},
	{"SET s2 @65536", "'s2'"},
	{"SET s3 @65537", "'s3'"},
	{"SET s4 @524288", "'s4'"},
	{"SET s5 @1048576", "'s5'"},
	{"SET s6 @8388608", "'s6'"},
	{"SET s6 @8388608", "nil"},
	{"GET s0", "''"},
	{"GET s1", "'\\x00'"},
	{"GET s2", "@65536"},
	{"GET s3", "@65537"},
	{"GET s4", "@524288"},
	{"GET s5", "@1048576"},
	{"GET s6", "@8388608"},
	{"LENGTH s6", ":8388608"},
	{"CHECK s6", ":1"},
	{"GETRANGE s6 0 65535", "@65536"},
	{"GETRANGE s6 0 8388606", "@8388607"},
	{"GETRANGE s6 8388607 8388607", "'\\xe0'"},
	{"GETRANGE s6 8388608 8388608", "''"},
	{"MGET s2 none s5 s0 s6 s1", "[@65536 nil @1048576 '' @8388608 '\\x00']"},
	{"HISTORY s5", "[nil '...' @1048576]"},
	{"SET s6 @4096", "'s6'"},
	{"GET s6", "@4096"},
	{"DEL s5", "+OK"},
	{"MGET s4 s5 s6", "[@524288 nil @4096]"},
	{"BATCH SET b1 @1048576 SET b2 @65536 DEL b1", "['b1' 'b2' +OK]"},
	{"MGET b1 b2", "[nil @65536]"},
	{"DBSIZE", ":7"},
	ROWS_END,
};

static const struct row sequential_sizes[] = {
	{"SET '' @0", "#0"},
	{"SET '' @1", "#1"},
	{"SET '' @65536", "#2"},
	{"SET '' @1048576", "#3"},
	{"SET '' @8388608", "#4"},
	{"SET #4 @8388608", "nil"},
	{"GET #2", "@65536"},
	{"GET #3", "@1048576"},
	{"GET #4", "@8388608"},
	{"SET #1 @1048576", "#1"},
	{"MGET #0 #1 #2 #5 #4", "['' @1048576 @65536 nil @8388608]"},
	{"GETRANGE #4 0 99", "@100"},
	{"CHECK #4", ":1"},
	{"LENGTH #4", ":8388608"},
	{"DEL #4", "+OK"},
	{"GET #4", "nil"},
	ROWS_END,
};

/* -------------------------------------------------------------------------------------------------------- the tests */

static const struct scene scenes[] = {
	{.name = "wrong words, user keys", .mode = ZDB_USER, .rows = wrong_words},
	{.name = "wrong words, sequential", .mode = ZDB_SEQ, .rows = wrong_words},
	{.name = "user keys", .mode = ZDB_USER, .rows = user_keys},
	{.name = "sequential", .mode = ZDB_SEQ, .rows = sequential},
	{.name = "sizes, user keys", .mode = ZDB_USER, .rows = user_sizes},
	{.name = "sizes, sequential", .mode = ZDB_SEQ, .rows = sequential_sizes},
};

static void replies_are_as_specified(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		play(&scenes[i]);
}

/* Who speaks of a time must be an admin; who speaks of none need not. */
static void times_are_for_admins(void **state)
{
	static const struct row rows[] = {
		{"SET a v", "'a'"},
		{"SET a v 1", "-Permission denied"},
		{"SETX a v 1", "-Permission denied"},
		{"DEL a 1", "-Permission denied"},
		{"DEL a soon", "-Permission denied"},
		{"GET a", "'v'"},
		{"b> AUTH secret", "+OK"},
		{"b> SET a w 1", "'a'"},
		{"KEYTIME a", ":1"},
		{"b> DEL a 2", "+OK"},
		ROWS_END,
	};
	static const struct scene s = {.name = "times", .mode = ZDB_USER, .admin = "secret", .rows = rows};

	(void)state;
	play(&s);
}

/* A request of `count` words: `name`, then `word` again and again. */
static char *ask_many(struct stage *st, const char *name, const char *word, size_t len, size_t count)
{
	const char **words = malloc(sizeof(*words) * count);
	size_t *lens = malloc(sizeof(*lens) * count), i;
	redisReply *r;
	char *text;

	assert_true(words && lens);
	for (i = 0; i < count; i++) {
		words[i] = i ? word : name;
		lens[i] = i ? len : strlen(name);
	}
	r = stage_ask_words(st, count, words, lens);
	text = reply_shown(r);
	if (r)
		freeReplyObject(r);
	else
		stage_hang_up(st, 'a');
	free(words);
	free(lens);
	return text;
}

static void many_words(struct stage *st)
{
	char *text = ask_many(st, "MGET", "a", 1, WORDS_MOST);
	size_t i;

	for (i = 0; i < WORDS_MOST - 1; i++)
		assert_memory_equal(text + 1 + i * 4, "'v'", 3);
	assert_string_equal(text + 1 + i * 4 - 1, "]");
	free(text);
	text = ask_many(st, "MGET", "a", 1, WORDS_MOST + 1);
	assert_string_equal(text, "-Too many arguments");
	free(text);
	stage_got(st, "MGET", "(closed)");
}

/* The header of a word that is too long is answered, and ends the connection. */
static void too_big(struct stage *st)
{
	stage_send_bytes(st, "*2\r\n$3\r\nGET\r\n$8388609\r\n");
	stage_got(st, "GET", "-Payload too big");
	stage_got(st, "GET", "(closed)");
}

static void the_bounds_of_a_request(void **state)
{
	static const struct scene s = {.name = "bounds", .mode = ZDB_USER};
	struct stage *st;
	int tcp;

	(void)state;
	for (tcp = 0; tcp < 2; tcp++) {
		st = stage_open(&s, tcp);
		stage_is(st, "SET a v", "'a'");
		many_words(st);
		too_big(st);
		stage_is(st, "GET a", "'v'");
		stage_close(st);
	}
}

/* Ten thousand requests before the first reply is read. */
static void a_long_pipeline(void **state)
{
	static const struct scene s = {.name = "pipeline", .mode = ZDB_SEQ};
	struct stage *st;
	char want[32];
	int i;

	(void)state;
	st = stage_open(&s, true);
	for (i = 0; i < 5000; i++) {
		stage_send(st, "SET '' @20");
		stage_send(st, "PING");
	}
	for (i = 0; i < 5000; i++) {
		snprintf(want, sizeof(want), "#%d", i);
		stage_got(st, "SET", want);
		stage_got(st, "PING", "+PONG");
	}
	stage_close(st);
}

static void every_command_has_its_rows(void **state)
{
	(void)state;
	every_command_was_played("data");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_as_specified),   cmocka_unit_test(times_are_for_admins),
		cmocka_unit_test(the_bounds_of_a_request),    cmocka_unit_test(a_long_pipeline),
		cmocka_unit_test(every_command_has_its_rows),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_hiredis_data", tests, NULL, NULL);
}
