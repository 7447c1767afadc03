/*
 * zdbd_play: tables of requests and replies, played with hiredis as the client against a server in this process.
 *
 * A request is words between blanks: \xHH \r \n \\ are bytes, 'a b' is one word and '' an empty one, #7 the 8-byte id 7, @N a value of N
 * bytes, %N a key of N letters k, $c what was kept as c. In front of it "b> " names the connection ('a' unless said, opened when first
 * used), and "=c " keeps the reply as c when it is bytes or a status, of an array the first member.
 * A reply is shown as hiredis parsed it: +status -error :integer 'bytes' nil [array members]. In 'bytes' what is not printable is \xHH;
 * an id, a value and a long key are shown as above. In the reply that is wanted ... stands for one or more characters of any kind.
 */
#ifndef TESTS_UNIT_SUPPORT_ZDBD_PLAY_H
#define TESTS_UNIT_SUPPORT_ZDBD_PLAY_H

#include <hiredis/hiredis.h>

#include "tests/unit/support/zdbd_rig.h"

#define PLAY_CONNS 4
#define PLAY_KEPT  26

struct row {
	const char *ask, *want;
};

#define ROWS_END {NULL, NULL}

/* A server and what it is asked. */
struct scene {
	const char *name;
	enum zdb_mode mode;
	const char *admin; /* password, NULL = everybody is admin */
	bool protect;
	const char *hook; /* program, NULL = none */
	bool spool, prefixes; /* --prefix-commands */
	const struct row *rows;
};

/* Plays all rows over the unix socket and over TCP, one by one and pipelined, each time on a server of its own. */
void play(const struct scene *s);

/* ---- the same in single steps, for what is more than a table ---- */

struct stage {
	const char *name;
	struct zr rig;
	bool tcp;
	redisContext *conns[PLAY_CONNS];
	struct {
		char *data;
		size_t len;
	} kept[PLAY_KEPT];
};

/* On the heap: what a failed test leaves running does not run into the next one. */
struct stage *stage_open(const struct scene *s, bool tcp);
/* Stops the server, cleanly or the test fails. */
void stage_close(struct stage *st);
/* Ends one connection; the next use opens another. */
void stage_hang_up(struct stage *st, char who);

/* Sends, and does not wait for the reply. */
void stage_send(struct stage *st, const char *ask);
/* Bytes that are no whole request, on connection 'a'. */
void stage_send_bytes(struct stage *st, const char *bytes);
/* The next reply on the connection of `ask`, which it answers, must be `want`. */
void stage_got(struct stage *st, const char *ask, const char *want);
/* Both. */
void stage_is(struct stage *st, const char *ask, const char *want);
void stage_rows(struct stage *st, const struct row *rows);
/* Sends and returns the reply, to be freed by freeReplyObject(). NULL: the server has closed the connection. */
redisReply *stage_ask(struct stage *st, const char *ask);
redisReply *stage_ask_words(struct stage *st, size_t count, const char **words, const size_t *lens);
void stage_keep(struct stage *st, char name, const void *data, size_t len);

/* How a reply is shown, malloc'ed. */
char *reply_shown(const redisReply *r);
/* Whether `text` is as `pattern` says, in which ... stands for one or more characters. */
bool play_matches(const char *text, const char *pattern);
/* Value N of the notation: n bytes, all kinds of them. */
void play_value(void *to, size_t n);

/*
 * Every command of the server's table has a file of tests (the list is in zdbd_play.c), which must have had an answer to it and an
 * error, in both modes. Fails for what `file` has left out, and for a command that no file has. The last test of each file.
 */
void every_command_was_played(const char *file);

#endif
