/*
 * replay_int.h - what the files of a replay share; see replay.c.  All return 0 or a negative code unless they say otherwise.
 */
#ifndef CORE_ZDB_REPLAY_INT_H
#define CORE_ZDB_REPLAY_INT_H

#include "core/zdb/zdb_int.h"

/* What is at the output place now: how many bytes there are (up to size), *bytes pointing at them until the next call. */
ssize_t replay_peek(struct replay *p, uint32_t size, const uint8_t **bytes);
/* Makes r the record at the output place, whatever was there, and goes on behind it.  *at: where that was. */
int replay_put(struct replay *p, struct idx_rec *r, const uint8_t *key, struct place *at);
/* Applies what waits when it is much: first everything appended so far becomes durable. */
int replay_bound(struct replay *p);

/*
 * One log record, at (p->at_file, p->at_off).  suspect: its own bytes do not prove that it was written, the index has to
 * (docs/formats.md, torn keys).
 * -EBADMSG: it cannot have been; -ENOENT (of the parts): its key is not live.
 */
int replay_seq_record(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect);
int replay_seq_insert(struct replay *p, const struct dat_rec *d, const uint8_t *key);
int replay_seq_update(struct replay *p, const struct dat_rec *d, const uint8_t *key, struct place at,
		      bool suspect);
int replay_seq_delete(struct replay *p, const uint8_t *key, struct place at, bool suspect);
int replay_user_record(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect);
int replay_user_set(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect);
int replay_user_delete(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect);

/* Puts right what kind of record d is where the index knows better.  -EBADMSG: its key is damaged, or torn (suspect). */
int replay_settle_kind(struct replay *p, struct dat_rec *d, const uint8_t *key, bool suspect);
/* The log has no whole record at s->off.  1: it is damage and the log goes on; 0: it ends here. */
int replay_gap(struct replay *p, struct log_stream *s);

#endif
