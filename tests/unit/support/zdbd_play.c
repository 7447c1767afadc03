/*
 * zdbd_play.c: see zdbd_play.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <strings.h>
#include <sys/time.h>

#include "core/base/endian.h"
#include "core/zdbd/zdbd_int.h"
#include "tests/unit/support/zdbd_play.h"

#define WORDS_MAX  64
#define ROW_BIG    (64u << 10) /* a request of more is not sent behind unread replies: a client that blocks would wait for ever */
#define BYTES_LONG 64          /* from here on a value and a key of the notation are shown by their size */

/* ------------------------------------------------------------------------------------------------ what was asked */

/* The file of each command, and what its answers can be. */
static const struct {
	const char *command, *file;
	bool refused; /* nobody ever gets anything but an error */
} homes[] = {
	{"SET", "data", false},	       {"SETX", "data", false},	      {"GET", "data", false},
	{"MGET", "data", false},       {"DEL", "data", false},	      {"EXISTS", "data", false},
	{"CHECK", "data", false},      {"LENGTH", "data", false},     {"KEYTIME", "data", false},
	{"DBSIZE", "data", false},     {"GETRANGE", "data", false},   {"BATCH", "data", false},
	{"SCAN", "cursors", false},    {"SCANX", "cursors", false},   {"RSCAN", "cursors", false},
	{"KSCAN", "cursors", true},    {"KEYCUR", "cursors", false},  {"HISTORY", "cursors", false},
	{"INDEX", "cursors", false},   {"DATA", "cursors", false},    {"NSNEW", "names", false},
	{"NSDEL", "names", false},     {"NSLIST", "names", false},    {"NSSET", "names", false},
	{"NSINFO", "names", false},    {"NSJUMP", "names", false},    {"SELECT", "names", false},
	{"RELOAD", "names", false},    {"FLUSH", "names", false},     {"*", "system", true},
	{"WAIT", "system", false},     {"MIRROR", "system", false},   {"MASTER", "system", false},
	{"PING", "system", false},     {"TIME", "system", false},     {"AUTH", "system", false},
	{"HOOKS", "system", false},    {"INFO", "system", false},     {"STOP", "system", false},
	{"SYNC", "durable", false},    {"EVICT", "durable", false},   {"CUT", "durable", false},
	{"SPOOL", "durable", false},   {"STORED", "durable", false},  {"COMPACT", "durable", false},
};

#define HOMES (sizeof(homes) / sizeof(homes[0]))

static struct {
	unsigned answers, errors;
} played[2][HOMES]; /* user keys, sequential */

static size_t home_of(const char *command)
{
	size_t i;

	for (i = 0; i < HOMES; i++)
		if (strcasecmp(homes[i].command, command) == 0)
			break;
	return i;
}

static void note_played(const struct stage *st, const char *ask, const redisReply *r)
{
	char name[16];
	size_t i;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(ask, " "), ask);
	i = home_of(name);
	if (i == HOMES)
		return; /* not a command: that is what is asked for */
	if (r->type == REDIS_REPLY_ERROR)
		played[st->rig.opt.mode == ZDB_SEQ][i].errors++;
	else
		played[st->rig.opt.mode == ZDB_SEQ][i].answers++;
}

void every_command_was_played(const char *file)
{
	size_t i, mode;

	for (i = 0; i < commands_count; i++)
		if (home_of(commands[i].name) == HOMES)
			fail_msg("%s has no test: see homes[] in zdbd_play.c", commands[i].name);
	for (i = 0; i < HOMES; i++) {
		if (strcmp(homes[i].file, file) != 0)
			continue;
		for (mode = 0; mode < 2; mode++)
			if ((!homes[i].refused && played[mode][i].answers == 0) ||
			    (homes[i].refused && played[mode][i].errors == 0))
				fail_msg("%s has no test with an answer (%s)", homes[i].command,
					 mode ? "sequential" : "user keys");
	}
}

/* ------------------------------------------------------------------------------------------------------- requests */

struct request {
	char who, keep; /* keep: 0 = nothing */
	size_t count, bytes;
	char *words[WORDS_MAX];
	size_t lens[WORDS_MAX];
};

void play_value(void *to, size_t n)
{
	uint8_t *at = to;
	size_t i;

	for (i = 0; i < n; i++)
		at[i] = (uint8_t)(i * 31 + (i >> 8));
}

static char *filled(size_t n)
{
	char *at = malloc(n + 1);

	assert_non_null(at);
	memset(at, 'k', n);
	at[n] = '\0';
	return at;
}

