/*
 * Namespaces, with hiredis as the client: NSNEW NSDEL NSLIST NSSET NSINFO NSJUMP SELECT RELOAD FLUSH, in both modes, over both kinds of socket, one by
 * one and pipelined (zdbd_play.h says how rows are read).
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
#include "core/net/sha1.h"
#include "tests/unit/support/zdbd_play.h"

static const struct row wrong_words[] = {
	{"NSNEW", "-Unexpected arguments"},
	{"NSNEW a b", "-Unexpected arguments"},
	{"NSNEW ''", "-Invalid argument"},
	{"NSNEW %129", "-Namespace too long"},
	{"NSNEW default", "-This name is not allowed"},
	{"NSNEW .", "-This name is not allowed"},
	{"NSNEW ..", "-This name is not allowed"},
	{"NSNEW .lockfile", "-This name is not allowed"},
	{"NSNEW a/b", "-This name is not allowed"},
	{"NSNEW \\x00", "-This name is not allowed"},
	{"NSDEL", "-Unexpected arguments"},
	{"NSDEL a b", "-Unexpected arguments"},
	{"NSDEL ''", "-Invalid argument"},
	{"NSDEL %129", "-Namespace too long"},
	{"NSDEL default", "-Cannot remove default namespace"},
	{"NSDEL default\\x00x", "-Cannot remove default namespace"},
	{"NSDEL none", "-This namespace doesn't exists"},
	{"NSLIST", "['default']"},
	{"NSLIST and more", "['default']"},
	{"NSINFO", "-Unexpected arguments"},
	{"NSINFO a b", "-Unexpected arguments"},
	{"NSINFO ''", "-Invalid argument"},
	{"NSINFO %129", "-Namespace too long"},
	{"NSINFO none", "-Namespace not found"},
	{"NSSET", "-Unexpected arguments"},
	{"NSSET default lock", "-Unexpected arguments"},
	{"NSSET default lock 1 x", "-Unexpected arguments"},
	{"NSSET default lock ''", "-Invalid argument"},
	{"NSSET '' lock 1", "-Invalid argument"},
	{"NSSET %129 lock 1", "-Namespace too long"},
	{"NSSET none lock 1", "-Namespace not found"},
	{"NSSET none %257 1", "-Argument too long"},
	{"NSSET none maxsize %64", "-Argument too long"},
	{"NSSET default %256 1", "-Cannot update default namespace"},
	{"NSSET default none 1", "-Cannot update default namespace"},
	{"NSSET default maxsize 1", "-Cannot update default namespace"},
	{"NSSET default password x", "-Cannot update default namespace"},
	{"NSSET default mode x", "-This server instance is configured to use a single runtime mode"},
	{"SELECT", "-Invalid argument"},
	{"SELECT ''", "-Namespace not found"},
	{"SELECT none", "-Namespace not found"},
	{"SELECT %129", "-Namespace too long"},
	{"SELECT default", "+OK"},
	{"SELECT default\\x00x", "+OK"},
	{"SELECT default and more of them", "+OK"},
	{"RELOAD", "-Unexpected arguments"},
	{"RELOAD a b", "-Unexpected arguments"},
	{"RELOAD ''", "-Invalid argument"},
	{"RELOAD none", "-Namespace not found"},
	{"RELOAD %129", "-Namespace too long"},
	{"FLUSH", "-Flushing public namespace denied"},
	{"FLUSH and more", "-Flushing public namespace denied"},
	{"NSJUMP", "+OK"},
	{"NSJUMP and more", "+OK"},
	ROWS_END,
};

/* Made, entered, removed. In user mode. */
static const struct row life[] = {
	{"NSNEW one", "+OK"},
	{"NSNEW one", "-This namespace is not available"},
	{"NSNEW cut\\x00off", "+OK"},
	{"NSNEW cut", "-This namespace is not available"},
	{"NSNEW %128", "+OK"},
	{"NSLIST", "['default' 'one' 'cut' %128]"},
	{"SELECT %128", "+OK"},
	{"SELECT default", "+OK"},
	{"NSDEL %128", "+OK"},
	{"SET a v", "'a'"},
	{"SELECT one", "+OK"},
	{"GET a", "nil"},
	{"SET a w", "'a'"},
	{"b> GET a", "'v'"},
	{"b> SELECT one", "+OK"},
	{"b> GET a", "'w'"},
	{"NSDEL one", "-Cannot remove namespace you're currently using."},
	{"NSDEL cut", "+OK"},
	{"SELECT default", "+OK"},
	{"SELECT none", "-Namespace not found"}, /* and it stays where it is */
	{"GET a", "'v'"},
	/* closed files stay what they are, a reload reads them all */
	{"SELECT one", "+OK"},
	{"NSJUMP", "+OK"},
	{"SET b x", "'b'"},
	{"RELOAD one", "+OK"},
	{"MGET a b", "['w' 'x']"},
	{"b> MGET a b", "['w' 'x']"},
	{"b> DBSIZE", ":2"},
	{"SELECT default", "+OK"},
	{"NSDEL one", "+OK"},
	{"NSDEL one", "-This namespace doesn't exists"},
	{"NSLIST", "['default']"},
	/* who was in it is told whatever it asks, and cut */
	{"b> NOSUCH", "-Your active namespace is not available anymore (probably removed)."},
	{"b> PING", "(closed)"},
	/* a name that comes back is a new namespace */
	{"NSNEW one", "+OK"},
	{"SELECT one", "+OK"},
	{"GET a", "nil"},
	{"DBSIZE", ":0"},
	ROWS_END,
};

