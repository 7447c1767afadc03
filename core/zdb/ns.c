/*
 * ns.c - namespaces: slots, descriptors, properties, figures.
 *
 * A descriptor is replaced as a whole (temporary file, fsync, rename).  What was injected for one run (--protect,
 * --maxsize) never reaches it.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

/* --------------------------------------------------------------------------------------------------- life cycle --- */

int ns_new(struct zdb *eng, const char *name, size_t len, struct zdb_ns **out)
{
	struct zdb_ns *ns = mem_calloc(1, sizeof(*ns));

	if (ns == NULL)
		return -ENOMEM;
	ns->eng = eng;
	ns->id = eng->next_ns_id++;
	ns->refs = 1;
	ns->alive = true;
	ns->closed_owed = ns->pair_left = -1;
	list_init(&ns->unflushed);
	memcpy(ns->name, name, len);
	ns->name_len = (uint8_t)len;
	ns->mode = eng->opt.mode == ZDB_MIXED ? ZDB_USER : eng->opt.mode;
	ns->index_dir = mem_fmt("%s/%s", eng->index_root, ns->name);
	ns->data_dir = mem_fmt("%s/%s", eng->data_root, ns->name);
	table_init(&ns->table);
	if (ns->index_dir == NULL || ns->data_dir == NULL) {
		ns_free(ns);
		return -ENOMEM;
	}
	*out = ns;
	return 0;
}

void ns_free(struct zdb_ns *ns)
{
	ns->refs = 1; /* unloading takes and returns references while it wakes waiters */
	ns_unload(ns);
	mem_wipe(ns->password, sizeof(ns->password));
	mem_wipe(&ns->desc, sizeof(ns->desc));
	mem_free(ns->index_dir);
	mem_free(ns->data_dir);
	mem_free(ns);
}

struct zdb_ns *zdb_ns_ref(struct zdb_ns *ns)
{
	ns->refs++;
	return ns;
}

void zdb_ns_unref(struct zdb_ns *ns)
{
	assert(ns->refs > 0);
	if (--ns->refs == 0)
		ns_free(ns);
}

bool zdb_ns_alive(const struct zdb_ns *ns)
{
	return ns->alive;
}

static bool name_equal(const struct hmap_node *node, const void *name, size_t len)
{
	const struct zdb_ns *ns = container_of(node, const struct zdb_ns, by_name);

	return ns->name_len == len && memcmp(ns->name, name, len) == 0;
}

int slot_put(struct zdb *eng, struct zdb_ns *ns)
{
	size_t i = eng->slots_free;

	while (i < eng->slots_count && eng->slots[i] != NULL)
		i++;
	if (i == eng->slots_count) {
		size_t n = eng->slots_count * 2 + 8;
		struct zdb_ns **slots = mem_realloc(eng->slots, n * sizeof(*slots));

		if (slots == NULL)
			return -ENOMEM;
		memset(slots + eng->slots_count, 0, (n - eng->slots_count) * sizeof(*slots));
		eng->slots = slots;
		eng->slots_count = n;
	}
	ns->slot = i;
	eng->slots[i] = ns;
	eng->slots_free = i + 1;
	eng->count++;
	hmap_add(&eng->names, &ns->by_name, hmap_hash(ns->name, ns->name_len));
	return 0;
}

void slot_take(struct zdb *eng, struct zdb_ns *ns)
{
	eng->slots[ns->slot] = NULL;
	if (eng->slots_free > ns->slot)
		eng->slots_free = ns->slot;
	eng->count--;
	hmap_del(&eng->names, &ns->by_name);
}

struct zdb_ns *zdb_ns_find(struct zdb *eng, const char *name, size_t len)
{
	struct hmap_node *node = hmap_find(&eng->names, hmap_hash(name, len), name_equal, name, len);

	return node == NULL ? NULL : container_of(node, struct zdb_ns, by_name);
}

