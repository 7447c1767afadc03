/*
 * unit_load: see unit_load.h. The child writes records {kind, length, bytes} to a pipe:
 *
 *	FILE	name of the file that is read next
 *	WARN	a sentence
 *	ERROR	a sentence: the file is not used
 *	UNIT	a block (unit.h)
 *	END	everything was read
 *
 * A pipe that ends without END means that the child died in the last FILE.
 */
#include "applets/zinit/unit_load.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <yyjson.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/unit_parse.h"

enum record_kind {
	RECORD_FILE = 1,
	RECORD_WARN,
	RECORD_ERROR,
	RECORD_UNIT,
	RECORD_END,
	RECORD_JSON, /* unit_load_json(): the file's content */
};

struct record {
	uint32_t kind, len;
};

enum {
	LOAD_SILENCE_MS = 10000, /* a file that takes longer is given up */
	LOAD_FILES_MAX = 8192,
	LOAD_CRASHES_MAX = 64, /* children that may die before the rest of the directory is given up */
};

/* ---- the child ---- */

struct names {
	char *names[LOAD_FILES_MAX]; /* relative to the directory: "zdb.yaml", "group/zdb.yaml" */
	size_t count;
	const char *dir;
	const char *group; /* being listed */
	bool has_groups;
};

static void emit(int fd, uint32_t kind, const void *data, size_t len)
{
	struct record record = {kind, (uint32_t)len};

	if (file_write_full(fd, &record, sizeof(record)) || (len && file_write_full(fd, data, len)))
		_exit(1);
}

static void emit_text(int fd, uint32_t kind, const char *text)
{
	emit(fd, kind, text, strlen(text));
}

/* The length of the unit's name when this is the name of a unit file, else 0. */
static size_t unit_name_len(const char *file)
{
	size_t len = strlen(file);

	if (len > 5 && strcmp(file + len - 5, ".yaml") == 0)
		return len - 5;
	if (len > 4 && strcmp(file + len - 4, ".ini") == 0)
		return len - 4;
	return 0;
}

static int names_add(struct names *list, const char *name)
{
	if (list->count == LOAD_FILES_MAX)
		return -E_LIMIT;
	list->names[list->count] = list->group ? mem_fmt("%s/%s", list->group, name) : mem_strdup(name);
	return list->names[list->count] ? (list->count++, 0) : -ENOMEM;
}

static int list_entry(void *ctx, const char *name, unsigned char type)
{
	struct names *list = ctx;
	char path[FILE_PATH_MAX], inner[FILE_PATH_MAX];
	struct stat st;

	(void)type; /* links to regular files count: ask stat, which follows them */
	if (file_join(path, sizeof(path), list->dir, list->group ? list->group : name) ||
	    (list->group &&
	     (file_join(inner, sizeof(inner), path, name) || str_copy(path, sizeof(path), inner))))
		return 0;
	if (!unit_name_len(name) && !list->has_groups)
		return 0;
	if (stat(path, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode) && list->has_groups && !list->group && name[0] != '.') {
		int rc;

		list->group = name;
		rc = file_list(path, list_entry, list);
		list->group = NULL;
		return rc;
	}
	return S_ISREG(st.st_mode) && unit_name_len(name) ? names_add(list, name) : 0;
}

/* By unit name; the .yaml of two files with one name first. */
static int compare_names(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	size_t xl = unit_name_len(x), yl = unit_name_len(y), min = xl < yl ? xl : yl;
	int order = memcmp(x, y, min);

	if (order == 0)
		order = xl < yl ? -1 : xl > yl;
	return order ? order : -strcmp(x, y);
}

static void child_warn(void *ctx, const char *sentence)
{
	emit_text(*(int *)ctx, RECORD_WARN, sentence);
}

static void child_load(int fd, const char *dir, const char *file, bool is_strict)
{
	char path[FILE_PATH_MAX], name[UNIT_NAME_MAX + 1];
	struct buf block = BUF_INIT(UNIT_BYTES_MAX);
	struct err_text err = {.text = ""};
	struct cfg_node *root = NULL;
	size_t len = unit_name_len(file);
	int rc;

	emit_text(fd, RECORD_FILE, file);
	rc = len > UNIT_NAME_MAX ? -ENAMETOOLONG : file_join(path, sizeof(path), dir, file);
	if (rc == 0)
		rc = str_copy_n(name, sizeof(name), file, len);
	if (rc == 0 && !str_is_utf8(name, len))
		rc = err_set(&err, -EINVAL, "%s: the name is not UTF-8", file);
	if (rc == 0)
		rc = cfg_load(path, &root, &err);
	if (rc == 0)
		rc = unit_parse(root, name, path, is_strict, &block, child_warn, &fd, &err);
	if (rc == 0)
		emit(fd, RECORD_UNIT, block.data, block.len);
	else if (err.text[0])
		emit_text(fd, RECORD_ERROR, err.text);
	else {
		err_set(&err, rc, "%s: %s", file, err_str(rc));
		emit_text(fd, RECORD_ERROR, err.text);
	}
	cfg_free(root);
	buf_release(&block);
}

