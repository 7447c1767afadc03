/*
 * Cauchy erasure code on ISA-L.
 *
 * Encoding tables are made once per geometry and shared. Rebuilding needs the inverse of the rows that are there; an
 * ec_cache keeps the last patterns, because all stripes of an object, and most objects while a store is down, lack the
 * same pieces. ISA-L's tables take 32 bytes per matrix element and their layout depends on the CPU.
 */
#include <errno.h>
#include <isa-l/erasure_code.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/coding/ec.h"

#define TABLE_BYTES 32 /* per element, erasure_code.h */
#define CACHE_SLOTS 8

struct ec {
	unsigned k, n;
	uint8_t matrix[EC_PIECES_MAX * EC_PIECES_MAX]; /* n rows of k */
	uint8_t tables[];                              /* of the n - k parity rows */
};

struct pattern {
	const struct ec *ec;
	unsigned wants;
	uint8_t have[EC_PIECES_MAX], want[EC_PIECES_MAX];
	uint64_t used; /* for eviction of the least recently used */
	uint8_t *tables;
	size_t tables_bytes;
};

struct ec_cache {
	struct pattern slots[CACHE_SLOTS];
	uint64_t clock;
};

/* Guards `codes`; entries are immutable once published. */
static pthread_mutex_t codes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ec *codes[EC_PIECES_MAX + 1][EC_PIECES_MAX + 1]; /* [k][n] */

static struct ec *ec_make(unsigned k, unsigned n)
{
	size_t bytes = (size_t)TABLE_BYTES * k * (n - k);
	struct ec *ec = mem_aligned(64, (sizeof(*ec) + bytes + 63) / 64 * 64);

	if (!ec)
		return NULL;
	ec->k = k;
	ec->n = n;
	gf_gen_cauchy1_matrix(ec->matrix, (int)n, (int)k);
	ec_init_tables((int)k, (int)(n - k), ec->matrix + k * k, ec->tables);
	return ec;
}

int ec_get(unsigned k, unsigned n, const struct ec **out)
{
	int rc = 0;

	if (k < 1 || n <= k || n > EC_PIECES_MAX)
		return -EINVAL;
	pthread_mutex_lock(&codes_lock);
	if (!codes[k][n])
		codes[k][n] = ec_make(k, n);
	*out = codes[k][n];
	if (!*out)
		rc = -ENOMEM;
	pthread_mutex_unlock(&codes_lock);
	return rc;
}

/* ISA-L takes lengths as int and its pointer arguments without const; it does not write to sources. */
static void run(size_t len, unsigned from, unsigned to, const uint8_t *tables, uint8_t *const *in,
		uint8_t *const *out)
{
	ec_encode_data((int)len, (int)from, (int)to, (unsigned char *)(uintptr_t)tables,
		       (unsigned char **)(uintptr_t)in, (unsigned char **)(uintptr_t)out);
}

void ec_encode(const struct ec *ec, size_t len, uint8_t *const *data, uint8_t *const *parity)
{
	if (len == 0 || len > INT_MAX)
		return;
	run(len, ec->k, ec->n - ec->k, ec->tables, data, parity);
}

/* Rows that make want[] out of have[]: inverse of the rows of have[], times the rows of want[]. */
static int solve(const struct ec *ec, const uint8_t have[], const uint8_t want[], unsigned wants,
		 uint8_t *rows)
{
	uint8_t square[EC_PIECES_MAX * EC_PIECES_MAX], inverse[EC_PIECES_MAX * EC_PIECES_MAX];
	unsigned k = ec->k;

	for (unsigned i = 0; i < k; i++)
		memcpy(square + i * k, ec->matrix + have[i] * k, k);
	if (gf_invert_matrix(square, inverse, (int)k) != 0)
		return -EBADMSG;
	for (unsigned w = 0; w < wants; w++) {
		const uint8_t *row = ec->matrix + want[w] * k;

		for (unsigned c = 0; c < k; c++) {
			uint8_t sum = 0;

			for (unsigned i = 0; i < k; i++)
				sum ^= gf_mul(row[i], inverse[i * k + c]);
			rows[w * k + c] = sum;
		}
	}
	return 0;
}

