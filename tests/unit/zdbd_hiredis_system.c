/*
 * What is asked about the server and the connection, with hiredis as the client: * WAIT MIRROR MASTER PING TIME AUTH HOOKS INFO STOP, in both modes, over
 * both kinds of socket, one by one and pipelined (zdbd_play.h says how rows are read).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/net/sha1.h"
#include "core/zdbd/zdbd_int.h"
#include "tests/unit/support/zdbd_play.h"

static const struct row words[] = {
	{"PING", "+PONG"},
	{"pInG with '' words", "+PONG"},
	{"*", "-This is not a valid command"},
	{"* x", "-This is not a valid command"},
	{"TIME", "['1...' '...']"},
	{"TIME x", "['1...' '...']"},
	{"AUTH", "-Unexpected arguments"},
	{"AUTH a b c", "-Unexpected arguments"},
	{"AUTH ''", "-Authentication disabled"},
	{"AUTH x", "-Authentication disabled"},
	{"AUTH PLAIN x", "-Only SECURE extra method supported"},
	{"AUTH SECUR CHALLENGE", "-Only SECURE extra method supported"},
	{"AUTH SECURE CHALLENGE", "+..."},
	{"AUTH SECURE x", "-Authentication disabled"},
	{"HOOKS", "[]"},
	{"HOOKS x", "[]"},
	{"WAIT", "-Invalid arguments"},
	{"WAIT SET 100 x", "-Invalid arguments"},
	{"WAIT NOSUCH", "-Unknown command to watch"},
	{"WAIT SE", "-Unknown command to watch"},
	{"WAIT ''", "-Unknown command to watch"},
	{"WAIT SET ''", "-Invalid timeout"},
	{"WAIT SET soon", "-Invalid timeout"},
	{"WAIT SET 99", "-Invalid timeout"},
	{"WAIT SET 1800001", "-Invalid timeout"},
	{"WAIT SET 00000000000000100", "-Invalid timeout"}, /* 17 characters */
	{"INFO", "'# server\\x0a...'"},
	{"INFO x", "'# server\\x0a...'"},
	/* what redis has beside */
	{"HELLO 3", "-Command not supported"},
	{"COMMAND", "-Command not supported"},
	{"COMMAND DOCS", "-Command not supported"},
	{"CLIENT SETINFO LIB-NAME hiredis", "-Command not supported"},
	{"CONFIG GET save", "-Command not supported"},
	{"ECHO x", "-Command not supported"},
	{"QUIT", "-Command not supported"},
	{"FLUSHDB", "-Command not supported"},
	{"KEYS *", "-Command not supported"},
	{"PING", "+PONG"},
	ROWS_END,
};

static const struct row admin[] = {
	{"MIRROR", "-Permission denied"},
	{"MASTER", "-Permission denied"},
	{"HOOKS", "-Permission denied"},
	{"AUTH ''", "-Invalid argument"},
	{"AUTH wrong", "-Access denied"},
	{"AUTH secre", "-Access denied"},
	{"AUTH secrets", "-Access denied"},
	{"AUTH %128", "-Access denied"},
	{"AUTH %129", "-Password too long"},
	{"AUTH SECURE x", "-No CHALLENGE requested, secure authentication not available"},
	{"HOOKS", "-Permission denied"},
	{"AUTH secret", "+OK"},
	{"HOOKS", "[]"},
	{"AUTH wrong", "-Access denied"}, /* an admin stays one */
	{"HOOKS", "[]"},
	{"b> HOOKS", "-Permission denied"}, /* on its own connection */
	{"MASTER", "+Hello, master"},
	ROWS_END,
};

