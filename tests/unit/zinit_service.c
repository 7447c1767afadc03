/* Services under failing allocations and a failing clock of descriptors: nothing is lost, nothing is kept, nothing ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "applets/zinit/graph.h"
#include "applets/zinit/service.h"
#include "applets/zinit/sup.h"
#include "applets/zinit/unit_parse.h"
#include "core/base/clock.h"
#include "tests/unit/support/sys_test.h"

static struct sup sup;

/* In place of the supervisor's settling: what is not the service's own business is not looked at here. */
static void on_settle(struct loop_post *post)
{
	(void)post;
}

static void on_reaped(void *ctx, pid_t pid, int status)
{
	sup_reaped(ctx, pid, status);
}

static int set_up(void **state)
{
	(void)state;
	memset(&sup, 0, sizeof(sup));
	sup.options.ring_lines = 100;
	sup.options.log_dir = "/tmp";
	sup.stop_deadline_ms = CLOCK_NEVER;
	list_init(&sup.services);
	loop_post_init(&sup.settle, on_settle, &sup);
	return loop_init(&sup.loop);
}

static int tear_down(void **state)
{
	(void)state;
	while (!list_is_empty(&sup.services))
		service_free(sup_first(&sup));
	loop_release(&sup.loop);
	return 0;
}

static struct buf block_of(const char *name, const char *text)
{
	struct buf out;
	struct cfg_node *root;
	struct err_text err;

	buf_init(&out, UNIT_BYTES_MAX);
	assert_int_equal(cfg_parse(CFG_YAML, "x.yaml", text, strlen(text), &root, &err), 0);
	assert_int_equal(unit_parse(root, name, "x.yaml", false, &out, NULL, NULL, &err), 0);
	cfg_free(root);
	return out;
}

static struct service *add(const char *name, const char *text)
{
	struct buf block = block_of(name, text);
	struct service *s = NULL;

