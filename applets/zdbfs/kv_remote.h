/*
 * kv_remote: a volume's namespaces on one to three 0-db servers, over TCP or unix sockets.
 *
 * Of each role one connection carries the changes, in order, and some carry reads, so that a read which has to wait for a
 * segment from far away does not hold up others. Each connection has a thread; requests are pipelined. A connection that
 * breaks is made anew with its namespace and password, and what was not answered is sent again, in the same order, until
 * `timeout_ms` after it was submitted. A namespace that is locked or frozen is waited for without limit (until kv_stop).
 */
#ifndef ZDBFS_KV_REMOTE_H
#define ZDBFS_KV_REMOTE_H

#include "applets/zdbfs/kv.h"
#include "core/base/err.h"
#include "core/net/client.h"

struct kv_remote_options {
	struct client_addr addr[KV_ROLES]; /* with namespace, and password if there is one */
	const char *temp_password;         /* autons gives it to the temp namespace */
	uint64_t timeout_ms;               /* 0 = 90 s: longer than a server waits for a missing segment */
	bool make_namespaces;              /* autons */
};

/*
 * Connects to all three. On failure a sentence in `err`: -E_KEY (password), -ENOENT (no such namespace), -EPROTO (not such a
 * server), else a connection error (-ECONNREFUSED, -ETIMEDOUT, ...).
 */
int kv_remote_new(struct kv **kv, const struct kv_remote_options *opt, struct err_text *err);

/* Connections made anew since the start. */
uint64_t kv_remote_reconnects(struct kv *kv);

#endif