struct zdb_ns *zdb_ns_next(struct zdb *eng, const struct zdb_ns *prev)
{
	for (size_t i = prev == NULL ? 0 : prev->slot + 1; i < eng->slots_count; i++)
		if (eng->slots[i] != NULL)
			return eng->slots[i];
	return NULL;
}

size_t zdb_ns_count(const struct zdb *eng)
{
	return eng->count;
}

/* -------------------------------------------------------------------------------------------------- descriptors --- */

static void desc_fresh(struct zdb_ns *ns)
{
	memset(&ns->desc, 0, sizeof(ns->desc));
	ns->desc.is_public = true;
	ns->desc.name_len = ns->name_len;
	memcpy(ns->desc.name, ns->name, ns->name_len);
}

static void desc_take(struct zdb_ns *ns)
{
	if (!ns->injected_maxsize)
		ns->maxsize = ns->desc.maxsize;
	if (!ns->injected_password) {
		ns->password_len = ns->desc.password_len;
		memcpy(ns->password, ns->desc.password, ns->desc.password_len);
		ns->password[ns->desc.password_len] = '\0';
	}
}

int desc_store(struct zdb_ns *ns)
{
	char path[ZDB_PATH_MAX];
	uint8_t b[DESC_MAX];
	size_t size = desc_encode(b, &ns->desc);
	int rc = file_join(path, sizeof(path), ns->index_dir, "zdb-namespace");

	if (rc == 0 && ns->eng->read_only)
		rc = -EROFS;
	if (rc == 0)
		rc = file_write_atomic(path, 0600, b, size);
	mem_wipe(b, sizeof(b));
	return rc;
}

int desc_load(struct zdb_ns *ns)
{
	char path[ZDB_PATH_MAX];
	uint8_t b[DESC_MAX];
	ssize_t n;
	int fd, rc = file_join(path, sizeof(path), ns->index_dir, "zdb-namespace");

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0 && errno != ENOENT)
		return -errno;
	n = fd < 0 ? 0 : file_pread_full(fd, b, sizeof(b), 0);
	if (fd >= 0)
		sys->close(fd);
	if (n < 0)
		return (int)n;
	ns->desc_short = n < (ssize_t)DESC_HEADER;
	if (ns->desc_short) { /* upstream takes a short one for new, too */
		desc_fresh(ns);
		rc = ns->eng->read_only ? 0 : desc_store(ns);
	} else {
		rc = desc_decode(&ns->desc, b, (size_t)n);
	}
	desc_take(ns);
	mem_wipe(b, sizeof(b));
	return rc;
}

/* -------------------------------------------------------------------------------------------- create and delete --- */

static bool name_allowed(const struct zdb *eng, const char *name, size_t len)
{
	static const char *const taken[] = {".", "..", ZDB_DEFAULT, ROOT_LOCK};

	if (len == 0 || len > ZDB_NAME_MAX || memchr(name, '/', len) != NULL ||
	    memchr(name, '\0', len) != NULL)
		return false;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (len == strlen(taken[i]) && memcmp(name, taken[i], len) == 0)
			return false;
	for (size_t i = 0; i < 2; i++)
		if (len == strlen(eng->inner[i]) && memcmp(name, eng->inner[i], len) == 0)
			return false;
	return true;
}

/* Which of a namespace's directories were not there before: only these may go when it cannot be made. */
struct made {
	bool index, data;
};

/* -EINVAL: something else has that name.  A start passes by a link in the index root (and follows one in the data root). */
static int dir_make(const char *path, bool may_be_link, bool *made)
{
	struct stat st;

	if (sys->mkdir(path, 0700) == 0) {
		*made = true;
		return file_sync_parent(path);
	}
	if (errno != EEXIST)
		return -errno;
	if ((may_be_link ? sys->stat(path, &st) : sys->lstat(path, &st)) != 0)
		return errno == ENOENT ? -EINVAL : -errno;
	return S_ISDIR(st.st_mode) ? 0 : -EINVAL;
}

static int dirs_make(const struct zdb_ns *ns, struct made *made)
{
	int rc = dir_make(ns->data_dir, true, &made->data);

	/* the index directory last: it is what makes the namespace exist */
	return rc != 0 ? rc : dir_make(ns->index_dir, false, &made->index);
}

