/*
 * bundle: index changes of the segments first ... last (native format, section 7): "QSX1", rows of the
 * segment table, extents, bytes. Bundles live in files (they reach 1 GiB); tables are read to memory, bytes
 * are not.
 *
 * All I/O goes through the system call table. A bundle is used by one thread at a time.
 */
#ifndef CORE_OBJECT_BUNDLE_H
#define CORE_OBJECT_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/coding/content_id.h"

#define BUNDLE_MAX_BYTES   (1u << 30)
#define BUNDLE_ROWS_MAX    (1u << 20)
#define BUNDLE_EXTENTS_MAX (4u << 20)
#define BUNDLE_FAN         32 /* so many neighbours of one level are merged */

struct bundle_row { /* one closed segment */
	uint32_t segment;
	uint64_t generation;
	uint32_t size;
	uint8_t content[CONTENT_ID_BYTES];
};

struct bundle_extent { /* bytes of i<file> at offset */
	uint32_t file, offset, len;
};

struct bundle {
	int fd;              /* borrowed; -1: the bytes are in memory */
	const uint8_t *data; /* borrowed; the whole bundle when fd is -1 */
	uint32_t first, last;
	uint32_t rows_count, extents_count;
	struct bundle_row *rows;       /* later ones win. Owned */
	struct bundle_extent *extents; /* later bytes win. Owned */
	uint64_t *places;              /* where each extent's bytes begin in the file. Owned */
	uint64_t size;                 /* of the whole file */
};

/* Reads the tables of a file. 0, -E_CORRUPT with *what, -EIO..., -ENOMEM, -EMSGSIZE above the limits. */
int bundle_open(int fd, struct bundle *b, const char **what);
void bundle_release(struct bundle *b);

/* The same from memory, which must outlive the bundle (small ones, fuzzing). */
int bundle_parse(const void *data, size_t len, struct bundle *b, const char **what);

/*
 * Writes a bundle of extents whose bytes are at hand to `fd` at offset 0. Later extents win where they
 * overlap; the file holds them sorted and disjoint. bytes[i] are extents[i].len bytes. *size is the file's.
 * Not synced.
 */
int bundle_write(int fd, uint32_t first, uint32_t last, const struct bundle_row *rows, uint32_t rows_count,
		 const struct bundle_extent *extents, const uint8_t *const *bytes, uint32_t extents_count,
		 uint64_t *size);

/*
 * Writes the bundle that comes of list[0...count-1], oldest first, neighbours without gap (first of one =
 * last of the one before + 1): later rows and bytes win. rows[] (may be NULL) are added last: this is how the
 * segment's own row joins the extents that the engine wrote at its rotation. -EMSGSIZE when the result passes
 * 1 GiB: then nothing is merged.
 */
int bundle_merge(const struct bundle *const *list, unsigned count, const struct bundle_row *rows,
		 uint32_t rows_count, int fd, uint64_t *size);

/* How large that would be, from the tables alone: the bytes of the bundles need not be there. */
int bundle_merged_size(const struct bundle *const *list, unsigned count, uint64_t *size);

/* Where the bytes of the extents begin, as the first bytes of a bundle say: until there it is tables. */
#define BUNDLE_HEAD_BYTES 20
uint64_t bundle_tables_end(const uint8_t head[BUNDLE_HEAD_BYTES]);

/*
 * Hands out every extent's bytes in file order, in pieces of at most 64 KiB: write(ctx, file, offset, data,
 * len). Stops at its first non-zero return, which is returned.
 */
int bundle_apply(const struct bundle *b,
		 int (*write)(void *ctx, uint32_t file, uint32_t offset, const void *data, size_t len),
		 void *ctx);

/*
 * One index file, put together from bundles, oldest first: those that hold segment `number` and all later ones, as far as
 * there are any. Afterwards `fd` has i<number> as it was before segment `next` began.
 */
struct bundle_index {
	int fd; /* borrowed; empty at the beginning */
	uint32_t number;
	uint32_t next; /* the segment whose bundle comes next */
	uint32_t size; /* of what was put together; 0 = nothing yet */
};

void bundle_index_begin(struct bundle_index *x, int fd, uint32_t number);
/*
 * Adds a bundle that holds segment `next`; it may reach back (a merge that came meanwhile: its bytes are the later ones). 0,
 * -E_CORRUPT with *what: another one, or one that cannot belong to what is there; -EIO, -ENOSPC, -ENOMEM. After an error the file is void.
 */
int bundle_index_add(struct bundle_index *x, const struct bundle *b, const char **what);

#endif
