/*
 * ec: Cauchy Reed-Solomon erasure code over GF(2^8), equal to liberasurecode's isa_l_rs_cauchy.
 *
 * Matrix: n rows of k; the first k are the identity, the others a Cauchy matrix as ISA-L's
 * gf_gen_cauchy1_matrix makes it (element (i, j) = 1 / (i xor j), i >= k). Any k of the n pieces give the
 * data back (MDS). ISA-L does the arithmetic and picks its code by cpuid. Its tables depend on the CPU and
 * are never stored.
 *
 * A struct ec is immutable, shared by all threads and never freed: at most EC_CODES_MAX geometries in a
 * process.
 */
#ifndef CORE_CODING_EC_H
#define CORE_CODING_EC_H

#include <stddef.h>
#include <stdint.h>

#define EC_PIECES_MAX 32 /* n */
#define EC_CODES_MAX  496

struct ec;

/* The code for 1 <= k < n <= 32. 0, -EINVAL, -ENOMEM. */
int ec_get(unsigned k, unsigned n, const struct ec **out);

/* parity[0...n-k-1] from data[0...k-1], each `len` bytes (len >= 1). */
void ec_encode(const struct ec *ec, size_t len, uint8_t *const *data, uint8_t *const *parity);

/*
 * Makes the pieces `want[0...wants-1]` (any indices 0...n-1) from k pieces: have[i] is the index of the piece
 * whose bytes are pieces[i]; indices distinct. out[i] gets want[i] and must not overlap the input. A wanted
 * piece that is among `have` is copied. 0, -EINVAL for bad indices, -EBADMSG if the matrix cannot be inverted
 * (never happens with this code). The decode matrix of the last few loss patterns is cached per call context
 * when `cache` is not NULL.
 */
struct ec_cache;
int ec_rebuild(const struct ec *ec, struct ec_cache *cache, size_t len, const uint8_t have[],
	       const uint8_t *const pieces[], const uint8_t want[], unsigned wants, uint8_t *const out[]);

/* Decode tables of recent patterns, for one thread at a time. About 256 KiB at the most. NULL without memory.
 */
struct ec_cache *ec_cache_new(void);
void ec_cache_free(struct ec_cache *c);

/* Piece length of a message of `len` bytes: ceil(len / k). */
static inline size_t ec_piece_bytes(size_t len, unsigned k)
{
	return (len + k - 1) / k;
}

#endif
