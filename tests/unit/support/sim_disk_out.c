/*
 * sim_disk_out: the state of a recorded disk after a cut.
 *
 * First it is decided, from the back, which recorded calls a later sync has made durable; then all calls are gone through
 * in order, durable ones applied whole, others as the policy and the seed say, sector by sector. Since the order is kept,
 * a sector ends as some version that was really written (or what it was before), never as an older one over a newer one.
 */
#include "tests/unit/support/sim_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"

struct content {
	unsigned char *data;
	size_t size, cap;
};

struct state {
	const struct sim_disk *disk;
	uint64_t cut;
	enum sim_policy policy;
	uint64_t random, seed;
	bool *is_durable;      /* per call */
	struct content *files; /* per inode */
	size_t *prefix_left; /* SIM_PREFIX: per inode, how many calls that are not durable still get through */
	size_t names_left;
	struct sim_entry *entries;
	size_t entry_count, entry_cap;
	char **made; /* per inode: path of the first name written out, for hard links */
};

static void give_up(const char *what, const char *path)
{
	fprintf(stderr, "sim_disk: cannot %s %s: %s\n", what, path, strerror(errno));
	abort();
}

static void *zeroed(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	if (!p)
		give_up("allocate", "a state");
	return p;
}

static bool is_name_op(const struct sim_op *op)
{
	return op->kind == SIM_OP_LINK || op->kind == SIM_OP_UNLINK || op->kind == SIM_OP_RENAME ||
	       op->kind == SIM_OP_EXCHANGE;
}

static bool is_data_op(const struct sim_op *op)
{
	return op->kind == SIM_OP_WRITE || op->kind == SIM_OP_SIZE || op->kind == SIM_OP_EXTEND;
}

/* From the back: a call is durable when its file, or directory, is synced later without a failed sync in between. */
static void find_durable(struct state *s)
{
	size_t inodes = s->disk->inode_count;
	bool *is_synced = zeroed(inodes, sizeof(bool));

	for (uint64_t i = s->cut; i-- > 0;) {
		const struct sim_op *op = &s->disk->ops[i];

		if (op->kind == SIM_OP_SYNC) {
			is_synced[op->inode] = true;
		} else if (op->kind == SIM_OP_SYNC_FAIL) {
			is_synced[op->inode] = false;
		} else if (op->kind == SIM_OP_SYNC_ALL) {
			for (size_t k = 0; k < inodes; k++)
				is_synced[k] = true;
		} else if (is_name_op(op)) {
			s->is_durable[i] = is_synced[op->dir2 >= 0 ? op->dir2 : op->dir];
		} else {
			s->is_durable[i] = is_synced[op->inode];
		}
	}
	free(is_synced);
}

/* SIM_PREFIX: how many of the calls that are not durable get through, per file and for names. */
static void choose_prefixes(struct state *s)
{
	size_t names = 0;

	for (uint64_t i = 0; i < s->cut; i++) {
		const struct sim_op *op = &s->disk->ops[i];

		if (s->is_durable[i])
			continue;
		if (is_name_op(op))
			names++;
		else if (is_data_op(op))
			s->prefix_left[op->inode]++;
	}
	for (size_t k = 0; k < s->disk->inode_count; k++)
		s->prefix_left[k] = test_random(&s->random) % (s->prefix_left[k] + 1);
	s->names_left = test_random(&s->random) % (names + 1);
}

/* Whether a call that is not durable gets through. *is_torn: only a part of it. */
static bool gets_through(struct state *s, const struct sim_op *op, bool *is_torn)
{
	size_t *left = is_name_op(op) ? &s->names_left : &s->prefix_left[op->inode];

	*is_torn = false;
	switch (s->policy) {
	case SIM_DROP:
		return false;
	case SIM_KEEP:
		return true;
	case SIM_PREFIX:
		if (*left == 0)
			return false;
		*is_torn = --*left == 0;
		return true;
	case SIM_RANDOM:
	case SIM_SECTORS:
	default:
		*is_torn = test_random(&s->random) % 2;
		return test_random(&s->random) % 2;
	}
}

