/*
 * Records and identities on metadata stores: three answers, versions, lost, replaced, rolled back and lying stores, two
 * front ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tests/unit/support/object_rig.h"
#include "tests/unit/support/sys_test.h"

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/coding/crc.h"
#include "core/crypto/crypto.h"

static struct rig rig;
static char why[META_ERROR_BYTES];

static void start(unsigned k, unsigned n)
{
	rig_start_volume(&rig, 4, k, n);
}

static struct obj_id id_of(enum obj_kind kind, uint64_t number)
{
	struct obj_id id;

	assert_int_equal(obj_id_set(&id, rig.generation, kind, number, kind == OBJ_MANIFEST ? NULL : "ns",
				    kind == OBJ_MANIFEST ? 0 : 2),
			 0);
	return id;
}

/* A stored object of that name; its content is its number. */
static void make_object(enum obj_kind kind, uint64_t number, struct record *rec)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_source source = obj_source_memory(&number, sizeof(number));
	struct obj_id id = id_of(kind, number);
	struct obj_report report;

	record_init(rec);
	assert_int_equal(obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, rec, &report), 0);
}

/* A volume in which segment `number` is stored with its record. */
static void start_stored(unsigned k, unsigned n, uint64_t number, struct record *rec, struct record_state *st)
{
	start(k, n);
	make_object(OBJ_SEGMENT, number, rec);
	assert_int_equal(record_store(&rig.meta, rig.work, rec, st), 0);
}

static void stop(struct record *rec)
{
	record_release(rec);
	rig_stop(&rig);
}

static enum obj_answer read_record(enum obj_kind kind, uint64_t number, struct record_state *state, int *code)
{
	struct obj_id id = id_of(kind, number);
	enum obj_answer answer;
	struct record rec;

	record_init(&rec);
	answer = record_read(&rig.meta, rig.work, &id, &rec, state, code);
	if (answer == OBJ_FOUND)
		assert_int_equal(rec.priv.number, number);
	else
		assert_null(rec.sealed);
	record_release(&rec);
	return answer;
}

static void set_down(uint32_t mask)
{
	for (unsigned i = 0; i < rig.meta_count; i++)
		rig.metas[i].is_down = mask >> i & 1;
}

static void found_absent_and_unknown(void **state)
{
	struct record_state st;
	struct record rec;
	int code;

	(void)state;
	start_stored(2, 4, 5, &rec, &st);
	assert_int_equal(st.version, 1);
	assert_int_equal(st.have, 15);
	for (uint32_t mask = 0; mask < 16; mask++) {
		unsigned down = (unsigned)__builtin_popcount(mask);

		set_down(mask);
		assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code),
				 down <= 2 ? OBJ_FOUND : OBJ_UNKNOWN);
		assert_int_equal(read_record(OBJ_SEGMENT, 6, &st, &code),
				 down <= 1 ? OBJ_ABSENT : OBJ_UNKNOWN);
		if (down == 0)
			assert_int_equal(st.silent, 0);
	}
	set_down(0);
	/* another kind or generation is another name */
	assert_int_equal(read_record(OBJ_TAIL, 5, &st, &code), OBJ_ABSENT);
	rig.generation++;
	assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_ABSENT);
	stop(&rec);
}

/* Replaced by empty stores while we run: their nil is no answer. */
static void empty_stores_say_nothing(void **state)
{
	struct record_state st;
	struct record rec;
	int code;

	(void)state;
	for (uint32_t mask = 0; mask < 16; mask++) {
		unsigned lost = (unsigned)__builtin_popcount(mask);
		enum obj_answer probe;

		start_stored(2, 4, 5, &rec, &st);
		for (unsigned i = 0; i < 4; i++)
			if (mask >> i & 1)
				rig_store_clear(&rig.metas[i]);
		assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code),
				 lost <= 2 ? OBJ_FOUND : OBJ_UNKNOWN);
		assert_int_equal(read_record(OBJ_SEGMENT, 6, &st, &code),
				 lost <= 1 ? OBJ_ABSENT : OBJ_UNKNOWN);
		/* the same after looking at the identities again, as at a start */
		probe = meta_probe(&rig.meta, rig.work, &code, why);
		assert_int_equal(probe, lost <= 2 ? OBJ_FOUND : lost == 4 ? OBJ_ABSENT : OBJ_UNKNOWN);
		if (lost == 3)
			assert_non_null(strstr(why, "has no identity of the volume"));
		if (lost < 4)
			assert_int_equal(read_record(OBJ_SEGMENT, 6, &st, &code),
					 lost <= 1 ? OBJ_ABSENT : OBJ_UNKNOWN);
		stop(&rec);
	}
}

