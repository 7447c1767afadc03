#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "applets/qsfs/quote.h"
#include "applets/qsfs/state.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/config/cfg.h"
#include "core/crypto/crypto.h"
#include "core/crypto/keyring.h"

#define SHEET_MAX 8192

static void path_in(char *dst, size_t size, const char *dir, const char *name)
{
	str_fmt(dst, size, "%s/%s", dir, name);
}

static bool has(const char *dir, const char *name)
{
	char path[VOLUME_PATH + 64];

	path_in(path, sizeof(path), dir, name);
	return file_exists(path) > 0;
}

int state_judge(const struct volume *v, bool want_new, enum state_found *found)
{
	bool keys = has(v->keys, "volume.key"), creating = has(v->keys, "creating");
	bool stores = !v->embedded || has(v->backends, "backends.ini");
	int rc = EXIT_DONE;

	*found = STATE_EXISTING;
	if (creating) {
		*found = STATE_CREATING;
	} else if (v->embedded && keys && !stores) {
		log_err("cannot find the stores of this volume below %s: put them back, or point --data at "
			"the directory that "
			"holds them",
			v->backends);
		rc = EXIT_NOT_FOUND;
	} else if (v->embedded && !keys && stores) {
		log_err("cannot open the volume in %s: its key %s/volume.key is missing: put the saved key "
			"file back",
			v->data, v->keys);
		rc = EXIT_KEY;
	} else if (!keys && has(v->front, "index")) {
		log_err("cannot open the front end in %s: its key %s/volume.key is missing: put the saved "
			"key file back",
			v->front, v->keys);
		rc = EXIT_KEY;
	} else if (!v->embedded && !keys && !want_new) {
		log_err("there is no key %s/volume.key: put the saved key file there, or say --new to make a "
			"new volume",
			v->keys);
		rc = EXIT_KEY;
	} else if (keys && want_new) {
		log_err("cannot make a new volume: %s/volume.key is the key of another one", v->keys);
		rc = EXIT_KEY;
	} else if (!keys) {
		*found = STATE_NEW;
	}
	return rc;
}

int state_make_front(const struct volume *v)
{
	static const char *const names[] = {"data", "index", "spool", "log"};
	char path[VOLUME_PATH + 64];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
		path_in(path, sizeof(path), v->front, names[i]);
		rc = file_mkdir_p(path, 0700);
	}
	if (rc == 0)
		rc = file_mkdir_p(v->run, 0700);
	return rc ? log_code(rc, "cannot make the front end below %s", v->front) : 0;
}

/* On standard output only: it must reach a person and nothing else, and is not kept anywhere. */
static int sheet_print(const struct keyring *keys)
{
	char *sheet = malloc(SHEET_MAX);
	int n = sheet ? keyring_sheet(keys, sheet, SHEET_MAX) : -ENOMEM;

	if (n > 0 && (fputs(sheet, stdout) < 0 || fflush(stdout) != 0))
		n = -errno;
	if (sheet)
		crypto_wipe(sheet, SHEET_MAX);
	free(sheet);
	return n < 0 ? n : 0;
}

int state_make_keys(const struct volume *v, enum state_found found)
{
	char marker[VOLUME_PATH + 64], path[VOLUME_PATH + 64];
	struct keyring *keys = NULL;
	int rc = file_mkdir_p(v->keys, 0700);

	path_in(marker, sizeof(marker), v->keys, "creating");
	path_in(path, sizeof(path), v->keys, "volume.key");
	if (rc == 0 && found == STATE_NEW)
		rc = file_write_atomic(marker, 0600, "", 0);
	if (rc == 0 && !has(v->keys, "volume.key")) {
		rc = keyring_generate(&keys);
		if (rc == 0)
			rc = keyring_save(keys, path, true);
		if (rc == 0)
			rc = sheet_print(keys);
	}
	keyring_free(keys);
	return rc ? log_code(rc, "cannot make the keys in %s", v->keys) : 0;
}

int state_created(const struct volume *v)
{
	char marker[VOLUME_PATH + 64];
	int rc = 0;

	path_in(marker, sizeof(marker), v->keys, "creating");
	if (unlink(marker) != 0 && errno != ENOENT)
		rc = -errno;
	if (rc == 0)
		rc = file_sync_dir(v->keys);
	return rc ? log_code(rc, "cannot remove %s", marker) : 0;
}

bool state_is_on_stores(const struct volume *v)
{
	return has(v->front, "zstor/volume");
}

void state_undo_new(const struct volume *v)
{
	file_rm_tree(v->front);
	file_rm_tree(v->run);
	if (v->embedded)
		file_rm_tree(v->backends);
	file_rm_tree(v->keys);
	if (volume_mount_is_inside(v))
		rmdir(v->mount);
	unlink(v->lock);
	rmdir(v->data); /* each stays when it holds anything else */
}

int state_lock(const struct volume *v)
{
	int fd = file_mkdir_p(v->data, 0700);

	if (fd == 0)
		fd = file_lock(v->lock);
	if (fd == -E_LOCKED)
		log_err("the volume in %s is up already: qsfs status --data %s shows it", v->data, v->data);
	else if (fd < 0)
		log_code(fd, "cannot lock %s", v->lock);
	return fd;
}

static void up_path(const struct volume *v, char *path, size_t size)
{
	path_in(path, size, v->data, "up.toml");
}

int state_note_up(const struct volume *v, pid_t pid)
{
	char path[VOLUME_PATH + 64], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc = out ? 0 : -ENOMEM;

	up_path(v, path, sizeof(path));
	if (out) {
		fprintf(out, "pid = %d\nmount = ", (int)pid);
		quote_string(out, v->mount);
		fputc('\n', out);
		rc = fclose(out) == 0 ? file_write_atomic(path, 0600, text, len) : -ENOMEM;
	}
	free(text);
	return rc ? log_code(rc, "cannot write %s", path) : 0;
}

void state_forget_up(const struct volume *v)
{
	char path[VOLUME_PATH + 64];

	up_path(v, path, sizeof(path));
	unlink(path);
}

static void up_read(struct volume *v, pid_t *pid)
{
	char path[VOLUME_PATH + 64];
	struct cfg_node *root = NULL;
	const char *mount;
	uint64_t n;

	up_path(v, path, sizeof(path));
	if (cfg_load(path, &root, NULL) == 0) {
		if (cfg_u64(root, "pid", 0, &n, NULL) == 0)
			*pid = (pid_t)n;
		if (cfg_str(root, "mount", v->mount, &mount, NULL) == 0)
			str_copy(v->mount, sizeof(v->mount), mount);
	}
	cfg_free(root);
}

int state_is_up(struct volume *v, pid_t *pid)
{
	int fd;

	*pid = 0;
	if (file_exists(v->lock) == 0)
		return 0;
	fd = file_lock(v->lock);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (fd != -E_LOCKED)
		return fd;
	up_read(v, pid);
	return 1;
}
