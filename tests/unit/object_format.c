/* Bytes of the native format: known answers, sizes, every flipped bit of head, record, identity and piece. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/support/object_rig.h"

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/hex.h"
#include "core/coding/crc.h"
#include "core/coding/fragment.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"
#include "core/object/identity.h"
#include "core/object/stripe_int.h"

#define GENERATION 0x0000000111223344u

static struct keyring *keys;

static void assert_hex(const void *data, size_t len, const char *want)
{
	char text[257];

	assert_string_equal(hex_encode(text, data, len), want);
}

static void names_have_known_answers(void **state)
{
	uint8_t name[16], object[16];
	char key[OBJ_KEY_MAX_BYTES];
	struct obj_id id;
	size_t len;

	(void)state;
	assert_int_equal(obj_id_set(&id, GENERATION, OBJ_SEGMENT, 5, "zdbfs-data", 10), 0);
	obj_name(keys, &id, name);
	assert_hex(name, 16, "8b2ecc6b0ecc517895e7d54dda3eb151");
	assert_int_equal(obj_id_set(&id, GENERATION, OBJ_MANIFEST, 3, NULL, 0), 0);
	obj_name(keys, &id, name);
	assert_hex(name, 16, "71dbec15baa245e4e5372a16c839e753");
	len = obj_key_record("vol", name, key);
	assert_int_equal(len, strlen(key));
	assert_string_equal(key, "/vol/q/71dbec15baa245e4e5372a16c839e753");
	obj_key_identity("vol", key);
	assert_string_equal(key, "/vol/qsfs");
	for (unsigned i = 0; i < 16; i++)
		object[i] = (uint8_t)(0x40 + i);
	obj_key_shard(object, 11, 258, key);
	assert_string_equal(key, "qsfs:404142434445464748494a4b4c4d4e4f:0b:0102");
	assert_int_equal(obj_id_set(&id, 1, OBJ_MANIFEST, 0, "x", 1), -EINVAL);
	assert_int_equal(obj_id_set(&id, 1, OBJ_TAIL, 0, "", 0), -EINVAL);
	assert_int_equal(obj_id_set(&id, 1, 5, 0, "x", 1), -EINVAL);
	assert_int_equal(obj_id_set(&id, 1, OBJ_TAIL, 0, "x", 129), -EINVAL);
}

static struct identity known_identity(void)
{
	struct identity id = {.epoch = 1, .created = 1700000000, .generation = GENERATION, .k = 2, .n = 4};

	memcpy(id.volume, keyring_volume(keys), 16);
	return id;
}

static void identities_have_known_answers(void **state)
{
	struct identity id = known_identity(), back;
	uint8_t bytes[IDENTITY_BYTES];

	(void)state;
	assert_int_equal(identity_encode(&id, keys, bytes), 0);
	assert_hex(bytes + 56, 16, "e1c8dbccf15563b971093a2ed08b658e");
	assert_hex(bytes + 72, 16, "b4861aa1d5e2bbc24b3ad886bbd9ad3c");
	assert_int_equal(identity_decode(bytes, sizeof(bytes), keys, &back), IDENTITY_GOOD);
	assert_memory_equal(&id, &back, sizeof(id));
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_int_equal(identity_decode(bytes, len, keys, &back), IDENTITY_ALIEN);
}

static void flipped_bits_of_an_identity(void **state)
{
	struct identity id = known_identity(), back;
	uint8_t bytes[IDENTITY_BYTES];

	(void)state;
	assert_int_equal(identity_encode(&id, keys, bytes), 0);
	for (unsigned bit = 0; bit < 8 * sizeof(bytes); bit++) {
		enum identity_state got, want = IDENTITY_DAMAGED;
		unsigned at = bit / 8;

		bytes[at] ^= (uint8_t)(1u << bit % 8);
		got = identity_decode(bytes, sizeof(bytes), keys, &back);
		if (at < 6 || (at >= 51 && at < 56))
			want = IDENTITY_ALIEN;
		else if (at < 8)
			want = IDENTITY_NO_EPOCH;
		else if (at < 24)
			want = IDENTITY_FOREIGN;
		else if (at >= 56 && at < 72)
			want = IDENTITY_WRONG_KEY;
		assert_int_equal(got, want);
		bytes[at] ^= (uint8_t)(1u << bit % 8);
	}
}

static void a_wrong_key_is_told_from_damage(void **state)
{
	struct identity id = known_identity(), back;
	uint8_t bytes[IDENTITY_BYTES], key[32] = {9};
	struct keyring *other;

	(void)state;
	assert_int_equal(identity_encode(&id, keys, bytes), 0);
	assert_int_equal(keyring_from_key(key, id.volume, &other), 0);
	assert_int_equal(identity_decode(bytes, sizeof(bytes), other, &back), IDENTITY_WRONG_KEY);
	keyring_free(other);
	assert_int_equal(keyring_from_key(key, NULL, &other), 0);
	assert_int_equal(identity_decode(bytes, sizeof(bytes), other, &back), IDENTITY_WRONG_KEY);
	keyring_free(other);
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
	assert_int_equal(keyring_from_key(key, NULL, &other), 0);
	assert_int_equal(identity_decode(bytes, sizeof(bytes), other, &back), IDENTITY_GOOD);
	keyring_free(other);
}

static void generations_rise(void **state)
{
	uint64_t a, b;

	(void)state;
	assert_int_equal(identity_next_generation(0, &a), 0);
	assert_int_equal(a >> 32, 1);
	assert_int_equal(identity_next_generation(a, &b), 0);
	assert_int_equal(b >> 32, 2);
	assert_int_equal(identity_next_generation(UINT64_MAX, &b), -EOVERFLOW);
}

static void stripes_have_known_answers(void **state)
{
	struct head_public p = {
		.stripe_log2 = 20, .value_log2 = 21, .k = 2, .n = 4, .epoch = 1, .stripes = 1};
	struct stripe_zstd *z = stripe_zstd_new(1);
	uint8_t key[32], sealed[64], plain[8];

	(void)state;
	memcpy(p.volume, keyring_volume(keys), 16);
	for (unsigned i = 0; i < 16; i++)
		p.object[i] = (uint8_t)(0x40 + i);
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)(0x60 + i);
	p.aead = AEAD_AES256GCM;
	assert_int_equal(stripe_seal(&p, key, 0, z, (const uint8_t *)"hello", 5, sealed), 22);
	assert_hex(sealed, 22, "02eecd2d48c851bd39fc01610b93e806d4aa0ad94dd7");
	assert_int_equal(stripe_open(&p, key, 0, z, sealed, 22, plain, 5), 0);
	assert_memory_equal(plain, "hello", 5);
	p.aead = AEAD_XCHACHA20;
	assert_int_equal(stripe_seal(&p, key, 0, z, (const uint8_t *)"hello", 5, sealed), 22);
	assert_hex(sealed, 22, "02fdee0e89fb4ad423cd39b87a50f553072237ce1a49");
	stripe_zstd_free(z);
}

/* Position, length, flags, object, volume: all are under the tag. */
static void stripes_open_only_in_their_place(void **state)
{
	struct head_public p = {.aead = 2, .stripe_log2 = 16, .value_log2 = 17, .k = 2, .n = 4, .stripes = 3};
	struct stripe_zstd *z = stripe_zstd_new(1);
	static uint8_t in[1000], sealed[1100], copy[1100], out[1100];
	struct head_public q;
	uint8_t key[32] = {1};
	long len;

	(void)state;
	for (unsigned packs = 0; packs < 2; packs++) {
		rig_fill(in, sizeof(in), 7, packs);
		len = stripe_seal(&p, key, 1, z, in, sizeof(in), sealed);
		assert_true(len > 0);
		assert_int_equal(sealed[0], packs);
		memcpy(copy, sealed, sizeof(copy));
		assert_int_equal(stripe_open(&p, key, 1, z, copy, (uint32_t)len, out, sizeof(in)), 0);
		assert_memory_equal(in, out, sizeof(in));
		memcpy(copy, sealed, sizeof(copy));
		assert_int_equal(stripe_open(&p, key, 0, z, copy, (uint32_t)len, out, sizeof(in)), -EBADMSG);
		memcpy(copy, sealed, sizeof(copy));
		assert_int_equal(stripe_open(&p, key, 1, z, copy, (uint32_t)len, out, sizeof(in) - 1),
				 -EBADMSG);
		q = p;
		q.object[3] ^= 1;
		memcpy(copy, sealed, sizeof(copy));
		assert_int_equal(stripe_open(&q, key, 1, z, copy, (uint32_t)len, out, sizeof(in)), -EBADMSG);
		q = p;
		q.volume[3] ^= 1;
		memcpy(copy, sealed, sizeof(copy));
		assert_int_equal(stripe_open(&q, key, 1, z, copy, (uint32_t)len, out, sizeof(in)), -EBADMSG);
		/* one stripe less: what was in the middle would now be the last */
		q = p;
		q.stripes = 2;
		memcpy(copy, sealed, sizeof(copy));
		assert_int_equal(stripe_open(&q, key, 1, z, copy, (uint32_t)len, out, sizeof(in)), -EPROTO);
		for (long bit = 0; bit < 8 * len; bit++) {
			memcpy(copy, sealed, sizeof(copy));
			copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(stripe_open(&p, key, 1, z, copy, (uint32_t)len, out, sizeof(in)),
					 -EBADMSG);
		}
	}
	stripe_zstd_free(z);
}

