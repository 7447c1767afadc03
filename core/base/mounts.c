#include <errno.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/mounts.h"
#include "core/base/str.h"

#define MOUNTINFO_MAX (16u << 20)

/* Undoes the octal escapes (\040 for a blank) in place. */
static void unescape_octal(char *text)
{
	char *out = text;

	while (*text) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' &&
		    text[3] >= '0' && text[3] <= '7') {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

/* One line: id parent major:minor root MOUNT options tags... - TYPE source superoptions. */
static bool parse_line(char *line, struct mounts_entry *e)
{
	char *cursor = line, *mount = NULL, *field;

	for (int i = 0; i < 5; i++)
		mount = str_next(&cursor, ' ');
	if (!mount || !cursor)
		return false;
	unescape_octal(mount);
	while ((field = str_next(&cursor, ' ')) && strcmp(field, "-") != 0)
		;
	e->point = mount;
	e->type = str_next(&cursor, ' ');
	return e->type != NULL;
}

int mounts_each(int (*each)(void *ctx, const struct mounts_entry *e), void *ctx)
{
	char *text = NULL, *cursor, *line;
	struct mounts_entry e;
	int rc = file_read_all("/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL);

	cursor = text;
	while (rc == 0 && (line = str_next(&cursor, '\n'))) {
		if (parse_line(line, &e))
			rc = each(ctx, &e);
	}
	mem_free(text);
	return rc;
}

struct find {
	const char *path;
	char *type;
	size_t size;
	bool found;
};

static int find_each(void *ctx, const struct mounts_entry *e)
{
	struct find *f = ctx;

	if (strcmp(e->point, f->path) == 0) {
		(void)str_copy(f->type, f->size,
			       e->type); /* a longer type than fits is none that we look for */
		f->found = true;
	}
	return 0;
}

int mounts_type_at(const char *path, char *type, size_t size)
{
	struct find f = {path, type, size, false};
	int rc;

	type[0] = '\0';
	rc = mounts_each(find_each, &f);
	return rc ? rc : f.found;
}

bool mounts_is_ours(const char *type)
{
	return strcmp(type, "fuse.zdbfs") == 0 || strcmp(type, "fuse.qsfs") == 0 ||
	       strcmp(type, "fuse.zdb-fs") == 0;
}
