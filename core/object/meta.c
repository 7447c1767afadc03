/* The metadata stores of a volume: authority and generations (native format, section 2). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/object/meta_int.h"

static void say(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(char *why, const char *format, ...)
{
	size_t len;
	va_list ap;

	if (!why)
		return;
	len = strnlen(why, META_ERROR_BYTES);
	va_start(ap, format);
	vsnprintf(why + len, META_ERROR_BYTES - len, format, ap);
	va_end(ap);
}

int meta_init(struct meta *m, struct keyring *keys, const char *prefix, unsigned k,
	      struct obj_store *const *stores, unsigned count)
{
	memset(m, 0, sizeof(*m));
	if (k < 1 || count < k + 1 || count > META_MAX || strlen(prefix) > OBJ_PREFIX_MAX)
		return -EINVAL;
	m->keys = keys;
	m->k = k;
	m->n = m->count = count;
	memcpy(m->prefix, prefix, strlen(prefix) + 1);
	for (unsigned i = 0; i < count; i++) {
		m->stores[i].store = stores[i];
		m->stores[i].state = META_UNREACHABLE;
		m->stores[i].error = -ENOTCONN;
		m->slot[i] = -1;
	}
	return 0;
}

/* Under which authority a store stands after it answered `c`. */
static void judge_store(struct meta *m, unsigned i, const struct meta_call *c)
{
	struct meta_store *s = &m->stores[i];

	s->error = c ? c->result : -ETIMEDOUT;
	if (s->error == -ENOENT) {
		s->state = META_EMPTY;
	} else if (s->error == -EMSGSIZE) {
		s->state = META_ALIEN;
		s->identity_state = IDENTITY_ALIEN;
	} else if (s->error != 0) {
		s->state = META_UNREACHABLE;
	} else {
		s->identity_state = identity_decode(c->bytes, c->len, m->keys, &s->identity);
		s->state = s->identity_state == IDENTITY_GOOD ? META_GOOD : META_ALIEN;
	}
	/* geometry of the records: a store that disagrees belongs to another configuration */
	if (s->state == META_GOOD && (s->identity.k != m->k || s->identity.n != m->n)) {
		s->state = META_ALIEN;
		s->identity_state = IDENTITY_SHAPE;
	}
}

/*
 * A bare key learns its volume here. Two volumes made with one key would be told apart by nothing but what most stores say:
 * then none is taken.
 */
static int learn_volume(struct meta *m)
{
	const uint8_t *volume = NULL;

	if (keyring_has_volume(m->keys))
		return 0;
	for (unsigned i = 0; i < m->count; i++) {
		if (m->stores[i].state != META_GOOD)
			continue;
		if (volume && memcmp(volume, m->stores[i].identity.volume, 16) != 0)
			return -E_UNKNOWN;
		volume = m->stores[i].identity.volume;
	}
	return volume ? keyring_set_volume(m->keys, volume) : 0;
}

static void assign_slots(struct meta *m)
{
	m->good = 0;
	memset(&m->newest, 0, sizeof(m->newest));
	for (unsigned i = 0; i < META_MAX; i++)
		m->slot[i] = -1;
	for (unsigned i = 0; i < m->count; i++) {
		struct meta_store *s = &m->stores[i];

		if (s->state != META_GOOD)
			continue;
		if (m->slot[s->identity.slot] >= 0) {
			s->state = META_DUPLICATE;
			continue;
		}
		m->slot[s->identity.slot] = (int)i;
		m->good++;
		if (m->good == 1 || s->identity.generation > m->newest.generation)
			m->newest = s->identity;
	}
}

static int ask_identities(struct meta *m, struct obj_work *w)
{
	struct meta_calls calls = {.count = m->count};
	char key[OBJ_KEY_MAX_BYTES];
	int rc = 0;

	obj_key_identity(m->prefix, key);
	for (unsigned i = 0; i < m->count; i++) {
		calls.each[i] = meta_call_new(META_GET, m->stores[i].store, key, NULL, 0);
		if (!calls.each[i])
			rc = -ENOMEM;
	}
	if (rc == 0)
		meta_run(w, &calls, NULL, NULL, 0);
	for (unsigned i = 0; rc == 0 && i < m->count; i++)
		judge_store(m, i, calls.each[i]);
	meta_calls_free(&calls);
	return rc;
}

static void name_stores(const struct meta *m, char *why)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct meta_store *s = &m->stores[i];
		const char *text = "";

		switch (s->state) {
		case META_GOOD:
			continue;
		case META_UNREACHABLE:
			text = err_str(s->error);
			break;
		case META_EMPTY:
			text = "has no identity of the volume";
			break;
		case META_ALIEN:
			text = identity_state_text(s->identity_state);
			break;
		case META_DUPLICATE:
			text = "is the same store as another one";
			break;
		}
		say(why, "; %s: %s", s->store->label, text);
	}
}

