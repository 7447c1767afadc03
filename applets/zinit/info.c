/*
 * info: see info.h.
 */
#include "applets/zinit/info.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/ctl.h"
#include "applets/zinit/fdstore.h"
#include "applets/zinit/service.h"
#include "applets/zinit/stats.h"

yyjson_mut_val *info_list(yyjson_mut_doc *doc, const struct sup *sup)
{
	yyjson_mut_val *map = yyjson_mut_obj(doc);
	char text[96];

	sup_each(sup, s)
	{
		yyjson_mut_obj_add(map, yyjson_mut_strcpy(doc, s->name),
				   yyjson_mut_strcpy(doc, service_state_text(s, text, sizeof(text))));
	}
	return map;
}

static yyjson_mut_val *after_of(yyjson_mut_doc *doc, const struct service *s)
{
	yyjson_mut_val *map = yyjson_mut_obj(doc);
	char text[96];

	for (uint32_t i = 0; i < s->dep_count; i++) {
		const struct service *other = s->deps[i].service;

		yyjson_mut_obj_put(
			map, yyjson_mut_strcpy(doc, s->deps[i].name),
			yyjson_mut_strcpy(doc,
					  other ? service_state_text(other, text, sizeof(text)) : "Unknown"));
	}
	return map;
}

yyjson_mut_val *info_status(yyjson_mut_doc *doc, const struct service *s, bool is_sorted)
{
	yyjson_mut_val *map = yyjson_mut_obj(doc);
	char text[96];

	if (is_sorted)
		yyjson_mut_obj_add_val(doc, map, "after", after_of(doc, s));
	yyjson_mut_obj_add_strcpy(doc, map, "name", s->name);
	yyjson_mut_obj_add_int(doc, map, "pid", s->pid);
	yyjson_mut_obj_add_strcpy(doc, map, "state", service_state_text(s, text, sizeof(text)));
	yyjson_mut_obj_add_str(doc, map, "target", s->is_wanted ? "Up" : "Down");
	if (!is_sorted)
		yyjson_mut_obj_add_val(doc, map, "after", after_of(doc, s));
	return map;
}

yyjson_mut_val *info_text(yyjson_mut_doc *doc, const void *data, size_t len)
{
	const uint8_t *at = data, *end = at + len;
	struct buf clean = BUF_INIT(3 * (RING_LINE_MAX + 512));
	yyjson_mut_val *value;

	if (str_is_utf8(data, len))
		return yyjson_mut_strncpy(doc, data, len);
	while (at < end) {
		size_t n = 1;

		/* The longest valid sequence that begins here. */
		while (n <= 4 && n <= (size_t)(end - at) && !str_is_utf8(at, n))
			n++;
		if (n > 4 || n > (size_t)(end - at)) {
			if (buf_append_str(&clean, "\xef\xbf\xbd"))
				break;
			at++;
		} else {
			if (buf_append(&clean, at, n))
				break;
			at += n;
		}
	}
	value = yyjson_mut_strncpy(doc, (const char *)clean.data, clean.len);
	buf_release(&clean);
	return value;
}

static void add_exit(yyjson_mut_doc *doc, yyjson_mut_val *map, const struct service *s, uint64_t now)
{
	yyjson_mut_val *last = yyjson_mut_obj(doc);
	char text[64];

	yyjson_mut_obj_add_int(doc, last, "pid", s->last_pid);
	yyjson_mut_obj_add_strcpy(doc, last, "status",
				  service_status_text(text, sizeof(text), s->last_status));
	yyjson_mut_obj_add_uint(doc, last, "ago_ms", now - s->ended_ms);
	yyjson_mut_obj_add_val(doc, map, "last_exit", last);
}

static void add_lines(yyjson_mut_doc *doc, yyjson_mut_val *map, struct service *s, uint32_t lines)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	uint64_t seq = ring_seq_of_last(&s->ring, lines);
	const struct ring_line *line;

	while (seq && (line = ring_find(&s->ring, seq))) {
		yyjson_mut_arr_append(list, info_text(doc, ring_line_data(line), line->len));
		seq = line->seq + 1;
	}
	yyjson_mut_obj_add_val(doc, map, "log", list);
}

