/*
 * kv_remote: see kv_remote.h. Start-up, choice of connection, and what the servers say about the namespaces.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "applets/zdbfs/kv_remote_int.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* ------------------------------------------------------------------------------------------- submitting */

/* A reader without work, else the one with least; one that hangs on an old request last. */
static struct conn *choose(struct kv_remote *r, enum kv_role role)
{
	struct conn *best = &r->readers[role][0];
	uint64_t now = clock_mono_ms(), best_cost = UINT64_MAX;

	for (unsigned n = 0; n < r->reader_count[role]; n++) {
		struct conn *c = &r->readers[role][n];
		uint64_t cost = c->in_flight + (c->oldest_ms && now - c->oldest_ms > 100 ? 1000 : 0);

		if (cost < best_cost) {
			best = c;
			best_cost = cost;
		}
	}
	return best;
}

static void remote_submit(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags)
{
	struct kv_remote *r = (struct kv_remote *)kv;
	struct conn *wake[KV_ROLES * 2] = {NULL};
	uint64_t deadline = clock_mono_ms() + r->opt.timeout_ms;
	size_t refused = count;

	pthread_mutex_lock(&r->lock);
	for (size_t n = 0; n < count; n++) {
		struct kv_req *req = reqs[n];
		bool reads = req->op == KV_GET || req->op == KV_EXISTS;
		struct conn_queue *q = reads ? &r->reads[req->role] : &r->writes[req->role];

		if (r->is_stopping) {
			refused = n;
			break;
		}
		req->deadline_ms = deadline;
		req->is_batch = flags & KV_BATCH;
		list_add_tail(&q->reqs, &req->link);
		q->count++;
		wake[req->role * 2 + !reads] = reads ? choose(r, req->role) : &r->writers[req->role];
	}
	pthread_mutex_unlock(&r->lock);
	for (size_t n = 0; n < KV_ROLES * 2; n++)
		if (wake[n])
			conn_wake(wake[n]);
	for (size_t n = refused; n < count; n++) {
		reqs[n]->err = -ESHUTDOWN;
		reqs[n]->done(reqs[n]);
	}
}

/* -------------------------------------------------------------------------------------------------- asking */

static int ask_nsinfo(struct kv_remote *r, enum kv_role role, struct nsinfo *info)
{
	struct client_options opt = {.connect_ms = 3000, .op_ms = 10000, .no_select = true};
	const struct client_addr *a = &r->opt.addr[role];
	int rc = -EIO;

	/* A connection that broke since the last time is made anew once. */
	for (int tries = 0; tries < 2 && rc; tries++) {
		char why[256];

		if (!r->info_client[role]) {
			rc = client_open(&r->info_client[role], a, &opt, why, sizeof(why));
			if (rc) {
				r->info_client[role] = NULL;
				return -EIO;
			}
		}
		rc = client_nsinfo(r->info_client[role], a->ns, info);
		if (rc && rc != -ENOENT) {
			client_close(r->info_client[role]);
			r->info_client[role] = NULL;
		}
	}
	return rc;
}

static int remote_info(struct kv *kv, enum kv_role role, struct kv_info *info)
{
	struct kv_remote *r = (struct kv_remote *)kv;
	struct nsinfo ns;
	int rc;

	pthread_mutex_lock(&r->info_lock[role]);
	rc = ask_nsinfo(r, role, &ns);
	pthread_mutex_unlock(&r->info_lock[role]);
	if (rc)
		return rc;
	info->entries = ns.entries;
	info->size_bytes = ns.data_size_bytes;
	info->limit_bytes = ns.data_limit_bytes;
	info->free_bytes = ns.data_free_bytes ? ns.data_free_bytes : UINT64_MAX;
	info->next_id = ns.next_id;
	info->is_sequential = ns.sequential;
	info->has_password = ns.password;
	info->is_public = ns.is_public;
	info->is_read_only = ns.password && !r->opt.addr[role].password[0];
	return 0;
}

static uint64_t remote_epoch(struct kv *kv, enum kv_role role)
{
	return ((struct kv_remote *)kv)->epoch[role];
}