static yyjson_mut_val *json_of(yyjson_mut_doc *doc, const struct cfg_node *node)
{
	yyjson_mut_val *value;
	uint64_t number;

	if (node->kind == CFG_MAP) {
		value = yyjson_mut_obj(doc);
		cfg_each(node, it)
			yyjson_mut_obj_add(value, yyjson_mut_strcpy(doc, it->key), json_of(doc, it));
		return value;
	}
	if (node->kind == CFG_LIST) {
		value = yyjson_mut_arr(doc);
		cfg_each(node, it) yyjson_mut_arr_append(value, json_of(doc, it));
		return value;
	}
	if (node->scalar == CFG_NULL || !node->text)
		return yyjson_mut_null(doc);
	if (node->scalar != CFG_STRING && str_parse_u64(node->text, &number) == 0)
		return yyjson_mut_uint(doc, number);
	if (node->scalar != CFG_STRING && (str_eq(node->text, "true") || str_eq(node->text, "false")))
		return yyjson_mut_bool(doc, node->text[0] == 't');
	return yyjson_mut_strncpy(doc, node->text, node->text_len);
}

static void child_json(int fd, const char *path)
{
	struct err_text err = {.text = ""};
	struct cfg_node *root = NULL;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	char *text = NULL;
	size_t len;
	int rc = cfg_load(path, &root, &err);

	if (rc == 0 && doc) {
		yyjson_mut_doc_set_root(doc, json_of(doc, root));
		text = yyjson_mut_write(doc, YYJSON_WRITE_NOFLAG, &len);
	}
	if (text && len <= UNIT_BYTES_MAX)
		emit(fd, RECORD_JSON, text, len);
	else
		emit_text(fd, RECORD_ERROR, err.text[0] ? err.text : "it cannot be shown as JSON");
	free(text);
	yyjson_mut_doc_free(doc);
	cfg_free(root);
}

static void child_main(int fd, const char *dir, const char *only, const char *behind,
		       const struct unit_sink *sink)
{
	static struct names list;
	const struct rlimit memory = {256u << 20, 256u << 20}, cpu = {10, 10}, core = {0, 0};

	setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_CORE, &core);
	if (only && !sink) {
		child_json(fd, only);
		emit(fd, RECORD_END, NULL, 0);
		_exit(0);
	}
	if (only) {
		child_load(fd, dir, only, sink->is_strict);
		emit(fd, RECORD_END, NULL, 0);
		_exit(0);
	}
	list.dir = dir;
	list.has_groups = sink->has_groups;
	if (file_list(dir, list_entry, &list)) {
		emit_text(fd, RECORD_ERROR, "the directory could not be listed to its end");
	}
	qsort(list.names, list.count, sizeof(list.names[0]), compare_names);
	for (size_t i = 0; i < list.count; i++) {
		char *file = list.names[i];

		if (behind[0] && compare_names(&file, &behind) <= 0)
			continue;
		if (i > 0 && unit_name_len(file) == unit_name_len(list.names[i - 1]) &&
		    memcmp(file, list.names[i - 1], unit_name_len(file)) == 0) {
			char sentence[512];

			snprintf(sentence, sizeof(sentence), "%s: ignored, there is a .yaml of that name",
				 file);
			emit_text(fd, RECORD_WARN, sentence);
			continue;
		}
		child_load(fd, dir, file, sink->is_strict);
	}
	emit(fd, RECORD_END, NULL, 0);
	_exit(0);
}

/* ---- the supervisor's side ---- */

struct reader {
	int fd;
	const struct unit_sink *sink;
	char file[512]; /* the last one that was begun */
	bool has_ended;
	unsigned units, errors;
	uint8_t *data;          /* UNIT_BYTES_MAX + 1 */
	struct buf *json;       /* unit_load_json(): gets the text */
	struct err_text *error; /* and the reason why there is none */
};