/* The first name of the original's table that begins so, an empty one too; extensions come last. */
static const struct row prefixes[] = {
	{"P", "+PONG"},
	{"pin", "+PONG"},
	{"T", "['1...' '...']"},
	{"S", "-Unexpected arguments"}, /* SET */
	{"SETX", "-Unexpected arguments"},
	{"SE", "-Unexpected arguments"},
	{"SEL", "-Invalid argument"},
	{"G none", "nil"},
	{"GETR", "-Unexpected arguments"},
	{"''", "-This is not a valid command"},
	{"K none", "-Command disabled in release code, not yet available"}, /* KSCAN comes before KEYCUR */
	{"KEY none", "-Key not found"},
	{"NSI none", "-Namespace not found"},
	{"WAIT NOSUCH", "-Unknown command to watch"},
	{"AUTH S C", "+..."},
	{"AUTH SECURES x", "-Only SECURE extra method supported"},
	{"INDEX DIRT", "-Unknown INDEX subcommand"}, /* whole words, these */
	{"SY", "+OK"},
	{"PINGS", "-Command not supported"},
	ROWS_END,
};

static const struct scene scenes[] = {
	{.name = "words, user keys", .mode = ZDB_USER, .rows = words},
	{.name = "words, sequential", .mode = ZDB_SEQ, .rows = words},
	{.name = "prefixes, user keys", .mode = ZDB_USER, .prefixes = true, .rows = prefixes},
	{.name = "prefixes, sequential", .mode = ZDB_SEQ, .prefixes = true, .rows = prefixes},
	{.name = "admin, user keys", .mode = ZDB_USER, .admin = "secret", .rows = admin},
	{.name = "admin, sequential", .mode = ZDB_SEQ, .admin = "secret", .rows = admin},
};

static void replies_are_as_specified(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		play(&scenes[i]);
}

/* Tests of the kind "for both modes and both sockets". */
static void each_way(const char *admin_password, void (*fn)(struct stage *st))
{
	struct scene s = {.name = "steps", .admin = admin_password};
	struct stage *st;
	int i;

	for (i = 0; i < 4; i++) {
		s.mode = i & 1 ? ZDB_SEQ : ZDB_USER;
		st = stage_open(&s, i & 2);
		fn(st);
		stage_close(st);
	}
}

/* ------------------------------------------------------------------------------------------------------------ AUTH */

/* Keeps as 'r' the answer to a new challenge. */
static void challenge(struct stage *st, const char *password)
{
	char answer[41];

	stage_is(st, "=c auth secure challenge", "+...");
	assert_int_equal(st->kept['c' - 'a'].len, 16);
	assert_int_equal(strspn(st->kept['c' - 'a'].data, "0123456789abcdef"), 16);
	sha1_challenge(answer, st->kept['c' - 'a'].data, password);
	stage_keep(st, 'r', answer, 40);
}

static void secure_login(struct stage *st)
{
	challenge(st, "secret");
	stage_is(st, "AUTH SECURE short", "-Invalid hash length");
	stage_is(st, "b> AUTH SECURE $r", "-No CHALLENGE requested, secure authentication not available");
	stage_is(st, "AUTH SECURE 0123456789012345678901234567890123456789", "-Access denied");
	/* compared once, right or wrong: used up */
	stage_is(st, "AUTH SECURE $r", "-No CHALLENGE requested, secure authentication not available");
	challenge(st, "Secret");
	stage_is(st, "AUTH SECURE $r", "-Access denied");
	challenge(st, "secret");
	challenge(st, "secret");
	stage_is(st, "HOOKS", "-Permission denied");
	stage_is(st, "AUTH SECURE $r", "+OK");
	stage_is(st, "HOOKS", "[]");
	stage_is(st, "AUTH SECURE $r", "-No CHALLENGE requested, secure authentication not available");
}

static void auth_by_challenge(void **state)
{
	(void)state;
	each_way("secret", secure_login);
}

/* ------------------------------------------------------------------------------------------------------------ WAIT */

