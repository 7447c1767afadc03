/*
 * graph: see graph.h. The graphs are small (hundreds of services, a few names each), so that plain searches over them
 * take microseconds; nothing is allocated: the path of a search is kept in the services' marks and on the stack.
 */
#include "applets/zinit/graph.h"

#include <stdio.h>
#include <string.h>

#include "core/base/str.h"

#include "applets/zinit/note.h"
#include "applets/zinit/service.h"

enum { PATH_MAX_SHOWN = 32, DEPTH_MAX = 4096 };

void graph_resolve(struct sup *sup)
{
	sup_each(sup, s)
	{
		const char *slash = strrchr(s->name, '/');

		for (uint32_t i = 0; i < s->dep_count; i++) {
			struct dep *dep = &s->deps[i];
			char inner[2 * UNIT_NAME_MAX + 2];

			dep->service = NULL;
			/* In a group a name means the group's own service first. */
			if (slash && str_fmt(inner, sizeof(inner), "%.*s/%s", (int)(slash - s->name), s->name,
					     dep->name) > 0)
				dep->service = sup_find(sup, inner);
			if (!dep->service)
				dep->service = sup_find(sup, dep->name);
		}
	}
}

void graph_report_undefined(struct sup *sup)
{
	sup_each(sup, s)
	{
		for (uint32_t i = 0; i < s->dep_count; i++)
			if (!s->deps[i].service)
				note_warn("graph", "%s: depends on %s, which is not defined", s->name,
					  s->deps[i].name);
	}
}

/* ---- cycles ---- */

struct search {
	struct service *from;
	struct service *path[DEPTH_MAX];
	uint32_t next_dep[DEPTH_MAX];
	uint32_t len;
	uint32_t round; /* marks of this search */
};

/* Depth first from s->from until it is met again: then path[0..len) is the cycle. */
static bool find_way_back(struct search *s)
{
	s->len = 1;
	s->path[0] = s->from;
	s->next_dep[0] = 0;
	while (s->len > 0) {
		struct service *at = s->path[s->len - 1];
		struct service *next;

		if (s->next_dep[s->len - 1] == at->dep_count) {
			s->len--;
			continue;
		}
		next = at->deps[s->next_dep[s->len - 1]++].service;
		if (next == s->from)
			return true;
		if (!next || next->mark == s->round || s->len == DEPTH_MAX)
			continue;
		next->mark = s->round;
		s->path[s->len] = next;
		s->next_dep[s->len++] = 0;
	}
	return false;
}

static void describe(const struct search *s, char *dst, size_t size)
{
	size_t len = 0;

	dst[0] = '\0';
	for (uint32_t i = 0; i <= s->len && len < size; i++) {
		const char *name = s->path[i % s->len]->name;
		int n;

		if (i == PATH_MAX_SHOWN) {
			n = snprintf(dst + len, size - len, " -> ...");
			i = s->len;
		} else {
			n = snprintf(dst + len, size - len, "%s%s", i ? " -> " : "dependency cycle: ", name);
		}
		if (n < 0)
			return;
		len += (size_t)n;
	}
}

void graph_find_cycles(struct sup *sup)
{
	static struct search search;
	static uint32_t round;

	sup_each(sup, s) s->is_cyclic = false;
	sup_each(sup, s)
	{
		char chain[sizeof(s->reason)];

		if (s->is_cyclic || service_is_live(s))
			continue;
		search.from = s;
		search.round = ++round;
		if (!find_way_back(&search))
			continue;
		describe(&search, chain, sizeof(chain));
		if (strcmp(chain, s->reason) != 0)
			note_err("graph", "%s", chain);
		for (uint32_t i = 0; i < search.len; i++) {
			struct service *member = search.path[i];

			if (service_is_live(member))
				continue;
			member->is_cyclic = true;
			str_copy(member->reason, sizeof(member->reason), chain);
			service_show(member, SHOWN_FAILURE);
		}
	}
}

/* ---- ordered stop ---- */

/* Down for good, as far as the order of a stop is concerned: a process that SIGKILL does not end is not waited for. */
static bool is_over(const struct service *s)
{
	return !service_is_live(s) || (s->state == SM_KILLING && s->kill_tries > 3);
}

static void count_waiters(struct sup *sup)
{
	sup_each(sup, s) s->waiters_below = 0;
	sup_each(sup, s)
	{
		if (s->is_done || s->is_cyclic)
			continue;
		for (uint32_t i = 0; i < s->dep_count; i++)
			if (s->deps[i].service && s->deps[i].service != s)
				s->deps[i].service->waiters_below++;
	}
}

uint32_t graph_stop_step(struct sup *sup)
{
	uint32_t live = 0, stopping = 0;
	bool has_changed = true;

	sup_each(sup, s) s->is_done = false;
	while (has_changed) {
		has_changed = false;
		count_waiters(sup);
		sup_each(sup, s)
		{
			if (s->is_done || s->waiters_below > 0)
				continue;
			if (is_over(s)) {
				s->is_done = has_changed = true;
				continue;
			}
			service_stop(
				s); /* in a state where the stop is under way already this changes nothing */
		}
	}
	sup_each(sup, s)
	{
		live += !is_over(s);
		stopping += !is_over(s) && s->stop_began_ms != 0;
	}
	/* Nothing may keep a stop from ending: without an order that works, they all stop at once. */
	if (live > 0 && stopping == 0)
		sup_each(sup, s) service_stop(s);
	return live;
}