/* A head and a record of a 3-stripe object, 2+2, made without stores. */
static void make_record(struct record *r)
{
	struct obj_id id;

	record_init(r);
	assert_int_equal(obj_id_set(&id, GENERATION, OBJ_SEGMENT, 7, "ns", 2), 0);
	r->pub = (struct head_public){.aead = 1,
				      .stripe_log2 = 16,
				      .value_log2 = 16,
				      .k = 2,
				      .n = 4,
				      .epoch = 1,
				      .stripes = 3,
				      .generation = GENERATION};
	memcpy(r->pub.volume, keyring_volume(keys), 16);
	obj_name(keys, &id, r->pub.name);
	memset(r->pub.object, 0x77, 16);
	r->priv = (struct head_private){
		.size = 3 * 65536, .number = 7, .kind = OBJ_SEGMENT, .ns_len = 2, .ns = "ns"};
	r->sealed = calloc(3, sizeof(uint32_t));
	for (unsigned i = 0; i < 3; i++)
		r->sealed[i] = 65536 + 17;
	r->values = head_places(&r->pub, r->sealed, NULL);
	assert_int_equal(r->values, 3);
	assert_int_equal(head_box_seal(&r->pub, &r->priv, keys, r->box), 0);
	r->shards_count = 4;
	for (unsigned i = 0; i < 4; i++) {
		struct record_shard *s = &r->shards[i];

		s->index = (uint8_t)i;
		s->type = i % 2 ? OBJ_STORE_KEYS : OBJ_STORE_NAMED;
		snprintf(s->label, sizeof(s->label), "10.0.0.%u:9900/ns", i);
		if (i % 2) {
			s->keys = calloc(4, sizeof(uint64_t));
			for (unsigned v = 0; v < 4; v++)
				s->keys[v] = 1000 * i + v;
		}
	}
}

