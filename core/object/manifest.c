/*
 * The manifest of a recovery point. Encoding and decoding apply the same rules (ns_wrong()), so that nothing can be written
 * that would not be read again.
 */
#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/object/bundle.h"
#include "core/object/manifest.h"

enum {
	VERSION = 1,
	HEAD_BYTES = 32,
	TAIL_BYTES = 32,
	BUNDLE_BYTES = 32,
};

static const uint8_t magic[4] = {'Q', 'S', 'P', '1'};

void manifest_init(struct manifest *m)
{
	memset(m, 0, sizeof(*m));
}

static void ns_release(struct manifest_ns *ns)
{
	mem_free(ns->descriptor);
	mem_free(ns->tails);
	mem_free(ns->bundles);
	memset(ns, 0, sizeof(*ns));
}

void manifest_release(struct manifest *m)
{
	for (unsigned i = 0; i < m->count; i++)
		ns_release(&m->ns[i]);
	mem_free(m->ns);
	memset(m, 0, sizeof(*m));
}

/* The rule that a namespace breaks, or NULL. */
static const char *ns_wrong(const struct manifest_ns *ns)
{
	uint32_t at = 0;

	if (ns->name_len < 1 || ns->name_len > OBJ_NS_MAX || memchr(ns->name, 0, ns->name_len))
		return "name of a namespace";
	if (ns->tails_count > MANIFEST_TAILS_MAX)
		return "number of tails";
	if (ns->bundles_count > MANIFEST_BUNDLES_MAX)
		return "number of bundles";
	for (unsigned i = 0; i < ns->tails_count; i++) {
		if (ns->tails[i].start != at || ns->tails[i].end <= at)
			return "order of tails";
		at = ns->tails[i].end;
	}
	at = 0;
	for (unsigned i = 0; i < ns->bundles_count; i++) {
		if (ns->bundles[i].first != at || ns->bundles[i].last < at ||
		    ns->bundles[i].last == UINT32_MAX)
			return "order of bundles";
		at = ns->bundles[i].last + 1;
	}
	return at == ns->closed ? NULL : "bundles do not cover the closed segments";
}

const char *manifest_wrong(const struct manifest *m)
{
	const char *wrong;

	if (m->count > MANIFEST_NAMESPACES_MAX)
		return "number of namespaces";
	if (m->sequence == 0)
		return "sequence";
	for (unsigned i = 0; i < m->count; i++) {
		wrong = ns_wrong(&m->ns[i]);
		if (wrong)
			return wrong;
		if (manifest_find(m, m->ns[i].name, m->ns[i].name_len) != &m->ns[i])
			return "namespace named twice";
	}
	return NULL;
}

static size_t ns_bytes(const struct manifest_ns *ns)
{
	return 1u + ns->name_len + 1 + 2 + ns->descriptor_len + 4 + 2 + 2 +
	       TAIL_BYTES * (size_t)ns->tails_count + BUNDLE_BYTES * (size_t)ns->bundles_count;
}

static uint8_t *put_ns(uint8_t *at, const struct manifest_ns *ns)
{
	*at++ = ns->name_len;
	memcpy(at, ns->name, ns->name_len);
	at += ns->name_len;
	*at++ = ns->mode;
	put_u16le(at, ns->descriptor_len);
	at += 2;
	if (ns->descriptor_len > 0)
		memcpy(at, ns->descriptor, ns->descriptor_len);
	at += ns->descriptor_len;
	put_u32le(at, ns->closed);
	put_u16le(at + 4, ns->tails_count);
	put_u16le(at + 6, ns->bundles_count);
	at += 8;
	for (unsigned i = 0; i < ns->tails_count; i++, at += TAIL_BYTES) {
		put_u64le(at, ns->tails[i].generation);
		put_u32le(at + 8, ns->tails[i].start);
		put_u32le(at + 12, ns->tails[i].end);
		memcpy(at + 16, ns->tails[i].content, CONTENT_ID_BYTES);
	}
	for (unsigned i = 0; i < ns->bundles_count; i++, at += BUNDLE_BYTES) {
		put_u64le(at, ns->bundles[i].generation);
		put_u32le(at + 8, ns->bundles[i].first);
		put_u32le(at + 12, ns->bundles[i].last);
		memcpy(at + 16, ns->bundles[i].content, CONTENT_ID_BYTES);
	}
	return at;
}

