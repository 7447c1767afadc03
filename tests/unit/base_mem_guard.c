/*
 * A page of a mapped file that cannot be read: an answer inside a guarded run, in any thread, and what it was before outside of one.
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
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/mem_guard.h"
#include "tests/unit/support/sys_test.h"

#define PAGES 4u

/* A map whose last pages are gone. */
struct map {
	char path[128];
	int fd;
	size_t page;
	volatile uint8_t *bytes;
};

static void map_open(struct map *m)
{
	char *dir = strdup(test_dir_new());

	m->page = (size_t)sysconf(_SC_PAGESIZE);
	assert_true(snprintf(m->path, sizeof(m->path), "%s/file", dir) < (int)sizeof(m->path));
	free(dir);
	m->fd = open(m->path, O_RDWR | O_CREAT, 0600);
	assert_true(m->fd >= 0);
	assert_int_equal(ftruncate(m->fd, (off_t)(PAGES * m->page)), 0);
	assert_int_equal(pwrite(m->fd, "here", 4, 0), 4);
	m->bytes = mmap(NULL, PAGES * m->page, PROT_READ, MAP_SHARED, m->fd, 0);
	assert_true((void *)(uintptr_t)m->bytes != MAP_FAILED);
	assert_int_equal(ftruncate(m->fd, (off_t)m->page), 0);
	assert_int_equal(mem_guard_install(), 0); /* each test begins with the test library's handler */
}

static void map_close(struct map *m)
{
	munmap((void *)(uintptr_t)m->bytes, PAGES * m->page);
	close(m->fd);
	*strrchr(m->path, '/') = '\0';
	test_dir_remove(m->path);
}

struct reading {
	const struct map *map;
	size_t at;
	uint8_t byte;
	int steps;
	bool inner, guarded; /* what the run inside the run said; what the whole said */
};

static void read_byte(void *ctx)
{
	struct reading *r = ctx;

	r->steps++;
	r->byte = r->map->bytes[r->at];
	r->steps++;
}

static bool read_at(const struct map *m, size_t at, struct reading *r)
{
	*r = (struct reading){.map = m, .at = at};
	return mem_guard_run(read_byte, r);
}

static void check_read(void **state)
{
	struct reading r;
	struct map m;

	(void)state;
	map_open(&m);
	assert_int_equal(mem_guard_install(), 0);
	for (int i = 0; i < 100; i++) { /* again and again: nothing stays masked */
		assert_true(read_at(&m, 0, &r));
		assert_true(r.byte == 'h' && r.steps == 2);
		assert_false(read_at(&m, (size_t)(1 + i % 3) * m.page, &r));
		assert_int_equal(r.steps, 1);
	}
	assert_int_equal(ftruncate(m.fd, (off_t)(PAGES * m.page)), 0);
	assert_true(read_at(&m, m.page, &r)); /* it is back */
	assert_int_equal(r.byte, 0);
	map_close(&m);
}

static void read_nested(void *ctx)
{
	struct reading *r = ctx, inside;

	r->inner = read_at(r->map, r->at, &inside);
	r->steps = 1;
	r->byte = r->map->bytes[r->at];
	r->steps = 2;
}

static void check_nested(void **state)
{
	struct reading r;
	struct map m;

	(void)state;
	map_open(&m);
	r = (struct reading){.map = &m, .at = m.page, .inner = true};
	assert_false(mem_guard_run(read_nested, &r));
	assert_true(!r.inner && r.steps == 1);
	r = (struct reading){.map = &m, .at = 1};
	assert_true(mem_guard_run(read_nested, &r));
	assert_true(r.inner && r.steps == 2 && r.byte == 'e');
	map_close(&m);
}

static void *thread_main(void *arg)
{
	struct reading *r = arg;

	for (int i = 0; i < 1000; i++) {
		struct reading good;

		r->steps = 0;
		r->guarded = !mem_guard_run(read_byte, r) && r->steps == 1 && read_at(r->map, 2, &good) &&
			     good.byte == 'r';
		if (!r->guarded)
			break;
	}
	return NULL;
}

static void check_threads(void **state)
{
	struct reading r[4];
	pthread_t threads[4];
	struct map m;

	(void)state;
	map_open(&m);
	for (size_t i = 0; i < 4; i++) {
		r[i] = (struct reading){.map = &m, .at = m.page};
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &r[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_true(r[i].guarded);
	}
	map_close(&m);
}

/* ------------------------------------------------------------------------------------------- outside a guarded run */

static void old_handler(int signo)
{
	_exit(signo == SIGBUS ? 77 : 78);
}

static void old_info_handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	_exit(signo == SIGBUS && info->si_signo == SIGBUS ? 79 : 78);
}

enum old { OLD_DEFAULT, OLD_PLAIN, OLD_INFO, OLD_IGNORED };

static void take_old(enum old old)
{
	static const struct rlimit no_core;
	struct sigaction a = {.sa_handler = old == OLD_IGNORED ? SIG_IGN : SIG_DFL};

	setrlimit(RLIMIT_CORE, &no_core);
	if (old == OLD_PLAIN)
		a.sa_handler = old_handler;
	if (old == OLD_INFO) {
		a.sa_sigaction = old_info_handler;
		a.sa_flags = SA_SIGINFO;
	}
	sigaction(SIGBUS, &a, NULL);
}

static void send_bus(void *ctx)
{
	(void)ctx;
	raise(SIGBUS);
}

enum end { END_FAULT, END_SENT, END_SENT_INSIDE };

/* How a child ends whose SIGBUS had this handler: wait(2) status. */
static int child(const struct map *m, enum old old, enum end end)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct reading r;

		take_old(old);
		if (mem_guard_install() || mem_guard_install() || read_at(m, m->page, &r))
			_exit(1);
		if (end == END_FAULT)
			_exit(m->bytes[m->page] ? 2 : 3);
		if (end == END_SENT)
			raise(SIGBUS);
		else
			(void)mem_guard_run(send_bus, NULL);
		_exit(4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void check_unguarded(void **state)
{
	struct map m;

	(void)state;
	map_open(&m);
	for (int end = END_FAULT; end <= END_SENT_INSIDE; end++) {
		int status = child(&m, OLD_PLAIN, end);

		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 77);
		status = child(&m, OLD_INFO, end);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 79);
		status = child(&m, OLD_DEFAULT, end);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
		status = child(&m, OLD_IGNORED, end); /* the kernel lets nobody ignore a fault */
		assert_true(end == END_FAULT ? WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS
					     : WIFEXITED(status) && WEXITSTATUS(status) == 4);
	}
	map_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_read),
		cmocka_unit_test(check_nested),
		cmocka_unit_test(check_threads),
		cmocka_unit_test(check_unguarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