/* One byte of a word, as it is or escaped. Returns what follows it. */
static const char *take_byte(const char *from, char *to)
{
	static const char names[] = "rn\\'", bytes[] = "\r\n\\'";
	unsigned value;

	if (from[0] != '\\') {
		*to = *from;
		return from + 1;
	}
	if (from[1] == 'x') {
		assert_int_equal(sscanf(from + 2, "%2x", &value), 1);
		*to = (char)value;
		return from + 4;
	}
	assert_non_null(strchr(names, from[1]));
	*to = bytes[strchr(names, from[1]) - names];
	return from + 2;
}

static const char *take_literal(struct request *rq, const char *from)
{
	bool quoted = *from == '\'';
	char *word = malloc(strlen(from) + 1);
	size_t n = 0;

	assert_non_null(word);
	from += quoted;
	while (*from && *from != (quoted ? '\'' : ' '))
		from = take_byte(from, &word[n++]);
	rq->words[rq->count] = word;
	rq->lens[rq->count] = n;
	return from + quoted;
}

/* #7 @7 %7 */
static const char *take_sized(struct request *rq, const char *from)
{
	char *end, kind = *from;
	unsigned long long n = strtoull(from + 1, &end, 10);
	char *word = filled(kind == '#' ? 8 : (size_t)n);

	if (kind == '#')
		put_u64le((uint8_t *)word, n);
	else if (kind == '@')
		play_value(word, (size_t)n);
	rq->words[rq->count] = word;
	rq->lens[rq->count] = kind == '#' ? 8 : (size_t)n;
	return end;
}

static const char *take_kept(struct request *rq, const struct stage *st, const char *from)
{
	size_t i = (size_t)(from[1] - 'a');
	char *word;

	assert_true(i < PLAY_KEPT && st->kept[i].data);
	word = filled(st->kept[i].len);
	memcpy(word, st->kept[i].data, st->kept[i].len);
	rq->words[rq->count] = word;
	rq->lens[rq->count] = st->kept[i].len;
	return from + 2;
}

/* Connection and name to keep. Returns the words behind them. */
static const char *skip_front(const char *ask, char *who, char *keep)
{
	*who = 'a';
	*keep = 0;
	if (ask[0] && ask[1] == '>') {
		*who = ask[0];
		ask += 3;
	}
	if (ask[0] == '=') {
		*keep = ask[1];
		ask += 3;
	}
	return ask;
}

static void request_parse(struct request *rq, const struct stage *st, const char *ask)
{
	ask = skip_front(ask, &rq->who, &rq->keep);
	rq->count = rq->bytes = 0;
	while (*ask) {
		assert_true(rq->count < WORDS_MAX);
		if (strchr("#@%", *ask) && ask[1] >= '0' && ask[1] <= '9')
			ask = take_sized(rq, ask);
		else if (*ask == '$')
			ask = take_kept(rq, st, ask);
		else
			ask = take_literal(rq, ask);
		rq->bytes += rq->lens[rq->count++];
		assert_true(*ask == ' ' || *ask == '\0');
		ask += *ask == ' ';
	}
}

static void request_free(struct request *rq)
{
	size_t i;

	for (i = 0; i < rq->count; i++)
		free(rq->words[i]);
}

/* -------------------------------------------------------------------------------------------------------- replies */

static bool is_value(const char *data, size_t len)
{
	char *value = filled(len);
	bool same;

	play_value(value, len);
	same = memcmp(data, value, len) == 0;
	free(value);
	return same;
}

static bool is_id(const char *data, size_t len)
{
	return len == 8 && get_u64le((const uint8_t *)data) <= UINT32_MAX;
}

static void show_bytes(FILE *to, const char *data, size_t len)
{
	size_t i;

	if (is_id(data, len)) {
		fprintf(to, "#%llu", (unsigned long long)get_u64le((const uint8_t *)data));
		return;
	}
	if (len >= BYTES_LONG && is_value(data, len)) {
		fprintf(to, "@%zu", len);
		return;
	}
	if (len >= BYTES_LONG && strspn(data, "k") == len) {
		fprintf(to, "%%%zu", len);
		return;
	}
	fputc('\'', to);
	for (i = 0; i < len; i++)
		fprintf(to, data[i] >= ' ' && data[i] <= '~' && data[i] != '\'' && data[i] != '\\' ? "%c" : "\\x%02x",
			(uint8_t)data[i]);
	fputc('\'', to);
}