static void volumes_are_made_only_where_nothing_is(void **state)
{
	struct keyring *other;
	struct meta meta;
	uint64_t generation;
	int code;

	(void)state;
	start(2, 4);
	assert_int_equal(rig.generation >> 32, 1);
	assert_int_equal(meta_create(&rig.meta, rig.work, 0, &generation, why), -EEXIST);
	/* another key's volume at the same place */
	assert_int_equal(keyring_generate(&other), 0);
	assert_int_equal(meta_init(&meta, other, "vol", 2, rig.meta_list, 4), 0);
	assert_int_equal(meta_create(&meta, rig.work, 0, &generation, why), -EAGAIN);
	assert_non_null(strstr(why, "of another volume"));
	assert_int_equal(meta_probe(&meta, rig.work, &code, why), OBJ_UNKNOWN);
	/* another prefix is another volume */
	assert_int_equal(meta_init(&meta, other, "vol2", 2, rig.meta_list, 4), 0);
	assert_int_equal(meta_create(&meta, rig.work, 0, &generation, why), 0);
	keyring_free(other);
	rig_stop(&rig);
	/* one store silent: none is made, and nothing is left behind */
	assert_int_equal(rig_start(&rig, 0, 2, 4, NULL), 0);
	rig.metas[2].is_down = true;
	assert_int_equal(meta_create(&rig.meta, rig.work, 0, &generation, why), -EAGAIN);
	rig.metas[2].is_down = false;
	rig.metas[2].is_full = true;
	assert_int_equal(meta_create(&rig.meta, rig.work, 0, &generation, why), -EAGAIN);
	rig.metas[2].is_full = false;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rig.metas[i].count, 0);
	/* one store under two addresses */
	rig.meta_list[3] = rig.meta_list[1];
	assert_int_equal(meta_init(&rig.meta, rig.keys, "vol", 2, rig.meta_list, 4), 0);
	assert_int_equal(meta_create(&rig.meta, rig.work, 0, &generation, why), -EAGAIN);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rig.metas[i].count, 0);
	rig_stop(&rig);
}

static void two_addresses_of_one_store_count_once(void **state)
{
	struct record_state st;
	int code;

	(void)state;
	start(2, 4);
	rig.meta.stores[3].store = rig.meta_list[2];
	assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_FOUND);
	assert_int_equal(rig.meta.good, 3);
	assert_int_equal(rig.meta.stores[3].state, META_DUPLICATE);
	rig.metas[0].is_down = true;
	/* two nils are two, not three */
	assert_int_equal(read_record(OBJ_SEGMENT, 6, &st, &code), OBJ_UNKNOWN);
	rig_stop(&rig);
}

static void wrong_keys_are_named(void **state)
{
	uint8_t key[32] = {7};
	struct keyring *wrong;
	struct meta meta;
	int code;

	(void)state;
	start(2, 4);
	assert_int_equal(keyring_from_key(key, keyring_volume(rig.keys), &wrong), 0);
	assert_int_equal(meta_init(&meta, wrong, "vol", 2, rig.meta_list, 4), 0);
	assert_int_equal(meta_probe(&meta, rig.work, &code, why), OBJ_UNKNOWN);
	assert_int_equal(code, -E_KEY);
	keyring_free(wrong);
	/* a bare key learns the volume's id from the stores */
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
	assert_int_equal(keyring_from_key(key, NULL, &wrong), 0);
	assert_int_equal(meta_init(&meta, wrong, "vol", 2, rig.meta_list, 4), 0);
	assert_int_equal(meta_probe(&meta, rig.work, &code, why), OBJ_FOUND);
	assert_memory_equal(keyring_volume(wrong), keyring_volume(rig.keys), 16);
	keyring_free(wrong);
	rig_stop(&rig);
}