static const struct row life_sequential[] = {
	{"NSNEW one", "+OK"},
	{"NSNEW one", "-This namespace is not available"},
	{"SELECT one", "+OK"},
	{"SET '' zero", "#0"},
	{"NSJUMP", "+OK"},
	{"SET '' one", "#1"},
	{"SET #0 newer", "#0"},
	{"RELOAD one", "+OK"},
	{"MGET #0 #1 #2", "['newer' 'one' nil]"},
	{"SET '' three", "#3"},
	{"NSSET one password pw", "+OK"},
	{"NSSET one public 0", "+OK"},
	{"FLUSH", "+OK"},
	{"DBSIZE", ":0"},
	{"SET '' zero", "#0"},
	{"SELECT default", "+OK"},
	{"GET #0", "nil"},
	{"NSDEL one", "+OK"},
	{"NSLIST", "['default']"},
	ROWS_END,
};

/* ------------------------------------------------------------------------------------------------------ properties */

static const struct row limits[] = {
	{"NSNEW one", "+OK"},
	{"NSSET one none 1", "-Invalid property"},
	{"NSSET one Lock 1", "-Invalid property"},
	{"NSSET one locks 1", "-Invalid property"},
	{"NSSET one mode seq", "-This server instance is configured to use a single runtime mode"},
	{"SELECT one", "+OK"},
	{"SET k v", "'k'"},
	/* what is stored and what comes together, less what it replaces */
	{"NSSET one maxsize 10", "+OK"},
	{"SET m 0123456789", "-No space left on this namespace"},
	{"SET m 012345678", "'m'"},
	{"SET n x", "-No space left on this namespace"},
	{"SET m 876543210", "'m'"},
	{"SET m x", "'m'"},
	{"SET n x", "'n'"},
	{"NSSET one maxsize 1k", "+OK"}, /* a number, and what follows is not read */
	{"SET o xx", "-No space left on this namespace"},
	{"BATCH DEL n SET o x", "[+OK -No space left on this namespace]"},
	{"NSSET one maxsize -1", "+OK"}, /* 2^64-1: with what is replaced it would pass 2^64 */
	{"SET o xx", "'o'"},
	{"SET o yyyy", "'o'"},
	{"NSSET one maxsize 0", "+OK"},
	{"SET n x", "'n'"},
	/* worm: what is new is welcome */
	{"NSSET one worm 1x", "+OK"},
	{"SET n x", "-Namespace is protected by worm mode"},
	{"SET n y", "-Namespace is protected by worm mode"},
	{"SET new x", "'new'"},
	{"DEL n", "-Cannot delete a key when namespace is in worm mode"},
	{"DEL none", "-Key not found"},
	{"NSSET one worm 0", "+OK"},
	{"DEL n", "+OK"},
	{"NSSET one worm yes", "+OK"}, /* not on: no 1 in front */
	{"DEL new", "+OK"},
	/* one lock of three states */
	{"NSSET one lock 1", "+OK"},
	{"SET k w", "-Namespace is temporarily locked (read-only)"},
	{"NSSET one freeze 1", "+OK"},
	{"SET k w", "-Namespace is temporarily frozen (read-write disabled)"},
	{"GET k", "-Namespace is temporarily frozen (read-write disabled)"},
	{"NSSET one lock 0", "+OK"},
	{"GET k", "'v'"},
	{"NSSET one freeze 1", "+OK"},
	{"NSSET one freeze 0", "+OK"},
	{"SET k w", "'k'"},
	{"NSSET default lock 1", "+OK"},
	{"b> SET k w", "-Namespace is temporarily locked (read-only)"},
	{"NSSET default freeze 1", "+OK"},
	{"b> GET k", "-Namespace is temporarily frozen (read-write disabled)"},
	{"NSSET default freeze 0", "+OK"},
	{"b> SET k w", "'k'"},
	ROWS_END,
};