/* ------------------------------------------------------------------------------------------------ stopping */

static void remote_stop(struct kv *kv)
{
	struct kv_remote *r = (struct kv_remote *)kv;

	pthread_mutex_lock(&r->lock);
	r->is_stopping = true;
	pthread_mutex_unlock(&r->lock);
	for (int role = 0; role < KV_ROLES; role++) {
		if (r->writers[role].has_thread)
			conn_wake(&r->writers[role]);
		for (unsigned n = 0; n < r->reader_count[role]; n++)
			conn_wake(&r->readers[role][n]);
	}
}

static void remote_free(struct kv *kv)
{
	struct kv_remote *r = (struct kv_remote *)kv;

	remote_stop(kv);
	for (int role = 0; role < KV_ROLES; role++) {
		conn_stop(&r->writers[role]);
		for (unsigned n = 0; n < r->reader_count[role]; n++)
			conn_stop(&r->readers[role][n]);
		client_close(r->info_client[role]);
		pthread_mutex_destroy(&r->info_lock[role]);
	}
	pthread_mutex_destroy(&r->lock);
	mem_wipe(r, sizeof(*r)); /* passwords */
	mem_free(r);
}

static const struct kv_ops remote_ops = {
	.submit = remote_submit,
	.info = remote_info,
	.epoch = remote_epoch,
	.stop = remote_stop,
	.free = remote_free,
};

/* ------------------------------------------------------------------------------------------------ starting */

static int connect_error(struct err_text *err, int rc, enum kv_role role, const char *why)
{
	if (rc == -EACCES)
		rc = -E_KEY;
	return err_set(err, rc, "cannot use the %s namespace: %s", kv_role_str(role), why);
}

/* A command of the administrator that must succeed. */
static int admin(struct client *c, struct err_text *err, const char *a, const char *b, const char *d,
		 const char *e)
{
	redisReply *reply = NULL;
	int rc = client_words(c, &reply, a, b, d, e, NULL);

	if (rc)
		return err_set(err, rc, "cannot make the namespaces: %s", client_error(c));
	if (reply->type == REDIS_REPLY_ERROR)
		rc = err_set(err, -EPERM, "cannot make the namespaces: %s %s: %s", a, b, reply->str);
	freeReplyObject(reply);
	return rc;
}

/* autons: a namespace that is missing is made, in sequential mode; the mode of one with records is never touched. */
static int make_namespace(struct client *c, const char *ns, struct err_text *err)
{
	struct nsinfo info;
	int rc = client_nsinfo(c, ns, &info);

	if (rc == -ENOENT) {
		rc = admin(c, err, "NSNEW", ns, NULL, NULL);
		if (!rc)
			rc = client_nsinfo(c, ns, &info);
	}
	if (rc)
		return err && err->text[0]
			       ? rc
			       : err_set(err, rc, "cannot ask about namespace %s: %s", ns, client_error(c));
	if (info.sequential)
		return 0;
	if (info.entries)
		return err_set(
			err, -E_CORRUPT,
			"cannot use namespace %s: it has records in user-key mode, zdbfs needs an empty one",
			ns);
	return admin(c, err, "NSSET", ns, "mode", "seq");
}

static int make_namespaces(struct kv_remote *r, struct client **c, struct err_text *err)
{
	const char *temp = r->opt.addr[KV_TEMP].ns;
	int rc = 0;

	for (int role = 0; !rc && role < KV_ROLES; role++)
		rc = make_namespace(c[role], r->opt.addr[role].ns, err);
	if (!rc)
		rc = admin(c[KV_TEMP], err, "NSSET", temp, "public", "0");
	if (!rc)
		rc = admin(c[KV_TEMP], err, "NSSET", temp, "password", r->temp_password);
	return rc;
}