static void show(FILE *to, const redisReply *r)
{
	size_t i;

	switch (r->type) {
	case REDIS_REPLY_STATUS:
		fprintf(to, "+%s", r->str);
		break;
	case REDIS_REPLY_ERROR:
		fprintf(to, "-%s", r->str);
		break;
	case REDIS_REPLY_INTEGER:
		fprintf(to, ":%lld", r->integer);
		break;
	case REDIS_REPLY_STRING:
		show_bytes(to, r->str, r->len);
		break;
	case REDIS_REPLY_NIL:
		fprintf(to, "nil");
		break;
	case REDIS_REPLY_ARRAY:
		for (i = 0; i < r->elements; i++) {
			fputc(i ? ' ' : '[', to);
			show(to, r->element[i]);
		}
		fprintf(to, r->elements ? "]" : "[]");
		break;
	default:
		fprintf(to, "?%d", r->type);
		break;
	}
}

char *reply_shown(const redisReply *r)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	assert_non_null(to);
	if (r)
		show(to, r);
	else
		fprintf(to, "(closed)");
	fclose(to);
	return text;
}

/* The reply that is wanted, with what was kept put in. */
static char *wanted(const struct stage *st, const char *want)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	assert_non_null(to);
	for (; *want; want++) {
		if (*want == '$' && want[1] >= 'a' && want[1] <= 'z') {
			size_t i = (size_t)(*++want - 'a');

			assert_non_null(st->kept[i].data);
			show_bytes(to, st->kept[i].data, st->kept[i].len);
		} else {
			fputc(*want, to);
		}
	}
	fclose(to);
	return text;
}

bool play_matches(const char *text, const char *pattern)
{
	for (; *pattern; text++, pattern++) {
		if (strncmp(pattern, "...", 3) == 0) {
			while (*text)
				if (play_matches(++text, pattern + 3))
					return true;
			return false;
		}
		if (*text != *pattern)
			return false;
	}
	return *text == '\0';
}

/* --------------------------------------------------------------------------------------------------------- a stage */

/* STOP is for whoever runs the server; here it goes on. */
static void stop_wanted(void *ctx)
{
	(void)ctx;
}

struct stage *stage_open(const struct scene *s, bool tcp)
{
	struct stage *st = calloc(1, sizeof(*st));

	(void)signal(SIGPIPE, SIG_IGN); /* hiredis writes to what the server may have closed */
	assert_non_null(st);
	st->name = s->name;
	st->tcp = tcp;
	zr_setup(&st->rig);
	st->rig.opt.mode = s->mode;
	st->rig.opt.admin = s->admin;
	st->rig.opt.protect = s->protect;
	st->rig.opt.hook = s->hook;
	st->rig.opt.spool_dir = s->spool ? st->rig.spool : NULL;
	st->rig.opt.prefix_commands = s->prefixes;
	st->rig.opt.listen = "127.0.0.1";
	st->rig.opt.stop_wanted = stop_wanted;
	zr_run(&st->rig);
	return st;
}

void stage_close(struct stage *st)
{
	char who;
	size_t i;

	for (who = 'a'; who < 'a' + PLAY_CONNS; who++)
		stage_hang_up(st, who);
	for (i = 0; i < PLAY_KEPT; i++)
		free(st->kept[i].data);
	assert_int_equal(zr_halt(&st->rig), 0);
	zr_teardown(&st->rig);
	free(st);
}

void stage_hang_up(struct stage *st, char who)
{
	redisContext **c = &st->conns[who - 'a'];

	if (*c)
		redisFree(*c);
	*c = NULL;
}

static redisContext *conn(struct stage *st, char who)
{
	static const struct timeval limit = {ZR_LIMIT_MS / 1000, 0};
	redisContext **c;

	assert_true(who >= 'a' && who < 'a' + PLAY_CONNS);
	c = &st->conns[who - 'a'];
	if (*c)
		return *c;
	*c = st->tcp ? redisConnect("127.0.0.1", zdbd_port(st->rig.server)) : redisConnectUnix(st->rig.socket);
	assert_non_null(*c);
	if ((*c)->err)
		fail_msg("%s: cannot connect: %s", st->name, (*c)->errstr);
	assert_int_equal(redisSetTimeout(*c, limit), REDIS_OK);
	return *c;
}

/* Lies in the client's memory until it is flushed. */
static void append(struct stage *st, const struct request *rq)
{
	const char *words[WORDS_MAX];

	memcpy(words, rq->words, sizeof(words[0]) * rq->count);
	assert_int_equal(redisAppendCommandArgv(conn(st, rq->who), (int)rq->count, words, rq->lens), REDIS_OK);
}

static void flush(struct stage *st, char who)
{
	int done = 0;

	while (!done && redisBufferWrite(conn(st, who), &done) == REDIS_OK)
		; /* an error is still there when the reply is asked for */
}