int manifest_encode(const struct manifest *m, struct buf *out)
{
	size_t bytes = HEAD_BYTES;
	uint8_t *at;
	int rc;

	if (manifest_wrong(m))
		return -EINVAL;
	for (unsigned i = 0; i < m->count; i++)
		bytes += ns_bytes(&m->ns[i]);
	if (bytes > MANIFEST_MAX_BYTES)
		return -EMSGSIZE;
	rc = buf_reserve(out, bytes);
	if (rc != 0)
		return rc;
	at = out->data + out->len;
	memcpy(at, magic, sizeof(magic));
	put_u16le(at + 4, VERSION);
	put_u16le(at + 6, m->count);
	put_u64le(at + 8, m->generation);
	put_u64le(at + 16, m->sequence);
	put_u64le(at + 24, m->time);
	at += HEAD_BYTES;
	for (unsigned i = 0; i < m->count; i++)
		at = put_ns(at, &m->ns[i]);
	buf_added(out, bytes);
	return 0;
}

struct cursor {
	const uint8_t *at, *end;
};

/* The next `len` bytes, or NULL. */
static const uint8_t *take(struct cursor *c, size_t len)
{
	const uint8_t *at = c->at;

	if ((size_t)(c->end - c->at) < len)
		return NULL;
	c->at += len;
	return at;
}

static int take_tables(struct cursor *c, struct manifest_ns *ns)
{
	const uint8_t *at = take(c, TAIL_BYTES * (size_t)ns->tails_count);

	if (!at || ns->tails_count > MANIFEST_TAILS_MAX || ns->bundles_count > MANIFEST_BUNDLES_MAX)
		return -E_CORRUPT;
	ns->tails = mem_calloc(ns->tails_count ? ns->tails_count : 1, sizeof(ns->tails[0]));
	if (!ns->tails)
		return -ENOMEM;
	for (unsigned i = 0; i < ns->tails_count; i++, at += TAIL_BYTES) {
		ns->tails[i].generation = get_u64le(at);
		ns->tails[i].start = get_u32le(at + 8);
		ns->tails[i].end = get_u32le(at + 12);
		memcpy(ns->tails[i].content, at + 16, CONTENT_ID_BYTES);
	}
	at = take(c, BUNDLE_BYTES * (size_t)ns->bundles_count);
	if (!at)
		return -E_CORRUPT;
	ns->bundles = mem_calloc(ns->bundles_count ? ns->bundles_count : 1, sizeof(ns->bundles[0]));
	if (!ns->bundles)
		return -ENOMEM;
	for (unsigned i = 0; i < ns->bundles_count; i++, at += BUNDLE_BYTES) {
		ns->bundles[i].generation = get_u64le(at);
		ns->bundles[i].first = get_u32le(at + 8);
		ns->bundles[i].last = get_u32le(at + 12);
		memcpy(ns->bundles[i].content, at + 16, CONTENT_ID_BYTES);
	}
	return 0;
}

static int take_ns(struct cursor *c, struct manifest_ns *ns, const char **what)
{
	const uint8_t *at = take(c, 1);
	int rc;

	*what = "length";
	if (!at)
		return -E_CORRUPT;
	ns->name_len = *at;
	at = take(c, ns->name_len);
	if (!at || ns->name_len > OBJ_NS_MAX)
		return -E_CORRUPT;
	memcpy(ns->name, at, ns->name_len);
	at = take(c, 3);
	if (!at)
		return -E_CORRUPT;
	ns->mode = at[0];
	ns->descriptor_len = get_u16le(at + 1);
	at = take(c, ns->descriptor_len);
	if (!at)
		return -E_CORRUPT;
	rc = manifest_ns_descriptor(ns, at, ns->descriptor_len);
	if (rc != 0)
		return rc;
	at = take(c, 8);
	if (!at)
		return -E_CORRUPT;
	ns->closed = get_u32le(at);
	ns->tails_count = get_u16le(at + 4);
	ns->bundles_count = get_u16le(at + 6);
	rc = take_tables(c, ns);
	if (rc != 0)
		return rc;
	*what = ns_wrong(ns);
	return *what ? -E_CORRUPT : 0;
}