yyjson_mut_val *info_full(yyjson_mut_doc *doc, struct service *s, uint32_t lines)
{
	yyjson_mut_val *map = info_status(doc, s, false);
	uint64_t now = clock_mono_ms();

	yyjson_mut_obj_add_bool(doc, map, "ready", service_is_satisfying(s));
	yyjson_mut_obj_add_str(doc, map, "phase", sm_state_name(s->state));
	yyjson_mut_obj_add_uint(doc, map, "since_ms", now - s->changed_ms);
	if (s->pid)
		yyjson_mut_obj_add_uint(doc, map, "uptime_ms", now - s->started_ms);
	yyjson_mut_obj_add_uint(doc, map, "restarts", s->starts ? s->starts - 1 : 0);
	yyjson_mut_obj_add_uint(doc, map, "attempts", s->attempts);
	if (s->has_exited)
		add_exit(doc, map, s, now);
	if (s->state == SM_BACKOFF)
		yyjson_mut_obj_add_uint(doc, map, "next_start_ms",
					s->next_start_ms > now ? s->next_start_ms - now : 0);
	if (s->stop_began_ms && service_is_live(s))
		yyjson_mut_obj_add_uint(doc, map, "stop_left_ms",
					s->deadline_ms > now ? s->deadline_ms - now : 0);
	if (s->limits_text[0])
		yyjson_mut_obj_add_strcpy(doc, map, "limits", s->limits_text);
	if (s->fdstore)
		yyjson_mut_obj_add_uint(doc, map, "stored_fds", fdstore_count(s));
	if (s->status_text[0])
		yyjson_mut_obj_add_val(doc, map, "status",
				       info_text(doc, s->status_text, strlen(s->status_text)));
	if (s->pending)
		yyjson_mut_obj_add_bool(doc, map, "changed_on_disk", true);
	if (s->reason[0] && !service_is_satisfying(s))
		yyjson_mut_obj_add_strcpy(doc, map, "reason", s->reason);
	yyjson_mut_obj_add_strcpy(doc, map, "file", unit_str(s->unit, s->unit->path));
	if (lines)
		add_lines(doc, map, s, lines);
	return map;
}

yyjson_mut_val *info_stats(yyjson_mut_doc *doc, const struct service *s, const struct stats *before)
{
	yyjson_mut_val *map = yyjson_mut_obj(doc), *children = yyjson_mut_arr(doc);
	struct stats now;

	stats_sample(&now, s->pid, before);
	yyjson_mut_obj_add_strcpy(doc, map, "name", s->name);
	yyjson_mut_obj_add_int(doc, map, "pid", s->pid);
	yyjson_mut_obj_add_uint(doc, map, "memory_usage", now.count ? now.processes[0].memory : 0);
	yyjson_mut_obj_add_real(doc, map, "cpu_usage", now.count ? now.processes[0].cpu_percent : 0);
	for (uint32_t i = 1; i < now.count; i++) {
		yyjson_mut_val *child = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_int(doc, child, "pid", now.processes[i].pid);
		yyjson_mut_obj_add_uint(doc, child, "memory_usage", now.processes[i].memory);
		yyjson_mut_obj_add_real(doc, child, "cpu_usage", now.processes[i].cpu_percent);
		yyjson_mut_arr_append(children, child);
	}
	yyjson_mut_obj_add_val(doc, map, "children", children);
	return map;
}

static void add_sentence(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct service *s)
{
	char text[96], sentence[400];

	snprintf(sentence, sizeof(sentence), "%s is %s%s%s", s->name,
		 service_state_text(s, text, sizeof(text)),
		 s->reason[0]   ? ": "
		 : s->is_wanted ? ""
				: ": nobody wants it up",
		 s->reason);
	yyjson_mut_arr_add_strcpy(doc, list, sentence);
}

yyjson_mut_val *info_why(yyjson_mut_doc *doc, const struct service *s)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	/* Down the first unsatisfied dependency of each; a cycle ends at its first member. */
	for (int depth = 0; depth < 64; depth++) {
		const struct dep *missing = NULL;

		add_sentence(doc, list, s);
		if (s->is_cyclic || service_is_satisfying(s) || service_has_deps(s, &missing) ||
		    !missing->service)
			break;
		s = missing->service;
	}
	return list;
}

uint64_t info_seq_of_last(struct sup *sup, struct service *only, uint64_t lines)
{
	uint64_t last = sup->log_seq;

	if (lines == 0)
		return last + 1;
	if (only) {
		uint64_t seq =
			ring_seq_of_last(&only->ring, lines > UINT32_MAX ? UINT32_MAX : (uint32_t)lines);

		return seq ? seq : last + 1;
	}
	/* Sequence numbers have no gaps, though rings may have lost some of them: at most `lines` are left. */
	return last > lines ? last - lines + 1 : 1;
}

static uint64_t ring_since(struct ring *ring, uint64_t wall_ms)
{
	const struct ring_line *line = ring_find(ring, 0);

	while (line && line->wall_ms < wall_ms)
		line = ring_find(ring, line->seq + 1);
	return line ? line->seq : UINT64_MAX;
}

uint64_t info_seq_since(struct sup *sup, struct service *only, uint64_t wall_ms)
{
	uint64_t first = UINT64_MAX;

	sup_each(sup, s)
	{
		uint64_t seq = !only || only == s ? ring_since(&s->ring, wall_ms) : UINT64_MAX;

		if (seq < first)
			first = seq;
	}
	return first == UINT64_MAX ? sup->log_seq + 1 : first;
}