/* ---- files ---- */

static void set_size(struct content *c, size_t size)
{
	if (size > c->cap) {
		size_t cap = size > 2 * c->cap ? size : 2 * c->cap;

		c->data = realloc(c->data, cap);
		if (!c->data)
			give_up("grow", "a file");
		c->cap = cap;
	}
	if (size > c->size)
		memset(c->data + c->size, 0, size - c->size);
	c->size = size;
}

static void put_bytes(struct content *c, uint64_t off, const unsigned char *data, size_t len)
{
	if (len == 0)
		return;
	if (off + len > c->size)
		set_size(c, off + len);
	memcpy(c->data + off, data, len);
}

/* The sectors of one write, each by itself: torn in order (a prefix) or in any combination. */
static void put_torn(struct state *s, struct content *c, const struct sim_op *op)
{
	uint64_t at = op->off, end = op->off + op->len;
	uint64_t sectors = (end - 1) / SIM_SECTOR - at / SIM_SECTOR + 1;
	uint64_t keep = test_random(&s->random) % (sectors + 1);
	bool in_order = s->policy == SIM_PREFIX || test_random(&s->random) % 2;

	for (uint64_t k = 0; at < end; k++) {
		uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;

		if (next > end)
			next = end;
		if (in_order ? k < keep : test_random(&s->random) % 2)
			put_bytes(c, at, op->data + (at - op->off), next - at);
		at = next;
	}
	/* The size may be there before the bytes are. */
	if (end > c->size && s->policy == SIM_RANDOM && test_random(&s->random) % 2)
		set_size(c, end);
}

/*
 * SIM_SECTORS: up to which call the bytes of a sector have reached the disk. A sector is written as a whole, as it was at
 * that moment, so that what is in it is always a prefix of what was written to it.
 */
static uint64_t sector_reached(const struct state *s, int inode, uint64_t sector)
{
	uint64_t r = s->seed ^ ((uint64_t)inode << 40) ^ sector;
	uint64_t choice = test_random(&r) % 4;

	return choice == 0 ? 0 : choice == 1 ? s->cut : test_random(&r) % (s->cut + 1);
}

static void put_sectors(struct state *s, struct content *c, const struct sim_op *op, uint64_t call)
{
	uint64_t end = op->off + op->len;

	for (uint64_t at = op->off, next; at < end; at = next) {
		next = (at / SIM_SECTOR + 1) * SIM_SECTOR;
		if (next > end)
			next = end;
		if (call < sector_reached(s, op->inode, at / SIM_SECTOR))
			put_bytes(c, at, op->data + (at - op->off), next - at);
	}
	/* The size may be there before the bytes are. */
	if (end > c->size && test_random(&s->random) % 4 == 0)
		set_size(c, end);
}

static void apply_data(struct state *s, const struct sim_op *op, bool is_torn)
{
	struct content *c = &s->files[op->inode];

	if (op->kind == SIM_OP_SIZE)
		set_size(c, op->len);
	else if (op->kind == SIM_OP_EXTEND)
		set_size(c, op->len > c->size ? op->len : c->size);
	else if (is_torn && op->len)
		put_torn(s, c, op);
	else
		put_bytes(c, op->off, op->data, op->len);
}

/* A write that did not get through may still have made the file longer. */
static void apply_size_only(struct state *s, const struct sim_op *op)
{
	struct content *c = &s->files[op->inode];

	if (s->policy == SIM_RANDOM && op->kind == SIM_OP_WRITE && op->off + op->len > c->size &&
	    test_random(&s->random) % 4 == 0)
		set_size(c, op->off + op->len);
}

/* ---- names ---- */

