/*
 * cmd_data: commands on single records of the client's namespace: SET GET MGET DEL EXISTS CHECK LENGTH KEYTIME HISTORY GETRANGE BATCH, DATA RAW.
 *
 * A read whose segment is absent, and a big read, block their client only. How payloads leave: payload.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem_copy.h"
#include "core/base/str.h"
#include "core/zdbd/zdbd_int.h"

#define BATCH_BYTES_MAX (64u << 20)

/* ------------------------------------------------------------------------------------------------- writing */

static void set_failed(struct client *c, int err)
{
	switch (err) {
	case -EINVAL:
	case -ENOENT:
		reply_error(c, zdb_ns_mode(c->ns) == ZDB_SEQ ? "Invalid key, only update authorized"
							     : "Invalid argument, key needed");
		break;
	case -EPERM:
		reply_error(c, "Namespace is protected by worm mode");
		break;
	case -E_LIMIT:
		reply_error(c, "No space left on this namespace");
		break;
	case -E2BIG:
		reply_error(c, "Payload too big");
		break;
	default:
		reply_error(c, "Cannot write data right now");
		break;
	}
}

/* What is said of the present state must wait for the disk: with fsync always, and where a mere kill could take it back. */
static void note_unsynced(struct client *c)
{
	if (c->d->opt.fsync == ZDBD_FSYNC_ALWAYS || zdb_ns_doubtful(c->ns))
		c->unsynced = true;
}

/* A write went into the log: this turn's reply must wait for the flush. */
static void note_write(struct client *c)
{
	struct zns *z = zns_of(c->d, c->ns);

	c->wrote = true;
	note_unsynced(c);
	if (z)
		sync_note_write(z);
}

/*
 * Nothing is written, since what was wanted is so already: perhaps by a write of another client whose answer waits itself, and which a
 * kill can still take back.  This answer says the same, and waits as long.
 */
static void note_is_so(struct client *c)
{
	c->wrote = true;
	note_unsynced(c);
}

static void do_set(struct client *c, const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen,
		   uint32_t ts)
{
	struct zdb_set_result result;
	int err;

	if (klen > ZDB_KEY_MAX) {
		reply_error(c, "Key too large");
		return;
	}
	if (!may_write(c))
		return;
	err = zdb_set_lent(c->ns, key, klen, value, vlen, ts, &result, request_lend(c, value, vlen));
	if (err) {
		set_failed(c, err);
		return;
	}
	if (result.outcome == ZDB_UNCHANGED) {
		note_is_so(c);
		reply_nil(c);
		return;
	}
	note_write(c);
	if (result.outcome == ZDB_INSERTED)
		reply_bulk(c, result.key, sizeof(result.key));
	else
		reply_bulk(c, key, klen);
}

static uint32_t now_s(void)
{
	return (uint32_t)clock_wall_s();
}

enum verdict cmd_set(struct call *call)
{
	struct client *c = call->c;
	uint32_t ts;

	if (call->w.argc == 4 && !admin_only(c)) /* the time of the record */
		return DONE;
	if (call->w.argc != 3 && call->w.argc != 4) {
		reply_error(c, "Unexpected arguments");
		return DONE;
	}
	if (zdb_set_fills(c->ns, ARG_LEN(call, 1), ARG_LEN(call, 2)) && sync_before_rotation(c))
		return BLOCKED;
	ts = call->w.argc == 4 ? (uint32_t)loose_integer(ARG(call, 3), ARG_LEN(call, 3)) : now_s();
	do_set(c, ARG(call, 1), ARG_LEN(call, 1), ARG(call, 2), ARG_LEN(call, 2), ts);
	return DONE;
}

static void do_del(struct client *c, const uint8_t *key, size_t klen, uint32_t ts)
{
	int err;

	if (klen > ZDB_KEY_MAX) {
		reply_error(c, "Invalid key");
		return;
	}
	if (!may_write(c))
		return;
	err = zdb_del(c->ns, key, klen, ts);
	switch (err) {
	case 0:
		note_write(c);
		reply_ok(c);
		break;
	case -ENOENT:
	case -EINVAL:
		note_is_so(c);
		reply_error(c, "Key not found");
		break;
	case -EPERM:
		reply_error(c, "Cannot delete a key when namespace is in worm mode");
		break;
	default:
		reply_error(c, "Cannot delete key (data)");
		break;
	}
}

static bool all_digits(const uint8_t *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return len > 0;
}

enum verdict cmd_del(struct call *call)
{
	struct client *c = call->c;
	uint32_t ts = now_s();

