/*
 * pool_scan: listing keys page by page; 0-db and redis differ in cursor, pattern and shape of the reply.
 */
#include "core/net/pool_int.h"

#include <errno.h>
#include <string.h>

/* The keys of one page. 0-db: members are [key, length, time]; redis: members are keys. */
static int report_keys(const redisReply *list, const void *prefix, size_t prefix_len, backend_scan_fn fn,
		       void *ctx)
{
	size_t i;
	int code;

	for (i = 0; i < list->elements; i++) {
		const redisReply *key = list->element[i];

		if (key->type == REDIS_REPLY_ARRAY)
			key = key->elements > 0 ? key->element[0] : key;
		if (key->type != REDIS_REPLY_STRING)
			return -EPROTO;
		if (key->len < prefix_len || (prefix_len && memcmp(key->str, prefix, prefix_len) != 0))
			continue;
		code = fn(ctx, (const uint8_t *)key->str, key->len);
		if (code)
			return code;
	}
	return 0;
}

/* A prefix as a pattern of redis: characters that mean something are escaped. */
static size_t make_pattern(char *out, size_t size, const uint8_t *prefix, size_t len)
{
	size_t i, n = 0;

	for (i = 0; i < len && n + 3 < size; i++) {
		if (strchr("*?[]\\^-", prefix[i]) && prefix[i])
			out[n++] = '\\';
		out[n++] = (char)prefix[i];
	}
	out[n++] = '*';
	return n;
}

int backend_scan(struct backend *b, const void *prefix, size_t prefix_len, uint8_t cursor[64],
		 size_t *cursor_len, backend_scan_fn fn, void *ctx, struct net_error *err)
{
	char pattern[640];
	const char *argv[6] = {"SCAN", *cursor_len ? (const char *)cursor : "0", "MATCH", pattern, "COUNT",
			       "1000"};
	size_t lens[6] = {4, *cursor_len ? *cursor_len : 1, 5, 0, 5, 4};
	redisReply *reply;
	bool redis, more;
	int code = 0;

	if (prefix_len > 255)
		return pool_fail(b, err, -EINVAL, "SCAN: prefix of %zu bytes", prefix_len);
	if (!backend_known(b))
		code = backend_ping(b, err);
	if (code)
		return code;
	redis = backend_is_redis(b);
	lens[3] = make_pattern(pattern, sizeof(pattern), prefix, prefix_len);
	code = backend_ask(b, &reply, err, redis ? 6 : *cursor_len ? 2 : 1, argv, lens);
	if (code)
		return code;
	if (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, "No more data") == 0) {
		freeReplyObject(reply);
		return 0;
	}
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
	    reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len > 64 ||
	    reply->element[1]->type != REDIS_REPLY_ARRAY)
		return backend_refuse(b, reply, "SCAN", err);
	memcpy(cursor, reply->element[0]->str, reply->element[0]->len);
	*cursor_len = reply->element[0]->len;
	more = !redis || strcmp(reply->element[0]->str, "0") != 0;
	code = report_keys(reply->element[1], prefix, prefix_len, fn, ctx);
	freeReplyObject(reply);
	if (code == -EPROTO)
		pool_fail(b, err, code, "SCAN: a key that is not a string");
	return code < 0 ? code : more;
}
