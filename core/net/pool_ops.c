/*
 * pool_ops: the operations on one key, on 0-db and on redis.
 */
#include "core/net/pool_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/net/client.h"

int backend_ask(struct backend *b, redisReply **reply, struct net_error *err, int argc, const char **argv,
		const size_t *lens)
{
	struct pool_call call;
	int code = pool_call_begin(b, &call, err);

	*reply = NULL;
	if (code)
		return code;
	code = client_command(call.conn->client, reply, argc, argv, lens);
	if (code)
		pool_fail_text(err, code, client_error(call.conn->client));
	pool_call_end(b, &call, code);
	return code;
}

void backend_value_release(struct backend_value *v)
{
	if (v->owner)
		freeReplyObject(v->owner);
	memset(v, 0, sizeof(*v));
}

/* The reply to a read becomes the value, or an error: -ENOENT for nil. */
static int value_take(struct backend *b, redisReply *reply, const char *what, struct backend_value *out,
		      struct net_error *err)
{
	if (reply->type == REDIS_REPLY_NIL) {
		freeReplyObject(reply);
		return pool_fail(b, err, -ENOENT, "no such key");
	}
	if (reply->type != REDIS_REPLY_STRING)
		return backend_refuse(b, reply, what, err);
	out->owner = reply;
	out->data = (const uint8_t *)reply->str;
	out->len = reply->len;
	return 0;
}

int backend_set(struct backend *b, const void *key, size_t klen, const void *val, size_t vlen, void *key_out,
		size_t *key_out_len, struct net_error *err)
{
	const char *argv[3] = {"SET", klen ? key : "", vlen ? val : ""};
	const size_t lens[3] = {3, klen, vlen};
	redisReply *reply;
	int code = backend_ask(b, &reply, err, 3, argv, lens);
	const char *got;
	size_t got_len;

	if (code)
		return code;
	/* 0-db: the key; nil when the value was there already. redis: +OK */
	if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS &&
	    !(reply->type == REDIS_REPLY_NIL && klen > 0))
		return backend_refuse(b, reply, "SET", err);
	if (!key_out)
		goto out;
	got = reply->type == REDIS_REPLY_STRING ? reply->str : key;
	got_len = reply->type == REDIS_REPLY_STRING ? reply->len : klen;
	if (got_len > *key_out_len) {
		code = pool_fail(b, err, -EMSGSIZE, "SET: key of %zu bytes", got_len);
		goto out;
	}
	if (got_len)
		memcpy(key_out, got, got_len);
	*key_out_len = got_len;
out:
	freeReplyObject(reply);
	return code;
}

int backend_get(struct backend *b, const void *key, size_t klen, struct backend_value *out,
		struct net_error *err)
{
	const char *argv[2] = {"GET", klen ? key : ""};
	const size_t lens[2] = {3, klen};
	redisReply *reply;
	int code;

	memset(out, 0, sizeof(*out));
	code = backend_ask(b, &reply, err, 2, argv, lens);
	return code ? code : value_take(b, reply, "GET", out, err);
}

/* For stores without ranges. */
static int get_and_cut(struct backend *b, const void *key, size_t klen, uint64_t off, uint64_t len,
		       struct backend_value *out, struct net_error *err)
{
	int code = backend_get(b, key, klen, out, err);

	if (code)
		return code;
	if (off > out->len)
		off = out->len;
	out->data += off;
	out->len -= off;
	if (len < out->len)
		out->len = len;
	return 0;
}

static bool has_ranges(struct backend *b)
{
	struct backend_state st;

	backend_state(b, &st);
	return st.kind == BACKEND_REDIS || (st.extensions & CLIENT_EXT_RANGE);
}

/* redis answers an empty string for an absent key. */
static int check_empty(struct backend *b, const void *key, size_t klen, struct backend_value *out,
		       struct net_error *err)
{
	bool exists;
	int code = backend_exists(b, key, klen, &exists, err);

