/* Unit files: which are accepted, what becomes of their keys, and that a damaged block is never taken for a unit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <cmocka.h>

#include "applets/zinit/unit_parse.h"

static int warnings;

static void on_warning(void *ctx, const char *sentence)
{
	(void)ctx;
	(void)sentence;
	warnings++;
}

/* The unit in `text` (owned by the buffer), or NULL. */
static const struct unit *parse_as(enum cfg_syntax syntax, const char *path, const char *text, bool is_strict,
				   struct buf *out, struct err_text *err)
{
	struct cfg_node *root = NULL;
	int rc;

	err->text[0] = '\0';
	buf_init(out, UNIT_BYTES_MAX);
	warnings = 0;
	rc = cfg_parse(syntax, path, text, strlen(text), &root, err);
	if (rc == 0)
		rc = unit_parse(root, "svc", path, is_strict, out, on_warning, NULL, err);
	cfg_free(root);
	if (rc) {
		assert_true(err->text[0] != '\0');
		buf_release(out);
		return NULL;
	}
	assert_true(unit_is_sound((const struct unit *)(const void *)out->data, (uint32_t)out->len));
	return (const struct unit *)(const void *)out->data;
}

static const struct unit *parse(const char *text, struct buf *out, struct err_text *err)
{
	return parse_as(CFG_YAML, "svc.yaml", text, false, out, err);
}

/* The measured table of accepted and rejected files, with the rejections that contradict its documentation turned round. */
static const struct {
	const char *text;
	bool is_accepted;
} files[] = {
	{"", false},
	{"exec: ''\n", false},
	{"oneshot: true\n", false},
	{"exec: a\nexec: b\n", false},
	{"exec: a\nunknown: 1\n", true},
	{"exec: 123\n", true},
	{"exec: true\n", true},
	{"exec: a\nlog: ring\n", true},
	{"exec: a\nlog: stdout\n", true},
	{"exec: a\nlog: none\n", true},
	{"exec: a\nlog: null\n", true},
	{"exec: a\nlog: ~\n", true},
	{"exec: a\nlog: \"null\"\n", true},
	{"exec: a\nlog:\n", true},
	{"exec: a\nlog: NONE\n", false},
	{"exec: a\noneshot: true\n", true},
	{"exec: a\noneshot: false\n", true},
	{"exec: a\noneshot: yes\n", false},
	{"exec: a\noneshot: True\n", false},
	{"exec: a\noneshot: TRUE\n", false},
	{"exec: a\noneshot: \"true\"\n", false},
	{"exec: a\nafter:\n", true},
	{"exec: a\nafter: x\n", true},
	{"exec: a\nafter: [x, y]\n", true},
	{"exec: a\nafter:\n- x\n- y\n", true},
	{"exec: a\nafter:\n  # why\n  - x", true},
	{"exec: a\nafter: {x: y}\n", false},
	{"exec: a\nenv:\n", true},
	{"exec: a\nenv: {A: 1, B: two}\n", true},
	{"exec: a\nenv: [A]\n", false},
	{"exec: a\nsignal:\n", true},
	{"exec: a\nsignal: {stop: SIGint}\n", true},
	{"exec: a\nsignal: {stop: sigterm}\n", true},
	{"exec: a\nsignal: {stop: term}\n", false},
	{"exec: a\nsignal: {stop: 15}\n", false},
	{"exec: a\nsignal: SIGTERM\n", false},
	{"exec: a\nshutdown_timeout: 99999999\n", true},
	{"exec: a\nshutdown_timeout: 0\n", true},
	{"exec: a\nshutdown_timeout: -1\n", false},
	{"exec: a\nshutdown_timeout: 10.5\n", false},
	{"exec: a\nshutdown_timeout: \"10\"\n", false},
	{"---\r\nexec: a\r\nafter:\r\n  - b\r\n...\r\n", true},
	{"exec: >-\n  a\n  b\n", true},
	{"exec: 'a\n", false},
	{"exec: a 'b\n", true}, /* fails when it is started, as in the original */
	{"exec: '  '\n", true},
	{"\texec: a\n", false},
	{"- exec: a\n", false},
	{"exec: [a, b]\n", false},
	{"exec: a\nrestart: on-failure\n", true},
	{"exec: a\nrestart: sometimes\n", false},
	{"exec: a\nnotify: fd:3\n", true},
	{"exec: a\nnotify: fd:2\n", false},
	{"exec: a\nnotify: sd\nfdstore: 4\n", true},
	{"exec: a\nnotify: fd:3\nfdstore: 4\n", false},
	{"exec: a\numask: 022\n", true},
	{"exec: a\numask: 999\n", false},
	{"exec: a\ncapabilities: [CAP_NET_ADMIN, chown]\n", true},
	{"exec: a\ncapabilities: none\n", true},
	{"exec: a\ncapabilities: [flying]\n", false},
	{"exec: a\ncpu_max: 50%\n", true},
	{"exec: a\ncpu_max: 0\n", false},
	{"exec: a\nmemory_max: 64M\n", true},
	{"exec: a\nmemory_max: lots\n", false},
	{"exec: a\nhealth: \"x 'y\"\n", false},
};

