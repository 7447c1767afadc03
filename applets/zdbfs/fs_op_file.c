/*
 * fs_op_file: reading, writing, and everything else that looks at a file's contents.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/mem.h"

#define SIZE_MAX_BYTES                                                                                       \
	((uint64_t)(FMT_SLOTS_MAX - FS_TRAILER_BASE / 4) * FMT_BLOCK) /* what blocks can cover */
#define AHEAD_BLOCKS 8u /* read in advance for a sequential reader */

static int get_file(struct fs *fs, uint64_t ino, struct fs_inode **out)
{
	int rc = fs_get(fs, ino, out);

	if (!rc && !S_ISREG((*out)->mode)) {
		rc = S_ISDIR((*out)->mode) ? -EISDIR : -EINVAL;
		fs_put(fs, *out);
	}
	return rc;
}

static void touch(struct fs_inode *i)
{
	fs_now(&i->mtime);
	i->ctime = i->mtime;
}

/* --------------------------------------------------------------------------------------------------- reading */

void fs_read_release(struct fs_read *r)
{
	for (size_t n = 0; n < r->count; n++)
		fs_bytes_put(r->pieces[n].ref);
	mem_free(r->pieces);
	*r = (struct fs_read){0};
}

static int add_piece(struct fs_read *r, size_t max, struct fs_block *b, uint32_t from, uint32_t len)
{
	struct fs_piece *p = &r->pieces[r->count];
	uint32_t have = b && b->bytes && b->len > from ? b->len - from : 0;

	BUG_ON(r->count + 2 > max);
	if (have > len)
		have = len;
	if (have) {
		atomic_fetch_add(&b->bytes->refs, 1);
		*p = (struct fs_piece){.data = b->bytes->data + from, .len = have, .ref = b->bytes};
		r->count++;
		p++;
	}
	if (len > have) {
		*p = (struct fs_piece){.len = len - have};
		r->count++;
	}
	r->len += len;
	return 0;
}

/* Asks for all blocks of the range at once, and for some behind it when the reader goes straight on. */
static int want_all(struct fs *fs, struct fs_inode *i, uint64_t off, size_t len)
{
	uint64_t last = (off + len - 1) / FMT_BLOCK;
	int rc = 0;

	if (off && off == i->next_read)
		last += AHEAD_BLOCKS;
	i->next_read = off + len;
	for (uint64_t s = off / FMT_BLOCK; !rc && s <= last && s < i->map_count; s++) {
		struct fs_block *b;

		rc = fs_block_want(fs, i, (uint32_t)s, &b);
	}
	return rc;
}

static int read_locked(struct fs *fs, struct fs_inode *i, uint64_t off, size_t len, struct fs_read *out)
{
	size_t max;
	int rc;

	if (off >= i->size)
		return 0;
	if (len > i->size - off)
		len = (size_t)(i->size - off);
	if (!len)
		return 0;
	max = (len / FMT_BLOCK + 2) * 2 + 2;
	out->pieces = mem_calloc(max, sizeof(*out->pieces));
	rc = out->pieces ? want_all(fs, i, off, len) : -ENOMEM;
	while (!rc && out->len < len) {
		uint64_t at = off + out->len;
		uint32_t from = at % FMT_BLOCK, part = FMT_BLOCK - from;
		struct fs_block *b = NULL;
		bool waited = false;

		if (part > len - out->len)
			part = (uint32_t)(len - out->len);
		if (at / FMT_BLOCK < FMT_SLOTS_MAX)
			rc = fs_block_get(fs, i, (uint32_t)(at / FMT_BLOCK), &b, &waited);
		if (!rc && waited && at + part > i->size)
			break; /* cut off meanwhile: what was read until here */
		if (!rc)
			rc = add_piece(out, max, b, from, part);
	}
	if (rc && out->len) /* the bytes before the bad range are good; the next read meets the error */
		rc = 0;
	return rc;
}

int fs_op_read_pieces(struct fs *fs, uint64_t ino, uint64_t off, size_t len, struct fs_read *out)
{
	struct fs_inode *i;
	int rc;

	*out = (struct fs_read){0};
	rc = get_file(fs, ino, &i);
	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	rc = read_locked(fs, i, off, len, out);
	fs_blocks_trim(fs, i);
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	if (rc)
		fs_read_release(out);
	return rc;
}