	if (!code && !exists)
		code = pool_fail(b, err, -ENOENT, "no such key");
	if (code)
		backend_value_release(out);
	return code;
}

int backend_getrange(struct backend *b, const void *key, size_t klen, uint64_t off, uint64_t len,
		     struct backend_value *out, struct net_error *err)
{
	char first[24], last[24];
	const char *argv[4] = {"GETRANGE", klen ? key : "", first, last};
	size_t lens[4] = {8, klen, 0, 0};
	redisReply *reply;
	int code = 0;

	memset(out, 0, sizeof(*out));
	if (!backend_known(b))
		code = backend_ping(b, err);
	if (code)
		return code;
	if (len == 0 || !has_ranges(b))
		return get_and_cut(b, key, klen, off, len, out, err);
	lens[2] = (size_t)snprintf(first, sizeof(first), "%llu", (unsigned long long)off);
	lens[3] = (size_t)snprintf(last, sizeof(last), "%llu", (unsigned long long)(off + len - 1));
	code = backend_ask(b, &reply, err, 4, argv, lens);
	if (!code)
		code = value_take(b, reply, "GETRANGE", out, err);
	return code || out->len ? code : check_empty(b, key, klen, out, err);
}

int backend_del(struct backend *b, const void *key, size_t klen, struct net_error *err)
{
	const char *argv[2] = {"DEL", klen ? key : ""};
	const size_t lens[2] = {3, klen};
	redisReply *reply;
	int code = backend_ask(b, &reply, err, 2, argv, lens);
	bool absent;

	if (code)
		return code;
	absent = (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, "Key not found") == 0) ||
		 (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0);
	if (!absent && reply->type != REDIS_REPLY_STATUS && reply->type != REDIS_REPLY_INTEGER)
		return backend_refuse(b, reply, "DEL", err);
	freeReplyObject(reply);
	return absent ? pool_fail(b, err, -ENOENT, "no such key") : 0;
}

int backend_exists(struct backend *b, const void *key, size_t klen, bool *exists, struct net_error *err)
{
	const char *argv[2] = {"EXISTS", klen ? key : ""};
	const size_t lens[2] = {6, klen};
	redisReply *reply;
	int code = backend_ask(b, &reply, err, 2, argv, lens);

	if (code)
		return code;
	if (reply->type != REDIS_REPLY_INTEGER)
		return backend_refuse(b, reply, "EXISTS", err);
	*exists = reply->integer > 0;
	freeReplyObject(reply);
	return 0;
}

int backend_nsinfo(struct backend *b, struct nsinfo *out, struct net_error *err)
{
	struct backend_addr addr;
	const char *ns;
	struct pool_call call;
	int code = pool_call_begin(b, &call, err);

	if (code)
		return code;
	if (backend_is_redis(b)) {
		pool_call_end(b, &call, 0);
		return pool_fail(b, err, -EOPNOTSUPP, "NSINFO: not a 0-db");
	}
	backend_addr(b, &addr);
	ns = addr.namespace[0] ? addr.namespace : "default";
	code = client_nsinfo(call.conn->client, ns, out);
	if (code)
		pool_fail_text(err, code, client_error(call.conn->client));
	/* a wrong or unknown text is an answer: the transport is well */
	pool_call_end(b, &call, client_fd(call.conn->client) >= 0 ? 0 : code);
	return code;
}

/* A request of one or two words that is answered with a status. */
static int ask_status(struct backend *b, const char *word, struct net_error *err)
{
	const size_t len = strlen(word);
	redisReply *reply;
	int code = backend_ask(b, &reply, err, 1, &word, &len);

	if (code)
		return code;
	if (reply->type != REDIS_REPLY_STATUS)
		return backend_refuse(b, reply, word, err);
	freeReplyObject(reply);
	return 0;
}

int backend_ping(struct backend *b, struct net_error *err)
{
	return ask_status(b, "PING", err);
}
