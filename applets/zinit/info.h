/*
 * info: what is told about services, as JSON values for both protocols.
 */
#ifndef ZINIT_INFO_H
#define ZINIT_INFO_H

#include <yyjson.h>

#include "applets/zinit/sup.h"

/* name -> state text, sorted. */
yyjson_mut_val *info_list(yyjson_mut_doc *doc, const struct sup *sup);

/* The original's status: after, name, pid, state, target (is_sorted: in that order, otherwise the second generation's). */
yyjson_mut_val *info_status(yyjson_mut_doc *doc, const struct service *service, bool is_sorted);

/* Everything: the above, and since when, starts, last exit, next start, reason, limits, last `lines` log lines. */
yyjson_mut_val *info_full(yyjson_mut_doc *doc, struct service *service, uint32_t lines);

/* The original's service_stats: memory, and processor use since the sample `before`. */
struct stats;
yyjson_mut_val *info_stats(yyjson_mut_doc *doc, const struct service *service, const struct stats *before);

/* Why it is not up: one sentence for each step down its dependencies. */
yyjson_mut_val *info_why(yyjson_mut_doc *doc, const struct service *service);

/* Where the last `lines` lines begin, of one service or (NULL) of all; the first line not older than `wall_ms`. */
uint64_t info_seq_of_last(struct sup *sup, struct service *only, uint64_t lines);
uint64_t info_seq_since(struct sup *sup, struct service *only, uint64_t wall_ms);

/* Bytes of a log line as a JSON string: what is not UTF-8 becomes U+FFFD. */
yyjson_mut_val *info_text(yyjson_mut_doc *doc, const void *data, size_t len);

#endif
