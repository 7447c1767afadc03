/*
 * The bytes of an intention: a head of 512 bytes, and the note beside it that changes with every attempt.
 *
 * Head (all integers little-endian):
 *	  0  4  magic QSPL			 84  1  flags: bit 0 content id given
 *	  4  2  version = 1			 85  1  length of the namespace
 *	  6  1  kind				 86  2  length of the path
 *	  7  1  flags of the kind		 88 16  volume id, zero = not known yet
 *	  8  8  seq				104 16  object name
 *	 16  8  first				120 16  content id
 *	 24  8  last				136 128 namespace, zero-filled
 *	 32  8  size				264 236 zero
 *	 40  8  after_sequence			500  4  CRC-32C of the path
 *	 48  8  generation			504  4  zero
 *	 56  8  time				508  4  CRC-32C of all before
 *	 64  8  payload size
 *	 72  4  CRC-32C of the payload
 *	 76  4  slot
 *	 80  4  zero
 * Then the path, then the payload.
 *
 * Note (file `.note-<name>`): magic QSPN, version u16, parked u8, error length u8, seq u64, attempts u32, zero u32,
 * error 128, zero 4, CRC-32C. It is never synced: losing it loses a count of attempts, not a debt.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/hex.h"
#include "core/coding/crc.h"
#include "core/spool/spool_int.h"

#define HEAD_MAGIC       "QSPL"
#define NOTE_MAGIC       "QSPN"
#define FORMAT_VERSION   1u
#define BIT_HAS_CONTENT  1u
#define NS_NAME_PART_MAX 96u /* longer namespaces are hashed in file names */

static const char *const kind_names[] = {
	[SPOOL_SEGMENT] = "segment",   [SPOOL_BUNDLE] = "bundle",   [SPOOL_DESCRIPTOR] = "descriptor",
	[SPOOL_NSDROP] = "nsdrop",     [SPOOL_GARBAGE] = "garbage", [SPOOL_PIECE] = "piece",
	[SPOOL_FILE] = "file",         [SPOOL_INDEX] = "index",     [SPOOL_FENCE] = "fence",
	[SPOOL_DROPPING] = "dropping",
};

const char *spool_kind_name(enum spool_kind kind)
{
	if ((unsigned)kind >= sizeof(kind_names) / sizeof(kind_names[0]) || !kind_names[kind])
		return "unknown";
	return kind_names[kind];
}

bool spool_intent_valid(const struct spool_intent *in)
{
	if (in->kind < SPOOL_SEGMENT || in->kind > SPOOL_KIND_LAST)
		return false;
	if (strnlen(in->ns, sizeof(in->ns)) > SPOOL_NS_MAX || strchr(in->ns, '/'))
		return false;
	return strnlen(in->path, sizeof(in->path)) <= SPOOL_PATH_MAX;
}

void spool_head_encode(const struct spool_intent *in, uint8_t head[SPOOL_HEAD_BYTES])
{
	size_t ns_len = strlen(in->ns), path_len = strlen(in->path);

	memset(head, 0, SPOOL_HEAD_BYTES);
	memcpy(head, HEAD_MAGIC, 4);
	put_u16le(head + 4, FORMAT_VERSION);
	head[6] = (uint8_t)in->kind;
	head[7] = in->flags;
	put_u64le(head + 8, in->seq);
	put_u64le(head + 16, in->first);
	put_u64le(head + 24, in->last);
	put_u64le(head + 32, in->size);
	put_u64le(head + 40, in->after_sequence);
	put_u64le(head + 48, in->generation);
	put_u64le(head + 56, (uint64_t)in->time);
	put_u64le(head + 64, in->payload_size);
	put_u32le(head + 72, in->payload_crc);
	put_u32le(head + 76, in->slot);
	head[84] = in->has_content_id ? BIT_HAS_CONTENT : 0;
	head[85] = (uint8_t)ns_len;
	put_u16le(head + 86, (uint16_t)path_len);
	memcpy(head + 88, in->volume, 16);
	memcpy(head + 104, in->name, 16);
	memcpy(head + 120, in->content_id, 16);
	memcpy(head + 136, in->ns, ns_len);
	put_u32le(head + 500, crc_castagnoli(0, in->path, path_len));
	put_u32le(head + 508, crc_castagnoli(0, head, 508));
}

int spool_head_decode(const uint8_t head[SPOOL_HEAD_BYTES], size_t *path_len, uint32_t *path_crc,
		      struct spool_intent *in)
{
	size_t ns_len = head[85];

