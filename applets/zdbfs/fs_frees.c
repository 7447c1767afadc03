/*
 * fs_frees: ids that nothing refers to any more, kept until the batch that made them so is stored, then deleted.
 */
#include "applets/zdbfs/fs_int.h"

#define WINDOW 64u /* deletions on their way at once */

static int move_ids(struct fs_ids *to, struct fs_ids *from)
{
	int rc = 0;

	for (size_t n = 0; !rc && n < from->count; n++)
		rc = fs_ids_add(to, from->v[n]);
	fs_ids_release(from);
	return rc;
}

int fs_frees_merge(struct fs_frees *to, struct fs_frees *from)
{
	int rc = move_ids(&to->loose, &from->loose), rc5 = move_ids(&to->owners, &from->owners);
	int rc2 = move_ids(&to->data, &from->data);
	int rc3 = move_ids(&to->meta, &from->meta);
	int rc4 = move_ids(&to->inodes, &from->inodes);

	return rc ? rc : rc2 ? rc2 : rc3 ? rc3 : rc4 ? rc4 : rc5;
}

void fs_frees_release(struct fs_frees *f)
{
	fs_ids_release(&f->loose);
	fs_ids_release(&f->owners);
	fs_ids_release(&f->data);
	fs_ids_release(&f->meta);
	fs_ids_release(&f->inodes);
}

bool fs_frees_is_empty(const struct fs_frees *f)
{
	return !f->loose.count && !f->data.count && !f->meta.count && !f->inodes.count;
}

/* Deletes; what is not there is gone already. */
static int delete_all(struct fs *fs, enum kv_role role, struct fs_ids *ids)
{
	struct kv_req reqs[WINDOW], *ptrs[WINDOW];
	int rc = 0;

	for (size_t at = 0; !rc && at < ids->count;) {
		size_t n = ids->count - at < WINDOW ? ids->count - at : WINDOW;

		for (size_t k = 0; k < n; k++) {
			reqs[k] = (struct kv_req){.op = KV_DEL, .role = role, .key = ids->v[at + k]};
			ptrs[k] = &reqs[k];
		}
		(void)kv_run(fs->kv, ptrs, n, KV_BATCH);
		for (size_t k = 0; !rc && k < n; k++)
			rc = reqs[k].err == -ENOENT ? 0 : reqs[k].err;
		at += n;
	}
	if (!rc)
		fs_ids_release(ids);
	return rc;
}

int fs_frees_delete_data(struct fs *fs)
{
	int rc = delete_all(fs, KV_DATA, &fs->ready.loose);

	fs_ids_release(&fs->ready.owners);
	return rc ? rc : delete_all(fs, KV_DATA, &fs->ready.data);
}

int fs_frees_delete_meta(struct fs *fs)
{
	int rc = delete_all(fs, KV_META, &fs->ready.meta);

	return rc ? rc : delete_all(fs, KV_META, &fs->ready.inodes);
}