static void damaged_identities_have_no_authority(void **state)
{
	int code;

	(void)state;
	start(2, 4);
	for (size_t bit = 0; bit < 88 * 8; bit++) {
		uint8_t *at = &rig.metas[1].values[0].bytes[bit / 8];

		*at ^= (uint8_t)(1u << bit % 8);
		if (bit / 8 < 6 || bit / 8 >= 8) /* a newer epoch is another matter */
			assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_FOUND);
		else
			assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_UNKNOWN);
		assert_int_equal(rig.meta.good, 3);
		*at ^= (uint8_t)(1u << bit % 8);
	}
	rig_stop(&rig);
}

static void writes_need_k_plus_one(void **state)
{
	struct record_state st;
	struct record rec;

	(void)state;
	for (uint32_t mask = 0; mask < 16; mask++) {
		unsigned down = (unsigned)__builtin_popcount(mask);

		start(2, 4);
		make_object(OBJ_SEGMENT, 5, &rec);
		set_down(mask);
		assert_int_equal(record_write(&rig.meta, rig.work, &rec, 1, &st), down <= 1 ? 0 : -EAGAIN);
		assert_int_equal(st.silent, mask);
		assert_int_equal(st.have, ~mask & 15);
		set_down(0);
		/* the debt is paid, whatever was written: above it when it was not enough */
		if (down <= 2) {
			struct obj_id id = id_of(OBJ_SEGMENT, 5);

			assert_int_equal(record_repair(&rig.meta, rig.work, &id, &st), 0);
			assert_int_equal(st.have, 15);
			assert_int_equal(st.stale, 0);
		}
		stop(&rec);
	}
}

/* Versions a < b written by one front end; which stores hold b is the mask, which answer the other mask. */
static void every_pattern_of_two_versions(void **state)
{
	(void)state;
	for (unsigned kind = OBJ_SEGMENT; kind <= OBJ_MANIFEST; kind += OBJ_MANIFEST - OBJ_SEGMENT) {
		for (uint32_t newer = 0; newer < 16; newer++) {
			for (uint32_t silent = 0; silent < 16; silent++) {
				uint32_t shown = ~silent & 15;
				unsigned u = (unsigned)__builtin_popcount(silent);
				unsigned b = (unsigned)__builtin_popcount(newer & shown);
				unsigned a = (unsigned)__builtin_popcount(~newer & shown & 15);
				bool manifest = kind == OBJ_MANIFEST;
				enum obj_answer want, got;
				struct record_state st;
				struct record rec;
				uint64_t version = 0;
				int code;

				start(2, 4);
				make_object((enum obj_kind)kind, 5, &rec);
				assert_int_equal(record_write(&rig.meta, rig.work, &rec, 100, &st), 0);
				set_down(~newer & 15);
				(void)record_write(&rig.meta, rig.work, &rec, 200, &st);
				set_down(silent);
				got = read_record((enum obj_kind)kind, 5, &st, &code);
				/* the rule of section 6, by hand */
				if (manifest && u > 2) {
					want = OBJ_UNKNOWN;
				} else if (b >= 2) {
					want = OBJ_FOUND;
					version = 200;
				} else if (b > 0 && b + u > 2 && manifest) {
					want = OBJ_UNKNOWN;
				} else if (a >= 2) {
					want = OBJ_FOUND;
					version = 100;
				} else {
					want = OBJ_UNKNOWN;
				}
				assert_int_equal(got, want);
				if (want == OBJ_FOUND)
					assert_int_equal(st.version, version);
				/* what was acknowledged is never lost, nor stepped back behind */
				if (manifest && __builtin_popcount(newer) >= 3 && got == OBJ_FOUND)
					assert_int_equal(st.version, 200);
				/* repair makes all four equal */
				set_down(0);
				{
					struct obj_id id = id_of((enum obj_kind)kind, 5);
					uint32_t fours = newer;

					assert_int_equal(record_repair(&rig.meta, rig.work, &id, &st), 0);
					assert_int_equal(st.have, 15);
					if (__builtin_popcount(fours) == 1)
						assert_int_equal(st.version, 201);
					got = read_record((enum obj_kind)kind, 5, &st, &code);
					assert_int_equal(got, OBJ_FOUND);
					assert_int_equal(st.version_high, st.version);
				}
				stop(&rec);
			}
		}
	}
}

