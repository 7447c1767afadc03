/*
 * spool_int: what the files of this room share. Nobody else includes it.
 */
#ifndef CORE_SPOOL_SPOOL_INT_H
#define CORE_SPOOL_SPOOL_INT_H

#include <limits.h>
#include <pthread.h>
#include <sys/types.h>

#include "core/spool/spool.h"

#define SPOOL_HEAD_BYTES    512u
#define SPOOL_NOTE_BYTES    160u
#define SPOOL_KIND_LAST     SPOOL_DROPPING
#define SPOOL_FILE_NAME_MAX 200u /* fits NAME_MAX with the prefixes ".tmp-..." and ".note-" */

struct spool {
	char dir[PATH_MAX];
	int dir_fd;
	int lock_fd; /* -1 with SPOOL_RDONLY */
	unsigned flags;
	/* Guards lock_fd's flock against the other threads of this process, and tmp_count. */
	pthread_mutex_t mutex;
	uint64_t tmp_count;
};

/* spool_head.c: the head and the note as bytes, and the name that an intention's key gives its file. */
void spool_head_encode(const struct spool_intent *in, uint8_t head[SPOOL_HEAD_BYTES]);
/* -E_CORRUPT for anything that spool_head_encode() did not write. */
int spool_head_decode(const uint8_t head[SPOOL_HEAD_BYTES], size_t *path_len, uint32_t *path_crc,
		      struct spool_intent *in);
void spool_note_encode(const struct spool_intent *in, uint8_t note[SPOOL_NOTE_BYTES]);
/* Copies attempts, parked and error into *in when the note is whole and of the same put. */
int spool_note_decode(const uint8_t note[SPOOL_NOTE_BYTES], struct spool_intent *in);
void spool_file_name(const struct spool_intent *in, char name[SPOOL_FILE_NAME_MAX + 1]);
bool spool_intent_valid(const struct spool_intent *in);

/* spool.c: the short critical section of all processes. */
int spool_lock(struct spool *sp);
void spool_unlock(struct spool *sp);
/* Next number for seq; under the lock. */
int spool_next_seq(struct spool *sp, uint64_t *seq);

/* spool_read.c: reads head, path and note of one file. -ENOENT, -E_CORRUPT. *fd (may be NULL) stays open, at the
 * payload, on success. */
int spool_read_intent(struct spool *sp, const char *name, struct spool_intent *in, int *fd);
/* True for a file name that may be an intention. */
bool spool_name_is_intent(const char *name);
#endif