	memset(in, 0, sizeof(*in));
	if (memcmp(head, HEAD_MAGIC, 4) != 0 || get_u32le(head + 508) != crc_castagnoli(0, head, 508))
		return -E_CORRUPT;
	if (get_u16le(head + 4) != FORMAT_VERSION || head[6] < SPOOL_SEGMENT || head[6] > SPOOL_KIND_LAST)
		return -E_CORRUPT;
	*path_len = get_u16le(head + 86);
	*path_crc = get_u32le(head + 500);
	if (ns_len > SPOOL_NS_MAX || *path_len > SPOOL_PATH_MAX)
		return -E_CORRUPT;
	in->kind = (enum spool_kind)head[6];
	in->flags = head[7];
	in->seq = get_u64le(head + 8);
	in->first = get_u64le(head + 16);
	in->last = get_u64le(head + 24);
	in->size = get_u64le(head + 32);
	in->after_sequence = get_u64le(head + 40);
	in->generation = get_u64le(head + 48);
	in->time = (int64_t)get_u64le(head + 56);
	in->payload_size = get_u64le(head + 64);
	in->payload_crc = get_u32le(head + 72);
	in->slot = get_u32le(head + 76);
	in->has_content_id = head[84] & BIT_HAS_CONTENT;
	memcpy(in->volume, head + 88, 16);
	memcpy(in->name, head + 104, 16);
	memcpy(in->content_id, head + 120, 16);
	memcpy(in->ns, head + 136, ns_len);
	return spool_intent_valid(in) ? 0 : -E_CORRUPT;
}

void spool_note_encode(const struct spool_intent *in, uint8_t note[SPOOL_NOTE_BYTES])
{
	size_t len = strnlen(in->error, SPOOL_ERROR_MAX);

	memset(note, 0, SPOOL_NOTE_BYTES);
	memcpy(note, NOTE_MAGIC, 4);
	put_u16le(note + 4, FORMAT_VERSION);
	note[6] = in->parked;
	note[7] = (uint8_t)len;
	put_u64le(note + 8, in->seq);
	put_u32le(note + 16, in->attempts);
	memcpy(note + 24, in->error, len);
	put_u32le(note + 156, crc_castagnoli(0, note, 156));
}

int spool_note_decode(const uint8_t note[SPOOL_NOTE_BYTES], struct spool_intent *in)
{
	if (memcmp(note, NOTE_MAGIC, 4) != 0 || get_u32le(note + 156) != crc_castagnoli(0, note, 156))
		return -E_CORRUPT;
	if (get_u16le(note + 4) != FORMAT_VERSION || note[7] > SPOOL_ERROR_MAX)
		return -E_CORRUPT;
	if (get_u64le(note + 8) != in->seq)
		return -ENOENT;
	in->parked = note[6];
	in->attempts = get_u32le(note + 16);
	memcpy(in->error, note + 24, note[7]);
	in->error[note[7]] = '\0';
	return 0;
}

/* Two FNV-1a hashes with different bases: file names of long keys; the head inside still holds the whole key. */
static void hash_hex(const char *text, char out[33])
{
	uint64_t a = 0xcbf29ce484222325u, b = 0x84222325cbf29ce4u;
	uint8_t bytes[16];

	for (const char *p = text; *p; p++) {
		a = (a ^ (uint8_t)*p) * 0x100000001b3u;
		b = (b ^ (uint8_t)*p) * 0x100000001b3u + 1;
	}
	put_u64le(bytes, a);
	put_u64le(bytes + 8, b);
	hex_encode(out, bytes, sizeof(bytes));
}

/* A namespace may hold any byte but '/': everything unusual becomes %xx, so that different names stay different. */
static void escape(const char *text, char *out, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= '0' && *p <= '9') || *p == '_' || (*p == '.' && n > 0) ||
			     (*p == '-' && n > 0);

		if (n + 4 > size || n > NS_NAME_PART_MAX) {
			out[0] = '%';
			out[1] = '%';
			hash_hex(text, out + 2);
			return;
		}
		if (plain) {
			out[n++] = (char)*p;
		} else {
			out[n++] = '%';
			out[n++] = digits[*p >> 4];
			out[n++] = digits[*p & 15];
		}
	}
	out[n] = '\0';
}

void spool_file_name(const struct spool_intent *in, char name[SPOOL_FILE_NAME_MAX + 1])
{
	const char *kind = spool_kind_name(in->kind);
	char part[NS_NAME_PART_MAX + 40], hex[33];

	switch (in->kind) {
	case SPOOL_SEGMENT:
	case SPOOL_BUNDLE:
	case SPOOL_INDEX:
		escape(in->ns, part, sizeof(part));
		snprintf(name, SPOOL_FILE_NAME_MAX + 1, "%s-%s-%llu-%llu", kind, part,
			 (unsigned long long)in->first, (unsigned long long)in->last);
		break;
	case SPOOL_DESCRIPTOR:
	case SPOOL_NSDROP:
	case SPOOL_DROPPING:
		escape(in->ns, part, sizeof(part));
		snprintf(name, SPOOL_FILE_NAME_MAX + 1, "%s-%s", kind, part);
		break;
	case SPOOL_GARBAGE:
	case SPOOL_PIECE:
		hex_encode(hex, in->name, sizeof(in->name));
		snprintf(name, SPOOL_FILE_NAME_MAX + 1, "%s-%s", kind, hex);
		break;
	case SPOOL_FILE:
		hash_hex(in->path, hex);
		snprintf(name, SPOOL_FILE_NAME_MAX + 1, "%s-%s", kind, hex);
		break;
	case SPOOL_FENCE:
		snprintf(name, SPOOL_FILE_NAME_MAX + 1, "%s", kind);
		break;
	}
}