static struct rig_value *piece_of(unsigned store)
{
	for (size_t v = 0; v < rig.metas[store].count; v++)
		if (memcmp(rig.metas[store].values[v].bytes, "QSM1", 4) == 0)
			return &rig.metas[store].values[v];
	return NULL;
}

static void flipped_bits_of_pieces(void **state)
{
	struct record_state st;
	struct record rec;
	int code;

	(void)state;
	start_stored(2, 4, 5, &rec, &st);
	for (unsigned i = 0; i < 4; i++) {
		struct rig_value *v = piece_of(i);

		for (size_t at = 0; at < v->len; at++) {
			struct record_piece p;

			v->bytes[at] ^= (uint8_t)(1u << at % 8);
			assert_int_equal(record_piece_parse(v->bytes, v->len, &p), -E_CORRUPT);
			assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_FOUND);
			/* a store that lies: the checksum is right again */
			put_u32le(v->bytes + v->len - 4, crc_castagnoli(0, v->bytes, v->len - 4));
			assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_FOUND);
			v->bytes[at] ^= (uint8_t)(1u << at % 8);
			put_u32le(v->bytes + v->len - 4, crc_castagnoli(0, v->bytes, v->len - 4));
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		struct rig_value *v = piece_of(i);
		struct obj_id id = id_of(OBJ_SEGMENT, 5);

		v->bytes[60] ^= 4;
		if (i % 2)
			put_u32le(v->bytes + v->len - 4, crc_castagnoli(0, v->bytes, v->len - 4));
		assert_int_equal(record_repair(&rig.meta, rig.work, &id, &st), 0);
		assert_int_equal(st.have, 15);
	}
	/* two damaged ones of four are the limit */
	for (unsigned i = 0; i < 3; i++)
		piece_of(i)->bytes[60] ^= 4;
	assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_UNKNOWN);
	stop(&rec);
}

static void records_of_any_size(void **state)
{
	struct record_state st;
	struct record rec, back;
	struct obj_id id;
	int code;

	(void)state;
	start(2, 4);
	/* 4096 stripes, the keys of each value: more than the first buffer of a read holds */
	make_object(OBJ_SEGMENT, 5, &rec);
	rec.pub.stripes = 4096;
	rec.priv.size = 4096ull << 16;
	mem_free(rec.sealed);
	rec.sealed = mem_calloc(4096, sizeof(uint32_t));
	for (unsigned i = 0; i < 4096; i++)
		rec.sealed[i] = 65536 + 17;
	rec.values = head_places(&rec.pub, rec.sealed, NULL);
	for (unsigned i = 0; i < rec.shards_count; i++) {
		if (!rec.shards[i].keys)
			continue;
		mem_free(rec.shards[i].keys);
		rec.shards[i].keys = mem_calloc(rec.values + 1, sizeof(uint64_t));
		rec.shards[i].keys[rec.values] = 77;
	}
	assert_int_equal(head_box_seal(&rec.pub, &rec.priv, rig.keys, rec.box), 0);
	assert_int_equal(record_store(&rig.meta, rig.work, &rec, &st), 0);
	record_init(&back);
	id = id_of(OBJ_SEGMENT, 5);
	assert_int_equal(record_read(&rig.meta, rig.work, &id, &back, &st, &code), OBJ_FOUND);
	assert_int_equal(back.values, rec.values);
	assert_int_equal(back.shards[1].keys[back.values], 77);
	record_release(&back);
	stop(&rec);
}

static void versions_rise(void **state)
{
	struct record_state st;
	struct record rec;
	int code;

	(void)state;
	start(2, 4);
	make_object(OBJ_SEGMENT, 5, &rec);
	for (unsigned i = 1; i < 5; i++) {
		assert_int_equal(record_store(&rig.meta, rig.work, &rec, &st), 0);
		assert_int_equal(st.version, i);
		assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_FOUND);
		assert_int_equal(st.version, i);
	}
	rig.metas[0].is_down = rig.metas[1].is_down = rig.metas[2].is_down = true;
	assert_int_equal(record_store(&rig.meta, rig.work, &rec, &st), -EAGAIN);
	stop(&rec);
}