/* Nothing half-made stays; what cannot be removed is an empty namespace. */
static void dirs_unmake(const struct zdb_ns *ns, const struct made *made)
{
	if (made->index)
		(void)file_rm_tree(ns->index_dir);
	if (made->data)
		(void)file_rm_tree(ns->data_dir);
}

/* What is wrong with the files is not the name's fault: that is never -EINVAL. */
static int bring_up(struct zdb_ns *ns)
{
	int rc = desc_load(ns);

	if (rc == 0)
		rc = ns_load(ns, NULL, 0);
	if (rc == 0)
		rc = slot_put(ns->eng, ns);
	return rc == -EINVAL ? -EIO : rc;
}

static int create_error(int rc)
{
	if (err_no_room(rc))
		return -ENOSPC;
	return rc == -ENOMEM || rc == -EINVAL ? rc : -EIO;
}

static bool refused_name(const struct zdb *eng, const char *name, size_t len)
{
	for (const struct refused *r = eng->refused; r != NULL; r = r->next)
		if (strlen(r->name) == len && memcmp(r->name, name, len) == 0)
			return true;
	return false;
}

int zdb_ns_create(struct zdb *eng, const char *name, size_t len, struct zdb_ns **out)
{
	struct made made = {0};
	struct zdb_ns *ns;
	int rc;

	*out = NULL;
	if (!name_allowed(eng, name, len))
		return -EINVAL;
	if (zdb_ns_find(eng, name, len) != NULL || refused_name(eng, name, len))
		return -EEXIST;
	if (eng->read_only)
		return -EROFS;
	if (zdb_ns_count(eng) >= NAMESPACES_MAX) /* the next start would refuse them all */
		return -EMFILE;
	rc = ns_new(eng, name, len, &ns);
	if (rc != 0)
		return rc;
	rc = dirs_make(ns, &made);
	if (rc == 0)
		rc = bring_up(ns);
	if (rc != 0) {
		dirs_unmake(ns, &made);
		ns->alive = false;
		zdb_ns_unref(ns);
		return create_error(rc);
	}
	if (eng->ev.ns_created != NULL)
		eng->ev.ns_created(eng->opt.events_ctx, ns);
	*out = ns;
	return 0;
}

/*
 * Emptied: the index directory first; without the descriptor in it the namespace does not exist.  Otherwise the records first: behind an
 * index that is gone they would be found by whoever makes the name anew, and without their password.
 */
static int files_remove(struct zdb_ns *ns, bool is_emptied)
{
	int rc = 0, rc2;

	if (!is_emptied) {
		rc = file_rm_tree(ns->data_dir);
		if (rc == 0)
			rc = file_sync_parent(ns->data_dir);
		ns->dropped = rc == 0 ? ZDB_DROP_DONE : ZDB_DROP_UNKNOWN;
		if (rc != 0)
			return rc;
	}
	ns->dropped = ZDB_DROP_DONE;
	rc = file_rm_tree(ns->index_dir);
	rc2 = file_rm_tree(ns->data_dir);
	if (rc == 0)
		rc = file_sync_parent(ns->index_dir);
	return rc != 0 ? rc : rc2;
}

int zdb_ns_delete(struct zdb_ns *ns)
{
	struct zdb *eng = ns->eng;
	char name[ZDB_NAME_MAX + 1];
	bool is_emptied;
	int rc;

	ns->dropped = ZDB_DROP_NOT;
	if (!ns->alive)
		return -ENOENT;
	if (strcmp(ns->name, ZDB_DEFAULT) == 0)
		return -EINVAL;
	if (eng->read_only)
		return -EROFS;
	if (ns->job != NULL || ns->proofs != 0 || compact_busy(ns))
		return -EBUSY;
	memcpy(name, ns->name, sizeof(name));
	/* Emptied in one step, if it can be written: what a crash leaves of the rest is an empty namespace, not a damaged one. */
	is_emptied = ns->load_error == 0 && ns->write_error == 0 && clear_begin(ns) == 0 &&
		     clear_files(ns, ns->data.number) == 0;
	rc = files_remove(ns, is_emptied);
	ns->alive = false;
	slot_take(eng, ns);
	ns_unload(ns);
	ns->load_error = -ENOENT;
	zdb_ns_unref(ns);
	if (eng->ev.ns_deleted != NULL)
		eng->ev.ns_deleted(eng->opt.events_ctx, name);
	return rc;
}

