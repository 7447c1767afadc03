/*
 * service_life: a service from its unit to its end, with all that is made for it beforehand, so that supervision allocates nothing.
 */
#include "applets/zinit/service_int.h"

#include <errno.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"

#include "applets/zinit/capture.h"
#include "applets/zinit/cgroup.h"
#include "applets/zinit/fdstore.h"
#include "applets/zinit/job.h"
#include "applets/zinit/logger.h"
#include "applets/zinit/notify.h"

static int make_deps(struct service *s)
{
	const struct unit *unit = s->unit;
	const char *name = unit_str(unit, unit->after);
	uint32_t count = unit->after.count + unit->requires.count, at = 0;

	s->deps = mem_calloc(count ? count : 1, sizeof(*s->deps));
	if (!s->deps)
		return -ENOMEM;
	for (uint32_t i = 0; i < unit->after.count; i++, name = unit_str_next(name))
		s->deps[at++] = (struct dep){.name = name};
	name = unit_str(unit, unit->requires);
	for (uint32_t i = 0; i < unit->requires.count; i++, name = unit_str_next(name))
		s->deps[at++] = (struct dep){.name = name, .is_hard = true};
	s->dep_count = at;
	return 0;
}

/* What is made for a unit, in order; what was made before an error is taken back by undo_unit(). */
static int make_unit_parts(struct service *s)
{
	int rc = capture_init(s);

	if (rc == 0)
		rc = make_deps(s);
	if (rc == 0)
		rc = logger_new(s);
	if (rc == 0)
		rc = fdstore_new(s);
	if (rc == 0)
		rc = notify_new(s);
	return rc;
}

static void undo_unit_parts(struct service *s)
{
	notify_free(s);
	fdstore_free(s);
	logger_free(s);
	cgroup_release(s);
	capture_release(s);
	mem_free(s->deps);
	s->deps = NULL;
	s->dep_count = 0;
}

int service_replace_unit(struct service *s, struct unit *unit)
{
	struct unit *old = s->unit;
	struct ring ring = s->ring;
	int rc;

	/* The lines that were written so far stay. */
	memset(&s->ring, 0, sizeof(s->ring));
	undo_unit_parts(s);
	s->unit = unit;
	s->name = unit_str(unit, unit->name);
	rc = make_unit_parts(s);
	if (rc) {
		/* Back to what worked; if even that cannot be made, it runs without log and dependencies. */
		undo_unit_parts(s);
		s->unit = old;
		s->name = unit_str(old, old->name);
		(void)make_unit_parts(s);
		old = unit;
	}
	if (s->ring.base && ring.base) {
		ring_release(&s->ring);
		s->ring = ring;
	} else {
		ring_release(&ring);
	}
	mem_free(old);
	return rc;
}

static void insert_sorted(struct sup *sup, struct service *s)
{
	struct list *at = sup->services.next;

	while (at != &sup->services && strcmp(container_of(at, struct service, link)->name, s->name) < 0)
		at = at->next;
	list_add_before(at, &s->link);
	sup->service_count++;
}

int service_new(struct sup *sup, const struct unit *unit, struct service **service)
{
	struct service *s = mem_calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->sup = sup;
	s->unit = mem_dup(unit, unit->size);
	if (!s->unit) {
		mem_free(s);
		return -ENOMEM;
	}
	s->name = unit_str(s->unit, s->unit->name);
	s->report.fd = s->notify.fd = s->notify_write_fd = -1;
	loop_timer_init(&s->timer, service_on_timer, s);
	job_init(&s->probe, s);
	job_init(&s->drain, s);
	list_init(&s->link);
	s->changed_ms = clock_mono_ms();
	rc = make_unit_parts(s);
	if (rc) {
		service_free(s);
		return rc;
	}
	insert_sorted(sup, s);
	*service = s;
	return 0;
}

void service_free(struct service *s)
{
	if (list_is_linked(&s->link)) {
		list_del(&s->link);
		s->sup->service_count--;
	}
	loop_timer_stop(&s->timer);
	service_close_report(s);
	job_stop(&s->probe);
	job_stop(&s->drain);
	undo_unit_parts(s);
	mem_free(s->unit);
	mem_free(s->pending);
	mem_free(s);
}
