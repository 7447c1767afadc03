/*
 * environment: see environment.h. One allocation holds the array and, behind it, the file's text, cut into strings in
 * place; each line is moved down so that a '=' can be added to one that has none.
 */
#include "applets/zinit/environment.h"

#include <string.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

enum { FILE_BYTES_MAX = 256 << 10, LINES_MAX = 2048 };

char **environment_load(const char *path)
{
	char *text = NULL, *cursor, *line, *out;
	char **table = NULL;
	size_t count = 0, len;

	if (file_read_all(path, FILE_BYTES_MAX, &text, &len))
		return NULL;
	/* Every line may grow by one byte, and has at least its line end. */
	table = mem_alloc((LINES_MAX + 1) * sizeof(*table) + len + LINES_MAX + 2);
	if (!table)
		goto out;
	out = (char *)(table + LINES_MAX + 1);
	cursor = text;
	while (count < LINES_MAX && (line = str_next(&cursor, '\n'))) {
		line = str_trim(line);
		if (!*line || *line == '#')
			continue;
		table[count++] = out;
		len = strlen(line);
		memcpy(out, line, len);
		out += len;
		if (!strchr(line, '='))
			*out++ = '=';
		*out++ = '\0';
	}
	table[count] = NULL;
out:
	mem_free(text);
	return table;
}

void environment_free(char **environment)
{
	mem_free(environment);
}