/* Fills an empty manifest; the caller releases it on an error. */
static int decode(struct cursor *c, struct manifest *m, const char **what)
{
	const uint8_t *at = take(c, HEAD_BYTES);
	unsigned count;
	int rc;

	*what = "length";
	if (!at)
		return -E_CORRUPT;
	*what = "magic";
	if (memcmp(at, magic, sizeof(magic)) != 0)
		return -E_CORRUPT;
	*what = "format version";
	if (get_u16le(at + 4) != VERSION)
		return -E_CORRUPT;
	count = get_u16le(at + 6);
	m->generation = get_u64le(at + 8);
	m->sequence = get_u64le(at + 16);
	m->time = get_u64le(at + 24);
	*what = "number of namespaces";
	if (count > MANIFEST_NAMESPACES_MAX)
		return -E_CORRUPT;
	*what = "sequence";
	if (m->sequence == 0)
		return -E_CORRUPT;
	m->ns = mem_calloc(count ? count : 1, sizeof(m->ns[0]));
	if (!m->ns)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		m->count++; /* first, so that a half-read one is released */
		rc = take_ns(c, &m->ns[i], what);
		if (rc != 0)
			return rc;
		*what = "namespace named twice";
		if (manifest_find(m, m->ns[i].name, m->ns[i].name_len) != &m->ns[i])
			return -E_CORRUPT;
	}
	*what = "length";
	return c->at == c->end ? 0 : -E_CORRUPT;
}

int manifest_decode(const void *data, size_t len, struct manifest *m, const char **what)
{
	struct cursor c = {.at = data, .end = (const uint8_t *)data + len};
	const char *wrong = "length";
	int rc = -E_CORRUPT;

	manifest_release(m);
	if (len <= MANIFEST_MAX_BYTES)
		rc = decode(&c, m, &wrong);
	if (rc != 0)
		manifest_release(m);
	if (what)
		*what = rc == -E_CORRUPT ? wrong : NULL;
	return rc;
}

static int ns_copy(struct manifest_ns *to, const struct manifest_ns *from)
{
	*to = *from;
	to->descriptor = NULL;
	to->tails = mem_dup(from->tails, from->tails_count * sizeof(to->tails[0]));
	to->bundles = mem_dup(from->bundles, from->bundles_count * sizeof(to->bundles[0]));
	if (!to->tails || !to->bundles)
		return -ENOMEM;
	return manifest_ns_descriptor(to, from->descriptor, from->descriptor_len);
}

int manifest_copy(struct manifest *to, const struct manifest *from)
{
	int rc = 0;

	manifest_release(to);
	*to = *from;
	to->count = 0;
	to->ns = mem_calloc(from->count ? from->count : 1, sizeof(to->ns[0]));
	if (!to->ns)
		rc = -ENOMEM;
	for (unsigned i = 0; rc == 0 && i < from->count; i++) {
		to->count++;
		rc = ns_copy(&to->ns[i], &from->ns[i]);
	}
	if (rc != 0)
		manifest_release(to);
	return rc;
}

struct manifest_ns *manifest_find(const struct manifest *m, const char *name, size_t name_len)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->ns[i].name_len == name_len && memcmp(m->ns[i].name, name, name_len) == 0)
			return &m->ns[i];
	return NULL;
}

struct manifest_ns *manifest_add(struct manifest *m, const char *name, size_t name_len, uint8_t mode)
{
	struct manifest_ns *ns;

	if (name_len < 1 || name_len > OBJ_NS_MAX || memchr(name, 0, name_len) ||
	    m->count >= MANIFEST_NAMESPACES_MAX || manifest_find(m, name, name_len))
		return NULL;
	ns = mem_realloc_array(m->ns, m->count + 1u, sizeof(m->ns[0]));
	if (!ns)
		return NULL;
	m->ns = ns;
	ns = &m->ns[m->count++];
	memset(ns, 0, sizeof(*ns));
	ns->name_len = (uint8_t)name_len;
	memcpy(ns->name, name, name_len);
	ns->mode = mode;
	return ns;
}