/* Only PING, so that both modes serve. */
static void wait_for_another(struct stage *st)
{
	stage_send(st, "WAIT PING 60000");
	stage_is(st, "INFO", "'...'"); /* it goes on meanwhile */
	stage_is(st, "b> TIME", "['...' '...']");
	stage_is(st, "TIME", "['...' '...']"); /* no PING: not woken */
	stage_is(st, "PING", "+PONG");         /* its own does not count */
	stage_is(st, "b> PING", "+PONG");
	stage_got(st, "WAIT PING 60000", "+PING");
	/* any command, a failing one too; an unknown one is none */
	stage_send(st, "wait * 60000");
	stage_is(st, "INFO", "'...'");
	stage_is(st, "b> NOSUCH", "-Command not supported");
	stage_is(st, "INFO", "'...'");
	stage_is(st, "b> HISTORY none", "-Key not found");
	stage_got(st, "WAIT *", "+HISTORY");
	/* SETX is not SET, though it does the same */
	stage_send(st, "WAIT SET 60000");
	stage_is(st, "PING", "+PONG");
	stage_is(st, "b> SETX", "-Unexpected arguments");
	stage_is(st, "PING", "+PONG");
	stage_is(st, "b> SET", "-Unexpected arguments");
	stage_got(st, "WAIT SET", "+SET");
	/* a later one takes the place of an earlier one */
	stage_send(st, "WAIT DEL 60000");
	stage_send(st, "WAIT TIME 60000");
	stage_is(st, "INFO", "'...'");
	stage_is(st, "b> DEL", "-Unexpected arguments");
	stage_is(st, "b> TIME", "['...' '...']");
	stage_got(st, "WAIT TIME", "+TIME");
	/* only in its own namespace */
	stage_is(st, "NSNEW other", "+OK");
	stage_is(st, "b> SELECT other", "+OK");
	stage_send(st, "WAIT PING 60000");
	stage_is(st, "TIME", "['...' '...']");
	stage_is(st, "b> PING", "+PONG");
	stage_is(st, "TIME", "['...' '...']");
	stage_is(st, "c> PING", "+PONG");
	stage_got(st, "WAIT PING", "+PING");
	/* two who wait, of whom one has gone */
	stage_send(st, "WAIT PING 60000");
	stage_send(st, "d> WAIT PING 60000");
	stage_is(st, "TIME", "['...' '...']");
	stage_is(st, "d> TIME", "['...' '...']");
	stage_hang_up(st, 'd');
	stage_is(st, "c> PING", "+PONG");
	stage_got(st, "WAIT PING", "+PING");
}

static void wait_in_vain(struct stage *st)
{
	stage_is(st, "WAIT SET 0000000000000100", "-Timeout"); /* 16 characters */
	stage_is(st, "WAIT * 100", "-Timeout");
	/* its place is when it comes, not when it was asked */
	stage_send(st, "WAIT SET 100");
	stage_is(st, "PING", "+PONG");
	stage_got(st, "WAIT SET", "-Timeout");
}

static void wait_has_an_end(void **state)
{
	(void)state;
	each_way(NULL, wait_in_vain);
}

static void wait_sees_another_client(void **state)
{
	(void)state;
	each_way(NULL, wait_for_another);
}

/* ----------------------------------------------------------------------------------------------- MIRROR and MASTER */

static void mirror(struct stage *st)
{
	stage_is(st, "MIRROR", "+Starting mirroring");
	stage_is(st, "b> TIME and \\x00\\xff", "['...' '...']");
	stage_got(st, "MIRROR", "[:1... 'default' :... 'TIME' 'and' '\\x00\\xff']");
	/* what fails too; what is no command not */
	stage_is(st, "b> NOSUCH", "-Command not supported");
	stage_is(st, "b> get", "-Unexpected arguments");
	stage_got(st, "MIRROR", "[:1... 'default' :... 'get']");
	/* no passwords */
	stage_is(st, "b> AUTH x", "-Authentication disabled");
	stage_is(st, "b> SELECT default pw", "+OK");
	stage_is(st, "b> NSNEW one", "+OK");
	stage_got(st, "MIRROR", "[:1... 'default' :... 'NSNEW' 'one']");
	stage_is(st, "b> SELECT one", "+OK");
	stage_is(st, "b> PING", "+PONG");
	stage_got(st, "MIRROR", "[:1... 'one' :... 'PING']");
	/* it goes on, and is itself a client whose commands nobody else mirrors to it */
	stage_is(st, "PING", "+PONG");
	/* a master names the owner, by the last word, which is dropped */
	stage_is(st, "c> MASTER", "+Hello, master");
	stage_got(st, "MIRROR", "[:1... 'default' :... 'MASTER']");
	stage_is(st, "c> PING 4711", "+PONG");
	stage_got(st, "MIRROR", "[:1... 'default' :4711 'PING']");
	stage_is(st, "c> GET none 4711", "nil");
	stage_got(st, "MIRROR", "[:1... 'default' :4711 'GET' 'none']");
	stage_is(st, "c> PING", "+PONG");
	stage_got(st, "MIRROR", "[:1... 'default' :... 'PING']");
	stage_is(st, "MIRROR", "+Starting mirroring"); /* once more is the same */
	stage_is(st, "b> PING", "+PONG");
	stage_got(st, "MIRROR", "[:1... 'one' :... 'PING']");
	stage_is(st, "PING", "+PONG");
}