static int load_again(struct zdb_ns *ns)
{
	int rc;

	ns_unload(ns);
	ns->load_error = 0;
	rc = desc_load(ns);
	if (rc == 0)
		rc = ns_load(ns, NULL, 0);
	if (rc != 0) {
		ns_unload(ns);
		ns->load_error = rc;
	}
	return rc;
}

int zdb_ns_reload(struct zdb_ns *ns)
{
	struct zdb *eng = ns->eng;
	int rc;

	if (!ns->alive)
		return -ENOENT;
	if (ns->job != NULL || ns->proofs != 0 || compact_busy(ns))
		return -EBUSY;
	rc = ns->write_error == 0 ? ns_flush_tails(ns) : 0;
	if (rc != 0)
		return rc;        /* zdb_flush() still has to say so: answers of this turn may wait for it */
	(void)ns_close_clean(ns); /* what cannot be made clean is recovered by the load */
	rc = load_again(ns);
	if (eng->ev.ns_reloaded != NULL)
		eng->ev.ns_reloaded(eng->opt.events_ctx, ns);
	return rc;
}

int zdb_ns_flush(struct zdb_ns *ns)
{
	uint32_t last;
	int rc = 0;

	ns->dropped = ZDB_DROP_NOT;
	if (ns->job != NULL || ns->proofs != 0 || compact_busy(ns))
		return -EBUSY;
	if (ns->alive && ns->load_error == -ENOMEM) /* left in the middle of this, perhaps */
		rc = load_again(ns);
	if (rc == 0)
		rc = ns_writable(ns);
	if (rc == 0) {
		rc = clear_begin(ns);
		/* What could not be taken back, see there, may be found by the next load. */
		ns->dropped = rc == 0                ? ZDB_DROP_DONE
			      : ns->write_error != 0 ? ZDB_DROP_UNKNOWN
						     : ZDB_DROP_NOT;
	}
	if (rc != 0)
		return rc;
	last = ns->data.number;
	ns_unload(ns);
	rc = clear_files(ns, last);
	if (rc == 0)
		rc = ns_load(ns, NULL, 0);
	ns->load_error = rc;
	if (rc != 0)
		ns_unload(ns);
	return rc;
}

/* --------------------------------------------------------------------------------------------------- properties --- */

enum zdb_dropped zdb_ns_dropped(const struct zdb_ns *ns)
{
	return ns->dropped;
}

bool zdb_ns_is_proving(const struct zdb_ns *ns)
{
	return ns->proofs != 0;
}

/* One that was never used had none that anybody would miss. */
bool zdb_ns_lost_properties(const struct zdb_ns *ns)
{
	return ns->desc_short && zdb_ns_is_used(ns);
}

int zdb_ns_load_error(const struct zdb_ns *ns)
{
	return ns->load_error;
}

const char *zdb_ns_name(const struct zdb_ns *ns)
{
	return ns->name;
}

struct zdb *zdb_ns_engine(const struct zdb_ns *ns)
{
	return ns->eng;
}

enum zdb_mode zdb_ns_mode(const struct zdb_ns *ns)
{
	return ns->mode;
}

const struct zdb_recovery *zdb_ns_recovery(const struct zdb_ns *ns)
{
	return &ns->recovery;
}

int zdb_ns_write_error(const struct zdb_ns *ns)
{
	if (ns->eng->read_only)
		return -EROFS;
	return ns->load_error != 0 ? -EIO : ns->write_error;
}

