/*
 * Every command of the server's table, with hiredis as the client, in each state that may forbid it: to somebody who is no admin, to a client that may
 * only read, in a namespace that is locked, frozen, or in worm mode. In both modes (zdbd_play.h says how rows are read).
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
#include "core/zdbd/zdbd_int.h"
#include "tests/unit/support/zdbd_play.h"

#define DENIED    "-Permission denied"
#define READ_ONLY "-Namespace is in read-only mode"
#define LOCKED    "-Namespace is temporarily locked (read-only)"
#define FROZEN    "-Namespace is temporarily frozen (read-write disabled)"
#define WORM      "-Namespace is protected by worm mode"

enum state {
	OPEN,    /* an admin, writing, nothing is set */
	GUEST,   /* no admin */
	READER,  /* came without the password; no admin */
	IN_LOCK, /* an admin, as below */
	IN_FREEZE,
	IN_WORM,
	STATES,
};

static const char *const state_names[] = {"open", "guest", "reader", "locked", "frozen", "worm"};

/* A command of an admin; the rest of a row. */
#define ADMIN      [GUEST] = DENIED, [READER] = DENIED
#define NOT_FROZEN [IN_FREEZE] = FROZEN
#define WRITES     [READER] = READ_ONLY, [IN_LOCK] = LOCKED, [IN_FREEZE] = FROZEN

/* In this order. $k is the one key, its value v; $n makes a new one. A state without a reply has that of OPEN. */
static const struct {
	const char *ask, *want[STATES];
} matrix[] = {
	{"GET $k", {"'v'", NOT_FROZEN}},
	{"MGET $k", {"['v']", NOT_FROZEN}},
	{"EXISTS $k", {":1", NOT_FROZEN}},
	{"CHECK $k", {":1", NOT_FROZEN}},
	{"LENGTH $k", {":1", NOT_FROZEN}},
	{"KEYTIME $k", {":1500000000", NOT_FROZEN}},
	{"GETRANGE $k 0 0", {"'v'", NOT_FROZEN}},
	{"SCAN", {"['...' [[$k :1 :1500000000]]]", NOT_FROZEN}},
	{"SCANX", {"['...' [[$k :1 :1500000000]]]", NOT_FROZEN}},
	{"RSCAN", {"['...' [[$k :1 :1500000000]]]", NOT_FROZEN}},
	{"KEYCUR $k", {"'...'", NOT_FROZEN}},
	{"HISTORY $k", {"[nil '1500000000' 'v']", NOT_FROZEN}},
	{"KSCAN a", {"-Command disabled in release code, not yet available"}},
	{"DBSIZE", {":1"}},
	{"SYNC", {"+OK"}},
	{"PING", {"+PONG"}},
	{"TIME", {"['...' '...']"}},
	{"INFO", {"'...'"}},
	{"*", {"-This is not a valid command"}},
	{"WAIT PING 100", {"-Timeout"}},
	{"AUTH wrong", {"-Access denied"}},
	{"NSLIST", {"['default' 'n']"}},
	{"NSINFO n", {"'...'"}},
	{"NSINFO none", {"-Namespace not found"}},
	{"SELECT n", {"-Namespace protected and private"}},
	{"SELECT n wrong", {"-Access denied"}},
	/* of admins: about the server, whatever the state of their namespace */
	{"HOOKS", {"[]", ADMIN}},
	{"NSNEW x", {"+OK", ADMIN}},
	{"NSSET x worm 1", {"+OK", ADMIN}},
	{"NSDEL x", {"+OK", ADMIN}},
	{"NSJUMP", {"+OK", ADMIN}},
	{"COMPACT", {"'files: 1...'", ADMIN, [IN_LOCK] = LOCKED, [IN_FREEZE] = FROZEN, [IN_WORM] = WORM}},
	{"INDEX DIRTY", {"[]", ADMIN}},
	{"INDEX DIRTY RESET", {"+OK", ADMIN}},
	{"DATA RAW 0 28", {"[$k :0 '0x...' :0 :1500000000 'v']", ADMIN}},
	{"EVICT n 7 xxh3:00000000000000000000000000000000", {"-Invalid argument", ADMIN}},
	{"CUT", {"[['default' ...] ['n' ...]]", ADMIN}},
	{"SPOOL n 0", {"-Nothing is spooled", ADMIN}},
	{"STORED n 0", {"-Nothing is spooled", ADMIN}},
	/* writing */
	{"SET $k v", {"nil", WRITES, [IN_WORM] = WORM}},
	{"SET $k w", {"$k", WRITES, [IN_WORM] = WORM}},
	{"SET $k w 7", {"nil", ADMIN, [IN_LOCK] = LOCKED, NOT_FROZEN, [IN_WORM] = WORM}},
	{"SETX $n new", {"...", WRITES, [IN_WORM] = "..."}},
	{"BATCH SET $k x",
	 {"[$k]", [READER] = "[" READ_ONLY "]", [IN_LOCK] = "[" LOCKED "]", [IN_FREEZE] = "[" FROZEN "]",
	  [IN_WORM] = "[" WORM "]"}},
	{"DEL $k 7",
	 {"+OK", ADMIN, [IN_LOCK] = LOCKED,
	  NOT_FROZEN, [IN_WORM] = "-Cannot delete a key when namespace is in worm mode"}},
	{"DEL $k",
	 {"-Key not found", [GUEST] = "+OK",
	  WRITES, [IN_WORM] = "-Cannot delete a key when namespace is in worm mode"}},
	{"DBSIZE", {":1", [IN_WORM] = ":2"}},
	{"FLUSH", {"+OK", WRITES, [IN_WORM] = WORM}},
	{"DBSIZE", {":0", [READER] = ":1", [IN_LOCK] = ":1", [IN_FREEZE] = ":1", [IN_WORM] = ":2"}},
	{"RELOAD n", {"+OK", ADMIN}},
	/* what changes the connection */
	{"SELECT n pw", {"+OK"}},
	{"STOP", {"+Stopping"}}, /* the server's owner, over the unix socket */
	{"MASTER", {"+Hello, master", ADMIN}},
	{"MIRROR", {"+Starting mirroring", ADMIN}},
};