static struct sim_entry *find_entry(struct state *s, int dir, const char *name)
{
	for (size_t i = 0; i < s->entry_count; i++) {
		if (s->entries[i].dir == dir && strcmp(s->entries[i].name, name) == 0)
			return &s->entries[i];
	}
	return NULL;
}

/* The state's names point at those of the recording. */
static void set_entry(struct state *s, int dir, char *name, int inode)
{
	struct sim_entry *e = find_entry(s, dir, name);

	if (!e) {
		s->entries = sim_grow(s->entries, s->entry_count, &s->entry_cap, sizeof(*s->entries));
		e = &s->entries[s->entry_count++];
	}
	*e = (struct sim_entry){.dir = dir, .name = name, .inode = inode};
}

/* Removes a name, if it still means that file (inode < 0: whatever it means). */
static void clear_entry(struct state *s, int dir, const char *name, int inode)
{
	struct sim_entry *e = find_entry(s, dir, name);

	if (e && (inode < 0 || e->inode == inode))
		*e = s->entries[--s->entry_count];
}

static void apply_name(struct state *s, const struct sim_op *op)
{
	switch (op->kind) {
	case SIM_OP_LINK:
		set_entry(s, op->dir, op->name, op->inode);
		break;
	case SIM_OP_UNLINK:
		clear_entry(s, op->dir, op->name, op->inode);
		break;
	case SIM_OP_RENAME:
		clear_entry(s, op->dir, op->name, op->inode);
		set_entry(s, op->dir2, op->name2, op->inode);
		break;
	default:
		set_entry(s, op->dir, op->name, op->inode2);
		set_entry(s, op->dir2, op->name2, op->inode);
		break;
	}
}

/* ---- writing it out ---- */

static void write_file(const struct state *s, int inode, const char *path)
{
	const struct content *c = &s->files[inode];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)c->size) < 0)
		give_up("write", path);
	/* Long runs of zeros stay holes: segments may be preallocated. */
	for (size_t at = 0; at < c->size;) {
		size_t len = c->size - at < 65536 ? c->size - at : 65536;
		bool is_zero = c->data[at] == 0 && memcmp(c->data + at, c->data + at + 1, len - 1) == 0;

		if (!is_zero && pwrite(fd, c->data + at, len, (off_t)at) != (ssize_t)len)
			give_up("write", path);
		at += len;
	}
	if (fchmod(fd, s->disk->inodes[inode].mode) < 0 || close(fd) < 0)
		give_up("finish", path);
}

static void write_dir(struct state *s, int dir, const char *path, unsigned depth)
{
	if (depth > 32)
		return; /* renames that got through in part can make a circle of directories */
	for (size_t i = 0; i < s->entry_count; i++) {
		const struct sim_entry *e = &s->entries[i];
		char name[4096];

		if (e->dir != dir || e->inode < 0)
			continue;
		if (file_join(name, sizeof(name), path, e->name))
			give_up("name", e->name);
		if (s->made[e->inode]) {
			if (!s->disk->inodes[e->inode].is_dir && link(s->made[e->inode], name) < 0)
				give_up("link", name);
			continue;
		}
		s->made[e->inode] = strdup(name);
		if (!s->disk->inodes[e->inode].is_dir) {
			write_file(s, e->inode, name);
			continue;
		}
		if (mkdir(name, s->disk->inodes[e->inode].mode | 0700) < 0)
			give_up("make", name);
		write_dir(s, e->inode, name, depth + 1);
	}
}

static void state_init(struct state *s)
{
	const struct sim_disk *d = s->disk;

	s->is_durable = zeroed(d->op_count, sizeof(bool));
	s->files = zeroed(d->inode_count, sizeof(*s->files));
	s->prefix_left = zeroed(d->inode_count, sizeof(size_t));
	s->made = zeroed(d->inode_count, sizeof(char *));
	for (size_t i = 0; i < d->inode_count; i++)
		put_bytes(&s->files[i], 0, d->inodes[i].data ? d->inodes[i].data : (const unsigned char *)"",
			  d->inodes[i].size);
	for (size_t i = 0; i < d->entry_count; i++)
		set_entry(s, d->entries[i].dir, d->entries[i].name, d->entries[i].inode);
}

