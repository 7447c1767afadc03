/*
 * meta: the metadata stores of one volume as a set: who has authority, which generation writes.
 *
 * Life: meta_init(), meta_probe() (again at any time: it re-reads the identities), then the functions of
 * record.h. A meta is used by one thread at a time, or under the caller's lock: meta_probe() changes it, the
 * record functions only read it. Its store calls run in the lanes of the work that is handed in.
 */
#ifndef CORE_OBJECT_META_H
#define CORE_OBJECT_META_H

#include "core/object/answer.h"
#include "core/object/identity.h"
#include "core/object/names.h"
#include "core/object/store.h"
#include "core/object/work.h"

#define META_MAX         32
#define META_ERROR_BYTES 256

enum meta_state {
	META_UNREACHABLE, /* no answer: .error says why */
	META_EMPTY,       /* answers, holds no identity: replaced, or never ours */
	META_ALIEN,       /* holds something else, see .identity_state */
	META_DUPLICATE,   /* shows a slot that another address shows too: one store, counted once */
	META_GOOD,        /* has authority */
};

struct meta_store {
	struct obj_store *store;
	enum meta_state state;
	enum identity_state identity_state; /* with META_ALIEN */
	int error;                          /* with META_UNREACHABLE: negative errno */
	struct identity identity;           /* with META_GOOD */
};

struct meta {
	struct keyring *keys; /* borrowed */
	char prefix[OBJ_PREFIX_MAX + 1];
	unsigned k, n;  /* k', n' */
	unsigned count; /* configured stores, at most META_MAX; normally n */
	struct meta_store stores[META_MAX];
	int slot[META_MAX];     /* slot -> index in stores of the one with authority, or -1 */
	unsigned good;          /* slots with authority */
	struct identity newest; /* identity of the highest generation seen, when good > 0 */
};

/*
 * Prepares; asks nobody. `k` is k' of the configuration, n' = count. -EINVAL when 1 <= k', k' + 1 <= n' <= 32
 * does not hold or the prefix is too long.
 */
int meta_init(struct meta *m, struct keyring *keys, const char *prefix, unsigned k,
	      struct obj_store *const *stores, unsigned count);

/*
 * Reads all identities. OBJ_FOUND: enough slots have authority (max(k', n' - k'), so that the newest
 * generation is among them); m->newest is the volume's. OBJ_ABSENT: all stores answered and none holds
 * anything: a new volume may be made. OBJ_UNKNOWN otherwise. `why` (META_ERROR_BYTES, may be NULL) gets one
 * sentence that names the stores. *code is 0, or -E_KEY when a store proves that the key is wrong (then the
 * answer is OBJ_UNKNOWN).
 */
enum obj_answer meta_probe(struct meta *m, struct obj_work *w, int *code, char *why);

/*
 * Makes the volume of m->keys (which knows its volume id) on all stores: probes, and goes on only when the
 * answer is OBJ_ABSENT. Writes generation 1 with random low bits, reads back. *generation is it. 0; -EEXIST
 * when there is a volume; -EAGAIN when unknown; else the error of a store. On an error after the first write
 * the identities written are removed.
 */
int meta_create(struct meta *m, struct obj_work *w, uint64_t created, uint64_t *generation, char *why);

/*
 * Takes over: identities with counter + 1 and base = `restored` (0 keeps nothing: a volume without any
 * recovery point) to every slot with authority, needs k' + 1, reads back. 0; -EAGAIN (unknown); -E_FENCED when
 * somebody else took over meanwhile.
 */
int meta_take_over(struct meta *m, struct obj_work *w, uint64_t restored, uint64_t *generation, char *why);

/*
 * Call at every recovery point, after which `own` may publish: reads the identities again. 0: still ours
 * (slots that show a lower generation missed our take over and are rewritten); -E_FENCED: a higher generation
 * exists; -EAGAIN: fewer than k' + 1 slots show ours, nothing may be deleted and nothing published.
 */
int meta_fence_check(struct meta *m, struct obj_work *w, uint64_t own, char *why);

/*
 * Gives authority to a store that has none: writes the identity of `slot`, after the caller filled it with
 * the pieces (record_fill()). The store must have answered META_EMPTY. 0 or a negative errno.
 */
int meta_adopt(struct meta *m, struct obj_work *w, unsigned store, unsigned slot);

/* Newest epoch written to all identities (key rotation, first step). 0, -EAGAIN below k' + 1. */
int meta_set_epoch(struct meta *m, struct obj_work *w, unsigned epoch);

#endif
