/*
 * pool_error: what went wrong, as a code for the caller and a sentence for people.
 */
#include "core/net/pool_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"

int pool_fail(struct backend *b, struct net_error *err, int code, const char *format, ...)
{
	char text[192];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	err->code = code;
	snprintf(err->text, sizeof(err->text), "%s: %s", b->addr.id, text);
	return code;
}

int pool_fail_text(struct net_error *err, int code, const char *sentence)
{
	if (err) {
		err->code = code;
		snprintf(err->text, sizeof(err->text), "%s", sentence);
	}
	return code;
}

bool pool_is_down_error(int code)
{
	switch (code) {
	case -ENOMEM:
	case -E_LIMIT:
	case -EINVAL:
		return false;
	default:
		return true;
	}
}

/* What an error reply means. */
static int reply_code(const char *text)
{
	static const struct {
		const char *start;
		int code;
	} known[] = {
		{"No space left", -ENOSPC},
		{"OOM ", -ENOSPC},
		{"MISCONF", -ENOSPC},
		{"Namespace is in read-only", -EROFS},
		{"Namespace is temporarily", -EROFS},
		{"READONLY", -EROFS},
		{"Access denied", -EACCES},
		{"Permission denied", -EACCES},
		{"NOAUTH", -EACCES},
		{"NOPERM", -EACCES},
		{"WRONGPASS", -EACCES},
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strncmp(text, known[i].start, strlen(known[i].start)) == 0)
			return known[i].code;
	return -EREMOTEIO;
}

int backend_refuse(struct backend *b, redisReply *reply, const char *what, struct net_error *err)
{
	int code;

	if (reply->type == REDIS_REPLY_ERROR) {
		code = reply_code(reply->str);
		pool_fail(b, err, code, "%s: %s", what, reply->str);
	} else {
		code = pool_fail(b, err, -EPROTO, "%s: unexpected type of reply (%d)", what, reply->type);
	}
	freeReplyObject(reply);
	return code;
}
