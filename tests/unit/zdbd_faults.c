/*
 * A server in which the first, second, ... allocation or system call fails, over a session of every command: the client sees the right
 * answer, an error, or a closed connection, never a wrong answer; the command works when it comes again (after a failed
 * allocation always); nothing leaks; and after a restart the store holds what was answered.
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
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/loop.h"
#include "core/zdbd/zdbd.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define WORDS_MAX  11
#define STEPS_MAX  80
#define ROUNDS_MAX 500
#define ROUND_MS   20
#define BIG        70000 /* more than is gathered, more than one read */
#define REPLY_MAX  (1 << 18)
#define PONG       "+PONG\r\n"
#define NOTHING    "xxh3:00000000000000000000000000000000"
#define CLOSED     (-1)

/* ------------------------------------------------------------------------------------------------- the session */

struct step {
	const char *words[WORDS_MAX]; /* "#n" is the 8-byte id n, "@" a long value */
	const char *
		again; /* also right when it comes again after the connection broke; "" = anything of its kind */
	bool loose;    /* the answer tells of time, space or chance: only its kind counts */
};

static const struct step user_steps[] = {
	{{"SET", "a", "1"}, "$-1\r\n", false},
	{{"SET", "a", "1"}, NULL, false},
	{{"SET", "a", "2"}, "$-1\r\n", false},
	{{"GET", "a"}, NULL, false},
	{{"GET", "none"}, NULL, false},
	{{"SET", "big", "@"}, "$-1\r\n", false},
	{{"GET", "big"}, NULL, false},
	{{"MGET", "a", "none", "big", "b"}, NULL, false},
	{{"GETRANGE", "big", "1", "5"}, NULL, false},
	{{"EXISTS", "a"}, NULL, false},
	{{"CHECK", "big"}, NULL, false},
	{{"LENGTH", "big"}, NULL, false},
	{{"KEYTIME", "a"}, NULL, false},
	{{"HISTORY", "a"}, NULL, false},
	{{"HISTORY", "big"}, NULL, false},
	{{"KEYCUR", "a"}, NULL, false},
	{{"SCAN"}, NULL, true},
	{{"RSCAN"}, NULL, true}, /* a page may end before what could not be read */
	{{"DEL", "a"}, "-Key not found\r\n", false},
	{{"DEL", "a"}, NULL, false},
	{{"BATCH", "SET", "b", "1", "DEL", "b", "SET", "c", "3"}, "", false},
	{{"SYNC"}, NULL, false},
	{{"SYNC", "INDEX"}, NULL, false},
	{{"DATA", "RAW", "0", "28"}, NULL, false},
	{{"NSJUMP"}, NULL, false},
	{{"SET", "c", "5"}, "$-1\r\n", false},
	{{"SET", "d", "4"}, "$-1\r\n", false},
	{{"GET", "c"}, NULL, false},
	{{"GET", "big"}, NULL, false},
	{{"CHECK", "big"}, NULL, false},
	{{"EXISTS", "big"}, NULL, false}, /* here the index has to be read */
	{{"LENGTH", "big"}, NULL, false},
	{{"KEYCUR", "big"}, NULL, false},
	{{"HISTORY", "c"}, NULL, false},
	{{"INDEX", "DIRTY"}, NULL, false},
	{{"INDEX", "DIRTY", "RESET"}, NULL, false},
	{{"EVICT", "default", "0", NOTHING}, NULL, false},
	{{"CUT"}, NULL, true},
	{{"RELOAD", "default"}, NULL, false},
	{{"GET", "d"}, NULL, false},
	{{"SCAN"}, NULL, true}, /* NSJUMP may fail and have rotated: its cursor tells */
	{{"NSNEW", "n"}, "-This namespace is not available\r\n", false},
	{{"NSSET", "n", "password", "pw"}, NULL, false},
	{{"NSSET", "n", "public", "0"}, NULL, false},
	{{"NSSET", "n", "maxsize", "1000"}, NULL, false},
	{{"NSSET", "n", "lock", "0"}, NULL, false},
	{{"SELECT", "n", "pw"}, NULL, false},
	{{"SET", "x", "y"}, "$-1\r\n", false},
	{{"SET", "x", "@"}, NULL, false},
	{{"NSINFO", "n"}, NULL, true},
	{{"NSLIST"}, NULL, false},
	{{"FLUSH"}, NULL, false},
	{{"GET", "x"}, NULL, false},
	{{"SELECT", "default"}, NULL, false},
	{{"NSDEL", "n"}, "-This namespace doesn't exists\r\n", false},
	{{"HOOKS"}, NULL, true},
	{{"INFO"}, NULL, true},
	{{"TIME"}, NULL, true},
	{{"AUTH", "SECURE", "CHALLENGE"}, NULL, true},
	{{"DBSIZE"}, NULL, false},
	{{"STOP"}, NULL, false},
	{{NULL}, NULL, false},
};