static int make_tables(const struct ec *ec, const uint8_t have[], const uint8_t want[], unsigned wants,
		       uint8_t *tables)
{
	uint8_t rows[EC_PIECES_MAX * EC_PIECES_MAX];
	int rc = solve(ec, have, want, wants, rows);

	if (rc == 0)
		ec_init_tables((int)ec->k, (int)wants, rows, tables);
	return rc;
}

/* The tables of a pattern from the cache, made if need be. NULL with *rc set. */
static const uint8_t *cached(const struct ec *ec, struct ec_cache *cache, const uint8_t have[],
			     const uint8_t want[], unsigned wants, int *rc)
{
	size_t bytes = (size_t)TABLE_BYTES * ec->k * wants;
	struct pattern *oldest = &cache->slots[0];

	for (unsigned i = 0; i < CACHE_SLOTS; i++) {
		struct pattern *p = &cache->slots[i];

		if (p->ec == ec && p->wants == wants && memcmp(p->have, have, ec->k) == 0 &&
		    memcmp(p->want, want, wants) == 0) {
			p->used = ++cache->clock;
			return p->tables;
		}
		if (p->used < oldest->used)
			oldest = p;
	}
	oldest->ec = NULL;
	if (oldest->tables_bytes < bytes) {
		uint8_t *tables = mem_aligned(64, (bytes + 63) / 64 * 64);

		if (!tables) {
			*rc = -ENOMEM;
			return NULL;
		}
		mem_free(oldest->tables);
		oldest->tables = tables;
		oldest->tables_bytes = bytes;
	}
	*rc = make_tables(ec, have, want, wants, oldest->tables);
	if (*rc != 0)
		return NULL;
	oldest->ec = ec;
	oldest->wants = wants;
	memcpy(oldest->have, have, ec->k);
	memcpy(oldest->want, want, wants);
	oldest->used = ++cache->clock;
	return oldest->tables;
}

static bool indices_right(const struct ec *ec, const uint8_t have[], const uint8_t want[], unsigned wants)
{
	uint32_t seen = 0;

	for (unsigned i = 0; i < ec->k; i++) {
		if (have[i] >= ec->n || (seen >> have[i] & 1))
			return false;
		seen |= 1u << have[i];
	}
	for (unsigned i = 0; i < wants; i++)
		if (want[i] >= ec->n)
			return false;
	return wants <= ec->n;
}

int ec_rebuild(const struct ec *ec, struct ec_cache *cache, size_t len, const uint8_t have[],
	       const uint8_t *const pieces[], const uint8_t want[], unsigned wants, uint8_t *const out[])
{
	uint8_t missing[EC_PIECES_MAX], *targets[EC_PIECES_MAX];
	const uint8_t *tables;
	uint8_t *own = NULL;
	unsigned count = 0;
	int rc = 0;

	if (!indices_right(ec, have, want, wants) || len > INT_MAX)
		return -EINVAL;
	for (unsigned w = 0; w < wants; w++) {
		unsigned i = 0;

		while (i < ec->k && have[i] != want[w])
			i++;
		if (i < ec->k) {
			memcpy(out[w], pieces[i], len);
		} else {
			missing[count] = want[w];
			targets[count++] = out[w];
		}
	}
	if (count == 0 || len == 0)
		return 0;
	if (cache) {
		tables = cached(ec, cache, have, missing, count, &rc);
	} else {
		tables = own = mem_aligned(64, ((size_t)TABLE_BYTES * ec->k * count + 63) / 64 * 64);
		rc = own ? make_tables(ec, have, missing, count, own) : -ENOMEM;
	}
	if (rc == 0)
		run(len, ec->k, count, tables, (uint8_t *const *)(uintptr_t)pieces, targets);
	mem_free(own);
	return rc;
}

struct ec_cache *ec_cache_new(void)
{
	return mem_calloc(1, sizeof(struct ec_cache));
}

void ec_cache_free(struct ec_cache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CACHE_SLOTS; i++)
		mem_free(c->slots[i].tables);
	mem_free(c);
}
