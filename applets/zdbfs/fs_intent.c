/*
 * fs_intent: what a batch does to names, and the intents that make it whole after a crash.
 *
 * A batch holds the end of many operations, not their steps: a name that came and went is not in it. For each inode the
 * stored names that it loses and the new ones that it gains are paired to moves; what is left over is a plain unlink or
 * link. One list is one record and changes at once, so a move inside a list needs no intent.
 *
 * In J an intent of kind LINK says: "when all its listed names are there, the inode has `links` names; for each that is
 * not there, one less". It completes nothing, it only lets the link count be put right, for links and for unlinks alike.
 * An inode whose right count is none is freed.
 *
 * A move into a new directory is only whole when that directory has its own name, and what takes the place of the moved name must wait
 * for it: so such directories have an intent as well (MAKE).
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/mem.h"

struct fs_net *fs_net_find(const struct fs_batch *b, uint64_t ino)
{
	struct hmap_node *n = hmap_first_of(&b->nets, hmap_hash_u64(ino));

	while (n && container_of(n, struct fs_net, node)->ino != ino)
		n = hmap_next_of(n);
	return n ? container_of(n, struct fs_net, node) : NULL;
}

/* Lost and gained names that make a move together. */
static uint32_t pairs_of(const struct fs_net *net)
{
	return net->lost_count < net->gained_count ? net->lost_count : net->gained_count;
}

bool fs_net_moves_out(const struct fs_batch *b, const struct fs_change *c)
{
	const struct fs_net *net = fs_net_find(b, c->old_ino);

	if (!net || !net->moves)
		return false;
	for (uint32_t n = 0; n < pairs_of(net) - net->moves; n++)
		if (net->lost[n] == c)
			return false; /* it stays in its list */
	return true;
}

/* The gate is closed: nothing changes, so no inode lock is needed to look. */
static struct fs_net *net_of(struct fs *fs, struct fs_batch *b, uint64_t ino)
{
	struct fs_net *net = fs_net_find(b, ino);
	struct fs_inode *i;

	if (net)
		return net;
	net = mem_calloc(1, sizeof(*net));
	if (!net)
		return NULL;
	net->ino = ino;
	i = fs_peek(fs, ino);
	if (i && i->is_loaded && !i->is_gone) {
		net->is_alive = !i->is_orphan;
		net->is_new = i->is_new;
		net->is_dir = i->dir != NULL;
		net->links = net->is_dir ? net->is_alive : i->links;
	}
	fs_put(fs, i);
	hmap_add(&b->nets, &net->node, hmap_hash_u64(ino));
	return net;
}

static int add(struct fs_change ***v, uint32_t *count, uint32_t *cap, struct fs_change *c)
{
	if (*count == *cap) {
		uint32_t n = *cap ? *cap * 2 : 1;
		struct fs_change **p = mem_realloc_array(*v, n, sizeof(*p));

		if (!p)
			return -ENOMEM;
		*v = p;
		*cap = n;
	}
	(*v)[(*count)++] = c;
	return 0;
}

static bool same_list(const struct fs_change *a, const struct fs_change *b)
{
	return a->dir == b->dir && fmt_hash(a->name, a->len) == fmt_hash(b->name, b->len);
}

/* Puts the names that stay within one list side by side, so that pairing by position finds them. */
static void pair_up(struct fs_net *net)
{
	uint32_t pairs = 0;

	for (uint32_t l = 0; l < net->lost_count; l++) {
		for (uint32_t g = pairs; g < net->gained_count; g++) {
			struct fs_change *lost = net->lost[l], *gained = net->gained[g];

			if (!same_list(lost, gained))
				continue;
			net->lost[l] = net->lost[pairs];
			net->lost[pairs] = lost;
			net->gained[g] = net->gained[pairs];
			net->gained[pairs] = gained;
			pairs++;
			break;
		}
	}
	net->moves = pairs_of(net) - pairs;
}

/* The new directories on the way to where the net's names move. */
static void mark_targets(struct fs_batch *b, const struct fs_net *net)
{
	for (uint32_t n = 0; n < pairs_of(net); n++) {
		struct fs_net *dir = fs_net_find(b, net->gained[n]->dir);

		while (dir && dir->is_new && dir->is_dir && dir->gained_count && !dir->is_target) {
			dir->is_target = true;
			dir = fs_net_find(b, dir->gained[0]->dir);
		}
	}
}

