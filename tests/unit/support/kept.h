/*
 * kept: what stores would have of the namespace "default" of an engine under test: every content that was ever closed, in memory, and the
 * bundle of each closing, in files of the directory `store` beside its own, written as durably as a spool would.
 */
#ifndef TESTS_UNIT_SUPPORT_KEPT_H
#define TESTS_UNIT_SUPPORT_KEPT_H

#include "tests/unit/support/zdb_util.h"

#define KEPT_SEGMENTS 256u

/* A data file as it leaves the node. */
struct kept_content {
	uint8_t id[16], *bytes;
	size_t size;
};

/* What bundles 0 .. n say together. */
struct kept_image {
	uint8_t *index[KEPT_SEGMENTS]; /* bytes of each index file */
	uint32_t size[KEPT_SEGMENTS];
	uint8_t row[KEPT_SEGMENTS][16]; /* content id of each data file */
};

/* NULL: no such content was closed. */
const struct kept_content *kept_content(const uint8_t id[16]);
/* Keeps a bundle, with the rows of its own segment and of those that were replaced, and their contents. 0 or what a read or write says. */
int kept_bundle(struct zu *u, const struct zdb_bundle *x);
/* The bundles of how many segments, from the first on, are there. */
uint32_t kept_bundles(const struct zu *u);
/* Adds what the bundle of segment n says; false: it is not there. The caller begins with zeros. */
bool kept_image_add(struct kept_image *im, const struct zu *u, uint32_t n);
void kept_image_free(struct kept_image *im);
/* All contents. */
void kept_free(void);

#endif