	if (call->w.argc == 3 && !admin_only(c))
		return DONE;
	if (call->w.argc != 2 && call->w.argc != 3) {
		reply_error(c, "Unexpected arguments");
		return DONE;
	}
	if (ARG_LEN(call, 1) == 0 || (call->w.argc == 3 && !all_digits(ARG(call, 2), ARG_LEN(call, 2)))) {
		reply_error(c, "Invalid argument");
		return DONE;
	}
	if (call->w.argc == 3)
		ts = (uint32_t)loose_integer(ARG(call, 2), ARG_LEN(call, 2));
	do_del(c, ARG(call, 1), ARG_LEN(call, 1), ts);
	return DONE;
}

/* Words of the members of a batch: SET key value, DEL key. 0 = wrong form. */
static size_t batch_member(struct call *call, size_t i)
{
	size_t left = call->w.argc - i;

	if (left >= 3 && resp_word_is(ARG(call, i), ARG_LEN(call, i), "SET"))
		return 3;
	if (left >= 2 && resp_word_is(ARG(call, i), ARG_LEN(call, i), "DEL"))
		return 2;
	return 0;
}

enum verdict cmd_batch(struct call *call)
{
	struct client *c = call->c;
	size_t i, words, members = 0;
	uint64_t bytes = 0;
	uint32_t ts = now_s();

	for (i = 1; i < call->w.argc; i++)
		bytes += ARG_LEN(call, i);
	if (bytes > BATCH_BYTES_MAX) {
		reply_error(c, "Payload too big");
		return DONE;
	}
	for (i = 1; i < call->w.argc; i += words, members++) {
		words = batch_member(call, i);
		if (words == 0)
			break;
	}
	if (i != call->w.argc || members == 0) {
		reply_error(c, "Invalid arguments");
		return DONE;
	}
	/* in the middle of it is no place to wait: bytes of keys and words count as if they were in the log */
	if (zdb_set_fills(c->ns, 0, bytes) && sync_before_rotation(c))
		return BLOCKED;
	reply_array(c, members);
	for (i = 1; i < call->w.argc && !c->dead; i += words) {
		words = batch_member(call, i);
		if (words == 3)
			do_set(c, ARG(call, i + 1), ARG_LEN(call, i + 1), ARG(call, i + 2),
			       ARG_LEN(call, i + 2), ts);
		else
			do_del(c, ARG(call, i + 1), ARG_LEN(call, i + 1), ts);
	}
	return DONE;
}

/* ------------------------------------------------------------------------------------------------- reading */

static void wake(struct zdb_waiter *w, int err)
{
	struct op *op = container_of(w, struct op, waiter);

	client_resume(container_of(op, struct client, op), err);
}

static enum verdict block_on_data(struct client *c)
{
	c->block = BLOCK_DATA;
	return BLOCKED;
}

static bool key_fits(struct call *call, size_t i)
{
	if (ARG_LEN(call, i) <= ZDB_KEY_MAX)
		return true;
	reply_error(call->c, "Invalid key");
	return false;
}

/* One GET, or one item of MGET. */
static enum verdict get_one(struct client *c, const uint8_t *key, size_t klen)
{
	struct op *op = &c->op;
	HOT_BUFFER struct zdb_read rd;
	int err;

	if (payload_pending(c))
		return payload_finish(c);
	if (op->err) {
		op->err = 0;
		reply_error(c, "Internal Error");
		return DONE;
	}
	op->waiter.wake = wake;
	err = zdb_get(c->ns, key, klen, &rd, &op->waiter);
	switch (err) {
	case 0:
		return reply_payload(c, &rd, 0, rd.length);
	case -EINPROGRESS:
		return block_on_data(c);
	case -ENOENT:
	case -EINVAL:
		reply_nil(c);
		return DONE;
	default:
		reply_error(c, "Internal Error");
		return DONE;
	}
}

enum verdict cmd_get(struct call *call)
{
	if (call->c->op.step++ == 0 && (!key_fits(call, 1) || !may_read(call->c)))
		return DONE;
	return get_one(call->c, ARG(call, 1), ARG_LEN(call, 1));
}

enum verdict cmd_mget(struct call *call)
{
	struct client *c = call->c;
	size_t i;