#define ROWS (sizeof(matrix) / sizeof(matrix[0]))

static void prepare(struct stage *st, enum state state)
{
	static const struct row made[] = {
		{"b> AUTH secret", "+OK"},         {"b> NSNEW n", "+OK"},
		{"b> NSSET n password pw", "+OK"}, {"b> SELECT n pw", "+OK"},
		{"b> SET $n v 1500000000", "$k"},  ROWS_END,
	};
	bool sequential = st->rig.opt.mode == ZDB_SEQ;

	stage_keep(st, 'k', sequential ? "\0\0\0\0\0\0\0" : "k", sequential ? 8 : 1);
	stage_keep(st, 'n', "k", !sequential);
	stage_rows(st, made);
	stage_keep(st, 'n', "new", sequential ? 0 : 3);
	if (state != GUEST && state != READER)
		stage_is(st, "AUTH secret", "+OK");
	stage_is(st, state == READER ? "SELECT n" : "SELECT n pw", "+OK");
	stage_is(st, "b> NSSET n public 0", "+OK"); /* who is in stays in */
	if (state == IN_LOCK)
		stage_is(st, "b> NSSET n lock 1", "+OK");
	if (state == IN_FREEZE)
		stage_is(st, "b> NSSET n freeze 1", "+OK");
	if (state == IN_WORM)
		stage_is(st, "b> NSSET n worm 1", "+OK");
	stage_hang_up(st, 'b');
}

static void every_command_in(enum state state, enum zdb_mode mode)
{
	struct scene s = {.name = state_names[state], .mode = mode, .admin = "secret"};
	struct stage *st = stage_open(&s, false);
	size_t i;

	prepare(st, state);
	for (i = 0; i < ROWS; i++)
		stage_is(st, matrix[i].ask,
			 matrix[i].want[state] ? matrix[i].want[state] : matrix[i].want[OPEN]);
	stage_close(st);
}

static void each_state(enum zdb_mode mode)
{
	enum state state;

	for (state = OPEN; state < STATES; state++)
		every_command_in(state, mode);
}

static void user_keys(void **state)
{
	(void)state;
	each_state(ZDB_USER);
}

static void sequential(void **state)
{
	(void)state;
	each_state(ZDB_SEQ);
}

static void every_command_has_a_row(void **state)
{
	size_t i, k, len;

	(void)state;
	for (i = 0; i < commands_count; i++) {
		len = strlen(commands[i].name);
		for (k = 0; k < ROWS; k++)
			if (strncmp(matrix[k].ask, commands[i].name, len) == 0 &&
			    (matrix[k].ask[len] == ' ' || matrix[k].ask[len] == '\0'))
				break;
		if (k == ROWS)
			fail_msg("%s is not in the table", commands[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_keys),
		cmocka_unit_test(sequential),
		cmocka_unit_test(every_command_has_a_row),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_hiredis_states", tests, NULL, NULL);
}
