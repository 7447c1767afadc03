/* opt_value: numbers, sizes and durations as people write them. Strict: nothing may follow, nothing may overflow. */
#include "core/base/opt.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A decimal or 0x number at the start of `text`, without sign or blanks; *end is what follows it. */
static int unsigned_prefix(const char *text, uint64_t *value, const char **end)
{
	char *stop;
	int base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;

	if (!isdigit((unsigned char)text[0]) || (base == 16 && !isxdigit((unsigned char)text[2])))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &stop, base);
	*end = stop;
	return errno ? -ERANGE : 0;
}

int opt_value_int(const char *text, int64_t *value)
{
	bool negative = *text == '-';
	uint64_t magnitude;
	const char *end;
	int rc = unsigned_prefix(text + negative, &magnitude, &end);

	if (rc)
		return rc;
	if (*end)
		return -EINVAL;
	if (magnitude > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	*value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return 0;
}

int opt_value_size(const char *text, uint64_t *bytes)
{
	static const char letters[] = "kmgtp";
	const char *end;
	uint64_t value;
	int rc = unsigned_prefix(text, &value, &end);
	unsigned shift = 0;

	if (rc)
		return rc;
	if (*end) {
		const char *letter = strchr(letters, tolower((unsigned char)*end));

		if (letter) {
			shift = 10 * (unsigned)(letter - letters + 1);
			end++;
			if (end[0] == 'i' && end[1] == 'B')
				end++;
		}
		if (*end == 'B')
			end++;
		if (*end)
			return -EINVAL;
	}
	if (shift && value > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = value << shift;
	return 0;
}

int opt_value_ms(const char *text, uint64_t *ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
	const char *end;
	uint64_t value;
	int rc = unsigned_prefix(text, &value, &end);

	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(end, units[i].unit))
			continue;
		if (value > UINT64_MAX / units[i].ms)
			return -ERANGE;
		*ms = value * units[i].ms;
		return 0;
	}
	return -EINVAL;
}
