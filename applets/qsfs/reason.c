#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "applets/qsfs/reason.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/ctl/ctl.h"

#define LOG_MAX (64u << 20)

/* The last line that is an error; else the last line at all. */
static void last_line(char *text, char *dst, size_t size)
{
	char *cursor = text, *line, *at;
	bool is_error = false;

	while ((line = str_next(&cursor, '\n'))) {
		at = strstr(line, " err ");
		if (*line && (at || !is_error)) {
			is_error |= at != NULL;
			str_copy(dst, size, line);
		}
	}
}

/*
 * Drops what the caller's own line says already: "[-] zdb: " of the supervisor's log files, and
 * "2026-11-21T20:14:02.123Z err zstor[412]: " of a daemon's line.
 */
static void strip_head(char *line)
{
	char *at = NULL;

	if (str_starts(line, "[-] ") || str_starts(line, "[+] "))
		at = strstr(line, ": ");
	if (at)
		memmove(line, at + 2, strlen(at + 2) + 1);
	at = strlen(line) > 4 && line[4] == '-' ? strstr(line, "]: ") : NULL;
	if (at)
		memmove(line, at + 3, strlen(at + 3) + 1);
}

static int from_file(const struct volume *v, const char *service, const char *ext, char *dst, size_t size)
{
	char path[VOLUME_PATH + 128], *text = NULL;
	int rc;

	str_fmt(path, sizeof(path), "%s/%s.%s", v->log, service, ext);
	dst[0] = 0;
	rc = file_read_all(path, LOG_MAX, &text, NULL);
	if (rc == 0)
		last_line(text, dst, size);
	mem_free(text);
	strip_head(dst);
	return dst[0] ? 0 : -ENOENT;
}

int reason_of(const struct volume *v, const char *service, char *dst, size_t size)
{
	int rc = from_file(v, service, "out", dst, size);

	return rc ? from_file(v, service, "log", dst, size) : 0;
}

static void copy_member(yyjson_val *o, const char *key, char *dst, size_t size)
{
	const char *text = yyjson_get_str(yyjson_obj_get(o, key));

	str_copy(dst, size, text ? text : "");
}

static int see_status(void *ctx, yyjson_val *line)
{
	struct volume_says *says = ctx;
	yyjson_val *volume = yyjson_obj_get(line, "volume");

	copy_member(volume, "state", says->state, sizeof(says->state));
	copy_member(volume, "why", says->why, sizeof(says->why));
	says->code = yyjson_get_int(yyjson_obj_get(volume, "code"));
	copy_member(yyjson_obj_get(line, "restore"), "text", says->restore, sizeof(says->restore));
	return 0;
}

void reason_volume(const struct volume *v, struct volume_says *says)
{
	char socket[VOLUME_PATH + 64];

	memset(says, 0, sizeof(*says));
	str_fmt(socket, sizeof(socket), "%s/zstor.sock", v->run);
	ctl_call(socket, "{\"cmd\":\"status\"}", 2000, see_status, says, NULL);
}
