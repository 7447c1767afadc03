/*
 * point_int: one try to make a recovery point (point.c), and its manifest (point_manifest.c).
 */
#ifndef ZSTOR_POINT_INT_H
#define ZSTOR_POINT_INT_H

#include "applets/zstor/zstor.h"

struct point {
	struct zstor *z;
	struct obj_work *w;
	struct front_cuts cuts;
	struct manifest m;       /* being made */
	struct obj_id_list old;  /* objects that it no longer names */
	struct obj_id_list made; /* objects stored for it: nothing names them if it is not published */
	uint64_t seq_at_cut;     /* descriptors put up to this one are in the cut */
	uint64_t *bundle_seqs;   /* intentions of the bundles that it names */
	size_t bundle_seqs_count;
	uint64_t generation;
	bool is_covered; /* the cut is what the newest point names: without a new one nothing is unsafe */
	char why[ZS_WHY];
};

/*
 * Turns p->m, a copy of the manifest before, into that of p->cuts: namespaces that are gone leave it, closed segments get their bundles,
 * active ones their tails, which are stored here; due bundles are merged. 0 or a negative code with `why`; then what was stored is in
 * p->made.
 */
int point_make_manifest(struct point *p);

/* The whole try, and how it ended, into z->point. */
void point_make(struct zstor *z, struct obj_work *w);

#endif