void stage_send(struct stage *st, const char *ask)
{
	struct request rq;

	request_parse(&rq, st, ask);
	append(st, &rq);
	request_free(&rq);
	flush(st, rq.who);
}

void stage_send_bytes(struct stage *st, const char *bytes)
{
	assert_int_equal(redisAppendFormattedCommand(conn(st, 'a'), bytes, strlen(bytes)), REDIS_OK);
	flush(st, 'a');
}

/* At its end, or when something was sent to what was closed already. */
static bool is_closed(const redisContext *c)
{
	return c->err == REDIS_ERR_EOF || strcmp(c->errstr, strerror(EPIPE)) == 0 ||
	       strcmp(c->errstr, strerror(ECONNRESET)) == 0;
}

static redisReply *next_reply(struct stage *st, char who)
{
	void *reply = NULL;

	if (redisGetReply(conn(st, who), &reply) != REDIS_OK && !is_closed(conn(st, who)))
		fail_msg("%s: no reply: %s", st->name, conn(st, who)->errstr);
	return reply;
}

void stage_keep(struct stage *st, char name, const void *data, size_t len)
{
	size_t i = (size_t)(name - 'a');

	assert_true(i < PLAY_KEPT);
	free(st->kept[i].data);
	st->kept[i].data = filled(len);
	memcpy(st->kept[i].data, data, len);
	st->kept[i].len = len;
}

static void keep_reply(struct stage *st, char name, const redisReply *r)
{
	if (r->type == REDIS_REPLY_ARRAY && r->elements > 0)
		r = r->element[0];
	assert_true(r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS);
	stage_keep(st, name, r->str, r->len);
}

static void check(struct stage *st, const char *ask, const char *expected, const redisReply *r, char keep)
{
	char *got = reply_shown(r), *want = wanted(st, expected);

	if (!play_matches(got, want))
		fail_msg("%s over %s: %.200s\n  got  %.2000s\n  want %.2000s", st->name, st->tcp ? "TCP" : "unix", ask,
			 got, want);
	free(got);
	free(want);
	if (r && keep)
		keep_reply(st, keep, r);
}

void stage_got(struct stage *st, const char *ask, const char *want)
{
	char who, keep;
	const char *words = skip_front(ask, &who, &keep);
	redisReply *r = next_reply(st, who);

	check(st, ask, want, r, keep);
	if (r) {
		note_played(st, words, r);
		freeReplyObject(r);
	} else {
		stage_hang_up(st, who);
	}
}

void stage_is(struct stage *st, const char *ask, const char *want)
{
	stage_send(st, ask);
	stage_got(st, ask, want);
}

void stage_rows(struct stage *st, const struct row *row)
{
	for (; row->ask; row++)
		stage_is(st, row->ask, row->want);
}

redisReply *stage_ask(struct stage *st, const char *ask)
{
	char who, keep;
	const char *words = skip_front(ask, &who, &keep);
	redisReply *r;

	stage_send(st, ask);
	r = next_reply(st, who);
	if (r)
		note_played(st, words, r);
	return r;
}

redisReply *stage_ask_words(struct stage *st, size_t count, const char **words, const size_t *lens)
{
	redisReply *r;

	assert_int_equal(redisAppendCommandArgv(conn(st, 'a'), (int)count, words, lens), REDIS_OK);
	r = next_reply(st, 'a');
	if (r)
		note_played(st, words[0], r);
	return r;
}

/* ---------------------------------------------------------------------------------------------------------- tables */

/* Sends the rows that one connection may send before it reads: none that needs an earlier reply, nor anything long. Their number. */
static size_t pipeline(struct stage *st, const struct row *rows)
{
	struct request rq;
	char who = 0;
	size_t n = 0;
	bool fits;

	do {
		request_parse(&rq, st, rows[n].ask);
		fits = n == 0 || (rq.bytes < ROW_BIG && rq.who == who);
		if (fits)
			append(st, &rq);
		who = rq.who;
		request_free(&rq);
		n += fits;
	} while (fits && rows[n].ask && !strchr(rows[n].ask, '$'));
	return n;
}

static void stage_rows_pipelined(struct stage *st, const struct row *rows)
{
	size_t n, i;

	for (; rows->ask; rows += n) {
		n = pipeline(st, rows);
		for (i = 0; i < n; i++)
			stage_got(st, rows[i].ask, rows[i].want);
	}
}

void play(const struct scene *s)
{
	struct stage *st;
	int way;

	for (way = 0; way < 4; way++) {
		st = stage_open(s, way & 1);
		if (way & 2)
			stage_rows_pipelined(st, s->rows);
		else
			stage_rows(st, s->rows);
		stage_close(st);
	}
}
