/*
 * Start-up of libsodium, hashes, random bytes, memory for secrets.
 *
 * Secrets live in anonymous mappings of their own: whole pages, locked, kept out of core dumps. libsodium's
 * guarded heap does more but ends the process when something is wrong, which a supervisor's binary must not do.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/sys.h"
#include "core/crypto/crypto.h"

int crypto_init(void)
{
	return sodium_init() < 0 ? -ENOSYS : 0;
}

int crypto_random(void *out, size_t len)
{
	uint8_t *at = out;

	while (len > 0) {
		ssize_t got = sys->getrandom(at, len, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		at += got;
		len -= (size_t)got;
	}
	return 0;
}

void crypto_blake2b(void *out, size_t out_len, const void *in, size_t in_len, const void *key, size_t key_len)
{
	/* fails only for lengths outside of the contract; then the output must not look like a hash of the input */
	if (crypto_generichash(out, out_len, in, in_len, key_len > 0 ? key : NULL, key_len) != 0)
		memset(out, 0, out_len);
}

void crypto_kdf(uint8_t out[32], uint64_t id, const uint8_t key[32])
{
	uint8_t salt[crypto_generichash_blake2b_SALTBYTES] = {0};
	uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "qsfs_nat";

	put_u64le(salt, id);
	crypto_generichash_blake2b_salt_personal(out, 32, NULL, 0, key, 32, salt, personal);
}

void crypto_wipe(void *p, size_t len)
{
	if (len > 0)
		sodium_memzero(p, len);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

static size_t whole_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

void *crypto_secret_alloc(size_t len)
{
	size_t bytes = whole_pages(len > 0 ? len : 1);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)mlock(p, bytes); /* refused beyond RLIMIT_MEMLOCK: then it works, but may be swapped */
	(void)madvise(p, bytes, MADV_DONTDUMP); /* not needed for correctness; old kernels may refuse it */
	return p;
}

void crypto_secret_free(void *p, size_t len)
{
	if (!p)
		return;
	crypto_wipe(p, len);
	munmap(p, whole_pages(len > 0 ? len : 1));
}