static void accepted_and_rejected(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct buf out;
		struct err_text err;
		const struct unit *u = parse(files[i].text, &out, &err);

		if ((u != NULL) != files[i].is_accepted)
			fail_msg("<%s> was %s (%s)", files[i].text, u ? "accepted" : "rejected", err.text);
		buf_release(&out);
	}
}

/* The words of a text joined by '|'. */
static const char *joined(const struct unit *u, struct unit_text text)
{
	static char dst[1024];
	const char *at = unit_str(u, text);

	dst[0] = '\0';
	for (uint32_t i = 0; i < text.count; i++, at = unit_str_next(at))
		snprintf(dst + strlen(dst), sizeof(dst) - strlen(dst), "%s%s", i ? "|" : "", at);
	return dst;
}

static void container_units(void **state)
{
	struct buf out;
	struct err_text err;
	const struct unit *u;

	(void)state;
	u = parse("exec: zdb\n  --mode seq\n  --data /data/data\n  --hook /bin/hook.sh\n# a "
		  "comment\nafter:\n  - wait_hooks\n"
		  "test: redis-cli -p 9900 PING\nshutdown_timeout: 65\nlog: stdout\n",
		  &out, &err);
	assert_non_null(u);
	assert_string_equal(joined(u, u->exec), "zdb|--mode|seq|--data|/data/data|--hook|/bin/hook.sh");
	assert_string_equal(joined(u, u->test), "redis-cli|-p|9900|PING");
	assert_string_equal(joined(u, u->after), "wait_hooks");
	assert_int_equal(u->shutdown_timeout_ms, 65000);
	assert_int_equal(u->log, UNIT_LOG_STDOUT);
	buf_release(&out);
	u = parse("exec: zstor --log_file /data/zstor.log -c /data/zstor.toml monitor\n"
		  "test: sh -c '[ \"$(nc -v -z -U /var/run/zstor.sock 2>&1)\" = \"\" ]'\nshutdown_timeout: "
		  "99999999\n",
		  &out, &err);
	assert_non_null(u);
	assert_int_equal(u->test.count, 3);
	assert_string_equal(joined(u, u->test),
			    "sh|-c|[ \"$(nc -v -z -U /var/run/zstor.sock 2>&1)\" = \"\" ]");
	buf_release(&out);
	u = parse("exec: |\n  sh -c '\n    echo one\n    echo two\n  '\noneshot: true\n", &out, &err);
	assert_non_null(u);
	assert_int_equal(u->exec.count, 3);
	assert_true(u->is_oneshot);
	buf_release(&out);
	u = parse("exec: \"true\"\n", &out, &err);
	assert_non_null(u);
	assert_string_equal(joined(u, u->exec), "true");
	buf_release(&out);
}

static void every_key(void **state)
{
	struct buf out;
	struct err_text err;
	const struct unit *u = parse("exec: a b\ntest: t\noneshot: false\nshutdown_timeout: 7\nafter: "
				     "[x]\nrequires: y\nlog: file\n"
				     "signal: {stop: SIGUSR1, reload: SIGHUP}\nenv: {A: 1, B: 'x y'}\ndir: "
				     "/tmp\nrestart: never\nrestart_delay: 250ms\n"
				     "restart_max_delay: 5s\nrestart_limit: 4\nretry: 2\nstart_timeout: "
				     "1m\ntest_interval: 10ms\ntest_timeout: 3\n"
				     "health: h\nhealth_interval: 9s\nnotify: fd:7\nkill_mode: "
				     "cgroup\ndrain: d e\nuser: nobody\ngroup: 12\numask: 077\n"
				     "limits: {nofile: 64, core: unlimited}\nmemory_max: 32M\ncpu_max: "
				     "150%\npids_max: 9\ncapabilities: [chown]\n"
				     "log_file: /x/y.log\nlog_max_size: 2M\nlog_keep: 3\n",
				     &out, &err);

	(void)state;
	if (!u)
		fail_msg("%s", err.text);
	assert_int_equal(warnings, 0);
	assert_string_equal(joined(u, u->exec), "a|b");
	assert_string_equal(joined(u, u->requires), "y");
	assert_string_equal(joined(u, u->env), "A=1|B=x y");
	assert_string_equal(joined(u, u->drain), "d|e");
	assert_string_equal(joined(u, u->health), "h");
	assert_string_equal(unit_str(u, u->dir), "/tmp");
	assert_string_equal(unit_str(u, u->user), "nobody");
	assert_string_equal(unit_str(u, u->group), "12");
	assert_string_equal(unit_str(u, u->log_file), "/x/y.log");
	assert_int_equal(u->shutdown_timeout_ms, 7000);
	assert_int_equal(u->stop_signal, SIGUSR1);
	assert_int_equal(u->reload_signal, SIGHUP);
	assert_int_equal(u->restart, UNIT_RESTART_NEVER);
	assert_int_equal(u->restart_delay_ms, 250);
	assert_int_equal(u->restart_max_delay_ms, 5000);
	assert_int_equal(u->restart_limit, 4);
	assert_int_equal(u->retry, 2);
	assert_int_equal(u->start_timeout_ms, 60000);
	assert_int_equal(u->test_interval_ms, 10);
	assert_int_equal(u->test_timeout_ms, 3000);
	assert_int_equal(u->health_interval_ms, 9000);
	assert_int_equal(u->notify, UNIT_NOTIFY_FD);
	assert_int_equal(u->notify_fd, 7);
	assert_int_equal(u->kill_mode, UNIT_KILL_CGROUP);
	assert_int_equal(u->umask, 077);
	assert_int_equal(u->limit_count, 2);
	assert_int_equal(u->limits[0].resource, RLIMIT_NOFILE);
	assert_int_equal(u->limits[0].value, 64);
	assert_true(u->limits[1].value == UINT64_MAX);
	assert_int_equal(u->memory_max, 32u << 20);
	assert_int_equal(u->cpu_max_percent, 150);
	assert_int_equal(u->pids_max, 9);
	assert_true(u->has_capabilities);
	assert_int_equal(u->capabilities, 1);
	assert_int_equal(u->log, UNIT_LOG_FILE);
	assert_int_equal(u->log_max_size, 2u << 20);
	assert_int_equal(u->log_keep, 3);
	buf_release(&out);
}