/* Reads exactly `len` bytes, waiting at most LOAD_SILENCE_MS for each piece. 0, -EPIPE at the end, -ETIMEDOUT. */
static int read_exactly(int fd, void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		ssize_t n;
		int ready = poll(&poll_fd, 1, LOAD_SILENCE_MS);

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready == 0 ? -ETIMEDOUT : -errno;
		n = read(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? -EPIPE : -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static void take_unit(struct reader *r, uint32_t len)
{
	const struct unit *unit = (const struct unit *)(const void *)r->data;

	if (unit_is_sound(unit, len)) {
		r->units++;
		r->sink->unit(r->sink->ctx, unit);
	} else {
		r->errors++;
		r->sink->note(r->sink->ctx, LOG_LEVEL_ERR, "the loader handed over a damaged unit");
	}
}

static int read_records(struct reader *r)
{
	while (!r->has_ended) {
		struct record record;
		int rc = read_exactly(r->fd, &record, sizeof(record));

		if (rc == 0 && record.len > UNIT_BYTES_MAX)
			rc = -E_CORRUPT;
		if (rc == 0)
			rc = read_exactly(r->fd, r->data, record.len);
		if (rc)
			return rc;
		r->data[record.len] = '\0';
		switch (record.kind) {
		case RECORD_FILE:
			str_copy(r->file, sizeof(r->file), (const char *)r->data);
			break;
		case RECORD_WARN:
			r->sink->note(r->sink->ctx, LOG_LEVEL_WARN, (const char *)r->data);
			break;
		case RECORD_JSON:
			if (r->json)
				rc = buf_append(r->json, r->data, record.len);
			if (rc)
				return rc;
			break;
		case RECORD_ERROR:
			r->errors++;
			if (r->error)
				err_set(r->error, -E_CONFIG, "%s", (const char *)r->data);
			if (!r->sink)
				break;
			r->sink->note(r->sink->ctx, LOG_LEVEL_ERR, (const char *)r->data);
			break;
		case RECORD_UNIT:
			take_unit(r, record.len);
			break;
		case RECORD_END:
			r->has_ended = true;
			break;
		default:
			return -E_CORRUPT;
		}
	}
	return 0;
}

/* One child. `only` is the file of unit_load_one() or NULL. 0, or the reason why the records ended early. */
static int run_child(struct reader *r, const char *dir, const char *only)
{
	int fds[2], rc, status;
	pid_t pid = -1;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	for (int tries = 0; pid < 0 && tries < 50; tries++) {
		pid = fork();
		if (pid < 0)
			usleep(20000); /* start-up must outlast a machine that is out of processes for a moment */
	}
	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		close(fds[0]);
		child_main(fds[1], dir, only, r->file, r->sink);
		_exit(1);
	}
	rc = pid < 0 ? -errno : 0;
	close(fds[1]);
	r->fd = fds[0];
	if (rc == 0) {
		rc = read_records(r);
		if (rc)
			kill(pid, SIGKILL);
		/* One that SIGKILL cannot end now is left to the supervisor's reaper. */
		for (int tries = 0; tries < 200 && waitpid(pid, &status, WNOHANG) == 0; tries++)
			usleep(1000);
	}
	close(fds[0]);
	return rc;
}

int unit_load_dir(const char *dir, const struct unit_sink *sink)
{
	struct reader r = {.sink = sink};
	int rc = 0;
	DIR *probe = opendir(dir);

	if (!probe)
		return -errno;
	closedir(probe);
	r.data = mem_alloc(UNIT_BYTES_MAX + 1);
	if (!r.data)
		return -ENOMEM;
	for (int crashes = 0; !r.has_ended; crashes++) {
		char sentence[640];
		bool has_begun;

		rc = run_child(&r, dir, NULL);
		if (rc == 0)
			break;
		has_begun = r.file[0] != '\0';
		snprintf(sentence, sizeof(sentence), "%s: not loaded: the loader %s in it",
			 has_begun ? r.file : dir, rc == -ETIMEDOUT ? "got stuck" : "died");
		sink->note(sink->ctx, LOG_LEVEL_ERR, sentence);
		if (!has_begun || crashes == LOAD_CRASHES_MAX)
			break;
		rc = 0;
	}
	mem_free(r.data);
	return rc;
}

int unit_load_json(const char *path, char **json, size_t *len, struct err_text *err)
{
	struct buf text = BUF_INIT(UNIT_BYTES_MAX);
	struct reader r = {.json = &text, .error = err};
	int rc;

	*json = NULL;
	r.data = mem_alloc(UNIT_BYTES_MAX + 1);
	rc = r.data ? run_child(&r, NULL, path) : -ENOMEM;
	if (rc == 0 && text.len == 0)
		rc = -E_CONFIG;
	if (rc == 0) {
		*json = buf_detach(&text, len);
		rc = *json ? 0 : -ENOMEM;
	} else if (!err->text[0]) {
		err_set(err, rc, "%s: %s", path, err_str(rc));
	}
	buf_release(&text);
	mem_free(r.data);
	return rc;
}

int unit_load_one(const char *dir, const char *name, const struct unit_sink *sink)
{
	static const char *const extensions[] = {".yaml", ".ini"};
	struct reader r = {.sink = sink};
	char path[FILE_PATH_MAX], file[UNIT_NAME_MAX + 8];
	int rc = -ENOENT;

	for (int i = 0; i < 2 && rc == -ENOENT; i++) {
		struct stat st;

		if (str_fmt(file, sizeof(file), "%s%s", name, extensions[i]) < 0 ||
		    file_join(path, sizeof(path), dir, file))
			return -ENAMETOOLONG;
		rc = stat(path, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -ENOENT;
	}
	if (rc)
		return rc;
	r.data = mem_alloc(UNIT_BYTES_MAX + 1);
	if (!r.data)
		return -ENOMEM;
	rc = run_child(&r, dir, file);
	if (rc)
		sink->note(sink->ctx, LOG_LEVEL_ERR, "the loader died in it");
	mem_free(r.data);
	return rc || r.units == 0 ? -E_CONFIG : 0;
}
