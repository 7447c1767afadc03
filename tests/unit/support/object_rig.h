/*
 * object_rig: stores in memory with faults, and a volume on them, for the tests of the object room.
 */
#ifndef TESTS_UNIT_SUPPORT_OBJECT_RIG_H
#define TESTS_UNIT_SUPPORT_OBJECT_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/object/object.h"
#include "core/object/record.h"

struct rig_value {
	char key[OBJ_KEY_MAX_BYTES];
	size_t key_len;
	uint8_t *bytes;
	size_t len;
};

struct rig_store {
	struct obj_store store;
	char label[32];
	pthread_mutex_t lock;
	struct rig_value *values;
	size_t count;
	uint64_t next_key;
	/* faults */
	bool is_down;      /* every call: -EHOSTUNREACH */
	bool is_full;      /* SET: -ENOSPC */
	unsigned delay_ms; /* of every answer */
	long fail_at; /* the n-th call from now fails with -EIO; 0 = none, negative = that one and all later ones */
	/* what was asked */
	uint64_t calls, bytes_out, sets;
};

/* An empty store that works; its label is name and i. */
void rig_store_init(struct rig_store *r, const char *name, unsigned i, enum obj_store_type type);
/* Drops what it holds. */
void rig_store_clear(struct rig_store *r);
/* From now on it has no ranges and cannot be listed. */
void rig_store_plain(struct rig_store *r);

/* n data stores, n' metadata stores, a volume's keys, one work. */
#define RIG_MAX 32

struct rig {
	struct rig_store data[RIG_MAX], metas[RIG_MAX];
	struct obj_store *data_list[RIG_MAX], *meta_list[RIG_MAX];
	struct obj_stores stores;
	unsigned data_count, meta_count;
	struct keyring *keys;
	struct meta meta;
	struct obj_work *work;
	uint64_t generation;
};

/* The keys of the format's known answers: K_1 = 00...1f, volume id = 10...1f. NULL without memory. */
struct keyring *rig_keys(void);
/* Stores, keys, a work; without metadata stores `meta` stays unset. 0 or a negative code. */
int rig_start(struct rig *g, unsigned data, unsigned k_meta, unsigned metas,
	      const struct obj_work_options *options);
/* The same with a volume created on the metadata stores; asserts. */
void rig_start_volume(struct rig *g, unsigned data, unsigned k_meta, unsigned metas);
void rig_stop(struct rig *g);

/* Takes every fault away. */
void rig_all_up(struct rig *g);
/* Values on all data stores. */
size_t rig_data_values(const struct rig *g);
/* Bytes that compress by about a half (`packs`) or not at all, the same for the same seed. */
void rig_fill(uint8_t *out, size_t len, uint32_t seed, bool packs);

/* The id of segment `number` of namespace "ns". */
struct obj_id rig_id(const struct rig *g, uint64_t number);
/* Writes bytes as that segment; *rec was initialised, `report` may be NULL. What obj_write() says. */
int rig_write(struct rig *g, const struct obj_geometry *shape, uint64_t number, const void *bytes,
	      size_t size, struct record *rec, struct obj_report *report);
/* Reads an object whole. 0: it is rec->priv.size bytes long and equal to `bytes`, which is asserted. Else what obj_read() says. */
int rig_read(struct rig *g, const struct record *rec, const void *bytes, struct obj_report *report);

#endif