/* The right kind of server? And what can it do? */
static int check_server(struct kv_remote *r, struct client *c, enum kv_role role, struct err_text *err)
{
	redisReply *reply = NULL;
	unsigned bits = 0;
	int rc = client_words(c, &reply, "INFO", NULL);

	if (rc)
		return connect_error(err, rc, role, client_error(c));
	if (reply->type != REDIS_REPLY_STRING || !strstr(reply->str, "sequential_key_size: 8"))
		rc = err_set(err, -EPROTO,
			     "cannot use %s: it is not a 0-db of version 2 with 8-byte sequential keys",
			     client_name(c));
	freeReplyObject(reply);
	if (!rc)
		rc = client_extensions(c, &bits, NULL);
	if (!(bits & CLIENT_EXT_SYNC) && role != KV_TEMP)
		r->kv.can &= ~KV_CAN_SYNC;
	if (!(bits & CLIENT_EXT_BATCH) && role != KV_TEMP)
		r->kv.can &= ~KV_CAN_BATCH;
	return rc;
}

/* Enters the namespace once, so that a wrong password or name is an error of the start. */
static int check_select(struct kv_remote *r, enum kv_role role, struct err_text *err)
{
	struct client_options opt = {.connect_ms = 5000, .op_ms = 10000};
	struct client *c;
	char why[256];
	int rc = client_open(&c, &r->opt.addr[role], &opt, why, sizeof(why));

	if (rc)
		return connect_error(err, rc, role, why);
	client_close(c);
	return 0;
}

static int check_all(struct kv_remote *r, struct err_text *err)
{
	struct client_options opt = {.connect_ms = 5000, .op_ms = 10000, .no_select = true};
	struct client *c[KV_ROLES] = {NULL};
	char why[256];
	int rc = 0;

	for (int role = 0; !rc && role < KV_ROLES; role++) {
		struct client_addr a = r->opt.addr[role];

		a.ns[0] = 0;
		a.password[0] = 0;
		rc = client_open(&c[role], &a, &opt, why, sizeof(why));
		if (rc)
			rc = connect_error(err, rc, (enum kv_role)role, why);
		else
			rc = check_server(r, c[role], (enum kv_role)role, err);
		mem_wipe(&a, sizeof(a));
	}
	if (!rc && r->opt.make_namespaces)
		rc = make_namespaces(r, c, err);
	for (int role = 0; !rc && role < KV_ROLES; role++)
		rc = check_select(r, (enum kv_role)role, err);
	for (int role = 0; role < KV_ROLES; role++)
		client_close(c[role]);
	return rc;
}

static int start_connections(struct kv_remote *r, struct err_text *err)
{
	int rc = 0;

	for (int role = 0; !rc && role < KV_ROLES; role++) {
		unsigned readers = role == KV_TEMP ? 1 : CONN_READERS;

		rc = conn_start(&r->writers[role], r, (enum kv_role)role, true);
		for (; !rc && r->reader_count[role] < readers; r->reader_count[role]++)
			rc = conn_start(&r->readers[role][r->reader_count[role]], r, (enum kv_role)role,
					false);
	}
	return rc ? err_set(err, rc, "cannot start a thread: %s", err_str(rc)) : 0;
}

int kv_remote_new(struct kv **out, const struct kv_remote_options *opt, struct err_text *err)
{
	struct kv_remote *r = mem_calloc(1, sizeof(*r));
	int rc;

	*out = NULL;
	err->text[0] = 0;
	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	r->kv.ops = &remote_ops;
	r->kv.can = KV_CAN_SYNC | KV_CAN_BATCH;
	r->opt = *opt;
	(void)str_copy(r->temp_password, sizeof(r->temp_password),
		       opt->temp_password ? opt->temp_password : "hello");
	if (!r->opt.timeout_ms)
		r->opt.timeout_ms = 90000;
	pthread_mutex_init(&r->lock, NULL);
	for (int role = 0; role < KV_ROLES; role++) {
		pthread_mutex_init(&r->info_lock[role], NULL);
		list_init(&r->writes[role].reqs);
		list_init(&r->reads[role].reqs);
		r->epoch[role] = 1;
	}
	rc = check_all(r, err);
	if (!rc)
		rc = start_connections(r, err);
	if (rc)
		remote_free(&r->kv);
	else
		*out = &r->kv;
	return rc;
}

uint64_t kv_remote_reconnects(struct kv *kv)
{
	return ((struct kv_remote *)kv)->reconnects;
}
