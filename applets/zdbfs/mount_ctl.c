/*
 * mount_ctl: the control socket of a mount, with a loop and a thread of its own.
 *
 *	{"cmd":"status"}	what waits, caches, ids spent, last error: from memory, never waits
 *	{"cmd":"flush"}		everything accepted until now is stored and made durable
 */
#include <errno.h>
#include <string.h>

#include "applets/zdbfs/kv_remote.h"
#include "applets/zdbfs/mount.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/loop.h"
#include "core/base/mem.h"
#include "core/base/worker.h"
#include "core/ctl/ctl.h"

#define BUDGET 4294967296ull /* block ids in the life of a volume */

struct mount_ctl {
	struct mount *m;
	struct loop loop;
	struct ctl_server *server;
	struct worker_pool *pool;
	struct loop_post quit;
};

struct flush {
	struct worker_job job;
	struct ctl_request *req;
	struct mount *m;
	int rc;
};

static void flush_run(struct worker_job *job)
{
	struct flush *f = job->ctx;

	f->rc = mount_sync(f->m);
}

static void flush_done(struct worker_job *job)
{
	struct flush *f = job->ctx;

	if (job->is_cancelled)
		ctl_done(f->req, EXIT_AGAIN, "the file system is being stopped");
	else if (f->rc)
		ctl_done(f->req, EXIT_FAILED, "cannot store everything: %s", err_str(f->rc));
	else
		ctl_done(f->req, EXIT_DONE, NULL);
	mem_free(f);
}

static void cmd_flush(struct ctl_request *req, void *ctx)
{
	struct mount_ctl *c = ctx;
	struct flush *f = mem_calloc(1, sizeof(*f));

	if (!f) {
		ctl_done(req, EXIT_FAILED, "out of memory");
		return;
	}
	f->req = req;
	f->m = c->m;
	worker_job_init(&f->job, flush_run, flush_done, f);
	if (worker_submit(c->pool, &f->job)) {
		mem_free(f);
		ctl_done(req, EXIT_AGAIN, "too many flushes are waiting");
	}
}

static void add(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *name, uint64_t v)
{
	(void)yyjson_mut_obj_add_uint(doc, o, name, v);
}

static void cmd_status(struct ctl_request *req, void *ctx)
{
	struct mount_ctl *c = ctx;
	struct mount *m = c->m;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *o = yyjson_mut_obj(doc);
	struct fs_statfs space;
	struct fs_stats s;

	fs_stats_get(m->fs, &s);
	(void)fs_op_statfs(m->fs, &space);
	yyjson_mut_doc_set_root(doc, o);
	(void)yyjson_mut_obj_add_str(doc, o, "mountpoint", m->opt.mountpoint);
	(void)yyjson_mut_obj_add_bool(doc, o, "read_only", s.is_read_only);
	(void)yyjson_mut_obj_add_str(doc, o, "fsync_survives",
				     s.can_sync ? "power cut" : "process crash only");
	add(doc, o, "dirty_bytes", s.dirty_bytes);
	add(doc, o, "dirty_max_bytes", s.dirty_max);
	add(doc, o, "dirty_inodes", s.inodes_dirty);
	add(doc, o, "cache_bytes", s.block_bytes);
	add(doc, o, "cache_max_bytes", s.cache_max);
	add(doc, o, "cached_blocks", s.blocks);
	add(doc, o, "cached_inodes", s.inodes);
	add(doc, o, "unnamed_open_inodes", s.orphans);
	add(doc, o, "blocks_to_free", s.frees_waiting);
	add(doc, o, "batches", s.batches);
	if (s.last_sync_ms)
		add(doc, o, "last_sync_age_ms", clock_mono_ms() - s.last_sync_ms);
	add(doc, o, "total_bytes", space.total_bytes);
	add(doc, o, "free_bytes", space.free_bytes);
	add(doc, o, "ids_spent", s.next_data);
	add(doc, o, "ids_left", s.next_data < BUDGET ? BUDGET - s.next_data : 0);
	add(doc, o, "records_spent", s.next_meta);
	if (m->remote)
		add(doc, o, "reconnects", kv_remote_reconnects(m->kv));
	(void)yyjson_mut_obj_add_str(doc, o, "last_error", s.last_error ? err_str(s.last_error) : "");
	ctl_done_doc(req, EXIT_DONE, doc);
	yyjson_mut_doc_free(doc);
}

static const struct ctl_command commands[] = {
	{"flush", cmd_flush},
	{"status", cmd_status},
	{NULL, NULL},
};

static void *run(void *arg)
{
	struct mount_ctl *c = arg;

	(void)loop_run(&c->loop);
	return NULL;
}

static void quit(struct loop_post *post)
{
	struct mount_ctl *c = post->ctx;

	loop_stop(&c->loop, 0);
}

static void release(struct mount_ctl *c)
{
	worker_pool_free(c->pool, true);
	ctl_server_free(c->server);
	loop_release(&c->loop);
	mem_free(c);
}

int mount_ctl_start(struct mount *m, struct err_text *err)
{
	struct mount_ctl *c = mem_calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	c->m = m;
	rc = loop_init(&c->loop);
	if (rc) {
		mem_free(c);
		return err_set(err, rc, "cannot make an event loop: %s", err_str(rc));
	}
	loop_post_init(&c->quit, quit, c);
	c->pool = worker_pool_new(&c->loop, "zdbfs-flush", 2, CTL_CLIENTS_MAX, 0);
	rc = c->pool ? ctl_server_new(&c->server, &c->loop, m->opt.ctl_path, commands, c, err)
		     : err_set(err, -errno, "cannot start a thread");
	if (!rc)
		rc = -pthread_create(&m->ctl_thread, NULL, run, c);
	if (rc) {
		release(c);
		return rc;
	}
	m->ctl = c;
	return 0;
}

void mount_ctl_stop(struct mount *m)
{
	if (!m->ctl)
		return;
	loop_post(&m->ctl->loop, &m->ctl->quit);
	(void)pthread_join(m->ctl_thread, NULL);
	release(m->ctl);
	m->ctl = NULL;
}
