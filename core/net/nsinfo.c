/* nsinfo: the "name: value" texts of NSINFO and INFO, read. Declared in client.h. */
#include "core/net/client.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum field_kind { TEXT, YES, UNSIGNED, SWAPPED, MODE };

struct field {
	const char *name;
	enum field_kind kind;
	size_t offset, size;
};

#define FIELD(NAME, KIND, member)                                                                            \
	{                                                                                                    \
		NAME, KIND, offsetof(struct nsinfo, member), sizeof(((struct nsinfo *)0)->member)            \
	}

static const struct field fields[] = {
	FIELD("name", TEXT, name),
	FIELD("entries", UNSIGNED, entries),
	FIELD("public", YES, is_public),
	FIELD("worm", YES, worm),
	FIELD("locked", YES, locked),
	FIELD("password", YES, password),
	FIELD("mode", MODE, sequential),
	FIELD("data_size_bytes", UNSIGNED, data_size_bytes),
	FIELD("data_limits_bytes", UNSIGNED, data_limit_bytes),
	FIELD("index_size_bytes", UNSIGNED, index_size_bytes),
	FIELD("next_internal_id", SWAPPED, next_id),
	FIELD("index_disk_freespace_bytes", UNSIGNED, index_free_bytes),
	FIELD("data_disk_freespace_bytes", UNSIGNED, data_free_bytes),
	FIELD("stats_index_io_errors", UNSIGNED, index_io_errors),
	FIELD("stats_index_io_error_last", UNSIGNED, index_io_error_last),
	FIELD("stats_index_faults", UNSIGNED, index_faults),
	FIELD("stats_data_io_errors", UNSIGNED, data_io_errors),
	FIELD("stats_data_io_error_last", UNSIGNED, data_io_error_last),
	FIELD("stats_data_faults", UNSIGNED, data_faults),
	FIELD("data_path", TEXT, data_path),
	FIELD("index_path", TEXT, index_path),
	FIELD("data_current_id", UNSIGNED, data_current_id),
	FIELD("data_current_offset", UNSIGNED, data_current_offset),
};

static void store(struct nsinfo *out, const struct field *f, const char *value, size_t len)
{
	char *at = (char *)out + f->offset;
	char number[32];
	uint64_t n;

	switch (f->kind) {
	case TEXT:
		if (len >= f->size)
			len = f->size - 1;
		memcpy(at, value, len);
		at[len] = '\0';
		return;
	case YES:
		*(bool *)at = len == 3 && memcmp(value, "yes", 3) == 0;
		return;
	case MODE:
		*(bool *)at = len == 10 && memcmp(value, "sequential", 10) == 0;
		return;
	case UNSIGNED:
	case SWAPPED:
		if (len >= sizeof(number))
			return;
		memcpy(number, value, len);
		number[len] = '\0';
		n = strtoull(number, NULL, f->kind == SWAPPED ? 16 : 10);
		/* printed as the bytes of the little-endian counter, read as one big-endian number */
		if (f->kind == SWAPPED)
			n = __builtin_bswap64(n);
		if (f->size == 4)
			*(uint32_t *)(void *)at = (uint32_t)n;
		else
			*(uint64_t *)(void *)at = n;
		return;
	}
}

int nsinfo_parse(struct nsinfo *out, const char *text, size_t len)
{
	const char *end = text + len;
	bool named = false;
	size_t i;

	memset(out, 0, sizeof(*out));
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		const char *line_end = nl ? nl : end, *next = nl ? nl + 1 : end;
		const char *colon = memchr(text, ':', (size_t)(line_end - text));

		if (line_end > text && line_end[-1] == '\r')
			line_end--;
		if (!colon || colon + 2 > line_end || colon[1] != ' ') {
			text = next;
			continue;
		}
		for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
			if (strlen(fields[i].name) != (size_t)(colon - text) ||
			    memcmp(fields[i].name, text, (size_t)(colon - text)) != 0)
				continue;
			store(out, &fields[i], colon + 2, (size_t)(line_end - colon - 2));
			if (i == 0)
				named = true;
			if (fields[i].offset == offsetof(struct nsinfo, data_current_offset))
				out->has_current = true;
		}
		text = next;
	}
	return named ? 0 : -EPROTO;
}
