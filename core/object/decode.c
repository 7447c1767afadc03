/*
 * Fragments to plaintext. The usual case takes the first k good ones. When these open nothing although every checksum is
 * right, a store lies: then other choices of k are tried, and what does not fit to the one that opens is marked.
 */
#include <errno.h>
#include <string.h>

#include "core/object/reader_int.h"
#include "core/object/stripe_int.h"

#define SUBSETS_MAX 64 /* format, section 5, Reading one stripe */

/* The first k good parts; there are so many. */
static void choose(const struct reader *r, const struct window *win, uint8_t have[], const uint8_t *pieces[])
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->rec->pub.n && count < r->rec->pub.k; i++) {
		if (win->parts[i].state != PART_GOOD)
			continue;
		have[count] = (uint8_t)i;
		pieces[count++] = win->parts[i].payload;
	}
}

/* Decodes and opens one choice. As stripe_open(). */
static int try_choice(struct reader *r, const struct window *win, const uint8_t have[],
		      const uint8_t *const pieces[])
{
	const struct record *rec = r->rec;
	uint32_t sealed = rec->sealed[win->stripe];
	size_t piece = ec_piece_bytes(sealed, rec->pub.k);
	uint8_t want[EC_PIECES_MAX], *out[EC_PIECES_MAX];
	int rc;

	for (unsigned i = 0; i < rec->pub.k; i++) {
		want[i] = (uint8_t)i;
		out[i] = r->sealed + i * piece;
	}
	rc = ec_rebuild(r->ec, work_ec_cache(r->work), piece, have, pieces, want, rec->pub.k, out);
	if (rc != 0)
		return rc;
	return stripe_open(&rec->pub, rec->priv.key, win->stripe, work_zstd(r->work), r->sealed, sealed,
			   r->plain, head_plain_bytes(&rec->pub, rec->priv.size, win->stripe));
}

/* Marks the good parts that a right choice does not give. */
static int mark_liars(struct reader *r, struct window *win, const uint8_t have[],
		      const uint8_t *const pieces[])
{
	size_t piece = ec_piece_bytes(r->rec->sealed[win->stripe], r->rec->pub.k);
	uint8_t *out = work_buffer(r->work, SLOT_PIECES, piece);

	if (!out)
		return -ENOMEM;
	for (unsigned i = 0; i < r->rec->pub.n; i++) {
		uint8_t want = (uint8_t)i;
		int rc;

		if (win->parts[i].state != PART_GOOD)
			continue;
		rc = ec_rebuild(r->ec, work_ec_cache(r->work), piece, have, pieces, &want, 1, &out);
		if (rc != 0)
			return rc;
		if (memcmp(out, win->parts[i].payload, piece) != 0) {
			r->report->bad |= 1u << i;
			r->report->error[i] = -EBADMSG;
			r->shards[i].penalty++;
		}
	}
	return 0;
}

/* The next larger number with as many bits (Gosper); 0 when there is none below 2^32. */
static uint32_t next_with_same_bits(uint32_t v)
{
	uint32_t low = v & -v;
	uint64_t ripple = (uint64_t)v + low;

	if (ripple >> 32)
		return 0;
	return (uint32_t)ripple | ((v ^ (uint32_t)ripple) >> 2) / low;
}

/*
 * Tries the choices of k among the good parts, at most 64, in colexicographic order: all choices among the first k + 1 come
 * first, so that one liar is always found. The choice that opened is left in have[], pieces[].
 */
static int try_others(struct reader *r, struct window *win, uint8_t have[], const uint8_t *pieces[])
{
	uint8_t good[EC_PIECES_MAX];
	unsigned k = r->rec->pub.k, count = 0, tries = 0;
	uint32_t set = (uint32_t)(((uint64_t)1 << k) - 1);

	for (unsigned i = 0; i < r->rec->pub.n; i++)
		if (win->parts[i].state == PART_GOOD)
			good[count++] = (uint8_t)i;
	for (; tries < SUBSETS_MAX && set != 0 && (uint64_t)set >> count == 0; tries++) {
		unsigned at = 0;
		int rc;

		for (unsigned i = 0; i < count; i++) {
			if (!(set >> i & 1))
				continue;
			have[at] = good[i];
			pieces[at++] = win->parts[good[i]].payload;
		}
		rc = try_choice(r, win, have, pieces);
		if (rc == 0)
			return mark_liars(r, win, have, pieces);
		if (rc != -EBADMSG)
			return rc;
		set = next_with_same_bits(set);
	}
	return -EBADMSG;
}

int reader_verified(struct reader *r, uint32_t stripe, struct window **out, uint8_t have[],
		    const uint8_t *pieces[])
{
	uint32_t bad = r->report->bad, silent = r->report->unreachable;
	struct window *win;
	int rc = reader_gather(r, stripe, &win);

	if (rc != 0)
		return rc;
	choose(r, win, have, pieces);
	rc = try_choice(r, win, have, pieces);
	if (rc == -EBADMSG) {
		rc = reader_gather_all(r, win);
		if (rc == 0)
			rc = try_others(r, win, have, pieces);
		if (rc == -EBADMSG)
			return reader_fail(r, -EIO, "stripe %u: no choice of fragments opens",
					   (unsigned)stripe);
	}
	if (rc == -EPROTO)
		return reader_fail(r, -EIO, "stripe %u: opens, but holds something else", (unsigned)stripe);
	if (rc != 0)
		return rc;
	if (bad != r->report->bad || silent != r->report->unreachable)
		r->report->bad_stripes++;
	*out = win;
	return 0;
}

int reader_stripe(struct reader *r, uint32_t stripe, uint32_t *len)
{
	const uint8_t *pieces[EC_PIECES_MAX];
	uint8_t have[EC_PIECES_MAX];
	struct window *win;
	int rc = reader_verified(r, stripe, &win, have, pieces);

	if (rc != 0)
		return rc;
	*len = head_plain_bytes(&r->rec->pub, r->rec->priv.size, stripe);
	reader_release(r, win);
	return 0;
}