static void deletion_needs_k_plus_one(void **state)
{
	struct record_state st;
	struct record rec;
	uint8_t name[16];
	int code;

	(void)state;
	for (uint32_t mask = 0; mask < 16; mask++) {
		unsigned down = (unsigned)__builtin_popcount(mask);

		start(2, 4);
		make_object(OBJ_SEGMENT, 5, &rec);
		memcpy(name, rec.pub.name, 16);
		assert_int_equal(record_store(&rig.meta, rig.work, &rec, &st), 0);
		set_down(mask);
		assert_int_equal(record_delete(&rig.meta, rig.work, name, &st), down <= 1 ? 0 : -EAGAIN);
		assert_int_equal(st.silent, mask);
		set_down(0);
		/* once deleted it does not come back with the store that slept */
		if (down <= 1)
			assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_ABSENT);
		assert_int_equal(record_delete(&rig.meta, rig.work, name, &st), 0);
		assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_ABSENT);
		stop(&rec);
	}
}

static void a_replaced_store_is_filled_then_adopted(void **state)
{
	struct record_state st;
	struct record rec;
	int code;

	(void)state;
	start_stored(2, 4, 5, &rec, &st);
	rig_store_clear(&rig.metas[1]);
	assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_FOUND);
	assert_int_equal(rig.meta.stores[1].state, META_EMPTY);
	assert_int_equal(meta_adopt(&rig.meta, rig.work, 1, 0), -EINVAL);
	assert_int_equal(record_fill(&rig.meta, rig.work, rec.pub.name, false, 1, 1), 0);
	assert_int_equal(meta_adopt(&rig.meta, rig.work, 1, 1), 0);
	assert_int_equal(rig.meta.good, 4);
	rig.metas[2].is_down = rig.metas[3].is_down = true;
	assert_int_equal(read_record(OBJ_SEGMENT, 5, &st, &code), OBJ_FOUND);
	stop(&rec);
}

static void the_older_front_end_is_fenced(void **state)
{
	uint64_t a, b, c;
	struct meta older;
	int code;

	(void)state;
	start(2, 4);
	a = rig.generation;
	older = rig.meta;
	assert_int_equal(meta_fence_check(&older, rig.work, a, why), 0);
	assert_int_equal(meta_take_over(&rig.meta, rig.work, a, &b, why), 0);
	assert_int_equal(b >> 32, 2);
	assert_int_equal(rig.meta.newest.base, a);
	assert_int_equal(meta_fence_check(&older, rig.work, a, why), -E_FENCED);
	assert_non_null(strstr(why, "newer than ours"));
	assert_int_equal(meta_fence_check(&rig.meta, rig.work, b, why), 0);
	/* a store that slept through the take over is brought up to date, and does not fence */
	rig.metas[3].is_down = true;
	assert_int_equal(meta_take_over(&rig.meta, rig.work, b, &c, why), 0);
	rig.metas[3].is_down = false;
	assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_FOUND);
	assert_int_equal(rig.meta.stores[3].identity.generation, b);
	assert_int_equal(meta_fence_check(&rig.meta, rig.work, c, why), 0);
	assert_int_equal(rig.meta.stores[3].identity.generation, c);
	assert_int_equal(rig.meta.stores[3].identity.base, b);
	/* too few stores: nothing may be published */
	rig.metas[0].is_down = rig.metas[1].is_down = true;
	assert_int_equal(meta_fence_check(&rig.meta, rig.work, c, why), -EAGAIN);
	assert_int_equal(meta_take_over(&rig.meta, rig.work, c, &a, why), -EAGAIN);
	rig_stop(&rig);
}

/* Two take overs at once: whichever order the writes take, not both go on. */
static void two_take_overs_do_not_both_win(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 16; order++) {
		struct identity x, y;
		struct meta other;
		int code, rx, ry;
		char key[OBJ_KEY_MAX_BYTES];

		start(2, 4);
		other = rig.meta;
		x = y = rig.meta.newest;
		x.generation = (uint64_t)2 << 32 | 5;
		y.generation = (uint64_t)2 << 32 | 9;
		obj_key_identity("vol", key);
		for (unsigned i = 0; i < 4; i++) {
			uint8_t bytes[IDENTITY_BYTES];
			struct identity last = order >> i & 1 ? x : y;

			last.slot = (uint8_t)i;
			assert_int_equal(identity_encode(&last, rig.keys, bytes), 0);
			assert_int_equal(rig.meta_list[i]->ops->set(rig.meta_list[i], key, strlen(key), bytes,
								    sizeof(bytes), NULL),
					 0);
		}
		(void)meta_probe(&other, rig.work, &code, why);
		rx = meta_fence_check(&rig.meta, rig.work, x.generation, why);
		ry = meta_fence_check(&other, rig.work, y.generation, why);
		if (order == 15) { /* no trace of y is left: it must not publish */
			assert_int_equal(rx, 0);
			assert_int_equal(ry, -EAGAIN);
		} else {
			assert_int_equal(rx, -E_FENCED);
			assert_int_equal(ry, 0);
		}
		rig_stop(&rig);
	}
}