ssize_t fs_op_read(struct fs *fs, uint64_t ino, uint64_t off, void *data, size_t len)
{
	struct fs_read r;
	uint8_t *to = data;
	ssize_t n;
	int rc = fs_op_read_pieces(fs, ino, off, len, &r);

	if (rc)
		return rc;
	for (size_t p = 0; p < r.count; p++) {
		if (r.pieces[p].data)
			memcpy(to, r.pieces[p].data, r.pieces[p].len);
		else
			memset(to, 0, r.pieces[p].len);
		to += r.pieces[p].len;
	}
	n = (ssize_t)r.len;
	fs_read_release(&r);
	return n;
}

/* --------------------------------------------------------------------------------------------------- growing */

/*
 * Before a file grows from a size inside a block: that block must be here, so that what lies behind the old end in the
 * store cannot come to light. Inode locked; *waited as in fs_block_get().
 */
static int bring_boundary(struct fs *fs, struct fs_inode *i, uint64_t new_size, bool *waited)
{
	uint32_t slot = (uint32_t)(i->size / FMT_BLOCK);
	struct fs_block *b;

	if (new_size <= i->size || i->size % FMT_BLOCK == 0 || i->size / FMT_BLOCK >= FMT_SLOTS_MAX ||
	    !fs_map_get(i, slot))
		return 0;
	return fs_block_get(fs, i, slot, &b, waited);
}

/* The second half: inside the gate. */
static int cross_boundary(struct fs *fs, struct fs_inode *i, uint64_t new_size)
{
	struct fs_block *b;

	if (new_size <= i->size)
		return 0;
	if (i->size % FMT_BLOCK && i->size / FMT_BLOCK < FMT_SLOTS_MAX) {
		b = fs_block_find(fs, i, (uint32_t)(i->size / FMT_BLOCK));
		if (b && b->is_over)
			fs_block_dirty(fs, b);
	}
	/* blocks that the original left behind the end */
	return fs_file_cut(fs, i, i->size);
}

int fs_file_resize(struct fs *fs, struct fs_inode *i, uint64_t size)
{
	bool waited;
	int rc;

	if (size > INT64_MAX)
		return -EFBIG;
	do {
		waited = false;
		rc = bring_boundary(fs, i, size, &waited);
		if (rc)
			return rc;
	} while (waited);
	fs_gate_enter(fs);
	rc = size > i->size ? cross_boundary(fs, i, size) : fs_file_cut(fs, i, size);
	if (!rc) {
		i->size = size;
		touch(i);
		fs_mark_dirty(fs, i);
	}
	fs_gate_leave(fs);
	return rc;
}

/* --------------------------------------------------------------------------------------------------- writing */

/* Whether the slot's stored block is needed below a write of [from, to). */
static bool needs_base(const struct fs_inode *i, uint32_t slot, uint32_t from, uint32_t to)
{
	uint64_t start = (uint64_t)slot * FMT_BLOCK;

	if (!fs_map_get(i, slot) || i->size <= start)
		return false;
	return from > 0 || to < (i->size - start < FMT_BLOCK ? i->size - start : FMT_BLOCK);
}

/* Makes sure that putting the bytes in cannot wait. Inode locked. */
static int prepare_range(struct fs *fs, struct fs_inode *i, uint64_t off, size_t len, bool *waited)
{
	uint64_t end = off + len;
	int rc = bring_boundary(fs, i, end, waited);

	for (uint64_t at = off; !rc && at < end;) {
		uint32_t slot = (uint32_t)(at / FMT_BLOCK), from = at % FMT_BLOCK;
		uint32_t to = end - at < FMT_BLOCK - from ? from + (uint32_t)(end - at) : FMT_BLOCK;
		struct fs_block *b = fs_block_find(fs, i, slot);

		if (!b && needs_base(i, slot, from, to))
			rc = fs_block_want(fs, i, slot, &b);
		if (!rc && b && !fs_block_has_room(b, from, to))
			rc = fs_block_get(fs, i, slot, &b, waited);
		at += to - from;
	}
	return rc;
}

static int put_range(struct fs *fs, struct fs_inode *i, uint64_t off, const uint8_t *data, size_t len,
		     size_t *done)
{
	int rc = cross_boundary(fs, i, off + len);

	while (!rc && *done < len) {
		uint64_t at = off + *done;
		uint32_t from = at % FMT_BLOCK, part = FMT_BLOCK - from;

		if (part > len - *done)
			part = (uint32_t)(len - *done);
		rc = fs_block_put(fs, i, (uint32_t)(at / FMT_BLOCK), from, data ? data + *done : NULL, part);
		if (!rc)
			*done += part;
	}
	if (*done) {
		if (off + *done > i->size)
			i->size = off + *done;
		touch(i);
		fs_mark_dirty(fs, i);
	}
	return rc;
}