void zdb_ns_set_owner_data(struct zdb_ns *ns, void *data)
{
	ns->owner_data = data;
}

void *zdb_ns_owner_data(const struct zdb_ns *ns)
{
	return ns->owner_data;
}

void zdb_ns_props(const struct zdb_ns *ns, struct zdb_props *props)
{
	*props = (struct zdb_props){.maxsize = ns->maxsize,
				    .is_public = ns->desc.is_public,
				    .worm = ns->desc.worm,
				    .lock = ns->lock,
				    .password = ns->password,
				    .password_len = ns->password_len};
}

static void updated(struct zdb_ns *ns)
{
	if (ns->eng->ev.ns_updated != NULL)
		ns->eng->ev.ns_updated(ns->eng->opt.events_ctx, ns);
}

/* Stores a changed descriptor; on failure the old one stays in force. */
static int desc_change(struct zdb_ns *ns, const struct descriptor *d)
{
	struct descriptor old = ns->desc;
	int rc;

	if (!ns->alive)
		return -ESTALE;
	ns->desc = *d;
	rc = desc_store(ns);
	if (rc != 0)
		ns->desc = old;
	else
		desc_take(ns);
	mem_wipe(&old, sizeof(old));
	if (rc == 0)
		updated(ns);
	return rc;
}

int zdb_ns_set_maxsize(struct zdb_ns *ns, uint64_t bytes)
{
	struct descriptor d = ns->desc;

	d.maxsize = bytes;
	ns->injected_maxsize = false;
	return desc_change(ns, &d);
}

int zdb_ns_set_password(struct zdb_ns *ns, const char *text, size_t len)
{
	struct descriptor d = ns->desc;
	int rc;

	if (len > ZDB_PASSWORD_MAX)
		return -EINVAL;
	memset(d.password, 0, sizeof(d.password));
	if (len > 0) /* an empty one takes the password away, and has no bytes */
		memcpy(d.password, text, len);
	d.password_len = (uint8_t)len;
	ns->injected_password = false;
	rc = desc_change(ns, &d);
	mem_wipe(&d, sizeof(d));
	return rc;
}

int zdb_ns_set_public(struct zdb_ns *ns, bool on)
{
	struct descriptor d = ns->desc;

	d.is_public = on;
	return desc_change(ns, &d);
}

int zdb_ns_set_worm(struct zdb_ns *ns, bool on)
{
	struct descriptor d = ns->desc;

	d.worm = on;
	return desc_change(ns, &d);
}

int zdb_ns_set_lock(struct zdb_ns *ns, enum zdb_lock lock)
{
	if (!ns->alive)
		return -ESTALE;
	ns->lock = lock;
	updated(ns);
	return 0;
}

bool zdb_ns_is_used(const struct zdb_ns *ns)
{
	return ns->index.number != 0 || ns->index.size != IDX_HEADER || ns->data.size != DAT_HEADER;
}

/* In the header of its index, durably. */
static int mode_write(struct zdb_ns *ns, enum zdb_mode mode)
{
	uint8_t byte = (uint8_t)mode;
	int rc = ns_pwrite(ns, ns->index.f, &byte, 1, IDX_HEADER - 1);

	if (rc == 0 && sys->fdatasync(ns->index.f->fd) != 0)
		rc = -EIO;
	return rc;
}

int zdb_ns_set_mode(struct zdb_ns *ns, enum zdb_mode mode)
{
	int rc = ns_writable(ns);

	if (rc != 0)
		return rc;
	if (ns->eng->opt.mode != ZDB_MIXED || mode > ZDB_SEQ)
		return -EINVAL;
	if (zdb_ns_is_used(ns) || ns->job != NULL)
		return -EBUSY;
	if (mode == ZDB_SEQ) {
		rc = bases_set(ns, 0, 0);
		if (rc != 0)
			return rc;
	}
	rc = mode_write(ns, mode);
	if (rc != 0) {
		/* It may be there all the same: no record must be taken that the next load would read in the other mode. */
		if (mode_write(ns, ns->mode) != 0)
			ns->write_error = -EIO;
		return rc;
	}
	ns->mode = mode;
	ns->next_id = 0;
	updated(ns);
	return 0;
}