void manifest_remove(struct manifest *m, const char *name, size_t name_len)
{
	struct manifest_ns *ns = manifest_find(m, name, name_len);
	size_t at;

	if (!ns)
		return;
	at = (size_t)(ns - m->ns);
	ns_release(ns);
	m->count--;
	memmove(ns, ns + 1, (m->count - at) * sizeof(*ns));
}

int manifest_ns_descriptor(struct manifest_ns *ns, const void *bytes, size_t len)
{
	uint8_t *copy;

	if (len > UINT16_MAX)
		return -EMSGSIZE;
	copy = mem_alloc(len);
	if (!copy)
		return -ENOMEM;
	if (len > 0)
		memcpy(copy, bytes, len);
	mem_free(ns->descriptor);
	ns->descriptor = copy;
	ns->descriptor_len = (uint16_t)len;
	return 0;
}

uint32_t manifest_ns_tail_end(const struct manifest_ns *ns)
{
	return ns->tails_count > 0 ? ns->tails[ns->tails_count - 1].end : 0;
}

int manifest_ns_tail(struct manifest_ns *ns, const struct manifest_tail *tail)
{
	struct manifest_tail *tails;

	if (tail->start != manifest_ns_tail_end(ns) || tail->end <= tail->start)
		return -EINVAL;
	if (ns->tails_count >= MANIFEST_TAILS_MAX)
		return -E2BIG;
	tails = mem_realloc_array(ns->tails, ns->tails_count + 1u, sizeof(*tails));
	if (!tails)
		return -ENOMEM;
	ns->tails = tails;
	ns->tails[ns->tails_count++] = *tail;
	return 0;
}

void manifest_ns_clear_tails(struct manifest_ns *ns)
{
	ns->tails_count = 0;
}

void manifest_ns_close(struct manifest_ns *ns)
{
	ns->closed++;
	manifest_ns_clear_tails(ns);
}

int manifest_ns_bundle(struct manifest_ns *ns, const struct manifest_bundle *bundle,
		       struct manifest_bundle *old, size_t *old_count)
{
	uint32_t end = ns->bundles_count > 0 ? ns->bundles[ns->bundles_count - 1].last + 1 : 0;
	unsigned from = ns->bundles_count, to = ns->bundles_count;
	struct manifest_bundle *bundles;

	if (bundle->last < bundle->first || bundle->last == UINT32_MAX)
		return -EINVAL;
	if (bundle->first != end) { /* a merge: it must cover neighbours exactly */
		for (from = 0; from < ns->bundles_count && ns->bundles[from].first != bundle->first; from++)
			;
		for (to = from; to < ns->bundles_count && ns->bundles[to].last < bundle->last; to++)
			;
		if (to == ns->bundles_count || ns->bundles[to].last != bundle->last)
			return -EINVAL;
		to++;
	}
	if (ns->bundles_count - (to - from) + 1 > MANIFEST_BUNDLES_MAX)
		return -E2BIG;
	if (old && old_count && to - from > *old_count)
		return -E2BIG;
	bundles = mem_realloc_array(ns->bundles, ns->bundles_count + 1u, sizeof(*bundles));
	if (!bundles)
		return -ENOMEM;
	ns->bundles = bundles;
	if (old && to > from)
		memcpy(old, bundles + from, (to - from) * sizeof(*bundles));
	if (old_count)
		*old_count = to - from;
	memmove(bundles + from + 1, bundles + to, (ns->bundles_count - to) * sizeof(*bundles));
	bundles[from] = *bundle;
	ns->bundles_count = (uint16_t)(ns->bundles_count - (to - from) + 1);
	return 0;
}

bool manifest_ns_merge_due(const struct manifest_ns *ns, size_t from, size_t *begin)
{
	size_t run = 0;

	for (size_t i = from; i < ns->bundles_count; i++) {
		const struct manifest_bundle *b = &ns->bundles[i];
		uint64_t span = (uint64_t)b->last - b->first + 1;

		if (run && (uint64_t)b[-1].last - b[-1].first + 1 == span)
			run++;
		else
			run = b->first % (span * BUNDLE_FAN) == 0;
		if (run == BUNDLE_FAN) {
			*begin = i + 1 - BUNDLE_FAN;
			return true;
		}
	}
	return false;
}
