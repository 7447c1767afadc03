/*
 * path: the half of file.h that is about names: joining, listing, making and removing directories, and the question
 * whether a path lies on a mount of ours.
 */
#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/base/mounts.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define TREE_DEPTH_MAX 64

int file_join(char *dst, size_t size, const char *dir, const char *name)
{
	size_t len = strlen(dir);
	int n;

	while (*name == '/')
		name++;
	n = str_fmt(dst, size, "%s%s%s", dir, len && dir[len - 1] == '/' ? "" : "/", name);
	return n < 0 ? n : 0;
}

const char *file_basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int file_dirname(char *dst, size_t size, const char *path)
{
	const char *name = file_basename(path);
	size_t len = (size_t)(name - path);

	if (len == 0)
		return str_copy(dst, size, ".");
	while (len > 1 && path[len - 1] == '/')
		len--;
	return str_copy_n(dst, size, path, len);
}

int file_absolute(char *dst, size_t size, const char *path)
{
	char joined[2 * FILE_PATH_MAX];
	char *cursor = joined, *part;
	size_t len = 0;

	if (path[0] == '/') {
		if (str_copy(joined, sizeof(joined), path))
			return -ENAMETOOLONG;
	} else {
		if (!getcwd(joined, FILE_PATH_MAX))
			return -errno;
		len = strlen(joined);
		if (str_fmt(joined + len, sizeof(joined) - len, "/%s", path) < 0)
			return -ENAMETOOLONG;
		len = 0;
	}
	while ((part = str_next(&cursor, '/'))) {
		size_t part_len = strlen(part);

		if (part_len == 0 || strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			while (len && dst[--len] != '/')
				;
			continue;
		}
		if (len + 1 + part_len >= size)
			return -ENAMETOOLONG;
		dst[len++] = '/';
		memcpy(dst + len, part, part_len);
		len += part_len;
	}
	if (len == 0) {
		if (size < 2)
			return -ENAMETOOLONG;
		dst[len++] = '/';
	}
	dst[len] = '\0';
	return 0;
}

int file_sync_dir(const char *dir)
{
	int code, fd = sys->open(dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return -errno;
	code = sys->fsync(fd) < 0 ? -errno : 0;
	sys->close(fd);
	return code;
}

int file_sync_parent(const char *path)
{
	char dir[FILE_PATH_MAX];
	int code = file_dirname(dir, sizeof(dir), path);

	return code ? code : file_sync_dir(dir);
}

static int make_one(const char *path, mode_t mode)
{
	struct stat st;

	if (sys->mkdir(path, mode) == 0)
		return file_sync_parent(path);
	if (errno != EEXIST)
		return -errno;
	if (sys->stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_mkdir_p(const char *path, mode_t mode)
{
	char part[FILE_PATH_MAX];
	size_t len = strlen(path);
	int code;

	if (len == 0)
		return -ENOENT;
	if (str_copy(part, sizeof(part), path))
		return -ENAMETOOLONG;
	while (len > 1 && part[len - 1] == '/')
		part[--len] = '\0';
	for (size_t i = 1; i < len; i++) {
		if (part[i] != '/' || part[i - 1] == '/')
			continue;
		part[i] = '\0';
		code = make_one(part, mode);
		part[i] = '/';
		if (code)
			return code;
	}
	return make_one(part, mode);
}

static unsigned char type_of(const char *dir, const struct dirent *entry)
{
	char path[FILE_PATH_MAX];
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type;
	if (file_join(path, sizeof(path), dir, entry->d_name) || sys->lstat(path, &st) < 0)
		return DT_REG; /* gone meanwhile: whoever opens it will see */
	return IFTODT(st.st_mode);
}

int file_list(const char *dir, int (*each)(void *ctx, const char *name, unsigned char type), void *ctx)
{
	DIR *d = sys->opendir(dir);
	struct dirent *entry;
	int code = 0;

	if (!d)
		return -errno;
	while (code == 0 && (entry = sys->readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		code = each(ctx, entry->d_name, type_of(dir, entry));
	}
	if (code == 0 && errno)
		code = -errno;
	sys->closedir(d);
	return code;
}

int file_exists(const char *path)
{
	struct stat st;

	if (sys->lstat(path, &st) == 0)
		return 1;
	return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

struct rm {
	char path[FILE_PATH_MAX];
	size_t len;
	dev_t dev;
	unsigned depth;
};

static int rm_entry(void *ctx, const char *name, unsigned char type);

/* Removes what r->path names. */
static int rm_here(struct rm *r, bool is_dir)
{
	struct stat st;
	int code;

	if (!is_dir)
		return sys->unlink(r->path) < 0 && errno != ENOENT ? -errno : 0;
	if (sys->lstat(r->path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_dev != r->dev)
		return -EXDEV;
	if (r->depth == TREE_DEPTH_MAX)
		return -ELOOP;
	r->depth++;
	code = file_list(r->path, rm_entry, r);
	r->depth--;
	if (code)
		return code;
	return sys->rmdir(r->path) < 0 && errno != ENOENT ? -errno : 0;
}

static int rm_entry(void *ctx, const char *name, unsigned char type)
{
	struct rm *r = ctx;
	size_t len = r->len;
	int code, n = str_fmt(r->path + len, sizeof(r->path) - len, "/%s", name);

	if (n < 0)
		return n;
	r->len += (size_t)n;
	code = rm_here(r, type == DT_DIR);
	r->len = len;
	r->path[len] = '\0';
	return code;
}

int file_rm_tree(const char *path)
{
	struct rm *r;
	struct stat st;
	int code;

	if (sys->lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	r = mem_calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	code = str_copy(r->path, sizeof(r->path), path);
	r->len = strlen(r->path);
	r->dev = st.st_dev;
	if (code == 0)
		code = rm_here(r, S_ISDIR(st.st_mode));
	mem_free(r);
	return code;
}

static bool is_below(const char *path, const char *mount)
{
	size_t len = strlen(mount);

	if (strcmp(mount, "/") == 0)
		return true;
	return strncmp(path, mount, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* The longest mount point that holds the path counts, and of several on the same point the last one. */
struct holder {
	const char *path;
	size_t best_len;
	bool is_ours;
};

static int look_at_mount(void *ctx, const struct mounts_entry *e)
{
	struct holder *h = ctx;
	size_t len = strlen(e->point);

	if (is_below(h->path, e->point) && len >= h->best_len) {
		h->best_len = len;
		h->is_ours = mounts_is_ours(e->type);
	}
	return 0;
}

int file_is_on_our_mount(const char *path)
{
	char absolute[FILE_PATH_MAX];
	struct holder h = {.path = absolute};
	int code = file_absolute(absolute, sizeof(absolute), path);

	if (code == 0)
		code = mounts_each(look_at_mount, &h);
	return code ? code : h.is_ours;
}