static const struct row mixed[] = {
	{"NSNEW q", "+OK"},
	{"NSSET q mode x", "-Invalid property value (expected: user, seq)"},
	{"NSSET q mode SEQ", "-Invalid property value (expected: user, seq)"},
	{"NSSET q mode seq", "+OK"},
	{"SELECT q", "+OK"},
	{"SET k v", "-Invalid key, only update authorized"},
	{"SET '' v", "#0"},
	{"NSSET q mode user", "-Cannot change mode of used namespace"},
	{"NSSET q mode x", "-Cannot change mode of used namespace"},
	{"NSINFO q", "'...\\x0amode: sequential\\x0a...'"},
	{"NSINFO default", "'...\\x0amode: userkey\\x0a...'"},
	{"NSNEW u", "+OK"},
	{"SELECT u", "+OK"},
	{"SET k v", "'k'"},
	{"DEL k", "+OK"},
	{"NSSET u mode seq", "-Cannot change mode of used namespace"},
	{"NSSET default mode seq", "+OK"},
	{"NSINFO default", "'...\\x0amode: sequential\\x0a...'"},
	ROWS_END,
};

/* ----------------------------------------------------------------------------------------------------- permissions */

static const struct row guest[] = {
	{"NSNEW one", "-Permission denied"},
	{"NSNEW", "-Permission denied"}, /* before the words are counted */
	{"NSDEL one", "-Permission denied"},
	{"NSSET default lock 1", "-Permission denied"},
	{"NSJUMP", "-Permission denied"},
	{"RELOAD default", "-Permission denied"},
	{"NSLIST", "['default']"},
	{"NSINFO default", "'...'"},
	{"NSINFO none", "-Namespace not found"},
	{"FLUSH", "-Flushing public namespace denied"},
	{"b> AUTH secret", "+OK"},
	{"b> NSNEW one", "+OK"},
	{"b> NSSET one password pw", "+OK"},
	{"b> NSSET one public 1", "+OK"},
	/* public: to be read by everybody, an admin too needs the password to write */
	{"SELECT one", "+OK"},
	{"GET k", "nil"},
	{"SET k v", "-Namespace is in read-only mode"},
	{"DEL k", "-Namespace is in read-only mode"},
	{"BATCH SET k v DEL k", "[-Namespace is in read-only mode -Namespace is in read-only mode]"},
	{"FLUSH", "-Flushing public namespace denied"},
	{"b> SELECT one", "+OK"},
	{"b> SET k v", "-Namespace is in read-only mode"},
	{"SELECT one wrong", "-Access denied"},
	{"SELECT one ''", "-Access denied"},
	{"SELECT one %255", "-Access denied"},
	{"SELECT one %256", "-Password too long"},
	{"SELECT one pw", "+OK"},
	{"SET k v", "'k'"},
	{"SELECT one", "+OK"}, /* and back to reading */
	{"SET k w", "-Namespace is in read-only mode"},
	{"SELECT one PLAIN x", "-Only SECURE extra method supported"},
	{"SELECT one SECURE x", "-No CHALLENGE requested, secure authentication not available"},
	{"SELECT one SECURE x y", "-Too many arguments"},
	/* private: not at all */
	{"b> NSSET one public 0", "+OK"},
	{"GET k", "'v'"}, /* who is in stays in */
	{"SELECT default", "+OK"},
	{"SELECT one", "-Namespace protected and private"},
	{"b> SELECT one", "-Namespace protected and private"},
	{"NSINFO one", "'...\\x0apublic: no\\x0a...'"},
	{"SELECT one pw", "+OK"},
	{"FLUSH", "+OK"},
	{"DBSIZE", ":0"},
	{"GET k", "nil"},
	{"SET k w", "'k'"},
	{"b> NSSET one worm 1", "+OK"},
	{"FLUSH", "-Namespace is protected by worm mode"},
	{"b> NSSET one worm 0", "+OK"},
	{"b> NSSET one lock 1", "+OK"},
	{"FLUSH", "-Namespace is temporarily locked (read-only)"},
	{"b> NSSET one freeze 1", "+OK"},
	{"FLUSH", "-Namespace is temporarily frozen (read-write disabled)"},
	{"b> NSSET one freeze 0", "+OK"},
	{"GET k", "'w'"},
	{"b> NSSET one password *", "+OK"},
	{"FLUSH", "-Flushing public namespace denied"},
	{"c> SELECT one", "+OK"},
	{"c> SET k x", "'k'"},
	ROWS_END,
};

