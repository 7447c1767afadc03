/*
 * err: texts of error codes, and the sentence that a failing function leaves for its caller.
 */
#include "core/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/applet.h" /* exit codes */

/* Plain words for what people meet often; everything else is libc's text. */
static const char *own_text(int code)
{
	switch (code) {
	case 0:
		return "no error";
	case ENOENT:
		return "no such file or directory";
	case EACCES:
		return "permission denied";
	case ENOMEM:
		return "out of memory";
	case ETIMEDOUT:
		return "timed out";
	case ECONNREFUSED:
		return "connection refused";
	case ENOSPC:
		return "no space left on device";
	case EDQUOT:
		return "disk quota exceeded";
	case EIO:
		return "input/output error";
	case EPIPE:
		return "connection closed by the other side";
	case E_CORRUPT:
		return "corrupt data";
	case E_UNKNOWN:
		return "cannot be determined now";
	case E_KEY:
		return "wrong or missing key";
	case E_LOCKED:
		return "in use by another instance";
	case E_VERSION:
		return "unsupported format version";
	case E_FENCED:
		return "a newer generation of the volume exists";
	case E_PARSE:
		return "syntax error";
	case E_CONFIG:
		return "invalid configuration";
	case E_LIMIT:
		return "limit exceeded";
	case E_DEGRADED:
		return "degraded";
	case E_PEER:
		return "error from the other side";
	default:
		return NULL;
	}
}

const char *err_str(int code)
{
	const char *text;

	code = abs(code);
	text = own_text(code);
	if (text)
		return text;
	if (code > E_OWN_FIRST && code < E_OWN_LAST)
		return "unnamed error";
	return strerror(code);
}

bool err_no_room(int code)
{
	return abs(code) == ENOSPC || abs(code) == EDQUOT;
}

bool err_unsupported(int code)
{
	return abs(code) == EOPNOTSUPP || abs(code) == EINVAL || abs(code) == ENOSYS;
}

int err_exit_code(int code)
{
	switch (abs(code)) {
	case 0:
		return EXIT_DONE;
	case E_CONFIG:
	case E_PARSE:
		return EXIT_USAGE;
	case E_DEGRADED:
		return EXIT_DEGRADED;
	case E_LOCKED:
		return EXIT_LOCKED;
	case E_KEY:
		return EXIT_KEY;
	case ENOENT:
		return EXIT_NOT_FOUND;
	case E_UNKNOWN:
	case EAGAIN:
	case ETIMEDOUT:
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return EXIT_AGAIN;
	default:
		return EXIT_FAILED;
	}
}

int err_set(struct err_text *e, int code, const char *format, ...)
{
	va_list ap;

	if (!e)
		return code;
	va_start(ap, format);
	vsnprintf(e->text, sizeof(e->text), format, ap);
	va_end(ap);
	return code;
}

int err_prefix(struct err_text *e, int code, const char *format, ...)
{
	char rest[sizeof(e->text)];
	size_t len;
	va_list ap;

	if (!e)
		return code;
	memcpy(rest, e->text, sizeof(rest));
	rest[sizeof(rest) - 1] = '\0';
	va_start(ap, format);
	vsnprintf(e->text, sizeof(e->text), format, ap);
	va_end(ap);
	len = strlen(e->text);
	snprintf(e->text + len, sizeof(e->text) - len, ": %s", rest[0] ? rest : err_str(code));
	return code;
}