/* data NULL: zeros. Inode locked. */
static ssize_t write_locked(struct fs *fs, struct fs_inode *i, uint64_t off, const void *data, size_t len)
{
	size_t done = 0;
	bool waited;
	int rc;

	do {
		waited = false;
		rc = prepare_range(fs, i, off, len, &waited);
	} while (!rc && waited);
	if (rc)
		return rc;
	fs_gate_enter(fs);
	rc = put_range(fs, i, off, data, len, &done);
	fs_gate_leave(fs);
	return done ? (ssize_t)done : rc;
}

ssize_t fs_op_write(struct fs *fs, uint64_t ino, uint64_t off, const void *data, size_t len)
{
	struct fs_inode *i;
	ssize_t n;
	int rc;

	if (fs->is_read_only)
		return -EROFS;
	if (off >= SIZE_MAX_BYTES)
		return -EFBIG;
	if (len > SIZE_MAX_BYTES - off)
		len = (size_t)(SIZE_MAX_BYTES - off);
	if (!len)
		return 0;
	rc = fs_space_check(fs, len);
	if (!rc)
		rc = fs_throttle(fs);
	if (!rc)
		rc = get_file(fs, ino, &i);
	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	n = write_locked(fs, i, off, data, len);
	fs_blocks_trim(fs, i);
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return n;
}

/* ------------------------------------------------------------------------------------------ open, close, sync */

int fs_op_open(struct fs *fs, uint64_t ino, int flags)
{
	struct fs_inode *i;
	int rc = get_file(fs, ino, &i);

	if (rc)
		return rc;
	if (fs->is_read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		rc = -EROFS;
	if (!rc && (flags & O_TRUNC)) {
		pthread_mutex_lock(&i->lock);
		rc = fs_file_resize(fs, i, 0);
		pthread_mutex_unlock(&i->lock);
	}
	if (!rc)
		fs_known_add(fs, ino, 0, 1);
	fs_put(fs, i);
	return rc;
}

int fs_op_opendir(struct fs *fs, uint64_t ino)
{
	struct fs_inode *i;
	int rc = fs_get(fs, ino, &i);

	if (rc)
		return rc;
	if (!i->dir)
		rc = -ENOTDIR;
	if (!rc)
		fs_known_add(fs, ino, 0, 1);
	fs_put(fs, i);
	return rc;
}

void fs_op_release(struct fs *fs, uint64_t ino)
{
	fs_known_add(fs, ino, 0, -1);
	fs_orphan_check(fs, ino);
}

static int take_error(struct fs_inode *i)
{
	int rc;

	pthread_mutex_lock(&i->lock);
	rc = i->wb_err;
	i->wb_err = 0;
	pthread_mutex_unlock(&i->lock);
	return rc;
}

int fs_op_flush(struct fs *fs, uint64_t ino)
{
	struct fs_inode *i = fs_peek(fs, ino);
	int rc = i ? take_error(i) : 0;

	fs_put(fs, i);
	return rc;
}

/* Waits for the bases of blocks that were written in part: what is synced must be whole. */
static int settle_all(struct fs *fs, struct fs_inode *i)
{
	bool again = true;
	int rc = 0;

	while (!rc && again) {
		again = false;
		list_each(&i->blocks, it)
		{
			struct fs_block *b = container_of(it, struct fs_block, in_inode);

			if (!b->is_dirty || !b->needs_base)
				continue;
			rc = fs_block_get(fs, i, b->slot, &b, &again);
			if (rc || again)
				break; /* the list may have changed */
		}
	}
	return rc;
}

int fs_op_fsync(struct fs *fs, uint64_t ino)
{
	struct fs_inode *i = fs_peek(fs, ino);
	int rc = 0, err;

	if (i && S_ISREG(i->mode)) {
		pthread_mutex_lock(&i->lock);
		rc = settle_all(fs, i);
		pthread_mutex_unlock(&i->lock);
	}
	if (!rc)
		rc = fs_commit_wait(fs);
	err = i ? take_error(i) : 0;
	fs_put(fs, i);
	return rc ? rc : err;
}

/* ------------------------------------------------------------------------------------------ holes, seeking, copying */

/* Zeros over [off, end), without growing. Inode locked. */
static int zero_range(struct fs *fs, struct fs_inode *i, uint64_t off, uint64_t end)
{
	int rc = 0;

	if (end > i->size)
		end = i->size;
	while (!rc && off < end) {
		uint32_t slot = (uint32_t)(off / FMT_BLOCK), from = off % FMT_BLOCK;
		uint64_t next = (uint64_t)(slot + 1) * FMT_BLOCK;

		if (off / FMT_BLOCK >= FMT_SLOTS_MAX)
			break; /* nothing can be there */
		if (next > end)
			next = end;
		if (from == 0 && (next - off == FMT_BLOCK || next == i->size)) {
			fs_gate_enter(fs);
			rc = fs_slot_clear(fs, i, slot);
			touch(i);
			fs_mark_dirty(fs, i);
			fs_gate_leave(fs);
		} else if (fs_map_get(i, slot) || fs_block_find(fs, i, slot)) {
			ssize_t n = write_locked(fs, i, off, NULL, (size_t)(next - off));

			rc = n < 0 ? (int)n : n < (ssize_t)(next - off) ? -EIO : 0;
		}
		off = next;
	}
	return rc;
}

int fs_op_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off, uint64_t len)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE, punch = mode & FALLOC_FL_PUNCH_HOLE,
	     zero = mode & FALLOC_FL_ZERO_RANGE;
	struct fs_inode *i;
	int rc;

	if (fs->is_read_only)
		return -EROFS;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) || (punch && zero) ||
	    (punch && !keep))
		return -EOPNOTSUPP;
	if (!len || off > INT64_MAX || len > INT64_MAX - off)
		return -EINVAL;
	if (!punch && off + len > SIZE_MAX_BYTES)
		return -EFBIG;
	rc = punch ? 0 : fs_space_check(fs, keep && !zero ? len : 0);
	if (!rc)
		rc = fs_throttle(fs);
	if (!rc)
		rc = get_file(fs, ino, &i);
	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	if (punch || zero)
		rc = zero_range(fs, i, off, off + len);
	if (!rc && !keep && off + len > i->size)
		rc = fs_file_resize(fs, i, off + len);
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return rc;
}