/* --protect: `default` has the admin's password. */
static const struct row protected[] = {
	{"SET k v", "-Namespace is in read-only mode"},
	{"GET k", "nil"},
	{"AUTH secret", "+OK"},
	{"SET k v", "-Namespace is in read-only mode"},
	{"SELECT default wrong", "-Access denied"},
	{"SELECT default secret", "+OK"},
	{"SET k v", "'k'"},
	{"b> GET k", "'v'"},
	{"b> DEL k", "-Namespace is in read-only mode"},
	{"b> FLUSH", "-Flushing public namespace denied"},
	{"b> NSINFO default", "'...\\x0apublic: yes\\x0a...\\x0apassword: yes\\x0a...'"},
	ROWS_END,
};

/* -------------------------------------------------------------------------------------------------------- the tests */

static const struct scene scenes[] = {
	{.name = "wrong words, user keys", .mode = ZDB_USER, .rows = wrong_words},
	{.name = "wrong words, sequential", .mode = ZDB_SEQ, .rows = wrong_words},
	{.name = "life", .mode = ZDB_USER, .rows = life},
	{.name = "life, sequential", .mode = ZDB_SEQ, .rows = life_sequential},
	{.name = "properties", .mode = ZDB_USER, .rows = limits},
	{.name = "mixed modes", .mode = ZDB_MIXED, .rows = mixed},
	{.name = "permissions", .mode = ZDB_USER, .admin = "secret", .rows = guest},
	{.name = "protected", .mode = ZDB_USER, .admin = "secret", .protect = true, .rows = protected},
};

static void replies_are_as_specified(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		play(&scenes[i]);
}

/* Keeps the answer to the challenge that is kept as 'c'. */
static void keep_answer(struct stage *st, const char *password, char name)
{
	char answer[41];

	sha1_challenge(answer, st->kept['c' - 'a'].data, password);
	stage_keep(st, name, answer, 40);
}

static void select_by_challenge(void **state)
{
	static const struct row before[] = {
		{"NSNEW one", "+OK"},
		{"NSSET one password pw", "+OK"},
		{"NSSET one public 0", "+OK"},
		{"b> SELECT one SECURE 0123456789012345678901234567890123456789",
		 "-No CHALLENGE requested, secure authentication not available"},
		ROWS_END,
	};
	static const struct row after[] = {
		{"b> SELECT one SECURE short", "-Invalid hash length"},
		{"b> SELECT one SECURE $w", "-Access denied"},
		{"b> SELECT one secure $r", "+OK"},
		{"b> SET k v", "'k'"},
		{"b> SELECT default", "+OK"},
		{"b> SELECT one SECURE $r", "+OK"}, /* SELECT does not use it up */
		{"c> SELECT one SECURE $r", "-No CHALLENGE requested, secure authentication not available"},
		{"b> SELECT one SECUR $r", "-Only SECURE extra method supported"},
		ROWS_END,
	};
	static const struct scene s = {.name = "challenge", .mode = ZDB_USER};
	struct stage *st;
	int tcp;

	(void)state;
	for (tcp = 0; tcp < 2; tcp++) {
		st = stage_open(&s, tcp);
		stage_rows(st, before);
		stage_is(st, "b> =c AUTH SECURE CHALLENGE", "+...");
		assert_int_equal(st->kept['c' - 'a'].len, 16);
		keep_answer(st, "pw", 'r');
		keep_answer(st, "PW", 'w');
		stage_rows(st, after);
		stage_close(st);
	}
}

/* ---------------------------------------------------------------------------------------------------------- NSINFO */

/* The fields in their order, and what they say after fill_info(). */
static const struct row info[] = {
	{"name", "one"},
	{"entries", "2"},
	{"public", "no"},
	{"worm", "yes"},
	{"locked", "yes"},
	{"password", "yes"},
	{"data_size_bytes", "70004"},
	{"data_size_mb", "0.07"},
	{"data_limits_bytes", "100000"},
	{"index_size_bytes", "..."},
	{"index_size_kb", "0.1..."},
	{"next_internal_id", "0x..."},
	{"mode", "..."},
	{"stats_index_io_errors", "0"},
	{"stats_index_io_error_last", "0"},
	{"stats_index_faults", "0"},
	{"stats_data_io_errors", "0"},
	{"stats_data_io_error_last", "0"},
	{"stats_data_faults", "0"},
	{"space_available", "29996"},
	{"index_disk_freespace_bytes", "..."},
	{"index_disk_freespace_mb", "..."},
	{"data_disk_freespace_bytes", "..."},
	{"data_disk_freespace_mb", "..."},
	ROWS_END,
};