static void state_release(struct state *s)
{
	for (size_t i = 0; i < s->disk->inode_count; i++) {
		free(s->files[i].data);
		free(s->made[i]);
	}
	free(s->is_durable);
	free(s->files);
	free(s->prefix_left);
	free(s->made);
	free(s->entries);
}

void sim_disk_materialise(struct sim_disk *disk, uint64_t cut, enum sim_policy policy, uint64_t seed,
			  const char *out)
{
	struct state s = {.disk = disk, .policy = policy, .random = seed, .seed = seed};

	s.cut = cut < disk->op_count ? cut : disk->op_count;
	state_init(&s);
	find_durable(&s);
	if (policy == SIM_PREFIX)
		choose_prefixes(&s);
	for (uint64_t i = 0; i < s.cut; i++) {
		const struct sim_op *op = &disk->ops[i];
		bool is_torn = false;
		bool passes = s.is_durable[i];

		if (!is_name_op(op) && !is_data_op(op))
			continue;
		if (op->lost_at && op->lost_at < s.cut) {
			if (op->off + op->len > s.files[op->inode].size)
				set_size(&s.files[op->inode], op->off + op->len);
			continue;
		}
		if (!passes && policy == SIM_SECTORS && op->kind == SIM_OP_WRITE) {
			put_sectors(&s, &s.files[op->inode], op, i);
			continue;
		}
		if (!passes)
			passes = gets_through(&s, op, &is_torn);
		if (is_name_op(op)) {
			if (passes)
				apply_name(&s, op);
		} else if (passes) {
			apply_data(&s, op, is_torn);
		} else {
			apply_size_only(&s, op);
		}
	}
	if (mkdir(out, 0700) < 0 && errno != EEXIST)
		give_up("make", out);
	write_dir(&s, disk->root_inode, out, 0);
	state_release(&s);
}

/* The name under which a file was known when the call was made, for people: the last one that it was given. */
static const char *name_of(const struct sim_disk *d, int inode, uint64_t before)
{
	const char *name = inode == d->root_inode ? "." : "?";

	for (size_t i = 0; i < d->entry_count; i++) {
		if (d->entries[i].inode == inode)
			name = d->entries[i].name;
	}
	for (uint64_t i = 0; i < before; i++) {
		if (d->ops[i].inode != inode)
			continue;
		if (d->ops[i].kind == SIM_OP_LINK)
			name = d->ops[i].name;
		else if (d->ops[i].kind == SIM_OP_RENAME)
			name = d->ops[i].name2;
	}
	return name;
}

char *sim_disk_describe(struct sim_disk *disk, uint64_t call, char *dst, size_t size)
{
	static const char *const verbs[] = {"write",    "set size", "extend", "sync",   "failed sync",
					    "sync all", "link",     "unlink", "rename", "exchange"};
	const struct sim_op *op;
	const char *name;

	if (call >= disk->op_count) {
		snprintf(dst, size, "end of the recording");
		return dst;
	}
	op = &disk->ops[call];
	name = op->name ? op->name : name_of(disk, op->inode, call + 1);
	if (op->kind == SIM_OP_WRITE)
		snprintf(dst, size, "write %s at %llu + %llu", name, (unsigned long long)op->off,
			 (unsigned long long)op->len);
	else if (is_data_op(op))
		snprintf(dst, size, "%s %s to %llu", verbs[op->kind], name, (unsigned long long)op->len);
	else if (op->name2)
		snprintf(dst, size, "%s %s to %s", verbs[op->kind], name, op->name2);
	else
		snprintf(dst, size, "%s %s", verbs[op->kind], name);
	return dst;
}