static void mirror_shows_what_others_ask(void **state)
{
	(void)state;
	each_way(NULL, mirror);
}

/* ----------------------------------------------------------------------------------------------------- INFO, TIME */

#define EXTENSIONS "extensions: sync range batch evict cut compact spool stored"

/* Its lines in their order; behind a colon what a new server says. */
static const char *const info[] = {
	"# server",
	"server_name: 0-db (zdb)",
	"server_revision: ...",
	"engine_revision: ...",
	"instance_id: ...",
	"boot_time: 1...",
	"uptime: ...",
	"",
	"# clients",
	"clients_lifetime: 2",
	"",
	"# internals",
	"sequential_key_size: 8",
	"data_version: 3",
	"index_version: 4",
	EXTENSIONS,
	"",
	"# stats",
	"commands_executed: 5",
	"commands_failed: 1",
	"commands_unauthorized: 1",
	"index_disk_read_failed: 0",
	"index_disk_write_failed: 0",
	"data_disk_read_failed: 0",
	"data_disk_write_failed: 0",
	"index_disk_read_bytes: ...",
	"index_disk_read_mb: 0.00",
	"index_disk_write_bytes: ...",
	"index_disk_write_mb: 0.00",
	"data_disk_read_bytes: ...",
	"data_disk_read_mb: 0.00",
	"data_disk_write_bytes: ...",
	"data_disk_write_mb: 0.00",
	"network_rx_bytes: ...",
	"network_rx_mb: 0.00",
	"network_tx_bytes: ...",
	"network_tx_mb: 0.00",
};

static void every_line(struct stage *st)
{
	redisReply *r;
	char *text, *line;
	size_t i;

	stage_is(st, "b> PING", "+PONG");
	stage_is(st, "NOSUCH", "-Command not supported");
	stage_is(st, "NSNEW x", "-Permission denied");
	stage_is(st, "SET", "-Unexpected arguments");
	r = stage_ask(st, "INFO");
	assert_int_equal(r->type, REDIS_REPLY_STRING);
	text = r->str;
	for (i = 0; i < sizeof(info) / sizeof(info[0]); i++) {
		line = strsep(&text, "\n");
		assert_non_null(text); /* each ends with a newline */
		if (!play_matches(line, info[i]))
			fail_msg("INFO: %s, wanted %s", line, info[i]);
	}
	assert_string_equal(text, "");
	freeReplyObject(r);
}

static void info_shows_every_field(void **state)
{
	(void)state;
	each_way("secret", every_line);
}

/* They are the rows behind the original's last one. */
static void info_announces_every_extension(void **state)
{
	bool original = true;

	(void)state;
	for (size_t i = 0; i < commands_count; i++) {
		const char *name = commands[i].name;

		if (!original && !strcasestr(EXTENSIONS, strcmp(name, "GETRANGE") == 0 ? "range" : name))
			fail_msg("%s is not announced", name);
		if (strcmp(name, "FLUSH") == 0)
			original = false;
	}
	assert_false(original);
}