	if (c->op.step++ == 0) {
		if (call->w.argc < 2) {
			reply_error(c, "Invalid arguments");
			return DONE;
		}
		for (i = 1; i < call->w.argc; i++)
			if (!key_fits(call, i))
				return DONE;
		if (!may_read(c))
			return DONE;
		reply_array(c, call->w.argc - 1);
		c->op.index = 1;
	}
	while (c->op.index < call->w.argc && !c->dead) {
		if (c->out.len > OUT_HIGH && !c->op.job && !c->op.err) {
			c->block = BLOCK_DRAIN;
			client_output(c);
			return BLOCKED;
		}
		if (get_one(c, ARG(call, c->op.index), ARG_LEN(call, c->op.index)) == BLOCKED)
			return BLOCKED;
		c->op.index++;
	}
	return DONE;
}

/* A plain decimal number >= 0. */
static bool range_word(struct call *call, size_t i, uint64_t *n)
{
	return str_parse_u64_n((const char *)ARG(call, i), ARG_LEN(call, i), n) == 0;
}

enum verdict cmd_getrange(struct call *call)
{
	struct client *c = call->c;
	struct op *op = &c->op;
	struct zdb_read rd;
	uint64_t start, end;
	int err;

	if (!key_fits(call, 1))
		return DONE;
	if (!range_word(call, 2, &start) || !range_word(call, 3, &end)) {
		reply_error(c, "Invalid argument");
		return DONE;
	}
	if (op->step++ == 0 && !may_read(c))
		return DONE;
	if (payload_pending(c))
		return payload_finish(c);
	op->waiter.wake = wake;
	err = op->err ? op->err : zdb_get(c->ns, ARG(call, 1), ARG_LEN(call, 1), &rd, &op->waiter);
	if (err == -EINPROGRESS)
		return block_on_data(c);
	if (err == -ENOENT || err == -EINVAL) {
		reply_nil(c);
		return DONE;
	}
	if (err) {
		reply_error(c, "Internal Error");
		return DONE;
	}
	if (start >= rd.length || end < start) {
		zdb_read_end(c->ns, &rd);
		reply_bulk(c, "", 0);
		return DONE;
	}
	if (end >= rd.length)
		end = rd.length - 1;
	return reply_payload(c, &rd, (uint32_t)start, (uint32_t)(end - start + 1));
}

enum verdict cmd_exists(struct call *call)
{
	struct zdb_meta meta;
	int err;

	if (!key_fits(call, 1) || !may_read(call->c))
		return DONE;
	err = zdb_stat(call->c->ns, ARG(call, 1), ARG_LEN(call, 1), &meta);
	if (err && err != -ENOENT && err != -EINVAL) /* absent is what somebody stores anew, or forgets */
		reply_error(call->c, "Internal Error");
	else
		reply_integer(call->c, !err);
	return DONE;
}

enum verdict cmd_check(struct call *call)
{
	struct client *c = call->c;
	struct op *op = &c->op;
	int answer;

	if (!key_fits(call, 1) || (op->step++ == 0 && !may_read(c)))
		return DONE;
	op->waiter.wake = wake;
	answer = op->err ? op->err : zdb_check_key(c->ns, ARG(call, 1), ARG_LEN(call, 1), &op->waiter);
	if (answer == -EINPROGRESS)
		return block_on_data(c);
	if (answer == -ENOENT || answer == -EINVAL)
		reply_nil(c);
	else
		reply_integer(c, answer < 0 ? -1 : answer);
	return DONE;
}

/* LENGTH and KEYTIME: what the index knows. */
static void reply_meta(struct call *call, size_t offset)
{
	struct zdb_meta meta;
	int err;

	if (!key_fits(call, 1) || !may_read(call->c))
		return;
	err = zdb_stat(call->c->ns, ARG(call, 1), ARG_LEN(call, 1), &meta);
	if (err == -ENOENT || err == -EINVAL)
		reply_nil(call->c);
	else if (err)
		reply_error(call->c, "Internal Error");
	else
		reply_integer(call->c, *(const uint32_t *)(const void *)((const char *)&meta + offset));
}

enum verdict cmd_length(struct call *call)
{
	reply_meta(call, offsetof(struct zdb_meta, length));
	return DONE;
}

enum verdict cmd_keytime(struct call *call)
{
	reply_meta(call, offsetof(struct zdb_meta, timestamp));
	return DONE;
}

/* ------------------------------------------------------------------------------------------------- HISTORY */

static const char *history_error(int err)
{
	switch (err) {
	case -ENOENT:
		return "Key not found";
	case -ENODATA:
		return "No more history";
	case -EINVAL:
		return "Invalid arguments";
	case -ESPIPE:
		return "Invalid arguments (index query)";
	case -EBADMSG:
		return "Invalid arguments (invalid key)";
	default:
		return "Internal Error";
	}
}