	assert_int_equal(service_new(&sup, (const struct unit *)(const void *)block.data, &s), 0);
	buf_release(&block);
	return s;
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* Every allocation of making a service fails once: an error, no leak, no descriptor left, and the next try works. */
static void making_without_memory(void **state)
{
	struct buf block = block_of(
		"x", "exec: a b\ntest: t\nafter: [y, z]\nlog_file: /tmp/x\nnotify: sd\nfdstore: 3\n");
	const struct unit *unit = (const struct unit *)(const void *)block.data;
	struct service *s;
	int before = open_fds(), rc = -1;
	uint64_t n;

	(void)state;
	for (n = 1; rc != 0; n++) {
		assert_true(n < 100);
		mem_fault_begin();
		mem_fault_arm(n);
		rc = service_new(&sup, unit, &s);
		if (rc == 0)
			service_free(s);
		else
			assert_int_equal(rc, -ENOMEM);
		assert_int_equal(mem_fault_end(), 0);
		assert_int_equal(open_fds(), before);
		assert_int_equal(sup.service_count, 0);
	}
	assert_true(n > 4);
	buf_release(&block);
}

/* The same for reading a unit. */
static void parsing_without_memory(void **state)
{
	static const char text[] = "exec: a b c\nenv: {A: 1, B: 2}\nafter: [x]\nlimits: {nofile: 3}\n";
	struct cfg_node *root;
	struct err_text err;
	struct buf out;
	int rc = -1;

	(void)state;
	assert_int_equal(cfg_parse(CFG_YAML, "x.yaml", text, strlen(text), &root, &err), 0);
	for (uint64_t n = 1; rc != 0; n++) {
		assert_true(n < 100);
		mem_fault_begin();
		mem_fault_arm(n);
		buf_init(&out, UNIT_BYTES_MAX);
		rc = unit_parse(root, "x", "x.yaml", false, &out, NULL, NULL, &err);
		buf_release(&out);
		assert_int_equal(mem_fault_end(), 0);
	}
	cfg_free(root);
}

/* Once it is loaded, a service starts, ends, is restarted and stopped without a single allocation. */
static void supervision_allocates_nothing(void **state)
{
	struct service *s = add("x", "exec: sh -c 'echo out; exec sleep 1000'\nrestart_delay: 1ms\n");

	(void)state;
	assert_int_equal(loop_reaper_set(&sup.loop, on_reaped, &sup), 0);
	mem_fault_begin();
	mem_fault_arm_from(1);
	assert_int_equal(service_start(s), 0);
	for (int i = 0; i < 200 && s->state != SM_RUNNING; i++)
		loop_run_once(&sup.loop, 50);
	assert_int_equal(s->state, SM_RUNNING);
	assert_int_equal(service_kill(s, 9), 0);
	for (int i = 0; i < 200 && !(s->state == SM_RUNNING && s->starts == 2); i++)
		loop_run_once(&sup.loop, 50);
	assert_int_equal(s->starts, 2);
	service_stop(s);
	for (int i = 0; i < 200 && s->state != SM_IDLE; i++)
		loop_run_once(&sup.loop, 50);
	assert_int_equal(s->state, SM_IDLE);
	assert_int_equal(mem_fault_end(), 0);
}

static void on_settle_stop(struct loop_post *post)
{
	(void)post;
	(void)graph_stop_step(&sup);
}

/* While a service takes its time to end, each settling of the stop must not ask for the next one: that was a busy loop. */
static void a_stop_under_way_is_waited_for_asleep(void **state)
{
	struct service *s = add("x", "exec: sleep 1000\nsignal:\n  stop: sigwinch\n"); /* it does not mind */

	(void)state;
	assert_int_equal(loop_reaper_set(&sup.loop, on_reaped, &sup), 0);
	assert_int_equal(service_start(s), 0);
	for (int i = 0; i < 200 && s->state != SM_RUNNING; i++)
		loop_run_once(&sup.loop, 50);
	assert_int_equal(s->state, SM_RUNNING);
	assert_true(loop_post_cancel(&sup.loop, &sup.settle) || !sup.settle.is_queued);
	loop_post_init(&sup.settle, on_settle_stop, &sup);
	sup.is_stopping = true;
	sup_touch(&sup);
	for (int i = 0; i < 20; i++)
		loop_run_once(&sup.loop, 0);
	assert_int_equal(s->state, SM_STOPPING);
	assert_false(sup.settle.is_queued);
	assert_int_equal(service_kill(s, 9), 0);
	for (int i = 0; i < 200 && s->state != SM_IDLE; i++)
		loop_run_once(&sup.loop, 50);
	assert_int_equal(s->state, SM_IDLE);
}

/* Cycles: every member is found and told the way; who only depends on one is not a member; without the file the cycle is over. */
static void cycles(void **state)
{
	struct service *a = add("a", "exec: x\nafter: b\n"), *b = add("b", "exec: x\nafter: [none, c]\n"),
		       *c = add("c", "exec: x\nrequires: a\n"), *d = add("d", "exec: x\nafter: c\n"),
		       *self = add("self", "exec: x\nafter: self\n"), *e = add("e", "exec: x\n");

	(void)state;
	graph_resolve(&sup);
	graph_find_cycles(&sup);
	assert_true(a->is_cyclic && b->is_cyclic && c->is_cyclic && self->is_cyclic);
	assert_false(d->is_cyclic || e->is_cyclic);
	assert_string_equal(b->reason, "dependency cycle: a -> b -> c -> a");
	assert_string_equal(self->reason, "dependency cycle: self -> self");
	service_free(c);
	graph_resolve(&sup);
	graph_find_cycles(&sup);
	assert_false(a->is_cyclic || b->is_cyclic);
	assert_true(self->is_cyclic);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(making_without_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(parsing_without_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(supervision_allocates_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stop_under_way_is_waited_for_asleep, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cycles, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("zinit: services", tests, NULL, NULL);
}
