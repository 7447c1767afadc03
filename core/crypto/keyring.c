/*
 * Volume keys and what is derived from them.
 *
 * The parser is our own and small because key text must not pass through buffers that nobody wipes. Lines are
 * `name = value`; '#' and ';' begin comment lines. Everything else is an error that names the line, never its content.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/hex.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/crypto/crypto.h"
#include "core/crypto/keyring.h"

enum { KDF_NAMES = 1, KDF_WRAP = 2, KDF_RECORD = 3, KDF_IDENTITY = 4 };

struct epoch {
	unsigned number; /* 1...65535 */
	uint8_t key[32];
	uint8_t wrap[32], record[32], identity[32];
};

/* Lies in locked memory as a whole. */
struct keyring {
	uint8_t volume[16];
	bool has_volume;
	bool has_names; /* given in the file, or derived from epoch 1 */
	uint8_t names[32];
	unsigned count;
	struct epoch epochs[KEYRING_EPOCHS_MAX]; /* rising numbers */
};

static struct keyring *ring_new(void)
{
	return crypto_secret_alloc(sizeof(struct keyring));
}

void keyring_free(struct keyring *k)
{
	crypto_secret_free(k, sizeof(*k));
}

static const struct epoch *find_epoch(const struct keyring *k, unsigned number)
{
	for (unsigned i = 0; i < k->count; i++)
		if (k->epochs[i].number == number)
			return &k->epochs[i];
	return NULL;
}

/* Room for a new epoch at its place in the order; NULL when it is there already or the ring is full. */
static struct epoch *add_epoch(struct keyring *k, unsigned number)
{
	unsigned at = k->count;

	if (k->count == KEYRING_EPOCHS_MAX || find_epoch(k, number))
		return NULL;
	while (at > 0 && k->epochs[at - 1].number > number)
		at--;
	memmove(&k->epochs[at + 1], &k->epochs[at], (k->count - at) * sizeof(k->epochs[0]));
	k->count++;
	memset(&k->epochs[at], 0, sizeof(k->epochs[at]));
	k->epochs[at].number = number;
	return &k->epochs[at];
}

static void derive(struct keyring *k)
{
	const struct epoch *first = find_epoch(k, 1);

	for (unsigned i = 0; i < k->count; i++) {
		struct epoch *e = &k->epochs[i];

		crypto_kdf(e->wrap, KDF_WRAP, e->key);
		crypto_kdf(e->record, KDF_RECORD, e->key);
		crypto_kdf(e->identity, KDF_IDENTITY, e->key);
	}
	if (!k->has_names && first) {
		crypto_kdf(k->names, KDF_NAMES, first->key);
		k->has_names = true;
	}
}

static int fail(char *why, const char *name, unsigned line, const char *text)
{
	if (why && line > 0)
		snprintf(why, KEYRING_ERROR_BYTES, "%s:%u: %s", name, line, text);
	else if (why)
		snprintf(why, KEYRING_ERROR_BYTES, "%s: %s", name, text);
	return -E_CORRUPT;
}

struct span {
	const char *at;
	size_t len;
};

