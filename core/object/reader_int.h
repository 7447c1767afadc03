/*
 * reader_int: fragments of stripes from whichever stores give them; shared by read, repair and check.
 *
 * A few stripes are at work at a time (windows): while one is decoded the fragments of the next ones travel. Everything here
 * runs in the operation's thread; lanes only fill fetches.
 */
#ifndef CORE_OBJECT_READER_INT_H
#define CORE_OBJECT_READER_INT_H

#include "core/coding/fragment.h"
#include "core/object/fetch_int.h"
#include "core/object/object.h"

#define READER_WINDOWS_MAX 4

enum part_state { PART_NONE, PART_FLYING, PART_GOOD, PART_BAD };

struct part { /* one fragment of a stripe */
	enum part_state state;
	struct fetch
		*fetch; /* owned while it is flying or good; NULL when the bytes lie in the shard's value */
	const uint8_t *payload;
};

struct window {
	bool is_open;
	uint32_t stripe;
	unsigned good, flying;
	uint64_t hedge_at; /* when one more store is asked */
	struct part parts[EC_PIECES_MAX];
};

struct reader_shard {
	const struct record_shard *place; /* NULL: the record has none */
	struct obj_store *store;          /* NULL: not configured */
	int error;                        /* did not answer: asked no more during this operation */
	unsigned penalty;                 /* was bad or slow: asked later */
	/* stores without ranges: the value that was fetched last */
	struct fetch *value;
	uint32_t value_number;
};

struct reader {
	struct obj_work *work;
	const struct record *rec;
	const struct ec *ec;
	struct fragment_place *places;
	struct reader_shard shards[EC_PIECES_MAX];
	uint32_t excluded; /* shards that must not be asked */
	unsigned windows;
	uint32_t first, end; /* stripes [first, end) may be fetched ahead */
	struct window window[READER_WINDOWS_MAX];
	uint8_t *sealed; /* k whole pieces */
	uint8_t *plain;  /* one stripe */
	struct obj_report *report;
	char *why;
};

/* `report` is required. 0, -ENOMEM. After any result reader_close() is called. */
int reader_open(struct reader *r, struct obj_work *w, const struct record *rec,
		const struct obj_stores *stores, uint32_t excluded, uint32_t first, uint32_t end,
		struct obj_report *report, char *why);
void reader_close(struct reader *r);

/* k good fragments of `stripe` (rising numbers). 0, -EAGAIN, -EIO, -ENOMEM, -ECANCELED. */
int reader_gather(struct reader *r, uint32_t stripe, struct window **out);
/* Asks all other shards for this stripe too and waits for every answer. */
int reader_gather_all(struct reader *r, struct window *win);
/* Done with the oldest window. */
void reader_release(struct reader *r, struct window *win);

/* The plaintext of `stripe`, authenticated, in r->plain; *len its length. Errors as above. */
int reader_stripe(struct reader *r, uint32_t stripe, uint32_t *len);

/*
 * The same without giving the fragments back: have[], pieces[] (k of each) are the choice that opened, valid until
 * reader_release(*out).
 */
int reader_verified(struct reader *r, uint32_t stripe, struct window **out, uint8_t have[],
		    const uint8_t *pieces[]);

/* Writes the sentence to r->why and returns code. */
int reader_fail(struct reader *r, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