/* Slots that must show the volume, so that records can be read and the newest generation is among them. */
static unsigned quorum(const struct meta *m)
{
	return m->k > m->n - m->k ? m->k : m->n - m->k;
}

enum obj_answer meta_probe(struct meta *m, struct obj_work *w, int *code, char *why)
{
	unsigned empty = 0;
	int rc;

	if (why)
		*why = 0;
	rc = ask_identities(m, w);
	if (rc == 0)
		rc = learn_volume(m);
	if (rc == 0)
		assign_slots(m);
	*code = rc;
	for (unsigned i = 0; rc == 0 && i < m->count; i++) {
		const struct meta_store *s = &m->stores[i];

		empty += s->state == META_EMPTY;
		if (s->state != META_ALIEN)
			continue;
		/* where another store proves the key right, a wrong key check is damage */
		if ((s->identity_state == IDENTITY_WRONG_KEY && m->good == 0) ||
		    s->identity_state == IDENTITY_NO_EPOCH)
			*code = -E_KEY;
	}
	if (rc == 0 && *code == 0 && m->good >= quorum(m)) {
		if (m->good < m->n) {
			say(why, "%u of %u metadata stores have authority", m->good, m->n);
			name_stores(m, why);
		}
		return OBJ_FOUND;
	}
	if (rc == 0 && empty == m->count)
		return OBJ_ABSENT;
	if (rc == -E_UNKNOWN)
		say(why, "the metadata stores hold several volumes of this key");
	else if (rc != 0)
		say(why, "%s", err_str(rc));
	else
		say(why, "%u of %u metadata stores have authority, %u are needed", m->good, m->n, quorum(m));
	if (rc == 0)
		name_stores(m, why);
	return OBJ_UNKNOWN;
}

/* Writes identities to the stores in `mask`. Returns the mask of those that took it, or -ENOMEM and the like. */
static int64_t write_identities(struct meta *m, struct obj_work *w, const struct identity *id, uint32_t mask)
{
	struct meta_calls calls = {.count = m->count};
	char key[OBJ_KEY_MAX_BYTES];
	int64_t took = 0;
	int rc = 0;

	obj_key_identity(m->prefix, key);
	for (unsigned i = 0; rc == 0 && i < m->count; i++) {
		uint8_t bytes[IDENTITY_BYTES];
		struct identity mine = *id;

		if (!(mask >> i & 1))
			continue;
		mine.slot = m->stores[i].identity.slot;
		rc = identity_encode(&mine, m->keys, bytes);
		if (rc != 0)
			break;
		calls.each[i] = meta_call_new(META_SET, m->stores[i].store, key, bytes, sizeof(bytes));
		if (!calls.each[i])
			rc = -ENOMEM;
	}
	if (rc == 0)
		meta_run(w, &calls, NULL, NULL, 0);
	for (unsigned i = 0; rc == 0 && i < m->count; i++)
		if (meta_call_is_done(calls.each[i]) && calls.each[i]->result == 0)
			took |= (int64_t)1 << i;
	meta_calls_free(&calls);
	return rc != 0 ? rc : took;
}

static uint32_t good_stores(const struct meta *m)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < m->count; i++)
		if (m->stores[i].state == META_GOOD)
			mask |= 1u << i;
	return mask;
}

/* Slots that show exactly this generation. */
static unsigned count_generation(const struct meta *m, uint64_t generation)
{
	unsigned count = 0;

	for (unsigned i = 0; i < m->count; i++)
		count += m->stores[i].state == META_GOOD && m->stores[i].identity.generation == generation;
	return count;
}

/* Takes back what a failed creation wrote. Best effort: a rest shows as identity without the others, that is unknown. */
static void remove_identities(struct meta *m, struct obj_work *w, uint64_t generation)
{
	struct meta_calls calls = {.count = m->count};
	char key[OBJ_KEY_MAX_BYTES];

	obj_key_identity(m->prefix, key);
	for (unsigned i = 0; i < m->count; i++) {
		const struct meta_store *s = &m->stores[i];

		if ((s->state == META_GOOD || s->state == META_DUPLICATE) &&
		    s->identity.generation == generation)
			calls.each[i] = meta_call_new(META_DEL, s->store, key, NULL, 0);
	}
	meta_run(w, &calls, NULL, NULL, 0);
	meta_calls_free(&calls);
}