static void epochs_are_announced(void **state)
{
	struct keyring *two;
	int code;

	(void)state;
	start(2, 4);
	assert_int_equal(keyring_rotate(rig.keys, &two), 0);
	rig.meta.keys = two;
	assert_int_equal(meta_set_epoch(&rig.meta, rig.work, 2), 0);
	assert_int_equal(rig.meta.newest.epoch, 2);
	/* a front end with the old key file must not go on */
	rig.meta.keys = rig.keys;
	assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_UNKNOWN);
	assert_int_equal(code, -E_KEY);
	keyring_free(two);
	rig_stop(&rig);
}

static void other_numbers_of_stores(void **state)
{
	static const struct {
		unsigned k, n;
	} shapes[] = {{1, 2}, {1, 3}, {2, 3}, {3, 6}, {4, 8}, {10, 32}};

	(void)state;
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		unsigned k = shapes[s].k, n = shapes[s].n;
		struct record_state st;
		struct record rec;
		int code;

		start(k, n);
		make_object(OBJ_MANIFEST, 1, &rec);
		assert_int_equal(record_write(&rig.meta, rig.work, &rec, 65536, &st), 0);
		for (unsigned down = 0; down <= n; down++) {
			enum obj_answer want = n - down >= k && down <= k ? OBJ_FOUND : OBJ_UNKNOWN;

			set_down((uint32_t)(((uint64_t)1 << down) - 1));
			assert_int_equal(read_record(OBJ_MANIFEST, 1, &st, &code), want);
			want = n - down >= n - k + 1 ? OBJ_ABSENT : OBJ_UNKNOWN;
			assert_int_equal(read_record(OBJ_MANIFEST, 2, &st, &code), want);
		}
		stop(&rec);
	}
}

static void impossible_sets_are_refused(void **state)
{
	struct obj_store *none[40] = {NULL};
	struct meta m;

	(void)state;
	assert_int_equal(meta_init(&m, NULL, "p", 0, none, 4), -EINVAL);
	assert_int_equal(meta_init(&m, NULL, "p", 4, none, 4), -EINVAL);
	assert_int_equal(meta_init(&m, NULL, "p", 2, none, 33), -EINVAL);
	assert_int_equal(meta_init(&m, NULL,
				   "0123456789012345678901234567890123456789012345678901234567890123456789",
				   2, none, 4),
			 -EINVAL);
}

static int begin(void **state)
{
	(void)state;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_absent_and_unknown),
		cmocka_unit_test(empty_stores_say_nothing),
		cmocka_unit_test(volumes_are_made_only_where_nothing_is),
		cmocka_unit_test(two_addresses_of_one_store_count_once),
		cmocka_unit_test(wrong_keys_are_named),
		cmocka_unit_test(damaged_identities_have_no_authority),
		cmocka_unit_test(writes_need_k_plus_one),
		cmocka_unit_test(every_pattern_of_two_versions),
		cmocka_unit_test(flipped_bits_of_pieces),
		cmocka_unit_test(records_of_any_size),
		cmocka_unit_test(versions_rise),
		cmocka_unit_test(deletion_needs_k_plus_one),
		cmocka_unit_test(a_replaced_store_is_filled_then_adopted),
		cmocka_unit_test(the_older_front_end_is_fenced),
		cmocka_unit_test(two_take_overs_do_not_both_win),
		cmocka_unit_test(epochs_are_announced),
		cmocka_unit_test(other_numbers_of_stores),
		cmocka_unit_test(impossible_sets_are_refused),
	};

	return cmocka_run_group_tests_name("object_record", tests, begin, NULL);
}
