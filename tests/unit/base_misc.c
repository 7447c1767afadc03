/* Log lines, limits, error texts, the clock, counters, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/applet.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/counters.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/kernel.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mem_copy.h"
#include "core/base/str.h"
#include "tests/unit/support/sys_test.h"

static int ends[2];

static void log_to_pipe(enum log_form form, enum log_level level)
{
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	log_init("test", form, level);
	log_fd_set(ends[1]);
}

static const char *logged(void)
{
	static char text[LOG_LINE_MAX * 3];
	ssize_t n = read(ends[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void log_back(void)
{
	log_fd_set(2);
	log_init("qsfs", LOG_CLI, LOG_LEVEL_INFO);
	close(ends[0]);
	close(ends[1]);
}

static void check_lines(void **state)
{
	char wide[3000];
	const char *text;

	(void)state;
	log_to_pipe(LOG_CLI, LOG_LEVEL_INFO);
	errno = 77;
	log_err("cannot open %s", "x");
	assert_int_equal(errno, 77);
	log_debug("not shown");
	log_info("two\nlines\t\x01");
	assert_string_equal(logged(), "test: cannot open x\ntest: two\\nlines\\t\\x01\n");
	assert_int_equal(log_code(-ENOSPC, "cannot write %s", "d0"), -ENOSPC);
	assert_string_equal(logged(), "test: cannot write d0: no space left on device\n");
	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	log_err("%s", wide);
	text = logged();
	assert_true(strlen(text) <= LOG_LINE_MAX);
	assert_true(str_ends(text, "w...\n"));
	assert_int_equal(strchr(text, '\n') - text, strlen(text) - 1);
	log_back();
}

static void check_daemon_form(void **state)
{
	const char *text;
	char want[100];

	(void)state;
	log_to_pipe(LOG_DAEMON, LOG_LEVEL_WARN);
	log_info("not shown");
	log_warn("disk=%d", 1);
	text = logged();
	snprintf(want, sizeof(want), "Z warn test[%d]: disk=1\n", (int)getpid());
	assert_string_equal(text + 23, want);
	assert_true(text[4] == '-' && text[10] == 'T' && text[19] == '.');
	log_back();
}

/* A pipe that nobody reads: lines are dropped, nobody waits, and the gap is shown when there is room again. */
static void check_full_pipe(void **state)
{
	uint64_t before = log_dropped();
	int lines = 0;

	(void)state;
	log_to_pipe(LOG_CLI, LOG_LEVEL_INFO);
	while (log_dropped() < before + 5 && lines++ < 1000000)
		log_info("%0100d", lines);
	assert_int_equal(log_dropped(), before + 5);
	while (*logged())
		;
	log_info("again");
	assert_string_equal(logged(), "test: log lines dropped=5\ntest: again\n");
	log_info("more");
	assert_string_equal(logged(), "test: more\n");
	/* Nobody at the other end: no signal, only drops. */
	close(ends[0]);
	log_info("lost");
	assert_int_equal(log_dropped(), before + 6);
	ends[0] = open("/dev/null", O_RDONLY);
	log_back();
}

static void check_file(void **state)
{
	char dir[256], path[300], moved[300], *text = NULL;

	(void)state;
	str_copy(dir, sizeof(dir), test_dir_new());
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(moved, sizeof(moved), "%s/log.1", dir);
	log_init("test", LOG_CLI, LOG_LEVEL_INFO);
	assert_int_equal(log_file_open("/nonexistent/log"), -ENOENT);
	assert_int_equal(log_file_open(path), 0);
	log_info("first");
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(log_file_open(path), 0);
	log_info("second");
	assert_int_equal(file_read_all(moved, 1000, &text, NULL), 0);
	assert_true(str_ends(text, "test: first\n"));
	mem_free(text);
	assert_int_equal(file_read_all(path, 1000, &text, NULL), 0);
	assert_string_equal(text, "test: second\n");
	mem_free(text);
	log_fd_set(2);
	log_init("qsfs", LOG_CLI, LOG_LEVEL_INFO);
	test_dir_remove(dir);
}

