/*
 * keyring: the volume keys of one volume, their file, and what is derived from them (native format, section
 *3).
 *
 * File (INI, mode 0600, no sections):
 *	volume = <32 hex>        volume id
 *	epoch.<e> = <64 hex>     volume key of epoch e, 1...65535
 *	names = <64 hex>         names key, needed once epoch.1 is no longer there
 * Everything secret of a volume derives from it, so it is the one thing to back up. Keys live in locked
 *memory and are wiped by keyring_free(); nothing here prints them. A keyring is immutable after loading and
 *may be shared by threads.
 */
#ifndef CORE_CRYPTO_KEYRING_H
#define CORE_CRYPTO_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYRING_EPOCHS_MAX  64    /* epochs that one file may hold at a time */
#define KEYRING_FILE_MAX    16384 /* bytes */
#define KEYRING_ERROR_BYTES 256

struct keyring;

/*
 * Reads a key file. 0; -ENOENT; -EPERM when others than the owner may read it or it is no regular file;
 * -E_CORRUPT when it does not parse; other negative errno. `why` (KEYRING_ERROR_BYTES, may be NULL) gets one
 * sentence without any key material. On success *out is the caller's, to be freed.
 */
int keyring_load(const char *path, struct keyring **out, char *why);

/* The same from text in memory (tests, fuzzing, an inline configuration). `name` stands for the path. */
int keyring_parse(const char *name, const char *text, size_t len, struct keyring **out, char *why);

/*
 * A keyring whose epoch 1 is `key` (upstream's `encryption.key`), without a file. `volume` may be NULL: then
 * the volume id is taken from the identity that its key check proves (identity.h). -ENOMEM.
 */
int keyring_from_key(const uint8_t key[32], const uint8_t *volume, struct keyring **out);

/* A new volume: random volume id and epoch 1. 0, -ENOMEM, or what crypto_random() says. */
int keyring_generate(struct keyring **out);

/*
 * Writes the file: mode 0600, temporary name, fsync, rename, directory fsync. With `create` an existing file
 * is never replaced (-EEXIST). 0 or a negative errno.
 */
int keyring_save(const struct keyring *k, const char *path, bool create);

/* Copy of `k` with a further epoch (newest + 1, random) and the names key written out. */
int keyring_rotate(const struct keyring *k, struct keyring **out);
/* Copy of `k` without epoch `epoch`. -ENOENT, -EINVAL when it is the newest. */
int keyring_drop(const struct keyring *k, unsigned epoch, struct keyring **out);

/* Wipes and frees. NULL is allowed. */
void keyring_free(struct keyring *k);

/* Whether the file (or the caller) said the volume id; its 16 bytes (valid while k lives, zeros if not
 * known). */
bool keyring_has_volume(const struct keyring *k);
const uint8_t *keyring_volume(const struct keyring *k);
/* Sets the volume id of a keyring that has none. Before the keyring is shared. -EEXIST when it has another
 * one. */
int keyring_set_volume(struct keyring *k, const uint8_t volume[16]);

/* Newest epoch of the ring. */
unsigned keyring_epoch(const struct keyring *k);

/* Derived keys, 32 bytes, valid while k lives; NULL when the ring lacks the epoch. */
const uint8_t *keyring_names(const struct keyring *k);                    /* KN */
const uint8_t *keyring_wrap(const struct keyring *k, unsigned epoch);     /* KW_e: object keys */
const uint8_t *keyring_record(const struct keyring *k, unsigned epoch);   /* KR_e: records */
const uint8_t *keyring_identity(const struct keyring *k, unsigned epoch); /* KC_e: identities */

/*
 * Text of the recovery sheet, ended by NUL, into out[max]: what a person must keep to restore the volume. It
 * holds the keys: the caller shows it once and wipes it. Returns its length, or -ENOSPC.
 */
int keyring_sheet(const struct keyring *k, char *out, size_t max);

#endif