static const struct step seq_steps[] = {
	{{"SET", "#0", "new"}, "$-1\r\n", false},
	{{"SET", "#0", "new"}, NULL, false},
	{{"SET", "#1", "@"}, "$-1\r\n", false},
	{{"GET", "#0"}, NULL, false},
	{{"GET", "#1"}, NULL, false},
	{{"GET", "#9"}, NULL, false},
	{{"MGET", "#0", "#9", "#1"}, NULL, false},
	{{"HISTORY", "#0"}, NULL, false},
	{{"KEYCUR", "#0"}, NULL, false},
	{{"SCAN"}, NULL, true},
	{{"DEL", "#2"}, "-Key not found\r\n", false},
	{{"NSJUMP"}, NULL, false},
	{{"EXISTS", "#1"}, NULL, false},
	{{"KEYTIME", "#1"}, NULL, false},
	{{"BATCH", "SET", "#0", "newer", "DEL", "#3"}, "", false},
	{{"GET", "#0"}, NULL, false},
	{{"RSCAN"}, NULL, true}, /* a page may end before what could not be read */
	{{"SYNC", "INDEX"}, NULL, false},
	{{"RELOAD", "default"}, NULL, false},
	{{"GET", "#0"}, NULL, false},
	{{"DBSIZE"}, NULL, false},
	{{NULL}, NULL, false},
};

/* With a hook program and a spool. */
static const struct step hook_steps[] = {
	{{"SET", "a", "1"}, "$-1\r\n", false},
	{{"NSJUMP"}, NULL, false},
	{{"SET", "a", "2"}, "$-1\r\n", false},
	{{"NSJUMP"}, NULL, false},
	{{"NSNEW", "n"}, "-This namespace is not available\r\n", false},
	{{"NSSET", "n", "worm", "1"}, NULL, false},
	{{"NSSET", "n", "worm", "0"}, NULL, false},
	{{"SPOOL", "default", "0"}, NULL, false},
	{{"HOOKS"}, NULL, true},
	{{"NSDEL", "n"}, "-This namespace doesn't exists\r\n", false},
	{{"GET", "a"}, NULL, false},
	{{NULL}, NULL, false},
};

enum fault { FAULT_NONE, FAULT_MEMORY, FAULT_EIO, FAULT_ENOSPC, FAULT_EDQUOT };

static const char *const fault_names[] = {"nothing", "allocation", "call with EIO", "call with ENOSPC",
					  "call with EDQUOT"};
static const int fault_errors[] = {0, 0, EIO, ENOSPC, EDQUOT};

/* What a mode is tried with. `first` is done before anything fails. */
struct session {
	const char *name;
	enum zdb_mode mode;
	const struct step *first, *steps;
	enum zdbd_fsync fsync;
	bool hooked;
	enum fault last; /* kinds of failure that are tried */
};

static const struct step seq_first[] = {
	{{"SET", "", "zero"}, NULL, false},
	{{"SET", "", "one"}, NULL, false},
	{{"SET", "", "two"}, NULL, false},
	{{"SET", "", "three"}, NULL, false},
	{{NULL}, NULL, false},
};
static const struct step nothing[] = {{{NULL}, NULL, false}};