static void check_limit(void **state)
{
	struct log_limit limit = {0};
	uint32_t held = 9;
	int passed = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		passed += log_limit_pass(&limit, 3600000, 3, &held);
	assert_int_equal(passed, 3);
	assert_int_equal(held, 0);
	/* A new window tells how many were held back. */
	limit.window_start_ms = 1;
	assert_true(log_limit_pass(&limit, 1, 3, &held));
	assert_int_equal(held, 97);
}

static void check_errors(void **state)
{
	struct err_text e = {""};
	char wide[600];

	(void)state;
	assert_string_equal(err_str(-ENOENT), "no such file or directory");
	assert_string_equal(err_str(E_FENCED), "a newer generation of the volume exists");
	for (int code = E_OWN_FIRST + 1; code < E_OWN_LAST; code++)
		assert_string_not_equal(err_str(code), "unnamed error");
	assert_int_equal(err_exit_code(0), EXIT_DONE);
	assert_int_equal(err_exit_code(-E_KEY), EXIT_KEY);
	assert_int_equal(err_exit_code(-E_LOCKED), EXIT_LOCKED);
	assert_int_equal(err_exit_code(-ENOENT), EXIT_NOT_FOUND);
	assert_int_equal(err_exit_code(-E_UNKNOWN), EXIT_AGAIN);
	assert_int_equal(err_exit_code(-EIO), EXIT_FAILED);
	assert_int_equal(err_set(&e, -EIO, "shard %d", 3), -EIO);
	assert_int_equal(err_prefix(&e, -EIO, "cannot store %s", "d17"), -EIO);
	assert_string_equal(e.text, "cannot store d17: shard 3");
	e.text[0] = '\0';
	assert_int_equal(err_prefix(&e, -EIO, "x"), -EIO);
	assert_string_equal(e.text, "x: input/output error");
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	memset(wide, 'x', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	err_set(&e, 0, "%s", wide);
	err_prefix(&e, 0, "%s", wide);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

static void check_clock(void **state)
{
	static const uint64_t moments[] = {0,          951782400,  951868799,   1709164800,
					   4102444800, 1234567890, 253402300799};
	char text[CLOCK_ISO_MAX], want[80];
	uint64_t seed = test_seed();

	(void)state;
	assert_string_equal(clock_iso(text, 951782400123), "2000-02-29T00:00:00.123Z");
	for (size_t i = 0; i < 2000; i++) {
		uint64_t s = i < 7 ? moments[i] : test_random(&seed) % 253402300800;
		time_t t = (time_t)s;
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.007Z", &tm);
		assert_string_equal(clock_iso(text, s * 1000 + 7), want);
	}
	sys_fault_begin();
	sys_clock_set(5000, 1000000);
	assert_int_equal(clock_mono_ms(), 5000);
	assert_int_equal(clock_wall_s(), 1000);
	assert_int_equal(clock_deadline(100), 5100);
	assert_true(clock_deadline(-1) == CLOCK_NEVER);
	assert_int_equal(clock_left_ms(5100), 100);
	assert_int_equal(clock_left_ms(CLOCK_NEVER), -1);
	sys_clock_advance(200);
	assert_int_equal(clock_left_ms(5100), 0);
	assert_int_equal(clock_left_ms(CLOCK_NEVER - 1), INT32_MAX);
	sys_fault_end();
}

static void check_counters(void **state)
{
	static struct counter a = COUNTER("t_total", "things"), b = GAUGE("t_now", "now"),
			      c = {.name = "t_total", .help = "things", .labels = "kind=\"x\""};
	struct buf out = BUF_INIT(4096), small = BUF_INIT(20);

	(void)state;
	counter_register(&a);
	counter_register(&b);
	counter_register(&c);
	counter_register(&a);
	counter_add(&a, 5);
	counter_set(&b, -2);
	counter_max(&b, 7);
	counter_max(&b, 3);
	assert_int_equal(counters_print(&out), 0);
	assert_string_equal(
		buf_str(&out),
		"# HELP t_total things\n# TYPE t_total counter\nt_total 5\nt_total{kind=\"x\"} 0\n"
		"# HELP t_now now\n# TYPE t_now gauge\nt_now 7\n");
	assert_int_equal(counters_print(&small), -E_LIMIT);
	assert_int_equal(small.len, 0);
	counter_unregister(&b);
	counter_unregister(&a);
	counter_unregister(&c);
	buf_clear(&out);
	assert_int_equal(counters_print(&out), 0);
	assert_int_equal(out.len, 0);
	buf_release(&out);
	buf_release(&small);
}

/* Every length around the borders of the short copy, with a guard on both sides. */
static void check_copies(void **state)
{
	uint8_t from[600], to[604], other[600];

	(void)state;
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + i / 256 + 1);
	for (size_t n = 0; n <= 600; n++) {
		memset(to, 0, sizeof(to));
		mem_copy(to + 2, from, n);
		assert_memory_equal(to + 2, from, n);
		assert_int_equal(to[0] + to[1] + to[n + 2] + to[n + 3], 0);
		memcpy(other, from, sizeof(other));
		assert_true(mem_equal(other, from, n));
		if (n == 0)
			continue;
		for (size_t at = 0; at < n; at += at < 130 && n < 130 ? 1 : n - 1 > at ? n - 1 - at : 1) {
			other[at] ^= 0x80;
			assert_false(mem_equal(other, from, n));
			other[at] ^= 0x80;
		}
	}
}

static void check_memory(void **state)
{
	char *text;
	void *p;
	volatile size_t huge = SIZE_MAX / 2;

	(void)state;
	mem_fault_begin();
	assert_null(mem_calloc(huge, 3));
	assert_null(mem_realloc_array(NULL, huge, 3));
	p = mem_alloc(0);
	assert_non_null(p);
	mem_free(p);
	p = mem_aligned(4096, 100);
	assert_int_equal((uintptr_t)p % 4096, 0);
	mem_free(p);
	text = mem_fmt("%d-%s", 5, "x");
	assert_string_equal(text, "5-x");
	mem_free_wiped(text, 3);
	text = mem_strndup("abcdef", 3);
	assert_string_equal(text, "abc");
	assert_int_equal(mem_fault_calls(), 4);
	mem_fault_arm(1);
	assert_null(mem_strdup("x"));
	assert_true(mem_fault_fired());
	assert_int_equal(mem_fault_end(), 1); /* `text` is still there */
	mem_free(text);
}

static void check_releases(void **state)
{
	(void)state;
	assert_true(kernel_release_is("6.18.44-amd64", 6, 18));
	assert_true(kernel_release_is("6.19", 6, 18));
	assert_true(kernel_release_is("7.0.1", 6, 18));
	assert_false(kernel_release_is("6.17.9", 6, 18));
	assert_false(kernel_release_is("5.19", 6, 18));
	assert_false(kernel_release_is("6.1.0-44-amd64", 6, 18));
	assert_false(kernel_release_is("6", 6, 0));
	assert_false(kernel_release_is("", 0, 0));
	assert_true(kernel_is(2, 6));
	assert_false(kernel_is(1000, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_limit),       cmocka_unit_test(check_lines),
		cmocka_unit_test(check_daemon_form), cmocka_unit_test(check_full_pipe),
		cmocka_unit_test(check_file),        cmocka_unit_test(check_errors),
		cmocka_unit_test(check_clock),       cmocka_unit_test(check_counters),
		cmocka_unit_test(check_memory),      cmocka_unit_test(check_copies),
		cmocka_unit_test(check_releases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