int meta_create(struct meta *m, struct obj_work *w, uint64_t created, uint64_t *generation, char *why)
{
	struct identity id = {.created = created, .k = (uint8_t)m->k, .n = (uint8_t)m->n};
	enum obj_answer answer;
	int64_t took;
	int rc;

	if (!keyring_has_volume(m->keys))
		return -EINVAL;
	answer = meta_probe(m, w, &rc, why);
	if (answer != OBJ_ABSENT)
		return answer == OBJ_FOUND ? -EEXIST : rc == -E_KEY || rc == -ENOMEM ? rc : -EAGAIN;
	id.epoch = (uint16_t)keyring_epoch(m->keys);
	memcpy(id.volume, keyring_volume(m->keys), sizeof(id.volume));
	rc = identity_next_generation(0, &id.generation);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < m->count; i++)
		m->stores[i].identity.slot = (uint8_t)i;
	took = write_identities(m, w, &id, (uint32_t)(((uint64_t)1 << m->count) - 1));
	if (took < 0)
		return (int)took;
	/* two addresses of one store show here: they share a slot */
	answer = meta_probe(m, w, &rc, why);
	if (answer == OBJ_FOUND && count_generation(m, id.generation) == m->n) {
		*generation = id.generation;
		return 0;
	}
	remove_identities(m, w, id.generation);
	return rc == -ENOMEM ? rc : -EAGAIN;
}

int meta_take_over(struct meta *m, struct obj_work *w, uint64_t restored, uint64_t *generation, char *why)
{
	struct identity id;
	enum obj_answer answer;
	int64_t took;
	int rc;

	answer = meta_probe(m, w, &rc, why);
	if (answer != OBJ_FOUND)
		return rc == -E_KEY || rc == -ENOMEM ? rc : -EAGAIN;
	id = m->newest;
	id.base = restored;
	rc = identity_next_generation(m->newest.generation, &id.generation);
	if (rc != 0)
		return rc;
	took = write_identities(m, w, &id, good_stores(m));
	if (took < 0)
		return (int)took;
	rc = meta_fence_check(m, w, id.generation, why);
	if (rc == 0)
		*generation = id.generation;
	return rc;
}

int meta_fence_check(struct meta *m, struct obj_work *w, uint64_t own, char *why)
{
	enum obj_answer answer;
	uint32_t lower = 0;
	int rc;

	/* once more after rewriting what missed our take over */
	for (int round = 0;; round++) {
		answer = meta_probe(m, w, &rc, why);
		if (rc == -E_KEY || rc == -ENOMEM)
			return rc;
		if (m->good > 0 && m->newest.generation > own) {
			if (why)
				*why = 0;
			say(why, "generation %llx of the volume is newer than ours, %llx",
			    (unsigned long long)m->newest.generation, (unsigned long long)own);
			return -E_FENCED;
		}
		lower = 0;
		for (unsigned i = 0; i < m->count; i++)
			if (m->stores[i].state == META_GOOD && m->stores[i].identity.generation < own)
				lower |= 1u << i;
		if (lower == 0 || round == 1 || count_generation(m, own) == 0)
			break;
		if (write_identities(m, w, &m->newest, lower) < 0)
			break;
	}
	if (answer != OBJ_FOUND || count_generation(m, own) < m->k + 1)
		return -EAGAIN;
	return 0;
}

int meta_adopt(struct meta *m, struct obj_work *w, unsigned store, unsigned slot)
{
	struct identity id = m->newest;
	struct meta_store *s;
	int64_t took;
	int rc;

	if (store >= m->count || slot >= m->n || m->good == 0 || m->slot[slot] >= 0)
		return -EINVAL;
	s = &m->stores[store];
	if (s->state != META_EMPTY)
		return -EINVAL;
	s->identity.slot = (uint8_t)slot;
	took = write_identities(m, w, &id, 1u << store);
	if (took <= 0)
		return took < 0 ? (int)took : -EAGAIN;
	(void)meta_probe(m, w, &rc, NULL);
	return m->slot[slot] == (int)store ? 0 : -EAGAIN;
}

int meta_set_epoch(struct meta *m, struct obj_work *w, unsigned epoch)
{
	struct identity id = m->newest;
	int64_t took;
	int rc;

	if (m->good == 0 || epoch < id.epoch || epoch > UINT16_MAX)
		return -EINVAL;
	id.epoch = (uint16_t)epoch;
	took = write_identities(m, w, &id, good_stores(m));
	if (took < 0)
		return (int)took;
	(void)meta_probe(m, w, &rc, NULL);
	return (unsigned)__builtin_popcountll((uint64_t)took) >= m->k + 1 ? 0 : -EAGAIN;
}