static const struct session sessions[] = {
	{"user keys", ZDB_USER, nothing, user_steps, ZDBD_FSYNC_NO, false, FAULT_EDQUOT},
	{"sequential", ZDB_SEQ, seq_first, seq_steps, ZDBD_FSYNC_NO, false, FAULT_ENOSPC},
	{"fsync always", ZDB_SEQ, seq_first, seq_steps, ZDBD_FSYNC_ALWAYS, false, FAULT_EIO},
	{"hooks", ZDB_USER, nothing, hook_steps, ZDBD_FSYNC_NO, true, FAULT_EDQUOT},
};

/* -------------------------------------------------------------------------------------------------- the server */

static struct loop loop;
static struct zdbd *server;
static struct zu store;
static char socket_path[300], spool_dir[300];

static void stop_wanted(void *ctx)
{
	(void)ctx;
}

static int server_start(const struct session *s)
{
	struct zdbd_options o = {
		.data_root = store.data,
		.index_root = store.index,
		.mode = s->mode,
		.datasize = ZDB_DATASIZE_MIN,
		.socket_path = socket_path,
		.fsync = s->fsync,
		.fsync_interval_ms = 3600000,
		.hook = s->hooked ? "/bin/true" : NULL,
		.spool_dir = s->hooked ? spool_dir : NULL,
		.stop_wanted = stop_wanted,
	};
	struct err_text why;
	int err = loop_init(&loop);

	if (err)
		return err;
	server = zdbd_new(&loop, &o);
	if (!server) {
		loop_release(&loop);
		return -ENOMEM;
	}
	err = zdbd_open(server, &why);
	if (!err)
		err = zdbd_listen(server, &why);
	if (!err)
		err = zdbd_ready(server, &why);
	if (!err)
		err = zdbd_serve(server, &why);
	return err;
}

static void server_end(void)
{
	/* what it could not do is looked for after the restart */
	(void)zdbd_stop_now(server, ZDBD_STOP_ASKED);
	zdbd_free(server);
	loop_release(&loop);
}

/* --------------------------------------------------------------------------------------------------- the client */

/* Its memory is not the server's: nothing of it is counted or fails. */
static int client_fd = -1;
static char sent[4 * BIG], reply[REPLY_MAX];
static size_t reply_len;

static void client_close(void)
{
	if (client_fd >= 0)
		close(client_fd);
	client_fd = -1;
}

