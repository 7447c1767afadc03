/*
 * record_int: one writing of a record (all its pieces), and what the stores show for one name.
 */
#ifndef CORE_OBJECT_RECORD_INT_H
#define CORE_OBJECT_RECORD_INT_H

#include "core/base/buf.h"
#include "core/object/meta_int.h"
#include "core/object/record.h"

enum { /* value on a metadata store */
       M_EPOCH = 4,
       M_K = 6,
       M_N = 7,
       M_INDEX = 8,
       M_ZERO = 9,
       M_LENGTH = 12,
       M_VERSION = 16,
       M_NONCE = 24,
       M_PIECE = 48,
};

#define RECORD_NONCE_BYTES 24
#define RECORD_AD_BYTES    52
/* After enough stores answered the others get so long; then they are a debt, or silent. */
#define RECORD_GRACE_MS 1000

/* ---- one writing: header and all pieces ---- */

struct writing {
	uint8_t header[M_PIECE]; /* that all pieces share; the index is 0 */
	unsigned k, n;
	size_t piece;   /* bytes of one piece */
	uint8_t *bytes; /* n pieces */
};

/* Seals `r` as `version` with a fresh nonce. 0, -ENOMEM, -EINVAL, what crypto_random() says. */
int writing_seal(struct writing *wr, const struct meta *m, const struct record *r, uint64_t version);
/* The writing of which `p` is a piece and `plain` the content, with all its pieces. */
int writing_again(struct writing *wr, const struct meta *m, const uint8_t name[OBJ_NAME_BYTES],
		  const struct record_piece *p, const struct buf *plain);
void writing_release(struct writing *wr);
/* The call that brings slot `slot`'s piece to `store`. NULL without memory. */
struct meta_call *writing_call(const struct writing *wr, struct obj_store *store, const char *key,
			       unsigned slot);

/* Opens a sealed record that was put together of pieces like `p`; *plain is overwritten. 0, -E_CORRUPT, -E_KEY, ... */
int record_unseal(const struct meta *m, const uint8_t name[OBJ_NAME_BYTES], const struct record_piece *p,
		  const uint8_t *sealed, struct buf *plain);

/* ---- what the stores show for one name ---- */

enum shown { SHOWN_NOTHING, SHOWN_NIL, SHOWN_PIECE };

/* The calls own the bytes that the pieces point into. */
struct reading {
	struct meta *m;
	const uint8_t *name;
	struct meta_calls calls; /* by slot */
	enum shown shown[META_MAX];
	struct record_piece pieces[META_MAX];
	unsigned silent; /* slots without an authoritative answer that decodes */
	uint64_t version_high;
	/* the answer */
	unsigned from; /* a slot that holds a piece of it */
	struct buf plain;
};

/*
 * Asks the stores with authority (`all`: waits for every answer) and decides. OBJ_FOUND: *r is filled, rd->plain and
 * rd->from are it. `state` may be NULL. The caller calls reading_release() after any result.
 */
enum obj_answer reading_run(struct reading *rd, struct meta *m, struct obj_work *w,
			    const uint8_t name[OBJ_NAME_BYTES], bool manifest, bool all, struct record *r,
			    struct record_state *state, int *code);
void reading_release(struct reading *rd);
/* Slots that show a piece of the same writing as slot `of`. */
uint32_t reading_group(const struct reading *rd, unsigned of);

#endif