enum verdict cmd_history(struct call *call)
{
	struct client *c = call->c;
	struct op *op = &c->op;
	uint8_t next[ZDB_HISTORY_SIZE];
	struct zdb_read rd;
	char seconds[16];
	bool more = false;
	uint8_t *payload;
	int err;

	if (call->w.argc != 2 && call->w.argc != 3) {
		reply_error(c, "Invalid arguments");
		return DONE;
	}
	if (op->step++ == 0 && !may_read(c))
		return DONE;
	/* before the key: an empty one is no cursor either, and for the engine it would be none given */
	if (call->w.argc == 3 && ARG_LEN(call, 2) != ZDB_HISTORY_SIZE) {
		reply_error(c, history_error(-EINVAL));
		return DONE;
	}
	op->waiter.wake = wake;
	err = op->err ? op->err
		      : zdb_history(c->ns, ARG(call, 1), ARG_LEN(call, 1),
				    call->w.argc == 3 ? ARG(call, 2) : NULL,
				    call->w.argc == 3 ? ARG_LEN(call, 2) : 0, &rd, next, &more, &op->waiter);
	if (err == -EINPROGRESS)
		return block_on_data(c);
	if (err) {
		reply_error(c, history_error(err));
		return DONE;
	}
	/* read before the reply begins: an error must replace it whole */
	payload = NULL;
	if (!rd.data) {
		payload = mem_alloc(rd.length + 1);
		err = payload ? zdb_read_run(&rd, 0, rd.length, payload) : -ENOMEM;
	}
	if (err == -EIO)
		zdb_read_failed(c->ns);
	if (err) {
		reply_error(c, "Internal Error");
		goto out;
	}
	reply_array(c, 3);
	if (more)
		reply_bulk(c, next, sizeof(next));
	else
		reply_nil(c);
	snprintf(seconds, sizeof(seconds), "%u", rd.timestamp);
	reply_text(c, seconds);
	reply_bulk(c, rd.data ? rd.data : payload, rd.length);
out:
	zdb_read_end(c->ns, &rd);
	mem_free(payload);
	return DONE;
}

/* ------------------------------------------------------------------------------------------------ DATA RAW */

static void reply_raw(struct client *c, const struct zdb_raw *raw)
{
	char crc[16];

	reply_array(c, 6);
	reply_bulk(c, raw->key, raw->klen);
	reply_integer(c, raw->previous);
	snprintf(crc, sizeof(crc), "0x%08x", raw->crc);
	reply_text(c, crc);
	reply_integer(c, raw->flags);
	reply_integer(c, raw->timestamp);
	if (raw->flags & 1)
		reply_nil(c);
	else
		reply_bulk(c, raw->length ? (const void *)raw->data : "", raw->length);
}

enum verdict cmd_data_raw(struct call *call)
{
	struct client *c = call->c;
	struct op *op = &c->op;
	struct zdb_raw raw;
	int64_t file, offset;
	int err;

	if (ARG_LEN(call, 1) > 256) {
		reply_error(c, "Argument too long");
		return DONE;
	}
	if (!resp_word_is(ARG(call, 1), ARG_LEN(call, 1), "RAW")) {
		reply_error(c, "Unknown DATA subcommand");
		return DONE;
	}
	if (call->w.argc < 4) {
		reply_error(c, "Missing arguments");
		return DONE;
	}
	file = loose_integer(ARG(call, 2), ARG_LEN(call, 2));
	offset = loose_integer(ARG(call, 3), ARG_LEN(call, 3));
	if (file < 0 || file > UINT32_MAX || offset < 0 || offset > UINT32_MAX) {
		reply_error(c, "Unexpected Internal Error");
		return DONE;
	}
	if (compaction_runs(call->d, c->ns)) {
		reply_error(c, "Namespace is being compacted");
		return DONE;
	}
	c->follows = true;
	op->waiter.wake = wake;
	err = op->err ? op->err : zdb_raw(c->ns, (uint32_t)file, (uint32_t)offset, &raw, &op->waiter);
	switch (err) {
	case 0:
		c->wrote = true; /* a follower keeps it: it must not have what a kill takes back */
		reply_raw(c, &raw);
		break;
	case -EINPROGRESS:
		return block_on_data(c);
	case -ENODATA:
		reply_error(c, "EOF");
		break;
	case -EINVAL:
		reply_error(c, "Unexpected Internal Error");
		break;
	default:
		reply_error(c, "Invalid Request");
		break;
	}
	return DONE;
}
