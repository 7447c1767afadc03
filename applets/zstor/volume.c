/*
 * volume: which volume this is, which generation writes it, and whether it is still ours.
 *
 * `<state>/zstor/volume` (INI, written whole and atomically) is what makes a restart different from a take over: it
 * holds the generation, the newest published sequence, and on which machine, device and inode the state directory was
 * when it was written. `<state>/zstor/manifest` holds the newest manifest.
 *
 * A sequence is written down as pending before it is published: after a crash in between, a manifest on the stores that
 * is exactly the pending one is ours; anything newer means that this state is an old copy, which takes over.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "applets/zstor/zstor.h"
#include "core/base/applet.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/config/cfg.h"
#include "core/object/restore.h"

static const char *const state_names[] = {"unknown", "new",    "empty",  "restoring",
					  "ready",   "fenced", "refused"};

const char *vol_state_name(enum vol_state s)
{
	return state_names[s];
}

/* --------------------------------------------------------------------------------------------- local state --- */

static void here(struct zstor *z, struct vol_local *l)
{
	char *text;
	struct stat st;

	l->machine[0] = '\0';
	if (file_read_all("/etc/machine-id", 4096, &text, NULL) == 0) {
		snprintf(l->machine, sizeof(l->machine), "%s", str_trim(text));
		mem_free(text);
	}
	l->device = l->inode = 0;
	if (sys->stat(z->conf.state, &st) == 0) {
		l->device = (uint64_t)st.st_dev;
		l->inode = (uint64_t)st.st_ino;
	}
}

int vol_save(struct zstor *z)
{
	char path[FILE_PATH_MAX], text[1024], hex[33];
	struct vol_local l;
	int n, rc;

	pthread_mutex_lock(&z->save_io); /* what is older is never written last */
	pthread_mutex_lock(&z->lock);
	l = z->vol.local;
	pthread_mutex_unlock(&z->lock);
	here(z, &l);
	n = snprintf(text, sizeof(text),
		     "volume = %s\ngeneration = %" PRIu64 "\nbase = %" PRIu64 "\nsequence = %" PRIu64
		     "\npending = %" PRIu64 "\nrestoring = %s\nmachine = %s\ndevice = %" PRIu64
		     "\ninode = %" PRIu64 "\n",
		     hex_encode(hex, l.volume, 16), l.generation, l.base, l.sequence, l.pending,
		     l.restoring ? "yes" : "no", l.machine, l.device, l.inode);
	rc = file_mkdir_p(z->dir, 0700);
	if (rc == 0)
		rc = file_join(path, sizeof(path), z->dir, "volume");
	if (rc == 0)
		rc = file_write_atomic(path, 0600, text, (size_t)n);
	pthread_mutex_unlock(&z->save_io);
	return rc;
}

static int read_local(const struct cfg_node *root, struct vol_local *l, struct err_text *err)
{
	const char *hex, *machine;
	int rc;

	if ((rc = cfg_str(root, "volume", "", &hex, err)) < 0 ||
	    (rc = cfg_u64(root, "generation", 0, &l->generation, err)) < 0 ||
	    (rc = cfg_u64(root, "base", 0, &l->base, err)) < 0 ||
	    (rc = cfg_u64(root, "sequence", 0, &l->sequence, err)) < 0 ||
	    (rc = cfg_u64(root, "pending", 0, &l->pending, err)) < 0 ||
	    (rc = cfg_bool(root, "restoring", false, &l->restoring, err)) < 0 ||
	    (rc = cfg_u64(root, "device", 0, &l->device, err)) < 0 ||
	    (rc = cfg_u64(root, "inode", 0, &l->inode, err)) < 0 ||
	    (rc = cfg_str(root, "machine", "", &machine, err)) < 0)
		return rc;
	snprintf(l->machine, sizeof(l->machine), "%s", machine);
	if (hex_decode(l->volume, 16, hex) < 0 || !l->generation)
		return err_set(err, -E_CORRUPT, "no volume id or generation");
	l->present = true;
	return 0;
}