static bool has_data(struct fs *fs, struct fs_inode *i, uint64_t slot)
{
	return slot < FMT_SLOTS_MAX &&
	       (fs_map_get(i, (uint32_t)slot) || fs_block_find(fs, i, (uint32_t)slot));
}

int fs_op_lseek(struct fs *fs, uint64_t ino, uint64_t off, int whence, uint64_t *result)
{
	struct fs_inode *i;
	uint64_t slot = off / FMT_BLOCK;
	int rc = get_file(fs, ino, &i);

	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		rc = -EINVAL;
	else if (off >= i->size)
		rc = -ENXIO;
	while (!rc && slot * FMT_BLOCK < i->size && slot < i->map_count &&
	       has_data(fs, i, slot) != (whence == SEEK_DATA))
		slot++;
	if (!rc && whence == SEEK_DATA && (slot >= i->map_count || slot * FMT_BLOCK >= i->size))
		rc = -ENXIO;
	*result = slot * FMT_BLOCK > off ? slot * FMT_BLOCK : off;
	if (*result > i->size)
		*result = i->size;
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return rc;
}

ssize_t fs_op_copy(struct fs *fs, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, size_t len)
{
	struct fs_attr attr;
	size_t done = 0;
	ssize_t rc = fs_op_getattr(fs, from, &attr);

	/* The end as it was: within one file the copy may move it. */
	if (!rc && (from_off >= attr.size || len > attr.size - from_off))
		len = from_off < attr.size ? (size_t)(attr.size - from_off) : 0;
	while (done < len && !rc) {
		size_t part = len - done < (1u << 20) ? len - done : (1u << 20);
		struct fs_read r;

		rc = fs_op_read_pieces(fs, from, from_off + done, part, &r);
		if (rc)
			break;
		if (!r.len) {
			fs_read_release(&r);
			break;
		}
		for (size_t p = 0; p < r.count && !rc; p++) {
			/* zeros are written as such: a hole under the target's old bytes would show them */
			static uint8_t zeros
				[FMT_BLOCK]; /* never written; not const, so that it takes no room in the file */
			const uint8_t *data = r.pieces[p].data ? r.pieces[p].data : zeros;
			ssize_t n = fs_op_write(fs, to, to_off + done, data, r.pieces[p].len);

			if (n < 0)
				rc = n;
			else
				done += (size_t)n;
			if (n >= 0 && (size_t)n < r.pieces[p].len)
				rc = -EFBIG;
		}
		fs_read_release(&r);
	}
	return done ? (ssize_t)done : rc;
}