static const struct row info_admin[] = {
	{"data_path", "/.../data/one"},
	{"data_active", "/.../data/one/d1"},
	{"index_path", "/.../index/one"},
	{"index_active", "/.../index/one/i1"},
	{"data_current_id", "1"},
	{"data_current_offset", "..."},
	ROWS_END,
};

static const struct row fill_info[] = {
	{"AUTH secret", "+OK"},
	{"NSNEW one", "+OK"},
	{"SELECT one", "+OK"},
	{"SET $a @70000", "..."},
	{"NSJUMP", "+OK"},
	{"SET $b four", "..."},
	{"NSSET one maxsize 100000", "+OK"},
	{"NSSET one worm 1", "+OK"},
	{"NSSET one password pw", "+OK"},
	{"NSSET one public 0", "+OK"},
	{"NSSET one freeze 1", "+OK"},
	ROWS_END,
};

/* Takes one "field: value" line from the front of `text`. */
static const char *take_field(const char *text, const struct row *field)
{
	const char *end = strchr(text, '\n');
	char line[512], want[512];

	assert_non_null(end);
	assert_true(snprintf(line, sizeof(line), "%.*s", (int)(end - text), text) < (int)sizeof(line));
	snprintf(want, sizeof(want), "%s: %s", field->ask, field->want);
	if (!play_matches(line, want))
		fail_msg("NSINFO: %s, wanted %s", line, want);
	return end + 1;
}

static const char *take_fields(const char *text, const struct row *fields)
{
	for (; fields->ask; fields++)
		text = take_field(text, fields);
	return text;
}

static const char *value_of(const char *text, const char *field)
{
	static char value[128];
	const char *at = strstr(text, field);

	assert_non_null(at);
	at += strlen(field);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\n"), at);
	return value;
}

/* Every field, in order, and nothing else: for a guest, an admin, and a master too. */
static void look_at_info(struct stage *st, bool sequential)
{
	redisReply *r = stage_ask(st, "NSINFO one");
	const char *text = r->str, *rest;

	assert_int_equal(r->type, REDIS_REPLY_STRING);
	assert_int_equal(strncmp(text, "# namespace\n", 12), 0);
	rest = take_fields(take_fields(text + 12, info), info_admin);
	assert_string_equal(rest, "");
	assert_string_equal(value_of(text, "\nmode: "), sequential ? "sequential" : "userkey");
	/* 64 bytes and the key for each, as the original counts */
	assert_string_equal(value_of(text, "\nindex_size_bytes: "), sequential ? "144" : "131");
	assert_string_equal(value_of(text, "\ndata_current_offset: "), sequential ? "58" : "52");
	if (sequential) /* the bytes of the counter, 2, as they lie */
		assert_string_equal(value_of(text, "\nnext_internal_id: "), "0x200000000000000");
	freeReplyObject(r);

	r = stage_ask(st, "b> NSINFO one");
	rest = take_fields(r->str + 12, info);
	assert_string_equal(rest, "");
	freeReplyObject(r);

	stage_is(st, "MASTER", "+Hello, master");
	r = stage_ask(st, "NSINFO one 7");
	rest = take_fields(r->str + 12, info);
	rest = take_field(rest, &(struct row){"password_raw", "pw"});
	rest = take_fields(rest, info_admin);
	assert_string_equal(rest, "");
	freeReplyObject(r);
}

static void info_shows_every_field(void **state)
{
	static const struct scene s[] = {{.name = "NSINFO, user keys", .mode = ZDB_USER, .admin = "secret"},
					 {.name = "NSINFO, sequential", .mode = ZDB_SEQ, .admin = "secret"}};
	struct stage *st;
	int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		bool sequential = i & 1;

		st = stage_open(&s[sequential], i & 2);
		stage_keep(st, 'a', "a", !sequential);
		stage_keep(st, 'b', "bb", sequential ? 0 : 2);
		stage_rows(st, fill_info);
		look_at_info(st, sequential);
		stage_close(st);
	}
}

static void every_command_has_its_rows(void **state)
{
	(void)state;
	every_command_was_played("names");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_as_specified),
		cmocka_unit_test(select_by_challenge),
		cmocka_unit_test(info_shows_every_field),
		cmocka_unit_test(every_command_has_its_rows),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_hiredis_names", tests, NULL, NULL);
}
