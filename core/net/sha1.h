/*
 * sha1: FIPS 180-4 SHA-1, for nothing but the challenge form of 0-db's AUTH and SELECT, which is defined with
 * it. Not to be used for anything that needs collision resistance.
 */
#ifndef CORE_NET_SHA1_H
#define CORE_NET_SHA1_H

#include <stddef.h>
#include <stdint.h>

/* The digest of `len` bytes. */
void sha1(uint8_t out[20], const void *data, size_t len);

/*
 * The answer to a challenge: 40 lower-case hexadecimal digits and NUL of SHA-1("<challenge>:<password>").
 * Temporaries are wiped.
 */
void sha1_challenge(char out[41], const char *challenge, const char *password);

#endif