static int load_manifest(struct zstor *z, struct err_text *err)
{
	char path[FILE_PATH_MAX], *data;
	const char *what = "";
	size_t len;
	int rc = file_join(path, sizeof(path), z->dir, "manifest");

	if (rc == 0)
		rc = file_read_all(path, MANIFEST_MAX_BYTES, &data, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return err_set(err, rc, "cannot read %s: %s", path, err_str(rc));
	rc = manifest_decode(data, len, &z->vol.last, &what);
	mem_free(data);
	return rc < 0 ? err_set(err, rc, "cannot read %s: %s is wrong", path, what) : 0;
}

int vol_load(struct zstor *z, struct err_text *err)
{
	char path[FILE_PATH_MAX], *text;
	struct cfg_node *root = NULL;
	size_t len;
	int rc = file_join(path, sizeof(path), z->dir, "volume");

	if (rc == 0)
		rc = file_read_all(path, 65536, &text, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return err_set(err, rc, "cannot read %s: %s", path, err_str(rc));
	rc = cfg_parse(CFG_INI, path, text, len, &root, err);
	mem_free(text);
	if (rc == 0)
		rc = read_local(root, &z->vol.local, err);
	cfg_free(root);
	if (rc == 0)
		rc = load_manifest(z, err);
	if (rc == 0 && keyring_has_volume(z->keys) &&
	    memcmp(keyring_volume(z->keys), z->vol.local.volume, 16) != 0)
		rc = err_set(err, -E_KEY, "%s is the state of another volume than the key file",
			     z->conf.state);
	return rc < 0 ? err_prefix(err, rc, "cannot use %s", path) : 0;
}

int vol_save_manifest(struct zstor *z, const struct manifest *m)
{
	struct buf b = BUF_INIT(MANIFEST_MAX_BYTES);
	char path[FILE_PATH_MAX];
	int rc = manifest_encode(m, &b);

	if (rc == 0)
		rc = file_mkdir_p(z->dir, 0700);
	if (rc == 0)
		rc = file_join(path, sizeof(path), z->dir, "manifest");
	if (rc == 0)
		rc = file_write_atomic(path, 0600, b.data, b.len);
	buf_release(&b);
	return rc;
}

int vol_forget_ns(struct zstor *z, const char *name)
{
	struct manifest before, after;
	int rc;

	manifest_init(&before);
	manifest_init(&after);
	pthread_mutex_lock(&z->lock);
	rc = manifest_copy(&before, &z->vol.last);
	pthread_mutex_unlock(&z->lock);
	if (rc < 0 || !manifest_find(&before, name, strlen(name)))
		goto out;
	rc = manifest_copy(&after, &before);
	if (rc < 0)
		goto out;
	manifest_remove(&after, name, strlen(name));
	rc = object_discard_difference(z, &before, &after);
	if (rc == 0)
		rc = vol_save_manifest(z, &after);
	if (rc < 0)
		goto out;
	pthread_mutex_lock(&z->lock);
	manifest_release(&z->vol.last);
	z->vol.last = after;
	pthread_mutex_unlock(&z->lock);
	manifest_init(&after);
out:
	manifest_release(&before);
	manifest_release(&after);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ settling --- */

void vol_set_state(struct zstor *z, enum vol_state state, int code, const char *why)
{
	bool changed;

	pthread_mutex_lock(&z->lock);
	changed = z->vol.state != state || strcmp(z->vol.why, why) != 0;
	z->vol.state = state;
	z->vol.code = code;
	snprintf(z->vol.why, sizeof(z->vol.why), "%s", why);
	pthread_cond_broadcast(&z->changed);
	pthread_mutex_unlock(&z->lock);
	if (changed && state == VOL_READY)
		log_info("volume is ready generation=%" PRIx64, z->vol.local.generation);
	else if (changed)
		log_warn("volume is %s: %s", vol_state_name(state), why);
}

/*
 * Identities are read by the thread that keeps the volume and when a store comes back, each in a copy. What counts is what
 * was asked last: an answer that was on its way for longer must not hide a store that has come back since.
 */
static uint64_t copy_metas_to_ask(struct zstor *z, struct meta *m)
{
	uint64_t ticket;

	pthread_mutex_lock(&z->lock);
	*m = z->metas;
	ticket = ++z->metas_asked;
	pthread_mutex_unlock(&z->lock);
	return ticket;
}

static void keep_metas(struct zstor *z, const struct meta *m, uint64_t ticket)
{
	pthread_mutex_lock(&z->lock);
	if (ticket > z->metas_kept) {
		z->metas = *m;
		z->metas_kept = ticket;
	}
	pthread_mutex_unlock(&z->lock);
}

bool vol_meta_is_back(struct zstor *z, unsigned store)
{
	struct obj_work *w;
	struct meta m;
	uint64_t ticket;
	int code;

	pthread_mutex_lock(&z->lock);
	m = z->metas;
	pthread_mutex_unlock(&z->lock);
	/* Before anything is known of the volume, who settles it asks soon and by himself. */
	if (m.good == 0 || m.stores[store].state != META_UNREACHABLE)
		return false;
	w = zs_work_get_small(z);
	if (!w)
		return false;
	ticket = copy_metas_to_ask(z, &m);
	(void)meta_probe(&m, w, &code, NULL);
	keep_metas(z, &m, ticket);
	zs_work_put(z, w);
	return m.stores[store].state == META_GOOD;
}

static int bind_spool(struct zstor *z)
{
	return z->spool ? spool_bind(z->spool, z->vol.local.volume, z->vol.local.generation) : 0;
}

/* Under identity_io. */
static int take_over(struct zstor *z, struct obj_work *w, uint64_t restored, char *why)
{
	struct meta m;
	uint64_t generation, ticket = copy_metas_to_ask(z, &m);
	int rc = meta_take_over(&m, w, restored, &generation, why);

	if (rc != 0)
		return rc;
	keep_metas(z, &m, ticket);
	pthread_mutex_lock(&z->lock);
	z->vol.local.present = true;
	memcpy(z->vol.local.volume, m.newest.volume, 16);
	z->vol.local.base = restored;
	z->vol.local.generation = generation;
	z->vol.local.pending = 0;
	pthread_mutex_unlock(&z->lock);
	rc = vol_save(z);
	if (rc == 0)
		rc = bind_spool(z);
	if (rc < 0)
		snprintf(why, ZS_WHY, "cannot write %s: %s", z->dir, err_str(rc));
	else
		log_info("took over generation=%" PRIx64 " base=%" PRIx64, generation, restored);
	return rc;
}

/* Whose the stores say they are. Under identity_io. -E_FENCED with *by: another front end's. */
static int check_identities(struct zstor *z, struct obj_work *w, uint64_t *by, char *why)
{
	struct meta m;
	uint64_t own, ticket = copy_metas_to_ask(z, &m);
	int rc;

	pthread_mutex_lock(&z->lock);
	own = z->vol.local.generation;
	pthread_mutex_unlock(&z->lock);
	rc = meta_fence_check(&m, w, own, why);
	keep_metas(z, &m, ticket);
	*by = m.newest.generation;
	return rc;
}

int vol_take_over(struct zstor *z, struct obj_work *w, uint64_t restored, char *why)
{
	int rc;

	pthread_mutex_lock(&z->identity_io);
	rc = take_over(z, w, restored, why);
	pthread_mutex_unlock(&z->identity_io);
	return rc;
}

/* Whether the state directory is where it was; a copy elsewhere is another front end. */
static bool was_copied(struct zstor *z)
{
	struct vol_local now;

	here(z, &now);
	return strcmp(now.machine, z->vol.local.machine) != 0 || now.device != z->vol.local.device ||
	       now.inode != z->vol.local.inode;
}

static void become_fenced(struct zstor *z, uint64_t by)
{
	struct spool_intent fence = {.kind = SPOOL_FENCE, .generation = by};
	char why[ZS_WHY];

	snprintf(why, sizeof(why),
		 "another front end has taken over the volume (generation %" PRIx64 ", ours is %" PRIx64
		 "): nothing is stored or deleted any more",
		 by, z->vol.local.generation);
	pthread_mutex_lock(&z->lock);
	z->vol.fenced_by = by;
	pthread_mutex_unlock(&z->lock);
	vol_set_state(z, VOL_FENCED, EXIT_FAILED, why);
	if (z->spool && spool_put(z->spool, &fence, NULL, 0) < 0)
		log_err("cannot note in the spool that this front end is fenced");
	front_lock_all(z);
}

/* Newest manifest on the stores against what we remember. 0 go on; -EAGAIN unknown; other: refused, `why` filled. */
static int compare_sequence(struct zstor *z, struct obj_work *w, bool *is_old_copy, char *why)
{
	struct vol_local *l = &z->vol.local;
	struct restore_options opt = {.generation = l->generation, .base = l->base};
	struct manifest m;
	struct meta metas;
	enum obj_answer a;
	int code = 0, rc = 0;

	manifest_init(&m);
	zs_meta_copy(z, &metas);
	a = restore_find_manifest(&metas, w, &z->data_stores, &opt, &m, &code, why);
	*is_old_copy = false;
	if (a == OBJ_UNKNOWN) {
		rc = -EAGAIN;
	} else if (a == OBJ_FOUND && m.generation == l->generation && m.sequence > l->sequence) {
		if (m.sequence == l->pending) {
			rc = vol_save_manifest(z, &m);
			if (rc == 0) /* the crash came before this was noted */
				rc = object_discard_difference(z, &z->vol.last, &m);
			pthread_mutex_lock(&z->lock);
			l->sequence = m.sequence;
			manifest_release(&z->vol.last);
			z->vol.last = m;
			manifest_init(&m);
			pthread_mutex_unlock(&z->lock);
			if (rc == 0)
				rc = vol_save(z);
		} else {
			*is_old_copy = true;
		}
	} else if ((a == OBJ_ABSENT || m.sequence < l->sequence) && l->sequence &&
		   z->vol.last.generation == l->generation) {
		snprintf(why, ZS_WHY,
			 "the stores show recovery point %" PRIu64 ", this node has published %" PRIu64
			 ": they were rolled back",
			 a == OBJ_FOUND ? m.sequence : 0, l->sequence);
		rc = -ESTALE;
	}
	manifest_release(&m);
	return rc;
}

/* Identity found and local state there. */
static void settle_ours(struct zstor *z, struct obj_work *w, const struct identity *id)
{
	struct vol_local *l = &z->vol.local;
	bool is_old_copy = false;
	char why[ZS_WHY] = "";
	int rc;

	if (memcmp(id->volume, l->volume, 16) != 0) {
		vol_set_state(z, VOL_REFUSED, EXIT_KEY,
			      "the stores hold another volume than this state directory");
		return;
	}
	if (id->generation >> 32 > l->generation >> 32 ||
	    (id->generation >> 32 == l->generation >> 32 && id->generation != l->generation)) {
		become_fenced(z, id->generation);
		return;
	}
	if (id->generation != l->generation) {
		vol_set_state(
			z, VOL_REFUSED, EXIT_FAILED,
			"the metadata stores show an older generation than this node: they were rolled back");
		return;
	}
	if (l->restoring) {
		vol_set_state(z, VOL_RESTORING, EXIT_AGAIN,
			      "a restore was cut short and goes on when it is asked for");
		return;
	}
	rc = compare_sequence(z, w, &is_old_copy, why);
	if (rc == -EAGAIN) {
		vol_set_state(z, VOL_UNKNOWN, EXIT_AGAIN, why);
		return;
	}
	if (rc < 0) {
		vol_set_state(z, VOL_REFUSED, EXIT_FAILED, why[0] ? why : err_str(rc));
		return;
	}
	if (is_old_copy || was_copied(z)) {
		log_warn("this state directory is %s: taking over",
			 is_old_copy ? "older than what the stores hold" : "not where it was");
		rc = vol_take_over(z, w, l->sequence ? z->vol.last.generation : l->base, why);
		if (rc == -E_FENCED) {
			vol_set_state(z, VOL_UNKNOWN, EXIT_AGAIN, why);
			return;
		}
	} else {
		rc = bind_spool(z);
	}
	if (rc < 0)
		vol_set_state(z, VOL_UNKNOWN, EXIT_AGAIN, why[0] ? why : err_str(rc));
	else
		vol_set_state(z, VOL_READY, 0, "");
}

/* So many stores show another volume, or another key, that what the key file names can never be found on them. */
static bool is_foreign(const struct meta *m)
{
	unsigned foreign = 0;

	for (unsigned i = 0; i < m->count; i++)
		foreign += m->stores[i].state == META_ALIEN &&
			   m->stores[i].identity_state != IDENTITY_DAMAGED &&
			   m->stores[i].identity_state != IDENTITY_ALIEN;
	return m->good == 0 && foreign > m->n - m->k;
}

void vol_settle(struct zstor *z, struct obj_work *w)
{
	enum obj_answer a;
	struct meta m;
	char why[ZS_WHY] = "";
	uint64_t ticket = copy_metas_to_ask(z, &m);
	int code = 0;

	a = meta_probe(&m, w, &code, why);
	keep_metas(z, &m, ticket);
	if (a == OBJ_FOUND && !keyring_has_volume(z->keys))
		(void)keyring_set_volume(z->keys, m.newest.volume);
	if (a == OBJ_UNKNOWN && is_foreign(&m))
		code = -E_KEY;
	if (a == OBJ_UNKNOWN)
		vol_set_state(z, code == -E_KEY ? VOL_REFUSED : VOL_UNKNOWN,
			      code == -E_KEY ? EXIT_KEY : EXIT_AGAIN, why);
	else if (a == OBJ_ABSENT && z->vol.local.present)
		vol_set_state(
			z, VOL_REFUSED, EXIT_FAILED,
			"this node holds a volume, and no metadata store knows of it: all of them are empty");
	else if (a == OBJ_ABSENT)
		vol_set_state(z, VOL_NEW, EXIT_NOT_FOUND,
			      "the metadata stores hold no volume; zstor init --new makes one");
	else if (z->vol.local.present)
		settle_ours(z, w, &m.newest);
	else
		vol_set_state(z, VOL_EMPTY, EXIT_AGAIN,
			      "this node holds nothing of the volume yet: a restore is needed");
}

int vol_check_fence(struct zstor *z, struct obj_work *w, char *why)
{
	uint64_t by = 0;
	int rc;

	pthread_mutex_lock(&z->identity_io); /* a generation that is just being taken is no stranger's */
	rc = check_identities(z, w, &by, why);
	pthread_mutex_unlock(&z->identity_io);
	if (rc == -E_FENCED)
		become_fenced(z, by);
	return rc;
}

int vol_take_next(struct zstor *z, struct obj_work *w, uint64_t own, char *why)
{
	uint64_t now, base, by = 0;
	int rc = 0;

	pthread_mutex_lock(&z->identity_io);
	pthread_mutex_lock(&z->lock);
	now = z->vol.local.generation;
	base = z->vol.last.generation ? z->vol.last.generation : z->vol.local.base;
	pthread_mutex_unlock(&z->lock);
	if (!own || now == own)
		rc = check_identities(z, w, &by, why); /* what is not ours any more is not taken back */
	if ((!own || now == own) && rc == 0)
		rc = take_over(z, w, base, why);
	pthread_mutex_unlock(&z->identity_io);
	if (rc == -E_FENCED && by)
		become_fenced(z, by);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ creation --- */

/* The volume is there already: ours without any recovery point (a creation that was cut short), or somebody's. */
static int adopt_created(struct zstor *z, struct obj_work *w, char *why)
{
	struct restore_options opt = {0};
	struct manifest m;
	struct meta metas;
	enum obj_answer a;
	uint64_t ticket = copy_metas_to_ask(z, &metas);
	int code = 0, rc;

	if (meta_probe(&metas, w, &code, why) != OBJ_FOUND)
		return code == -E_KEY ? EXIT_KEY : EXIT_AGAIN;
	keep_metas(z, &metas, ticket);
	if (z->vol.local.present && z->vol.local.generation == metas.newest.generation) {
		snprintf(why, ZS_WHY, "the volume was made before");
		return EXIT_DONE;
	}
	opt.generation = metas.newest.generation;
	opt.base = metas.newest.base;
	manifest_init(&m);
	a = restore_find_manifest(&metas, w, &z->data_stores, &opt, &m, &code, why);
	manifest_release(&m);
	if (a == OBJ_UNKNOWN)
		return EXIT_AGAIN;
	if (a == OBJ_FOUND) {
		snprintf(why, ZS_WHY,
			 "the stores hold this volume already, with recovery points: start without --new");
		return EXIT_FAILED;
	}
	rc = vol_take_over(z, w, 0, why);
	return rc < 0 ? EXIT_AGAIN : EXIT_DONE;
}

int vol_create(struct zstor *z, struct obj_work *w, char *why)
{
	struct meta m;
	uint64_t generation, ticket;
	int rc;

	if (!keyring_has_volume(z->keys)) {
		snprintf(why, ZS_WHY, "a new volume needs a key file (keys = ...) that names its volume id");
		return EXIT_KEY;
	}
	ticket = copy_metas_to_ask(z, &m);
	rc = meta_create(&m, w, clock_wall_s(), &generation, why);
	if (rc == -EEXIST)
		return adopt_created(z, w, why);
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "the metadata stores did not take the identities: %s", err_str(rc));
	if (rc == -E_KEY)
		return EXIT_KEY;
	if (rc < 0)
		return rc == -EAGAIN ? EXIT_AGAIN : EXIT_FAILED;
	keep_metas(z, &m, ticket);
	z->vol.local = (struct vol_local){.present = true, .generation = generation};
	memcpy(z->vol.local.volume, keyring_volume(z->keys), 16);
	rc = vol_save(z);
	if (rc == 0)
		rc = bind_spool(z);
	if (rc < 0)
		snprintf(why, ZS_WHY, "cannot write %s: %s", z->dir, err_str(rc));
	return rc < 0 ? EXIT_FAILED : EXIT_DONE;
}