static void client_open(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	assert_true(strlen(socket_path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, socket_path, strlen(socket_path));
	client_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(client_fd >= 0);
	assert_int_equal(connect(client_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static size_t put_word(char *at, const char *word)
{
	size_t len = strlen(word), n;

	if (word[0] == '#') {
		uint64_t id = strtoull(word + 1, NULL, 10);

		n = (size_t)sprintf(at, "$8\r\n");
		memcpy(at + n, &id, 8); /* tests run where integers are little-endian, as the files are */
		len = 8;
	} else if (word[0] == '@') {
		n = (size_t)sprintf(at, "$%d\r\n", BIG);
		memset(at + n, 'b', BIG);
		len = BIG;
	} else {
		n = (size_t)sprintf(at, "$%zu\r\n", len);
		memcpy(at + n, word, len);
	}
	memcpy(at + n + len, "\r\n", 2);
	return n + len + 2;
}

static size_t put_step(char *at, const struct step *s)
{
	size_t count = 0, n, i;

	while (count < WORDS_MAX && s->words[count])
		count++;
	n = (size_t)sprintf(at, "*%zu\r\n", count);
	for (i = 0; i < count; i++)
		n += put_word(at + n, s->words[i]);
	return n;
}

static bool ends_with_pong(void)
{
	size_t n = strlen(PONG);

	return reply_len >= n && memcmp(reply + reply_len - n, PONG, n) == 0;
}

/* Sends one command and a PING, and runs the server until both are answered. 0 with the answer in `reply`, or CLOSED. */
static int ask(const struct step *s)
{
	size_t len = put_step(sent, s), done = 0;
	unsigned round;
	ssize_t n;

	if (client_fd < 0)
		client_open();
	len += (size_t)sprintf(sent + len, "*1\r\n$4\r\nPING\r\n");
	reply_len = 0;
	for (round = 0; round < ROUNDS_MAX; round++) {
		if (done < len) {
			n = send(client_fd, sent + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n > 0)
				done += (size_t)n;
		}
		loop_run_once(&loop, done < len ? 0 : ROUND_MS);
		while ((n = recv(client_fd, reply + reply_len, sizeof(reply) - reply_len, MSG_DONTWAIT)) > 0)
			reply_len += (size_t)n;
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			client_close();
			return CLOSED;
		}
		if (ends_with_pong()) {
			reply_len -= strlen(PONG);
			reply[reply_len] = '\0';
			return 0;
		}
	}
	fail_msg("%s is not answered", s->words[0]);
	return CLOSED;
}

/* -------------------------------------------------------------------------------------- expectation and judgement */

static struct {
	char *text;
	size_t len;
} expected[STEPS_MAX];

static bool is_expected(size_t i, const struct step *s)
{
	if (s->loose)
		return reply_len > 0 && reply[0] == expected[i].text[0];
	return reply_len == expected[i].len && memcmp(reply, expected[i].text, reply_len) == 0;
}

/* An error for the whole, or for a part of it; CHECK has a number for "unreadable". */
static bool is_error(void)
{
	return strncmp(reply, ":-1\r\n", 5) == 0 || reply[0] == '-' ||
	       memmem(reply, reply_len, "\r\n-", 3) != NULL;
}

/* Replies hold any bytes: shown as text. */
static const char *shown(const char *data, size_t len)
{
	static char text[2][400];
	static unsigned turn;
	char *at = text[turn++ % 2];
	size_t i, n = 0;

	for (i = 0; i < len && n < sizeof(text[0]) - 5; i++)
		n += (size_t)sprintf(at + n, data[i] > ' ' && data[i] <= '~' ? "%c" : "\\%02x",
				     (uint8_t)data[i]);
	at[n] = '\0';
	return at;
}

static bool is_allowed_again(size_t i, const struct step *s)
{
	if (!s->again)
		return false;
	if (!*s->again)
		return reply_len > 0 && reply[0] == expected[i].text[0];
	return reply_len == strlen(s->again) && memcmp(reply, s->again, reply_len) == 0;
}

/* State of a key in `default` after the first `count` steps: its value word, NULL = absent. */
static const char *state_of(const struct session *s, const char *key, size_t count)
{
	const char *value = NULL;
	const struct step *lists[] = {s->first, s->steps};
	bool elsewhere = false;
	size_t l, i, w;

	for (l = 0; l < 2; l++) {
		for (i = 0; lists[l][i].words[0] && (l == 0 || i < count); i++) {
			const char *const *words = lists[l][i].words;

			if (l == 0 && key[0] == '#' && strtoull(key + 1, NULL, 10) == i)
				value = words[2]; /* the ids of what comes first are its places */
			if (strcmp(words[0], "SELECT") == 0)
				elsewhere = strcmp(words[1], "default") != 0;
			for (w = strcmp(words[0], "BATCH") == 0; !elsewhere && w < WORDS_MAX && words[w];
			     w++) {
				if (w + 2 < WORDS_MAX && strcmp(words[w], "SET") == 0 &&
				    strcmp(words[w + 1], key) == 0)
					value = words[w + 2];
				if (w + 1 < WORDS_MAX && strcmp(words[w], "DEL") == 0 &&
				    strcmp(words[w + 1], key) == 0)
					value = NULL;
			}
		}
	}
	return value;
}

static bool holds(const char *key, const char *value)
{
	static char big[BIG];
	uint64_t id = strtoull(key + 1, NULL, 10);
	uint8_t *v = NULL;
	size_t n = 0;
	bool same;
	int rc = key[0] == '#' ? zu_value(store.ns, &id, 8, &v, &n)
			       : zu_value(store.ns, key, strlen(key), &v, &n);

	memset(big, 'b', sizeof(big));
	if (rc == -ENOENT)
		same = value == NULL;
	else if (rc || !value)
		same = false;
	else if (value[0] == '@')
		same = n == BIG && memcmp(v, big, n) == 0;
	else
		same = n == strlen(value) && memcmp(v, value, n) == 0;
	free(v);
	return same;
}

/* After a restart: every key is as after `done` steps, or as after the one that failed as well. */
static void look_after(const struct session *s, size_t done, bool unsure, const char *what, uint64_t n)
{
	static const char *const user_keys[] = {"a", "b", "c", "d", "big", NULL};
	static const char *const seq_keys[] = {"#0", "#1", "#2", "#3", NULL};
	const char *const *key = s->mode == ZDB_SEQ ? seq_keys : user_keys;

	store.opt.mode = s->mode;
	assert_int_equal(zu_open(&store), 0);
	for (; *key; key++)
		if (!holds(*key, state_of(s, *key, done)) &&
		    !(unsure && holds(*key, state_of(s, *key, done + 1))))
			fail_msg("%s, %s %llu: after a restart %s is wrong (%zu steps were answered)",
				 s->name, what, (unsigned long long)n, *key, done);
	zu_close(&store);
}

/* ---------------------------------------------------------------------------------------------------- one session */

static void arm(enum fault fault, uint64_t n)
{
	if (fault == FAULT_MEMORY)
		mem_fault_arm(n);
	else if (fault != FAULT_NONE)
		sys_fault_arm(SYS_CALL_ANY, n, fault_errors[fault]);
}

static bool fired(enum fault fault)
{
	return fault == FAULT_MEMORY ? mem_fault_fired() : fault != FAULT_NONE && sys_fault_fired();
}

static void disarm(void)
{
	mem_fault_arm(0);
	sys_fault_disarm();
}

static void record(size_t i)
{
	expected[i].text = malloc(reply_len + 1);
	assert_non_null(expected[i].text);
	memcpy(expected[i].text, reply, reply_len);
	expected[i].text[reply_len] = '\0';
	expected[i].len = reply_len;
}

/* A new connection is in `default`: back to where the session was. */
static void back_to_place(const struct step *place)
{
	if (client_fd < 0 && place)
		assert_int_equal(ask(place), 0);
}

/* One step: true when it was answered as expected in the end. */
static bool take(const struct session *s, size_t i, enum fault fault, uint64_t n, const struct step *place)
{
	const struct step *step = &s->steps[i];
	int rc;

	back_to_place(place);
	rc = ask(step);
	if (fault == FAULT_NONE) {
		assert_int_equal(rc, 0);
		record(i);
		return true;
	}
	if (rc == 0 && is_expected(i, step))
		return true;
	if (!fired(fault))
		fail_msg("%s, step %zu (%s): fails by itself: %s", s->name, i, step->words[0],
			 shown(reply, reply_len));
	if (rc == 0 && !is_error())
		fail_msg("%s, %s %llu, step %zu (%s): a wrong answer: %s instead of %s", s->name,
			 fault_names[fault], (unsigned long long)n, i, step->words[0],
			 shown(reply, reply_len), shown(expected[i].text, expected[i].len));
	back_to_place(place);
	rc = ask(step);
	if (rc == 0 && (is_expected(i, step) || is_allowed_again(i, step)))
		return true;
	if (fault == FAULT_MEMORY || rc != 0 || !is_error())
		fail_msg("%s, %s %llu, step %zu (%s): and again: %s", s->name, fault_names[fault],
			 (unsigned long long)n, i, step->words[0], rc ? "closed" : shown(reply, reply_len));
	return false;
}

static unsigned failures;

/* The nth allocation or call after the start fails. False: there are fewer. */
static bool run_session(const struct session *s, enum fault fault, uint64_t n)
{
	const struct step *place = NULL;
	bool hit, stuck = false;
	size_t i;

	sys_fault_begin();
	sys_clock_set(1000000, 1600000000000);
	mem_fault_begin();
	assert_int_equal(server_start(s), 0);
	for (i = 0; s->first[i].words[0]; i++)
		assert_int_equal(ask(&s->first[i]), 0);
	client_close();
	arm(fault, n);
	for (i = 0; s->steps[i].words[0] && !stuck; i += !stuck) {
		stuck = !take(s, i, fault, n, place);
		if (strcmp(s->steps[i].words[0], "SELECT") == 0)
			place = &s->steps[i];
	}
	client_close();
	server_end();
	hit = fired(fault);
	disarm();
	if (mem_fault_end() != 0)
		fail_msg("%s, %s %llu: leaks", s->name, fault_names[fault], (unsigned long long)n);
	sys_fault_end();
	look_after(s, i, stuck, fault_names[fault], n);
	failures += hit;
	return hit;
}

static void clear(void)
{
	(void)file_rm_tree(store.data);
	(void)file_rm_tree(store.index);
	(void)file_rm_tree(spool_dir);
}

static void session(const struct session *s)
{
	size_t i;
	uint64_t n;
	enum fault f;

	clear();
	(void)run_session(s, FAULT_NONE, 0);
	for (f = FAULT_MEMORY; f <= s->last; f++) {
		for (n = 1;; n++) {
			clear();
			if (!run_session(s, f, n))
				break;
		}
		print_message("%s: %llu times %s\n", s->name, (unsigned long long)n - 1, fault_names[f]);
		assert_true(n > 10);
	}
	for (i = 0; i < STEPS_MAX; i++) {
		free(expected[i].text);
		expected[i].text = NULL;
	}
}

static void every_command(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sessions) / sizeof(sessions[0]); i++)
		session(&sessions[i]);
}

/* ------------------------------------------------------------------------------------------------------ a start */

/* The nth of a start fails, and of the stop that follows: an error or a server, nothing leaks, and the next start finds everything. */
static bool run_start(const struct session *s, enum fault fault, uint64_t n)
{
	static const struct step get = {{"GET", "a"}, NULL, false};
	bool hit;
	int err;

	sys_fault_begin();
	mem_fault_begin();
	server = NULL;
	arm(fault, n);
	err = server_start(s);
	if (err && !fired(fault))
		fail_msg("%s: does not start: %d", s->name, err);
	if (!err && s->mode == ZDB_USER && ask(&get) == 0 && strncmp(reply, "$1\r\n2\r\n", reply_len) != 0 &&
	    !is_error())
		fail_msg("%s, %s %llu at the start: a wrong answer: %s", s->name, fault_names[fault],
			 (unsigned long long)n, shown(reply, reply_len));
	client_close();
	if (server)
		server_end();
	hit = fired(fault);
	disarm();
	if (mem_fault_end() != 0)
		fail_msg("%s, %s %llu at the start: leaks", s->name, fault_names[fault],
			 (unsigned long long)n);
	sys_fault_end();
	failures += hit;
	return hit;
}

static void every_start(void **state)
{
	static const struct session s = {"start",       ZDB_USER, nothing,     hook_steps,
					 ZDBD_FSYNC_NO, true,     FAULT_ENOSPC};
	enum fault f;
	uint64_t n;

	(void)state;
	clear();
	store.opt.mode = s.mode;
	assert_int_equal(zu_open(&store), 0);
	assert_int_equal(zu_set(&store, "a", "1"), 0);
	assert_int_equal(zu_set(&store, "a", "2"), 0);
	zu_close(&store);
	for (f = FAULT_MEMORY; f <= s.last; f++) {
		for (n = 1; run_start(&s, f, n); n++) {
			assert_int_equal(zu_open(&store), 0);
			assert_string_equal(zu_get(&store, "a"), "2");
			zu_close(&store);
		}
		print_message("start and stop: %llu times %s\n", (unsigned long long)n - 1, fault_names[f]);
	}
}

static int setup(void **state)
{
	(void)state;
	zu_setup(&store, ZDB_USER);
	snprintf(socket_path, sizeof(socket_path), "%.200s/sock", store.dir);
	snprintf(spool_dir, sizeof(spool_dir), "%.200s/spool", store.dir);
	alarm(600); /* the clock of the server stands still: a wait without end is ended here */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	zu_teardown(&store);
	print_message("%u failures in all\n", failures);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command),
		cmocka_unit_test(every_start),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, setup, teardown);
}