static void flipped_bits_of_a_head(void **state)
{
	static uint8_t bytes[HEAD_MAX_BYTES];
	struct head_private priv;
	const char *what;
	struct record r;
	struct head h;
	size_t len;

	(void)state;
	make_record(&r);
	for (unsigned type = 1; type <= 2; type++) {
		len = head_build(&r.pub, r.box, 2, type, 3, r.shards[1].keys + 1, bytes);
		assert_int_equal(len, type == 1 ? 316 + 24 : 316);
		assert_int_equal(head_parse(bytes, len, &h, &what), 0);
		assert_null(what);
		assert_int_equal(h.values, 3);
		assert_int_equal(h.index, 2);
		assert_int_equal(head_box_open(&h.pub, h.box, keys, &priv), 0);
		assert_int_equal(priv.size, 3 * 65536);
		assert_int_equal(priv.number, 7);
		if (type == 1)
			assert_int_equal(get_u64le(h.keys + 16), r.shards[1].keys[3]);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(head_parse(bytes, len, &h, &what), -E_CORRUPT);
			assert_non_null(what);
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(head_parse(bytes, cut, &h, &what), -E_CORRUPT);
	}
	/* with the checksum made right again: the box covers P, so whatever is changed there does not open */
	len = head_build(&r.pub, r.box, 2, 2, 3, NULL, bytes);
	for (size_t bit = 0; bit < 8 * 306; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		put_u32le(bytes + len - 4, crc_castagnoli(0, bytes, len - 4));
		if (head_parse(bytes, len, &h, &what) == 0) {
			int rc = head_box_open(&h.pub, h.box, keys, &priv);

			assert_true(rc == -E_CORRUPT || (rc == -E_KEY && bit / 8 >= 10 && bit / 8 < 12));
		}
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	record_release(&r);
}

static void records_come_back(void **state)
{
	struct buf plain = BUF_INIT(RECORD_MAX_BYTES);
	struct record r, back, copy;

	(void)state;
	make_record(&r);
	record_init(&back);
	record_init(&copy);
	assert_int_equal(record_encode(&r, &plain), 0);
	assert_int_equal(plain.len, 312 + 4 * 3 + 4 * (3 + 16) + 2 * 8 * 4);
	assert_int_equal(record_decode(plain.data, plain.len, keys, &back), 0);
	assert_int_equal(record_copy(&copy, &back), 0);
	record_release(&back);
	assert_memory_equal(&copy.priv, &r.priv, offsetof(struct head_private, ns) + OBJ_NS_MAX);
	assert_memory_equal(&copy.pub, &r.pub, sizeof(r.pub));
	assert_int_equal(copy.shards_count, 4);
	assert_string_equal(copy.shards[3].label, "10.0.0.3:9900/ns");
	assert_int_equal(copy.shards[3].keys[3], 3003);
	assert_null(copy.shards[2].keys);
	for (size_t cut = 0; cut < plain.len; cut++)
		assert_int_equal(record_decode(plain.data, cut, keys, &back), -E_CORRUPT);
	record_release(&copy);
	record_release(&r);
	buf_release(&plain);
}

/* The plain record lies under a tag; even without it no changed bit of what the box covers is accepted. */
static void flipped_bits_of_a_record(void **state)
{
	struct buf plain = BUF_INIT(RECORD_MAX_BYTES);
	struct record r, back;

	(void)state;
	make_record(&r);
	record_init(&back);
	assert_int_equal(record_encode(&r, &plain), 0);
	for (size_t bit = 0; bit < 8 * plain.len; bit++) {
		int rc;

		plain.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		rc = record_decode(plain.data, plain.len, keys, &back);
		if (bit / 8 < 312)
			assert_true(rc == -E_CORRUPT || rc == -E_KEY);
		record_release(&back);
		plain.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	record_release(&r);
	buf_release(&plain);
}

static void impossible_records_are_not_written(void **state)
{
	struct buf plain = BUF_INIT(RECORD_MAX_BYTES);
	struct record r;

	(void)state;
	make_record(&r);
	r.shards[1].index = 2;
	assert_int_equal(record_encode(&r, &plain), -EINVAL);
	r.shards[1].index = 4;
	assert_int_equal(record_encode(&r, &plain), -EINVAL);
	r.shards[1].index = 1;
	r.shards[2].label[0] = 0;
	assert_int_equal(record_encode(&r, &plain), -EINVAL);
	r.shards[2].label[0] = 'x';
	r.sealed[1] = 65536 + 18;
	assert_int_equal(record_encode(&r, &plain), -EINVAL);
	record_release(&r);
	buf_release(&plain);
}

/* Section 5, Memory and Typical cost. */
static void sizes_of_the_specification(void **state)
{
	static struct fragment_place places[64];
	struct obj_geometry g = {.k = 4, .n = 6};
	struct head_public p = {.stripe_log2 = 20, .value_log2 = 21, .k = 4, .n = 6, .stripes = 64};
	uint32_t sealed[64], values;
	uint64_t bytes = 316;

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		sealed[i] = (1 << 20) + 17;
	values = head_places(&p, sealed, places);
	assert_int_equal(values, 10);
	for (unsigned i = 0; i < 64; i++)
		bytes += places[i].len;
	assert_int_equal(bytes + 8 * 10, 16783052);
	assert_int_equal(places[63].value, 10);
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), 0);
	assert_int_equal(g.stripe_log2, 20);
	assert_int_equal(g.value_log2, 21);
	assert_true(obj_geometry_memory(&g) <= (size_t)32 << 20);
	g = (struct obj_geometry){.k = 4, .n = 6};
	assert_int_equal(obj_geometry_plan(&g, (size_t)4 << 20), 0);
	assert_true(obj_geometry_memory(&g) <= (size_t)4 << 20);
	g = (struct obj_geometry){.k = 20, .n = 32};
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), 0);
	assert_int_equal(g.value_log2, 18);
	g = (struct obj_geometry){.k = 1, .n = 32};
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), 0);
	assert_true(g.stripe_log2 < 20);
	g = (struct obj_geometry){.k = 4, .n = 6};
	assert_int_equal(obj_geometry_plan(&g, 100000), -ENOMEM);
	g = (struct obj_geometry){.k = 4, .n = 6, .min_shards = 3};
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), -EINVAL);
	g = (struct obj_geometry){.k = 4, .n = 33};
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), -EINVAL);
	g = (struct obj_geometry){.k = 4, .n = 6, .stripe_log2 = 15};
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), -EINVAL);
	g = (struct obj_geometry){.k = 4, .n = 6, .aead = 3};
	assert_int_equal(obj_geometry_plan(&g, (size_t)32 << 20), -EINVAL);
}

static int begin(void **state)
{
	(void)state;
	keys = crypto_init() == 0 ? rig_keys() : NULL;
	return keys ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	keyring_free(keys);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_have_known_answers),
		cmocka_unit_test(identities_have_known_answers),
		cmocka_unit_test(flipped_bits_of_an_identity),
		cmocka_unit_test(a_wrong_key_is_told_from_damage),
		cmocka_unit_test(generations_rise),
		cmocka_unit_test(stripes_have_known_answers),
		cmocka_unit_test(stripes_open_only_in_their_place),
		cmocka_unit_test(flipped_bits_of_a_head),
		cmocka_unit_test(records_come_back),
		cmocka_unit_test(flipped_bits_of_a_record),
		cmocka_unit_test(impossible_records_are_not_written),
		cmocka_unit_test(sizes_of_the_specification),
	};

	return cmocka_run_group_tests_name("object_format", tests, begin, end);
}