static void the_time(struct stage *st)
{
	uint64_t before = clock_wall_s(), told;
	redisReply *r = stage_ask(st, "TIME");

	told = strtoull(r->element[0]->str, NULL, 10);
	assert_true(told >= before && told <= clock_wall_s());
	assert_true(strtoull(r->element[1]->str, NULL, 10) < 1000000);
	freeReplyObject(r);
}

static void time_is_the_time(void **state)
{
	(void)state;
	each_way(NULL, the_time);
}

/* ----------------------------------------------------------------------------------------------------------- HOOKS */

/* Asks until the last of `count` is finished. */
static redisReply *hooks(struct stage *st, size_t count)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	redisReply *r = stage_ask(st, "HOOKS");

	while (r->elements < count || r->element[count - 1]->element[4]->integer == 0) {
		assert_true(clock_left_ms(deadline) > 0);
		freeReplyObject(r);
		r = stage_ask(st, "HOOKS");
	}
	return r;
}

/* Those of the start, and each after it; its program fails. */
static void hooks_are_listed(void **state)
{
	static const char *const want[] = {
		"['namespaces-init' ['/...index' '/...data'] :... :1... :1... :0]",
		"['ready' [] :... :1... :1... :0]",
		"['namespace-created' ['one'] :... :1... :1... :1]",
		"['namespace-updated' ['one'] :... :1... :1... :1]",
		"['namespace-deleted' ['one'] :... :1... :1... :1]",
	};
	struct scene s = {.name = "hooks"};
	char program[80], *shown;
	struct stage *st;
	redisReply *r;
	size_t mode, i;
	FILE *f;

	(void)state;
	for (mode = 0; mode < 2; mode++) {
		s.mode = mode ? ZDB_SEQ : ZDB_USER;
		snprintf(program, sizeof(program), "/tmp/zdbd_hiredis_hook.%d", getpid());
		f = fopen(program, "w");
		assert_non_null(f);
		fprintf(f, "#!/bin/sh\ncase $1 in namespace-*) exit 1;; esac\n");
		fclose(f);
		assert_int_equal(chmod(program, 0700), 0);
		s.hook = program;
		st = stage_open(&s, mode == 1);
		stage_is(st, "NSNEW one", "+OK");
		freeReplyObject(hooks(st, 3));
		stage_is(st, "NSSET one worm 1", "+OK");
		freeReplyObject(hooks(st, 4));
		stage_is(st, "NSDEL one", "+OK");
		r = hooks(st, 5);
		assert_int_equal(r->elements, 5);
		for (i = 0; i < 5; i++) {
			shown = reply_shown(r->element[i]);
			if (!play_matches(shown, want[i]))
				fail_msg("HOOKS: %s, wanted %s", shown, want[i]);
			free(shown);
		}
		freeReplyObject(r);
		stage_close(st);
		assert_int_equal(unlink(program), 0);
	}
}

/* ------------------------------------------------------------------------------------------------------------ STOP */

static void stop(struct stage *st)
{
	/* this process is the server's owner; over TCP nobody is */
	stage_is(st, "STOP", st->tcp ? "-Unauthorized" : "+Stopping");
	stage_is(st, "STOP now", st->tcp ? "-Unauthorized" : "+Stopping");
}

static void stop_is_for_the_owner(void **state)
{
	(void)state;
	each_way("secret", stop);
}

static void every_command_has_its_rows(void **state)
{
	(void)state;
	every_command_was_played("system");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_as_specified),
		cmocka_unit_test(auth_by_challenge),
		cmocka_unit_test(wait_sees_another_client),
		cmocka_unit_test(wait_has_an_end),
		cmocka_unit_test(mirror_shows_what_others_ask),
		cmocka_unit_test(info_shows_every_field),
		cmocka_unit_test(info_announces_every_extension),
		cmocka_unit_test(time_is_the_time),
		cmocka_unit_test(hooks_are_listed),
		cmocka_unit_test(stop_is_for_the_owner),
		cmocka_unit_test(every_command_has_its_rows),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_hiredis_system", tests, NULL, NULL);
}