static void defaults_and_strict(void **state)
{
	struct buf out;
	struct err_text err;
	const struct unit *u = parse("exec: a\nfoo: 1\n", &out, &err);

	(void)state;
	assert_non_null(u);
	assert_int_equal(warnings, 1);
	assert_int_equal(u->shutdown_timeout_ms, 10000);
	assert_int_equal(u->stop_signal, SIGTERM);
	assert_int_equal(u->log, UNIT_LOG_RING);
	assert_int_equal(u->umask, -1);
	assert_int_equal(u->restart, UNIT_RESTART_ALWAYS);
	buf_release(&out);
	assert_null(parse_as(CFG_YAML, "svc.yaml", "exec: a\nafterr: x\n", true, &out, &err));
	assert_non_null(strstr(err.text, "did you mean 'after'"));
	assert_non_null(strstr(err.text, "svc.yaml:2"));
}

static void ini_syntax(void **state)
{
	struct buf out;
	struct err_text err;
	const struct unit *u = parse_as(
		CFG_INI, "svc.ini",
		"exec = a 'b c'\nafter = x, y z\noneshot = true\n[env]\nA = 1\n[signal]\nstop = SIGINT\n",
		false, &out, &err);

	(void)state;
	if (!u)
		fail_msg("%s", err.text);
	assert_string_equal(joined(u, u->exec), "a|b c");
	assert_string_equal(joined(u, u->after), "x|y|z");
	assert_string_equal(joined(u, u->env), "A=1");
	assert_int_equal(u->stop_signal, SIGINT);
	assert_true(u->is_oneshot);
	buf_release(&out);
}

/* A block that was damaged anywhere is refused or harmless: every text it leads to ends inside it. */
static void damaged_blocks(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct buf out;
	struct err_text err;
	const struct unit *u =
		parse("exec: a b c\ntest: t\nafter: [x, y]\nenv: {A: 1}\ndir: /tmp\n", &out, &err);
	uint32_t size = (uint32_t)out.len;

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	assert_non_null(u);
	for (uint32_t cut = 0; cut < size; cut++)
		assert_false(unit_is_sound(u, cut));
	for (int round = 0; round < 100000; round++) {
		/* Exactly as large as the block, so that a sanitizer sees a read beyond it. */
		uint8_t *copy = malloc(size);
		const struct unit *damaged = (const struct unit *)(const void *)copy;

		memcpy(copy, out.data, size);
		for (int n = 1 + rand() % 4; n > 0; n--)
			copy[(uint32_t)rand() % size] = (uint8_t)rand();
		if (unit_is_sound(damaged, size)) {
			joined(damaged, damaged->exec);
			joined(damaged, damaged->env);
			joined(damaged, damaged->after);
		}
		free(copy);
	}
	buf_release(&out);
}

static void signal_names(void **state)
{
	char buf[16];

	(void)state;
	assert_int_equal(unit_signal_number("sigKILL"), SIGKILL);
	assert_int_equal(unit_signal_number("KILL"), 0);
	assert_int_equal(unit_signal_number("9"), 0);
	for (int signo = 1; signo < 32; signo++)
		assert_int_equal(unit_signal_number(unit_signal_name(signo, buf)), signo);
	assert_string_equal(unit_signal_name(40, buf), "SIG40");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted_and_rejected),
		cmocka_unit_test(container_units),
		cmocka_unit_test(every_key),
		cmocka_unit_test(defaults_and_strict),
		cmocka_unit_test(ini_syntax),
		cmocka_unit_test(damaged_blocks),
		cmocka_unit_test(signal_names),
	};

	return cmocka_run_group_tests_name("zinit: units", tests, NULL, NULL);
}