int zdb_ns_inject_password(struct zdb_ns *ns, const char *text, size_t len)
{
	if (len > ZDB_PASSWORD_MAX)
		return -EINVAL;
	memcpy(ns->password, text, len);
	ns->password[len] = '\0';
	ns->password_len = (uint8_t)len;
	ns->injected_password = true;
	return 0;
}

int zdb_ns_inject_maxsize(struct zdb_ns *ns, uint64_t bytes)
{
	ns->maxsize = bytes;
	ns->injected_maxsize = true;
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ figures --- */

void zdb_ns_info(const struct zdb_ns *ns, struct zdb_ns_info *info)
{
	*info = (struct zdb_ns_info){.entries = ns->entries,
				     .data_size = ns->data_size,
				     .index_size = ns->entries * 64,
				     .next_id = ns->next_id,
				     .data_current_id = ns->data.number,
				     .data_current_offset = ns->data.size,
				     .index_current_offset = ns->index.size,
				     .index_io_errors = ns->index_errors,
				     .data_io_errors = ns->data_errors,
				     .index_io_error_last = ns->index_error_last,
				     .data_io_error_last = ns->data_error_last,
				     .pending_rewrites = ns->pend.used + ns->frozen.used,
				     .unsynced_bytes = ns->data.size - ns->synced,
				     .memory_bytes =
					     ns->table.memory + ns->bases_cap * sizeof(*ns->bases) +
					     (ns->pend.size + ns->frozen.size) * sizeof(struct pend_item)};
	info->index_size += ns->mode == ZDB_SEQ ? ns->entries * ZDB_SEQ_KEY_SIZE : ns->key_bytes;
	for (const struct missing *m = ns->missing; m != NULL; m = m->next)
		for (const struct zdb_waiter *w = m->waiters; w != NULL; w = w->next)
			info->waiting_reads++;
}

static int free_bytes(const struct zdb_fd *f, uint64_t *bytes)
{
	struct statvfs v;

	if (f == NULL || sys->fstatvfs(f->fd, &v) != 0)
		return -EIO;
	*bytes = (uint64_t)v.f_bsize * v.f_bavail;
	return 0;
}

int zdb_ns_space(const struct zdb_ns *ns, struct zdb_space *space)
{
	int rc = free_bytes(ns->index.f, &space->index_free);

	return rc != 0 ? rc : free_bytes(ns->data.f, &space->data_free);
}

int zdb_ns_index_path(const struct zdb_ns *ns, uint32_t n, char *buf, size_t size)
{
	return snprintf(buf, size, "%s/i%u", ns->index_dir, n);
}

int zdb_ns_data_path(const struct zdb_ns *ns, uint32_t n, char *buf, size_t size)
{
	return snprintf(buf, size, "%s/d%u", ns->data_dir, n);
}

size_t zdb_dirty_list(const struct zdb_ns *ns, uint32_t *numbers, size_t max)
{
	size_t n = 0;

	for (int64_t i = bits_next(&ns->dirty, 0); i >= 0; i = bits_next(&ns->dirty, (uint64_t)i + 1)) {
		if (n < max)
			numbers[n] = (uint32_t)i;
		n++;
	}
	return n;
}

void zdb_dirty_reset(struct zdb_ns *ns)
{
	bits_clear_all(&ns->dirty);
}

char *zdb_dirty_text(const struct zdb_ns *ns)
{
	char *text = mem_alloc(ns->dirty.set * 11 + 1); /* ten digits and a blank each */
	size_t n = 0;

	if (text == NULL)
		return NULL;
	text[0] = '\0';
	for (int64_t i = bits_next(&ns->dirty, 0); i >= 0; i = bits_next(&ns->dirty, (uint64_t)i + 1))
		n += (size_t)sprintf(text + n, n == 0 ? "%u" : " %u", (uint32_t)i);
	return text;
}
