/*
 * stripe_zstd: one zstd frame per stripe, used only where it gains a sixteenth (native format, section 5).
 * A context serves one thread at a time; its memory is allocated at creation for the largest stripe and
 * reused.
 */
#ifndef CORE_CODING_STRIPE_ZSTD_H
#define CORE_CODING_STRIPE_ZSTD_H

#include <stddef.h>

struct stripe_zstd;

/* At `level` (1...3). NULL without memory. */
struct stripe_zstd *stripe_zstd_new(int level);
void stripe_zstd_free(struct stripe_zstd *z);

/*
 * Compresses in[len] into out, if the frame is at most len - ceil(len / 16) bytes (out needs that many).
 * Returns the bytes of the frame, or 0: it does not pay, store the plaintext.
 */
size_t stripe_zstd_pack(struct stripe_zstd *z, const void *in, size_t len, void *out);

/* Unpacks one frame that must give exactly `len` bytes. 0, or -EBADMSG. */
int stripe_zstd_unpack(struct stripe_zstd *z, const void *in, size_t in_len, void *out, size_t len);

#endif
