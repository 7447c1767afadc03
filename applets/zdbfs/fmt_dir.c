/*
 * fmt_dir: directory lists and the intent record J.
 */
#include <string.h>

#include "applets/zdbfs/fmt.h"
#include "core/base/endian.h"
#include "core/base/err.h"

unsigned fmt_hash(const char *name, size_t len)
{
	unsigned sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (uint8_t)name[i];
	return sum % FMT_SLOTS;
}

int fmt_name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int rc = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (rc)
		return rc;
	return a_len < b_len ? -1 : a_len > b_len;
}

int fmt_list_decode(const void *data, size_t len, uint32_t *count, const uint8_t **entries,
		    size_t *entries_len)
{
	const uint8_t *p = data;

	*count = 0;
	*entries = p;
	*entries_len = 0;
	if (len < FMT_LIST_HEAD)
		return 0;
	*count = get_u32le(p + 8);
	*entries = p + FMT_LIST_HEAD;
	*entries_len = len - FMT_LIST_HEAD;
	if (*count > *entries_len / (FMT_ENTRY_HEAD + 2))
		return -E_CORRUPT;
	return 0;
}

int fmt_entry_decode(struct fmt_entry *e, const uint8_t *data, size_t len)
{
	if (len < FMT_ENTRY_HEAD + 1)
		return -E_CORRUPT;
	e->name_len = get_u16le(data);
	if (!e->name_len || e->name_len > len - FMT_ENTRY_HEAD - 1)
		return -E_CORRUPT;
	e->ino = get_u64le(data + 2);
	e->name = (const char *)data + FMT_ENTRY_HEAD;
	if (e->name[e->name_len] || memchr(e->name, 0, e->name_len))
		return -E_CORRUPT;
	e->size = FMT_ENTRY_HEAD + e->name_len + 1;
	return 0;
}

int fmt_list_head(struct buf *out, uint64_t key, uint32_t count)
{
	uint8_t head[FMT_LIST_HEAD] = {0};

	put_u64le(head, key);
	put_u32le(head + 8, count);
	return buf_append(out, head, sizeof(head));
}

int fmt_list_entry(struct buf *out, uint64_t ino, const char *name, size_t name_len)
{
	uint8_t *p;
	int rc = buf_reserve(out, FMT_ENTRY_HEAD + name_len + 1);

	if (rc)
		return rc;
	p = out->data + out->len;
	put_u16le(p, (uint16_t)name_len);
	put_u64le(p + 2, ino);
	memcpy(p + FMT_ENTRY_HEAD, name, name_len);
	p[FMT_ENTRY_HEAD + name_len] = 0;
	buf_added(out, FMT_ENTRY_HEAD + name_len + 1);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ J */

static const uint8_t journal_magic[4] = {'Q', 'S', 'F', 'J'};

int fmt_journal_decode(struct fmt_journal *j, const void *data, size_t len)
{
	const uint8_t *p = data;
	struct fmt_intent in;
	size_t off = 0;
	uint32_t count = 0;
	int rc;

	memset(j, 0, sizeof(*j));
	if (len < FMT_JOURNAL_HEAD || memcmp(p, journal_magic, 4) != 0)
		return -E_CORRUPT;
	if (p[4] != 1)
		return -E_VERSION;
	j->mount = get_u64le(p + 8);
	j->batch = get_u64le(p + 16);
	j->next_meta = get_u64le(p + 24);
	j->next_data = get_u64le(p + 32);
	j->free_list = get_u64le(p + 40);
	j->orphan_count = get_u32le(p + 48);
	j->intent_count = get_u32le(p + 52);
	if (j->orphan_count > (len - FMT_JOURNAL_HEAD) / 8)
		return -E_CORRUPT;
	j->orphans = p + FMT_JOURNAL_HEAD;
	j->intents = j->orphans + (size_t)j->orphan_count * 8;
	j->intents_len = len - FMT_JOURNAL_HEAD - (size_t)j->orphan_count * 8;
	while ((rc = fmt_journal_next_intent(j, &off, &in)) > 0)
		count++;
	return rc < 0 || count != j->intent_count ? -E_CORRUPT : 0;
}

uint64_t fmt_journal_orphan(const struct fmt_journal *j, uint32_t index)
{
	return get_u64le(j->orphans + (size_t)index * 8);
}

static int next_name(const uint8_t *p, size_t len, size_t *off, const char **name, uint16_t *name_len)
{
	if (len - *off < 2)
		return -E_CORRUPT;
	*name_len = get_u16le(p + *off);
	if (*name_len > len - *off - 2)
		return -E_CORRUPT;
	*name = (const char *)p + *off + 2;
	*off += 2u + *name_len;
	return 0;
}

int fmt_journal_next_intent(const struct fmt_journal *j, size_t *off, struct fmt_intent *in)
{
	const uint8_t *p = j->intents + *off;

	if (*off == j->intents_len)
		return 0;
	/* the head counts the two name lengths */
	if (j->intents_len - *off < FMT_INTENT_HEAD)
		return -E_CORRUPT;
	in->kind = p[0];
	in->ino = get_u64le(p + 1);
	in->links = get_u32le(p + 9);
	in->old_ino = get_u64le(p + 13);
	in->old_links = get_u32le(p + 21);
	in->from_dir = get_u64le(p + 25);
	in->to_dir = get_u64le(p + 33);
	*off += 41;
	if (next_name(j->intents, j->intents_len, off, &in->from, &in->from_len) ||
	    next_name(j->intents, j->intents_len, off, &in->to, &in->to_len))
		return -E_CORRUPT;
	if (in->kind < FMT_RENAME || in->kind > FMT_MAKE || in->from_len > FMT_NAME_MAX ||
	    in->to_len > FMT_NAME_MAX)
		return -E_CORRUPT;
	return 1;
}

int fmt_journal_head(struct buf *out, const struct fmt_journal *j)
{
	uint8_t head[FMT_JOURNAL_HEAD] = {0};

	memcpy(head, journal_magic, 4);
	head[4] = 1;
	put_u64le(head + 8, j->mount);
	put_u64le(head + 16, j->batch);
	put_u64le(head + 24, j->next_meta);
	put_u64le(head + 32, j->next_data);
	put_u64le(head + 40, j->free_list);
	put_u32le(head + 48, j->orphan_count);
	put_u32le(head + 52, j->intent_count);
	return buf_append(out, head, sizeof(head));
}

int fmt_journal_intent(struct buf *out, const struct fmt_intent *in)
{
	uint8_t head[41];
	int rc = buf_reserve(out, FMT_INTENT_HEAD + in->from_len + (size_t)in->to_len);

	if (rc)
		return rc;
	head[0] = in->kind;
	put_u64le(head + 1, in->ino);
	put_u32le(head + 9, in->links);
	put_u64le(head + 13, in->old_ino);
	put_u32le(head + 21, in->old_links);
	put_u64le(head + 25, in->from_dir);
	put_u64le(head + 33, in->to_dir);
	(void)buf_append(out, head, sizeof(head)); /* room was reserved: cannot fail */
	(void)buf_append_u16le(out, in->from_len);
	(void)buf_append(out, in->from, in->from_len);
	(void)buf_append_u16le(out, in->to_len);
	(void)buf_append(out, in->to, in->to_len);
	return 0;
}