int fs_nets_build(struct fs *fs, struct fs_batch *b)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	list_each_safe(&b->changes.list, l)
	{
		struct fs_change *c = container_of(l, struct fs_change, link);
		struct fs_net *net;

		if (c->old_ino == c->new_ino)
			continue;
		if (c->old_ino) {
			net = net_of(fs, b, c->old_ino);
			if (!net || add(&net->lost, &net->lost_count, &net->lost_cap, c))
				return -ENOMEM;
		}
		if (c->new_ino) {
			net = net_of(fs, b, c->new_ino);
			if (!net || add(&net->gained, &net->gained_count, &net->gained_cap, c))
				return -ENOMEM;
		}
	}
	while ((n = hmap_each(&b->nets, &it)))
		pair_up(container_of(n, struct fs_net, node));
	it = (struct hmap_iter){0};
	while ((n = hmap_each(&b->nets, &it)))
		mark_targets(b, container_of(n, struct fs_net, node));
	return 0;
}

void fs_nets_release(struct fs_batch *b)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	while ((n = hmap_each(&b->nets, &it))) {
		struct fs_net *net = container_of(n, struct fs_net, node);

		mem_free(net->lost);
		mem_free(net->gained);
		mem_free(net);
	}
	hmap_release(&b->nets);
	hmap_init(&b->nets);
}

/* ------------------------------------------------------------------------------------------------- writing */

static int put(struct buf *out, uint32_t *count, const struct fmt_intent *in)
{
	int rc = fmt_journal_intent(out, in);

	if (!rc)
		(*count)++;
	return rc;
}

/* An intent of one name: LINK or MAKE. */
static int put_name(struct buf *out, uint32_t *count, enum fmt_intent_kind kind, const struct fs_net *net,
		    uint32_t links, const struct fs_change *c)
{
	struct fmt_intent in = {.kind = (uint8_t)kind,
				.ino = net->ino,
				.links = links,
				.old_ino = kind == FMT_MAKE ? c->old_ino : 0,
				.to_dir = c->dir,
				.to = c->name,
				.to_len = c->len};

	return put(out, count, &in);
}

static int put_move(const struct fs_batch *b, struct buf *out, uint32_t *count, const struct fs_net *net,
		    const struct fs_change *from, const struct fs_change *to)
{
	struct fmt_intent in = {.kind = FMT_RENAME,
				.ino = net->ino,
				.links = net->links,
				.old_ino = to->old_ino,
				.from_dir = from->dir,
				.from = from->name,
				.from_len = from->len,
				.to_dir = to->dir,
				.to = to->name,
				.to_len = to->len};

	if (to->old_ino) {
		const struct fs_net *old = fs_net_find(b, to->old_ino);

		in.old_links = old ? old->links : 0;
		/* both names changed hands: the other inode's move is this one backwards */
		if (old && from->new_ino == to->old_ino && net->lost_count == 1 && net->gained_count == 1 &&
		    old->lost_count == 1 && old->gained_count == 1) {
			in.kind = FMT_EXCHANGE;
			if (to->old_ino < net->ino)
				return 0; /* said once, by the lower number */
		}
	}
	return put(out, count, &in);
}

/* A move inside one list needs no help, unless one of its names changes hands: then another intent must know to whom. */
static bool needs_move(const struct fs_change *from, const struct fs_change *to)
{
	return !same_list(from, to) || from->new_ino || to->old_ino;
}

/*
 * `all` for a LINK intent counts every listed name as there: the names at the end, plus those that go. Names that only
 * move are in it once, wherever they are.
 */
static int write_net(const struct fs_batch *b, const struct fs_net *net, struct buf *out, uint32_t *count)
{
	uint32_t pairs = pairs_of(net);
	uint32_t all = net->links + (net->lost_count - pairs);
	int rc = 0;

	if (net->is_target)
		return put_name(out, count, FMT_MAKE, net, net->links, net->gained[0]);
	/* One name of a new inode: it is there, or all of it is a leak. But one who took another's name must be known to
	 * whoever redoes the other's move. */
	if (net->is_new && net->gained_count < 2 && !net->gained[0]->old_ino)
		return 0;
	for (uint32_t n = 0; !rc && n < pairs; n++)
		if (needs_move(net->lost[n], net->gained[n]))
			rc = put_move(b, out, count, net, net->lost[n], net->gained[n]);
	for (uint32_t n = pairs; !rc && n < net->lost_count; n++)
		rc = put_name(out, count, FMT_LINK, net, all, net->lost[n]);
	for (uint32_t n = pairs; !rc && n < net->gained_count; n++)
		rc = put_name(out, count, FMT_LINK, net, all, net->gained[n]);
	return rc;
}

int fs_intents_write(const struct fs_batch *b, struct buf *out, uint32_t *count)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;
	int rc = 0;

	*count = 0;
	while (!rc && (n = hmap_each(&b->nets, &it)))
		rc = write_net(b, container_of(n, struct fs_net, node), out, count);
	return rc;
}