static struct span trim(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	while (end > at && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	return (struct span){at, (size_t)(end - at)};
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

/* Decodes exactly `len` bytes; what the value is must not be told, only that it is wrong. */
static bool take_hex(struct span value, uint8_t *out, size_t len)
{
	size_t got = 0;

	return hex_decode_n(out, len, value.at, value.len, &got) == 0 && got == len;
}

/* What is wrong with one `name = value`, or NULL. */
static const char *take_pair(struct keyring *k, struct span name, struct span value, bool *names_given)
{
	static const char epoch_prefix[] = "epoch.";
	const size_t prefix_len = sizeof(epoch_prefix) - 1;
	struct epoch *e;
	uint64_t number;

	if (span_is(name, "volume")) {
		if (k->has_volume)
			return "volume is given twice";
		k->has_volume = true;
		return take_hex(value, k->volume, 16) ? NULL : "volume needs 32 hexadecimal digits";
	}
	if (span_is(name, "names")) {
		if (*names_given)
			return "names is given twice";
		*names_given = true;
		k->has_names = true;
		return take_hex(value, k->names, 32) ? NULL : "names needs 64 hexadecimal digits";
	}
	if (name.len <= prefix_len || memcmp(name.at, epoch_prefix, prefix_len) != 0)
		return "unknown key; known are volume, epoch.N, names";
	if (str_parse_u64_n(name.at + prefix_len, name.len - prefix_len, &number) != 0 || number < 1 ||
	    number > UINT16_MAX)
		return "the epoch must be a number from 1 to 65535";
	if (k->count == KEYRING_EPOCHS_MAX)
		return "too many epochs (64 at most)";
	e = add_epoch(k, (unsigned)number);
	if (!e)
		return "this epoch is given twice";
	return take_hex(value, e->key, 32) ? NULL : "an epoch needs 64 hexadecimal digits";
}

static int parse_lines(struct keyring *k, const char *name, const char *text, size_t len, char *why)
{
	const char *end = text + len;
	bool names_given = false;

	for (unsigned line = 1; text < end; line++) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		struct span all, left;
		const char *equals, *wrong;

		stop = stop ? stop : end;
		all = trim(text, stop);
		text = stop < end ? stop + 1 : end;
		if (all.len == 0 || *all.at == '#' || *all.at == ';')
			continue;
		equals = memchr(all.at, '=', all.len);
		if (!equals)
			return fail(why, name, line, "expected name = value");
		left = trim(all.at, equals);
		wrong = take_pair(k, left, trim(equals + 1, all.at + all.len), &names_given);
		if (wrong)
			return fail(why, name, line, wrong);
	}
	if (!k->has_volume)
		return fail(why, name, 0, "volume is missing");
	if (k->count == 0)
		return fail(why, name, 0, "epoch.1 is missing");
	if (!k->has_names && !find_epoch(k, 1))
		return fail(why, name, 0, "names is needed because epoch.1 is not there");
	return 0;
}

int keyring_parse(const char *name, const char *text, size_t len, struct keyring **out, char *why)
{
	struct keyring *k;
	int rc;

	if (len > KEYRING_FILE_MAX)
		return fail(why, name, 0, "too large for a key file");
	k = ring_new();
	if (!k) {
		if (why)
			snprintf(why, KEYRING_ERROR_BYTES, "%s: out of memory", name);
		return -ENOMEM;
	}
	rc = parse_lines(k, name, text, len, why);
	if (rc != 0) {
		keyring_free(k);
		return rc;
	}
	derive(k);
	*out = k;
	return 0;
}

int keyring_load(const char *path, struct keyring **out, char *why)
{
	char *text = NULL;
	size_t len = 0;
	int rc = file_read_secret(path, KEYRING_FILE_MAX, &text, &len);

	if (rc == -EPERM && why)
		snprintf(why, KEYRING_ERROR_BYTES,
			 "%s: must be a regular file that only its owner can read (chmod 600)", path);
	else if (rc != 0 && why)
		snprintf(why, KEYRING_ERROR_BYTES, "%s: %s", path, err_str(rc));
	if (rc != 0)
		return rc;
	rc = keyring_parse(path, text, len, out, why);
	mem_free_wiped(text, len);
	return rc;
}

int keyring_from_key(const uint8_t key[32], const uint8_t *volume, struct keyring **out)
{
	struct keyring *k = ring_new();

	if (!k)
		return -ENOMEM;
	if (volume) {
		memcpy(k->volume, volume, 16);
		k->has_volume = true;
	}
	memcpy(add_epoch(k, 1)->key, key, 32);
	derive(k);
	*out = k;
	return 0;
}

int keyring_generate(struct keyring **out)
{
	struct keyring *k = ring_new();
	int rc;

	if (!k)
		return -ENOMEM;
	rc = crypto_random(k->volume, sizeof(k->volume));
	if (rc == 0)
		rc = crypto_random(add_epoch(k, 1)->key, 32);
	if (rc != 0) {
		keyring_free(k);
		return rc;
	}
	k->has_volume = true;
	derive(k);
	*out = k;
	return 0;
}

static struct keyring *ring_copy(const struct keyring *k)
{
	struct keyring *copy = ring_new();

	if (copy)
		memcpy(copy, k, sizeof(*copy));
	return copy;
}

int keyring_rotate(const struct keyring *k, struct keyring **out)
{
	unsigned next = keyring_epoch(k) + 1;
	struct keyring *copy;
	struct epoch *e;
	int rc;

	if (next > UINT16_MAX || k->count == KEYRING_EPOCHS_MAX)
		return -E_LIMIT;
	copy = ring_copy(k);
	if (!copy)
		return -ENOMEM;
	e = add_epoch(copy, next);
	rc = crypto_random(e->key, 32);
	if (rc != 0) {
		keyring_free(copy);
		return rc;
	}
	derive(copy);
	*out = copy;
	return 0;
}

int keyring_drop(const struct keyring *k, unsigned number, struct keyring **out)
{
	const struct epoch *e = find_epoch(k, number);
	struct keyring *copy;
	unsigned at;

	if (!e)
		return -ENOENT;
	if (number == keyring_epoch(k))
		return -EINVAL;
	copy = ring_copy(k);
	if (!copy)
		return -ENOMEM;
	at = (unsigned)(e - k->epochs);
	copy->count--;
	memmove(&copy->epochs[at], &copy->epochs[at + 1], (copy->count - at) * sizeof(copy->epochs[0]));
	crypto_wipe(&copy->epochs[copy->count], sizeof(copy->epochs[0]));
	*out = copy;
	return 0;
}

/* Lines of the key file. Returns the length, -ENOSPC. `text` holds keys: the caller wipes it. */
static int write_lines(const struct keyring *k, char *text, size_t max)
{
	char hex[65];
	size_t len = 0;
	int n = snprintf(text, max, "volume = %s\n", hex_encode(hex, k->volume, sizeof(k->volume)));

	for (unsigned i = 0; n >= 0 && (size_t)n < max - len && i < k->count; i++) {
		len += (size_t)n;
		n = snprintf(text + len, max - len, "epoch.%u = %s\n", k->epochs[i].number,
			     hex_encode(hex, k->epochs[i].key, 32));
	}
	if (n >= 0 && (size_t)n < max - len && (k->count > 1 || !find_epoch(k, 1))) {
		len += (size_t)n;
		n = snprintf(text + len, max - len, "names = %s\n", hex_encode(hex, k->names, 32));
	}
	crypto_wipe(hex, sizeof(hex));
	if (n < 0 || (size_t)n >= max - len)
		return -ENOSPC;
	return (int)(len + (size_t)n);
}

int keyring_save(const struct keyring *k, const char *path, bool create)
{
	static const char head[] =
		"# Keys of one qsfs volume. Without this file its content is lost: keep copies in safe "
		"places.\n";
	char *text;
	int len, rc;

	if (!k->has_volume)
		return -EINVAL;
	text = crypto_secret_alloc(KEYRING_FILE_MAX);
	if (!text)
		return -ENOMEM;
	memcpy(text, head, sizeof(head) - 1);
	len = write_lines(k, text + sizeof(head) - 1, KEYRING_FILE_MAX - sizeof(head));
	if (len < 0) {
		rc = len;
	} else {
		size_t all = sizeof(head) - 1 + (size_t)len;

		rc = create ? file_create_atomic(path, 0600, text, all)
			    : file_write_atomic(path, 0600, text, all);
	}
	crypto_secret_free(text, KEYRING_FILE_MAX);
	return rc;
}

int keyring_sheet(const struct keyring *k, char *out, size_t max)
{
	static const char head[] = "qsfs recovery sheet\n\n"
				   "These lines are the volume's key file. Together with the addresses and "
				   "passwords of the stores\n"
				   "they restore the volume on any machine. Keep them secret; without them "
				   "the content is lost.\n\n";
	int len;

	if (max <= sizeof(head))
		return -ENOSPC;
	memcpy(out, head, sizeof(head));
	len = write_lines(k, out + sizeof(head) - 1, max - sizeof(head) + 1);
	return len < 0 ? len : len + (int)sizeof(head) - 1;
}

bool keyring_has_volume(const struct keyring *k)
{
	return k->has_volume;
}

const uint8_t *keyring_volume(const struct keyring *k)
{
	return k->volume;
}

int keyring_set_volume(struct keyring *k, const uint8_t volume[16])
{
	if (k->has_volume)
		return memcmp(k->volume, volume, 16) == 0 ? 0 : -EEXIST;
	memcpy(k->volume, volume, 16);
	k->has_volume = true;
	return 0;
}

unsigned keyring_epoch(const struct keyring *k)
{
	return k->epochs[k->count - 1].number;
}

const uint8_t *keyring_names(const struct keyring *k)
{
	return k->names;
}

const uint8_t *keyring_wrap(const struct keyring *k, unsigned epoch)
{
	const struct epoch *e = find_epoch(k, epoch);

	return e ? e->wrap : NULL;
}

const uint8_t *keyring_record(const struct keyring *k, unsigned epoch)
{
	const struct epoch *e = find_epoch(k, epoch);

	return e ? e->record : NULL;
}

const uint8_t *keyring_identity(const struct keyring *k, unsigned epoch)
{
	const struct epoch *e = find_epoch(k, epoch);

	return e ? e->identity : NULL;
}
